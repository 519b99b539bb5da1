"""What a method is: it trains networks on a task within a budget, and returns their curves.

A method is a generator: it yields the slices of training that it wants and is sent what came of
them. So whoever runs it decides what is computed together: the configurations of one search, or
many methods and seeds at once.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from rlagent.baselines.frozen import learning_rate
from rlagent.controller.deciding import Chances
from rlagent.history import Record, record_of
from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.batch import Stepped
from rlagent_envs.books import NO_SCORE, RungFacts
from rlagent_envs.dynamics import Report
from rlagent_envs.episode import Episode, Start, flops_spent
from rlagent_envs.models import FAMILIES
from rlagent_envs.settings import DEFAULT, HIGH, Settings
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import Bank
from rlagent_envs.training.optimizer import ADVISED_RATES


@dataclass(frozen=True)
class Problem:
    """A task to be solved within a budget. It has no test data: none can leak into a decision."""

    task: Task
    bank: Bank
    seed: int
    updates: float  # budget of a single run, in updates of the family's default rung
    decisions: int  # evaluations in a single run

    def __post_init__(self) -> None:
        """Takes the test part away."""
        boxes = self.task.boxes
        kept = None if boxes is None else {k: v for k, v in boxes.items() if k != "test"}
        object.__setattr__(self, "task", replace(self.task, test=None, boxes=kept))

    def start(self, settings: Settings, **changes: Any) -> Start:
        """The start of a run of the whole budget, as the family has it where nothing is named."""
        family = FAMILIES[self.task.family]
        plain = Start(
            seed=self.seed,
            settings=settings,
            rung=family.default,
            budget=float(self.updates),
            decisions=self.decisions,
            optimizer=self.optimizer,
            base=family.default,
        )
        return replace(plain, **changes)

    @property
    def optimizer(self) -> str:
        """That of the task's family."""
        return FAMILIES[self.task.family].optimizer

    @property
    def advised_rate(self) -> float | None:
        """At which schedules, rules and controllers begin; None where each has its own: AdamW."""
        return ADVISED_RATES.get(self.optimizer)

    def in_proportion(self, under_adamw: float) -> float:
        """A learning rate that is to the optimizer's advised one as this is to the reference's."""
        reference = learning_rate("cosine")
        first = reference if self.advised_rate is None else self.advised_rate
        return min(under_adamw * first / reference, HIGH.learning_rate)

    @cached_property
    def flops(self) -> float:
        """Floating-point operations that the budget of a single run stands for."""
        probe = episodes.begin(self.task, self.bank, self.start(DEFAULT), ())
        return float(self.updates) * float(RungFacts.of(probe.shape).update_flops)


class Move(NamedTuple):
    """A slice of training that a method wants."""

    episode: Episode
    action: np.ndarray  # [knobs], levels


@dataclass
class Training:
    """One network on its way."""

    start: Start
    episode: Episode
    observation: np.ndarray  # [features]
    reports: list[Report] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    stopped: bool = False  # ended early by a pruner, or because the method's budget is spent

    @property
    def ended(self) -> bool:
        """Whether it will not go on."""
        return self.stopped or bool(self.reports and self.reports[-1].terminated)

    @property
    def flops(self) -> float:
        """Billed so far, evaluation included."""
        return flops_spent(self.episode)

    @property
    def score(self) -> float:
        """The validation score of its best weights so far; after divergences alone, the worst."""
        # Not the lowest that was reported, which begins at that of a constant.
        best = float(self.episode.run.books.safe_score)
        return best if np.isfinite(best) else NO_SCORE


class Point(NamedTuple):
    """A point of the curve of a method."""

    flops: float  # billed until then, over all its networks
    score: float  # the lowest validation score so far


class Outcome(NamedTuple):
    """What a method has done."""

    trained: list[Training]  # in the order in which they were begun
    curve: list[Point]
    told: bool = False  # whether records say which network they are of: of populations they do


# Yields the slices that it wants next, is sent what came of each, and returns at the end.
Steps = Generator[list[Move], list[Stepped], Outcome]
Waiting = Generator[list[Move], list[Stepped], None]


class Method(Protocol):
    """A way to train a network on a task."""

    @property
    def name(self) -> str:
        """As it was asked for, such as cosine or tpe:16."""

    def steps(self, problem: Problem) -> Steps:
        """Trains within the budget."""

    def describe(self) -> dict[str, Any]:
        """All numbers that its result depends on besides task, seed and budget, as plain values."""


def begin(problem: Problem, start: Start, open_knobs: tuple[str, ...] = ()) -> Training:
    """A network before its first slice."""
    episode = episodes.begin(problem.task, problem.bank, start, open_knobs)
    return Training(start, episode, batch.observe(episode))


def advance(
    trainings: Sequence[Training],
    actions: Sequence[np.ndarray] | None = None,
    chances: Sequence[Chances | None] | None = None,
) -> Waiting:
    """Trains each network for a slice.

    Args:
        trainings: they are changed.
        actions: of each `[knobs]`; hold where None.
        chances: what a controller's probabilities were, for the record.
    """
    chosen = [knobs.HOLD] * len(trainings) if actions is None else actions
    known = [None] * len(trainings) if chances is None else chances
    before = [one.episode for one in trainings]
    stepped = yield [Move(e, action) for e, action in zip(before, chosen, strict=True)]
    for one, old, action, made, told in zip(trainings, before, chosen, stepped, known, strict=True):
        one.episode, one.observation = made.episode, made.observation
        one.reports.append(made.report)
        one.records.append(record_of(old, action, made, told))


def finish(trainings: Sequence[Training]) -> Waiting:
    """Trains each network to the end of its budget, on hold."""
    while left := [one for one in trainings if not one.ended]:
        yield from advance(left)


def one_by_one(trainings: Sequence[Training]) -> Outcome:
    """The outcome of networks that were trained one after another, or might as well have been."""
    curve, spent, best = [], 0.0, np.inf
    for one in trainings:
        base = float(one.episode.run.books.base_flops)
        for report in one.reports:
            best = min(best, report.best_score)
            curve.append(Point(spent + report.spent * base, float(best)))
        spent += one.flops
    return Outcome(list(trainings), curve)


def best_of(outcome: Outcome) -> Training:
    """The network that validation data selects; the first of equal ones."""
    # Of what has diverged no weights are kept, so that anything else is better.
    return min(outcome.trained, key=lambda one: float(one.episode.run.books.safe_score))


def run_together(
    methods: Sequence[tuple[Method, Problem]], mode: batch.Mode | None = None
) -> list[Outcome]:
    """Runs methods side by side: all slices that they want at one time are computed together."""
    running = [method.steps(problem) for method, problem in methods]
    wanted: dict[int, list[Move]] = {}
    outcomes: dict[int, Outcome] = {}
    sent: dict[int, list[Stepped] | None] = dict.fromkeys(range(len(running)))
    while sent:
        for number, answer in sent.items():
            try:
                # Python's generators want None at first.
                wanted[number] = (
                    next(running[number]) if answer is None else running[number].send(answer)
                )
            except StopIteration as end:
                outcomes[number] = end.value
        sent = dict(answer_all({n: (methods[n][1], m) for n, m in wanted.items()}, mode))
        wanted = {}
    return [outcomes[number] for number in range(len(running))]


def answer_all(
    wanted: dict[int, tuple[Problem, list[Move]]], mode: batch.Mode | None = None
) -> dict[int, list[Stepped]]:
    """Computes the slices that several methods want, in one batch."""
    flat = [
        (problem.bank, move.episode, move.action)
        for problem, moves in wanted.values()
        for move in moves
    ]
    if not flat:
        return {number: [] for number in wanted}
    banks, running, actions = zip(*flat, strict=True)
    stepped = iter(batch.step(banks, running, np.stack(actions), mode or batch.default_mode()))
    return {number: [next(stepped) for _ in moves] for number, (_, moves) in wanted.items()}
