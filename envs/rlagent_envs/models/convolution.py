"""Convolution that is fast inside of a compiled loop on CPU, too, where XLA's own is not.

`lax.conv` inside `lax.fori_loop` runs at 1 to 4 GFLOP/s on CPU, a matrix product of patches at 15
to 70 (`scripts/convolution.py`). The channels come first and the batch last: patches are copied in
long pieces, the product has long rows, and what is done to a pixel is done to a whole batch.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The images convolved at stride 1, with zeros around them, so that they keep their size.

    Args:
        x: `[channels, height, width, batch]`.
        kernel: `[side, side, channels, channels after]`, of an odd side.

    Returns:
        `[channels after, height, width, batch]`.
    """
    # At trace time: a program is compiled for one kind of device.
    by = by_patches if jax.default_backend() == "cpu" else by_lax
    return by(x, kernel)


def by_lax(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution by XLA's own operation."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("CHWN", "HWIO", "CHWN")
    )


def by_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution as one matrix product of the kernel with the patches around each pixel.

    Its gradients are left to JAX. With the gradient of the input as a convolution of its own, by
    the flipped kernel, training was up to a third slower: that makes patches of the gradients, in
    the place of adding up nine moved images.
    """
    channels, height, width, batch = x.shape
    side, after = kernel.shape[0], kernel.shape[3]
    around = side // 2
    padded = jnp.pad(x, ((0, 0), (around, around), (around, around), (0, 0)))
    patches = jnp.concatenate(
        [
            padded[:, down : down + height, right : right + width]
            for down in range(side)
            for right in range(side)
        ]
    )
    rows = side * side * channels
    product = kernel.reshape(rows, after).T @ patches.reshape(rows, height * width * batch)
    return product.reshape(after, height, width, batch)
