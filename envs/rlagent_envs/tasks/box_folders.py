"""Tasks from folders of images and of the boxes in them, as YOLO's programs want them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rlagent_envs.tasks import folders
from rlagent_envs.tasks.box_target import padded
from rlagent_envs.tasks.class_names import TEXT, find_names, with_names
from rlagent_envs.tasks.image_folders import (
    Pixels,
    image_task,
    read_at_one_size,
    read_pixels,
    readable_images,
)
from rlagent_envs.tasks.mask_folders import IMAGES, by_name, part_folders
from rlagent_envs.tasks.part_folders import is_hidden, told_parts, train_folder
from rlagent_envs.tasks.parts_apart import PARTS_APART
from rlagent_envs.tasks.pictures import SUFFIXES, Size
from rlagent_envs.tasks.splits import part_of
from rlagent_envs.tasks.targets import shortened

if TYPE_CHECKING:
    from rlagent_envs.tasks.options import Options
    from rlagent_envs.tasks.task import Task

LABELS = "labels"  # the folder with a .txt file for each image
VALUES = 5  # in a line of such a file
SLACK = 1e-3  # of the image: rounded shares may lie this far outside


class Place(NamedTuple):
    """The folders of a part."""

    images: Path
    labels: Path


def holds_boxes(folder: Path) -> bool:
    """Whether a folder holds images and labels, or a folder to train on that does."""
    places = (folder, train_folder(folder))
    apart = any((one / LABELS).is_dir() and (one / IMAGES).is_dir() for one in places)
    return apart or any(map(_has_beside, places))


def load_box_folder(folder: Path, options: Options) -> Task:
    """Makes a task of a folder with the folders `images` and `labels`, or of parts of that form.

    `labels/NAME.txt` has a line for each object in the image NAME: its class, a whole number, and
    the centre, width and height of its box as shares of the width and height of the image. An
    image without such a file, or with an empty one, shows no object. With folders `train` and, as
    it likes, `valid` (or val, validation, dev) and `test`, each of them has `images` and `labels`,
    or the other way round: `images/train` goes with `labels/train`. Or files of labels are beside
    the images, in the folder or in those of parts. All images get one size, as those of
    `load_image_folder`, and boxes with them. `data.yaml` or `classes.txt` names classes.

    Raises:
        ValueError: naming the file and line that cannot be used.
    """
    known = ("image_size", "skip_bad", *PARTS_APART, "kind")
    options.allow(f"{folder} is a folder of images with boxes", *known)
    found = folders.with_apart(places_of(folder), folder, options, places_of)
    names, named_by = find_names([folder, folder / LABELS, found["train"].labels])
    images = {part: by_name(one.images) for part, one in found.items()}
    for part, paths in images.items():
        _refuse_alone(found[part], set(paths))
    labels = {
        path: found[part].labels / f"{name}.txt"
        for part, paths in images.items()
        for name, path in paths.items()
    }

    def example(path: Path, size: Size) -> tuple[Pixels, np.ndarray]:
        return read_pixels(path, size), read_labels(labels[path], size)

    files = {part: list(paths.values()) for part, paths in images.items()}
    read, _, _, notes = read_at_one_size(files, options, example)
    made = {}
    for part, paths in images.items():
        place = found[part]
        kept = [read[path] for path in paths.values() if path in read]
        if not kept:
            raise ValueError(f"none of the images of {place.images} can be read")
        pictures, boxes = map(list, zip(*kept, strict=True))
        if named_by is not None:
            _refuse_nameless(boxes, place.labels, names, named_by)
        if part == "train" and not any(map(len, boxes)):
            raise ValueError(
                f"the files of {place.labels} hold no object, so there is nothing to find"
            )
        made[part] = (pictures, padded(boxes))
    options = replace(options, kind="detection")
    return with_names(image_task(made, folder.resolve().name, options, notes), names)


def read_boxed(place: Place, size: Size, *, skip_bad: bool) -> folders.Targeted:
    """The images of a part, and their boxes `[images, most, 5]`.

    Args:
        place: of the part.
        size: height and width of the images as they are learned.
        skip_bad: leave out images that cannot be read.

    Raises:
        ValueError: as `load_box_folder`.
    """
    images = by_name(place.images)
    _refuse_alone(place, set(images))
    names = {path: name for name, path in images.items()}
    kept = readable_images(list(names)) if skip_bad else list(names)
    boxes = [read_labels(place.labels / f"{names[path]}.txt", size) for path in kept]
    return folders.Targeted(kept, padded(boxes), folders.skipped(list(names), kept))


def places_of(folder: Path) -> dict[str, Place]:
    """The folders of each part: all in train if parts are not told."""
    if (beside := _beside(folder)) is not None:
        return beside
    told = {one.name: part_of(one.name) for one in sorted((folder / LABELS).glob("*/"))}
    if "train" not in told.values():
        found = part_folders(folder, LABELS)
        return {part: Place(one / IMAGES, one / LABELS) for part, one in found.items()}
    places: dict[str, Place] = {}
    for name, part in told.items():
        if part in places:
            raise ValueError(f"{folder / LABELS} has two folders for the {part} part")
        if part is not None:
            places[part] = Place(folder / IMAGES / name, folder / LABELS / name)
    return places


def _beside(folder: Path) -> dict[str, Place] | None:
    """The folders of parts with labels beside the images; None if they are not such."""
    if _has_beside(folder):
        return {"train": Place(folder, folder)}
    if not _has_beside(train_folder(folder)):
        return None
    places: dict[str, Place] = {}
    for part, one in told_parts(folder):
        if part in places:
            raise ValueError(f"{folder} has two folders for the {part} part")
        places[part] = Place(one, one)
    return places


def _has_beside(folder: Path) -> bool:
    """Whether a folder itself has images with a file of labels beside: five numbers in a line."""
    if not folder.is_dir():
        return False
    inside = [one for one in folder.iterdir() if not is_hidden(one.name)]
    images = {one.stem for one in inside if one.suffix.lower() in SUFFIXES}
    labels = (one for one in inside if one.suffix == ".txt" and one.stem in images)
    return any(map(_looks_like_labels, labels))


def _looks_like_labels(file: Path) -> bool:
    """Whether the first line of a file that is not empty is one of labels."""
    with file.open(encoding="utf-8-sig", errors="replace") as opened:
        first = next((line for line in opened if line.strip()), "")
    try:
        return len(list(map(float, first.split()))) == VALUES
    except ValueError:
        return False


def read_labels(path: Path, size: Size) -> np.ndarray:
    """The boxes of a file, `[objects, 5]`: class, x0, y0, x1 and y1, in pixels.

    Args:
        path: of the file; where there is none, there are no objects.
        size: height and width of the image as it is learned.

    Raises:
        ValueError: naming the file and the line.
    """
    if not path.is_file():
        return np.zeros((0, 5))
    height, width = size
    boxes = []
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file in UTF-8") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"line {number} of {path}"
        try:
            label, x, y, wide, high = map(float, line.split())
        except ValueError:
            raise ValueError(
                f"{where} must be `class x y width height`, five numbers, got {line.strip()!r}"
            ) from None
        if label % 1 or label < 0:
            raise ValueError(f"{where} has the class {label:g}; a class is a whole number from 0")
        edges = np.array([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2])
        if not (min(wide, high) > 0 and edges.min() >= -SLACK and edges.max() <= 1 + SLACK):
            raise ValueError(
                f"{where} has the box {x:g} {y:g} {wide:g} {high:g}, which is not within the "
                "image: all are shares of its width and height"
            )
        boxes.append([label, *np.clip(edges, 0.0, 1.0) * [width, height, width, height]])
    return np.array(boxes).reshape(-1, 5)


def label_lines(boxes: np.ndarray, size: Size) -> str:
    """What `read_labels` reads, with the confidence behind it.

    Args:
        boxes: `[objects, 6]`, class, x0, y0, x1, y1 and confidence, in pixels.
        size: height and width of the image as it was learned.
    """
    height, width = size
    lines = []
    for label, *edges, confidence in boxes:
        x0, y0, x1, y1 = np.array(edges) / [width, height, width, height]
        shares = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, confidence)
        lines.append(f"{label:g} " + " ".join(f"{share:.6f}" for share in shares))
    return "".join(f"{line}\n" for line in lines)


def _refuse_alone(place: Place, names: set[str]) -> None:
    """Raises ValueError if there are labels of an image that is not there."""
    for path in sorted(place.labels.glob("*.txt")) if place.labels.is_dir() else ():
        if path.stem not in names and path.name != TEXT and not is_hidden(path.name):
            raise ValueError(f"{path} has no image in {place.images}")


def _refuse_nameless(
    boxes: list[np.ndarray], labels: Path, names: Mapping[int, str], named_by: Path
) -> None:
    """Raises ValueError if a class is used that the file of names does not name."""
    for one in np.unique(np.concatenate([objects[:, 0] for objects in boxes])):
        if one not in names:
            raise ValueError(
                f"{labels} has objects of the class {one:g}, but {named_by} names only "
                f"{shortened([str(number) for number in sorted(names)])}"
            )
