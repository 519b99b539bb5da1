"""A residual convolutional network over time: 4 depths x 4 widths, for sequences of any length.

What residual.py describes, over pieces of a sequence: short ones come step by step, long ones are
cut into at most 64 pieces of some steps each, all of which the first convolution sees at once. So
the blocks cost the same however long a sequence is, and nothing of it is averaged away before them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs.models import residual, residual_edits
from rlagent_envs.models.ladder import Family, Rung, ShapeClass
from rlagent_envs.models.residual import Layers

MOST_PIECES = 64
# Given to the network beside the sequence: a one, and the place from -1 to 1. The normalisation of
# a layer takes away how high and how strong a sequence is as a whole, unless it can be compared
# with something that never changes; the mean at the end takes away where in time something was.
MARKS = 2


def init(
    generator: np.random.Generator, shape: ShapeClass, features: int
) -> tuple[Layers, tuple[()]]:
    """New weights, and an empty model state; see `residual.init`.

    Args:
        generator: draws the weights.
        shape: the shapes.
        features: columns of the input; sequences are never padded.
    """
    count, channels = _pieces(shape.input_shape)
    stages = len(residual.stage_sizes((count,)))
    return residual.init(generator, 1, channels, shape.rung, shape.outputs, stages), ()


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
        x: the inputs, rows of `shape.input_shape`, which is (steps, channels).
        dropout: share of the means over time to drop, `[]`.
        start: of the random numbers; None: as in evaluation, there are none.
        activation: number of the activation, `[]`; None: ReLU.
        stochastic_depth: share of the examples for which the last block is skipped, `[]`.

    Source: marks of places: Liu et al. 2018, "CoordConv" (arXiv:1807.03247), section 3.
    """
    count, channels = _pieces(shape.input_shape)
    values = channels - MARKS
    # An incomplete last piece ends with zeros, which is what a standardised channel is on average.
    padded = jnp.pad(x, ((0, 0), (0, count * values - x.shape[1])))
    pieces = padded.reshape(len(x), count, values)
    marks = np.stack([np.ones(count), np.linspace(-1.0, 1.0, count)], axis=1).astype(np.float32)
    marks = np.broadcast_to(marks, (len(x), count, MARKS))
    marked = jnp.concatenate([pieces, marks], axis=2)
    outputs = residual.forward(params, marked, 0, dropout, start, activation, stochastic_depth)
    return outputs, model_state


def _pieces(input_shape: tuple[int, ...]) -> tuple[int, int]:
    """How many pieces a sequence is cut into, and how many numbers, marks included, each has."""
    steps, channels = input_shape
    length = -(-steps // MOST_PIECES)
    return -(-steps // length), length * channels + MARKS


def flops(shape: ShapeClass) -> tuple[float, float]:
    """Floating-point operations for one example: forward, and forward with backward."""
    count, channels = _pieces(shape.input_shape)
    return residual.flops((count,), channels, 0, shape.rung, shape.outputs)


SEQUENCE = Family(
    name="sequence",
    depths=(1, 2, 3, 4),
    widths=(16, 32, 64, 128),
    default=Rung(2, 32),
    reads=("sequence",),
    residual=True,
    roomy=True,
    init=init,
    apply=apply,
    flops=flops,
    widen=residual_edits.widen,
    deepen=residual_edits.deepen,
    narrow=residual_edits.narrow,
)
