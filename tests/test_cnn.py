"""The convolutional family against XLA's convolution, plain NumPy and a plain Optax loop."""

import itertools
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

import rlagent
from rlagent.apply.model import Model, model_of
from rlagent.apply.model_file import load_model, pack_model, save_model, unpack_model
from rlagent.apply.request import Request, make_plan
from rlagent.apply.robustness import worst_case
from rlagent.apply.source import fingerprint
from rlagent.cli import main
from rlagent_envs import batch, dynamics, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.books import RungFacts
from rlagent_envs.config import BASIC_KNOBS, KNOB_NAMES
from rlagent_envs.episode import Episode, Start
from rlagent_envs.growth import grow, shrink
from rlagent_envs.models import CNN, FAMILIES, Rung, ShapeClass, residual
from rlagent_envs.models import convolution as convolutions
from rlagent_envs.models.convolution import by_lax, convolution, in_one_form
from rlagent_envs.models.mlp import Dense
from rlagent_envs.models.normalisation import BatchNormalisation, Norm, Statistics, normalised
from rlagent_envs.models.residual import (
    Layers,
    added,
    through,
    unseen,
)
from rlagent_envs.settings import DEFAULT, Settings
from rlagent_envs.tasks import from_arrays, load_task
from rlagent_envs.tasks.options import of_family
from rlagent_envs.tasks.task import Task
from rlagent_envs.training import adamw, evaluation, loop
from rlagent_envs.training.bank import Bank, make_bank
from rlagent_envs.training.loop import Live
from rlagent_envs.training.optimizer import optimizer_of
from rlagent_envs.training.regularization import penalized
from tests.plain_images import make_seen

SMALL = Rung(1, 8)
LADDER = [Rung(depth, width) for depth in CNN.depths for width in CNN.widths]
BATCH_SIZE = 32


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def images(rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """8 x 8 noise with a bar in it, that stands or lies: what a row of pixels alone cannot tell."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((rows, 8, 8)).astype(np.float32)
    y = generator.integers(0, 2, rows)
    for image, lies in zip(x, y, strict=True):
        down, right = generator.integers(0, 4, 2)
        image[(down, slice(right, right + 5)) if lies else (slice(down, down + 5), right)] += 3.0
    return x, np.array(["stands", "lies"])[y]


@pytest.fixture(scope="module")
def data() -> tuple[Task, Bank]:
    task = of_family(from_arrays(*images(), name="bars", batch_size=BATCH_SIZE), "cnn")
    return task, jax.device_put(make_bank(task, padded=False))


def begin(
    data: tuple[Task, Bank],
    settings: Settings = DEFAULT,
    open_knobs: tuple[str, ...] = (),
    rung: Rung = SMALL,
    **changes: Any,
) -> Episode:
    task, bank = data
    start = Start(5, settings, rung, 60.0, 3, **changes)
    return episodes.begin(task, bank, start, open_knobs)


def shape_of(rung: Rung, input_shape: tuple[int, int, int] = (8, 8, 1)) -> ShapeClass:
    features = int(np.prod(input_shape))
    return ShapeClass("cnn", rung, "classification", features, 3, 4, input_shape=input_shape)


def make_params(shape: ShapeClass, seed: int = 0) -> Layers:
    """As if it had been trained: nothing is at the value that it began with."""
    generator = np.random.default_rng(seed)
    params, _ = CNN.init(generator, shape, shape.features)
    return jax.tree.map(
        lambda leaf: leaf + 0.1 * generator.standard_normal(leaf.shape).astype(np.float32), params
    )


def statistics_in(seen: Layers) -> list[Statistics]:
    """Those of each norm, from the input to the output."""
    return jax.tree.leaves(seen, is_leaf=lambda part: isinstance(part, Statistics))


def inputs(shape: ShapeClass, rows: int = 5) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((rows, shape.features)).astype(np.float32)


# --- another implementation: pixels first, channels last, XLA's convolution and pooling


def plain_norm(x: jax.Array, norm: Norm, seen: Statistics | None) -> jax.Array:
    """By what has been seen; None: by the batch."""
    mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    if seen is not None:
        mean, variance = seen.mean, seen.variance
    parts = (mean, jnp.sqrt(variance + 1e-5), norm.scale, norm.bias)
    mean, deviation, scale, bias = (part[None, None, None] for part in parts)
    return (x - mean) / deviation * (1 + scale) + bias


def plain_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def plain_pool(x: jax.Array) -> jax.Array:
    window = (1, 2, 2, 1)
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, window, "VALID") / 4.0


@partial(jax.jit, static_argnums=(2, 3))
def plain_network(
    params: Layers,
    x: jax.Array,
    input_shape: tuple[int, ...],
    activation: Any = jax.nn.relu,
    seen: Layers | None = None,
) -> jax.Array:
    """As in evaluation, by what has been seen; None: as in training, by the batch."""
    x = x.reshape(-1, *input_shape)
    of = itertools.repeat(None) if seen is None else iter(statistics_in(seen))
    for number, stage in enumerate(params.stages):
        if number:
            x = plain_pool(x)
        x = activation(plain_norm(plain_convolution(x, stage.enter), stage.norm, next(of)))
        while number == 0 and min(x.shape[1:3]) > 16:
            x = plain_pool(x)
        for block in stage.blocks:
            inner = activation(plain_norm(plain_convolution(x, block.first), block.norm, next(of)))
            x = x + plain_convolution(inner, block.second)
    assert number == 2 or min(x.shape[1:3]) < 6
    x = activation(plain_norm(x, params.norm, next(of))).mean(axis=(1, 2))
    return x @ params.last.kernel + params.last.bias[None]


# --- convolution


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("size", [(3, 5, 7, 2, 4), (2, 4, 4, 3, 1), (11, 1, 1, 2, 2)])
@pytest.mark.parametrize("at_once", [1, 120, convolutions.AT_ONCE])  # numbers: 1, 2 or all images
def test_convolution_in_one_form_is_that_of_xla(
    monkeypatch: pytest.MonkeyPatch, side: int, size: tuple[int, ...], at_once: int
) -> None:
    monkeypatch.setattr(convolutions, "AT_ONCE", at_once)
    rows, height, width, channels, after = size
    generator = np.random.default_rng(side)

    def drawn(*shape: int) -> jax.Array:
        return jnp.asarray(generator.standard_normal(shape), jnp.float32)

    x, kernel = drawn(rows, height, width, channels), drawn(side, side, channels, after)
    weights = drawn(rows, height, width, after)

    def all_of(by: Any) -> Any:
        def weighed(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return jnp.sum(weights * by(x, kernel))

        return by(x, kernel), *jax.grad(weighed, argnums=(0, 1))(x, kernel)

    def in_a_loop(by: Any) -> Any:
        start = jax.tree.map(jnp.zeros_like, (weights, x, kernel))
        return jax.jit(lambda: jax.lax.fori_loop(0, 1, lambda _, made: all_of(by), start))()

    expected = all_of(by_lax)
    for made in (all_of(in_one_form), all_of(convolution), in_a_loop(in_one_form)):
        for a, b in zip(made, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_no_convolution_is_in_a_slow_form_inside_a_loop() -> None:
    """What XLA has fast code for is a fusion of its own; what is left is a plain loop."""
    x, kernel = jnp.ones((4, 8, 8, 8)), jnp.ones((3, 3, 8, 8))

    def moved(by: Any, number: jax.Array, kernel: jax.Array) -> jax.Array:
        out = jax.grad(lambda x, k: jnp.sum(by(by(x, k), k) ** 2), argnums=(0, 1))
        of_x, of_kernel = out(x, kernel)
        return kernel - of_kernel - jnp.sum(of_x)

    def forms(by: Any) -> set[str]:
        @jax.jit
        def loop(kernel: jax.Array) -> jax.Array:
            return jax.lax.fori_loop(0, 2, partial(moved, by), kernel)

        program = loop.lower(kernel).compile().as_text() or ""
        return set(re.findall(r"dim_labels=(\S+?)[,\s]", program))

    fast = "b01f_01io->b01f"
    assert forms(in_one_form) == {fast}
    assert forms(by_lax) != {fast}  # once this fails, `in_one_form` is not needed any more


def test_the_device_chooses_the_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    x, kernel = jnp.ones((2, 4, 4, 1)), jnp.ones((3, 3, 1, 1))

    def operations() -> str:
        return str(jax.make_jaxpr(lambda x, kernel: convolution(x, kernel))(x, kernel))

    assert "custom_vjp" in operations()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "custom_vjp" not in operations()


# --- networks


@pytest.mark.parametrize("rung", LADDER, ids=str)
def test_a_rung_is_a_plain_network(rung: Rung) -> None:
    check_outputs(shape_of(rung))


@pytest.mark.parametrize("input_shape", [(4, 4, 3), (5, 18, 1), (33, 17, 4)])
def test_images_of_any_size_will_do(input_shape: tuple[int, int, int]) -> None:
    check_outputs(shape_of(Rung(2, 8), input_shape))


def check_outputs(shape: ShapeClass) -> None:
    params, x = make_params(shape), inputs(shape)
    seen, zero = make_seen(params), jnp.float32(0.0)
    for training in (False, True) if shape.rung.width == 8 else (False,):
        outputs, after = jax.jit(CNN.apply, static_argnums=0)(
            shape, params, seen, x, zero, jnp.uint32(3) if training else None, None, None
        )
        given = None if training else seen
        expected = plain_network(params, jnp.asarray(x), shape.input_shape, seen=given)
        np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
        if not training:
            jax.tree.map(np.testing.assert_array_equal, after, seen)


def test_what_normalisation_has_seen_is_a_mean_of_the_batches() -> None:
    generator = np.random.default_rng(0)
    batches = generator.normal(3.0, 2.0, (5, 6, 4, 4, 8)).astype(np.float32)
    norm = Norm(np.zeros(8, np.float32), np.zeros(8, np.float32))
    layers = Layers((), norm, Dense(None, None))
    seen = unseen(layers)
    before = BatchNormalisation(layers, seen, training=False)
    # What is new, as behind an edit, is left as it is.
    made = before(jnp.asarray(batches[0]), norm)
    np.testing.assert_allclose(made, batches[0], rtol=1e-4)
    for images in batches:
        normalise = BatchNormalisation(layers, seen, training=True)
        of_batch = np.asarray(normalise(jnp.asarray(images), norm))
        np.testing.assert_allclose(of_batch.mean(axis=(0, 1, 2)), 0.0, atol=1e-5)
        np.testing.assert_allclose(of_batch.std(axis=(0, 1, 2)), 1.0, rtol=1e-4)
        seen = normalise.after()
    (told,) = statistics_in(seen)
    weights = 0.1 * 0.9 ** np.arange(4, -1, -1)
    for kept, of_batches in (
        (told.mean, batches.mean(axis=(1, 2, 3))),
        (told.variance, batches.var(axis=(1, 2, 3))),
    ):
        expected = np.average(of_batches, axis=0, weights=weights)
        np.testing.assert_allclose(kept, expected, rtol=1e-4)
    np.testing.assert_allclose(told.weight, weights.sum(), rtol=1e-5)


def test_operations_are_counted_one_by_one() -> None:
    for rung, input_shape, stages in (
        (Rung(1, 8), (4, 5, 3), 1),
        (Rung(3, 16), (33, 20, 1), 2),
        (Rung(1, 16), (24, 25, 1), 3),
    ):
        shape = shape_of(rung, input_shape)
        params = make_params(shape)
        height, width, _ = input_shape
        first = height * width * params.stages[0].enter.size
        count = first + params.last.kernel.size
        while min(height, width) > 16:
            height, width = height // 2, width // 2
        for number, stage in enumerate(params.stages):
            if number:
                height, width = height // 2, width // 2
                count += height * width * stage.enter.size
            for block in stage.blocks:
                count += height * width * (block.first.size + block.second.size)
        assert [len(stage.blocks) for stage in params.stages] == stages * [rung.depth]
        assert CNN.flops(shape) == (2.0 * count, 6.0 * count - 2.0 * first)
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    assert RungFacts.of(shape).weights == sum(leaf.size for leaf in kernels)


def test_training_is_a_plain_loop_of_optax(data: tuple[Task, Bank]) -> None:
    _, bank = data
    rate, decay = 3e-3, 1e-2
    settings = DEFAULT._replace(learning_rate=rate, weight_decay=decay, activation=1.0)
    episode = begin(data, settings, rung=Rung(2, 8))
    params = episode.run.live.params
    live, measured = batch.advance_one(episode.shape, bank, episode.run, knobs.HOLD)
    optimizer = optax.adamw(rate, weight_decay=decay)
    key = jnp.asarray(episode.run.books.key)

    @jax.jit
    def update(params: Any, state: Any, number: jax.Array) -> Any:
        x, y = loop.batch(episode.shape, bank, jnp.int32(0), key, number)

        def loss(params: Any) -> jax.Array:
            outputs = plain_network(params, x, (8, 8, 1), jax.nn.gelu)
            return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()

        changes, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, changes), state

    state = optimizer.init(params)
    assert int(measured.updates) >= 10
    for number in range(int(measured.updates)):
        params, state = update(params, state, jnp.uint32(number))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-2, atol=1e-3), live.params, params
    )


def test_dropout_is_before_the_last_layer() -> None:
    shape = shape_of(Rung(1, 64))
    params = make_params(shape)._replace()
    last = params.last._replace(kernel=np.ones((128, 3), np.float32), bias=np.zeros(3, np.float32))
    params = params._replace(last=last)
    x = jnp.asarray(np.repeat(inputs(shape, 1), 2000, axis=0))
    share = jnp.float32(0.3)
    seen, start = make_seen(params), jnp.uint32(3)  # a batch of one is normalised as many of it
    plain, _ = CNN.apply(shape, params, seen, x[:1], jnp.float32(0.0), start, None, None)
    dropped, _ = CNN.apply(shape, params, seen, x, share, start, None, None)
    values = np.asarray(dropped)[:, 0]
    assert values.std() > 0.05 * abs(float(plain[0, 0]))
    assert values.mean() == pytest.approx(
        float(plain[0, 0]), abs=4 * float(values.std()) / 2000**0.5
    )


# --- stochastic depth


def test_blocks_are_skipped_in_proportion_to_their_depth() -> None:
    depth, rows, share = 2, 4000, 0.5
    (stage,) = make_params(shape_of(Rung(depth, 8), (4, 4, 1))).stages
    one = np.random.default_rng(1).standard_normal((1, 4, 4, 8)).astype(np.float32)
    x = jnp.asarray(np.repeat(one, rows, axis=0))

    def outputs(start: Any, share: Any) -> np.ndarray:
        made = through(x, stage.blocks, jax.nn.relu, start, share, normalised)
        return np.asarray(made).reshape(rows, -1)

    def expected(first: bool, second: bool) -> np.ndarray:
        """With what is kept divided by its probability, 3/4 and 1/2."""
        made = jnp.asarray(one)
        for block, kept in zip(stage.blocks, (first / 0.75, second / 0.5), strict=True):
            made = made + kept * added(made, block, jax.nn.relu, normalised)
        return np.asarray(made).reshape(-1)

    skipped = outputs(jnp.uint32(3), jnp.float32(share))
    total = 0
    for first, second, probability in (
        (True, True, 0.375),
        (True, False, 0.375),
        (False, True, 0.125),
        (False, False, 0.125),
    ):
        same = np.all(np.abs(skipped - expected(first, second)) < 1e-3, axis=1)
        deviation = np.sqrt(probability * (1 - probability) / rows)
        assert abs(same.mean() - probability) < 4 * deviation
        total += int(same.sum())
    assert total == rows
    judged = outputs(None, jnp.float32(share))  # in evaluation
    np.testing.assert_array_equal(judged, outputs(None, None))
    zero = jnp.float32(0.0)
    np.testing.assert_allclose(outputs(jnp.uint32(3), zero), judged, rtol=1e-5, atol=1e-5)


def test_blocks_are_counted_over_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = shape_of(Rung(2, 8), (12, 12, 1))
    params, asked = make_params(shape), []

    def survival(count: int, share: jax.Array, start: jax.Array) -> jax.Array:
        asked.append((count, float(share), int(start)))
        return jnp.ones(count)

    monkeypatch.setattr(residual, "survival", survival)
    given = (jnp.asarray(inputs(shape)), jnp.float32(0.0), jnp.uint32(7), None, jnp.float32(0.6))
    CNN.apply(shape, params, make_seen(params), *given)
    counts, shares, starts = zip(*asked, strict=True)
    assert counts == (5,) * 6
    np.testing.assert_allclose(shares, 0.6 * np.arange(1, 7) / 6, rtol=1e-6)
    assert starts == tuple(range(8, 14))


def test_stochastic_depth_is_for_residual_blocks(data: tuple[Task, Bank]) -> None:
    mlp = replace(data[0], family="mlp")
    given = Request(settings={"stochastic_depth": 0.2})
    with pytest.raises(ValueError, match=r"^stochastic_depth has no meaning for the family mlp$"):
        make_plan(given, mlp, ())
    assert make_plan(given, data[0], ()).settings["stochastic_depth"] == 0.2
    assert "stochastic_depth" not in BASIC_KNOBS
    assert begin(data, open_knobs=("stochastic_depth",)).shape.levers == ("skipping",)
    assert begin((mlp, data[1]), rung=Rung(1, 32), open_knobs=KNOB_NAMES).shape.levers[-1] != (
        "skipping"
    )
    number = list(knobs.KNOBS).index("stochastic_depth")
    start = knobs.STARTS[number]
    for family, levels in (("cnn", [True] * 3), ("mlp", [False, True, False])):
        mask = knobs.open_mask(KNOB_NAMES, replace(data[0], family=family))
        assert mask[start : start + 3].tolist() == levels


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
    state = state.replace(first=moments[0], second=moments[1])
    return Live(params, make_seen(params), state, average=params)


@pytest.mark.parametrize("way", ["wwwddd", "dddwww", "wdwdwd"])
def test_any_way_up_the_ladder_keeps_the_outputs(way: str) -> None:
    shape = shape_of(SMALL)
    live = make_live(shape)
    x = jnp.asarray(inputs(shape))

    def outputs(params: Layers, live: Live) -> list[jax.Array]:
        """In evaluation, and in training."""
        return [
            plain_network(params, x, shape.input_shape, seen=seen)
            for seen in (live.model_state, None)
        ]

    before = outputs(live.params, live)
    for number, step in enumerate(way):
        rung = CNN.wider(shape.rung) if step == "w" else CNN.deeper(shape.rung)
        assert rung is not None
        live = grow(np.random.default_rng(number), shape, live, rung)
        shape = replace(shape, rung=rung)
        native, fresh = CNN.init(np.random.default_rng(0), shape, shape.features)
        for one, form in zip(*map(jax.tree.leaves, (live.model_state, fresh)), strict=True):
            assert (one.shape, one.dtype) == (form.shape, form.dtype)
        state = live.optimizer
        for tree in (live.params, live.average, state.first, state.second):
            jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), tree, native)
            assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {np.dtype(np.float32)}
        if rung not in (Rung(2, 16), LADDER[-1]):
            continue  # each costs a compilation
        for params in (live.params, live.average):
            for now, then in zip(outputs(params, live), before, strict=True):
                assert np.abs(now - then).max() <= 1e-4 * np.abs(then).max()
    assert shape.rung == LADDER[-1]


@pytest.mark.parametrize("rung", [SMALL, Rung(3, 16)])
def test_narrowing_undoes_widening(rung: Rung) -> None:
    """New channels are not heard by anyone, so that they go first."""
    shape = shape_of(rung)
    live = make_live(shape)
    wider = CNN.wider(rung)
    assert wider is not None
    grown = grow(np.random.default_rng(1), shape, live, wider)
    back = shrink(replace(shape, rung=wider), grown, rung)
    for before, after in (
        (live.params, back.params),
        (live.model_state, back.model_state),
        (live.average, back.average),
        (live.optimizer.first, back.optimizer.first),
        (live.optimizer.second, back.optimizer.second),
    ):
        jax.tree.map(np.testing.assert_array_equal, after, before)
    with pytest.raises(ValueError, match=r"^width must be at most the present width 8, got 16$"):
        CNN.narrow(make_params(shape_of(SMALL)), 16)


def test_an_edit_knows_what_is_new() -> None:
    shape = shape_of(Rung(2, 8))
    live = make_live(shape)
    for rung in (Rung(2, 16), Rung(3, 8)):
        grown = grow(np.random.default_rng(0), shape, live, rung)
        for number, stage in enumerate(live.params.stages):
            wide = grown.params.stages[number]
            width = 8 << number
            old = (slice(None), slice(None), slice(width), slice(width))
            for before, after in zip(stage.blocks, wide.blocks[:2], strict=True):
                for name in ("first", "second"):
                    np.testing.assert_array_equal(getattr(after, name)[old], getattr(before, name))
            kernel = grown.optimizer.first.stages[number].blocks[-1].second.copy()
            if rung.depth == 2:
                kernel[old] = 0.0
                assert np.std(wide.enter[..., width:]) > 0.05
                assert np.std(wide.blocks[0].first[:, :, :width, width:]) > 0.05
            assert not kernel.any()  # of what is new, no first moment
        assert all((leaf > 0).all() for leaf in jax.tree.leaves(grown.optimizer.second))
    with pytest.raises(ValueError, match=r"^width must be at least the present width 8, got 4$"):
        CNN.widen(None, live.params, 4)


@pytest.mark.parametrize("level", [knobs.WIDER, knobs.DEEPER])
def test_growth_is_paid_for_and_trains_on(data: tuple[Task, Bank], level: int) -> None:
    episode = begin(data, DEFAULT._replace(learning_rate=1e-2), BASIC_KNOBS)
    action = knobs.HOLD.copy()
    action[knobs.GROWTH] = level
    ((episode, observation, report),) = batch.step([data[1]], [episode], action[None], "sequential")
    facts, books = RungFacts.of(episode.shape), episode.run.books
    billed = report.updates * facts.update_flops + int(books.pieces) * facts.piece_flops
    assert report.spent * float(books.base_flops) == pytest.approx(billed, rel=1e-4)
    assert np.isfinite(observation).all()
    for stage in episode.run.live.params.stages:
        assert np.mean(np.asarray(stage.blocks[-1].second) != 0.0) > 0.9


# --- optimizers and levers


def test_muon_takes_a_kernel_as_a_matrix() -> None:
    generator = np.random.default_rng(0)
    kernel = generator.standard_normal((3, 3, 4, 40)).astype(np.float32)
    settings = Settings(*map(np.float32, DEFAULT._replace(weight_decay=0.1, momentum=0.8)))
    theirs = contrib.muon(0.02, beta=0.8, weight_decay=0.1)
    own = optimizer_of("muon")
    ours, matrix = {"kernel": jnp.asarray(kernel)}, {"kernel": jnp.asarray(kernel.reshape(36, 40))}
    state, their_state = own.init(ours, settings), theirs.init(matrix)
    for _ in range(3):
        gradient = jnp.asarray(generator.standard_normal(kernel.shape), jnp.float32)
        ours, state = own.update(
            {"kernel": gradient}, state, ours, settings, jnp.float32(0.02), jnp.float32(0.0)
        )
        changes, their_state = theirs.update(
            {"kernel": gradient.reshape(36, 40)}, their_state, matrix
        )
        matrix = optax.apply_updates(matrix, changes)
    np.testing.assert_allclose(
        ours["kernel"].reshape(36, 40), matrix["kernel"], rtol=1e-3, atol=1e-4
    )
    assert own.flops(ours) == own.flops(matrix) > 0


def test_penalties_are_of_kernels_alone() -> None:
    params = make_params(shape_of(SMALL))
    zeros = jax.tree.map(jnp.zeros_like, params)
    added = penalized(zeros, params, DEFAULT._replace(l2=0.5))
    for before, after in zip(params.stages, added.stages, strict=True):
        np.testing.assert_allclose(after.enter, 0.5 * before.enter)
    assert not np.any(added.norm.scale)


def test_all_levers_together_learn_in_one_program(
    data: tuple[Task, Bank], monkeypatch: pytest.MonkeyPatch
) -> None:
    traced: list[ShapeClass] = []
    evaluate = evaluation.evaluate

    def counted(shape: ShapeClass, *rest: Any) -> Any:
        traced.append(shape)
        return evaluate(shape, *rest)

    monkeypatch.setattr(dynamics, "evaluate", counted)
    task, bank = data
    open_knobs = tuple(
        name for name in KNOB_NAMES if "adversarial" not in name and name != "trades"
    )
    start = Start(5, DEFAULT._replace(learning_rate=1e-2, momentum=0.88), SMALL, 160.0, 4)
    episode = episodes.begin(task, bank, start, open_knobs)
    generator = np.random.default_rng(0)
    reports: list[Any] = []
    while not reports or not reports[-1].terminated:
        action = generator.integers(knobs.LEVELS)
        action[0] = knobs.HOLD[0]
        action[knobs.GROWTH] = action[knobs.RESTORE] = 0
        action, _ = knobs.held(action, episodes.action_mask(episode))
        (stepped,) = batch.step([bank], [episode], action[None], "sequential")
        episode, _, report = stepped
        reports.append(report)
    assert len(traced) == 1
    assert reports[-1].best_score < -0.1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(episode.run.live))


# --- images in tasks


@pytest.mark.parametrize(
    ("row", "input_shape"),
    [
        ((8, 8), (8, 8, 1)),
        ((4, 9, 3), (4, 9, 3)),
        ((5, 5, 4), (5, 5, 4)),
        ((5, 5, 2), ()),
        ((3, 8), ()),
        ((64,), ()),
        ((4, 4, 4, 1), ()),
    ],
)
def test_arrays_with_the_shape_of_images_are_images(
    row: tuple[int, ...], input_shape: tuple[int, ...]
) -> None:
    x = np.random.default_rng(0).standard_normal((50, *row))
    assert from_arrays(x, np.arange(50) % 2).input_shape == input_shape


def test_digits_are_images_with_the_rows_that_they_had() -> None:
    task = load_task("digits")
    assert task.input_shape == (8, 8, 1)
    assert task.family == "mlp"
    flat = replace(task, input_shape=())
    bank = jax.device_put(make_bank(task, padded=False))
    start = Start(1, DEFAULT, Rung(1, 32), 20.0, 1)
    ends = []
    for one in (task, flat):
        episode = episodes.begin(one, bank, start, BASIC_KNOBS)
        ends.append(batch.advance_one(episode.shape, bank, episode.run, knobs.HOLD)[0])
    jax.tree.map(np.testing.assert_array_equal, *ends)
    assert fingerprint(task) == fingerprint(flat)
    assert fingerprint(replace(task, family="cnn")) != fingerprint(
        replace(task, family="cnn", input_shape=(4, 16, 1))
    )


# --- tuning


def test_images_are_tuned_saved_and_predicted(tmp_path: Path) -> None:
    x, y = images(600)
    result = rlagent.tune(
        x[:500],
        y[:500],
        family="cnn",
        rung="8x1",
        method="cosine",
        learning_rate=1e-2,
        updates=200,
        decisions=5,
        batch_size=BATCH_SIZE,
        settings={"stochastic_depth": 0.2},
        optimizer="muon",
        out=tmp_path / "run",
    )
    assert result.summary["test_score"] > 0.85  # chance: 0.5
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert isinstance(model, Model)
    assert (model.family, model.input_shape) == ("cnn", (8, 8, 1))
    raw = model.raw(model.transform(x[500:]))
    standardised = model.transform(x[500:])
    expected = plain_network(
        model.params, jnp.asarray(standardised), (8, 8, 1), seen=model.model_state
    )
    np.testing.assert_allclose(raw, expected, rtol=1e-3, atol=1e-4)
    assert np.mean(model.labels(model.values(raw)) == y[500:]) > 0.85
    np.testing.assert_array_equal(
        raw, rlagent.load_run(tmp_path / "run").model.raw(np.asarray(standardised))
    )


def test_a_model_whose_images_do_not_fit_is_damaged(
    data: tuple[Task, Bank], tmp_path: Path
) -> None:
    episode = begin(data)
    model = model_of(data[0], episode.shape, episode.run.live, 0.0)
    save_model(model, tmp_path / "good")
    good = load_model(tmp_path / "good")
    assert isinstance(good, Model)
    assert good.input_shape == (8, 8, 1)
    for wrong in ((), (8, 4, 1)):
        save_model(replace(model, input_shape=wrong), tmp_path / "bad")
        with pytest.raises(
            ValueError,
            match=r"is damaged: (its 64 features are no image|the family cnn does not read)",
        ):
            load_model(tmp_path / "bad")


def test_a_mirrored_model_says_the_mean_of_both_sides(
    data: tuple[Task, Bank], tmp_path: Path
) -> None:
    episode = begin(data)
    plain = model_of(data[0], episode.shape, episode.run.live, 0.0)
    model = model_of(replace(data[0], mirrored=True), episode.shape, episode.run.live, 0.0)
    x, y = data[0].valid.x[:5], data[0].valid.y[:5]
    turned = x.reshape(-1, 8, 8, 1)[:, :, ::-1].reshape(x.shape)
    expected = (plain.raw(x) + plain.raw(turned)) / 2
    assert np.abs(expected - plain.raw(x)).max() > 1e-3
    np.testing.assert_allclose(model.raw(x), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(worst_case(model, x, y, 0.0).raw, expected, rtol=1e-5, atol=1e-6)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.raw(x), model.raw(x))
    for wrong, message in (("yes", "mirrored is 'yes'; it must be true or false"), (True, "")):
        header, arrays = pack_model(model)
        header["mirrored"] = wrong
        if wrong is True:
            header |= {"family": "mlp", "rung": [2, 64], "input_shape": []}
            message = "mirrored is for images with a target each"
        with pytest.raises(ValueError, match=f"^{message}"):
            unpack_model(header, arrays)


def test_a_rung_is_chosen_where_none_is_named(data: tuple[Task, Bank]) -> None:
    plan = make_plan(Request(), data[0], ())
    assert (plan.width, plan.depth) == (16, 1)
    plan = make_plan(Request(), replace(data[0], family="mlp"), ())
    assert (plan.width, plan.depth) == (64, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["iris", "--family", "cnn"],
            "cnn reads image, but iris is of the form table (an image is [rows, height, width] of "
            "at least 4 x 4 pixels, or with 1, 3 or 4 channels behind); there are for it: mlp",
        ),
        (["digits", "--family", "rnn"], f"unknown family 'rnn'; there are: {', '.join(FAMILIES)}"),
        (
            ["digits", "--family", "cnn", "--rung", "128x2"],
            "cnn has no rung 128x2; widths are 8, 16, 32, 64 and depths 1, 2, 3, 4",
        ),
        (
            ["digits", "--set", "stochastic_depth=0.1"],
            "stochastic_depth has no meaning for the family mlp",
        ),
        (
            ["digits", "--family", "cnn", "--set", "stochastic_depth=0.9"],
            "stochastic_depth must be from 0 to 0.8, got 0.9",
        ),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", *options, "--method", "constant"]) == 2
    assert capsys.readouterr().err == f"rlagent: {message}\n"


def test_the_command_line_tunes_images(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--rung", "8x1", "--updates", "16", "--decisions", "1"]
    assert main(["tune", "digits", "--family", "cnn", *options, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [summary[name] for name in ("rung", "controller")] == ["8x1", "muon"]
