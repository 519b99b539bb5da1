"""Tasks from folders of images."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np

from rlagent_envs.tasks import folders
from rlagent_envs.tasks.array_input import LEAST_SIDE
from rlagent_envs.tasks.image_input import ImageInput
from rlagent_envs.tasks.loading import task_of_parts
from rlagent_envs.tasks.notes import on_pixels
from rlagent_envs.tasks.options import Options
from rlagent_envs.tasks.pictures import SUFFIXES, Size, has_colours, pixels, read_picture, size_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from rlagent_envs.tasks.task import Task

SIDE = 32  # pixels, of images that come in several sizes
MOST_BYTES = 8 * 2**30  # of all images, where nobody has asked for a size

Read = TypeVar("Read")


class AtOneSize(NamedTuple, Generic[Read]):
    """What was read of images, all of which get one size."""

    read: dict[Path, Read]  # of each that can be read
    size: Size
    sizes: dict[Path, Size]  # that they have
    notes: tuple[str, ...]  # what there is to say of it


def load_image_folder(folder: Path, options: Options) -> Task:
    """Makes a task of a folder: the class of an image is the folder that it is in.

    All images get one size: that which is asked for, else their own if they have the same, else 32
    x 32 pixels. They are grey if none of them has colours.

    Args:
        folder: see `folders.class_files`.
        options: `image_size`, `skip_bad`, `valid`, batch size and seed are looked at.

    Raises:
        ValueError: naming the file or folder that cannot be used.
    """
    options.allow(f"{folder} is a folder of images", "image_size", "skip_bad", "valid")
    class_files = partial(folders.class_files, suffixes=SUFFIXES)
    parts = folders.with_second(class_files(folder), folder, options.valid, class_files)
    every = [path for part in parts.values() for path in part.files]
    read, _, _, notes = read_at_one_size(every, options, read_pixels)
    parts = {name: folders.kept(part, read) for name, part in parts.items()}
    if "valid" not in parts:
        folders.check_counts(parts["train"], folder)
    images = {
        name: ([read[path] for path in part.files], np.array(part.labels))
        for name, part in parts.items()
    }
    options = replace(options, kind="classification")
    return image_task(images, folder.resolve().name, options, notes)


def image_task(
    parts: Mapping[str, tuple[Sequence[np.ndarray], np.ndarray]],
    name: str,
    options: Options,
    notes: tuple[str, ...],
) -> Task:
    """The task of images of one size, as `as_pixels` gives them, and their targets."""
    every = [image for images, _ in parts.values() for image in images]
    channels = max(image.shape[2] for image in every)
    given = {part: (_stacked(images, channels), y) for part, (images, y) in parts.items()}
    said = (*notes, *on_pixels(given["train"][0]))
    task = task_of_parts(given, name, options, notes=said)
    assert task.preprocessing is not None
    return replace(task, preprocessing=task.preprocessing.made_by(ImageInput))


def read_at_one_size(
    files: Sequence[Path],
    options: Options,
    example: Callable[[Path, Size], Read],
    measure: Callable[[Path], Size] = size_of,
) -> AtOneSize[Read]:
    """Reads images that all get one size, without those that cannot be read if that is asked for.

    Args:
        files: of the images.
        options: `image_size` and `skip_bad` are looked at.
        example: reads an image, and what belongs to it, for the size that it gets.
        measure: the size that an image has.

    Raises:
        ValueError: naming the first file that cannot be read and may not be left out.
    """
    asked = None if options.image_size is None else parse_size(options.image_size)
    skip_bad = bool(options.skip_bad)
    sizes = folders.read_each(files, measure, skip_bad=skip_bad)
    size, notes = size_for_all(set(sizes.values()), asked)
    if asked is None and len(set(sizes.values())) == 1:
        _refuse_many_pixels(len(sizes), size)
    read = folders.read_each(list(sizes), lambda path: example(path, size), skip_bad=skip_bad)
    return AtOneSize(read, size, sizes, (*folders.skipped(files, read), *notes))


def _refuse_many_pixels(images: int, size: Size) -> None:
    """Raises ValueError if images of their own size would take too much memory."""
    height, width = size
    needed = 3 * 4 * images * height * width  # float32, in colours
    if needed > MOST_BYTES:
        raise ValueError(
            f"{images} images of {height}x{width} pixels would take up to {needed / 2**30:.0f} "
            f"GiB; name a smaller image_size, or {height}x{width} to keep it"
        )


def read_pixels(path: Path, size: Size) -> np.ndarray:
    """The image of a file, as `as_pixels` gives it."""
    return as_pixels(read_picture(path), size)


def image_files(path: Path) -> list[Path]:
    """The image, or those of a folder and its folders; ValueError if there is none."""
    files = folders.files_below(path, SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"the folder {path} holds no image ({', '.join(SUFFIXES)})")
    return files


def readable_images(files: Sequence[Path]) -> list[Path]:
    """Those of some files that can be read; ValueError if there is none."""
    return list(folders.read_each(files, lambda path: read_picture(path).size, skip_bad=True))


def parse_size(text: str | int) -> Size:
    """Height and width of `32`, both, or `24x32`; ValueError for other texts and small sizes."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", str(text))
    size = (0, 0) if match is None else (int(match[1]), int(match[2] or match[1]))
    if min(size) < LEAST_SIDE:
        raise ValueError(
            f"image_size must be SIDE or HEIGHTxWIDTH, at least {LEAST_SIDE} pixels each, for "
            f"instance 32 or 24x32, got {text!r}"
        )
    return size


def size_for_all(sizes: Collection[Size], asked: Size | None) -> tuple[Size, tuple[str, ...]]:
    """The size that images of some sizes get, and what to say of it."""
    if asked is not None:
        return asked, ()
    if len(sizes) == 1 and min(only := next(iter(sizes))) >= LEAST_SIDE:
        return only, ()
    return (SIDE, SIDE), (
        f"images of {len(sizes)} sizes are resized to {SIDE}x{SIDE} pixels; --image-size chooses "
        f"another size",
    )


def as_pixels(picture: Image, size: Size) -> np.ndarray:
    """`[height, width, 3]` of an image with colours, `[height, width, 1]` of one without."""
    if picture.mode == "L":
        return pixels(picture, size, 1)
    image = pixels(picture, size, 3)
    return image if has_colours(image) else image[..., :1]


def _stacked(images: Sequence[np.ndarray], channels: int) -> np.ndarray:
    """`[images, height, width, channels]`."""
    made = np.empty((len(images), *images[0].shape[:2], channels), np.uint8)
    for place, image in enumerate(images):
        made[place] = image
    return made
