"""Annotations in the form of COCO: what a .json file says of images, and where these are.

Source: https://cocodataset.org/#format-data
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field, FiniteFloat, PositiveInt, ValidationError

from rlagent_envs.tasks.splits import SPLIT_NAMES, part_of

BESIDE = "_annotations.coco.json"  # Roboflow's, in the folder of the images
ANNOTATIONS, INSTANCES = "annotations", "instances*.json"
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
    """Whether a folder holds annotations, or a folder `train` that does."""
    places = (folder, folder / "train")
    return any((one / BESIDE).is_file() for one in places) or bool(_instances(folder))


def sources(folder: Path) -> dict[str, Source]:
    """The annotations of each part: all in train if parts are not told.

    Either `_annotations.coco.json` beside the images, of the folder or of each of its folders
    `train`, `valid` and `test`; or `instances_train2017.json` and the like, in the folder or in
    `annotations`, with images in `train2017`, `images/train2017`, `images` or the folder itself.

    Raises:
        ValueError: if there are none, or if names do not tell the parts.
    """
    if (folder / BESIDE).is_file():
        return {"train": Source(folder / BESIDE, (folder,))}
    if (folder / "train" / BESIDE).is_file():
        inside = sorted(one.parent for one in folder.glob(f"*/{BESIDE}"))
        told = {one: SPLIT_NAMES.get(one.name.lower()) for one in inside}
        return _one_each(
            folder, [(part, Source(one / BESIDE, (one,))) for one, part in told.items() if part]
        )
    files = _instances(folder)
    if not files:
        raise ValueError(f"{folder} holds neither {BESIDE} nor {ANNOTATIONS}/{INSTANCES}")
    if len(files) == 1:
        return {"train": source_of(files[0])}
    found = []
    for file in files:
        part = part_of(_told_by(file))
        if part is None:
            raise ValueError(
                f"{file} does not tell its part: of several files the names must be instances_ and "
                f"one of {', '.join(SPLIT_NAMES)}"
            )
        found.append((part, source_of(file)))
    return _one_each(folder, found)


def source_of(file: Path) -> Source:
    """A file of annotations with the folders in which its images may be."""
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    above = file.parent.parent if file.parent.name == ANNOTATIONS else file.parent
    name = _told_by(file)
    places = (above / name, above / "images" / name, above / "images", above)
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


def _instances(folder: Path) -> list[Path]:
    return sorted((folder / ANNOTATIONS).glob(INSTANCES)) or sorted(folder.glob(INSTANCES))


def _told_by(file: Path) -> str:
    """`train2017` of instances_train2017.json."""
    return file.stem.removeprefix("instances").lstrip("_-")


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
