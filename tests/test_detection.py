"""Detection: boxes from arrays and folders, the network, what it finds, and how that is judged."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import rlagent
from rlagent.apply.boxes import detections, mean_average_precision, overlaps
from rlagent.apply.ensembles.folds import fold_tasks
from rlagent.apply.model_file import load_model
from rlagent.apply.request import Request, make_plan
from rlagent.apply.scores import judge
from rlagent.cli import main
from rlagent_envs import episode as episodes
from rlagent_envs.episode import Start
from rlagent_envs.growth import grow
from rlagent_envs.models import DETECTION, Rung, ShapeClass
from rlagent_envs.models.normalisation import Statistics
from rlagent_envs.models.residual import Layers, unseen
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks import Preprocessing, from_arrays, load_task
from rlagent_envs.tasks.box_target import BoxTarget, are_boxes, padded, read_boxes
from rlagent_envs.tasks.canvases import digit_canvases, digit_scenes
from rlagent_envs.tasks.procedural_scenes import boxes_of, sample_detection_task
from rlagent_envs.tasks.task import Split, Task
from rlagent_envs.training import adamw
from rlagent_envs.training.bank import make_bank
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

SIDE = 16
SMALL = ["--rung", "8x1", "--method", "constant", "--updates", "8", "--decisions", "1"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "")


def squares(rows: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A bright box of class 3 and a dark one of class 7 in noise, one above the other."""
    generator = np.random.default_rng(seed)
    x = generator.normal(128, 10, (rows, SIDE, SIDE))
    boxes = np.full((rows, 3, 5), -1.0)
    for row in range(rows):
        for place, (label, light) in enumerate(((3, 240), (7, 10))):
            high, wide = generator.integers(3, 7, 2)
            top = place * 8 + generator.integers(0, 8 - high + 1)
            left = generator.integers(0, SIDE - wide + 1)
            x[row, top : top + high, left : left + wide] = light
            boxes[row, place] = label, left, top, left + wide, top + high
    boxes[0] = -1.0  # nothing is there
    x[0] = 128
    return x.clip(0, 255).astype(np.uint8), boxes


def shape_of(rung: Rung) -> ShapeClass:
    return ShapeClass(
        "detection",
        rung,
        "classification",
        SIDE * SIDE,
        25,
        4,
        input_shape=(SIDE, SIDE, 1),
        target_shape=(4, 4, 5),
    )


def test_a_new_network_finds_nothing() -> None:
    shape = shape_of(Rung(2, 16))
    for seed in range(3):
        params, statistics = DETECTION.init(np.random.default_rng(seed), shape, shape.features)
        x = jnp.array(
            np.random.default_rng(seed).standard_normal((64, shape.features)), jnp.float32
        )
        # As in training, where the images themselves are what is normalised by.
        made, _ = DETECTION.apply(shape, params, statistics, x, jnp.float32(0.0), jnp.uint32(seed))
        assert made.shape == (64, 4, 4, 5, 25)
        nothing = jax.nn.softmax(made)[..., 0]
        # The other 24 outputs of a choice are about normal, so that nothing has a little less.
        assert 0.95 < float(nothing.mean()) < 0.99
        assert float(jnp.mean(jnp.argmax(made, axis=-1) == 0)) > 0.999


def make_params(shape: ShapeClass, seed: int = 0) -> Layers:
    """As if it had been trained: nothing is at the value that it began with."""
    generator = np.random.default_rng(seed)
    params, _ = DETECTION.init(generator, shape, shape.features)
    return jax.tree.map(
        lambda leaf: leaf + 0.1 * generator.standard_normal(leaf.shape).astype(np.float32), params
    )


def outputs_of(
    shape: ShapeClass, params: Layers, x: np.ndarray, seen: Layers | None = None
) -> np.ndarray:
    """In evaluation; None: by the means and variances of no batch, 0 and 1."""
    state = unseen(params) if seen is None else seen
    outputs, _ = DETECTION.apply(shape, params, state, jnp.asarray(x), jnp.float32(0.0), None)
    return np.asarray(outputs)


def statistics_in(seen: Layers) -> list[Statistics]:
    return jax.tree.leaves(seen, is_leaf=lambda part: isinstance(part, Statistics))


def seen_by(shape: ShapeClass, params: Layers) -> Layers:
    """What batch normalisation has seen behind a batch of noise."""
    x = np.random.default_rng(4).standard_normal((8, shape.features)).astype(np.float32)
    given = (jnp.asarray(x), jnp.float32(0.0), jnp.uint32(1))
    outputs, seen = DETECTION.apply(shape, params, unseen(params), *given)
    again, twice = DETECTION.apply(shape, params, seen, *given)
    np.testing.assert_array_equal(again, outputs)  # training is by the batch alone
    for one, two in zip(statistics_in(seen), statistics_in(twice), strict=True):
        np.testing.assert_allclose(one.weight, 0.1, rtol=1e-5)
        np.testing.assert_allclose(two.weight, 0.19, rtol=1e-5)
        np.testing.assert_allclose(two.mean, one.mean, rtol=1e-4, atol=1e-6)
        assert np.all(one.variance > 0)
    return jax.tree.map(np.asarray, seen)


# --- what boxes mean


def test_boxes_come_back_from_the_choices_of_the_cells() -> None:
    _, boxes = squares()
    target = BoxTarget.fit(boxes, (SIDE, SIDE, 1))
    assert (target.classes, target.outputs, target.target_shape) == ((3, 7), 25, (4, 4, 5))
    decoded = target.decode(target.encode(boxes, "train"))
    for known, found in zip(boxes, decoded, strict=True):
        known = known[known[:, 0] >= 0]
        order = np.lexsort(known.T[::-1])
        np.testing.assert_array_equal(known[order, 0], found[np.lexsort(found.T[::-1]), 0])
        np.testing.assert_allclose(
            known[order],
            found[np.lexsort(found.T[::-1])],
            atol=np.diff(target.distances).max() / 2 + 1e-9,
        )


@pytest.mark.parametrize(
    "box", [(0, 0, 1, 1), (3, 3, 4, 4), (5, 5, 7, 7), (1, 0, 7, 3), (0, 0, 7, 7)]
)
def test_small_boxes_and_those_at_an_edge_are_told_well_enough(box: tuple[int, ...]) -> None:
    """Beside an object that fills the image; seven pixels are no whole number of cells."""
    boxes = np.array([[[0, *box]], [[0, 0, 0, 7, 7]]], float)
    target = BoxTarget.fit(boxes, (7, 7, 1))
    (found,) = target.decode(target.encode(boxes[:1], "train"))
    assert overlaps(boxes[0, :, 1:], found[:, 1:])[0, 0] > 0.6


def test_of_two_centres_in_a_cell_the_smaller_object_is_kept() -> None:
    boxes = np.array([[[0, 1, 1, 4, 4], [1, 0, 0, 6, 6], [2, 8, 8, 12, 12]]], float)
    target = BoxTarget.fit(boxes, (SIDE, SIDE, 1))
    for order in ([0, 1, 2], [1, 0, 2]):
        (found,) = target.decode(target.encode(boxes[:, order], "train"))
        assert sorted(found[:, 0]) == [0, 2]
    images = np.random.default_rng(0).random((10, SIDE, SIDE))
    task = from_arrays(images, np.repeat(boxes, 10, axis=0))
    assert task.notes == ("10 objects share a cell of 4 x 4 pixels with a smaller one",)


@given(st.integers(0, 10_000))
def test_what_is_certain_is_found_where_it_is(seed: int) -> None:
    """Probabilities of 1 for what was encoded give the boxes back, those that overlap once."""
    generator = np.random.default_rng(seed)
    low = generator.uniform(0, SIDE - 4, (1, 3, 2))
    boxes = np.concatenate(
        [generator.integers(0, 3, (1, 3, 1)), low, low + generator.uniform(1, 4, (1, 3, 2))], axis=2
    )
    target = BoxTarget.fit(boxes, (SIDE, SIDE, 1))
    numbers = target.encode(boxes, "train")
    (known,), (found,) = target.decode(numbers), detections(np.eye(25)[numbers], target)
    assert (found[:, 5] == 1.0).all()
    for box in found:
        assert np.abs(known - box[:5]).max(axis=1).min() < 1e-9
    for box in known:  # it, or one of its class that it overlaps
        same = found[found[:, 0] == box[0], 1:5]
        assert overlaps(box[None, 1:], same).max() > 0.5


# --- how what is found is judged


def test_average_precision_is_that_of_a_case_by_hand() -> None:
    known = [
        np.array([[0, 0, 0, 10, 10], [0, 20, 20, 30, 30]], float),
        np.array([[0, 0, 0, 10, 10], [1, 5, 5, 9, 9]], float),
        np.zeros((0, 5)),
    ]
    found = [
        # Right; the same again, which counts as wrong; far away.
        np.array([[0, 0, 0, 10, 10, 0.9], [0, 0, 1, 10, 10, 0.8], [0, 50, 50, 60, 60, 0.3]]),
        # Overlaps by 50 of 150: wrong. Class 1 is missed.
        np.array([[0, 5, 0, 15, 10, 0.7], [0, 0, 0, 10, 9, 0.6]]),
        np.zeros((0, 6)),
    ]
    # In order: right, wrong, wrong, right, wrong; of three there are. 1/3 at 1, 1/3 at 2/4.
    assert mean_average_precision(known, found) == pytest.approx((1 / 3 + 1 / 6) / 2)
    exact = [np.column_stack([boxes, np.ones(len(boxes))]) for boxes in known]
    assert mean_average_precision(known, exact) == 1.0
    assert np.isnan(mean_average_precision(known[2:], found[2:]))


@given(st.integers(0, 10_000))
def test_average_precision_is_the_area_under_all_points(seed: int) -> None:
    """By its definition: at each recall the best precision that any longer list has."""
    generator = np.random.default_rng(seed)
    known, found = [], []
    for _ in range(3):
        low = generator.integers(0, 8, (int(generator.integers(1, 4)), 2)).astype(float)
        known.append(np.column_stack([np.zeros(len(low)), low, low + 4]))
        low = generator.integers(0, 8, (int(generator.integers(0, 5)), 2)).astype(float)
        found.append(
            np.column_stack([np.zeros(len(low)), low, low + 4, generator.random(len(low))])
        )
    guesses = sorted(
        ((box[5], image, box) for image, boxes in enumerate(found) for box in boxes),
        key=lambda guess: -guess[0],
    )
    total, points, hits, taken = sum(map(len, known)), [], 0, set()
    for count, (_, image, box) in enumerate(guesses, 1):
        shared = [
            max(0.0, min(box[3], o[3]) - max(box[1], o[1]))
            * max(0.0, min(box[4], o[4]) - max(box[2], o[2]))
            for o in known[image]
        ]
        ious = [common / (32 - common) for common in shared]
        best = int(np.argmax(ious))
        if ious[best] >= 0.5 and (image, best) not in taken:
            taken.add((image, best))
            hits += 1
        points.append((hits / total, hits / count))
    area = sum(
        max([precision for recall, precision in points if recall >= level / total], default=0.0)
        for level in range(1, total + 1)
    )
    assert mean_average_precision(known, found) == pytest.approx(area / total)


class Oracle:
    """A model that is certain of what the targets say."""

    kind = "classification"

    def __init__(self, task: Task) -> None:
        self.preprocessing, self.outputs = task.preprocessing, task.outputs

    def raw(self, part: Split) -> np.ndarray:
        return np.eye(self.outputs)[part.y]

    def targets(self, part: Split) -> np.ndarray:
        return part.y

    def values(self, raw: np.ndarray) -> np.ndarray:
        return raw

    def loss(self, part: Split, raw: np.ndarray) -> float:
        return 0.0


def test_boxes_are_judged_as_they_were_given_not_as_they_are_learned() -> None:
    """What shares a cell is missed, and so is what is larger than anything in training."""
    images = np.random.default_rng(0).random((12, SIDE, SIDE))
    small = np.array([[0, 1, 1, 3, 3], [1, 9, 9, 12, 12]], float)
    crowded = np.array([[0, 1, 1, 3, 3], [0, 0, 0, 5, 5]], float)
    large = np.array([[1, 0, 0, 16, 16]], float)
    train = padded([small] * 12)
    test = padded([crowded, large, *[small] * 10])
    task = from_arrays(images, train, x_test=images, y_test=test)
    model: Any = Oracle(task)
    assert task.test is not None
    _, valid = judge(model, task, "valid", model.raw(task.valid), "map_50")
    assert valid == 1.0
    _, value = judge(model, task, "test", model.raw(task.test), "map_50")
    # Of class 0 one of 12 objects is lost, of class 1 one of 11 is found at a wrong size. All are
    # found with the same confidence, and the wrong one, being in the second image, comes second.
    assert value == pytest.approx((11 / 12 + 10 / 11 * 10 / 11) / 2)


def test_folds_have_the_boxes_of_their_rows() -> None:
    x, boxes = squares()
    task = from_arrays(x, boxes)
    for fold in fold_tasks(task, 3, 0)[0]:
        assert fold.boxes is not None
        assert task.preprocessing is not None
        known = task.preprocessing.encode_target(fold.boxes["valid"], "valid")
        np.testing.assert_array_equal(known, fold.valid.y)


# --- the network


def test_the_outputs_are_five_choices_of_each_cell() -> None:
    shape = shape_of(Rung(2, 8))
    x = np.random.default_rng(1).standard_normal((4, SIDE * SIDE)).astype(np.float32)
    made = outputs_of(shape, make_params(shape), x)
    assert made.shape == (4, 4, 4, 5, 25)
    alone = outputs_of(shape, make_params(shape), x[2:3])
    np.testing.assert_allclose(alone[0], made[2], rtol=1e-4, atol=1e-5)


def plain_network(xp: Any, params: Layers, x: Any, side: int, activation: Any) -> Any:
    """Written out in order; images are continued by their edge to whole cells."""
    (stage,) = params.stages
    room = -side % 4
    x = xp.pad(x.reshape(-1, side, side, 1), ((0, 0), (0, room), (0, room), (0, 0)), mode="edge")
    x = activation(plain_norm(xp, plain_convolution(xp, x, stage.enter), stage.norm))
    at_the_half, *at_the_quarter = stage.blocks
    x = plain_pool(plain_block(xp, plain_pool(x), at_the_half, activation))
    for block in at_the_quarter:
        x = plain_block(xp, x, block, activation)
    x = activation(plain_norm(xp, x, params.norm))
    made = x @ params.last.kernel + params.last.bias[None, None, None]
    return made.reshape(*made.shape[:3], 5, -1)


@pytest.mark.parametrize(("rung", "side"), [(Rung(1, 8), 16), (Rung(3, 16), 14)], ids=str)
def test_a_rung_is_a_plain_network(rung: Rung, side: int) -> None:
    shape = replace(shape_of(rung), features=side * side, input_shape=(side, side, 1))
    params = make_params(shape)
    seen = make_seen(params)
    x = np.random.default_rng(1).standard_normal((3, side * side)).astype(np.float32)
    for by, start in ((seen, None), (None, jnp.uint32(3))):  # in evaluation, in training
        wide = in_float64(params, by)
        expected = plain_network(np, wide, x.astype(np.float64), side, lambda x: np.maximum(x, 0.0))
        assert expected.shape == (3, 4, 4, 5, 25)
        made, _ = DETECTION.apply(shape, params, seen, jnp.asarray(x), jnp.float32(0.0), start)
        np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_training_is_a_plain_loop_of_optax() -> None:
    task = from_arrays(*squares(), batch_size=8)
    bank = jax.device_put(make_bank(task, padded=False))
    settings = DEFAULT._replace(learning_rate=3e-3, weight_decay=1e-2, activation=1.0)
    episode = episodes.begin(task, bank, Start(5, settings, Rung(1, 8), 30.0, 3), ())

    def network(params: Layers, x: jax.Array) -> Any:
        return plain_network(jnp, params, x, SIDE, jax.nn.gelu)

    check_against_optax(episode, bank, network, least=5)


def test_a_cell_answers_for_its_place() -> None:
    """What is moved by a cell is seen in the next one."""
    shape = replace(
        shape_of(Rung(1, 8)), features=40 * 40, input_shape=(40, 40, 1), target_shape=(10, 10, 5)
    )
    images = np.zeros((2, 40, 40), np.float32)
    images[0, 16:20, 16:20] = images[1, 16:20, 20:24] = 1.0
    one, other = outputs_of(shape, make_params(shape), images.reshape(2, -1))
    np.testing.assert_allclose(one[4, 4], other[4, 5], rtol=0.02, atol=0.01)
    assert np.abs(one[4, 4] - one[4, 5]).max() > 0.3


@pytest.mark.parametrize("way", ["wwwddd", "wdwdwd"])
def test_any_way_up_the_ladder_keeps_the_outputs(way: str) -> None:
    shape = shape_of(Rung(1, 8))
    params = make_params(shape)
    live = Live(params, seen_by(shape, params), adamw.init(params, 0.9), average=params)
    x = np.random.default_rng(2).standard_normal((2, SIDE * SIDE)).astype(np.float32)
    before = outputs_of(shape, params, x, live.model_state)
    for number, step in enumerate(way):
        rung = (DETECTION.wider if step == "w" else DETECTION.deeper)(shape.rung)
        assert rung is not None
        live = grow(np.random.default_rng(number), shape, live, rung)
        shape = replace(shape, rung=rung)
        native, _ = DETECTION.init(np.random.default_rng(0), shape, shape.features)
        jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), live.params, native)
    after = outputs_of(shape, live.params, x, live.model_state)
    assert np.abs(after - before).max() <= 1e-4 * np.abs(before).max()


def test_operations_are_counted_one_by_one() -> None:
    shape = shape_of(Rung(3, 16))
    params = make_params(shape)
    (stage,) = params.stages
    of_blocks = [block.first.size + block.second.size for block in stage.blocks]
    count = 256 * stage.enter.size + 64 * of_blocks[0] + 16 * sum(of_blocks[1:])
    count += 16 * params.last.kernel.size
    forward, both = DETECTION.flops(shape)
    assert forward == 2.0 * count
    assert both == 6.0 * count - 2.0 * 256 * stage.enter.size


# --- tasks


def test_arrays_with_boxes_are_a_task_for_detection() -> None:
    x, boxes = squares()
    task = from_arrays(x, boxes)
    assert (task.family, task.kind, task.outputs) == ("detection", "classification", 25)
    assert (task.input_shape, task.target_shape) == ((SIDE, SIDE, 1), (4, 4, 5))
    assert make_plan(Request(), task, ()).score == "map_50"
    stored = task.preprocessing
    assert stored is not None
    assert Preprocessing.from_json(json.loads(json.dumps(stored.to_json()))) == stored
    lists = from_arrays(x, [one[one[:, 0] >= 0] for one in boxes])
    np.testing.assert_array_equal(lists.train.y, task.train.y)
    rare = boxes.copy()
    rare[5, 2] = 99, 0, 0, 2, 2
    assert (from_arrays(x, rare).train.y[..., 0] == 3).sum() == 1
    with pytest.raises(ValueError, match=r"^unknown score 'accuracy' for boxes; there are: map_50"):
        make_plan(Request(score="accuracy"), task, ())


def test_masks_of_five_columns_are_no_boxes() -> None:
    masks = np.zeros((4, 6, 5), np.int64)
    assert not are_boxes(masks, (6, 5))
    assert not are_boxes(masks.tolist(), (6, 5))
    assert are_boxes(masks, (SIDE, SIDE))
    assert not are_boxes([1, 2, 3], ())
    assert not are_boxes(["a", "bb"], ())


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((3, 4, 4, 4, 8), "3, 4, 4, 4, 8 in image 1, which has no area: it must be class, x0,"),
        ((3, 4, 4, 17, 8), "3, 4, 4, 17, 8 in image 1, which is not within its image of 16 x 16"),
        (
            (0.5, 4, 4, 8, 8),
            "0.5, 4, 4, 8, 8 in image 1, which needs a whole number from 0 as its class",
        ),
        ((3, 4, 4, np.nan, 8), "3, 4, 4, nan, 8 in image 1, which needs a whole number from 0 as"),
    ],
)
def test_boxes_that_cannot_be_used_are_named(box: tuple[float, ...], message: str) -> None:
    x, boxes = squares()
    boxes[1, 2] = box
    with pytest.raises(ValueError, match=f"^y has the box {message}"):
        from_arrays(x, boxes)


def test_data_that_boxes_do_not_fit_is_named() -> None:
    x, boxes = squares()
    for images, y, message in (
        (x, np.full_like(boxes, -1.0), "the target is -1.0 in every row"),
        (x.reshape(len(x), -1), boxes, "y has boxes, but x has no images; boxes need 4 pixels"),
        (x, boxes[:-1], "x has 60 rows but y has 59"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            from_arrays(images, y)
    with pytest.raises(ValueError, match=r"^kind is regression, but y has boxes, which are for"):
        from_arrays(x, boxes, kind="regression")
    with pytest.raises(ValueError, match=r"^the test part has classes that the train part lacks"):
        from_arrays(x, boxes, x_test=x, y_test=np.where(boxes == 7, 8, boxes))
    with pytest.raises(ValueError, match=r"^y must be boxes \[rows, most, 5\], got shape"):
        read_boxes(boxes[..., :4])


def write_folder(folder: Path, rows: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """The squares as YOLO's programs want them; the image without objects has no file."""
    x, boxes = squares(rows)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number, (image, objects) in enumerate(zip(x, boxes, strict=True)):
        Image.fromarray(image).save(folder / "images" / f"{number:03d}.png")
        lines = [
            f"{label:g} {(x0 + x1) / 32:.6f} {(y0 + y1) / 32:.6f} {(x1 - x0) / 16} {(y1 - y0) / 16}"
            for label, x0, y0, x1, y1 in objects[objects[:, 0] >= 0]
        ]
        if lines:
            (folder / "labels" / f"{number:03d}.txt").write_text("\n".join(lines) + "\n")
    return x, boxes


def test_a_folder_of_images_and_labels_is_a_task() -> None:
    x, boxes = write_folder(Path("shapes"))
    task, same = load_task("shapes"), from_arrays(x, boxes)
    assert task.name == "shapes"
    for part in ("train", "valid", "test"):
        for a, b in zip(getattr(task, part), getattr(same, part), strict=True):
            np.testing.assert_array_equal(a, b)
    write_folder(Path("parts/train"))
    write_folder(Path("parts/Test"), 7)
    task = load_task("parts", image_size=8)
    assert task.test is not None
    assert (len(task.train.x), len(task.test.x)) == (24, 7)
    assert task.target_shape == (2, 2, 5)
    stored = task.preprocessing
    assert stored is not None
    (first, *_) = [one for one in stored.target.decode(task.test.y) if len(one)]
    assert first[:, 1:].max() <= 8


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0.5 0.5 0.2", "line 2 of {} must be `class x y width height`, five numbers, got "),
        ("1 0.5 0.5 0.2 x", "line 2 of {} must be `class x y width height`, five numbers, got "),
        ("1.5 0.5 0.5 0.2 0.2", "line 2 of {} has the class 1.5; a class is a whole number from"),
        ("1 0.9 0.5 0.4 0.2", "line 2 of {} has the box 0.9 0.5 0.4 0.2, which is not within"),
        ("1 0.5 0.5 0 0.2", "line 2 of {} has the box 0.5 0.5 0 0.2, which is not within"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(Path("shapes"), 6)
    Path("shapes/labels/001.txt").write_text(f"3 0.5 0.5 0.1 0.1\n{line}\n")
    assert main(["tune", "shapes"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"rlagent: {message.format('shapes/labels/001.txt')}")
    assert err.count("\n") == 1
    Path("shapes/labels/999.txt").write_text("")
    assert main(["tune", "shapes"]) == 2
    assert "shapes/labels/999.txt has no image in shapes/images" in capsys.readouterr().err


def test_scenes_have_exact_boxes() -> None:
    images, boxes = digit_scenes(20, most=1, seed=3)
    same, masks = digit_canvases(20, most=1, seed=3)
    np.testing.assert_array_equal(images, same)
    for mask, (box,) in zip(masks, boxes, strict=True):
        down, right = np.nonzero(mask)
        assert box.tolist() == [
            mask.max() - 1, right.min(), down.min(), right.max() + 1, down.max() + 1
        ]  # fmt: skip


def test_procedural_scenes_have_the_boxes_of_what_is_seen() -> None:
    owners = np.zeros((2, 6, 6), int)
    owners[0, 1:4, 2:5], owners[0, 3:6, 0:3] = 1, 2
    masks = np.where(owners == 1, 3, np.where(owners == 2, 1, 0))
    boxes = boxes_of(masks, owners)
    assert boxes[0].tolist() == [[2, 2, 1, 5, 4], [0, 0, 3, 3, 6]]
    assert (boxes[1] == -1).all()
    task = sample_detection_task(5, 10)
    assert (task.family, task.target_shape, task.outputs) == ("detection", (4, 4, 5), 25)
    assert task.test is not None
    assert len(task.test.x) == 10
    again = sample_detection_task(5, 10)
    np.testing.assert_array_equal(task.train.y, again.train.y)


# --- runs


def test_a_tuned_model_finds_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    x, boxes = squares(300)
    np.savez("shapes.npz", x=x, y=boxes)
    command = ["tune", "shapes.npz", "--rung", "16x1", "--method", "cosine", "--updates", "600"]
    assert main([*command, "--learning-rate", "0.01", "--out", "run"]) == 0
    assert ", 2 classes, the largest 3" in capsys.readouterr().err
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["score_name"] == "map_50"
    assert summary["test_score"] > 0.8  # one box for all would have less than 0.05
    assert "test_accuracy" not in summary
    assert main(["predict", "run", "shapes.npz", "--out", "boxes.npz"]) == 0
    with np.load("boxes.npz") as made:
        prediction = made["prediction"]
    result = rlagent.load_run("run")
    np.testing.assert_array_equal(prediction, padded(result.predict(x).tolist(), 6))
    assert result.score(x, boxes) > 0.8
    model = load_model(Path("run/model.safetensors"))
    np.testing.assert_array_equal(model.labels(model.values(model.raw(model.transform(x))))[3],
                                  result.predict(x)[3])  # fmt: skip


def test_predictions_for_a_folder_are_files_of_labels() -> None:
    write_folder(Path("shapes"))
    assert main(["tune", "shapes", *SMALL, "--out", "run"]) == 0
    assert main(["predict", "run", "shapes", "--out", "made"]) == 0
    assert len(list(Path("made").iterdir())) == 30
    texts = [path.read_text() for path in Path("made").glob("*.txt")]
    lines = [line.split() for text in texts for line in text.splitlines()]
    assert all(len(line) == 6 for line in lines)
    assert main(["predict", "run", "shapes", "--out", "made.csv"]) == 2


def test_several_networks_find_boxes_together() -> None:
    x, boxes = squares(100)
    options: dict[str, Any] = {"rung": "8x1", "method": "cosine", "updates": 16, "decisions": 2}
    result = rlagent.tune(x, boxes, ensemble="seeds", members=2, out="run", **options)
    assert result.summary["score_name"] == "map_50"
    assert len(result.predict(x)) == 100
    robust = rlagent.tune(x, boxes, robust_epsilon=0.1, out="robust", **options)
    assert robust.summary["robust_test_score"] is not None
