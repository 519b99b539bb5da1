"""Endless distributions of random images with masks or boxes: one for each seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rlagent_envs.tasks.box_target import NOTHING, BoxTarget
from rlagent_envs.tasks.procedural_common import (
    MAX_VALID_ROWS,
    context_of,
    divided,
    log_uniform,
)
from rlagent_envs.tasks.task import Split, Task, default_batch_size

# Each side has programs of its own, so there is one.
SIDE, MOST_OBJECTS, MOST_KINDS = 16, 4, 6
MOST_WRONG = 0.2  # probability that an object is called by any class, at the most
MOST_CANVASES = 2048  # to train on: a canvas is many examples in one


def sample_segmentation_task(
    seed: int, test_rows: int = 0, difficulty: float | None = None
) -> Task:
    """Objects with textures on canvases of 16 x 16, and their masks; the same for a seed.

    Each class has a form, a brightness and a pattern; by how much the classes differ in each of
    them is drawn for a task. What is put down later hides what was there.

    Args:
        seed: any number from 0.
        test_rows: canvases of a test part, none by default. Another number of them gives another
            task of the same kind and size.
        difficulty: from 0 to 1: how much noise there is; None: as it is drawn.
    """
    drawn = _draw(np.random.default_rng([seed, 21]), test_rows, difficulty)
    train, valid, test = divided(drawn.x, drawn.masks, drawn.sizes)
    return _task_of(
        drawn,
        f"procedural segmentation:{seed}",
        "segmentation",
        train,
        valid,
        test,
        1 + drawn.kinds,
    )


def sample_detection_task(seed: int, test_rows: int = 0, difficulty: float | None = None) -> Task:
    """The same canvases with the boxes of what is seen of the objects; the same for a seed.

    Args:
        seed: any number from 0.
        test_rows: canvases of a test part, none by default. Another number of them gives another
            task of the same kind and size.
        difficulty: from 0 to 1: how much noise there is; None: as it is drawn.
    """
    drawn = _draw(np.random.default_rng([seed, 22]), test_rows, difficulty)
    boxes = boxes_of(drawn.masks, drawn.owners)
    target = BoxTarget.fit(boxes[: drawn.sizes[0]], (SIDE, SIDE, 1))
    # A class that is not drawn for training has no number.
    boxes[~np.isin(boxes[..., 0], target.classes)] = NOTHING
    train, valid, test = divided(drawn.x, target.encode(boxes, "given"), drawn.sizes)
    name = f"procedural detection:{seed}"
    return _task_of(drawn, name, "detection", train, valid, test, target.outputs)


class _Drawn(NamedTuple):
    """Canvases of a task, and what they were drawn with."""

    x: np.ndarray  # [rows, features], float32
    masks: np.ndarray  # [rows, side, side]
    owners: np.ndarray  # the same: numbers of the objects
    sizes: tuple[int, int, int]  # of the parts
    kinds: int
    noise: float
    input_noise: float
    scale: float


def _draw(generator: np.random.Generator, test_rows: int, difficulty: float | None) -> _Drawn:
    """The canvases of a task."""
    kinds = int(generator.integers(1, MOST_KINDS + 1))
    # The larger of two draws, as for all procedural tasks.
    train_rows = round(max(log_uniform(generator, 64, MOST_CANVASES) for _ in range(2)))
    valid_rows = int(np.clip(train_rows // 3, 64, MAX_VALID_ROWS // 2))
    input_noise = float(generator.choice([0.0, log_uniform(generator, 0.05, 1.0)]))
    noise = float(generator.choice([0.0, 0.0, generator.uniform(0.0, MOST_WRONG)]))
    if difficulty is not None:
        input_noise, noise = difficulty, MOST_WRONG * difficulty
    sizes = (train_rows, valid_rows, test_rows)
    images, masks, owners = draw_canvases(generator, sum(sizes), kinds, noise)
    images += input_noise * images.std() * generator.standard_normal(images.shape, np.float32)
    seen = images[:train_rows]
    scale = float(generator.choice([1.0, log_uniform(generator, 0.3, 3.0)]))
    x = np.clip((images - seen.mean()) / (seen.std() + 1e-6), -10.0, 10.0) * scale
    x = x.reshape(len(x), SIDE * SIDE).astype(np.float32)
    return _Drawn(x, masks, owners, sizes, kinds, noise, input_noise, scale)


def _task_of(
    drawn: _Drawn,
    name: str,
    family: str,
    train: Split,
    valid: Split,
    test: Split | None,
    outputs: int,
) -> Task:
    target_shape = train.y.shape[1:]
    told = (drawn.kinds, drawn.noise, drawn.input_noise, drawn.scale)
    return Task(
        name=name,
        kind="classification",
        train=train,
        valid=valid,
        test=test,
        outputs=outputs,
        batch_size=default_batch_size(len(train.x), target_shape),
        family=family,
        input_shape=(SIDE, SIDE, 1),
        target_shape=target_shape,
        context=context_of(len(train.x), SIDE * SIDE, 9, *told),
    )


def boxes_of(masks: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """The boxes `[rows, most, 5]` around what is seen of each object; see `read_boxes`.

    Args:
        masks: `[rows, height, width]`: 0 for the ground, else 1 and the class of the object.
        owners: the same: 0 for the ground, else the number of the object.
    """
    most = max(1, int(owners.max()))
    boxes = np.full((len(masks), most, 5), NOTHING)
    for number in range(1, most + 1):
        seen = owners == number
        down, right = seen.any(axis=2), seen.any(axis=1)
        there = down.any(axis=1)
        label = np.where(seen, masks, 0).max(axis=(1, 2)) - 1
        edges = [
            right.argmax(axis=1),
            down.argmax(axis=1),
            right.shape[1] - right[:, ::-1].argmax(axis=1),
            down.shape[1] - down[:, ::-1].argmax(axis=1),
        ]
        boxes[there, number - 1] = np.stack([label, *edges], axis=1)[there]
    return boxes


def draw_canvases(
    generator: np.random.Generator, rows: int, kinds: int, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images `[rows, 16, 16]`, float32, masks and owners, int32.

    Masks have 0 for the ground, then the classes; owners 0 for the ground, then the objects.

    Args:
        generator: draws everything.
        rows: canvases to make.
        kinds: classes besides the ground.
        noise: probability that an object is called by any class.
    """
    down, right = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    places = np.stack([down, right]).astype(np.float32)
    forms = generator.integers(len(FORMS), size=kinds)
    brightness = log_uniform(generator, 0.1, 2.0) * generator.standard_normal(kinds) + 1.0
    waves = generator.uniform(-2.0, 2.0, (kinds, 2)) * generator.random()
    tilt = 0.1 * log_uniform(generator, 0.1, 2.0) * generator.standard_normal((rows, 2))
    images = np.tensordot(tilt, places - SIDE / 2, axes=1).astype(np.float32)
    masks = np.zeros((rows, SIDE, SIDE), np.int32)
    owners = np.zeros((rows, SIDE, SIDE), np.int32)
    largest = generator.uniform(3.0, 6.0)
    for number in range(1, 1 + int(generator.integers(1, MOST_OBJECTS + 1))):
        kind = generator.integers(kinds, size=rows)
        middle = generator.uniform(0.0, SIDE, (2, rows, 1, 1))
        radius = generator.uniform(1.5, largest, (rows, 1, 1))
        distance = np.stack([form(*(places[:, None] - middle)) for form in FORMS])
        inside = distance[forms[kind], np.arange(rows)] < radius
        phase = np.tensordot(waves[kind], places, axes=1)
        texture = brightness[kind][:, None, None] * np.cos(phase)
        images = np.where(inside, texture, images)
        others = generator.integers(kinds, size=rows)
        called = 1 + np.where(generator.random(rows) < noise, others, kind)
        masks = np.where(inside, called[:, None, None], masks)
        owners = np.where(inside, number, owners)
    return images.astype(np.float32), masks.astype(np.int32), owners.astype(np.int32)


# How far a pixel is from the middle, by the form of an object.
FORMS: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...] = (
    np.hypot,  # a disc
    lambda down, right: np.maximum(np.abs(down), np.abs(right)),  # a square
    lambda down, right: np.abs(down) + np.abs(right),  # a diamond
    lambda down, right: np.maximum(np.abs(down), 3.0 * np.abs(right)),  # a bar that stands
    lambda down, right: np.maximum(3.0 * np.abs(down), np.abs(right)),  # a bar that lies
)
