"""A residual convolutional network: 4 depths x 4 widths, for images of any size from 4 x 4 up.

What residual.py describes, over the rows and columns of an image, with batch normalisation. Images
of more than 16 pixels are halved before the first block. Then come up to three stages, each with
half the pixels along a side of the one before, so that all cost about the same.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from rlagent_envs.models import residual, residual_edits
from rlagent_envs.models.activations import chosen, relu
from rlagent_envs.models.ladder import Family, Rung, ShapeClass
from rlagent_envs.models.normalisation import BatchNormalisation
from rlagent_envs.models.residual import (
    SIDE,
    Layers,
    entered,
    halved,
    outputs_of,
    through,
    unseen,
)

LEAST_HALVED = 6  # shortest side that is halved behind a stage
MOST_STAGES = 3
LARGEST_BLOCK = 16  # images are halved until their shorter side is at most that


def init(generator: np.random.Generator, shape: ShapeClass, features: int) -> tuple[Layers, Layers]:
    """New weights, and statistics that have seen nothing; see `residual.init`.

    Args:
        generator: draws the weights.
        shape: the shapes.
        features: columns of the input; images are never padded.
    """
    stages = len(stage_sizes(shape.input_shape))
    channels = shape.input_shape[2]
    params = residual.init(generator, 2, channels, shape.rung, shape.outputs, stages)
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
    """The outputs `[batch, outputs]` for inputs `[batch, features]`, and the statistics.

    Args:
        shape: the shapes.
        params: the layers.
        model_state: what batch normalisation has seen, as `residual.statistics_of` has it.
        x: the inputs, rows of `shape.input_shape`.
        dropout: share of the means over the pixels to drop, `[]`.
        start: of the random numbers; None: as in evaluation, there are none, and normalisation is
            by what has been seen.
        activation: number of the activation, `[]`; None: ReLU.
        stochastic_depth: share of the examples for which the last block is skipped, `[]`; see
            `residual.through`.
    """
    images = x.reshape(len(x), *shape.input_shape)
    halvings = _halvings(shape.input_shape)
    activate = relu if activation is None else partial(chosen, activation)
    normalise = BatchNormalisation(params, model_state, training=start is not None)
    total, done = shape.rung.depth * len(params.stages), 0
    for number, stage in enumerate(params.stages):
        if number:
            images = halved(images)
        images = entered(images, stage, activate, normalise)
        for _ in range(0 if number else halvings):
            images = halved(images)
        images = through(
            images, stage.blocks, activate, start, stochastic_depth, normalise, done, total
        )
        done += len(stage.blocks)
    outputs = outputs_of(params, images, activate, dropout, start, normalise)
    return outputs, normalise.after()


def stage_sizes(input_shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Height and width of the images in every stage."""
    halvings = _halvings(input_shape)
    sizes = [(input_shape[0] >> halvings, input_shape[1] >> halvings)]
    while len(sizes) < MOST_STAGES and min(sizes[-1]) >= LEAST_HALVED:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


def _halvings(input_shape: tuple[int, ...]) -> int:
    """How often images are halved before the first block."""
    side, count = min(input_shape[:2]), 0
    while side > LARGEST_BLOCK:
        side, count = side // 2, count + 1
    return count


def flops(shape: ShapeClass) -> tuple[float, float]:
    """Floating-point operations for one example: forward, and forward with backward.

    A multiplication and an addition for each weight at each pixel forward, zeros around the image
    included, twice that backward, except that the gradient of the input is not needed.
    """
    height, width, channels = shape.input_shape
    units, side = shape.rung.width, SIDE * SIDE
    first = side * channels * units * height * width
    products, before = first, 0  # the first stage has been entered
    for rows, columns in stage_sizes(shape.input_shape):
        products += side * (before + 2 * shape.rung.depth * units) * units * rows * columns
        before, units = units, 2 * units
    products += before * shape.outputs
    return 2.0 * products, 6.0 * products - 2.0 * first


CNN = Family(
    name="cnn",
    depths=(1, 2, 3, 4),
    widths=(8, 16, 32, 64),
    default=Rung(1, 16),
    reads=("image",),
    residual=True,
    optimizer="muon",
    roomy=True,
    least_side=16,
    init=init,
    apply=apply,
    flops=flops,
    widen=residual_edits.widen,
    deepen=residual_edits.deepen,
    narrow=residual_edits.narrow,
    carry=residual_edits.carry,
)
