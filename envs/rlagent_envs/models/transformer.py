"""A Transformer over tokens: 4 depths x 4 widths, causal where each place has a target.

Tokens become vectors, blocks add to them, and a linear layer reads them. A block is attention and
then a layer of hidden units; each normalises what it is given, so that all vectors are of one size,
and ends in a projection without which it adds nothing.

The width of a rung is the number of hidden units, with a head of attention for each 64 of them. The
vectors themselves have 64 numbers on every rung: they are normalised as a whole, so that a number
more would change all the others, and widening would not keep the outputs. Heads and hidden units do
not know of each other, and new ones whose projection is zero leave the outputs as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs.models.activations import chosen, relu
from rlagent_envs.models.dropping import dropped, survival
from rlagent_envs.models.embeddings import update_flops
from rlagent_envs.models.ladder import Family, Rung, ShapeClass, new_part, with_block
from rlagent_envs.models.mlp import Dense

STREAM = 64  # numbers of a token's vector
HEAD = 16  # of a query, key or value
UNITS_PER_HEAD = 64
EPSILON = 1e-5
LOWEST = -1e9  # in the place of the score of a token that is not to be seen
WAVELENGTH = 10_000.0  # of the slowest rotation, in 2 pi tokens


class Block(NamedTuple):
    """What is added to the vectors."""

    # Scales are added to 1, so that weight decay draws them to their normal strength.
    attention_norm: Any  # [STREAM], float32
    query: Any  # [STREAM, heads x HEAD], float32
    key: Any  # the same
    value: Any  # the same
    project: Any  # [heads x HEAD, STREAM], float32
    norm: Any  # [STREAM], before the hidden units
    first: Dense  # [STREAM, width]
    second: Dense  # [width, STREAM]


class Layers(NamedTuple):
    """The network."""

    embedding: Any  # [vocabulary, STREAM], float32
    blocks: tuple[Block, ...]
    norm: Any  # [STREAM]
    last: Dense  # [STREAM, outputs]


def init(
    generator: np.random.Generator, shape: ShapeClass, features: int
) -> tuple[Layers, tuple[()]]:
    """New weights: He before activations, LeCun elsewhere, less for what a block adds.

    Args:
        generator: draws the weights.
        shape: the shapes.
        features: columns of the input; tokens are never padded beyond their length.

    Returns:
        The layers, and an empty model state.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), with the norms before attention and hidden units
    (Xiong et al. 2020, arXiv:2002.04745) by the root mean square (Zhang and Sennrich 2019,
    arXiv:1910.07467). What blocks add is divided by the root of their number, as in Radford et al.
    2019, "Language Models are Unsupervised Multitask Learners", section 2.3.
    """
    depth, width = shape.rung
    inner = _inner(width)
    draw = partial(_kernel, generator)
    blocks = tuple(
        Block(
            attention_norm=np.zeros(STREAM, np.float32),
            query=draw(STREAM, inner),
            key=draw(STREAM, inner),
            value=draw(STREAM, inner),
            project=draw(inner, STREAM, 0.5 / depth),
            norm=np.zeros(STREAM, np.float32),
            first=Dense(draw(STREAM, width, 2.0), np.zeros(width, np.float32)),
            second=Dense(draw(width, STREAM, 0.5 / depth), np.zeros(STREAM, np.float32)),
        )
        for _ in range(depth)
    )
    embedding = generator.standard_normal((shape.vocabularies[0], STREAM), np.float32)
    last = Dense(draw(STREAM, shape.outputs), np.zeros(shape.outputs, np.float32))
    return Layers(embedding, blocks, np.zeros(STREAM, np.float32), last), ()


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
    """The outputs of inputs `[batch, length]`.

    Args:
        shape: the shapes: with a target for each place a token sees itself and those before it,
            with one target each token sees all that there are.
        params: the layers.
        model_state: empty: this family has no state.
        x: numbers of tokens, 0 where there is none.
        dropout: share of what is added to the vectors to drop, `[]`.
        start: of the random numbers that choose what is dropped or skipped, `[]`, uint32; None: as
            in evaluation, nothing is.
        activation: number of the activation of the hidden units, `[]`; None: ReLU.
        stochastic_depth: share of the examples for which the last block is skipped, `[]`; of the
            others in proportion to their depth. None: none is.

    Returns:
        `[batch, length, outputs]` where each place has a target, else `[batch, outputs]`, of the
        mean over all tokens; and the model state.
    """
    activate = relu if activation is None else partial(chosen, activation)
    tokens = x.astype(jnp.int32)
    there = tokens > 0
    length, causal = tokens.shape[1], bool(shape.target_shape)
    # [1 or batch, 1, length or 1, length]: which tokens (last) each one sees.
    seen = jnp.tri(length, dtype=bool)[None, None] if causal else there[:, None, None, :]
    turns = _turns(length)
    vectors = params.embedding[tokens]
    depth = len(params.blocks)
    for number, block in enumerate(params.blocks, 1):
        kept = None
        if start is not None and stochastic_depth is not None:
            skipped = stochastic_depth * (number / depth)
            kept = survival(len(x), skipped, start + np.uint32(3 * number))
        added = _attended(block, _normalised(vectors, block.attention_norm), seen, turns)
        vectors = vectors + _thinned(added, dropout, start, 3 * number + 1, kept)
        hidden = _normalised(vectors, block.norm) @ block.first.kernel
        hidden = activate(hidden + block.first.bias[None, None])
        added = hidden @ block.second.kernel + block.second.bias[None, None]
        vectors = vectors + _thinned(added, dropout, start, 3 * number + 2, kept)
    vectors = _normalised(vectors, params.norm)
    if not causal:
        vectors = jnp.where(there[:, :, None], vectors, 0.0)
        count = jnp.maximum(jnp.sum(there, axis=1, keepdims=True), 1)
        vectors = jnp.sum(vectors, axis=1) / count.astype(jnp.float32)
    bias = params.last.bias[None, None] if causal else params.last.bias[None]
    return vectors @ params.last.kernel + bias, model_state


def _thinned(
    added: jax.Array,
    dropout: jax.Array,
    start: jax.Array | None,
    purpose: int,
    kept: jax.Array | None,
) -> jax.Array:
    """What is added to the vectors, with dropout, and without the examples that skip the block."""
    if start is not None:
        added = dropped(added, dropout, start + np.uint32(purpose))
    return added if kept is None else added * kept[:, None, None]


def _normalised(vectors: jax.Array, scale: jax.Array) -> jax.Array:
    """The vectors at a root mean square of 1, then scaled."""
    square = jnp.mean(jnp.square(vectors), axis=-1, keepdims=True)
    return vectors * jax.lax.rsqrt(square + EPSILON) * (1.0 + scale)[None, None]


def _attended(
    block: Block, vectors: jax.Array, seen: jax.Array, turns: tuple[np.ndarray, np.ndarray]
) -> jax.Array:
    """What attention adds to each vector, `[batch, length, STREAM]`."""
    size, length, _ = vectors.shape
    heads = block.query.shape[1] // HEAD
    joined = vectors @ jnp.concatenate([block.query, block.key, block.value], axis=1)
    split = joined.reshape(size, length, 3, heads, HEAD)
    query, key, value = (split[:, :, part].swapaxes(1, 2) for part in range(3))
    scores = _turned(query, turns) @ _turned(key, turns).swapaxes(2, 3) / np.sqrt(HEAD)
    shares = jax.nn.softmax(jnp.where(seen, scores, LOWEST))
    heard = (shares @ value).swapaxes(1, 2).reshape(size, length, heads * HEAD)
    return heard @ block.project


def _turns(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines of the angles by which the places are turned, `[length, HEAD / 2]`."""
    pace = WAVELENGTH ** (-np.arange(HEAD // 2) / (HEAD // 2))
    angles = np.arange(length)[:, None] * pace[None]
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _turned(x: jax.Array, turns: tuple[np.ndarray, np.ndarray]) -> jax.Array:
    """Queries or keys `[batch, heads, length, HEAD]` turned by their places.

    So a score depends on how far apart two tokens are, not on where they are.

    Source: Su et al. 2021, "RoFormer" (arXiv:2104.09864), section 3.2.
    """
    cosine, sine = (jnp.asarray(turn)[None, None] for turn in turns)
    one, other = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([one * cosine - other * sine, one * sine + other * cosine], axis=-1)


def flops(shape: ShapeClass) -> tuple[float, float]:
    """Floating-point operations for one example: forward, and forward with backward.

    A multiplication and an addition for each weight at each token, and for each number of each
    pair of tokens in attention, those that must not see each other included; twice that backward.
    Looking up the vectors of tokens costs none, but each update moves all of them.
    """
    depth, width = shape.rung
    (length,) = shape.input_shape
    inner = _inner(width)
    block = 4 * STREAM * inner + 2 * STREAM * width + 2 * length * inner
    read = length if shape.target_shape else 1
    products = length * depth * block + read * STREAM * shape.outputs
    moved = update_flops(shape.vocabularies[0] * STREAM, shape.batch_size)
    return 2.0 * products, 6.0 * products + moved


def widen(
    generator: np.random.Generator | None, params: Layers, width: int
) -> tuple[Layers, Layers]:
    """Gives each block `width` hidden units, and heads to them, without changing the outputs.

    New heads and units get random incoming weights, and add nothing: their projections are zero.

    Args:
        generator: draws the incoming weights; None: they are zero, as for a tree of moments.
        params: the layers.
        width: hidden units of each block after the edit.

    Returns:
        The layers, and the same form of booleans: True where a number is new.

    Raises:
        ValueError: if `width` is below the present width.
    """
    present = params.blocks[0].first.kernel.shape[1]
    if width < present:
        raise ValueError(f"width must be at least the present width {present}, got {width}")
    more, more_inner = width - present, _inner(width) - _inner(present)

    def heard(kernel: Any, columns: int, gain: float = 1.0) -> np.ndarray:
        """With more columns, which listen to what there is."""
        added = np.zeros((STREAM, columns), np.float32)
        if generator is not None:
            added = _kernel(generator, STREAM, columns, gain)
        return np.concatenate([kernel, added], axis=1)

    def silent(kernel: Any, rows: int) -> np.ndarray:
        """With more rows, through which nothing is said."""
        return np.concatenate([kernel, np.zeros((rows, STREAM), np.float32)])

    blocks = tuple(
        block._replace(
            query=heard(block.query, more_inner),
            key=heard(block.key, more_inner),
            value=heard(block.value, more_inner),
            project=silent(block.project, more_inner),
            first=Dense(
                heard(block.first.kernel, more, 2.0),
                np.concatenate([block.first.bias, np.zeros(more, np.float32)]),
            ),
            second=Dense(silent(block.second.kernel, more), np.asarray(block.second.bias)),
        )
        for block in params.blocks
    )
    wide = params._replace(blocks=blocks)
    return wide, jax.tree.map(new_part, params, wide)


def deepen(params: Layers) -> tuple[Layers, Layers]:
    """Adds a block behind the last one whose projections are zero, so that it adds nothing.

    It listens as the last one does: its other weights are copies.

    Returns:
        The layers, and the same form of booleans: True where a number is new.
    """
    last = params.blocks[-1]
    added = last._replace(
        project=np.zeros_like(last.project), second=Dense(*map(np.zeros_like, last.second))
    )
    return with_block(params, added)


def narrow(params: Layers, width: int) -> Callable[[Layers], Layers]:
    """Chooses the hidden units and the heads of each block that are used the most.

    The use of a unit or a head is the product of the norms of its incoming weights (of a head:
    those of its values) and of its projection.

    Args:
        params: the layers, which decide.
        width: hidden units that stay, at most the present number.

    Returns:
        What makes the narrower form of the params, and of moments or averages of their form.

    Raises:
        ValueError: if `width` is above the present width.
    """
    present = params.blocks[0].first.kernel.shape[1]
    if width > present:
        raise ValueError(f"width must be at most the present width {present}, got {width}")
    kept = [_most_used(block, width) for block in params.blocks]

    def pick(layers: Layers) -> Layers:
        blocks = tuple(
            block._replace(
                query=block.query[:, inner],
                key=block.key[:, inner],
                value=block.value[:, inner],
                project=block.project[inner],
                first=Dense(block.first.kernel[:, units], block.first.bias[units]),
                second=Dense(block.second.kernel[units], block.second.bias),
            )
            for block, (inner, units) in zip(layers.blocks, kept, strict=True)
        )
        return layers._replace(blocks=blocks)

    return pick


def _most_used(block: Block, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Which columns of attention, whole heads, and which hidden units of a block to keep."""

    def most(use: np.ndarray, count: int) -> np.ndarray:
        return np.sort(np.argsort(-use, kind="stable")[:count])

    def of_heads(squares: Any) -> np.ndarray:
        return np.sqrt(squares.reshape(-1, HEAD).sum(axis=1))

    coming, going = np.square(block.value).sum(axis=0), np.square(block.project).sum(axis=1)
    heads = most(of_heads(coming) * of_heads(going), _inner(width) // HEAD)
    inner = (heads[:, None] * HEAD + np.arange(HEAD)).reshape(-1)
    heard = np.square(block.first.kernel).sum(axis=0) + np.square(block.first.bias)
    units = most(np.sqrt(heard * np.square(block.second.kernel).sum(axis=1)), width)
    return inner, units


def _inner(width: int) -> int:
    """Columns of the queries of all heads."""
    return width // UNITS_PER_HEAD * HEAD


def _kernel(generator: np.random.Generator, rows: int, columns: int, gain: float = 1.0) -> Any:
    drawn = generator.standard_normal((rows, columns), np.float32)
    return drawn * np.float32(np.sqrt(gain / rows))


TRANSFORMER = Family(
    name="transformer",
    depths=(1, 2, 3, 4),
    widths=(64, 128, 256, 512),
    default=Rung(2, 128),
    reads=("tokens",),
    target_axes=(0, 1),
    residual=True,
    roomy=True,
    init=init,
    apply=apply,
    flops=flops,
    widen=widen,
    deepen=deepen,
    narrow=narrow,
)
