"""Images as input: what is done to an image before a network sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from rlagent_envs.tasks.array_input import MadeInput
from rlagent_envs.tasks.columns import is_table
from rlagent_envs.tasks.pictures import picture_of, pixels

IMAGES_AT_ONCE = 256  # converted at a time, because float32 takes four times the room


class ImageInput(MadeInput):
    """Images of any size, grey or in colours, brought to those of training, and standardised."""

    kind: Literal["image"] = "image"

    def check(self) -> None:
        """Raises ValueError if the parts do not fit together."""
        self.values.check()
        if len(self.values.shape) != 3 or self.values.shape[2] not in (1, 3):
            raise ValueError("its images are of another shape")

    def transform(self, given: Any) -> np.ndarray:
        """Images to float32 `[images, features]`.

        Args:
            given: a list of paths, images of Pillow's or arrays, see `picture_of`; or one array
                `[images, height, width]`, or with 1, 3 or 4 channels behind, of uint8.

        Raises:
            ValueError: naming the file or the place that cannot be used.
        """
        if is_table(given) or isinstance(given, str | Path):
            raise ValueError("the input must be a list of images, as in training")
        made = np.empty((len(given), self.features), np.float32)
        for first in range(0, len(given), IMAGES_AT_ONCE):
            piece = given[first : first + IMAGES_AT_ONCE]
            images = [self._pixels(one, first + place) for place, one in enumerate(piece)]
            made[first : first + len(images)] = self.values.transform(np.stack(images))
        return made

    def row_names(self, given: Any) -> tuple[str, list[str]]:
        """What the rows are called, and the name of each, where they are paths."""
        return "file", [str(path) for path in given]

    def _pixels(self, given: Any, place: int) -> np.ndarray:
        height, width, channels = self.values.shape
        return pixels(picture_of(given, f"image {place}"), (height, width), channels)
