"""The family for sequences against plain NumPy, in double precision and step by step."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rlagent
from rlagent.apply.model import Model
from rlagent.cli import main
from rlagent_envs import knobs
from rlagent_envs.books import RungFacts
from rlagent_envs.config import KNOB_NAMES
from rlagent_envs.growth import grow, shrink
from rlagent_envs.models import SEQUENCE, Rung, ShapeClass, fitting, usual
from rlagent_envs.models.convolution import by_lax, in_one_form
from rlagent_envs.models.residual import Layers
from rlagent_envs.tasks import from_arrays
from rlagent_envs.tasks.options import of_family
from rlagent_envs.training import adamw
from rlagent_envs.training.augmentation import augment
from rlagent_envs.training.loop import Live
from rlagent_envs.training.sequence_augmentation import _masked, _moved

SMALL = Rung(1, 16)
LADDER = [Rung(depth, width) for depth in SEQUENCE.depths for width in SEQUENCE.widths]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shape_of(rung: Rung, input_shape: tuple[int, int] = (20, 3)) -> ShapeClass:
    features = int(np.prod(input_shape))
    return ShapeClass("sequence", rung, "classification", features, 3, 4, input_shape=input_shape)


def make_params(shape: ShapeClass, seed: int = 0) -> Layers:
    """As if it had been trained: nothing is at the value that it began with."""
    generator = np.random.default_rng(seed)
    params, _ = SEQUENCE.init(generator, shape, shape.features)
    return jax.tree.map(
        lambda leaf: leaf + 0.1 * generator.standard_normal(leaf.shape).astype(np.float32), params
    )


def inputs(shape: ShapeClass, rows: int = 5) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((rows, shape.features)).astype(np.float32)


# --- another implementation: examples first, channels last, a step at a time


def plain_norm(x: np.ndarray, norm: Any) -> np.ndarray:
    parts = []
    for first in range(0, x.shape[2], 8):
        part = x[:, :, first : first + 8]
        mean, variance = part.mean(axis=(1, 2)), part.var(axis=(1, 2))
        parts.append((part - mean[:, None, None]) / np.sqrt(variance + 1e-5)[:, None, None])
    return np.concatenate(parts, axis=2) * (1.0 + norm.scale) + norm.bias


def plain_convolution(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    made = np.zeros((*x.shape[:2], kernel.shape[2]))
    for step in range(x.shape[1]):
        for place, weights in zip((step - 1, step, step + 1), kernel, strict=True):
            if 0 <= place < x.shape[1]:
                made[:, step] += x[:, place] @ weights
    return made


def plain_pieces(x: np.ndarray, steps: int, channels: int) -> np.ndarray:
    """At most 64 pieces, each with a one and with its place."""
    length = next(n for n in range(1, steps + 1) if n * 64 >= steps)
    rows = []
    for row in x.reshape(-1, steps, channels):
        pieces = [row[first : first + length].reshape(-1) for first in range(0, steps, length)]
        pieces[-1] = np.append(pieces[-1], np.zeros(length * channels - len(pieces[-1])))
        last = max(len(pieces) - 1, 1)
        marks = [[1.0, 2.0 * number / last - 1.0] for number in range(len(pieces))]
        rows.append([np.append(*pair) for pair in zip(pieces, marks, strict=True)])
    return np.array(rows)


def plain_network(params: Layers, x: np.ndarray, input_shape: tuple[int, ...]) -> np.ndarray:
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    made = plain_pieces(x.astype(np.float64), *input_shape)
    (stage,) = params.stages
    made = np.maximum(plain_norm(plain_convolution(made, stage.enter), stage.norm), 0.0)
    for number, block in enumerate(stage.blocks):
        inner = np.maximum(plain_norm(plain_convolution(made, block.first), block.norm), 0.0)
        made = made + plain_convolution(inner, block.second)
        if number == 0 and made.shape[1] >= 8:
            even = made[:, : made.shape[1] // 2 * 2]
            made = (even[:, ::2] + even[:, 1::2]) / 2.0
    means = np.maximum(plain_norm(made, params.norm), 0.0).mean(axis=1)
    return means @ params.last.kernel + params.last.bias


# --- networks


@pytest.mark.parametrize("size", [(2, 5, 3, 4), (3, 1, 2, 1)])
def test_convolution_over_time_is_a_sum_over_three_steps(size: tuple[int, ...]) -> None:
    channels, steps, rows, after = size
    generator = np.random.default_rng(0)
    x = generator.standard_normal((rows, steps, channels)).astype(np.float32)
    kernel = generator.standard_normal((3, channels, after)).astype(np.float32)
    weights = generator.standard_normal((rows, steps, after)).astype(np.float32)
    expected = plain_convolution(x, kernel)
    gradients = []
    for by in (in_one_form, by_lax):
        np.testing.assert_allclose(by(jnp.asarray(x), jnp.asarray(kernel)), expected, atol=1e-5)
        weighed = jax.grad(lambda x, k, by=by: jnp.sum(weights * by(x, k)), argnums=(0, 1))
        gradients.append(weighed(jnp.asarray(x), jnp.asarray(kernel)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *gradients)


@pytest.mark.parametrize("rung", [LADDER[0], LADDER[3], LADDER[5], LADDER[12]], ids=str)
def test_a_rung_is_a_plain_network(rung: Rung) -> None:
    check_outputs(shape_of(rung))


@pytest.mark.parametrize("input_shape", [(1, 1), (64, 2), (65, 2), (1000, 1)])
def test_sequences_of_any_length_will_do(input_shape: tuple[int, int]) -> None:
    check_outputs(shape_of(SMALL, input_shape))


def check_outputs(shape: ShapeClass) -> None:
    params, x = make_params(shape), inputs(shape)
    outputs, _ = jax.jit(SEQUENCE.apply, static_argnums=(0, 2))(
        shape, params, (), x, jnp.float32(0.0), None, None, None
    )
    expected = plain_network(params, x, shape.input_shape)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())


def test_level_and_place_are_not_lost_in_norms_and_means() -> None:
    """Without the marks constant sequences would be all the same, but for their sign."""
    shape = shape_of(SMALL, (16, 1))
    params, _ = SEQUENCE.init(np.random.default_rng(0), shape, 16)
    constant = np.repeat(np.array([[0.5], [1.0], [2.0]], np.float32), 16, axis=1)
    outputs = plain_network(params, constant, (16, 1))
    assert np.abs(np.diff(outputs, axis=0)).max(axis=1).min() > 0.05
    ramp = np.zeros((2, 16), np.float32)
    ramp[0, 5] = ramp[1, 10] = 2.0  # far from both ends
    outputs = plain_network(params, ramp, (16, 1))
    assert np.abs(np.diff(outputs, axis=0)).max() > 0.01


def test_operations_are_counted_one_by_one() -> None:
    for rung, input_shape in ((Rung(1, 16), (7, 3)), (Rung(3, 32), (130, 2))):
        shape = shape_of(rung, input_shape)
        params = make_params(shape)
        pieces = plain_pieces(inputs(shape, 1), *input_shape).shape[1]
        halved = pieces // 2 if pieces >= 8 else pieces
        (stage,) = params.stages
        first = pieces * stage.enter.size
        count = first + params.last.kernel.size
        for number, block in enumerate(stage.blocks):
            count += (pieces if number == 0 else halved) * (block.first.size + block.second.size)
        assert SEQUENCE.flops(shape) == (2.0 * count, 6.0 * count - 2.0 * first)
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    assert RungFacts.of(shape).weights == sum(leaf.size for leaf in kernels)


def test_gradients_are_those_of_small_steps() -> None:
    shape = shape_of(SMALL, (9, 2))
    params, x = make_params(shape), inputs(shape, 2)
    given = jnp.asarray(x)

    def total(params: Layers) -> jax.Array:
        outputs, _ = SEQUENCE.apply(shape, params, (), given, jnp.float32(0.0), None, None, None)
        return jnp.sum(outputs)

    gradient = jax.jit(jax.grad(total))(params)
    generator = np.random.default_rng(2)
    for _ in range(3):
        way = jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape), params)
        ends = [
            plain_network(jax.tree.map(lambda p, w: p + step * w, params, way), x, (9, 2)).sum()  # noqa: B023
            for step in (1e-6, -1e-6)
        ]
        along = jax.tree.map(lambda g, w: np.sum(np.asarray(g, np.float64) * w), gradient, way)
        slope = (ends[0] - ends[1]) / 2e-6
        assert sum(jax.tree.leaves(along)) == pytest.approx(slope, rel=1e-3, abs=1e-3)


# --- growth


def make_live(shape: ShapeClass) -> Live:
    params = make_params(shape)
    generator = np.random.default_rng(3)
    state = adamw.init(params, 0.9)
    moments = [
        jax.tree.map(
            lambda leaf: np.square(generator.standard_normal(leaf.shape)).astype(np.float32), params
        )
        for _ in range(2)
    ]
    return Live(params, (), state.replace(first=moments[0], second=moments[1]), average=params)


@pytest.mark.parametrize("way", ["wwwddd", "dddwww", "wdwdwd"])
def test_any_way_up_the_ladder_keeps_the_outputs(way: str) -> None:
    shape = shape_of(SMALL)
    live, x = make_live(shape), inputs(shape)
    before = plain_network(live.params, x, shape.input_shape)
    for number, step in enumerate(way):
        rung = SEQUENCE.wider(shape.rung) if step == "w" else SEQUENCE.deeper(shape.rung)
        assert rung is not None
        live = grow(np.random.default_rng(number), shape, live, rung)
        shape = replace(shape, rung=rung)
        native, _ = SEQUENCE.init(np.random.default_rng(0), shape, shape.features)
        state = live.optimizer
        for tree in (live.params, live.average, state.first, state.second):
            jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), tree, native)
            assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {np.dtype(np.float32)}
        for params in (live.params, live.average):
            after = plain_network(params, x, shape.input_shape)
            np.testing.assert_allclose(after, before, rtol=0, atol=1e-6 * np.abs(before).max())
    assert shape.rung == LADDER[-1]


def test_narrowing_undoes_widening() -> None:
    shape = shape_of(Rung(2, 16))
    live = make_live(shape)
    grown = grow(np.random.default_rng(1), shape, live, Rung(2, 32))
    assert np.std(grown.params.stages[0].enter[..., 16:]) > 0.1  # not zeros, which would stay twins
    back = shrink(replace(shape, rung=Rung(2, 32)), grown, shape.rung)
    jax.tree.map(np.testing.assert_array_equal, back.params, live.params)
    jax.tree.map(np.testing.assert_array_equal, back.optimizer.second, live.optimizer.second)


def test_what_is_new_has_no_first_moment() -> None:
    shape = shape_of(SMALL)
    live = make_live(shape)
    deeper = grow(np.random.default_rng(0), shape, live, Rung(2, 16)).optimizer.first
    for stage, before in zip(deeper.stages, live.optimizer.first.stages, strict=True):
        assert not any(leaf.any() for leaf in jax.tree.leaves(stage.blocks[1]))
        jax.tree.map(np.testing.assert_array_equal, stage.blocks[0], before.blocks[0])


# --- which network a task gets


@pytest.mark.parametrize(
    ("row", "form", "input_shape", "family"),
    [
        ((128, 9), None, (128, 9), "sequence"),
        ((8, 2), None, (8, 2), "sequence"),
        ((7, 1), None, (), "mlp"),
        ((63, 32), None, (63, 32, 1), "cnn"),
        ((63, 32), "sequence", (63, 32), "sequence"),
        ((32, 128), None, (32, 128, 1), "cnn"),
        ((40,), None, (), "mlp"),
        ((40,), "sequence", (40, 1), "sequence"),
        ((128, 9), "image", (128, 9, 1), "mlp"),
    ],
)
def test_long_arrays_are_sequences_and_others_if_asked_for(
    row: tuple[int, ...], form: str | None, input_shape: tuple[int, ...], family: str
) -> None:
    x = np.random.default_rng(0).standard_normal((50, *row))
    task = from_arrays(x, np.arange(50) % 2, form=form)
    assert (task.input_shape, task.family) == (input_shape, family)
    assert of_family(task, "mlp").family == "mlp"
    assert task.preprocessing is not None
    again = type(task.preprocessing).from_json(task.preprocessing.to_json())
    assert again == task.preprocessing
    np.testing.assert_array_equal(again.transform(x), task.preprocessing.transform(x))


def test_each_channel_of_a_sequence_is_standardised_over_rows_and_steps() -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((100, 30, 3)) * [1.0, 10.0, 0.1] + [5.0, 0.0, -3.0]
    x += np.linspace(0.0, 1.0, 30)[None, :, None]  # which a feature by itself would lose
    y = np.arange(100) % 2
    task = from_arrays(x, y, x_valid=x, y_valid=y)
    expected = (x - x.mean(axis=(0, 1))) / x.std(axis=(0, 1))
    np.testing.assert_allclose(task.train.x.reshape(x.shape), expected, atol=1e-5)


def test_other_forms_keep_their_first_family() -> None:
    assert fitting("sequence", ())[:2] == ["sequence", "mlp"]
    assert fitting("table", ())[0] == "mlp"
    for shape, family in (((28, 28, 1), "cnn"), ((32, 15, 3), "mlp"), ((8, 8, 1), "mlp")):
        assert usual("image", shape, ()) == family
    assert usual("image", (8, 8, 1), (8, 8)) == "segmentation"


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (
            np.ones((9, 8, 8)),
            {"form": "movie"},
            "form must be image or sequence, got 'movie'",
        ),
        (
            np.ones((9, 8)),
            {"form": "image"},
            "rows of the shape (8,) are no image; that is [rows, height, width] of at least 4 x 4 "
            "pixels, or with 1, 3 or 4 channels behind",
        ),
        (
            np.ones((9, 8, 8, 3)),
            {"form": "sequence"},
            "rows of the shape (8, 8, 3) are no sequence; that is [rows, steps, channels] or "
            "[rows, steps]",
        ),
    ],
)
def test_a_form_that_does_not_fit_is_one_sentence(
    x: np.ndarray, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        from_arrays(x, np.arange(9) % 2, **options)
    assert str(caught.value) == message


def test_the_family_says_what_it_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "iris", "--family", "sequence"]) == 2
    assert capsys.readouterr().err == (
        "rlagent: sequence reads sequence, but iris is of the form table (a sequence is "
        "[rows, steps, channels]: ask for the form sequence); there are for it: mlp\n"
    )


def test_blocks_can_be_skipped_and_nothing_is_cut_out() -> None:
    task = from_arrays(np.random.default_rng(0).standard_normal((50, 30, 2)), np.arange(50) % 2)
    for name, open_levels in (("stochastic_depth", 3), ("augmentation", 3), ("cutmix", 1)):
        start = knobs.STARTS[list(knobs.KNOBS).index(name)]
        assert knobs.open_mask(KNOB_NAMES, task)[start : start + 3].sum() == open_levels


# --- augmentation


def test_augmentation_changes_nothing_at_0_and_more_the_stronger_it_is() -> None:
    shape = shape_of(SMALL, (32, 4))
    x = jnp.asarray(inputs(shape, 64))

    def of(magnitude: float) -> np.ndarray:
        start, features = jnp.uint32(9), jnp.int32(shape.features)
        return np.asarray(augment(x, jnp.float32(magnitude), start, shape, features))

    np.testing.assert_array_equal(of(0.0), x)
    np.testing.assert_allclose(of(1e-5), x, atol=1e-3)
    distances = [float(np.mean((of(magnitude) - x) ** 2)) for magnitude in (0.1, 0.5, 1.0)]
    assert 0 < distances[0] < distances[1] < distances[2] < 3
    masked = of(1.0).reshape(64, 32, 4) == 0.0
    steps, channels = masked.all(axis=2), masked.all(axis=1)
    assert 0.05 < steps.mean() < 0.25  # about half of 30 %
    assert 0.05 < channels.mean() < 0.25
    assert steps.sum(axis=1).min() <= 1


@pytest.mark.parametrize("most", [0, 1, 3])
def test_sequences_move_with_zeros_behind_them(most: int) -> None:
    x = np.random.default_rng(0).standard_normal((2 * most + 1, 6, 2)).astype(np.float32)
    by = np.arange(-most, most + 1)
    moved = np.asarray(_moved(jnp.asarray(x), jnp.asarray(by, jnp.int32), most))
    for before, after, steps in zip(x, moved, by, strict=True):
        for step in range(6):
            inside = 0 <= step + steps < 6
            np.testing.assert_array_equal(after[step], before[step + steps] if inside else 0.0)


def test_a_mask_is_an_interval_that_may_lie_anywhere() -> None:
    generator = np.random.default_rng(0)
    chance = [jnp.asarray(part, jnp.float32) for part in generator.random((2, 500))]
    masks = np.asarray(_masked(10, jnp.float32(0.3), *chance))
    changes = np.abs(np.diff(masks.astype(int), axis=1, prepend=0, append=0)).sum(axis=1)
    assert set(changes) <= {0, 2}
    assert masks.sum(axis=1).max() == 3
    assert masks.any(axis=0).all()
    assert not np.any(_masked(1, jnp.float32(0.3), *chance))


# --- tuning


def motifs(rows: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bump that rises first or falls first, somewhere: its mean is the same."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((rows, 40, 2))
    y = generator.integers(0, 2, rows)
    for row, sign in zip(x, 2 * y - 1, strict=True):
        first = generator.integers(0, 35)
        row[first : first + 4] += 3.0 * sign * np.array([1, 1, -1, -1])[:, None]
    return x, np.array(["falls", "rises"])[y]


def test_sequences_are_tuned_saved_and_predicted(tmp_path: Path) -> None:
    x, y = motifs()
    result = rlagent.tune(
        x,
        y,
        rung="16x1",
        method="cosine",
        learning_rate=1e-2,
        updates=150,
        decisions=3,
        batch_size=32,
        settings={"stochastic_depth": 0.1, "augmentation": 0.1},
        out=tmp_path / "run",
    )
    assert result.summary["test_score"] > 0.85  # the majority: about 0.5
    model = rlagent.load_run(tmp_path / "run").model
    assert isinstance(model, Model)
    assert (model.family, model.input_shape) == ("sequence", (40, 2))
    rows = model.transform(x[:20])
    expected = plain_network(model.params, rows, (40, 2))
    np.testing.assert_allclose(model.raw(rows), expected, rtol=1e-3, atol=1e-4)
