"""The multilayer perceptron with embeddings in front, for rows whose last columns are numbers.

What it is given is the quantities of a row, beside a vector for each number. The vectors have one
size in all rungs: the rungs are those of the perceptron behind them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs.models import mlp
from rlagent_envs.models.embeddings import looked_up, update_flops
from rlagent_envs.models.ladder import Family, Rung, ShapeClass

MOST_DIMENSIONS = 16  # of a vector: every number costs time in every update
SPREAD = 0.1  # standard deviation of new vectors; with 1, 500 categories were learned less well


class Layers(NamedTuple):
    """The network."""

    tables: tuple[Any, ...]  # of each numbered column the vectors, [numbers, dimensions], float32
    layers: mlp.Layers


def dimensions(vocabulary: int) -> int:
    """The size of the vector of one of so many numbers.

    Source: the rule of fastai (Howard and Gugger 2020, arXiv:2002.04688), with a lower limit.
    """
    return min(MOST_DIMENSIONS, round(1.6 * vocabulary**0.56))


def init(
    generator: np.random.Generator, shape: ShapeClass, features: int
) -> tuple[Layers, tuple[()]]:
    """New weights: small vectors, and those of the MLP.

    The vector of number 0 is zero, the mean of all: training may have no row to learn it from.

    Args:
        generator: draws the weights.
        shape: the shapes; rows are never padded.
        features: columns of the input.

    Returns:
        The layers, and an empty model state.

    Source: Guo and Berkhahn 2016, "Entity Embeddings of Categorical Variables"
    (arXiv:1604.06737).
    """
    tables = []
    for vocabulary in shape.vocabularies:
        drawn = generator.standard_normal((vocabulary, dimensions(vocabulary)), np.float32)
        drawn[0] = 0.0
        tables.append(np.float32(SPREAD) * drawn)
    behind = _behind(shape)
    layers, model_state = mlp.init(generator, behind, behind.features)
    return Layers(tuple(tables), layers), model_state


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
    """The outputs `[batch, outputs]` for inputs `[batch, features]`, as `mlp.apply` makes them."""
    count = len(params.tables)
    vectors = looked_up(params.tables, x)
    given = jnp.concatenate([x[:, : x.shape[1] - count], *vectors], axis=1)
    return mlp.apply(
        shape, params.layers, model_state, given, dropout, start, activation, stochastic_depth
    )


def flops(shape: ShapeClass) -> tuple[float, float]:
    """Floating-point operations for one example: forward, and forward with backward.

    Those of the MLP, the gradient of the vectors, and the example's share of moving all vectors.
    """
    forward, both = mlp.flops(_behind(shape))
    sizes = [dimensions(vocabulary) for vocabulary in shape.vocabularies]
    moved = sum(count * size for count, size in zip(shape.vocabularies, sizes, strict=True))
    backward = 2.0 * sum(sizes) * shape.rung.width
    return forward, both + backward + update_flops(moved, shape.batch_size)


def widen(
    generator: np.random.Generator | None, params: Layers, width: int
) -> tuple[Layers, Layers]:
    """Widens the MLP; see `mlp.widen`."""
    layers, new = mlp.widen(generator, params.layers, width)
    return Layers(params.tables, layers), Layers(_none_new(params), new)


def deepen(params: Layers) -> tuple[Layers, Layers]:
    """Deepens the MLP; see `mlp.deepen`."""
    layers, new = mlp.deepen(params.layers)
    return Layers(params.tables, layers), Layers(_none_new(params), new)


def narrow(params: Layers, width: int) -> Callable[[Layers], Layers]:
    """Chooses the units of the MLP that are used the most; see `mlp.narrow`."""
    pick = mlp.narrow(params.layers, width)
    return lambda one: Layers(one.tables, pick(one.layers))


def _behind(shape: ShapeClass) -> ShapeClass:
    """The shapes of the MLP."""
    quantities = shape.features - len(shape.vocabularies)
    return replace(shape, features=quantities + sum(map(dimensions, shape.vocabularies)))


def _none_new(params: Layers) -> tuple[np.ndarray, ...]:
    return tuple(np.zeros(np.shape(table), bool) for table in params.tables)


EMBEDDING_MLP = Family(
    name="embedding_mlp",
    depths=mlp.MLP.depths,
    widths=mlp.MLP.widths,
    default=Rung(2, 64),
    reads=("mixed", "pair"),
    init=init,
    apply=apply,
    flops=flops,
    widen=widen,
    deepen=deepen,
    narrow=narrow,
)
