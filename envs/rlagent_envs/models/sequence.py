"""A residual convolutional network over time: 4 depths x 4 widths, for sequences of any length.

What residual.py describes, over pieces of a sequence: short ones come step by step, long ones are
cut into at most 64 pieces of some steps each, all of which the first convolution sees at once. So
the blocks cost the same however long a sequence is, and nothing of it is averaged away before them.
There is one stage, and behind its first block, whatever the rung, half as many pieces.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs.models import residual, residual_edits
from rlagent_envs.models.activations import chosen, relu
from rlagent_envs.models.ladder import Family, Rung, ShapeClass
from rlagent_envs.models.normalisation import normalised
from rlagent_envs.models.residual import SIDE, Layers, entered, halved, outputs_of, through

MOST_PIECES = 64
LEAST_HALVED = 8  # fewest pieces that are halved
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
    _, channels = _pieces(shape.input_shape)
    return residual.init(generator, 1, channels, shape.rung, shape.outputs), ()


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
    """The outputs `[batch, outputs]` for inputs `[batch, features]`.

    Args:
        shape: the shapes.
        params: the layers.
        model_state: empty: this family has no state.
        x: the inputs, rows of `shape.input_shape`, which is (steps, channels).
        dropout: share of the means over time to drop, `[]`.
        start: of the random numbers; None: as in evaluation, there are none.
        activation: number of the activation, `[]`; None: ReLU.
        stochastic_depth: share of the examples for which the last block is skipped, `[]`; see
            `residual.through`.

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
    activate = relu if activation is None else partial(chosen, activation)
    (stage,) = params.stages
    made, total = entered(marked, stage, activate, normalised), shape.rung.depth
    made = through(made, stage.blocks[:1], activate, start, stochastic_depth, normalised, 0, total)
    if count >= LEAST_HALVED:
        made = halved(made)
    made = through(made, stage.blocks[1:], activate, start, stochastic_depth, normalised, 1, total)
    return outputs_of(params, made, activate, dropout, start, normalised), model_state


def _pieces(input_shape: tuple[int, ...]) -> tuple[int, int]:
    """How many pieces a sequence is cut into, and how many numbers, marks included, each has."""
    steps, channels = input_shape
    length = -(-steps // MOST_PIECES)
    return -(-steps // length), length * channels + MARKS


def flops(shape: ShapeClass) -> tuple[float, float]:
    """Floating-point operations for one example: forward, and forward with backward.

    A multiplication and an addition for each weight at each piece forward, zeros around the
    sequence included, twice that backward, except that the gradient of the input is not needed.
    """
    count, channels = _pieces(shape.input_shape)
    depth, units = shape.rung
    later = count // 2 if count >= LEAST_HALVED else count
    first = SIDE * channels * units * count
    products = first + 2 * SIDE * units * units * (count + (depth - 1) * later)
    products += units * shape.outputs
    return 2.0 * products, 6.0 * products - 2.0 * first


SEQUENCE = Family(
    name="sequence",
    depths=(1, 2, 3, 4),
    widths=(16, 32, 64, 128),
    default=Rung(2, 32),
    reads=("sequence",),
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
