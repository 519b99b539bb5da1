"""Segmentation: the U-Net against plain NumPy, masks from arrays and folders, exact canvases."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import jaccard_score

import rlagent
from rlagent.apply import scores
from rlagent.apply.ensembles.ensemble import Ensemble
from rlagent.apply.model import Model, model_of
from rlagent.apply.model_file import load_model, save_model
from rlagent.apply.request import Request, make_plan
from rlagent.apply.robustness import worst_case
from rlagent.cli import main
from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.books import RungFacts
from rlagent_envs.config import KNOB_NAMES
from rlagent_envs.episode import Start
from rlagent_envs.growth import grow, shrink
from rlagent_envs.models import SEGMENTATION, Rung, ShapeClass
from rlagent_envs.models.residual import Layers
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks import Preprocessing, from_arrays, load_task
from rlagent_envs.tasks.canvases import Canvases, compose, digit_canvases
from rlagent_envs.tasks.options import of_family
from rlagent_envs.tasks.procedural_common import CONTEXT
from rlagent_envs.tasks.procedural_scenes import draw_canvases, sample_segmentation_task
from rlagent_envs.tasks.task import Split, Task
from rlagent_envs.training import adamw
from rlagent_envs.training.augmentation import augment
from rlagent_envs.training.bank import PADDED_TRAIN_ROWS, Bank, baseline_loss, make_bank
from rlagent_envs.training.loop import Live
from tests.plain_images import (
    in_float64,
    make_seen,
    plain_block,
    plain_convolution,
    plain_norm,
    plain_pool,
)
from tests.plain_loops import check_against_optax

SMALL = Rung(1, 8)
BATCH_SIZE = 16
ZERO = jnp.float32(0.0)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def squares(rows: int = 200, side: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A bright and a dark square in noise: classes 7 and -2 on a ground of 0."""
    generator = np.random.default_rng(seed)
    x = 0.3 * generator.standard_normal((rows, side, side)).astype(np.float32)
    y = np.zeros((rows, side, side), np.int64)
    for image, mask in zip(x, y, strict=True):
        for brightness, label in ((3.0, 7), (-3.0, -2)):
            down, right = generator.integers(0, side - 3, 2)
            image[down : down + 3, right : right + 3] = brightness
            mask[down : down + 3, right : right + 3] = label
    return x, y


@pytest.fixture(scope="module")
def data() -> tuple[Task, Bank]:
    task = from_arrays(*squares(), name="squares", batch_size=BATCH_SIZE)
    return task, jax.device_put(make_bank(task, padded=False))


def shape_of(rung: Rung, input_shape: tuple[int, int, int] = (8, 8, 1)) -> ShapeClass:
    return ShapeClass(
        "segmentation",
        rung,
        "classification",
        int(np.prod(input_shape)),
        3,
        4,
        input_shape=input_shape,
        target_shape=input_shape[:2],
    )


def make_params(shape: ShapeClass, seed: int = 0) -> Layers:
    """As if it had been trained: nothing is at the value that it began with."""
    generator = np.random.default_rng(seed)
    params, _ = SEGMENTATION.init(generator, shape, shape.features)
    return jax.tree.map(
        lambda leaf: leaf + 0.1 * generator.standard_normal(leaf.shape).astype(np.float32), params
    )


def inputs(shape: ShapeClass, rows: int = 3) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((rows, shape.features)).astype(np.float32)


def outputs_of(shape: ShapeClass, params: Any, seen: Any, x: Any, *rest: Any) -> np.ndarray:
    """With dropout, the start, the activation and stochastic depth, if they are given."""
    given = [ZERO, None, None, None]
    given[: len(rest)] = rest
    outputs, _ = SEGMENTATION.apply(shape, params, seen, jnp.asarray(x), *given)
    return np.asarray(outputs)


# --- another implementation


def plain_enlarged(x: Any, height: int, width: int) -> Any:
    down = np.minimum(np.arange(height) // 2, x.shape[1] - 1)
    right = np.minimum(np.arange(width) // 2, x.shape[2] - 1)
    return x[:, down][:, :, right]


def plain_network(xp: Any, params: Layers, x: Any, input_shape: Any, activation: Any) -> Any:
    (stage,) = params.stages
    x = x.reshape(-1, *input_shape)
    x = activation(plain_norm(xp, plain_convolution(xp, x, stage.enter), stage.norm))
    whole, blocks = x, list(stage.blocks)
    if min(input_shape[:2]) >= 16:
        on_the_way_down, half_up, whole_up, *smallest = blocks
        half = plain_block(xp, plain_pool(whole), on_the_way_down, activation)
        x = plain_pool(half)
    else:
        whole_up, *smallest = blocks
        x = plain_pool(whole)
    for block in smallest:
        x = plain_block(xp, x, block, activation)
    if min(input_shape[:2]) >= 16:
        x = plain_block(xp, half + plain_enlarged(x, *half.shape[1:3]), half_up, activation)
    x = plain_block(xp, whole + plain_enlarged(x, *whole.shape[1:3]), whole_up, activation)
    x = activation(plain_norm(xp, x, params.norm))
    return x @ params.last.kernel + params.last.bias[None, None, None]


def expected_of(
    params: Layers, seen: Layers | None, x: np.ndarray, input_shape: tuple[int, ...]
) -> np.ndarray:
    wide = in_float64(params, seen)
    return plain_network(np, wide, x.astype(np.float64), input_shape, lambda x: np.maximum(x, 0.0))


# --- networks


@pytest.mark.parametrize(
    ("rung", "input_shape"),
    [
        (SMALL, (8, 8, 1)),
        (Rung(3, 16), (4, 4, 3)),
        (Rung(2, 16), (5, 18, 1)),
        (Rung(2, 8), (16, 16, 1)),
        (Rung(4, 64), (18, 21, 4)),
    ],
    ids=str,
)
def test_a_rung_is_a_plain_network(rung: Rung, input_shape: tuple[int, int, int]) -> None:
    shape = shape_of(rung, input_shape)
    params, x = make_params(shape), inputs(shape)
    seen = make_seen(params)
    for given, rest in ((seen, ()), (None, (ZERO, jnp.uint32(3)))):
        expected = expected_of(params, given, x, input_shape)
        assert expected.shape == (3, *input_shape[:2], 3)
        made = outputs_of(shape, params, seen, x, *rest)
        np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_operations_are_counted_one_by_one() -> None:
    for rung, input_shape in ((Rung(1, 8), (4, 5, 3)), (Rung(3, 16), (19, 20, 1))):
        shape = shape_of(rung, input_shape)
        params = make_params(shape)
        (stage,) = params.stages
        height, width, _ = input_shape
        whole, half, quarter = (
            (height // n) * (width // n) for n in (1, 2, 4)
        )  # here, halving twice drops as much as a quarter does
        places = [half, half, whole] if height >= 16 else [whole]
        places += [quarter if height >= 16 else half] * rung.depth
        count = whole * (stage.enter.size + params.last.kernel.size)
        for pixels, block in zip(places, stage.blocks, strict=True):
            count += pixels * (block.first.size + block.second.size)
        first = whole * stage.enter.size
        assert SEGMENTATION.flops(shape) == (2.0 * count, 6.0 * count - 2.0 * first)
        kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
        assert RungFacts.of(shape).weights == sum(leaf.size for leaf in kernels)


def test_training_is_a_plain_loop_of_optax(data: tuple[Task, Bank]) -> None:
    task, bank = data
    settings = DEFAULT._replace(learning_rate=3e-3, weight_decay=1e-2, activation=1.0)
    episode = episodes.begin(task, bank, Start(5, settings, SMALL, 60.0, 3), ())

    def network(params: Layers, x: jax.Array) -> Any:
        return plain_network(jnp, params, x, (8, 8, 1), jax.nn.gelu)

    check_against_optax(episode, bank, network, least=10)


def test_channels_are_dropped() -> None:
    rows, share, start = 400, 0.4, jnp.uint32(3)
    shape = shape_of(Rung(1, 64), (4, 4, 1))
    params = make_params(shape)
    seen = make_seen(params)
    x = np.repeat(inputs(shape, 1), rows, axis=0)
    last = params.last._replace(
        kernel=np.eye(64, 3, dtype=np.float32), bias=np.zeros(3, np.float32)
    )
    params = params._replace(last=last)
    whole = outputs_of(shape, params, seen, x[:1], ZERO, start)[0]
    dropped = outputs_of(shape, params, seen, x, jnp.float32(share), start)
    there = whole.max(axis=(0, 1)) > 0.1
    kept = dropped.max(axis=(1, 2)) > 0.05  # a channel of an example is there as a whole, or not
    assert abs(kept[:, there].mean() - (1 - share)) < 4 * np.sqrt(share * (1 - share) / rows)
    expected = np.where(kept[:, None, None], whole / (1 - share), 0.0)
    np.testing.assert_allclose(dropped[..., there], expected[..., there], rtol=1e-3, atol=1e-4)
    judged = outputs_of(shape, params, seen, x[:1], jnp.float32(0.5), None, None, jnp.float32(0.5))
    np.testing.assert_array_equal(judged, outputs_of(shape, params, seen, x[:1]))


def test_examples_skip_the_deepest_blocks() -> None:
    """Some of the images skip the block, which the norms behind it see."""
    share, start = jnp.float32(0.4), jnp.uint32(3)
    shape = shape_of(Rung(1, 8), (4, 4, 1))
    params, x = make_params(shape), inputs(shape, 64)
    seen = make_seen(params)
    (stage,) = params.stages
    up, deepest = stage.blocks
    silent = deepest._replace(second=np.zeros_like(deepest.second))
    without = params._replace(stages=(stage._replace(blocks=(up, silent)),))
    whole, skipped, never = (
        outputs_of(shape, *given)
        for given in (
            (params, seen, x, ZERO, start),
            (params, seen, x, ZERO, start, None, share),
            (without, seen, x, ZERO, start, None, share),
        )
    )
    assert np.abs(whole - skipped).max() > 0.1
    assert np.abs(never - skipped).max() > 0.1
    np.testing.assert_allclose(never, outputs_of(shape, without, seen, x, ZERO, start), atol=1e-4)


# --- growth


def make_live(shape: ShapeClass) -> Live:
    params = make_params(shape)
    generator = np.random.default_rng(3)
    moments = [
        jax.tree.map(
            lambda leaf: np.square(generator.standard_normal(leaf.shape)).astype(np.float32), params
        )
        for _ in range(2)
    ]
    state = adamw.init(params, 0.9).replace(first=moments[0], second=moments[1])
    return Live(params, make_seen(params), state, average=params)


@pytest.mark.parametrize("way", ["wwwddd", "dddwww", "wdwdwd"])
@pytest.mark.parametrize("side", [5, 16])
def test_any_way_up_the_ladder_keeps_the_outputs(way: str, side: int) -> None:
    shape = shape_of(SMALL, (side, side, 1))
    live, x = make_live(shape), inputs(shape, 2)
    before, by_batch = (
        expected_of(live.params, seen, x, shape.input_shape) for seen in (live.model_state, None)
    )
    for number, step in enumerate(way):
        rung = (SEGMENTATION.wider if step == "w" else SEGMENTATION.deeper)(shape.rung)
        assert rung is not None
        live = grow(np.random.default_rng(number), shape, live, rung)
        shape = replace(shape, rung=rung)
        native, _ = SEGMENTATION.init(np.random.default_rng(0), shape, shape.features)
        state = live.optimizer
        for tree in (live.params, live.average, state.first, state.second):
            jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), tree, native)
            assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {np.dtype(np.float32)}
        for params in (live.params, live.average):
            for seen, expected in ((live.model_state, before), (None, by_batch)):
                after = expected_of(params, seen, x, shape.input_shape)
                np.testing.assert_allclose(after, expected, rtol=1e-6, atol=1e-6)
    assert shape.rung == Rung(4, 64)
    made = outputs_of(shape, live.params, live.model_state, x)
    assert np.abs(made - before).max() <= 1e-5 * np.abs(before).max()


def test_narrowing_undoes_widening() -> None:
    shape = shape_of(Rung(2, 8), (16, 16, 1))
    live = make_live(shape)
    grown = grow(np.random.default_rng(1), shape, live, Rung(2, 16))
    back = shrink(replace(shape, rung=Rung(2, 16)), grown, Rung(2, 8))
    for before, after in (
        (live.params, back.params),
        (live.average, back.average),
        (live.model_state, back.model_state),
    ):
        jax.tree.map(np.testing.assert_array_equal, after, before)


# --- tasks


def test_arrays_with_masks_are_a_task_for_segmentation(data: tuple[Task, Bank]) -> None:
    task, bank = data
    assert (task.family, task.kind, task.outputs) == ("segmentation", "classification", 3)
    assert (task.input_shape, task.target_shape) == ((8, 8, 1), (8, 8))
    assert bank.train_y.shape == (1, 120, 8, 8)
    assert from_arrays(*squares()).batch_size == 32
    stored = task.preprocessing
    assert stored is not None
    assert stored.classes == (-2, 0, 7)
    x, y = squares()
    given = {mask.tobytes() for mask in y}
    for split in (task.train, task.valid, task.test):
        assert split is not None
        assert {mask.astype(y.dtype).tobytes() for mask in stored.decode_target(split.y)} <= given
    assert Preprocessing.from_json(json.loads(json.dumps(stored.to_json()))) == stored
    lists = from_arrays(x.tolist(), y.tolist(), batch_size=BATCH_SIZE)
    np.testing.assert_array_equal(lists.train.y, task.train.y)
    assert make_plan(Request(), task, ()).score == "mean_iou"
    for one, family, message in (
        (task, "cnn", "one target, but squares has many; there are for it: segmentation"),
        (
            load_task("digits"),
            "segmentation",
            "many targets, but digits has one; there .*: cnn, mlp",
        ),
    ):
        with pytest.raises(ValueError, match=f"^{family} is for examples with {message}$"):
            of_family(one, family)


def test_a_class_that_is_rare_is_trained_on() -> None:
    x, y = squares(40)
    for row in range(40):
        rare = y.copy()
        rare[row, 0, 0] = 99
        task = from_arrays(x, rare)
        assert task.outputs == 4
        assert (task.train.y == 3).sum() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y[:, :6]), "y has masks of 6 x 8, but x has images of 8 x 8"),
        (lambda x, y: (x[:, :3], y[:, :3]), "y has masks of 3 x 8, but x has no images"),
        (lambda x, y: (x.reshape(-1, 64), y), "y has masks of 8 x 8, but x has no images"),
        (lambda x, y: (x, y * 0.5), "y must hold whole numbers or booleans, got float64"),
        (lambda x, y: (x, y * 0), "the target is 0 in every row"),
        (lambda x, y: (x, y[:-1]), "x has 40 rows but y has 39"),
        (lambda x, y: (x, y[:, :, :0]), r"y is empty, of shape \(40, 8, 0\)"),
        (lambda x, y: (x, y[..., None]), r"y must have one value for each row, got shape .*"),
        (
            lambda x, y: (x, np.arange(y.size).reshape(y.shape)),
            "y has 2560 different values, at most 256 of a mask are classes",
        ),
    ],
)
def test_masks_that_cannot_be_used_are_named(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        from_arrays(*change(*squares(40)))


def test_parts_have_masks_of_one_form() -> None:
    x, y = squares(40)
    with pytest.raises(ValueError, match=r"^the test part has masks of 7 x 8, expected 8 x 8$"):
        from_arrays(x, y, x_test=x, y_test=y[:, :7])
    with pytest.raises(
        ValueError, match=r"^the valid part has classes that the train part lacks: 1$"
    ):
        from_arrays(x, y, x_valid=x, y_valid=np.where(y == 7, 1, y))
    with pytest.raises(ValueError, match=r"^kind is regression, but y has masks, which are for"):
        from_arrays(x, y, kind="regression")
    task = from_arrays(x, y > 0, x_test=x[:5], y_test=y[:5] > 0)
    stored = task.preprocessing
    assert stored is not None
    assert stored.classes == (False, True)
    assert task.test is not None
    assert task.test.y.sum() == (y[:5] > 0).sum()


def write_folder(folder: Path, rows: int = 30, **changes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Squares as .png files, class 7 as the number 2 and -2 as 1 of a palette."""
    x, y = squares(rows, **changes)
    bytes_of = np.clip(128 + 40 * x, 0, 255).astype(np.uint8)
    numbers = np.select([y == 7, y == -2], [2, 1], 0).astype(np.uint8)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number, (image, mask) in enumerate(zip(bytes_of, numbers, strict=True)):
        Image.fromarray(image).save(folder / "images" / f"{number:03d}.bmp")
        picture = Image.fromarray(mask)
        if number % 2:  # it has a palette then
            picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        picture.save(folder / "masks" / f"{number:03d}.png")
    (folder / "images" / "notes.md").write_text("by hand", encoding="utf-8")
    return bytes_of, numbers


def test_a_folder_of_images_and_masks_is_a_task() -> None:
    x, y = write_folder(Path("shapes"))
    task = load_task("shapes")
    same = from_arrays(x, y, name="shapes")
    assert (task.name, task.notes) == ("shapes", ())
    for part in ("train", "valid", "test"):
        for a, b in zip(getattr(task, part), getattr(same, part), strict=True):
            np.testing.assert_array_equal(a, b)
    for part, rows in (("train", 30), ("Test", 7)):
        write_folder(Path("parts") / part, rows, seed=rows)
    task = load_task("parts")
    assert task.test is not None
    assert (len(task.train.x), len(task.valid.x), len(task.test.x)) == (24, 6, 7)


@pytest.mark.parametrize("form", ["{}_mask", "{}.seg", "mask_{}", "a - {}"])
def test_masks_may_have_a_prefix_or_suffix(form: str) -> None:
    x, y = write_folder(Path("shapes"), 12)
    for place in ("images", "masks"):  # 1, 1_1, 1_1_1: all names begin with others
        for path in Path("shapes", place).glob("0*"):
            path.rename(path.with_stem("_".join("1" * (1 + int(path.stem)))))
    for path in list(Path("shapes/masks").iterdir()):
        path.rename(path.with_stem(form.format(path.stem)))
    task = load_task("shapes")
    by_name = sorted(range(12), key=lambda row: "_".join("1" * (1 + row)))
    same = from_arrays(x[by_name], y[by_name])
    for part in ("train", "valid", "test"):
        for a, b in zip(getattr(task, part), getattr(same, part), strict=True):
            np.testing.assert_array_equal(a, b)


def test_masks_of_several_kinds_are_refused() -> None:
    write_folder(Path("shapes"), 6)
    for path in list(Path("shapes/masks").iterdir()):
        path.with_stem(f"{path.stem}_seg").write_bytes(path.read_bytes())
        path.rename(path.with_stem(f"{path.stem}_mask"))
    Path("shapes/masks/000_seg.png").unlink()
    with pytest.raises(ValueError, match=r"\w") as caught:
        load_task("shapes")
    assert str(caught.value) == (
        "shapes/masks has masks of several kinds, 6 are NAME_mask and 5 are NAME_seg (NAME is that "
        "of an image); keep the kind that is meant"
    )
    for path in list(Path("shapes/masks").glob("*_mask.png")):
        path.rename(path.with_stem(path.stem.removesuffix("_mask")))
    with pytest.raises(ValueError, match=r"several kinds, 6 are NAME and 5 are NAME_seg \("):
        load_task("shapes")


def test_masks_of_one_bit_are_not_mixed_with_others() -> None:
    write_folder(Path("shapes"))
    path = Path("shapes", "masks", "005.png")
    mask = Image.open(path).convert("L").point(lambda value: 255 * (value > 0))
    mask.convert("1").save(path)
    with pytest.raises(
        ValueError, match=r"^the mask \S*005.png has one bit a pixel and \S+ has more"
    ):
        load_task("shapes")


def test_images_of_several_sizes_get_one() -> None:
    _, y = write_folder(Path("shapes"))
    for place in ("images", "masks"):
        (path,) = Path("shapes", place).glob("004.*")
        Image.open(path).resize((12, 16), Image.Resampling.NEAREST).save(path)
    task = load_task("shapes")
    assert (task.input_shape, task.target_shape, task.outputs) == ((32, 32, 1), (32, 32), 3)
    assert "resized to 32x32 pixels" in task.notes[0]
    small = load_task("shapes", image_size="8x8")
    assert small.notes == ()
    numbers = {mask.tobytes() for mask in y.astype(np.int32)}
    for split in (small.train, small.valid, small.test):
        assert split is not None
        assert {mask.tobytes() for mask in split.y} <= numbers  # no pixel was mixed
    result = rlagent.tune(
        "shapes", image_size=8, rung="8x1", method="constant", updates=8, decisions=1, out="run"
    )
    assert main(["predict", "run", "shapes", "--out", "made"]) == 0
    made = np.asarray(Image.open("made/004.png"))
    expected = result.predict([Path("shapes/images/004.bmp")])[0]
    np.testing.assert_array_equal(
        made, np.asarray(Image.fromarray(expected.astype(np.uint8)).resize((12, 16), 0))
    )


def test_a_folder_that_cannot_be_used_is_named() -> None:
    images, masks = Path("a/images"), Path("a/masks")
    write_folder(Path("a"), 6)

    def refused(message: str, **options: Any) -> None:
        with pytest.raises(ValueError, match=f"^{message}$"):
            load_task("a", **options)

    refused("target is for tables, but a is a folder of images with masks", target="y")
    refused("valid must be a folder, as a is, got b", valid="b")
    Image.new("L", (8, 8)).save(masks / "more.png")
    refused("a/masks/more.png has no partner in a/images")
    Image.new("L", (9, 8)).save(images / "more.jpg")
    hint = "; leave such files out by --skip-bad"
    refused("a/masks/more.png has 8 x 8 pixels, its image 8 x 9" + hint)
    Image.new("RGB", (8, 8), (9, 0, 0)).save(images / "more.jpg")
    Image.new("RGB", (8, 8), (9, 0, 0)).save(masks / "more.png")
    refused("the mask a/masks/more.png has colours, not a number for each pixel" + hint)
    Image.new("L", (8, 8)).save(masks / "more.png", format="JPEG")
    refused("the mask a/masks/more.png is a JPEG, which changes its numbers; save it as PNG" + hint)
    (masks / "more.png").write_bytes(b"no image")
    refused("a/masks/more.png is not a readable image, it may be damaged" + hint)
    task = load_task("a", skip_bad=True)
    assert sum(len(one.x) for one in (task.train, task.valid, task.test) if one is not None) == 6
    assert task.notes[0].endswith("are left out: a/images/more.jpg")
    Image.new("L", (8, 8)).save(masks / "more.png")
    assert load_task("a").input_shape == (8, 8, 3)  # one image has colours
    Image.new("L", (8, 8)).save(masks / "more.bmp")
    refused("a/masks/more.bmp and a/masks/more.png have one name")
    for path in masks.iterdir():
        path.unlink()
    refused(r"the folder a/masks holds no image \(.bmp, .gif, .*\)")
    for path in images.iterdir():
        path.unlink()
    images.rmdir()
    refused("a lacks the folder images")


# --- what many targets change


def test_augmentation_moves_no_pixel() -> None:
    shape = replace(shape_of(SMALL), levers=("augmentation",))
    x = jnp.asarray(inputs(shape, 20))
    changed = np.asarray(augment(x, jnp.float32(1.0), jnp.uint32(5), shape, jnp.int32(64)))
    factors = []
    for before, after in zip(np.asarray(x), changed, strict=True):
        factor, added = np.polyfit(before, after, 1)
        np.testing.assert_allclose(after, factor * before + added, atol=1e-4)
        factors.append(factor)
    assert np.std(factors) > 0.1
    moved = augment(
        x, jnp.float32(1.0), jnp.uint32(5), replace(shape, target_shape=()), jnp.int32(64)
    )
    assert np.corrcoef(np.asarray(moved[0]), np.asarray(x[0]))[0, 1] < 0.99


def test_pasting_has_no_meaning_for_masks(data: tuple[Task, Bank]) -> None:
    with pytest.raises(ValueError, match=r"^cutmix has no meaning for images with masks or boxes$"):
        make_plan(Request(settings={"cutmix": 0.5}), data[0], ())
    assert knobs.meaningful("mixup", data[0])
    assert knobs.meaningful("augmentation", data[0])
    assert knobs.meaningful("stochastic_depth", data[0])


def test_targets_that_do_not_fit_are_named(data: tuple[Task, Bank]) -> None:
    task, _ = data
    parts: dict[str, Any] = {
        part: Split(getattr(task, part).x, getattr(task, part).y[:, :4])
        for part in ("train", "valid", "test")
    }
    with pytest.raises(
        ValueError, match=r"^targets of the shape \(4, 8\) do not fit image \(8, 8, 1\)$"
    ):
        replace(task, target_shape=(4, 8), **parts)


def test_all_levers_together_learn_in_one_program(data: tuple[Task, Bank]) -> None:
    task, bank = data
    open_knobs = tuple(
        name for name in KNOB_NAMES if "adversarial" not in name and name != "trades"
    )
    start = Start(5, DEFAULT._replace(learning_rate=1e-2), SMALL, 120.0, 3)
    episode = episodes.begin(task, bank, start, open_knobs)
    assert {"mixing", "augmentation", "loss", "skipping"} <= set(episode.shape.levers)
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
    assert reports[-1].best_score < -0.3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(episode.run.live))


# --- scores


def test_mean_intersection_over_union() -> None:
    targets = np.array([[[0, 0], [1, 1]], [[0, 2], [0, 1]]])
    guesses = np.array([[[0, 1], [1, 1]], [[0, 2], [3, 1]]])
    outputs = np.eye(5)[guesses]
    # Class 0: 2 of 4; 1: 3 of 4; 2: 1 of 1; 3 is guessed once and never right; 4 is nowhere.
    by_hand = (2 / 4 + 3 / 4 + 1.0 + 0.0) / 4
    assert scores.compute("mean_iou", "classification", targets, outputs) == pytest.approx(by_hand)
    generator = np.random.default_rng(0)
    targets, outputs = generator.integers(0, 3, (4, 9, 9)), generator.random((4, 9, 9, 3))
    found = scores.compute("mean_iou", "classification", targets, outputs)
    flat = targets.reshape(-1), outputs.argmax(axis=3).reshape(-1)
    assert found == pytest.approx(jaccard_score(*flat, average="macro"))
    for name in ("accuracy", "macro_f1", "balanced_accuracy"):
        assert 0.2 < scores.compute(name, "classification", targets, outputs) < 0.5


# --- tuning


def test_masks_are_tuned_saved_attacked_and_predicted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    x, y = squares(260)
    np.savez("squares.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    options = ["--rung", "8x1", "--updates", "120", "--decisions", "4", "--learning-rate", "0.01"]
    options += ["--batch-size", "16", "--robust-epsilon", "0.1", "--out", "run"]
    assert main(["tune", "squares.npz", "--method", "cosine", *options, "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "mean_iou" in said
    assert "next: rlagent predict run FILE.npz --out masks.npz" in said
    summary = rlagent.load_run("run").summary
    assert summary["test_score"] > 0.8  # the ground alone would have 0.24
    assert summary["test_accuracy"] > 0.95
    model = load_model(Path("run/model.safetensors"))
    assert isinstance(model, Model)
    raw = model.raw(model.transform(x[200:]))
    labels = np.array([-2, 0, 7])[raw.argmax(axis=3)]
    overlap = [
        np.sum((labels == k) & (y[200:] == k)) / np.sum((labels == k) | (y[200:] == k))
        for k in (-2, 0, 7)
    ]
    assert summary["test_score"] == pytest.approx(np.mean(overlap))
    assert summary["test_accuracy"] == pytest.approx(np.mean(labels == y[200:]))
    numbers = np.searchsorted([-2, 0, 7], y[200:]).astype(np.int32)
    worst = worst_case(model, model.transform(x[200:]), numbers, 0.1)
    assert worst.raw.shape == raw.shape
    assert summary["robust_test_loss"] == pytest.approx(float(worst.losses.mean()), rel=1e-4)
    plain = model.loss(Split(x, numbers), raw)
    assert worst.losses.mean() >= plain == pytest.approx(summary["test_loss"], rel=1e-5)

    assert main(["predict", "run", "squares.npz", "--out", "made.npz"]) == 0
    with np.load("made.npz") as made:
        np.testing.assert_array_equal(made["prediction"], labels)
    assert main(["predict", "run", "squares.npz"]) == 2
    assert main(["predict", "run", "squares.npz", "--out", "folder"]) == 2
    assert main(["predict", "run", "squares.npz", "--out", "made.csv"]) == 2
    assert capsys.readouterr().err == (
        "rlagent: masks go into a file: give --out, a .npz file or a folder\n"
        "rlagent: the classes -2 to 7 do not fit into .png files: give a .npz\n"
        "rlagent: masks go into a .npz file or a folder, got made.csv\n"
    )
    assert not Path("folder").exists()
    result = rlagent.load_run("run")
    np.testing.assert_array_equal(result.predict(x[200:]), labels)
    assert result.score(x[200:], y[200:]) == pytest.approx(summary["test_score"])
    assert result.robust_score(x[200:], y[200:], 0.1) == pytest.approx(
        summary["robust_test_score"], abs=1e-6
    )


def test_images_of_a_folder_become_masks_of_a_folder() -> None:
    x, _ = write_folder(Path("shapes"), 60)
    result = rlagent.tune(
        "shapes", rung="8x1", method="constant", updates=16, decisions=1, out="run"
    )
    expected = result.predict(list(x))
    for given in ("shapes", "shapes/images"):
        out = given.replace("/", "-") + "-made"
        assert main(["predict", "run", given, "--out", out]) == 0
        assert len(list(Path(out).iterdir())) == 60
        made = [np.asarray(Image.open(Path(out) / f"{number:03d}.png")) for number in range(60)]
        np.testing.assert_array_equal(np.stack(made), expected)
    assert main(["predict", "run", "shapes", "--out", "made.npz"]) == 0
    with np.load("made.npz") as packed:
        assert packed["name"][7] == "007.bmp"


def test_masks_have_folds_and_ensembles(data: tuple[Task, Bank], tmp_path: Path) -> None:
    task, _ = data
    options: dict[str, Any] = {
        "method": "constant",
        "rung": "8x1",
        "learning_rate": 1e-2,
        "decisions": 2,
    }
    folded = rlagent.tune(task, **options, updates=40, folds=2, out=tmp_path / "folds")
    told = folded.summary["cross_validation"]
    assert told["rows"] == [80, 80]
    assert told["valid_score"]["mean"] == pytest.approx(np.mean(told["valid_score"]["values"]))
    several = rlagent.tune(
        task, **options, updates=60, ensemble="boosting", members=2, out=tmp_path / "several"
    )
    model = several.model
    assert isinstance(model, Ensemble)
    raw = sum(
        weight * one.raw(task.valid.x).astype(np.float64)
        for weight, one in zip(model.weights, model.members, strict=True)
    )
    shares = np.exp(raw) / np.exp(raw).sum(axis=-1, keepdims=True)
    nats = -np.log(np.take_along_axis(shares, task.valid.y[..., None], axis=-1)).mean()
    assert several.summary["valid_loss"] == pytest.approx(nats, rel=1e-4)
    numbers = task.valid.y
    worst = worst_case(model, task.valid.x, numbers, 0.2)
    assert worst.raw.shape == (*numbers.shape, 3)
    assert worst.losses.mean() > nats


def test_a_model_whose_targets_do_not_fit_is_damaged(
    data: tuple[Task, Bank], tmp_path: Path
) -> None:
    task, bank = data
    episode = episodes.begin(task, bank, Start(5, DEFAULT, SMALL, 60.0, 3), ())
    model = model_of(task, episode.shape, episode.run.live, 0.0)
    save_model(model, tmp_path / "good")
    good = load_model(tmp_path / "good")
    assert isinstance(good, Model)
    assert good.target_shape == (8, 8)
    for wrong, message in (
        ((), r"the family segmentation has no targets of \(\)"),
        ((8, 4), r"targets of the shape \(8, 4\) do not fit image"),
    ):
        save_model(replace(model, target_shape=wrong), tmp_path / "bad")
        with pytest.raises(ValueError, match=f"is damaged: {message}"):
            load_model(tmp_path / "bad")


# --- canvases


def test_what_is_on_a_canvas_is_known_exactly() -> None:
    """On a canvas of the size of the images all lie on each other; the brighter one is seen."""
    images = np.array([[[8, 2, 0], [8, 0, 0]] * 2, [[0, 4, 1], [9, 0, 0]] * 2], np.uint8)
    both = {
        (0,): ([[8, 2, 0], [8, 0, 0]], [[6, 0, 0], [6, 0, 0]]),  # 2 is not above 8 / 4
        (1,): ([[0, 4, 1], [9, 0, 0]], [[0, 1, 0], [1, 0, 0]]),  # 1 is not above 9 / 4
        (0, 1): ([[8, 4, 1], [9, 0, 0]], [[6, 1, 0], [1, 0, 0]]),
    }
    square = np.pad(images, ((0, 0), (0, 0), (0, 1)))
    made = compose(square, np.array([5, 0]), rows=50, side=4, most=3, seed=1)
    assert (str(made.images.dtype), str(made.masks.dtype)) == ("uint8", "uint8")
    found = set()
    for image, mask in zip(*made, strict=True):
        for which, (pixels, classes) in both.items():
            if (image[:2, :3] == pixels).all():
                np.testing.assert_array_equal(mask[:2, :3], classes)
                np.testing.assert_array_equal(image[2:], image[:2])
                found.add(which)
    assert found == set(both)


def test_a_lone_digit_is_anywhere() -> None:
    made = digit_canvases(60, side=12, most=1, seed=2)
    from sklearn.datasets import load_digits

    digits = load_digits()
    corners = set()
    for canvas, mask in zip(*made, strict=True):
        label = int(mask.max()) - 1
        np.testing.assert_array_equal(mask > 0, canvas > 0.25 * canvas.max())
        assert set(np.unique(mask)) == {0, label + 1}
        candidates = digits.images[digits.target == label]
        places = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if (candidates == canvas[down : down + 8, right : right + 8]).all(axis=(1, 2)).any()
        ]
        assert places
        corners.add(places[0])
    assert len(corners) > 10
    again = digit_canvases(60, side=12, most=1, seed=2)
    np.testing.assert_array_equal(again.images, made.images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 7}, "side must be at least 8, got 7"),
        ({"side": 9, "most": 0}, "rows and most must be at least 1, got 5 and 0"),
    ],
)
def test_canvases_that_make_no_sense_are_named(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        digit_canvases(5, **options)


def test_digits_on_canvases_are_a_task() -> None:
    made = digit_canvases(80)
    assert isinstance(made, Canvases)
    task = from_arrays(*made)
    assert (task.outputs, task.input_shape, task.target_shape) == (11, (16, 16, 1), (16, 16))


# --- random canvases


def test_a_seed_is_a_set_of_canvases_bit_for_bit() -> None:
    for seed in (0, 7):
        first, again = sample_segmentation_task(seed), sample_segmentation_task(seed)
        assert first.context == again.context
        for part in ("train", "valid"):
            for a, b in zip(getattr(first, part), getattr(again, part), strict=True):
                np.testing.assert_array_equal(a, b)
    more = sample_segmentation_task(7, test_rows=30)
    assert more.test is not None
    assert (len(more.train.x), len(more.test.x)) == (len(first.train.x), 30)


def test_random_canvases_fit_few_programs_and_can_be_learned() -> None:
    learned = 0
    for seed in range(12):
        task = sample_segmentation_task(seed)
        assert (task.input_shape, task.target_shape) == ((16, 16, 1), (16, 16))
        assert task.family == "segmentation"
        assert len(task.context) == CONTEXT
        assert np.isfinite(task.context).all()
        bank = make_bank(task, padded=True)
        assert bank.train_y.shape == (1, PADDED_TRAIN_ROWS, 16, 16)
        assert set(np.unique(task.train.y)) <= set(range(task.outputs))
        assert task.outputs <= 7
        edges = np.quantile(task.train.x, np.linspace(0, 1, 33)[1:-1])
        counts = np.ones((32, task.outputs))
        places = [np.searchsorted(edges, part.x.reshape(-1)) for part in (task.train, task.valid)]
        np.add.at(counts, (places[0], task.train.y.reshape(-1)), 1.0)
        chances = counts / counts.sum(axis=1, keepdims=True)
        loss = -np.log(chances[places[1], task.valid.y.reshape(-1)]).mean()
        learned += loss < 0.9 * baseline_loss(task)
    assert learned >= 8  # by the brightness of each pixel alone


def test_every_form_is_where_it_should_be() -> None:
    """Of one class without noise: what is not ground is brighter or darker there than around."""
    images, masks, _ = draw_canvases(np.random.default_rng(1), 200, 1, 0.0)
    assert images.shape == masks.shape == (200, 16, 16)
    assert 0.005 < np.mean(masks == 1) < 0.6
    inside = np.abs(images[masks == 1]).mean()
    assert inside > 1.5 * np.abs(images[masks == 0]).mean()
