"""Reading image files: upright, grey or in colours, of one size, as whole numbers to 255."""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff"),
    ".webp",
)
GREY = ("1", "L", "LA", "La")  # Pillow's modes without colours; I;16 has 16 bits
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L")
# As an entry of `warnings.filters`.
PILLOWS_WARNINGS: tuple[Literal["ignore"], None, type[Warning], re.Pattern[str], int] = (
    "ignore",
    None,
    Warning,
    re.compile(r"PIL\."),
    0,
)
# What Pillow raises for files that are damaged in one way or another.
DAMAGES = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    struct.error,
    zlib.error,
)

Size = tuple[int, int]  # height, width


def read_picture(path: Path) -> Image:
    """The first image of a file, turned upright as its camera says, of mode L or RGB.

    Opacity is dropped: what it hides is seen.

    Raises:
        ValueError: naming the file, if it is damaged, no image, or has numbers beyond 16 bits.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, and of sizes that are refused below
        return _decoded(path)


def read_in_thread(path: Path) -> Image:
    """As `read_picture`, while other threads may do the same.

    What Pillow warns of is silenced for good: to do it for a while is not safe in threads, because
    the filters are those of the whole process.
    """
    if PILLOWS_WARNINGS not in warnings.filters:
        action, _, category, module, _ = PILLOWS_WARNINGS
        warnings.filterwarnings(action, category=category, module=module.pattern)
    return _decoded(path)


def _decoded(path: Path) -> Image:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            file.load()
            picture = ImageOps.exif_transpose(file)
            if file.format == "PPM" and picture.mode == "I":  # of 16 bits, in 32
                picture = picture.convert("I;16")
    except Image.DecompressionBombError:
        raise ValueError(f"{path} has too many pixels") from None
    except DAMAGES:
        raise ValueError(f"{path} is not a readable image, it may be damaged") from None
    return plain(picture, str(path))


def size_of(path: Path) -> Size:
    """Height and width of an image, as it is upright, by the head of its file.

    Raises:
        ValueError: naming the file, if it is damaged or no image.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as file:
                width, height = file.size
                lying = file.getexif().get(ORIENTATION, 1) >= LYING
    except Image.DecompressionBombError:
        raise ValueError(f"{path} has too many pixels") from None
    except DAMAGES:
        raise ValueError(f"{path} is not a readable image, it may be damaged") from None
    return (width, height) if lying else (height, width)


ORIENTATION, LYING = 0x0112, 5  # EXIF's tag, and the first of the values that swap the sides


def plain(picture: Image, name: str) -> Image:
    """An image of mode L if it has no colours, else RGB; ValueError if it has no such pixels."""
    if picture.mode in SIXTEEN_BITS:
        from PIL import Image

        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(f"{name} has pixels of 32 bits; give 8 or 16 bits")
    try:
        return picture.convert("L" if picture.mode in GREY else "RGB")
    except ValueError:
        raise ValueError(f"{name} has colours of the mode {picture.mode}; give RGB") from None


def pixels(picture: Image, size: Size, channels: int) -> np.ndarray:
    """Resized bilinearly, without regard to its proportions: uint8 `[height, width, channels]`.

    Args:
        picture: of mode L or RGB.
        size: height and width.
        channels: 1 for grey, 3 for colours.
    """
    from PIL import Image

    picture = picture.convert("L" if channels == 1 else "RGB")
    height, width = size
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.uint8).reshape(height, width, channels)


def has_colours(image: np.ndarray) -> bool:
    """Whether the channels of `[height, width, 3]` differ anywhere: grey is often stored as RGB."""
    return bool((image != image[..., :1]).any())


def picture_of(given: Any, name: str) -> Image:
    """The image of a path, an image of Pillow's, or an array `[height, width(, channels)]`, uint8.

    Raises:
        ValueError: calling it `name`, if it is none of these.
    """
    from PIL import Image

    if isinstance(given, str | Path):
        return read_picture(Path(given))
    if isinstance(given, Image.Image):
        return plain(given, name)
    array = np.asarray(given)
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or array.shape[2:] not in ((), (3,), (4,))
    ):
        raise ValueError(
            f"{name} must be a path, an image of Pillow's, or an array of uint8 [height, width] or "
            f"with 1, 3 or 4 channels behind, got {array.dtype} {array.shape}"
        )
    return plain(Image.fromarray(array), name)
