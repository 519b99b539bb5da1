"""Tasks from folders of images and of their masks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rlagent_envs.tasks import folders
from rlagent_envs.tasks.image_folders import (
    Pixels,
    image_task,
    read_at_one_size,
    read_pixels,
    readable_images,
)
from rlagent_envs.tasks.part_folders import is_hidden, told_parts, train_folder
from rlagent_envs.tasks.parts_apart import PARTS_APART
from rlagent_envs.tasks.pictures import DAMAGES, SUFFIXES, Size, size_of
from rlagent_envs.tasks.splits import SPLIT_NAMES

if TYPE_CHECKING:
    from PIL.Image import Image

    from rlagent_envs.tasks.options import Options
    from rlagent_envs.tasks.task import Task

IMAGES, MASKS = "images", "masks"  # the two folders
AROUND = "._- "  # between the name of an image and what the name of its mask has more
NAME, UNKNOWN = "NAME", ""  # what masks are called: NAME_mask, where NAME is that of an image
PLAIN = ("1", "L", "P", "I", "I;16")  # Pillow's modes in which a pixel is one number


class Pair(NamedTuple):
    """An image and the mask of the same name."""

    image: Path
    mask: Path


def holds_masks(folder: Path) -> bool:
    """Whether a folder holds images and masks, or a folder to train on that does."""
    return any((one / MASKS).is_dir() for one in (folder, train_folder(folder)))


def load_mask_folder(folder: Path, options: Options) -> Task:
    """Makes a task of a folder with the folders `images` and `masks`, or of parts of that form.

    An image and its mask have the same name, but for the ending and a prefix or suffix of all
    masks, `x_mask.png` of `x.jpg`, and the same size. A mask is an image without colours, or with a
    palette: the number of a pixel is its class, whatever numbers there are. It may have equal
    channels of red, green and blue, and one opacity all over. With folders `train` and, as it
    likes, `valid` (or val, validation, dev) and `test`, each of them has `images` and `masks`. All
    images get one size, as those of `load_image_folder`, and so do masks, whose pixels are never
    mixed.

    Raises:
        ValueError: naming the file that lacks its partner, is of another size, or cannot be read.
    """
    known = ("image_size", "skip_bad", *PARTS_APART, "kind")
    options.allow(f"{folder} is a folder of images with masks", *known)

    def parts_of(one: Path) -> dict[str, Path]:
        return part_folders(one, MASKS)

    found = folders.with_apart(parts_of(folder), folder, options, parts_of)
    parts = {part: _pairs(one) for part, one in found.items()}
    masks = {pair.image: pair.mask for pairs in parts.values() for pair in pairs}

    def example(path: Path, size: Size) -> tuple[Pixels, np.ndarray]:
        return read_pixels(path, size), _numbers(masks[path], size)

    files = {part: [pair.image for pair in pairs] for part, pairs in parts.items()}
    read, _, _, notes = read_at_one_size(
        files, options, example, lambda path: _size(Pair(path, masks[path]))
    )
    _refuse_mixed({masks[path]: numbers for path, (_, numbers) in read.items()})
    made = {}
    for part, pairs in parts.items():
        kept = [read[pair.image] for pair in pairs if pair.image in read]
        if not kept:
            raise ValueError(f"none of the images of {found[part] / IMAGES} can be read")
        pictures, numbers = zip(*kept, strict=True)
        made[part] = (list(pictures), np.stack(numbers))
    options = replace(options, kind="segmentation")
    return image_task(made, folder.resolve().name, options, notes)


def read_pairs(folder: Path, size: Size, *, skip_bad: bool) -> folders.Targeted:
    """The images of a folder of this form, and their masks `[images, height, width]`.

    Args:
        folder: with the folders `images` and `masks`.
        size: height and width that the masks get.
        skip_bad: leave out images that cannot be read.

    Raises:
        ValueError: as `load_mask_folder`.
    """
    masks = {pair.image: pair.mask for pair in _pairs(folder)}
    images = readable_images(list(masks)) if skip_bad else list(masks)
    for image in images:
        _size(Pair(image, masks[image]))
    read = {masks[image]: _numbers(masks[image], size) for image in images}
    _refuse_mixed(read)
    notes = folders.skipped(list(masks), images)
    return folders.Targeted(images, np.stack(list(read.values())), notes)


def _refuse_mixed(masks: dict[Path, np.ndarray]) -> None:
    """Raises ValueError for masks of one bit beside others, whose 255 is what 1 is in them."""
    of_bits = [path for path, numbers in masks.items() if numbers.dtype == bool]
    larger = [path for path, numbers in masks.items() if numbers.max() > 1]
    if of_bits and larger:
        raise ValueError(
            f"the mask {of_bits[0]} has one bit a pixel and {larger[0]} has more; store all of "
            f"them in one way"
        )


def part_folders(folder: Path, inside: str) -> dict[str, Path]:
    """The folder of each part: all in train if parts are not told.

    Args:
        folder: of the task.
        inside: the folder that the images' targets are in.
    """
    if not any((one / inside).is_dir() for one in (folder, train_folder(folder))):
        raise ValueError(f"{folder} holds no folder {inside}, nor a folder train with one")
    if (folder / inside).is_dir():
        return {"train": folder}
    found: dict[str, Path] = {}
    told = told_parts(folder)
    if any(one.name.lower() == "train" for _, one in told):  # beside it the shorter names count
        told = [(part, one) for part, one in told if one.name.lower() in SPLIT_NAMES]
    for part, one in told:
        if part in found:
            raise ValueError(f"{folder} has two folders for the {part} part")
        found[part] = one
    return found


def _pairs(folder: Path) -> list[Pair]:
    """The images of a folder with their masks, in the order of their names."""
    images, masks = by_name(folder / IMAGES), _of_images(folder)
    for there, others, where in ((images, masks, MASKS), (masks, images, IMAGES)):
        for name in sorted(there.keys() - others.keys()):
            raise ValueError(f"{there[name]} has no partner in {folder / where}")
    return [Pair(images[name], masks[name]) for name in sorted(images)]


def _of_images(folder: Path) -> dict[str, Path]:
    """The masks of a folder by the names of their images, or, of those without one, by their own.

    Masks may have one prefix or suffix more than the images have, `x_mask.png` of `x.jpg`.

    Raises:
        ValueError: if masks have several, as `x_seg.png` beside it, so that one would be ignored.
    """
    images, masks = by_name(folder / IMAGES), by_name(folder / MASKS)
    groups: dict[str, dict[str, Path]] = defaultdict(dict)
    for name, path in masks.items():
        image, form = _image_of(name, images)
        groups[form][image] = path
    if len(fitting := sorted(form for form in groups if form != UNKNOWN)) > 1:
        told = " and ".join(f"{len(groups[form])} are {form}" for form in fitting)
        raise ValueError(
            f"{folder / MASKS} has masks of several kinds, {told} (NAME is that of an image); keep "
            f"the kind that is meant"
        )
    return {image: path for group in groups.values() for image, path in group.items()}


def _image_of(mask: str, images: Container[str]) -> tuple[str, str]:
    """The longest name of an image that the name of a mask holds, and what it has around it.

    It begins or ends with the name, beyond which there is a point, a space or the like. A mask that
    fits no image has its own name.
    """
    if mask in images:
        return mask, NAME
    for length in range(len(mask) - 1, 0, -1):
        if mask[length] in AROUND and mask[:length] in images:
            return mask[:length], NAME + mask[length:]
        if mask[-length - 1] in AROUND and mask[-length:] in images:
            return mask[-length:], mask[:-length] + NAME
    return mask, UNKNOWN


def by_name(folder: Path) -> dict[str, Path]:
    """The images of a folder, by their names without ending."""
    if not folder.is_dir():
        raise ValueError(f"{folder.parent} lacks the folder {folder.name}")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or is_hidden(path.name):
            continue
        if path.stem in found:
            raise ValueError(f"{found[path.stem]} and {path} have one name")
        found[path.stem] = path
    if not found:
        raise ValueError(
            f"the folder {folder} holds no image ({', '.join(SUFFIXES)})"
            f"{folders.instead(folder, SUFFIXES)}"
        )
    return found


def _size(pair: Pair) -> Size:
    """Of an image; ValueError if its mask has another."""
    (height, width), of_mask = size_of(pair.image), size_of(pair.mask)
    if of_mask != (height, width):
        raise ValueError(
            f"{pair.mask} has {of_mask[0]} x {of_mask[1]} pixels, its image {height} x {width}"
        )
    return height, width


def _numbers(path: Path, size: Size) -> np.ndarray:
    """The number of each pixel of a mask, `[height, width]`; the nearest one if it is resized."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            kind, mask = file.format, _without_channels(file)
            numbers = np.asarray(mask.resize(size[::-1], Image.Resampling.NEAREST))
    except DAMAGES:
        raise ValueError(f"{path} is not a readable image, it may be damaged") from None
    if kind == "JPEG":
        raise ValueError(f"the mask {path} is a JPEG, which changes its numbers; save it as PNG")
    if mask.mode not in PLAIN:
        raise ValueError(f"the mask {path} has colours, not a number for each pixel")
    return numbers


def _without_channels(mask: Image) -> Image:
    """The first channel of a mask whose colours are all grey, of one opacity; else the mask."""
    if mask.mode not in ("LA", "RGB", "RGBA"):
        return mask
    channels = np.asarray(mask)
    colours = channels[..., :-1] if mask.mode.endswith("A") else channels
    opacity = channels[..., -1] if mask.mode.endswith("A") else np.zeros(())
    if (colours != colours[..., :1]).any() or (opacity != opacity.flat[0]).any():
        return mask
    return mask.getchannel(0)
