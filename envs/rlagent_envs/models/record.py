"""The network of texts with a perceptron beside it, for rows of tables that hold free text.

What the text network pools goes to its last layer, as without a table, and, together with the
columns, through a perceptron of two hidden layers, whose outputs are added. So the text alone can
do all that it could, and every output may be a matter of both. The rungs are those of texts: a
wider one has wider hidden layers, too, as many units as numbers are pooled; a deeper one has more
blocks, the perceptron stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs.models import embedding_mlp, text
from rlagent_envs.models.ladder import Family, Rung, ShapeClass, new_part
from rlagent_envs.models.text import POOLS

HIDDEN_LAYERS = 2  # of the perceptron, as the MLP of a table has at the start


class Layers(NamedTuple):
    """The network."""

    texts: text.Layers
    # Its inputs are the largest values and the means of the text, then the columns.
    beside: embedding_mlp.Layers


def init(
    generator: np.random.Generator, shape: ShapeClass, features: int
) -> tuple[Layers, tuple[()]]:
    """New weights; see `text.init` and `embedding_mlp.init`.

    Args:
        generator: draws the weights.
        shape: the shapes.
        features: columns of the input; records are never padded.
    """
    of_text, beside = _of_text(shape), _beside(shape)
    texts, model_state = text.init(generator, of_text, of_text.features)
    return Layers(texts, embedding_mlp.init(generator, beside, beside.features)[0]), model_state


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
    """The outputs `[batch, outputs]` for records `[batch, features]`; see `text.apply`.

    `dropout` acts on the hidden units of the perceptron, too.
    """
    length, _ = shape.input_shape
    pooled = text.read(params.texts, x[:, :length], dropout, start, activation, stochastic_depth)
    given = jnp.concatenate([pooled, x[:, length:]], axis=1)
    # Behind the random numbers that the text network takes.
    after = None if start is None else start + np.uint32(len(params.texts.blocks) + 2)
    added, _ = embedding_mlp.apply(
        _beside(shape), params.beside, (), given, dropout, after, activation
    )
    return text.told(params.texts, pooled) + added, model_state


def flops(shape: ShapeClass) -> tuple[float, float]:
    """Floating-point operations for one example: forward, and forward with backward.

    Those of both networks, and the gradient of what is pooled in the perceptron.
    """
    of_text, beside = text.flops(_of_text(shape)), embedding_mlp.flops(_beside(shape))
    pooled = POOLS * shape.rung.width
    return of_text[0] + beside[0], of_text[1] + beside[1] + 2.0 * pooled * pooled


def widen(
    generator: np.random.Generator | None, params: Layers, width: int
) -> tuple[Layers, Layers]:
    """Widens both networks without changing the outputs: new channels are not heard.

    See `text.widen` and `mlp.widen`.
    """
    present = params.texts.embedding.shape[1]
    texts, new_texts = text.widen(generator, params.texts, width)
    beside, new_beside = embedding_mlp.widen(generator, params.beside, POOLS * width)
    wide = Layers(texts, _with_channels(beside, present, width, 0.0))
    return wide, Layers(new_texts, _with_channels(new_beside, present, width, fill=True))


def _with_channels(
    beside: embedding_mlp.Layers, present: int, width: int, fill: float
) -> embedding_mlp.Layers:
    """The perceptron with rows of its first kernel for so many channels, new ones filled."""
    first, *rest = beside.layers
    kernel = first.kernel
    pooled = kernel[: POOLS * present].reshape(POOLS, present, -1)
    more = ((0, 0), (0, width - present), (0, 0))
    pooled = np.pad(pooled, more, constant_values=fill).reshape(POOLS * width, -1)
    heard = np.concatenate([pooled, kernel[POOLS * present :]])
    return beside._replace(layers=(first._replace(kernel=heard), *rest))


def deepen(params: Layers) -> tuple[Layers, Layers]:
    """Adds a block to the text network; see `text.deepen`."""
    texts, new = text.deepen(params.texts)
    same = jax.tree.map(new_part, params.beside, params.beside)
    return Layers(texts, params.beside), Layers(new, same)


def narrow(params: Layers, width: int) -> Callable[[Layers], Layers]:
    """Chooses the channels and hidden units that are used the most.

    See `text.most_used` and `mlp.narrow`.
    """
    present = params.texts.embedding.shape[1]
    kernel = params.beside.layers[0].kernel
    heard = text.norms(kernel[: POOLS * present].reshape(POOLS, present, -1), 1)
    stream, inside = text.most_used(params.texts, width, heard)
    hidden = embedding_mlp.narrow(params.beside, POOLS * width)
    pooled = [stream + pool * present for pool in range(POOLS)]
    rows = np.concatenate([*pooled, np.arange(POOLS * present, len(kernel))])

    def pick(layers: Layers) -> Layers:
        beside = hidden(layers.beside)
        first, *rest = beside.layers
        kept = (first._replace(kernel=first.kernel[rows]), *rest)
        return Layers(text.picked(layers.texts, stream, inside), beside._replace(layers=kept))

    return pick


def _of_text(shape: ShapeClass) -> ShapeClass:
    """The shapes of the text network."""
    length, _ = shape.input_shape
    return replace(
        shape, features=length, input_shape=(length,), vocabularies=shape.vocabularies[:1]
    )


def _beside(shape: ShapeClass) -> ShapeClass:
    """The shapes of the perceptron, and of the vectors of its numbered columns."""
    pooled = POOLS * shape.rung.width
    return replace(
        shape,
        rung=Rung(HIDDEN_LAYERS, pooled),
        features=pooled + shape.input_shape[1],
        input_shape=(),
        vocabularies=shape.vocabularies[1:],
    )


RECORD = Family(
    name="record",
    depths=text.TEXT.depths,
    widths=text.TEXT.widths,
    default=text.TEXT.default,
    reads=("record",),
    residual=True,
    roomy=True,
    init=init,
    apply=apply,
    flops=flops,
    widen=widen,
    deepen=deepen,
    narrow=narrow,
)
