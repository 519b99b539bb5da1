"""Edits of residual networks: wider and deeper with equal outputs, and narrower."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from rlagent_envs.models.ladder import new_part, with_block
from rlagent_envs.models.mlp import Dense
from rlagent_envs.models.residual import (
    GROUP,
    SIDE,
    Block,
    Layers,
    Norm,
    draw_kernel,
    fresh_norm,
)


def widen(
    generator: np.random.Generator | None, params: Layers, width: int
) -> tuple[Layers, Layers]:
    """Gives the positions and each block `width` channels without changing the outputs.

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
        *sides, before, after = np.shape(leaf)
        kernel = np.zeros((*sides, before + more_in, after + more_out), np.float32)
        kernel[..., :before, :after] = leaf
        if generator is not None and more_out:
            kernel[..., :before, after:] = draw_kernel(
                generator, len(sides), before, more_out, gain
            )
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
    return wide, jax.tree.map(new_part, params, wide)


def deepen(params: Layers) -> tuple[Layers, Layers]:
    """Adds a block behind the last one whose second convolution is zero, so that it adds nothing.

    Its first convolution is the identity, as a new layer of the MLP is.

    Returns:
        The layers, and the same form of booleans: True where a number is new.
    """
    width = params.last.kernel.shape[0]
    identity = np.zeros((*np.shape(params.stem)[:-2], width, width), np.float32)
    identity[(SIDE // 2,) * (identity.ndim - 2)] = np.eye(width, dtype=np.float32)
    added = Block(identity, fresh_norm(width), np.zeros_like(identity))
    return with_block(params, added)


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
        others = tuple(
            number for number in range(np.ndim(kernel)) if number != axis % np.ndim(kernel)
        )
        return np.sqrt(np.square(kernel).sum(axis=others))

    def kept(use: np.ndarray) -> np.ndarray:
        of_groups = use.reshape(-1, GROUP).sum(axis=1)
        groups = np.sort(np.argsort(-of_groups, kind="stable")[: width // GROUP])
        return (groups[:, None] * GROUP + np.arange(GROUP)).reshape(-1)

    coming = norms(params.stem, -1) + sum(norms(block.second, -1) for block in params.blocks)
    going = norms(params.last.kernel, 0) + sum(norms(block.first, -2) for block in params.blocks)
    stream = kept(coming * going)
    inside = [kept(norms(block.first, -1) * norms(block.second, -2)) for block in params.blocks]

    def norm(layer: Norm, channels: np.ndarray) -> Norm:
        return Norm(layer.scale[channels], layer.bias[channels])

    def pick(layers: Layers) -> Layers:
        blocks = tuple(
            Block(
                block.first[..., stream, :][..., own],
                norm(block.norm, own),
                block.second[..., own, :][..., stream],
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


def _longer(more: int, norm: Norm) -> Norm:
    zeros = np.zeros(more, np.float32)
    return Norm(np.concatenate([norm.scale, zeros]), np.concatenate([norm.bias, zeros]))
