"""Pictures with exact masks and boxes: digits, or other grey images, scattered over canvases."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

INK = 0.25  # of the brightest pixel of an image: a pixel above it belongs to the image


class Scenes(NamedTuple):
    """Images, and where what was put on them is."""

    images: np.ndarray  # [rows, side, side], of the type of what was put on them
    boxes: np.ndarray  # [rows, most, 5], float64: label, x0, y0, x1, y1; -1 where there is nothing


class Canvases(NamedTuple):
    """Images, and what each of their pixels is of."""

    images: np.ndarray  # [rows, side, side], of the type of what was put on them
    masks: np.ndarray  # [rows, side, side], uint8: 0 for the background, label + 1 for an image


def compose(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    rows: int,
    side: int,
    most: int = 3,
    seed: int = 0,
) -> Canvases:
    """Puts 1 to `most` images at random places of each canvas; see `compose_both`."""
    return compose_both(images, labels, rows=rows, side=side, most=most, seed=seed)[0]


def compose_both(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    rows: int,
    side: int,
    most: int = 3,
    seed: int = 0,
) -> tuple[Canvases, np.ndarray]:
    """Puts 1 to `most` images at random places of each canvas.

    Where images overlap, a pixel shows and belongs to the one that is brighter there. The box of an
    image is around its bright pixels, hidden ones too.

    Args:
        images: dark around and bright inside, `[count, height, width]`, not below 0.
        labels: whole numbers from 0 to 254, `[count]`.
        rows: canvases to make.
        side: of a canvas, at least that of the images.
        most: images on a canvas, at the most.
        seed: the same seed gives the same canvases.

    Returns:
        The canvases, and the boxes `[rows, most, 5]` of `Scenes`.

    Raises:
        ValueError: naming the number that makes no sense.
    """
    count, height, width = images.shape
    if side < max(height, width):
        raise ValueError(f"side must be at least {max(height, width)}, got {side}")
    if most < 1 or rows < 1:
        raise ValueError(f"rows and most must be at least 1, got {rows} and {most}")
    if labels.min() < 0 or labels.max() > 254:
        raise ValueError(f"labels must be from 0 to 254, got {labels.min()} to {labels.max()}")
    generator = np.random.default_rng(seed)
    made = Canvases(
        np.zeros((rows, side, side), images.dtype), np.zeros((rows, side, side), np.uint8)
    )
    boxes = np.full((rows, most, 5), -1.0)
    bright = images > INK * images.max(axis=(1, 2), keepdims=True)
    for row, (canvas, mask) in enumerate(zip(*made, strict=True)):
        for number, chosen in enumerate(
            generator.integers(count, size=generator.integers(1, most + 1))
        ):
            top, left = generator.integers(side - height + 1), generator.integers(side - width + 1)
            place = slice(top, top + height), slice(left, left + width)
            brighter = images[chosen] > canvas[place]
            canvas[place] = np.where(brighter, images[chosen], canvas[place])
            inside = brighter & bright[chosen]
            mask[place] = np.where(inside, labels[chosen] + 1, mask[place])
            down, right = np.nonzero(bright[chosen])
            edges = (right.min(), down.min(), right.max() + 1, down.max() + 1)
            boxes[row, number] = (labels[chosen], *np.add(edges, (left, top, left, top)))
    return made, boxes


def digit_scenes(rows: int, *, side: int = 16, most: int = 2, seed: int = 0) -> Scenes:
    """The same canvases as `digit_canvases`, and the boxes of the digits on them."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    made, boxes = compose_both(
        digits.images, digits.target, rows=rows, side=side, most=most, seed=seed
    )
    return Scenes(made.images, boxes)


def digit_canvases(rows: int, *, side: int = 16, most: int = 2, seed: int = 0) -> Canvases:
    """Canvases with the digits of 8 x 8 pixels that scikit-learn brings along; see `compose`."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return compose(digits.images, digits.target, rows=rows, side=side, most=most, seed=seed)
