"""Convolution that is fast inside of a compiled loop on CPU, too.

XLA's CPU compiler has fast code for one form of convolution: examples first, channels last, in the
kernel and out of it, nothing reversed. Outside of loops it brings every convolution into this form;
the two that make up a gradient stay as they are inside of one, and run at 1 GFLOP/s in the place of
50 to 120 (`scripts/convolution.py`; https://github.com/jax-ml/jax/issues/12868). So both are
written in that form here.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

# Numbers of the input, or of the gradient, from which the gradient of a kernel is made at once: a
# megabyte each, so that they stay in the cache of a core. All of a batch of 64 images at once were
# up to three times slower.
AT_ONCE = 2**18


def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Images or sequences convolved at stride 1, with zeros around, so that they keep their size.

    Args:
        x: `[batch, height, width, channels]`, or `[batch, steps, channels]`.
        kernel: `[side, side, channels, channels after]`, or `[side, channels, channels after]`, of
            an odd side.

    Returns:
        As `x`, with the channels after.
    """
    # At trace time: a program is compiled for one kind of device.
    by = in_one_form if jax.default_backend() == "cpu" else by_lax
    return by(x, kernel)


def by_lax(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution and its gradients as JAX has them."""
    axes = "HW"[: x.ndim - 2]
    names = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return jax.lax.conv_general_dilated(x, kernel, [1] * len(axes), "SAME", dimension_numbers=names)


@jax.custom_vjp
def in_one_form(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution, with gradients that are convolutions of the same form."""
    if x.ndim == 3:  # the fast code is for images: a sequence is one of a single row
        return by_lax(x[:, None], kernel[None])[:, 0]
    return by_lax(x, kernel)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return in_one_form(x, kernel), (x, kernel)


def _backward(
    given: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = given
    turned = jnp.flip(kernel, range(kernel.ndim - 2)).swapaxes(-2, -1)
    of_x = in_one_form(gradient, turned)
    if x.ndim == 3:
        return of_x, _of_kernel(x[:, None], gradient[:, None], (1, len(kernel)))[0]
    return of_x, _of_kernel(x, gradient, kernel.shape[:2])


in_one_form.defvjp(_forward, _backward)


def _of_kernel(x: jax.Array, gradient: jax.Array, sides: tuple[int, ...]) -> jax.Array:
    """The gradient of a kernel.

    Args:
        x: `[batch, height, width, channels]`.
        gradient: of what was made of it, `[batch, height, width, channels after]`.
        sides: height and width of the kernel.
    """
    batch = len(x)
    largest = max(math.prod(x.shape[1:]), math.prod(gradient.shape[1:]))
    examples = min(batch, 2 ** int(math.log2(max(1, AT_ONCE // largest))))
    pieces = -(-batch // examples)
    room = ((0, pieces * examples - batch), *[(0, 0)] * 3)  # more examples, which change nothing

    def split(images: jax.Array) -> jax.Array:
        return jnp.pad(images, room).reshape(pieces, examples, *images.shape[1:])

    def more(total: jax.Array, piece: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        """Adds a piece's share: of its channels as examples and of its examples as channels."""
        images, gradients = piece
        made = jax.lax.conv_general_dilated(
            images.transpose(3, 1, 2, 0),
            gradients.transpose(1, 2, 0, 3),
            (1, 1),
            [(side // 2, side // 2) for side in sides],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return total + made, None

    zero = jnp.zeros((x.shape[3], *sides, gradient.shape[3]), x.dtype)
    total, _ = jax.lax.scan(more, zero, (split(x), split(gradient)))
    return total.transpose(1, 2, 0, 3)
