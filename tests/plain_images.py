"""Residual networks on images written out anew, for tests: channels last, a kernel place at a time.

`xp` is NumPy, or JAX where a gradient is wanted.
"""

from typing import Any

import jax
import numpy as np

from rlagent_envs.models.normalisation import Norm, Statistics
from rlagent_envs.models.residual import Layers, statistics_of, with_statistics


def make_seen(params: Layers) -> Layers:
    """What batch normalisation may have seen in a training."""
    generator = np.random.default_rng(4)

    def one(norm: Norm) -> Statistics:
        mean, variance = generator.uniform(0.5, 1.5, (2, len(norm.scale))).astype(np.float32)
        return Statistics(np.full_like(mean, 0.9), mean - 1, variance)

    return jax.tree.map(one, statistics_of(params), is_leaf=lambda part: isinstance(part, Norm))


def plain_norm(xp: Any, x: Any, norm: Any) -> Any:
    """By the batch; norms in which what has been seen is a part, by nothing."""
    if isinstance(norm, Norm):
        x = (x - x.mean(axis=(0, 1, 2))[None, None, None]) / xp.sqrt(x.var(axis=(0, 1, 2)) + 1e-5)[
            None, None, None
        ]
        norm = (1 + norm.scale, norm.bias)
    scale, bias = norm
    return x * scale[None, None, None] + bias[None, None, None]


def with_seen(params: Layers, seen: Layers) -> Layers:
    """The layers in evaluation: what a norm has seen is a part of its scale and bias."""

    def one(part: Any, other: Any) -> Any:
        if not isinstance(part, Norm):
            return part
        scale = (1 + part.scale) / np.sqrt(other.variance + 1e-5)
        return (scale, part.bias - other.mean * scale)

    together = with_statistics(params, seen)
    return jax.tree.map(one, params, together, is_leaf=lambda part: isinstance(part, Norm))


def plain_convolution(xp: Any, x: Any, kernel: Any) -> Any:
    _, height, width, _ = x.shape
    padded, total = xp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 0.0
    for down in range(3):
        for right in range(3):
            moved = padded[:, down : down + height, right : right + width]
            total = total + moved @ kernel[down, right]
    return total


def plain_block(xp: Any, x: Any, block: Any, activation: Any) -> Any:
    inner = activation(plain_norm(xp, plain_convolution(xp, x, block.first), block.norm))
    return x + plain_convolution(xp, inner, block.second)


def plain_pool(x: Any) -> Any:
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4.0


def in_float64(params: Layers, seen: Layers | None) -> Layers:
    """The layers for NumPy, with what has been seen; None: they normalise by the batch."""
    params = params if seen is None else with_seen(params, seen)
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
