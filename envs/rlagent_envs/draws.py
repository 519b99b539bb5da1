"""Random numbers of an update: one pure function of the run's key, the update and a position.

A hash of a counter instead of `jax.random`: in the loop of a small network Threefry takes a large
part of the time (on CPU it is a loop of its own), and of what there is to compile. The same integer
arithmetic works on NumPy arrays, so that a reader outside a compiled program draws the same rows.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_GOLDEN = np.uint32(0x9E3779B9)


def mix(x: Any) -> Any:
    """A hash of 32 bits, each input bit of which flips each output bit with probability near 1/2.

    Source: Wellons, "Prospecting for Hash Functions", the function lowbias32 (public domain).
    """
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def stream(key: Any, update: Any, purpose: int) -> Any:
    """What the numbers of one purpose in one update start from, `[]`, uint32.

    Args:
        key: of the run, `[2]`, uint32.
        update: number of the update, `[]`, uint32.
        purpose: distinguishes draws of one update: batches, dropout of each layer, and so on.
    """
    return mix(mix(mix(update ^ key[0]) + key[1]) + np.uint32(purpose * int(_GOLDEN) % 2**32))


def bits(start: Any, positions: Any) -> Any:
    """Random words, uint32, of the shape of `positions` (uint32)."""
    return mix(mix(positions * _GOLDEN + start) ^ start)


def uniform(start: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Numbers from [0, 1), float32, with 24 random bits each."""
    positions = jnp.arange(np.prod(shape), dtype=jnp.uint32).reshape(shape)
    return (bits(start, positions) >> 8).astype(jnp.float32) * np.float32(2.0**-24)


def normal(start: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Normal numbers, float32, by the method of Box and Muller 1958."""
    first, second = uniform(start, (2, *shape))
    return jnp.sqrt(-2.0 * jnp.log1p(-first)) * jnp.cos(2.0 * np.pi * second)


def rows(start: Any, positions: Any, total: Any) -> Any:
    """A row number from 0 to `total` - 1 for each position of a batch, with replacement, uint32.

    A remainder of 32 bits favours low rows by at most `total` / 2^32, 1 in 70,000 for 60,000 rows.
    """
    return bits(start, positions) % total
