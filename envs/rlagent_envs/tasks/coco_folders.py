"""Tasks from images and the boxes in them that files in the form of COCO tell."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rlagent_envs.tasks import folders
from rlagent_envs.tasks.box_target import padded
from rlagent_envs.tasks.class_names import with_names
from rlagent_envs.tasks.coco import Annotation, Coco, Id, Picture, Source, read_coco, sources
from rlagent_envs.tasks.image_folders import (
    image_task,
    read_at_one_size,
    read_pixels,
    readable_images,
)
from rlagent_envs.tasks.parts_apart import PARTS_APART
from rlagent_envs.tasks.pictures import Size, size_of

if TYPE_CHECKING:
    from rlagent_envs.tasks.options import Options
    from rlagent_envs.tasks.task import Task

BEYOND = 1.0  # pixel: boxes that reach further are told of


class Told(NamedTuple):
    """What a file says, and the path of each image."""

    source: Source
    coco: Coco
    paths: list[Path]


def load_coco_folder(folder: Path, options: Options) -> Task:
    """Makes a task of a folder with annotations in the form of COCO; see `coco.sources`.

    Categories are classes by their ids, and keep their names. Crowds are left out, boxes are cut
    at the edges of their images, and images without boxes show nothing. Images that no file names
    do not count. All images get one size, as those of `load_image_folder`, and boxes with them.

    Raises:
        ValueError: naming the file, and what in it cannot be used.
    """
    known = ("image_size", "skip_bad", *PARTS_APART, "kind")
    options.allow(f"{folder} holds annotations of COCO", *known)
    found = folders.with_apart(sources(folder), folder, options, sources)
    parts = {part: _told(source) for part, source in found.items()}
    names = _names(parts.values())
    pictures = {path: one for part in parts.values() for path, one in _by_path(part)}
    measure = partial(_checked_size, pictures)
    files = {part: told.paths for part, told in parts.items()}
    read, size, sizes, notes = read_at_one_size(files, options, read_pixels, measure)
    made, said = {}, list(notes)
    for part, told in parts.items():
        kept = [(path, one) for path, one in _by_path(told) if path in read]
        if not kept:
            raise ValueError(f"none of the images of {told.source.file} can be read")
        boxes, more = _boxes(told, kept, sizes, size)
        if part == "train" and not any(map(len, boxes)):
            raise ValueError(f"{told.source.file} tells no object, so there is nothing to find")
        made[part] = ([read[path] for path, _ in kept], padded(boxes))
        said += more
    options = replace(options, kind="detection")
    return with_names(image_task(made, folder.resolve().name, options, tuple(said)), names)


def read_annotated(
    source: Source, size: Size, names: Mapping[int, str], *, skip_bad: bool
) -> folders.Targeted:
    """The images that a file names, and their boxes `[images, most, 5]`.

    Args:
        source: the file.
        size: height and width of the images as they are learned.
        names: of the classes that training knows, where they have some.
        skip_bad: leave out images that cannot be read.

    Raises:
        ValueError: as `load_coco_folder`, and if a class has another name than in training.
    """
    told = _told(source)
    for one in told.coco.categories:
        if names.get(one.id, one.name) != one.name:
            raise ValueError(
                f"{source.file} calls the category {one.id} {one.name!r}, the data of the run "
                f"{names[one.id]!r}"
            )
    pictures = dict(_by_path(told))
    measure = partial(_checked_size, pictures)
    sizes = folders.read_each(told.paths, measure, skip_bad=skip_bad)
    images = readable_images(list(sizes)) if skip_bad else list(sizes)
    boxes, notes = _boxes(told, [(path, pictures[path]) for path in images], sizes, size)
    notes += folders.skipped(told.paths, images)
    return folders.Targeted(images, padded(boxes), tuple(notes))


def _told(source: Source) -> Told:
    coco = read_coco(source.file)
    return Told(source, coco, [source.path_of(one) for one in coco.images])


def _by_path(told: Told) -> Iterable[tuple[Path, Picture]]:
    return zip(told.paths, told.coco.images, strict=True)


def _names(parts: Iterable[Told]) -> dict[int, str]:
    """The name of each category; ValueError if two parts differ in one."""
    names: dict[int, str] = {}
    for source, coco, _ in parts:
        for one in coco.categories:
            if names.setdefault(one.id, one.name) != one.name:
                raise ValueError(
                    f"{source.file} calls the category {one.id} {one.name!r}, another file "
                    f"{names[one.id]!r}"
                )
    return names


def _checked_size(pictures: Mapping[Path, Picture], path: Path) -> Size:
    """Of an image; ValueError if it is not there, or not of the size that its boxes are for."""
    if not path.is_file():
        raise ValueError(f"the annotations name the image {path}, which is not there")
    height, width = size_of(path)
    told = pictures[path]
    if (told.height or height, told.width or width) != (height, width):
        raise ValueError(
            f"{path} has {height} x {width} pixels, but its annotations are for {told.height} x "
            f"{told.width}"
        )
    return height, width


def _boxes(
    told: Told, kept: Sequence[tuple[Path, Picture]], sizes: Mapping[Path, Size], size: Size
) -> tuple[list[np.ndarray], list[str]]:
    """The boxes `[objects, 5]` of images, in pixels of their new size, and what to say of them."""
    of_image: dict[Id, list[Annotation]] = defaultdict(list)
    for one in told.coco.annotations:
        of_image[one.image_id].append(one)
    counts: Counter[str] = Counter()
    boxes = []
    for path, picture in kept:
        objects = []
        for one in of_image[picture.id]:
            x, y, wide, high = one.bbox
            edges = np.array([x, y, x + wide, y + high])
            limits = np.array(sizes[path][::-1] * 2)
            within = np.clip(edges, 0.0, limits)
            if one.iscrowd:
                counts["are of crowds and are left out"] += 1
            elif not (within[2:] > within[:2]).all():
                counts["have no area in their images and are left out"] += 1
            else:
                if np.abs(edges - within).max() > BEYOND:
                    counts["reach beyond their images and are cut there"] += 1
                objects.append([one.category_id, *within / limits * (size[::-1] * 2)])
        boxes.append(np.array(objects, float).reshape(-1, 5))
    file = told.source.file
    return boxes, [f"{count} boxes of {file} {why}" for why, count in sorted(counts.items())]
