"""A residual convolutional network: 4 depths x 4 widths, for images of any size from 4 x 4 up.

What residual.py describes, over the rows and columns of an image. Images of more than 16 pixels are
halved before the first block.
"""

from __future__ import annotations

import jax
import numpy as np

from rlagent_envs.models import residual, residual_edits
from rlagent_envs.models.ladder import Family, Rung, ShapeClass
from rlagent_envs.models.residual import Layers

LARGEST_BLOCK = 16  # images are halved until their shorter side is at most that


def init(
    generator: np.random.Generator, shape: ShapeClass, features: int
) -> tuple[Layers, tuple[()]]:
    """New weights, and an empty model state; see `residual.init`.

    Args:
        generator: draws the weights.
        shape: the shapes.
        features: columns of the input; images are never padded.
    """
    *sizes, channels = shape.input_shape
    halvings = _halvings(shape.input_shape)
    stages = len(residual.stage_sizes(tuple(size >> halvings for size in sizes)))
    return residual.init(generator, 2, channels, shape.rung, shape.outputs, stages), ()


def apply(
    shape: ShapeClass,
    params: Layers,
    model_state: tuple[()],
    x: jax.Array,
    dropout: jax.Array,
    start: jax.Array | None,
    activation: jax.Array | None = None,
    stochastic_depth: jax.Array | None = None,
) -> tuple[jax.Array, tuple[()]]:
    """The outputs `[batch, outputs]` for inputs `[batch, features]`; see `residual.forward`.

    Args:
        shape: the shapes.
        params: the layers.
        model_state: empty: this family has no state.
        x: the inputs, rows of `shape.input_shape`.
        dropout: share of the means over the pixels to drop, `[]`.
        start: of the random numbers; None: as in evaluation, there are none.
        activation: number of the activation, `[]`; None: ReLU.
        stochastic_depth: share of the examples for which the last block is skipped, `[]`.
    """
    images = x.reshape(len(x), *shape.input_shape)
    halvings = _halvings(shape.input_shape)
    outputs = residual.forward(
        params, images, halvings, dropout, start, activation, stochastic_depth
    )
    return outputs, model_state


def _halvings(input_shape: tuple[int, ...]) -> int:
    """How often images are halved before the first block."""
    side, count = min(input_shape[:2]), 0
    while side > LARGEST_BLOCK:
        side, count = side // 2, count + 1
    return count


def flops(shape: ShapeClass) -> tuple[float, float]:
    """Floating-point operations for one example: forward, and forward with backward."""
    *sizes, channels = shape.input_shape
    halvings = _halvings(shape.input_shape)
    return residual.flops(tuple(sizes), channels, halvings, shape.rung, shape.outputs)


CNN = Family(
    name="cnn",
    depths=(1, 2, 3, 4),
    widths=(8, 16, 32, 64),
    default=Rung(1, 16),
    reads=("image",),
    residual=True,
    optimizer="muon",
    roomy=True,
    init=init,
    apply=apply,
    flops=flops,
    widen=residual_edits.widen,
    deepen=residual_edits.deepen,
    narrow=residual_edits.narrow,
)
