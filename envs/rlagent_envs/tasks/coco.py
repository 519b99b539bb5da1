"""Annotations in the form of COCO: what a .json file says of images, and where these are.

Source: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field, FiniteFloat, PositiveInt, ValidationError

from rlagent_envs.tasks.part_folders import (
    folders_in,
    is_hidden,
    part_files,
    told_part,
    told_parts,
    train_folder,
)
from rlagent_envs.tasks.splits import SPLIT_NAMES, part_of
from rlagent_envs.tasks.targets import shortened

BESIDE = "_annotations.coco.json"  # Roboflow's, in the folder of the images
ANNOTATIONS, INSTANCES = "annotations", "instances*.json"
IMAGES, DATA = "images", "data"  # folders of images
KEYS = (b'"images"', b'"annotations"', b'"categories"', b'"bbox"')
MOST_ID = 99_999  # of a category

Id = int | str


class Picture(BaseModel):
    """An image."""

    id: Id
    file_name: Annotated[str, Field(min_length=1)]
    width: PositiveInt | None = None
    height: PositiveInt | None = None


class Annotation(BaseModel):
    """An object in an image, or a crowd of objects."""

    image_id: Id
    category_id: Annotated[int, Field(ge=0, le=MOST_ID)]
    bbox: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]  # x, y, width, height; pixels
    iscrowd: bool = False


class Category(BaseModel):
    """A class."""

    id: Annotated[int, Field(ge=0, le=MOST_ID)]
    name: str


class Coco(BaseModel):
    """What is read of a file; all else in it does not matter."""

    images: Annotated[list[Picture], Field(min_length=1)]
    annotations: list[Annotation] = []
    categories: list[Category] = []


class Source(NamedTuple):
    """A file of annotations, and the folders in which its images may be."""

    file: Path
    folders: tuple[Path, ...]

    def path_of(self, picture: Picture) -> Path:
        """Where an image is, or would be; ValueError if its name leads somewhere else."""
        name = picture.file_name.replace("\\", "/")
        parts = name.split("/")
        if ".." in parts or not parts[0] or ":" in parts[0] or "\0" in name:
            raise ValueError(
                f"{self.file} has the file_name {picture.file_name!r}, which leads out of the "
                "folder"
            )
        places = [folder / name for folder in self.folders]
        return next((place for place in places if place.is_file()), places[0])


def holds_coco(folder: Path) -> bool:
    """Whether a folder holds annotations, or a folder to train on that does."""
    return any(_files(one) for one in (folder, train_folder(folder)))


def sources(folder: Path) -> dict[str, Source]:
    """The annotations of each part: all in train if parts are not told.

    Either a file in the folder, or several of which the names tell the parts; or a file in each of
    its folders `train`, `valid` and `test`; see `_files` and `source_of`.

    Raises:
        ValueError: if there are none, or if names do not tell the parts.
    """
    if files := _files(folder):
        return _by_names(folder, files)
    if not _files(train_folder(folder)):
        raise ValueError(f"{folder} holds neither {BESIDE} nor {ANNOTATIONS}/{INSTANCES}")
    found = []
    for part, one in told_parts(folder):
        files = _files(one)
        if len(files) > 1:
            raise ValueError(f"{one} has several files of annotations: {_named(files)}")
        found += [(part, source_of(file)) for file in files]
    return _one_each(folder, found)


def source_of(file: Path) -> Source:
    """A file of annotations with the folders in which its images may be.

    For `instances_train2017.json` these are `train2017`, `train2017/images`, `images/train2017`,
    `images`, `data` and the folder itself, all beside it or above its folder `annotations`. The
    folder of the part, `train`, will do as well, in any case.
    """
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    if file.name == BESIDE:
        return Source(file, (file.parent,))
    above = file.parent.parent if file.parent.name == ANNOTATIONS else file.parent
    name, images = _told_by(file), above / IMAGES
    called = _folders_of(above, name)
    exact = (above / name, above / name / IMAGES, images / name) if name else ()
    alike = (*called, *(one / IMAGES for one in called), *_folders_of(images, name))
    places = (*exact, *alike, images, above / DATA, above)
    there = tuple(dict.fromkeys(one for one in places if one.is_dir()))
    return Source(file, there)


def read_coco(file: Path) -> Coco:
    """What a file says.

    Raises:
        ValueError: naming the first thing in it that cannot be used.
    """
    try:
        coco = Coco.model_validate_json(file.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        told = f"{place}: {first['msg']}" if place else first["msg"]
        raise ValueError(f"{file} holds no annotations as COCO has them: {told}") from None
    _refuse_twice(file, "images", (one.id for one in coco.images))
    _refuse_twice(file, "categories", (one.id for one in coco.categories))
    images, categories = ({one.id for one in there} for there in (coco.images, coco.categories))
    for number, one in enumerate(coco.annotations):
        if one.image_id not in images:
            raise ValueError(f"{file} has no image {one.image_id!r}, of its annotation {number}")
        if one.category_id not in categories:
            raise ValueError(
                f"{file} has no category {one.category_id}, of its annotation {number}"
            )
    return coco


def _files(folder: Path) -> list[Path]:
    """The files of annotations of a folder itself, the first of these kinds that there are.

    `_annotations.coco.json` as Roboflow exports it, `instances*.json` in the folder `annotations`
    or in the folder itself, and all .json files in one of both that have what COCO's have.
    """
    if (folder / BESIDE).is_file():
        return [folder / BESIDE]
    places = (folder / ANNOTATIONS, folder)
    for pattern in (INSTANCES, "*.json"):
        for place in places:
            found = [one for one in sorted(place.glob(pattern)) if not is_hidden(one.name)]
            if pattern != INSTANCES:
                found = [one for one in found if _looks_like_coco(one)]
            if found:
                return found
    return []


def _looks_like_coco(file: Path) -> bool:
    """Whether a file names all that annotations have; it may have gigabytes."""
    if not file.is_file() or file.stat().st_size == 0:
        return False
    with (
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        begins = content[:64].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")
        return begins and all(content.find(key) >= 0 for key in KEYS)


def _by_names(folder: Path, files: list[Path]) -> dict[str, Source]:
    """The files by the parts that their names tell; a single one is for all."""
    if len(files) == 1:
        return {"train": source_of(files[0])}
    told = [(part_of(_told_by(file)), file) for file in files]
    found = [(part, source_of(file)) for part, file in told if part is not None]
    if len(found) == len(files):
        return _one_each(folder, found)
    if parts := part_files(files):  # boats_train.json, train_annotations.json
        return {part: source_of(file) for part, file in parts.items()}
    unknown = next(file for part, file in told if part is None)
    raise ValueError(
        f"{unknown} does not tell its part: of several files the names must be instances_ and "
        f"one of {', '.join(SPLIT_NAMES)}"
    )


def _told_by(file: Path) -> str:
    """`train2017` of instances_train2017.json."""
    return file.stem.removeprefix("instances").lstrip("_-")


def _folders_of(folder: Path, name: str) -> list[Path]:
    """The folders in a folder that are called as the part that a name tells."""
    part = part_of(name) or told_part(name)
    if part is None or not folder.is_dir():
        return []
    return [one for one in folders_in(folder) if part_of(one.name) == part]


def _named(files: list[Path]) -> str:
    return shortened([one.name for one in files])


def _one_each(folder: Path, found: list[tuple[str, Source]]) -> dict[str, Source]:
    """The sources by their parts; ValueError if train lacks, or a part has two."""
    twice = [part for part, count in Counter(part for part, _ in found).items() if count > 1]
    if twice:
        raise ValueError(f"{folder} has two files of annotations for the {twice[0]} part")
    parts = dict(found)
    if "train" not in parts:
        raise ValueError(f"{folder} has annotations of {', '.join(parts)}, but none of train")
    return parts


def _refuse_twice(file: Path, what: str, ids: Iterable[Id]) -> None:
    twice = [one for one, count in Counter(ids).items() if count > 1]
    if twice:
        raise ValueError(f"{file} has two {what} of the id {twice[0]!r}")
