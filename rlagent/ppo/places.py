"""The places of a training: tuning episodes one after the other, and what a decision is paid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rlagent.baselines.runs import as_test, score_on
from rlagent_envs import saving
from rlagent_envs.batch import Stepped
from rlagent_envs.config import EnvConfig
from rlagent_envs.observation import GROUPS
from rlagent_envs.pool import Place, Pool
from rlagent_envs.reward import START_SCORE
from rlagent_envs.tasks.procedural_common import CONTEXT
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import Bank, validation_bank

Infos = list[dict[str, Any]]

# The task's context, what was drawn for the episode, then what a group that is absent hides.
PRIVILEGED = CONTEXT + 5 + len(GROUPS) + 3
COUNTERS = ("returns", "lengths", "paid")  # of each place, beside what the pool holds


class Turn(NamedTuple):
    """What the places say after a decision in each."""

    observation: np.ndarray  # [places, features], of the next episode where one has ended
    privileged: np.ndarray  # [places, PRIVILEGED]
    masks: np.ndarray  # [places, levels], bool
    rewards: np.ndarray  # [places]
    dones: np.ndarray  # [places], bool
    infos: Infos  # empty, but for an episode that ended


class Judge(NamedTuple):
    """Rows of a procedural task that a run never sees."""

    task: Task  # with them in the place of the validation rows
    bank: Bank

    @classmethod
    def of(cls, place: Place) -> Judge:
        """The judge of an episode whose task was made with test rows."""
        task, shape = as_test(place.task), place.episode.shape
        return cls(task, jax.device_put(validation_bank(task, shape.features, shape.outputs)))


class Places:
    """Episodes in a number of places; where one ends, the next begins at once.

    Args:
        config: how episodes are drawn.
        seeds: of the stream of episodes of each place.
        reward_rows: if not 0, a decision is paid the drop of the score on so many rows of the
            procedural task that the run never sees, of the weights that validation data selects:
            what counts at the end. Else it is paid as the environment pays, on validation data.
    """

    def __init__(
        self, config: EnvConfig, seeds: Sequence[int | Sequence[int]], reward_rows: int = 0
    ) -> None:
        self.size = len(seeds)
        self.pool = Pool(config, self.size, test_rows=reward_rows)
        self.seed(seeds)
        self.returns, self.lengths = np.zeros(self.size), np.zeros(self.size, np.int64)
        self.paid = np.zeros(self.size)  # the score that the decisions so far were paid for
        self._judges: list[Judge | None] = [None] * self.size
        self._actions: np.ndarray | None = None

    def seed(self, seeds: Sequence[int | Sequence[int]]) -> None:
        """Starts the streams of episodes anew."""
        self.pool.seed(seeds)

    def reset(self) -> Turn:
        """Begins a new episode in every place."""
        observations = [self._begin(number) for number in range(self.size)]
        return self._turn(np.stack(observations), *self._nothing())

    def send(self, actions: np.ndarray) -> None:
        """Takes the actions of the next `receive`, `[places, knobs]`."""
        self._actions = actions

    def receive(self) -> Turn:
        """One decision in each place."""
        if self._actions is None:
            raise RuntimeError("call send() before receive()")
        stepped = self.pool.step(self._actions)
        self._actions = None
        observations = np.stack([one.observation for one in stepped])
        rewards = np.array([self._reward(*one) for one in enumerate(stepped)], np.float32)
        dones = np.array([one.report.terminated for one in stepped], bool)
        infos: Infos = [{} for _ in stepped]
        self.returns += rewards
        self.lengths += 1
        for number in np.flatnonzero(dones).tolist():
            report, place = stepped[number].report, self.pool.place(number)
            infos[number] = {
                "terminal_observation": {
                    "observation": stepped[number].observation,
                    "privileged": self._privileged(number),
                },
                "TimeLimit.truncated": False,
                "episode": {
                    "r": float(self.returns[number]),
                    "l": int(self.lengths[number]),
                    "t": 0.0,  # no wall-clock: the same seed gives the same infos
                },
                "best_score": report.best_score,
                "divergences": int(stepped[number].episode.run.books.divergences),
                "kind": place.task.kind,
            }
            observations[number] = self._begin(number)
        return self._turn(observations, rewards, dones, infos)

    def save(self) -> tuple[saving.Arrays, Infos]:
        """All that the places hold, as arrays and plain values, a list entry for each place."""
        arrays = {name: getattr(self, name) for name in COUNTERS}
        facts = []
        for number in range(self.size):
            of_place, of_place_facts = self.pool.save(number)
            arrays |= {f"{number}/{name}": value for name, value in of_place.items()}
            facts.append(of_place_facts)
        return arrays, facts

    def load(self, arrays: saving.Arrays, facts: Infos) -> Turn:
        """Puts back what `save` gave, in places of the same arguments."""
        for number, of_place_facts in enumerate(facts):
            of_place = {
                name.removeprefix(f"{number}/"): value
                for name, value in arrays.items()
                if name.startswith(f"{number}/")
            }
            self.pool.load(number, of_place, of_place_facts)
            self._appoint(number)
        for name in COUNTERS:
            getattr(self, name)[:] = arrays[name]
        observations = np.zeros((self.size, 0), np.float32)  # who goes on has them
        return self._turn(observations, *self._nothing())

    def close(self) -> None:
        """Nothing to close."""

    def _turn(
        self, observations: np.ndarray, rewards: np.ndarray, dones: np.ndarray, infos: Infos
    ) -> Turn:
        privileged = np.stack([self._privileged(number) for number in range(self.size)])
        return Turn(observations, privileged, self.pool.masks(), rewards, dones, infos)

    def _nothing(self) -> tuple[np.ndarray, np.ndarray, Infos]:
        infos: Infos = [{} for _ in range(self.size)]
        return np.zeros(self.size, np.float32), np.zeros(self.size, bool), infos

    def _privileged(self, number: int) -> np.ndarray:
        return privileged_features(self.pool.place(number), self.paid[number])

    def _begin(self, number: int) -> np.ndarray:
        observation = self.pool.begin_next(number)
        self.returns[number], self.lengths[number] = 0.0, 0
        self.paid[number] = START_SCORE
        self._appoint(number)
        return observation

    def _appoint(self, number: int) -> None:
        if self.pool.test_rows:
            self._judges[number] = Judge.of(self.pool.place(number))

    def _reward(self, number: int, stepped: Stepped) -> float:
        """What a decision is paid; moves the mark from which the next one is."""
        judge, report = self._judges[number], stepped.report
        if judge is None:
            self.paid[number] = report.best_score
            return report.reward
        before = self.paid[number]
        if report.improved and report.best_score < START_SCORE:  # a constant is paid nothing
            self.paid[number], _ = score_on(judge.task, judge.bank, stepped.episode)
        penalty = float(stepped.episode.run.books.penalty) if report.diverged else 0.0
        return float(np.clip(before - self.paid[number] - penalty, -3.0, 3.0))


def privileged_features(place: Place, paid: float) -> np.ndarray:
    """What only the critic may know of an episode, `[PRIVILEGED]`, float32, within [-5, 5]."""
    start, task, books = place.start, place.task, place.episode.run.books
    context = task.context or (0.0,) * CONTEXT
    drawn = (
        (np.log10(start.settings.learning_rate) + 3.0) / 2.0,
        (np.log10(start.settings.weight_decay) + 3.0) / 2.0,
        start.settings.dropout / 0.3,
        np.log(start.decisions) / 3.0 - 1.0,
        np.log(start.budget / start.decisions) / 2.0 - 1.5,
    )
    present = np.asarray(books.available)
    memory = books.memory
    hidden = (np.asarray(memory.best_score), np.asarray(memory.valid_score), paid)
    return np.clip(np.array([*context, *drawn, *present, *hidden], np.float32), -5.0, 5.0)
