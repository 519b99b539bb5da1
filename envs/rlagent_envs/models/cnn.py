"""A residual convolutional network: 4 depths x 4 widths, for images of any size from 4 x 4 up.

A convolution of the image, blocks, the mean over all pixels, and a linear layer. A block adds
convolution, normalisation, activation and convolution to what it is given. Images become smaller
at two places that do not depend on the rung: before the first block, and behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs import draws
from rlagent_envs.models.activations import chosen, relu
from rlagent_envs.models.convolution import convolution
from rlagent_envs.models.ladder import Family, Rung, ShapeClass
from rlagent_envs.models.mlp import Dense

# Channels that are normalised together. Their number is fixed, so that new channels are groups of
# their own and leave the old ones as they are.
GROUP = 8
LEAST_SIDE = 4  # of an image
SIDE = 3  # of a kernel
LARGEST_BLOCK = 16  # images are halved until their shorter side is at most that
LEAST_HALVED = 8  # shortest side that is halved behind the first block
EPSILON = 1e-5


class Norm(NamedTuple):
    """Normalisation by groups of channels."""

    # Added to 1, so that weight decay draws a channel to its normal strength instead of to nothing.
    scale: Any  # [channels], float32
    bias: Any  # [channels], float32


class Block(NamedTuple):
    """What is added to the images."""

    first: Any  # [3, 3, width, width], float32
    norm: Norm
    second: Any  # the same


class Layers(NamedTuple):
    """The network."""

    stem: Any  # [3, 3, channels of the image, width], float32
    stem_norm: Norm
    blocks: tuple[Block, ...]
    norm: Norm  # before the mean over the pixels
    last: Dense


def init(
    generator: np.random.Generator, shape: ShapeClass, features: int
) -> tuple[Layers, tuple[()]]:
    """New weights: He before activations, LeCun elsewhere.

    Args:
        generator: draws the weights.
        shape: the shapes.
        features: columns of the input; images are never padded.

    Returns:
        The layers, and an empty model state.

    Source: He et al. 2016 (arXiv:1512.03385), section 3; Wu and He 2018, "Group Normalization"
    (arXiv:1803.08494).
    """
    width, channels = shape.rung.width, shape.input_shape[2]
    stem = _kernel(generator, channels, width, 2.0)
    blocks = tuple(
        Block(
            _kernel(generator, width, width, 2.0),
            _norm(width),
            _kernel(generator, width, width, 1.0),
        )
        for _ in range(shape.rung.depth)
    )
    kernel = generator.standard_normal((width, shape.outputs), np.float32)
    last = Dense(kernel / np.float32(np.sqrt(width)), np.zeros(shape.outputs, np.float32))
    return Layers(stem, _norm(width), blocks, _norm(width), last), ()


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
    """The outputs `[batch, outputs]` for inputs `[batch, features]`.

    Args:
        shape: the shapes.
        params: the layers.
        model_state: empty: this family has no state.
        x: the inputs, rows of `shape.input_shape`.
        dropout: share of the means over the pixels to drop, `[]`.
        start: of the random numbers that choose what is dropped or skipped, `[]`, uint32; None: as
            in evaluation, nothing is.
        activation: number of the activation, `[]`; None: ReLU.
        stochastic_depth: share of the examples for which the last block is skipped, `[]`; of the
            others in proportion to their depth. None: none is.

    Source: stochastic depth: Huang et al. 2016 (arXiv:1603.09382), section 3, with the linear rule;
    as for dropout, what is kept is divided by its probability in training, in the place of a
    product in evaluation. Drawn anew for each example, not for each batch.
    """
    activate = relu if activation is None else partial(chosen, activation)
    images = jnp.moveaxis(x.reshape(len(x), *shape.input_shape), (0, 3), (3, 0))
    images = activate(_normalised(convolution(images, params.stem), params.stem_norm))
    for _ in range(_halvings(shape.input_shape)):
        images = _halved(images)
    depth = len(params.blocks)
    for number, block in enumerate(params.blocks, 1):
        inner = activate(_normalised(convolution(images, block.first), block.norm))
        added = convolution(inner, block.second)
        if start is not None and stochastic_depth is not None:
            skipped = stochastic_depth * (number / depth)
            kept = draws.uniform(draws.mix(start + np.uint32(number)), (len(x),)) >= skipped
            added = added * jnp.where(kept, 1.0 / (1.0 - skipped), 0.0)[None, None, None, :]
        images = images + added
        if number == 1 and min(images.shape[1:3]) >= LEAST_HALVED:
            images = _halved(images)
    means = jnp.mean(activate(_normalised(images, params.norm)), axis=(1, 2)).T
    if start is not None:
        kept = draws.uniform(draws.mix(start), means.shape) >= dropout
        means = jnp.where(kept, means / (1.0 - dropout), 0.0)
    return means @ params.last.kernel + params.last.bias[None, :], model_state


def _normalised(x: jax.Array, norm: Norm) -> jax.Array:
    """The images with each group of channels at mean 0 and variance 1, then scaled and moved.

    Args:
        x: `[channels, height, width, batch]`.
        norm: of these channels.
    """
    channels, height, width, batch = x.shape
    groups, count = channels // GROUP, GROUP * height * width

    def total(values: jax.Array) -> jax.Array:
        """The sum of each group, `[groups, 1, batch]`."""
        of_channels = jnp.sum(values, axis=(1, 2)).reshape(groups, GROUP, batch)
        return jnp.sum(of_channels, axis=1, keepdims=True)

    mean = total(x) / count
    # By the mean of squares, as Flax does it: one pass over the images in the place of two.
    variance = jnp.maximum(total(jnp.square(x)) / count - jnp.square(mean), 0.0)
    scale = jax.lax.rsqrt(variance + EPSILON) * (1.0 + norm.scale).reshape(groups, GROUP, 1)
    bias = norm.bias.reshape(groups, GROUP, 1) - mean * scale
    return x * scale.reshape(channels, 1, 1, batch) + bias.reshape(channels, 1, 1, batch)


def _halved(x: jax.Array) -> jax.Array:
    """The means of squares of 2 x 2 pixels; an odd last row or column is left out."""
    channels, height, width, batch = x.shape
    even = x[:, : height // 2 * 2, : width // 2 * 2]
    return jnp.mean(even.reshape(channels, height // 2, 2, width // 2, 2, batch), axis=(2, 4))


def _halvings(input_shape: tuple[int, ...]) -> int:
    """How often images are halved before the first block."""
    side, count = min(input_shape[:2]), 0
    while side > LARGEST_BLOCK:
        side, count = side // 2, count + 1
    return count


def flops(shape: ShapeClass) -> tuple[float, float]:
    """Floating-point operations for one example: forward, and forward with backward.

    A multiplication and an addition for each weight at each pixel forward, zeros around the image
    included, twice that backward, except that the gradient of the input is not needed.
    """
    height, width, channels = shape.input_shape
    units = shape.rung.width
    first = SIDE * SIDE * channels * units * height * width
    halvings = _halvings(shape.input_shape)
    height, width = height >> halvings, width >> halvings
    products = first
    for number in range(shape.rung.depth):
        products += 2 * SIDE * SIDE * units * units * height * width
        if number == 0 and min(height, width) >= LEAST_HALVED:
            height, width = height // 2, width // 2
    products += units * shape.outputs
    return 2.0 * products, 6.0 * products - 2.0 * first


def widen(
    generator: np.random.Generator | None, params: Layers, width: int
) -> tuple[Layers, Layers]:
    """Gives the images and each block `width` channels without changing the outputs.

    New channels get random incoming and zero outgoing weights. They are normalised in groups of
    their own.

    Args:
        generator: draws the incoming weights; None: they are zero, as for a tree of moments.
        params: the layers.
        width: channels after the edit.

    Returns:
        The layers, and the same form of booleans: True where a number is new.

    Raises:
        ValueError: if `width` is below the present width.
    """
    present = params.last.kernel.shape[0]
    if width < present:
        raise ValueError(f"width must be at least the present width {present}, got {width}")

    def enlarged(leaf: Any, more_in: int, more_out: int, gain: float) -> np.ndarray:
        before, after = np.shape(leaf)[2:]
        kernel = np.zeros((SIDE, SIDE, before + more_in, after + more_out), np.float32)
        kernel[:, :, :before, :after] = leaf
        if generator is not None and more_out:
            kernel[:, :, :before, after:] = _kernel(generator, before, more_out, gain)
        return kernel

    more = width - present
    norm = partial(_longer, more)
    blocks = tuple(
        Block(
            enlarged(block.first, more, more, 2.0),
            norm(block.norm),
            enlarged(block.second, more, more, 1.0),
        )
        for block in params.blocks
    )
    kernel = np.concatenate(
        [params.last.kernel, np.zeros((more, params.last.kernel.shape[1]), np.float32)]
    )
    wide = Layers(
        enlarged(params.stem, 0, more, 2.0),
        norm(params.stem_norm),
        blocks,
        norm(params.norm),
        Dense(kernel, np.asarray(params.last.bias)),
    )
    return wide, jax.tree.map(_new_part, params, wide)


def deepen(params: Layers) -> tuple[Layers, Layers]:
    """Adds a block behind the last one whose second convolution is zero, so that it adds nothing.

    Its first convolution is the identity, as a new layer of the MLP is.

    Returns:
        The layers, and the same form of booleans: True where a number is new.
    """
    width = params.last.kernel.shape[0]
    identity = np.zeros((SIDE, SIDE, width, width), np.float32)
    identity[SIDE // 2, SIDE // 2] = np.eye(width, dtype=np.float32)
    added = Block(identity, _norm(width), np.zeros_like(identity))
    old = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf), bool), params)
    new = jax.tree.map(lambda leaf: np.ones(np.shape(leaf), bool), added)
    return (
        params._replace(blocks=(*params.blocks, added)),
        old._replace(blocks=(*old.blocks, new)),
    )


def narrow(params: Layers, width: int) -> Callable[[Layers], Layers]:
    """Chooses the channels that are used the most, whole groups, since they are normalised so.

    The use of a channel is the product of the norms of its incoming and its outgoing weights. What
    blocks are given and add to has the same channels everywhere, inside each block chooses for
    itself.

    Args:
        params: the layers, which decide.
        width: channels that stay, at most the present number.

    Returns:
        What makes the narrower form of the params, and of moments or averages of their form.

    Raises:
        ValueError: if `width` is above the present width.
    """
    present = params.last.kernel.shape[0]
    if width > present:
        raise ValueError(f"width must be at most the present width {present}, got {width}")

    def norms(kernel: Any, axis: int) -> np.ndarray:
        others = tuple(number for number in range(np.ndim(kernel)) if number != axis)
        return np.sqrt(np.square(kernel).sum(axis=others))

    def kept(use: np.ndarray) -> np.ndarray:
        of_groups = use.reshape(-1, GROUP).sum(axis=1)
        groups = np.sort(np.argsort(-of_groups, kind="stable")[: width // GROUP])
        return (groups[:, None] * GROUP + np.arange(GROUP)).reshape(-1)

    coming = norms(params.stem, 3) + sum(norms(block.second, 3) for block in params.blocks)
    going = norms(params.last.kernel, 0) + sum(norms(block.first, 2) for block in params.blocks)
    stream = kept(coming * going)
    inside = [kept(norms(block.first, 3) * norms(block.second, 2)) for block in params.blocks]

    def norm(layer: Norm, channels: np.ndarray) -> Norm:
        return Norm(layer.scale[channels], layer.bias[channels])

    def pick(layers: Layers) -> Layers:
        blocks = tuple(
            Block(
                block.first[:, :, stream][..., own],
                norm(block.norm, own),
                block.second[:, :, own][..., stream],
            )
            for block, own in zip(layers.blocks, inside, strict=True)
        )
        return Layers(
            layers.stem[..., stream],
            norm(layers.stem_norm, stream),
            blocks,
            norm(layers.norm, stream),
            Dense(layers.last.kernel[stream], layers.last.bias),
        )

    return pick


def _kernel(generator: np.random.Generator, channels: int, after: int, gain: float) -> np.ndarray:
    drawn = generator.standard_normal((SIDE, SIDE, channels, after), np.float32)
    return drawn * np.float32(np.sqrt(gain / (SIDE * SIDE * channels)))


def _norm(width: int) -> Norm:
    return Norm(np.zeros(width, np.float32), np.zeros(width, np.float32))


def _longer(more: int, norm: Norm) -> Norm:
    zeros = np.zeros(more, np.float32)
    return Norm(np.concatenate([norm.scale, zeros]), np.concatenate([norm.bias, zeros]))


def _new_part(before: Any, after: np.ndarray) -> np.ndarray:
    """True where an array is longer than it was."""
    is_new = np.ones(after.shape, bool)
    is_new[tuple(map(slice, np.shape(before)))] = False
    return is_new


CNN = Family(
    name="cnn",
    depths=(1, 2, 3, 4),
    widths=(8, 16, 32, 64),
    default=Rung(2, 16),
    reads=("image",),
    residual=True,
    roomy=True,
    init=init,
    apply=apply,
    flops=flops,
    widen=widen,
    deepen=deepen,
    narrow=narrow,
)
