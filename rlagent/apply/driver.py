"""One run from its first decision to its last: who decides, what is recorded, when it is saved."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rlagent.apply import run_folder
from rlagent.apply.model import Model, model_of
from rlagent.apply.request import Plan
from rlagent.apply.run_folder import Checkpoint
from rlagent.controller.deciding import Decide
from rlagent.history import Record, record_of
from rlagent_envs import batch, saving
from rlagent_envs import episode as episodes
from rlagent_envs.episode import Episode
from rlagent_envs.settings import Settings
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import Bank

CHECKPOINT_SECONDS = 3.0  # between two checkpoints, at least
CHECKPOINT_SHARE = 0.02  # of the time, at most, goes into writing them


class Moment(NamedTuple):
    """A run between two decisions."""

    episode: Episode
    observation: np.ndarray  # [features], what the next decision is made from
    history: list[Record]
    ended: bool  # the budget is spent


@dataclass
class Driven:
    """A run on its way."""

    now: Moment  # replaced as a whole: wherever Ctrl-C hits, the run is between two decisions
    seconds: float = 0.0  # that earlier processes gave to it
    started: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        """Seconds of wall time that the run has taken, in all processes."""
        return self.seconds + time.monotonic() - self.started


def begin(plan: Plan, task: Task, bank: Bank) -> Driven:
    """A run before its first decision."""
    episode = episodes.begin(task, bank, plan.start(), plan.knobs)
    return Driven(Moment(episode, batch.observe(episode), [], ended=False))


def take_up(plan: Plan, task: Task, bank: Bank, checkpoint: Checkpoint) -> Driven:
    """A run as a checkpoint has it; ValueError if that does not fit the plan."""
    arrays = dict(checkpoint.arrays)
    facts = checkpoint.facts
    try:
        observation = arrays.pop("observation")
        episode = saving.unpack(task, bank, plan.start(), plan.knobs, arrays, facts)
        now = Moment(episode, observation, checkpoint.history, bool(facts["ended"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"the checkpoint is damaged: it lacks {error}") from error
    return Driven(now, checkpoint.seconds)


def checkpoint_of(driven: Driven) -> Checkpoint:
    """Everything that it takes to go on."""
    now = driven.now
    arrays, facts = saving.pack(now.episode)
    arrays["observation"] = now.observation
    return Checkpoint(arrays, facts | {"ended": now.ended}, now.history, driven.elapsed())


def drive(
    driven: Driven,
    plan: Plan,
    bank: Bank,
    decide: Decide,
    folder: Path,
    tell: Callable[[Record], None],
) -> bool:
    """Makes decisions until the budget is spent.

    When a checkpoint is written depends on the clock; what the run does never depends on it,
    except for the deadline of a run that has one.

    Args:
        driven: the run; it is changed, always from one whole decision to the next.
        plan: what it is to do.
        bank: the data.
        decide: chooses the actions.
        folder: where checkpoints go.
        tell: is told of each decision.

    Returns:
        Whether the budget was spent; False if the deadline came first.
    """
    mode = batch.default_mode()
    saved, wait = time.monotonic(), CHECKPOINT_SECONDS
    while not driven.now.ended:
        before = driven.now.episode
        mask = episodes.action_mask(before)
        action, chances = decide(driven.now.observation, mask, before.decisions)
        (stepped,) = batch.step([bank], [before], action[None], mode)
        record = record_of(before, action, stepped, chances)
        history = [*driven.now.history, record]
        ended = bool(stepped.report.terminated)
        driven.now = Moment(stepped.episode, stepped.observation, history, ended)
        tell(record)
        waited = float(stepped.episode.run.books.memory.since_best)
        if plan.patience is not None and waited >= plan.patience:
            return True
        if plan.deadline is not None and driven.elapsed() > plan.deadline and not ended:
            return False
        if time.monotonic() - saved > wait and not ended:
            begun = time.monotonic()
            run_folder.write_checkpoint(folder, checkpoint_of(driven))
            saved = time.monotonic()
            wait = max(CHECKPOINT_SECONDS, (saved - begun) / CHECKPOINT_SHARE)
    return True


def best_model(task: Task, episode: Episode) -> Model:
    """The network with the lowest validation loss so far; before there was one, the first."""
    activation = float(Settings.unpack(episode.run.books.safe_settings).activation)
    return model_of(task, episode.snapshot_shape, episode.snapshot, activation)
