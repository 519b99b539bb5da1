"""A residual convolutional network over tokens: 4 depths x 4 widths, for texts.

Each token has a vector. A block adds to the vectors what two convolutions over three neighbours,
with an activation in between, make of them. Then come the largest and the mean value of each
channel over the tokens, and a linear layer. Where there is no token there are zeros before and
behind each layer, so that the outputs do not depend on how far a text is padded.

There is no normalisation: so few blocks do not need it, and the length of a vector can tell how
much a word matters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs.forms import UNKNOWN
from rlagent_envs.models.activations import chosen, relu
from rlagent_envs.models.convolution import convolution
from rlagent_envs.models.dropping import dropped, survival
from rlagent_envs.models.embeddings import update_flops
from rlagent_envs.models.ladder import Family, Rung, ShapeClass, new_part, with_block
from rlagent_envs.models.mlp import Dense
from rlagent_envs.models.residual import SIDE, draw_kernel

POOLS = 2  # what is made of the tokens' vectors: the largest and the mean value of each channel
SPREAD = 0.1  # standard deviation of new vectors: 0.3 gave higher losses on TREC and SST-2


class Block(NamedTuple):
    """What is added to the vectors."""

    first: Any  # [3, width, width], float32
    bias: Any  # [width], float32
    second: Any  # as first


class Layers(NamedTuple):
    """The network."""

    embedding: Any  # [tokens, width], float32: the vector of each token
    blocks: tuple[Block, ...]
    last: Dense  # its kernel is [2, width, outputs]


def init(
    generator: np.random.Generator, shape: ShapeClass, features: int
) -> tuple[Layers, tuple[()]]:
    """New weights: He before activations, LeCun elsewhere; no vector for no and unknown tokens.

    A word that training lacks says nothing then, unless unknown tokens are trained on.

    Args:
        generator: draws the weights.
        shape: the shapes.
        features: columns of the input; texts are never padded beyond their shape.

    Returns:
        The layers, and an empty model state.
    """
    width = shape.rung.width
    blocks = tuple(
        Block(
            draw_kernel(generator, 1, width, width, 2.0),
            np.zeros(width, np.float32),
            draw_kernel(generator, 1, width, width, 1.0),
        )
        for _ in range(shape.rung.depth)
    )
    kernel = generator.standard_normal((POOLS, width, shape.outputs), np.float32)
    last = Dense(kernel / np.float32(np.sqrt(POOLS * width)), np.zeros(shape.outputs, np.float32))
    return Layers(_vectors(generator, shape.vocabularies[0], width), blocks, last), ()


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
    """The outputs `[batch, outputs]` for tokens `[batch, length]`.

    Args:
        shape: not needed: the layers have it.
        params: the layers.
        model_state: empty: this family has no state.
        x: whole numbers below the vocabulary, as float32; 0 where there is no token.
        dropout: share of the numbers to drop, of the vectors and of what is pooled, `[]`.
        start: of the random numbers that choose what is dropped or skipped, `[]`, uint32; None: as
            in evaluation, nothing is.
        activation: number of the activation, `[]`; None: ReLU.
        stochastic_depth: share of the examples for which the last block is skipped, `[]`; of the
            others in proportion to their depth. None: none is.

    Source: Kim 2014, "Convolutional Neural Networks for Sentence Classification" (arXiv:1408.5882),
    section 2: the largest value over the words, dropout and the linear layer.
    """
    pooled = read(params, x, dropout, start, activation, stochastic_depth)
    return told(params, pooled), model_state


def told(params: Layers, pooled: jax.Array) -> jax.Array:
    """The outputs `[batch, outputs]` of the last layer, for what is pooled `[batch, 2 width]`."""
    kernel = params.last.kernel.reshape(pooled.shape[1], -1)
    return pooled @ kernel + params.last.bias[None, :]


def read(
    params: Layers,
    x: jax.Array,
    dropout: jax.Array,
    start: jax.Array | None,
    activation: jax.Array | None = None,
    stochastic_depth: jax.Array | None = None,
) -> jax.Array:
    """What is pooled of the tokens, the largest values and the means, `[batch, 2 width]`.

    Of the random numbers it takes those from `start` to `start` + depth + 1. Args: as of `apply`.
    """
    activate = relu if activation is None else partial(chosen, activation)
    real = (x > 0)[:, :, None]
    vectors = jnp.where(real, params.embedding[x.astype(jnp.int32)], 0.0)
    depth = len(params.blocks)
    if start is not None:
        vectors = dropped(vectors, dropout, start + np.uint32(depth + 1))
    for number, block in enumerate(params.blocks, 1):
        inner = activate(convolution(vectors, block.first) + block.bias[None, None, :])
        added = convolution(jnp.where(real, inner, 0.0), block.second)
        if start is not None and stochastic_depth is not None:
            skipped = stochastic_depth * (number / depth)
            kept = survival(len(x), skipped, start + np.uint32(number))
            added = added * kept[:, None, None]
        vectors = jnp.where(real, vectors + added, 0.0)
    pooled = _pooled(vectors, real)
    return pooled if start is None else dropped(pooled, dropout, start)


def _pooled(vectors: jax.Array, real: jax.Array) -> jax.Array:
    """The largest and the mean values over the tokens, `[batch, 2 width]`; zeros without any.

    Args:
        vectors: `[batch, length, width]`, zero where there is no token.
        real: `[batch, length, 1]`, whether there is a token.
    """
    count = jnp.sum(real, axis=1)
    largest = jnp.max(jnp.where(real, vectors, -jnp.inf), axis=1)
    largest = jnp.where(count > 0, largest, 0.0)
    mean = jnp.sum(vectors, axis=1) / jnp.maximum(count, 1)
    return jnp.concatenate([largest, mean], axis=1)


def flops(shape: ShapeClass) -> tuple[float, float]:
    """Floating-point operations for one example: forward, and forward with backward.

    A multiplication and an addition for each weight at each token forward, padding included, twice
    that backward. To look up vectors is free; their gradients are added up, and each update moves
    the vectors of all words.
    """
    length, width = shape.input_shape[0], shape.rung.width
    products = shape.rung.depth * 2 * SIDE * width * width * length
    products += POOLS * width * shape.outputs
    backward = 6.0 * products + width * length
    return 2.0 * products, backward + update_flops(shape.vocabularies[0] * width, shape.batch_size)


def widen(
    generator: np.random.Generator | None, params: Layers, width: int
) -> tuple[Layers, Layers]:
    """Gives the vectors and each block `width` channels without changing the outputs.

    New channels get random incoming and zero outgoing weights.

    Args:
        generator: draws the incoming weights; None: they are zero, as for a tree of moments.
        params: the layers.
        width: channels after the edit.

    Returns:
        The layers, and the same form of booleans: True where a number is new.

    Raises:
        ValueError: if `width` is below the present width.
    """
    tokens, present = np.shape(params.embedding)
    if width < present:
        raise ValueError(f"width must be at least the present width {present}, got {width}")
    more = width - present

    def enlarged(kernel: Any, gain: float) -> np.ndarray:
        wide = np.pad(kernel, ((0, 0), (0, more), (0, more)))
        if generator is not None:
            wide[:, :present, present:] = draw_kernel(generator, 1, present, more, gain)
        return wide

    vectors = np.zeros((tokens, more), np.float32)
    if generator is not None:
        vectors = _vectors(generator, tokens, more)
    blocks = tuple(
        Block(enlarged(one.first, 2.0), np.pad(one.bias, (0, more)), enlarged(one.second, 1.0))
        for one in params.blocks
    )
    last = Dense(np.pad(params.last.kernel, ((0, 0), (0, more), (0, 0))), params.last.bias)
    wide = Layers(np.concatenate([params.embedding, vectors], axis=1), blocks, last)
    return wide, jax.tree.map(new_part, params, wide)


def deepen(params: Layers) -> tuple[Layers, Layers]:
    """Adds a block behind the last one whose second convolution is zero, so that it adds nothing.

    Its first convolution is the identity, as a new layer of the MLP is.

    Returns:
        The layers, and the same form of booleans: True where a number is new.
    """
    width = params.embedding.shape[1]
    identity = np.zeros((SIDE, width, width), np.float32)
    identity[SIDE // 2] = np.eye(width, dtype=np.float32)
    added = Block(identity, np.zeros(width, np.float32), np.zeros_like(identity))
    return with_block(params, added)


def narrow(params: Layers, width: int) -> Callable[[Layers], Layers]:
    """Chooses the channels that are used the most, see `most_used`.

    Args:
        params: the layers, which decide.
        width: channels that stay, at most the present number.

    Returns:
        What makes the narrower form of the params, and of moments or averages of their form.

    Raises:
        ValueError: if `width` is above the present width.
    """
    stream, inside = most_used(params, width)
    return partial(picked, stream=stream, inside=inside)


def most_used(
    params: Layers, width: int, heard: np.ndarray | float = 0.0
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The channels that are used the most: of what blocks add to, and inside of each.

    The use of a channel is the product of the norms of its incoming and its outgoing weights. What
    blocks are given and add to has the same channels everywhere, inside each block chooses for
    itself.

    Args:
        params: the layers.
        width: how many channels to choose, at most the present number.
        heard: what other outgoing weights than those of the layers add to the norms, `[width]`.

    Returns:
        The numbers of the channels, sorted.

    Raises:
        ValueError: if `width` is above the present width.
    """
    present = params.embedding.shape[1]
    if width > present:
        raise ValueError(f"width must be at most the present width {present}, got {width}")

    def kept(coming: np.ndarray, going: np.ndarray) -> np.ndarray:
        return np.sort(np.argsort(-coming * going, kind="stable")[:width])

    coming = norms(params.embedding, 1) + sum(norms(one.second, 2) for one in params.blocks)
    going = norms(params.last.kernel, 1) + sum(norms(one.first, 1) for one in params.blocks)
    inside = [
        kept(np.hypot(norms(one.first, 2), one.bias), norms(one.second, 1)) for one in params.blocks
    ]
    return kept(coming, going + heard), inside


def picked(layers: Layers, stream: np.ndarray, inside: list[np.ndarray]) -> Layers:
    """The layers with these channels alone; see `most_used`."""
    blocks = tuple(
        Block(one.first[:, stream][:, :, own], one.bias[own], one.second[:, own][:, :, stream])
        for one, own in zip(layers.blocks, inside, strict=True)
    )
    last = Dense(layers.last.kernel[:, stream], layers.last.bias)
    return Layers(layers.embedding[:, stream], blocks, last)


def norms(kernel: Any, axis: int) -> np.ndarray:
    """The norm of the weights of each channel, which are along an axis."""
    others = tuple(number for number in range(np.ndim(kernel)) if number != axis)
    return np.sqrt(np.square(kernel).sum(axis=others))


def _vectors(generator: np.random.Generator, tokens: int, width: int) -> np.ndarray:
    drawn = generator.standard_normal((tokens, width), np.float32) * np.float32(SPREAD)
    drawn[: UNKNOWN + 1] = 0.0
    return drawn


TEXT = Family(
    name="text",
    depths=(1, 2, 3, 4),
    widths=(16, 32, 64, 128),
    default=Rung(1, 32),
    reads=("tokens",),
    residual=True,
    roomy=True,
    init=init,
    apply=apply,
    flops=flops,
    widen=widen,
    deepen=deepen,
    narrow=narrow,
)
