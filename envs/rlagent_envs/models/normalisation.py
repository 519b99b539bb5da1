"""Normalisation of convolutional networks: by groups of channels of an example, or by batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Channels that are normalised together. Their number is fixed, so that new channels are groups of
# their own and leave the old ones as they are.
GROUP = 8
EPSILON = 1e-5
BATCH_SHARE = 0.1  # that the last batch has in what batch normalisation has seen


class Norm(NamedTuple):
    """Of a normalisation, by groups of channels or by batches."""

    # Added to 1, so that weight decay draws a channel to its normal strength instead of to nothing.
    scale: Any  # [channels], float32
    bias: Any  # [channels], float32


class Statistics(NamedTuple):
    """What batch normalisation has seen of each channel; all zeros where it has seen nothing."""

    weight: Any  # [channels], float32: of the batches so far, from 0 to 1
    mean: Any  # [channels], float32
    variance: Any  # [channels], float32


def normalised(x: jax.Array, norm: Norm) -> jax.Array:
    """Each group of channels of an example at mean 0 and variance 1, then scaled and moved.

    Args:
        x: `[batch, ..., channels]`.
        norm: of these channels.

    Source: Wu and He 2018, "Group Normalization" (arXiv:1803.08494), section 3.
    """
    batch, channels = len(x), x.shape[-1]
    groups, count = channels // GROUP, GROUP * int(np.prod(x.shape[1:-1]))
    positions = tuple(range(1, x.ndim - 1))

    def total(values: jax.Array) -> jax.Array:
        """The sum of each group, `[batch, groups, 1]`."""
        of_channels = jnp.sum(values, axis=positions).reshape(batch, groups, GROUP)
        return jnp.sum(of_channels, axis=2, keepdims=True)

    mean = total(x) / count
    # By the mean of squares, as Flax does it: one pass over the positions in the place of two.
    variance = jnp.maximum(total(jnp.square(x)) / count - jnp.square(mean), 0.0)
    scale = jax.lax.rsqrt(variance + EPSILON) * (1.0 + norm.scale).reshape(1, groups, GROUP)
    bias = norm.bias.reshape(1, groups, GROUP) - mean * scale
    of_channels = (batch, *[1] * (x.ndim - 2), channels)
    return x * scale.reshape(of_channels) + bias.reshape(of_channels)


Normalise = Callable[[jax.Array, Norm], jax.Array]


class BatchNormalisation:
    """Batch normalisation of one batch, which keeps what it has seen of each norm.

    Args:
        params: a tree of layers, whose norms it is called with.
        statistics: a tree that has one for each of these norms, in the same order.
        training: by the batch itself, which is added to what has been seen; else by that.

    Source: Ioffe and Szegedy 2015 (arXiv:1502.03167), algorithms 1 and 2.
    """

    def __init__(self, params: Any, statistics: Any, training: bool) -> None:
        parts = jax.tree.leaves(params, is_leaf=lambda part: isinstance(part, Norm))
        norms = (part for part in parts if isinstance(part, Norm))
        self._places = {id(norm): place for place, norm in enumerate(norms)}
        self._seen, self._form = jax.tree.flatten(
            statistics, is_leaf=lambda part: isinstance(part, Statistics)
        )
        self._training = training

    def __call__(self, x: jax.Array, norm: Norm) -> jax.Array:
        """Each channel of `[batch, ..., channels]` at mean 0, variance 1, then scaled and moved."""
        place = self._places[id(norm)]
        seen = self._seen[place]
        if self._training:
            axes = tuple(range(x.ndim - 1))
            mean = jnp.mean(x, axis=axes)
            variance = jnp.maximum(jnp.mean(jnp.square(x), axis=axes) - jnp.square(mean), 0.0)
            weight = seen.weight + BATCH_SHARE * (1.0 - seen.weight)
            # The mean of all batches so far with weights that fall, the first one's included.
            share = BATCH_SHARE / weight
            self._seen[place] = Statistics(
                weight,
                seen.mean + share * (mean - seen.mean),
                seen.variance + share * (variance - seen.variance),
            )
        else:
            mean, variance = seen.mean, jnp.where(seen.weight > 0, seen.variance, 1.0)
        scale = jax.lax.rsqrt(variance + EPSILON) * (1.0 + norm.scale)
        of_channels = (*[1] * (x.ndim - 1), x.shape[-1])
        return x * scale.reshape(of_channels) + (norm.bias - mean * scale).reshape(of_channels)

    def after(self) -> Any:
        """The statistics behind the batch."""
        return jax.tree.unflatten(self._form, self._seen)
