"""What is recorded of a decision: the line of `history.jsonl`, and of a stored run."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from rlagent.apply.model import finite
from rlagent.controller.deciding import Chances
from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.episode import Episode
from rlagent_envs.settings import named
from rlagent_envs.training.adversarial import ROBUST
from rlagent_envs.training.schedules import Schedule, multiplier

Record = dict[str, Any]


def record_of(
    before: Episode,
    action: np.ndarray,
    stepped: batch.Stepped,
    chances: Chances | None,
) -> Record:
    """A line of the history; settings and rung are those that were in force in the slice."""
    report, after = stepped.report, stepped.episode
    action = episodes.carried_out(before, action)
    edited = after
    settings = after.run.books.settings
    if report.diverged:  # then the episode has gone back to its snapshot already
        edited = episodes.edit(before, action)
        settings = _apply(edited.run.books.settings, action)
    told = {
        name: float(f"{value:.6g}")
        for name, value in named(np.asarray(settings), before.shape.levers).items()
    }
    # At the beginning of the slice.
    budget = float(before.run.books.budget)
    schedule = Schedule(*before.run.books.schedule)
    decay = multiplier(schedule, before.spent / budget, np)
    told["learning_rate"] = float(f"{told['learning_rate'] * decay:.6g}")
    used = knobs.in_use(before.shape.levers)
    record: Record = {
        "decision": after.decisions,
        "updates": int(after.run.books.updates),
        "spent": report.spent / budget,
        "rung": str(edited.shape.rung),
        "settings": told,
        "action": {
            name: knobs.KNOBS[name].levels[level]
            for name, level in zip(knobs.KNOBS, action, strict=True)
            if name in used
        },
        "train_loss": finite(report.train_loss),
        "valid_loss": finite(report.valid_loss),
        "reward": report.reward,
        "improved": bool(report.improved),
        "diverged": bool(report.diverged),
    }
    if before.shape.kind == "classification":
        record["valid_accuracy"] = finite(report.valid_hits)
    if ROBUST in before.shape.levers:
        record["robust_loss"] = finite(report.robust_loss)
        if before.shape.kind == "classification":
            record["robust_accuracy"] = finite(report.robust_hits)
    if chances is not None:
        record["probabilities"] = chances
    return record


_apply = jax.jit(knobs.apply)
