"""Edits of residual networks: wider and deeper with equal outputs, and narrower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from rlagent_envs.models.ladder import new_part
from rlagent_envs.models.mlp import Dense
from rlagent_envs.models.normalisation import GROUP, Norm, Statistics
from rlagent_envs.models.residual import (
    SIDE,
    Block,
    Layers,
    Stage,
    draw_kernel,
    stage_width,
    statistics_of,
    with_statistics,
)

Vectors = TypeVar("Vectors", Norm, Statistics)


def widen(
    generator: np.random.Generator | None, params: Layers, width: int
) -> tuple[Layers, Layers]:
    """Gives the first stage `width` channels, and the others in proportion, with equal outputs.

    New channels get random incoming and zero outgoing weights. They are normalised on their own, or
    in groups of their own.

    Args:
        generator: draws the incoming weights; None: they are zero, as for a tree of moments.
        params: the layers.
        width: channels of the first stage after the edit.

    Returns:
        The layers, and the same form of booleans: True where a number is new.

    Raises:
        ValueError: if `width` is below the present width.
    """
    present = _width(params)
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

    stages, more_in, more = [], 0, 0
    for number, stage in enumerate(params.stages):
        more = stage_width(width - present, number)
        blocks = tuple(
            Block(
                enlarged(block.first, more, more, 2.0),
                _longer(more, block.norm),
                enlarged(block.second, more, more, 1.0),
            )
            for block in stage.blocks
        )
        enter = enlarged(stage.enter, more_in, more, 2.0)
        stages.append(Stage(enter, _longer(more, stage.norm), blocks))
        more_in = more
    kernel = np.concatenate(
        [params.last.kernel, np.zeros((more, params.last.kernel.shape[1]), np.float32)]
    )
    wide = Layers(
        tuple(stages), _longer(more, params.norm), Dense(kernel, np.asarray(params.last.bias))
    )
    return wide, jax.tree.map(new_part, params, wide)


def deepen(params: Layers) -> tuple[Layers, Layers]:
    """Adds a block behind the last one of each stage whose second convolution is zero.

    So it adds nothing. Its first convolution is the identity, as a new layer of the MLP is.

    Returns:
        The layers, and the same form of booleans: True where a number is new.
    """
    stages, new = [], []
    for stage in params.stages:
        width = np.shape(stage.enter)[-1]
        identity = np.zeros((*np.shape(stage.enter)[:-2], width, width), np.float32)
        identity[(SIDE // 2,) * (identity.ndim - 2)] = np.eye(width, dtype=np.float32)
        fresh = type(stage.norm)(*(np.zeros(width, np.float32) for _ in stage.norm))
        added = Block(identity, fresh, np.zeros_like(identity))
        stages.append(stage._replace(blocks=(*stage.blocks, added)))
        is_new = jax.tree.map(lambda leaf: np.ones(np.shape(leaf), bool), added)
        old = _of_old(stage)
        new.append(old._replace(blocks=(*old.blocks, is_new)))
    deep = params._replace(stages=tuple(stages))
    return deep, _of_old(params)._replace(stages=tuple(new))


def _of_old(layers: Any) -> Any:
    """The same form of booleans that say that no number is new."""
    return jax.tree.map(lambda leaf: np.zeros(np.shape(leaf), bool), layers)


def _width(params: Layers) -> int:
    """The channels of the first stage."""
    return int(np.shape(params.stages[0].enter)[-1])


def narrow(params: Layers, width: int) -> Callable[[Layers], Layers]:
    """Chooses the channels that are used the most, in whole groups, as sequences are normalised.

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
    present = _width(params)
    if width > present:
        raise ValueError(f"width must be at most the present width {present}, got {width}")

    def stream(number: int) -> np.ndarray:
        """The channels of a stage, between its blocks, that stay."""
        stage, rest = params.stages[number], params.stages[number + 1 :]
        follows = _norms(rest[0].enter, -2) if rest else _norms(params.last.kernel, 0)
        coming = _norms(stage.enter, -1) + sum(_norms(block.second, -1) for block in stage.blocks)
        going = follows + sum(_norms(block.first, -2) for block in stage.blocks)
        return _most_used(coming * going, stage_width(width, number))

    streams = [stream(number) for number in range(len(params.stages))]
    inside = [
        [
            _most_used(
                _norms(block.first, -1) * _norms(block.second, -2), stage_width(width, number)
            )
            for block in stage.blocks
        ]
        for number, stage in enumerate(params.stages)
    ]

    def pick(layers: Layers) -> Layers:
        stages = []
        before = np.arange(np.shape(layers.stages[0].enter)[-2])
        for stage, chosen, owns in zip(layers.stages, streams, inside, strict=True):
            blocks = tuple(
                Block(
                    block.first[..., chosen, :][..., own],
                    _chosen(block.norm, own),
                    block.second[..., own, :][..., chosen],
                )
                for block, own in zip(stage.blocks, owns, strict=True)
            )
            enter = stage.enter[..., before, :][..., chosen]
            stages.append(Stage(enter, _chosen(stage.norm, chosen), blocks))
            before = chosen
        last = Dense(layers.last.kernel[before], layers.last.bias)
        return Layers(tuple(stages), _chosen(layers.norm, before), last)

    return pick


def _norms(kernel: Any, axis: int) -> np.ndarray:
    """Of the weights of each channel of an axis."""
    others = tuple(number for number in range(np.ndim(kernel)) if number != axis % np.ndim(kernel))
    return np.sqrt(np.square(kernel).sum(axis=others))


def _most_used(use: np.ndarray, channels: int) -> np.ndarray:
    """So many channels, in their order, of the groups that are used the most."""
    of_groups = use.reshape(-1, GROUP).sum(axis=1)
    groups = np.sort(np.argsort(-of_groups, kind="stable")[: channels // GROUP])
    return (groups[:, None] * GROUP + np.arange(GROUP)).reshape(-1)


def _chosen(norm: Vectors, channels: np.ndarray) -> Vectors:
    return type(norm)(*(leaf[channels] for leaf in norm))


def carry(edit: Callable[[Layers], Layers], params: Layers, statistics: Layers) -> Layers:
    """What batch normalisation has seen, behind an edit of the params.

    Args:
        edit: of what has the form of the params; new numbers are zeros, as of channels unseen.
        params: before it.
        statistics: before it, as `residual.statistics_of` has them.
    """
    return statistics_of(edit(with_statistics(params, statistics)))


def _longer(more: int, norm: Vectors) -> Vectors:
    return type(norm)(*(np.concatenate([leaf, np.zeros(more, np.float32)]) for leaf in norm))
