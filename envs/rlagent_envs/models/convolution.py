"""Convolution that is fast inside of a compiled loop on CPU, too, where XLA's own is not.

`lax.conv` inside `lax.fori_loop` runs at 1 to 4 GFLOP/s on CPU, a matrix product of patches at 15
to 70 (`scripts/convolution.py`). The channels come first and the batch last: patches are copied in
long pieces, the product has long rows, and what is done to a pixel is done to a whole batch.
"""

from __future__ import annotations

import math
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np


def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Images or sequences convolved at stride 1, with zeros around, so that they keep their size.

    Args:
        x: `[channels, height, width, batch]`, or `[channels, steps, batch]`.
        kernel: `[side, side, channels, channels after]`, or `[side, channels, channels after]`, of
            an odd side.

    Returns:
        As `x`, with the channels after.
    """
    # At trace time: a program is compiled for one kind of device.
    by = by_patches if jax.default_backend() == "cpu" else by_lax
    return by(x, kernel)


def by_lax(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution by XLA's own operation."""
    axes = "HW"[: x.ndim - 2]
    names = (f"C{axes}N", f"{axes}IO", f"C{axes}N")
    return jax.lax.conv_general_dilated(x, kernel, [1] * len(axes), "SAME", dimension_numbers=names)


def by_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution as one matrix product of the kernel with the patches around each position.

    Its gradients are left to JAX. With the gradient of the input as a convolution of its own, by
    the flipped kernel, training was up to a third slower: that makes patches of the gradients, in
    the place of adding up nine moved images.
    """
    sizes, batch = x.shape[1:-1], x.shape[-1]
    side, after = kernel.shape[0], kernel.shape[-1]
    around = side // 2
    padded = jnp.pad(x, ((0, 0), *[(around, around)] * len(sizes), (0, 0)))
    patches = jnp.concatenate(
        [
            padded[(slice(None), *map(slice, first, np.add(first, sizes)))]
            for first in product(range(side), repeat=len(sizes))
        ]
    )
    rows = side ** len(sizes) * x.shape[0]
    flat = patches.reshape(rows, math.prod(sizes) * batch)
    return (kernel.reshape(rows, after).T @ flat).reshape(after, *sizes, batch)
