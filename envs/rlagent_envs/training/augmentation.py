"""Changes of the inputs that keep their targets, and mixtures of examples; magnitude 0 is none.

All of it is drawn by the counter of draws.py, and is of a whole batch at once.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs import draws
from rlagent_envs.forms import UNKNOWN
from rlagent_envs.models import ShapeClass
from rlagent_envs.training.sequence_augmentation import augment_sequences

# At magnitude 1.
ANGLE = np.deg2rad(20.0)  # of a rotation, at the most
SHIFT = 0.12  # of the height and width
ZOOM = 0.15  # share by which an image grows or shrinks
HOLE = 0.5  # side of the square that is cut out, of the image's
BRIGHTNESS, CONTRAST = 0.5, 0.5  # in standard deviations of the inputs; share
NOISE, MASKED, SWAPPED = 0.3, 0.2, 0.2  # standard deviations; shares of the columns
HIDDEN = 0.3  # share of the tokens

MIRRORING = "mirroring"  # among the levers of a program: a mirrored image keeps its target

TRIES = 16  # pairs of numbers that the proportion of a mixture is chosen from


def augment(
    x: jax.Array,
    magnitude: jax.Array,
    start: jax.Array,
    shape: ShapeClass,
    features: jax.Array,
) -> jax.Array:
    """The batch with its inputs changed at random, each form of examples in ways of its own.

    Images are rotated, moved, zoomed, made brighter or darker and stronger or weaker in contrast,
    and lose a square. Rows of a table get noise, lose columns (which become the mean), and take
    columns from another row of the batch; numbered categories get no noise, and become unknown
    where they are lost. Sequences: see `augment_sequences`. Some tokens are hidden; columns behind
    them are changed as a row. Where each pixel has a target, only the light of images changes.

    Args:
        x: standardised, `[batch, features]`.
        magnitude: from 0, which changes nothing, to 1, `[]`.
        start: of the random numbers, `[]`, uint32.
        shape: what the program is specialised to, which says what the inputs are.
        features: columns that are not padding, `[]`, int32.

    Source: cutout: DeVries and Taylor 2017 (arXiv:1708.04552); swap noise: Yoon et al. 2020,
    "VIME".
    """

    def changed() -> jax.Array:
        if shape.form == "image":
            images = x.reshape(len(x), *shape.input_shape)
            if shape.target_shape:  # what moves pixels would have to move their targets
                return _lit(images, magnitude, _signed(len(x), start)).reshape(x.shape)
            return _augment_images(images, magnitude, start).reshape(x.shape)
        if shape.form == "sequence":
            sequences = x.reshape(len(x), *shape.input_shape)
            return augment_sequences(sequences, magnitude, start).reshape(x.shape)
        if shape.form == "tokens":
            return _hide_tokens(x, magnitude, start)
        if shape.form == "record":
            length, columns = shape.input_shape
            tokens = _hide_tokens(x[:, :length], magnitude, start)
            numbered, after = len(shape.vocabularies) - 1, start + np.uint32(1)
            row = _augment_rows(x[:, length:], magnitude, after, jnp.int32(columns), numbered)
            return jnp.concatenate([tokens, row], axis=1)
        return _augment_rows(x, magnitude, start, features, len(shape.vocabularies))

    # It costs as much as the rest of an update: nothing of it where it is off.
    return jax.lax.cond(magnitude > 0, changed, lambda: x)


def mirror(x: jax.Array, start: jax.Array, input_shape: tuple[int, ...]) -> jax.Array:
    """Images `[batch, features]`, each with probability 1/2 mirrored left to right."""
    images = x.reshape(len(x), *input_shape)
    chosen = draws.uniform(start, (len(x), 1, 1, 1)) < 0.5
    return jnp.where(chosen, images[:, :, ::-1], images).reshape(x.shape)


def _hide_tokens(x: jax.Array, magnitude: jax.Array, start: jax.Array) -> jax.Array:
    hidden = draws.uniform(_of(start, 0), x.shape) < HIDDEN * magnitude
    return jnp.where(hidden & (x > 0), float(UNKNOWN), x)


def _augment_rows(
    x: jax.Array, magnitude: jax.Array, start: jax.Array, features: jax.Array, numbered: int
) -> jax.Array:
    size = len(x)
    noise = NOISE * magnitude * draws.normal(_of(start, 0), x.shape)
    if numbered:
        noise = noise.at[:, -numbered:].set(0.0)
    others = draws.rows(_of(start, 1), jnp.arange(size, dtype=jnp.uint32), np.uint32(size))
    chance = draws.uniform(_of(start, 2), x.shape)
    swapped = jnp.where(chance < SWAPPED * magnitude, x[others], x + noise)
    masked = jnp.where(chance > 1.0 - MASKED * magnitude, 0.0, swapped)
    # Padding stays zero, so that its weights do.
    return jnp.where((jnp.arange(x.shape[1]) < features)[None, :], masked, 0.0)


def _augment_images(x: jax.Array, magnitude: jax.Array, start: jax.Array) -> jax.Array:
    size, height, width, _ = x.shape
    signed = _signed(size, start)
    angle = ANGLE * magnitude * signed[:, 0]
    zoom = 1.0 + ZOOM * magnitude * signed[:, 1]
    rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    down = rows - (height - 1) / 2.0
    right = columns - (width - 1) / 2.0
    cosine, sine = (jnp.cos(angle) / zoom)[:, None, None], (jnp.sin(angle) / zoom)[:, None, None]
    # Where each pixel of the new image comes from.
    down_from = cosine * down[None] - sine * right[None] + (height - 1) / 2.0
    right_from = sine * down[None] + cosine * right[None] + (width - 1) / 2.0
    down_from += (SHIFT * magnitude * height * signed[:, 2])[:, None, None]
    right_from += (SHIFT * magnitude * width * signed[:, 3])[:, None, None]
    x = _sampled(x, down_from, right_from)
    x = _lit(x, magnitude, signed)
    half = 0.5 * HOLE * magnitude
    hole_down = jnp.abs((down / height)[None] - 0.5 * signed[:, 6, None, None]) < half
    hole_right = jnp.abs((right / width)[None] - 0.5 * signed[:, 7, None, None]) < half
    return jnp.where((hole_down & hole_right)[..., None], 0.0, x)


def _signed(size: int, start: jax.Array) -> jax.Array:
    """The numbers from -1 to 1 by which the images of a batch are changed, `[batch, 8]`."""
    return 2.0 * draws.uniform(_of(start, 0), (size, 8)) - 1.0


def _lit(x: jax.Array, magnitude: jax.Array, signed: jax.Array) -> jax.Array:
    """The images brighter or darker, and stronger or weaker in contrast."""
    contrast = 1.0 + CONTRAST * magnitude * signed[:, 4]
    brightness = BRIGHTNESS * magnitude * signed[:, 5]
    return x * contrast[:, None, None, None] + brightness[:, None, None, None]


def _sampled(x: jax.Array, down: jax.Array, right: jax.Array) -> jax.Array:
    """The pixels that are nearest to some places; outside of an image its edge goes on.

    Not a mean of the pixels around, which would blur nearly every image that is learned from, and
    none of those that are judged: `scripts/photos.py`.

    Args:
        x: `[batch, height, width, channels]`.
        down: where to look, in pixels, `[batch, height, width]`.
        right: the same.
    """
    size, height, width, _ = x.shape
    row = jnp.clip(jnp.round(down), 0, height - 1).astype(jnp.int32)
    column = jnp.clip(jnp.round(right), 0, width - 1).astype(jnp.int32)
    return x[jnp.arange(size)[:, None, None], row, column]


class Mixture(NamedTuple):
    """A batch of mixed examples: each is `share` of its own target, the rest of its partner's."""

    x: jax.Array  # [batch, features]
    partner: jax.Array  # [batch], int32: number of the other example in the batch
    share: jax.Array  # [], that its own target has


def mix(
    x: jax.Array,
    mixup: jax.Array,
    cutmix: jax.Array,
    start: jax.Array,
    input_shape: tuple[int, ...],
) -> Mixture:
    """Mixes each example with another one, by mixup or cutmix; where both are on, by chance.

    Args:
        x: `[batch, features]`.
        mixup: alpha, `[]`; 0: off.
        cutmix: alpha, `[]`; 0: off. It needs images.
        start: of the random numbers, `[]`, uint32.
        input_shape: (height, width, channels) for images, () for rows of a table.

    Source: Zhang et al. 2018, "mixup" (arXiv:1710.09412), section 2; Yun et al. 2019, "CutMix"
    (arXiv:1905.04899), section 3.1.
    """

    def off() -> Mixture:
        return Mixture(x, jnp.roll(jnp.arange(len(x)), 1), jnp.ones((), jnp.float32))

    on = mixup > 0
    if len(input_shape) == 3:  # else cutmix has nothing to cut
        on |= cutmix > 0
    return jax.lax.cond(on, lambda: _mixed(x, mixup, cutmix, start, input_shape), off)


def _mixed(
    x: jax.Array,
    mixup: jax.Array,
    cutmix: jax.Array,
    start: jax.Array,
    input_shape: tuple[int, ...],
) -> Mixture:
    size = len(x)
    # One shift for all: each example is a partner once, and of itself only in a batch of one.
    shift = 1 + draws.rows(_of(start, 0), jnp.uint32(0), np.uint32(max(size - 1, 1)))
    partner = (jnp.arange(size) + shift.astype(jnp.int32)) % size
    chance = draws.uniform(_of(start, 1), (3,))
    share = _beta(mixup, _of(start, 2))
    mixed = share * x + (1.0 - share) * x[partner]
    if len(input_shape) == 3:
        height, width, channels = input_shape
        side = jnp.sqrt(1.0 - _beta(cutmix, _of(start, 3)))
        rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
        inside_rows = jnp.abs(rows - chance[1] * height) < side * height / 2
        inside = inside_rows & (jnp.abs(columns - chance[2] * width) < side * width / 2)
        cut = jnp.repeat(inside.reshape(-1), channels)
        pasted = jnp.where(cut[None, :], x[partner], x)
        by_cut = (cutmix > 0) & ((mixup <= 0) | (chance[0] < 0.5))
        mixed = jnp.where(by_cut, pasted, mixed)
        share = jnp.where(by_cut, 1.0 - jnp.mean(inside.astype(jnp.float32)), share)
    return Mixture(mixed, partner, share)


def _beta(alpha: jax.Array, start: jax.Array) -> jax.Array:
    """A number of the distribution Beta(alpha, alpha), `[]`, for alpha up to 1.

    The first pair of powers of uniform numbers whose sum is at most 1; at least half of the pairs
    are such, so that there is none among `TRIES` at most once in 65,000 draws, and then the last
    pair has to do.

    Source: Joehnk 1964, "Erzeugung von betaverteilten und gammaverteilten Zufallszahlen".
    """
    power = 1.0 / jnp.maximum(alpha, 1e-3)
    # In logarithms: a power of 1000 would be 0 for nearly all numbers.
    logs = power * jnp.log(draws.uniform(start, (2, TRIES)) + 2.0**-25)
    accepted = jnp.logaddexp(logs[0], logs[1]) <= 0.0
    place = jnp.where(jnp.any(accepted), jnp.argmax(accepted), TRIES - 1)
    return jax.nn.sigmoid(logs[0, place] - logs[1, place])


def _of(start: jax.Array, purpose: int) -> jax.Array:
    return draws.mix(start + np.uint32(purpose))
