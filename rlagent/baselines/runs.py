"""Whole runs of a task, many at once, whoever chooses the actions; their result on test data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.books import TaskFacts
from rlagent_envs.config import BASIC_KNOBS
from rlagent_envs.dynamics import Report
from rlagent_envs.episode import Episode, Start
from rlagent_envs.reward import FLOOR
from rlagent_envs.settings import Settings
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import Bank, baseline_loss, validation_bank

# (observations [runs, features], masks [runs, levels]) -> levels [runs, knobs]
Act = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Finished(NamedTuple):
    """A run at the end of its budget."""

    episode: Episode
    reports: list[Report]  # of each decision


def hold(observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Changes nothing: what the start says goes, its schedule included."""
    return np.tile(knobs.HOLD, (len(observations), 1))


def play(
    task: Task,
    bank: Bank,
    starts: Sequence[Start],
    act: Act = hold,
    open_knobs: tuple[str, ...] = BASIC_KNOBS,
    mode: batch.Mode | None = None,
) -> list[Finished]:
    """Trains a run from each start to the end of its budget.

    Args:
        task: the data set.
        bank: its data, on the device.
        starts: what the runs begin with.
        act: chooses the actions, for all runs that are not finished at once.
        open_knobs: what it may move.
        mode: as in `batch.step`.
    """
    running = [episodes.begin(task, bank, start, open_knobs) for start in starts]
    observations = [batch.observe(one) for one in running]
    reports: list[list[Report]] = [[] for _ in running]
    left = list(range(len(running)))
    while left:
        masks = np.stack([episodes.action_mask(running[number]) for number in left])
        actions = act(np.stack([observations[number] for number in left]), masks)
        stepped = batch.step(
            [bank] * len(left), [running[n] for n in left], actions, mode or batch.default_mode()
        )
        for number, one in zip(left, stepped, strict=True):
            running[number], observations[number] = one.episode, one.observation
            reports[number].append(one.report)
        left = [number for number in left if not reports[number][-1].terminated]
    return [Finished(*pair) for pair in zip(running, reports, strict=True)]


def score_on(task: Task, bank: Bank, episode: Episode) -> tuple[float, float]:
    """Judges an episode's best weights on the validation part of a task.

    Args:
        task: given `as_test` of a task, this judges on its test data.
        bank: the `validation_bank` of that task, padded as the episode is.
        episode: of the same task.

    Returns:
        The score log(L / L0 + 0.05), and the metric: accuracy, or for regression R^2.
    """
    run = episode.run.replace(live=episode.snapshot)
    # A slot of its own: the run may be one of many in a bank.
    pieces = np.int32(-(-len(task.valid.x) // task.batch_size))
    activation = Settings.unpack(run.books.safe_settings).activation
    epsilon = TaskFacts(*run.books.task).robust_epsilon
    loss, hits, *_ = batch.evaluate_one(
        episode.snapshot_shape, bank, np.int32(0), run.live, pieces, activation, epsilon
    )
    score = float(np.log(float(loss) / baseline_loss(task) + FLOOR))
    if task.kind == "regression":
        return score, 1.0 - float(loss) / max(float(np.var(task.valid.y)), 1e-12)
    return score, float(hits)


def as_test(task: Task) -> Task:
    """The task with its test part in the place of the validation part: to judge, once, at the end.

    Raises:
        ValueError: if it has no test part.
    """
    if task.test is None:
        raise ValueError(f"{task.name} has no test part")
    boxes = None if task.boxes is None else {"valid": task.boxes["test"]}
    return replace(task, valid=task.test, boxes=boxes)


def judge_on_test(task: Task, judged: Sequence[Episode]) -> list[tuple[float, float]]:
    """Score and metric of the selected weights of each episode, on test data."""
    test, shape = as_test(task), judged[0].shape
    bank = jax.device_put(validation_bank(test, shape.features, shape.outputs))
    return [score_on(test, bank, one) for one in judged]


def score_on_test(task: Task, episode: Episode) -> float:
    """The score of an episode's selected weights on test data."""
    return judge_on_test(task, [episode])[0][0]
