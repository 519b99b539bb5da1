"""Boosting: each stage learns what the stages before it leave over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from rlagent.apply.ensembles.selection import evidence, mean_loss
from rlagent.apply.model import Model
from rlagent_envs.tasks.task import Split, Task
from rlagent_envs.training.bank import Bank

SHRINKAGE = 0.5  # of the step that is best on the rows to train on, from the second stage on


class Stages(NamedTuple):
    """What stages say together, each with its step."""

    steps: list[float]  # the weight of each stage
    train: list[np.ndarray]  # sums of the stages up to each, `[rows, *targets, outputs]`, float64
    valid: list[np.ndarray]
    train_losses: list[float]  # after each stage
    valid_losses: list[float]


def add_up(models: Sequence[Model], task: Task) -> Stages:
    """The sums of stages.

    The first stage counts as it is: it has been trained alone. A later one is added with
    `SHRINKAGE` times the step from 0 to 1 that fits the rows to train on best. The loss is convex
    in the step, so that on these rows no stage makes it higher, and any that points downhill at all
    makes it lower.

    Args:
        models: the network of each stage.
        task: the data.

    Source: Friedman 2001, "Greedy Function Approximation: A Gradient Boosting Machine", with
    networks in the place of trees that are trained on the loss itself, offset by the sum so far.
    """
    made = Stages([], [], [], [], [])
    for number, model in enumerate(models):
        own = [model.raw(part.x).astype(np.float64) for part in (task.train, task.valid)]
        if number == 0:
            step, sums = 1.0, own
        else:
            step = SHRINKAGE * _best_step(task, made.train[-1], own[0])
            sums = [before[-1] + step * one for before, one in zip(made[1:3], own, strict=True)]
        made.steps.append(step)
        for part, raw, kept, losses in zip(
            (task.train, task.valid), sums, made[1:3], made[3:], strict=True
        ):
            kept.append(raw)
            losses.append(_loss(task, part, raw))
    return made


def offset_bank(bank: Bank, stages: Stages, task: Task) -> Bank:
    """The bank for the next stage; the first one's has zeros, so that all share a program."""
    each = (*task.target_shape, task.outputs)
    train = np.zeros((len(task.train.x), *each), np.float32)
    valid = np.zeros((bank.valid_x.shape[1], *each), np.float32)
    if stages.steps:
        train[:] = stages.train[-1]
        valid[: len(task.valid.x)] = stages.valid[-1]
    offsets = jax.device_put((train[None], valid[None]))
    return bank.replace(train_offset=offsets[0], valid_offset=offsets[1])


def _best_step(task: Task, before: np.ndarray, added: np.ndarray) -> float:
    """The step with the lowest loss on the rows to train on: by thirds, for it is convex."""
    low, high = 0.0, 1.0
    while high - low > 1e-3:
        left, right = low + (high - low) / 3, high - (high - low) / 3
        losses = [_loss(task, task.train, before + step * added) for step in (left, right)]
        low, high = (low, right) if losses[0] <= losses[1] else (left, high)
    middle = (low + high) / 2
    ends = {step: _loss(task, task.train, before + step * added) for step in (0.0, middle, 1.0)}
    return min(ends, key=ends.__getitem__)


def _loss(task: Task, part: Split, raw: np.ndarray) -> float:
    return float(mean_loss(task.kind, evidence(task.kind, raw, part.y)))
