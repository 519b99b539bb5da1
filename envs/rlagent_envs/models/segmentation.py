"""A small U-Net: says of each pixel of an image what it belongs to; 4 depths x 4 widths.

A convolution of the image, then down: images are halved once or twice, and blocks work on what is
small and sees far. Then up again: images are enlarged, what they were on the way down is added, and
a block joins the two. The depth of a rung is the number of blocks where images are smallest: more
of them cost little, and their place does not depend on the rung.

The layers are those of residual.py, so that its edits keep the outputs. The first blocks are those
of the way down and up, in this order, and the others those where images are smallest, because a new
block comes last.

Source: Ronneberger et al. 2015, "U-Net" (arXiv:1505.04597), with residual blocks, and with sums in
the place of joined channels (as in LinkNet, arXiv:1707.03718): all images of a rung have one width.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs.models import residual, residual_edits
from rlagent_envs.models.activations import chosen, relu
from rlagent_envs.models.ladder import Family, Rung, ShapeClass
from rlagent_envs.models.normalisation import BatchNormalisation
from rlagent_envs.models.residual import (
    SIDE,
    Layers,
    added,
    at_each,
    entered,
    halved,
    through,
    unseen,
    without_some,
)

LEAST_TWICE = 16  # shortest side of images that are halved twice; smaller ones are halved once


def init(generator: np.random.Generator, shape: ShapeClass, features: int) -> tuple[Layers, Layers]:
    """New weights, and statistics that have seen nothing; see `residual.init`.

    Args:
        generator: draws the weights.
        shape: the shapes.
        features: columns of the input; images are never padded.
    """
    levels = _halvings(shape.input_shape)
    depth, width = shape.rung
    every = Rung(depth + 2 * levels - 1, width)
    params = residual.init(generator, 2, shape.input_shape[2], every, shape.outputs)
    return params, unseen(params)


def apply(
    shape: ShapeClass,
    params: Layers,
    model_state: Layers,
    x: jax.Array,
    dropout: jax.Array,
    start: jax.Array | None,
    activation: jax.Array | None = None,
    stochastic_depth: jax.Array | None = None,
) -> tuple[jax.Array, Layers]:
    """The outputs `[batch, height, width, outputs]` for inputs `[batch, features]`.

    Args:
        shape: the shapes.
        params: the layers.
        model_state: what batch normalisation has seen, as `residual.statistics_of` has it.
        x: the inputs, rows of `shape.input_shape`.
        dropout: share of the channels before the last layer to drop, `[]`; see `without_some`.
        start: of the random numbers that choose what is dropped or skipped, `[]`, uint32; None: as
            in evaluation, nothing is, and normalisation is by what has been seen.
        activation: number of the activation, `[]`; None: ReLU.
        stochastic_depth: share of the examples for which the last of the blocks where images are
            smallest is skipped, `[]`; of the others in proportion to their depth. None: none is.
    """
    activate = relu if activation is None else partial(chosen, activation)
    normalise = BatchNormalisation(params, model_state, training=start is not None)
    levels = _halvings(shape.input_shape)
    (stage,) = params.stages
    down, up = stage.blocks[: levels - 1], stage.blocks[levels - 1 : 2 * levels - 1]
    images = x.reshape(len(x), *shape.input_shape)
    images = entered(images, stage, activate, normalise)
    larger = []
    for number in range(levels):
        larger.append(images)
        images = halved(images)
        if number < len(down):
            images = images + added(images, down[number], activate, normalise)
    deepest = stage.blocks[2 * levels - 1 :]
    images = through(images, deepest, activate, start, stochastic_depth, normalise=normalise)
    for block, before in zip(up, reversed(larger), strict=True):
        images = before + _enlarged(images, before.shape[1], before.shape[2])
        images = images + added(images, block, activate, normalise)
    images = activate(normalise(images, params.norm))
    images = without_some(images, dropout, start)
    return at_each(params.last, images), normalise.after()


def _enlarged(x: jax.Array, height: int, width: int) -> jax.Array:
    """Each pixel as a square of 2 x 2; an odd last row or column repeats the one before it."""
    batch, down, right, channels = x.shape
    squares = jnp.broadcast_to(x[:, :, None, :, None], (batch, down, 2, right, 2, channels))
    even = squares.reshape(batch, 2 * down, 2 * right, channels)
    room = ((0, 0), (0, height - 2 * down), (0, width - 2 * right), (0, 0))
    return jnp.pad(even, room, mode="edge")


def _halvings(input_shape: tuple[int, ...]) -> int:
    """How often images are halved."""
    return 2 if min(input_shape[:2]) >= LEAST_TWICE else 1


def flops(shape: ShapeClass) -> tuple[float, float]:
    """Floating-point operations for one example: forward, and forward with backward.

    A multiplication and an addition for each weight at each pixel forward, zeros around the image
    included, twice that backward, except that the gradient of the input is not needed.
    """
    height, width, channels = shape.input_shape
    depth, units = shape.rung
    levels = _halvings(shape.input_shape)
    pixels = [(height >> level) * (width >> level) for level in range(levels + 1)]
    first = SIDE * SIDE * channels * units * pixels[0]
    of_blocks = sum(pixels[:-1]) + sum(pixels[1:-1]) + depth * pixels[-1]
    products = first + 2 * SIDE * SIDE * units * units * of_blocks
    products += units * shape.outputs * pixels[0]
    return 2.0 * products, 6.0 * products - 2.0 * first


SEGMENTATION = Family(
    name="segmentation",
    depths=(1, 2, 3, 4),
    widths=(8, 16, 32, 64),
    default=Rung(2, 16),
    reads=("image",),
    target_axes=(2,),
    residual=True,
    optimizer="muon",
    roomy=True,
    init=init,
    apply=apply,
    flops=flops,
    widen=residual_edits.widen,
    deepen=residual_edits.deepen,
    narrow=residual_edits.narrow,
    carry=residual_edits.carry,
)
