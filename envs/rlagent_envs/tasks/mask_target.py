"""Masks: a class for each pixel of an image."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, StrictBool, StrictInt

from rlagent_envs.tasks.columns import Stored
from rlagent_envs.tasks.targets import encode_labels, read_array

MOST_CLASSES = 256  # of a mask: more different numbers are taken for a mistake


class MaskTarget(Stored):
    """Class numbers for each pixel; `classes` are the labels as they came, in their order."""

    kind: Literal["masks"] = "masks"
    classes: Annotated[tuple[StrictBool | StrictInt, ...], Field(min_length=2)]
    shape: Annotated[tuple[int, ...], Field(min_length=2, max_length=2)]  # height, width

    @classmethod
    def fit(cls, masks: np.ndarray) -> MaskTarget:
        """Learns the classes of the training masks; ValueError if there is a single one."""
        labels = np.unique(masks)
        if len(labels) == 1:
            raise ValueError(f"the masks have only one class in train, {labels.tolist()[0]!r}")
        return cls(classes=tuple(labels.tolist()), shape=masks.shape[1:])

    @property
    def outputs(self) -> int:
        """Outputs that a network needs: one for each class."""
        return len(self.classes)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """One for each pixel."""
        return self.shape

    def check_images(self, input_shape: tuple[int, ...]) -> None:
        """Raises ValueError if the inputs are no images, or of another height or width."""
        if input_shape[:2] != self.shape:
            given = f"images of {size_of(input_shape[:2])}" if input_shape else "no images"
            raise ValueError(f"y has masks of {size_of(self.shape)}, but x has {given}")

    def encode(self, target: Any, part: str) -> np.ndarray:
        """Labels `[rows, height, width]` to class numbers, int32.

        Raises:
            ValueError: for classes that training lacked, or another height or width.
        """
        masks = read_masks(target)
        if masks.shape[1:] != self.shape:
            raise ValueError(
                f"the {part} part has masks of {size_of(masks.shape[1:])}, "
                f"expected {size_of(self.shape)}"
            )
        return encode_labels(self.classes, masks, part)

    def decode(self, numbers: np.ndarray) -> np.ndarray:
        """Class numbers, of any shape, to labels."""
        return np.array(self.classes)[np.asarray(numbers)]


def read_masks(target: Any, name: str = "y") -> np.ndarray:
    """Masks as an array `[rows, height, width]` of whole numbers or booleans.

    Raises:
        ValueError: for anything else.
    """
    masks = read_array(target, name)
    if masks.ndim != 3:
        raise ValueError(f"{name} must be masks [rows, height, width], got shape {masks.shape}")
    if masks.size == 0:
        raise ValueError(f"{name} is empty, of shape {masks.shape}")
    if masks.dtype.kind not in "biu":
        raise ValueError(f"{name} must hold whole numbers or booleans, got {masks.dtype}")
    if masks.dtype.itemsize > 1 and (count := len(np.unique(masks))) > MOST_CLASSES:
        raise ValueError(
            f"{name} has {count} different values, at most {MOST_CLASSES} of a mask are classes"
        )
    return masks


def size_of(shape: tuple[int, ...]) -> str:
    """Height x width, in an error message."""
    return " x ".join(map(str, shape))
