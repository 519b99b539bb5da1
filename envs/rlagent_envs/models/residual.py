"""Residual convolutional networks over any number of axes: what images and sequences share.

Stages, the mean over all positions, and a linear layer. A stage enters by a convolution, and then
adds its blocks: convolution, normalisation, activation and convolution. How many stages there are
does not depend on the rung, whose depth is the number of blocks in each of them; each has twice the
channels of the one before. Examples come first and channels last, as in convolution.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs.models.convolution import convolution
from rlagent_envs.models.dropping import dropped, survival
from rlagent_envs.models.ladder import Rung
from rlagent_envs.models.mlp import Dense
from rlagent_envs.models.normalisation import Norm, Normalise, Statistics

SIDE = 3  # of a kernel


class Block(NamedTuple):
    """What is added to the positions."""

    first: Any  # [3, ..., width, width], float32: a 3 for each axis
    norm: Norm
    second: Any  # the same


class Stage(NamedTuple):
    """Blocks that have as many positions and channels as each other."""

    enter: Any  # [3, ..., channels before, width of the stage], float32
    norm: Norm
    blocks: tuple[Block, ...]


class Layers(NamedTuple):
    """The network."""

    stages: tuple[Stage, ...]
    norm: Norm  # before the mean over the positions
    last: Dense


def init(
    generator: np.random.Generator,
    axes: int,
    channels: int,
    rung: Rung,
    outputs: int,
    stages: int = 1,
) -> Layers:
    """New weights: He before activations, LeCun elsewhere.

    Args:
        generator: draws the weights.
        axes: along which the network convolves.
        channels: of the input.
        rung: blocks of each stage, and channels of the first.
        outputs: of the network.
        stages: each has twice the channels of the one before.

    Source: He et al. 2016 (arXiv:1512.03385), section 3.
    """
    kernel_of = partial(draw_kernel, generator, axes)
    made = []
    for number in range(stages):
        width = stage_width(rung.width, number)
        enter = kernel_of(channels, width, 2.0)
        blocks = tuple(
            Block(kernel_of(width, width, 2.0), fresh_norm(width), kernel_of(width, width, 1.0))
            for _ in range(rung.depth)
        )
        made.append(Stage(enter, fresh_norm(width), blocks))
        channels = width
    kernel = generator.standard_normal((channels, outputs), np.float32)
    last = Dense(kernel / np.float32(np.sqrt(channels)), np.zeros(outputs, np.float32))
    return Layers(tuple(made), fresh_norm(channels), last)


def stage_width(width: int, number: int) -> int:
    """The channels of a stage, of which the first is number 0 and has `width` of them."""
    return width << number


def statistics_of(layers: Layers) -> Layers:
    """The same form with what stands for norms alone; None where a kernel is."""
    stages = tuple(
        Stage(None, stage.norm, tuple(Block(None, block.norm, None) for block in stage.blocks))
        for stage in layers.stages
    )
    return Layers(stages, layers.norm, Dense(None, None))


def with_statistics(layers: Layers, statistics: Layers) -> Layers:
    """The layers with statistics, as `statistics_of` gives them, in the places of their norms."""
    stages = tuple(
        stage._replace(
            norm=seen.norm,
            blocks=tuple(
                block._replace(norm=of_block.norm)
                for block, of_block in zip(stage.blocks, seen.blocks, strict=True)
            ),
        )
        for stage, seen in zip(layers.stages, statistics.stages, strict=True)
    )
    return Layers(stages, statistics.norm, layers.last)


def unseen(layers: Layers) -> Layers:
    """The statistics of a network that has seen no batch."""

    def none(norm: Norm) -> Statistics:
        return Statistics(*(np.zeros_like(norm.scale) for _ in Statistics._fields))

    return jax.tree.map(none, statistics_of(layers), is_leaf=lambda part: isinstance(part, Norm))


def entered(
    x: jax.Array,
    stage: Stage,
    activate: Callable[[jax.Array], jax.Array],
    normalise: Normalise,
) -> jax.Array:
    """The positions `[batch, ..., channels of the stage]` before its blocks."""
    return activate(normalise(convolution(x, stage.enter), stage.norm))


def outputs_of(
    params: Layers,
    x: jax.Array,
    activate: Callable[[jax.Array], jax.Array],
    dropout: jax.Array,
    start: jax.Array | None,
    normalise: Normalise,
) -> jax.Array:
    """The outputs `[batch, outputs]` of what the last stage gives.

    Args:
        params: the layers.
        x: `[batch, ..., channels of the last stage]`.
        activate: the activation.
        dropout: share of the means over the positions to drop, `[]`.
        start: of the random numbers that choose what is dropped, `[]`, uint32; None: nothing is.
        normalise: how.
    """
    x = activate(normalise(x, params.norm))
    means = jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))
    if start is not None:
        means = dropped(means, dropout, start)
    return means @ params.last.kernel + params.last.bias[None, :]


def added(
    x: jax.Array,
    block: Block,
    activate: Callable[[jax.Array], jax.Array],
    normalise: Normalise,
    factors: jax.Array | None = None,
) -> jax.Array:
    """What a block adds to the positions.

    Args:
        x: `[batch, ..., channels]`.
        block: the block.
        activate: the activation.
        normalise: how.
        factors: by which it is multiplied for each example, `[batch]`; None: by 1.
    """
    inner = activate(normalise(convolution(x, block.first), block.norm))
    made = convolution(inner, block.second)
    if factors is None:
        return made
    return made * factors.reshape(len(x), *[1] * (x.ndim - 1))


def halved(x: jax.Array) -> jax.Array:
    """The means of two positions along each axis; an odd last one is left out."""
    even = x[(slice(None), *(slice(size // 2 * 2) for size in x.shape[1:-1]))]
    pairs = [number for size in x.shape[1:-1] for number in (size // 2, 2)]
    split = even.reshape(len(x), *pairs, x.shape[-1])
    return jnp.mean(split, axis=tuple(range(2, split.ndim - 1, 2)))


def through(
    x: jax.Array,
    blocks: tuple[Block, ...],
    activate: Callable[[jax.Array], jax.Array],
    start: jax.Array | None,
    stochastic_depth: jax.Array | None,
    normalise: Normalise,
    before: int = 0,
    total: int | None = None,
) -> jax.Array:
    """The positions `[batch, ..., channels]` after blocks that leave their number as it is.

    Source: stochastic depth: Huang et al. 2016 (arXiv:1603.09382), section 3, with the linear rule;
    as for dropout, what is kept is divided by its probability in training, in the place of a
    product in evaluation. Drawn anew for each example, not for each batch.

    Args:
        x: the positions.
        blocks: in their order.
        activate: the activation.
        start: of the random numbers, `[]`, uint32; None: no block is skipped.
        stochastic_depth: share of the examples for which the last block is skipped, `[]`; of the
            others in proportion to their depth. None: none is.
        normalise: how.
        before: blocks of the network before these.
        total: blocks of the network; None: these are all.
    """
    total = len(blocks) if total is None else total
    for number, block in enumerate(blocks, before + 1):
        factors = None
        if start is not None and stochastic_depth is not None:
            skipped = stochastic_depth * (number / total)
            factors = survival(len(x), skipped, start + np.uint32(number))
        x = x + added(x, block, activate, normalise, factors)
    return x


def without_some(x: jax.Array, dropout: jax.Array, start: jax.Array | None) -> jax.Array:
    """Images `[batch, height, width, channels]` without some channels, the others larger for it.

    Of an example a channel goes as a whole, for its pixels know of each other.

    Args:
        x: the images.
        dropout: share of the channels that go, `[]`.
        start: of the random numbers, `[]`, uint32; None: none goes.

    Source: Tompson et al. 2015 (arXiv:1411.4280), section 3.2.
    """
    if start is None:
        return x
    return dropped(x, dropout, start, (len(x), 1, 1, x.shape[-1]))


def at_each(last: Dense, images: jax.Array) -> jax.Array:
    """A linear layer at each pixel, `[batch, height, width, outputs]`.

    Args:
        last: the layer.
        images: `[batch, height, width, channels]`.
    """
    batch, height, width, channels = images.shape
    outputs = images.reshape(batch * height * width, channels) @ last.kernel
    return (outputs + last.bias[None, :]).reshape(batch, height, width, -1)


def draw_kernel(
    generator: np.random.Generator, axes: int, channels: int, after: int, gain: float
) -> np.ndarray:
    """A kernel `[3, ..., channels, after]` of this gain, over so many axes."""
    drawn = generator.standard_normal((*[SIDE] * axes, channels, after), np.float32)
    return drawn * np.float32(np.sqrt(gain / (SIDE**axes * channels)))


def fresh_norm(width: int) -> Norm:
    """A normalisation that neither scales nor moves."""
    return Norm(np.zeros(width, np.float32), np.zeros(width, np.float32))
