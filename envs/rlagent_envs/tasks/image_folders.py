"""Tasks from folders of images."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from rlagent_envs.tasks import folders
from rlagent_envs.tasks.array_input import LEAST_SIDE
from rlagent_envs.tasks.file_rows import are_streamed, digest_of, judged_files, streamed_parts
from rlagent_envs.tasks.folders import Labelled
from rlagent_envs.tasks.image_input import ImageInput
from rlagent_envs.tasks.listed_files import labelled_files, on_tables
from rlagent_envs.tasks.loading import rows_to_train, task_of_parts
from rlagent_envs.tasks.notes import on_brightness
from rlagent_envs.tasks.options import Options
from rlagent_envs.tasks.parts_apart import PARTS_APART
from rlagent_envs.tasks.pictures import (
    SUFFIXES,
    Size,
    has_colours,
    picture_of,
    pixels,
    read_in_thread,
    read_picture,
    size_of,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from rlagent_envs.tasks.task import Task

SIDE = 32  # pixels, of images that come in several sizes
MOST_BYTES = 8 * 2**30  # of all images, where nobody has asked for a size

Read = TypeVar("Read")


class Pixels(NamedTuple):
    """An image as it is learned, and what it was made of."""

    values: np.ndarray  # [height, width, 1 or 3], uint8
    source: Path | Image


class Facts(NamedTuple):
    """What is known of an image that is not kept."""

    coloured: bool
    brightest: int  # of its pixels, to 255
    digest: bytes


class AtOneSize(NamedTuple, Generic[Read]):
    """What was read of images, all of which get one size."""

    read: dict[Path, Read]  # of each that can be read
    size: Size
    sizes: dict[Path, Size]  # that they have
    notes: tuple[str, ...]  # what there is to say of it


def load_image_folder(folder: Path, options: Options) -> Task:
    """Makes a task of a folder: the class of an image is the folder that it is in.

    All images get one size: that which is asked for, else that of those to train on if they have
    the same, else 32 x 32 pixels. They are grey if none of those to train on has colours. Where
    they are streamed, all are decoded once for what has to be known of them, and again whenever an
    update needs them.

    Args:
        folder: see `labelled_files`.
        options: `target`, `image_size`, `skip_bad`, `streamed`, `valid`, `test`, batch size and
            seed are looked at.

    Raises:
        ValueError: naming the file or folder that cannot be used.
    """
    options.allow(
        f"{folder} is a folder of images",
        *("target", "image_size", "skip_bad", *PARTS_APART, "streamed"),
    )
    parts_of = partial(labelled_files, suffixes=SUFFIXES, target=options.target)
    parts = folders.with_apart(parts_of(folder), folder, options, parts_of)
    if "valid" not in parts:
        folders.check_counts(parts["train"], folder)
    others = (
        *folders.on_others((folder, *options.parts_apart.values()), SUFFIXES),
        *folders.on_alike(folder),
        *on_tables(folder, SUFFIXES, options.target),
    )
    name, options = folder.resolve().name, replace(options, kind="classification")
    files = {part: one.files for part, one in parts.items()}
    labels = {path: label for part in parts.values() for path, label in zip(*part, strict=True)}
    sizes = sizes_of(files, options)
    if are_streamed(options, 3 * _pixels_of(files, sizes, labels, options)):
        facts = read_at_one_size(
            files, options, read_facts, labels=labels, sizes=sizes, resident=False
        )
        facts = facts._replace(notes=(*facts.notes, *others))
        kept = _kept(parts, facts.read, folder)
        channels = 3 if any(facts.read[path].coloured for path in _training(kept, options)) else 1
        if are_streamed(options, channels * len(facts.read) * math.prod(facts.size)):
            return _streamed_task(kept, facts, channels, name, options)
    read, _, _, notes = read_at_one_size(files, options, read_pixels, labels=labels, sizes=sizes)
    parts = _kept(parts, read, folder)
    images = {
        name: ([read[path] for path in part.files], np.array(part.labels))
        for name, part in parts.items()
    }
    return image_task(images, name, options, (*notes, *others))


def _pixels_of(
    files: Mapping[str, Sequence[Path]],
    sizes: Mapping[Path, Size],
    labels: Mapping[Path, str],
    options: Options,
) -> int:
    """Of all images together, as far as the heads of their files tell."""
    of_training = [sizes[path] for path in _trained_on(files, sizes, labels, options)]
    size, _ = size_for_all(of_training, sizes.values(), asked_size(options))
    return len(sizes) * math.prod(size)


def _kept(
    parts: Mapping[str, Labelled], read: Mapping[Path, object], folder: Path
) -> dict[str, Labelled]:
    """The parts without the files that were not read."""
    left = {name: folders.kept(part, read) for name, part in parts.items()}
    if "valid" not in left:
        folders.check_counts(left["train"], folder)
    return left


def _training(parts: Mapping[str, Labelled], options: Options) -> list[Path]:
    """The files that a streamed task trains on, as they are drawn where none are told."""
    labels = {name: np.array(part.labels) for name, part in parts.items()}
    return [parts["train"].files[row] for row in rows_to_train(labels, options, streamed=True)]


def _streamed_task(
    parts: Mapping[str, Labelled],
    found: AtOneSize[Facts],
    channels: int,
    name: str,
    options: Options,
) -> Task:
    """The task of images that are decoded when they are needed."""
    facts, shape = found.read, (*found.size, channels)
    if options.image_size is None:
        _refuse_many_pixels(judged_files(parts), found.size, "to validate and test on ")
    digests = {path: one.digest for path, one in facts.items()}
    read = partial(_read_channels, shape=shape, digests=digests)
    given = streamed_parts(parts, read, shape, np.uint8, digests)
    said = on_brightness(max(facts[path].brightest for path in _training(parts, options)))
    coloured = 0 if channels == 3 else sum(one.coloured for one in facts.values())
    return _made_of_images(given, name, options, (*found.notes, *said, *_on_colours(coloured)))


def image_task(
    parts: Mapping[str, tuple[Sequence[Pixels], np.ndarray]],
    name: str,
    options: Options,
    notes: tuple[str, ...],
) -> Task:
    """The task of images of one size, as `as_pixels` gives them, and their targets."""
    train, targets = parts["train"][0], {part: y for part, (_, y) in parts.items()}
    rows = rows_to_train(targets, options, train[0].values.shape[:2])
    channels = max(train[row].values.shape[2] for row in rows)
    given = {part: (_stacked(images, channels), y) for part, (images, y) in parts.items()}
    every = [one.values for images, _ in parts.values() for one in images]
    coloured = sum(image.shape[2] > channels for image in every)
    brightest = max(int(given["train"][0][row].max()) for row in rows)
    said = (*on_brightness(brightest), *_on_colours(coloured))
    return _made_of_images(given, name, options, (*notes, *said))


def _on_colours(images: int) -> tuple[str, ...]:
    """Of images that lose their colours."""
    told = "other images have colours and become grey, as those to train on are"
    return (f"{images} {told}",) * (images > 0)


def _made_of_images(
    given: Mapping[str, tuple[Any, Any]], name: str, options: Options, notes: tuple[str, ...]
) -> Task:
    task = task_of_parts(given, name, options, notes=notes)
    assert task.preprocessing is not None
    return replace(task, preprocessing=task.preprocessing.made_by(ImageInput))


def read_at_one_size(
    parts: Mapping[str, Sequence[Path]],
    options: Options,
    example: Callable[[Path, Size], Read],
    measure: Callable[[Path], Size] = size_of,
    labels: Mapping[Path, str] | None = None,
    *,
    sizes: dict[Path, Size] | None = None,
    resident: bool = True,
) -> AtOneSize[Read]:
    """Reads images that all get one size, without those that cannot be read if that is asked for.

    Only images to train on decide which size that is.

    Args:
        parts: the files of each part.
        options: `image_size`, `skip_bad`, `kind` and `seed` are looked at.
        example: reads an image, and what belongs to it, for the size that it gets.
        measure: the size that an image has.
        labels: the class of each file; None where an image has many targets.
        sizes: as `sizes_of` has them, where they are known.
        resident: whether what is read of an image holds its pixels, of which memory has a limit; if
            it does not, threads read.

    Raises:
        ValueError: naming the first file that cannot be read and may not be left out.
    """
    asked, files = asked_size(options), _each_once(parts)
    sizes = sizes_of(parts, options, measure) if sizes is None else sizes
    read: dict[Path, Read] = {}
    size: Size | None = None
    while True:
        of_training = [sizes[path] for path in _trained_on(parts, sizes, labels, options)]
        found, notes = size_for_all(of_training, sizes.values(), asked)
        if found == size:
            return AtOneSize(read, size, sizes, (*folders.skipped(files, read), *notes))
        size = found
        if resident and asked is None:
            _refuse_many_pixels(len(sizes), size)
        read = folders.read_each(
            list(sizes),
            partial(_read_for, example, size),
            skip_bad=bool(options.skip_bad),
            threads=not resident,
        )
        # Where some are left out, others are drawn to train on.
        sizes = {path: sizes[path] for path in read}


def _read_for(example: Callable[[Path, Size], Read], size: Size, path: Path) -> Read:
    return example(path, size)


def sizes_of(
    parts: Mapping[str, Sequence[Path]],
    options: Options,
    measure: Callable[[Path], Size] = size_of,
) -> dict[Path, Size]:
    """The sizes of images, without those whose heads cannot be read if that is asked for."""
    return folders.read_each(_each_once(parts), measure, skip_bad=bool(options.skip_bad))


def _each_once(parts: Mapping[str, Sequence[Path]]) -> list[Path]:
    """The files of all parts."""
    return list(dict.fromkeys(path for part in parts.values() for path in part))


def asked_size(options: Options) -> Size | None:
    """The size that was asked for, if one was."""
    return None if options.image_size is None else parse_size(options.image_size)


def _trained_on(
    parts: Mapping[str, Sequence[Path]],
    there: Collection[Path],
    labels: Mapping[Path, str] | None,
    options: Options,
) -> list[Path]:
    """The files to train on among those that are there, as they are drawn where none are told.

    Where images have many targets, these may move some more of them into the part to train on.
    """
    kept = {part: [path for path in files if path in there] for part, files in parts.items()}
    if not kept["train"]:
        return []
    if labels is None:
        options = replace(options, kind="regression")
    targets = {
        part: np.array([0.0 if labels is None else labels[path] for path in files])
        for part, files in kept.items()
    }
    return [kept["train"][row] for row in rows_to_train(targets, options)]


def _refuse_many_pixels(images: int, size: Size, which: str = "") -> None:
    """Raises ValueError if images of a size that nobody asked for would take too much memory."""
    height, width = size
    needed = 3 * 4 * images * height * width  # float32, in colours
    if needed > MOST_BYTES:
        raise ValueError(
            f"{images} images {which}of {height}x{width} pixels would take up to "
            f"{needed / 2**30:.0f} GiB; name a smaller image_size, or {height}x{width} to keep it"
        )


def read_pixels(path: Path, size: Size) -> Pixels:
    """The image of a file, as `as_pixels` gives it."""
    return as_pixels(read_picture(path), size, path)


def read_facts(path: Path, size: Size) -> Facts:
    """What has to be known of an image before it is streamed; for threads."""
    image = as_pixels(read_in_thread(path), size).values
    return Facts(image.shape[2] > 1, int(image.max()), digest_of(image))


def _read_channels(
    path: Path, shape: tuple[int, int, int], digests: Mapping[Path, bytes]
) -> np.ndarray:
    """The image of a file with as many channels as all have; for threads."""
    image = as_pixels(read_in_thread(path), shape[:2])
    if digest_of(image.values) != digests[path]:
        raise ValueError(f"{path} has changed since it was first read")
    return _stacked([image], shape[2])[0]


def image_files(path: Path) -> list[Path]:
    """The image, or those of a folder and its folders; ValueError if there is none."""
    files = folders.files_below(path, SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise ValueError(
            f"the folder {path} holds no image ({', '.join(SUFFIXES)})"
            f"{folders.instead(path, SUFFIXES)}"
        )
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


def size_for_all(
    of_training: Collection[Size], of_all: Collection[Size], asked: Size | None
) -> tuple[Size, tuple[str, ...]]:
    """The size that images of some sizes get, and what to say of it.

    Args:
        of_training: the sizes of the images to train on.
        of_all: those of all images.
        asked: the size that was asked for.
    """
    if asked is not None:
        return asked, ()
    sizes = set(of_training)
    if len(sizes) == 1 and min(only := next(iter(sizes))) >= LEAST_SIDE:
        others = sum(size != only for size in of_all)
        told = f"{others} other images have other sizes and are resized to"
        return only, (f"{told} {only[0]}x{only[1]} pixels, as those to train on have",) * (
            others > 0
        )
    return (SIDE, SIDE), (
        f"images of {len(set(of_all))} sizes are resized to {SIDE}x{SIDE} pixels; --image-size "
        f"chooses another size",
    )


def as_pixels(picture: Image, size: Size, source: Path | None = None) -> Pixels:
    """With three channels of an image with colours, with one of one without.

    Args:
        picture: of mode L or RGB.
        size: height and width that it gets.
        source: the file that it is from, if it is from one.
    """
    values = pixels(picture, size, 1 if picture.mode == "L" else 3)
    if not has_colours(values):
        values = values[..., :1]
    return Pixels(values, picture if source is None else source)


def _stacked(images: Sequence[Pixels], channels: int) -> np.ndarray:
    """`[images, height, width, channels]`."""
    height, width, _ = images[0].values.shape
    made = np.empty((len(images), height, width, channels), np.uint8)
    for place, (image, source) in enumerate(images):
        if image.shape[2] > channels:  # grey first, and then resized, as new images are
            image = pixels(picture_of(source, str(source)), (height, width), channels)
        made[place] = image
    return made
