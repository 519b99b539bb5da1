"""A one-stage detector: says of each cell of an image what is there; 4 depths x 4 widths.

A convolution of the image, a halving, a block, another halving, and blocks at a quarter of the size
of the image. There a linear layer makes the five choices of each cell that `tasks/box_target.py`
describes: which class, and how far each edge is. The depth of a rung is the number of blocks at
the quarter: each of them lets a cell see 8 pixels further on all sides.

The layers are those of residual.py, so that its edits keep the outputs.

Most cells hold no object. So a new network says so of each, or its first updates would be spent on
learning that alone, from a loss far above that of a constant.

Sources: Tian et al. 2019, "FCOS" (arXiv:1904.01355), of which this has one level; what a new
network says: Lin et al. 2017, "Focal Loss for Dense Object Detection" (arXiv:1708.02002), section
4.1.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs.forms import BOX_CELL, boxes_shape
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

HALVINGS = 2
PRIOR = 0.01  # share of cells with an object, as a new network has it


def init(generator: np.random.Generator, shape: ShapeClass, features: int) -> tuple[Layers, Layers]:
    """New weights, and statistics that have seen nothing; see `residual.init`.

    The last biases give number 0 of each choice, nothing, a chance of 1 - `PRIOR`.

    Args:
        generator: draws the weights.
        shape: the shapes.
        features: columns of the input; images are never padded.
    """
    depth, width = shape.rung
    choices = shape.target_shape[2]
    every = Rung(depth + HALVINGS - 1, width)
    params = residual.init(generator, 2, shape.input_shape[2], every, choices * shape.outputs)
    bias = params.last.bias.reshape(choices, shape.outputs)
    bias[:, 0] = np.log((1 - PRIOR) / PRIOR * (shape.outputs - 1))
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
    """The outputs `[batch, rows, columns, choices, outputs]` for inputs `[batch, features]`.

    Args:
        shape: the shapes.
        params: the layers.
        model_state: what batch normalisation has seen, as `residual.statistics_of` has it.
        x: the inputs, rows of `shape.input_shape`.
        dropout: share of the channels before the last layer to drop, `[]`; see `without_some`.
        start: of the random numbers that choose what is dropped or skipped, `[]`, uint32; None: as
            in evaluation, nothing is, and normalisation is by what has been seen.
        activation: number of the activation, `[]`; None: ReLU.
        stochastic_depth: share of the examples for which the last block is skipped, `[]`; of the
            others at the quarter in proportion to their depth. None: none is.
    """
    activate = relu if activation is None else partial(chosen, activation)
    normalise = BatchNormalisation(params, model_state, training=start is not None)
    images = x.reshape(len(x), *shape.input_shape)
    room = [(0, whole - side) for whole, side in zip(_whole(shape), images.shape[1:3], strict=True)]
    images = jnp.pad(images, ((0, 0), *room, (0, 0)), mode="edge")
    (stage,) = params.stages
    images = entered(images, stage, activate, normalise)
    images = halved(images)
    images = halved(images + added(images, stage.blocks[0], activate, normalise))
    images = through(images, stage.blocks[1:], activate, start, stochastic_depth, normalise)
    images = activate(normalise(images, params.norm))
    images = without_some(images, dropout, start)
    made = at_each(params.last, images)
    return made.reshape(*made.shape[:3], shape.target_shape[2], shape.outputs), normalise.after()


def _whole(shape: ShapeClass) -> tuple[int, int]:
    """Height and width of an image that is enlarged to whole cells."""
    rows, columns, _ = boxes_shape(shape.input_shape[:2])
    return BOX_CELL * rows, BOX_CELL * columns


def flops(shape: ShapeClass) -> tuple[float, float]:
    """Floating-point operations for one example: forward, and forward with backward.

    A multiplication and an addition for each weight at each pixel forward, zeros around the image
    included, twice that backward, except that the gradient of the input is not needed.
    """
    height, width = _whole(shape)
    channels = shape.input_shape[2]
    depth, units = shape.rung
    whole, half, quarter = [(height >> level) * (width >> level) for level in range(3)]
    first = SIDE * SIDE * channels * units * whole
    products = first + 2 * SIDE * SIDE * units * units * (half + depth * quarter)
    products += units * shape.target_shape[2] * shape.outputs * quarter
    return 2.0 * products, 6.0 * products - 2.0 * first


DETECTION = Family(
    name="detection",
    depths=(1, 2, 3, 4),
    widths=(8, 16, 32, 64),
    default=Rung(2, 32),
    reads=("image",),
    target_axes=(3,),
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
