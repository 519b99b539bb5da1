"""Boxes: what is where in an image, as choices that a network makes in each cell of it.

A cell of 4 x 4 pixels answers for the object whose centre it holds: of which class it is, and how
far each edge of its box is from the middle of the cell, as one of a number of distances, which lie
the closer together the smaller they are. So each target is a class number, all five of a cell
without an object are 0, and the cross-entropy is a proper score of all of them. The distances that
are predicted are means of what the network says of each, and so are finer than those.

Source: edges as distributions: Li et al. 2020, "Generalized Focal Loss" (arXiv:2006.04388),
section 3; a cell for the centre of an object: Zhou et al. 2019, "Objects as Points"
(arXiv:1904.07850); distances to four edges: Tian et al. 2019, "FCOS" (arXiv:1904.01355).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, StrictInt, StrictStr, model_validator

from rlagent_envs.forms import BOX_CELL, boxes_shape
from rlagent_envs.tasks.columns import Stored
from rlagent_envs.tasks.mask_target import size_of
from rlagent_envs.tasks.targets import encode_labels, read_array

DISTANCES = 24  # that an edge may have
NOTHING = -1.0  # class of a row that stands for no object


class BoxTarget(Stored):
    """Class and edges for each cell; `classes` are the labels as they came, in their order."""

    kind: Literal["boxes"] = "boxes"
    classes: Annotated[tuple[StrictInt, ...], Field(min_length=1)]
    names: tuple[StrictStr, ...] = ()  # of the classes, in their order; (): they have none
    shape: Annotated[tuple[int, ...], Field(min_length=2, max_length=2)]  # height, width of images
    reach: Annotated[float, Field(gt=0)]  # pixels: the largest distance of an edge

    @classmethod
    def fit(cls, boxes: np.ndarray, input_shape: tuple[int, ...]) -> BoxTarget:
        """Learns from the training rows.

        Args:
            boxes: `[rows, most, 5]`, as `read_boxes` gives them.
            input_shape: of the images, (height, width, channels).

        Raises:
            ValueError: if there is no object, or the inputs are no images that are large enough.
        """
        if len(input_shape) != 3 or min(input_shape[:2]) < BOX_CELL:
            given = f"images of {size_of(input_shape[:2])}" if input_shape else "no images"
            raise ValueError(f"y has boxes, but x has {given}; boxes need {BOX_CELL} pixels a side")
        there = boxes[boxes[..., 0] != NOTHING]
        if len(there) == 0:
            raise ValueError("the boxes of train are none at all: there is nothing to find")
        shape = input_shape[:2]
        _check_inside(boxes, shape)
        labels = np.unique(there[:, 0].astype(np.int64))
        _, distances = _places(there, shape)
        return cls(
            classes=tuple(labels.tolist()), shape=shape, reach=max(1.0, float(distances.max()))
        )

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if self.names and len(self.names) != len(self.classes):
            raise ValueError(f"there are {len(self.names)} names for {len(self.classes)} classes")
        return self

    def named(self, names: Mapping[int, str]) -> BoxTarget:
        """The same with the names of its classes, where all of them have one."""
        if not all(label in names for label in self.classes):
            return self
        return self.model_copy(update={"names": tuple(names[label] for label in self.classes)})

    @property
    def outputs(self) -> int:
        """Outputs that a network needs for each of the five choices of a cell; 0 is nothing."""
        return 1 + max(len(self.classes), DISTANCES)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Rows of cells, cells of a row, choices of a cell."""
        return boxes_shape(self.shape)

    def encode(self, target: Any, part: str) -> np.ndarray:
        """Boxes `[rows, most, 5]` to class numbers `[rows, *target_shape]`, int32.

        Where two centres are in one cell, the smaller object is kept.

        Raises:
            ValueError: for classes that training lacked, and boxes that are not within the images.
        """
        boxes = read_boxes(target)
        _check_inside(boxes, self.shape)
        row, place = np.nonzero(boxes[..., 0] != NOTHING)
        objects = boxes[row, place]
        # What is put down later stays.
        order = np.argsort(-_areas(objects), kind="stable")
        row, objects = row[order], objects[order]
        made = np.zeros((len(boxes), *self.target_shape), np.int32)
        if len(objects):
            cells, distances = _places(objects, self.shape)
            numbers = encode_labels(self.classes, objects[:, 0].astype(np.int64), part)
            between = (self.distances[1:] + self.distances[:-1]) / 2
            made[row, cells[:, 0], cells[:, 1], 0] = 1 + numbers
            made[row, cells[:, 0], cells[:, 1], 1:] = 1 + np.searchsorted(between, distances)
        return made

    def decode(self, numbers: np.ndarray) -> np.ndarray:
        """Class numbers `[rows, *target_shape]` to `[rows]` arrays of boxes `[objects, 5]`."""
        found = np.empty(len(numbers), object)
        for row, cells in enumerate(np.asarray(numbers)):
            down, right = np.nonzero(cells[..., 0])
            of_objects = cells[down, right]
            edges = self.edges(down, right, self.distances[of_objects[:, 1:] - 1])
            labels = np.array(self.classes)[of_objects[:, 0] - 1]
            found[row] = np.column_stack([labels, edges])
        return found

    @property
    def distances(self) -> np.ndarray:
        """Those that an edge may have, `[DISTANCES]`, in pixels.

        From half a cell inwards, where the edge of a small box may lie, they grow as squares do.
        """
        least = -BOX_CELL / 2
        made: np.ndarray = least + (self.reach - least) * np.linspace(0.0, 1.0, DISTANCES) ** 2
        return made

    def edges(self, down: np.ndarray, right: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """x0, y0, x1, y1 `[objects, 4]`, in pixels, within the image.

        Args:
            down: rows of the cells, `[objects]`.
            right: their places in the rows, `[objects]`.
            distances: from the middles of the cells to left, top, right and bottom, in pixels,
                `[objects, 4]`.
        """
        middle = (np.stack([right, down], axis=1) + 0.5) * BOX_CELL
        edges = np.concatenate([middle - distances[:, :2], middle + distances[:, 2:]], axis=1)
        height, width = self.shape
        return np.clip(edges, 0.0, [width, height, width, height])


def are_boxes(y: Any, image_size: tuple[int, ...]) -> bool:
    """Whether targets are boxes: five numbers each, and no masks of the size of the images.

    Args:
        y: what the user gave.
        image_size: height and width of the inputs, where they may be images.
    """
    if isinstance(y, Sequence) and len(y) and np.ndim(y[0]) > 0:  # others may be very many
        shapes = [np.shape(one) for one in y if np.size(one) > 0]
        if shapes and all(len(shape) == 2 and shape[1] == 5 for shape in shapes):
            return len({len(one) for one in y}) > 1 or shapes[0] != tuple(image_size)
    shape = np.shape(y) if isinstance(y, np.ndarray) else ()
    return len(shape) == 3 and shape[2] == 5 and shape[1:] != tuple(image_size)


def read_boxes(target: Any, name: str = "y") -> np.ndarray:
    """Boxes as an array `[rows, most, 5]`, float64: class, x0, y0, x1 and y1, in pixels.

    Args:
        target: such an array, in which rows of the class -1 stand for nothing, or a list of arrays
            `[objects, 5]`, one for each image.
        name: what errors call it.

    Raises:
        ValueError: naming the image, for anything else.
    """
    if not isinstance(target, np.ndarray):
        each = [np.asarray(one, np.float64) for one in target]
        for row, one in enumerate(each):
            if one.size and one.shape[1:] != (5,):
                raise ValueError(
                    f"{name} has {one.shape} numbers for the boxes of image {row}, "
                    "expected (objects, 5)"
                )
        target = padded([one.reshape(-1, 5) for one in each])
    boxes = read_array(target, name).astype(np.float64)
    if boxes.ndim != 3 or boxes.shape[2] != 5:
        raise ValueError(f"{name} must be boxes [rows, most, 5], got shape {boxes.shape}")
    there = boxes[..., 0] != NOTHING
    whole = (boxes[..., 0] >= 0) & (boxes[..., 0] % 1 == 0)
    wrong = there & ~(np.isfinite(boxes).all(axis=2) & whole)
    _refuse(boxes, wrong, name, "needs a whole number from 0 as its class, and finite edges")
    empty = there & ((boxes[..., 3] <= boxes[..., 1]) | (boxes[..., 4] <= boxes[..., 2]))
    _refuse(boxes, empty, name, "has no area: it must be class, x0, y0, x1, y1")
    return boxes


def padded(boxes: Sequence[np.ndarray], numbers: int = 5) -> np.ndarray:
    """The boxes `[objects, numbers]` of each image as one array `[rows, most, numbers]`."""
    most = max([1, *map(len, boxes)])
    made = np.full((len(boxes), most, numbers), NOTHING)
    for row, objects in enumerate(boxes):
        made[row, : len(objects)] = objects
    return made


def of_images(boxes: np.ndarray) -> list[np.ndarray]:
    """The boxes `[objects, 5]` of each image, of an array as `read_boxes` gives it."""
    return [one[one[:, 0] != NOTHING] for one in boxes]


def crowded(boxes: np.ndarray, encoded: np.ndarray) -> int:
    """How many objects share a cell with a smaller one, and so are not learned."""
    return int((boxes[..., 0] != NOTHING).sum()) - int((encoded[..., 0] > 0).sum())


def _places(objects: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The cell `[objects, 2]` of each box, and the distances of its edges `[objects, 4]`."""
    middle = (objects[:, 1:3] + objects[:, 3:5]) / 2
    rows, columns, _ = boxes_shape(shape)
    right, down = np.minimum(middle // BOX_CELL, [columns - 1, rows - 1]).astype(np.int64).T
    of_cell = (np.stack([right, down], axis=1) + 0.5) * BOX_CELL
    distances = np.concatenate([of_cell - objects[:, 1:3], objects[:, 3:5] - of_cell], axis=1)
    return np.stack([down, right], axis=1), distances


def _areas(objects: np.ndarray) -> np.ndarray:
    sides: np.ndarray = objects[:, 3:5] - objects[:, 1:3]
    return sides.prod(axis=1)


def _check_inside(boxes: np.ndarray, shape: tuple[int, ...]) -> None:
    height, width = shape
    limits = np.array([width, height, width, height])
    outside = (boxes[..., 1:] < 0) | (boxes[..., 1:] > limits)
    wrong = (boxes[..., 0] != NOTHING) & outside.any(axis=2)
    _refuse(boxes, wrong, "y", f"is not within its image of {size_of(shape)} pixels")


def _refuse(boxes: np.ndarray, wrong: np.ndarray, name: str, why: str) -> None:
    for row, place in np.argwhere(wrong):
        told = ", ".join(f"{value:g}" for value in boxes[row, place])
        raise ValueError(f"{name} has the box {told} in image {row}, which {why}")
