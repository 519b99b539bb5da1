"""How many updates fit into a time: measured, once, before the run begins."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.training.feed import LEAST_BLOCK, bank_of, batch_bytes, check_room, data_of

if TYPE_CHECKING:
    from rlagent.apply.request import Plan
    from rlagent_envs.tasks.task import Task

MEASURED_SECONDS = 0.6  # of training
MEASURED_BYTES = 2**26  # of streamed batches between two decisions, while it is measured
MEASURED_SHARE = 0.05  # of the time there is, at most
FINISHING_SECONDS = 2.0  # for the curves and the test
USED_SHARE = 0.85  # of what is left: larger rungs have to be compiled, and others use the computer


def affordable_updates(plan: Plan, task: Task, started: float) -> int:
    """The updates of the base rung that fit before the deadline of a plan.

    Args:
        plan: of a run with a deadline.
        task: the data, of which the test part is not looked at.
        started: when the time began to run, by `time.monotonic`.

    Returns:
        At least 1.

    Raises:
        ValueError: if not even the batches to measure with have room in memory.
    """
    assert plan.deadline is not None
    slice_updates = _slice_updates(plan, task)
    check_room(task, slice_updates, 1)
    data = data_of(task)
    many = 1_000_000
    start = replace(plan.start(), budget=float(many * slice_updates), decisions=many)
    episode = episodes.begin(task, bank_of(data), start, plan.knobs)
    mode = batch.default_mode()
    action = np.array(knobs.HOLD)[None]
    wanted = min(MEASURED_SECONDS, MEASURED_SHARE * plan.deadline)
    (stepped,) = batch.step([data], [episode], action, mode)  # compiles
    if task.streamed is not None:  # what was read in the meantime would seem to take no time
        (stepped,) = batch.step([data], [stepped.episode], action, mode)
    begun, first = time.monotonic(), stepped.episode.spent
    while (taken := time.monotonic() - begun) < wanted:
        (stepped,) = batch.step([data], [stepped.episode], action, mode)
    spent = stepped.episode.spent - first
    left = plan.deadline - (time.monotonic() - started) - FINISHING_SECONDS
    return max(1, int(spent / taken * left * USED_SHARE))


def _slice_updates(plan: Plan, task: Task) -> int:
    """How many updates there are between two decisions while it is measured.

    As many as by the plan, which is not yet that of the time there is: of streamed rows so few that
    they are read within it, and have room, whatever the budget comes to.
    """
    planned = max(1, round(plan.updates / plan.decisions))
    if task.streamed is None:
        return planned
    few = MEASURED_BYTES // batch_bytes(task.streamed, task.batch_size)
    return min(planned, max(LEAST_BLOCK, few))
