"""Population based training: a population of runs, of which the worst copy the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from rlagent.baselines.frozen import frozen
from rlagent.baselines.method import Outcome, Point, Problem, Steps, Training, advance, begin
from rlagent_envs import episode as episodes
from rlagent_envs.dynamics import Run
from rlagent_envs.reward import FLOOR
from rlagent_envs.settings import DEFAULT, HIGH, LOW, Settings
from rlagent_envs.training.bank import baseline_loss

EXPLORED = ("learning_rate", "weight_decay", "dropout", "label_smoothing", "damping")
WORST = 10.0  # a validation loss above this many times the baseline's counts as that

Chosen = dict[str, float]  # a value for each name that is explored


class Copy(NamedTuple):
    """A member that goes on from the weights of another."""

    worst: int
    source: int
    chosen: Chosen  # what it goes on with


class Explorer(Protocol):
    """Says who copies whom, and what with."""

    def copies(self, made: int, scores: Sequence[float]) -> list[Copy]:
        """Called after every slice.

        Args:
            made: slices so far.
            scores: of each member now, lower is better, finite.
        """


@dataclass(frozen=True)
class Population:
    """PBT, ours or Ray Tune's, or PB2: all over the same networks, slices and budget.

    Source: Jaderberg et al. 2017 (arXiv:1711.09846), section 4.1; PB2 is Parker-Holder et al. 2020
    (arXiv:2002.02518).
    """

    name: str
    explorer: str  # pbt, ray-pbt or pb2
    members: int

    def __post_init__(self) -> None:
        """Raises ValueError if a package is missing."""
        if self.explorer != "pbt":
            from rlagent.baselines import ray_population

            ray_population.check_installed(self.explorer)

    def steps(self, problem: Problem) -> Steps:
        """Trains all members side by side, each with the budget of a single run.

        Their records have the number of the member, as `trial`, and where it went on from the
        weights of another one before the slice, the number of that one, as `copied`; the settings
        are those that it went on with.
        """
        generator = np.random.default_rng([problem.seed, 7])
        drawn = [draw(generator) for _ in range(self.members)]
        trainings = [
            begin(problem, problem.start(settings_of(one), seed=problem.seed + number * 2**32))
            for number, one in enumerate(drawn)
        ]
        explorer = self._explorer(problem, generator, drawn)
        worst_loss = WORST * baseline_loss(problem.task)
        curve: list[Point] = []
        made, copied = 0, dict[int, int]()
        while left := [one for one in trainings if not one.ended]:
            yield from advance(left)
            made += 1
            for member, source in copied.items():
                trainings[member].records[-1]["copied"] = source
            copied.clear()
            best = min(one.score for one in trainings)
            curve.append(Point(sum(one.flops for one in trainings), best))
            if any(one.ended for one in trainings):
                continue
            losses = [one.reports[-1].valid_loss for one in trainings]
            capped = np.where(np.isfinite(losses), np.minimum(losses, worst_loss), worst_loss)
            scores = np.log(capped / baseline_loss(problem.task) + FLOOR)
            for copy in explorer.copies(made, scores.tolist()):
                _exploit(trainings[copy.worst], trainings[copy.source], copy.chosen)
                copied[copy.worst] = copy.source
        for number, one in enumerate(trainings):
            for record in one.records:
                record["trial"] = number
        return Outcome(trainings, curve, told=True)

    def _explorer(
        self, problem: Problem, generator: np.random.Generator, drawn: list[Chosen]
    ) -> Explorer:
        every = max(round(problem.decisions / frozen()["population"]["rounds"]), 1)
        if self.explorer == "pbt":
            return Truncation(generator, drawn, every)
        from rlagent.baselines import ray_population

        return ray_population.RayExplorer(self.explorer, problem.seed, drawn, every)

    def describe(self) -> dict[str, Any]:
        """Its frozen numbers, and the space that it draws from."""
        return {
            "name": self.name,
            "explorer": self.explorer,
            "members": self.members,
            **frozen()["population"],
            "space": space(),
        }


@dataclass
class Truncation:
    """The worst copy one of the best; settings are explored by factors, or drawn anew."""

    generator: np.random.Generator
    chosen: list[Chosen]  # of each member; changed
    every: int  # slices between two rounds

    def copies(self, made: int, scores: Sequence[float]) -> list[Copy]:
        """The worst quarter, or at least one, copies the best quarter."""
        if made % self.every:
            return []
        share = frozen()["population"]["truncation"]
        count = min(max(1, int(len(scores) * share)), len(scores) // 2)
        ranked = np.argsort(scores, kind="stable").tolist()
        copies = []
        for worst in ranked[len(ranked) - count :]:
            source = ranked[int(self.generator.integers(count))]
            copies.append(Copy(worst, source, self._explored(self.chosen[source])))
        for copy in copies:
            self.chosen[copy.worst] = copy.chosen
        return copies

    def _explored(self, chosen: Chosen) -> Chosen:
        numbers = frozen()["population"]
        fresh = draw(self.generator)
        explored = {}
        for name in EXPLORED:
            factor = float(self.generator.choice(numbers["factors"]))
            anew = self.generator.random() < numbers["resample"]
            explored[name] = fresh[name] if anew else chosen[name] * factor
        return clip(explored)


def space() -> dict[str, Any]:
    """The part of the frozen space that a population explores."""
    return {name: frozen()["space"][name] for name in EXPLORED}


def draw(generator: np.random.Generator) -> Chosen:
    """One point of the space."""
    drawn = {}
    for name, bounds in space().items():
        if bounds["log"]:
            low, high = np.log(bounds["low"]), np.log(bounds["high"])
            drawn[name] = float(np.exp(generator.uniform(low, high)))
        else:
            drawn[name] = float(generator.uniform(bounds["low"], bounds["high"]))
    return drawn


def settings_of(chosen: Mapping[str, float]) -> Settings:
    """The settings that a point of the space stands for; the rest is at its default."""
    named = {name: chosen[name] for name in EXPLORED if name != "damping"}
    return DEFAULT._replace(**named, momentum=1.0 - chosen["damping"])


def clip(chosen: Mapping[str, float]) -> Chosen:
    """The nearest point that settings can have."""
    clipped = Settings(*np.clip(settings_of(chosen), LOW, HIGH).tolist())
    return {
        name: 1.0 - clipped.momentum if name == "damping" else getattr(clipped, name)
        for name in EXPLORED
    }


def _exploit(worst: Training, source: Training, chosen: Chosen) -> None:
    """A member goes on from the weights of another."""
    # Batches, books and the best weights so far stay its own: copies do not see the same rows,
    # and the best of the population is never lost.
    run = Run(source.episode.run.live, worst.episode.run.books)
    copy = replace(worst.episode, run=run, at_best=False)
    worst.episode = episodes.with_settings(copy, settings_of(chosen))
