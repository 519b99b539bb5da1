"""Population based training: a population of runs, of which the worst copy the best."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rlagent.baselines.frozen import frozen
from rlagent.baselines.method import Outcome, Point, Problem, Steps, Training, advance, begin
from rlagent_envs import episode as episodes
from rlagent_envs.dynamics import Run
from rlagent_envs.training.settings import DEFAULT, HIGH, LOW, Settings

EXPLORED = ("learning_rate", "weight_decay", "dropout", "label_smoothing", "damping")


@dataclass(frozen=True)
class Population:
    """PBT: truncation selection; explored by factors, or drawn anew.

    Source: Jaderberg et al. 2017 (arXiv:1711.09846), section 4.1.
    """

    name: str
    members: int

    def steps(self, problem: Problem) -> Steps:
        """Trains all members side by side, each with the budget of a single run."""
        numbers = frozen()["population"]
        generator = np.random.default_rng([problem.seed, 7])
        trainings = [
            begin(
                problem,
                problem.start(_settings(_drawn(generator)), seed=problem.seed + number * 2**32),
            )
            for number in range(self.members)
        ]
        every = max(round(problem.decisions / numbers["rounds"]), 1)
        curve: list[Point] = []
        made = 0
        while left := [one for one in trainings if not one.ended]:
            yield from advance(left)
            made += 1
            best = min(one.score for one in trainings)
            curve.append(Point(sum(one.flops for one in trainings), best))
            if made % every == 0 and not any(one.ended for one in trainings):
                _exploit(generator, trainings, numbers)
        return Outcome(trainings, curve)

    def describe(self) -> dict[str, Any]:
        """Its frozen numbers, and the space that it draws from."""
        space = {name: frozen()["space"][name] for name in EXPLORED}
        return {
            "name": self.name,
            "members": self.members,
            **frozen()["population"],
            "space": space,
            "initial": frozen()["initial"],
        }


def _exploit(
    generator: np.random.Generator, trainings: list[Training], numbers: dict[str, Any]
) -> None:
    """The worst members go on from the weights of the best, with settings near theirs."""
    count = int(len(trainings) * numbers["truncation"])
    ranked = sorted(trainings, key=lambda one: _loss(one))
    for worst in ranked[len(ranked) - count :]:
        source = ranked[int(generator.integers(count))].episode
        # Batches, books and the best weights so far stay its own: copies do not see the same rows,
        # and the best of the population is never lost.
        run = Run(source.run.live, worst.episode.run.books)
        copy = replace(worst.episode, run=run, at_best=False)
        worst.episode = episodes.with_settings(copy, _explored(generator, source.settings, numbers))


def _loss(training: Training) -> float:
    """The last validation loss; one that is not finite is worse than any."""
    loss = training.reports[-1].valid_loss
    return loss if np.isfinite(loss) else np.inf


def _explored(
    generator: np.random.Generator, settings: Settings, numbers: dict[str, Any]
) -> Settings:
    """Each setting times a factor, or drawn anew from the space."""
    values = settings._asdict() | {"damping": 1.0 - settings.momentum}
    fresh = _drawn(generator)
    chosen = {}
    for name in EXPLORED:
        factor = float(generator.choice(numbers["factors"]))
        anew = generator.random() < numbers["resample"]
        chosen[name] = fresh[name] if anew else values[name] * factor
    return _settings(chosen)


def _drawn(generator: np.random.Generator) -> dict[str, float]:
    """Settings from the frozen space."""
    drawn = {}
    for name in EXPLORED:
        bounds = frozen()["space"][name]
        if bounds["log"]:
            low, high = np.log(bounds["low"]), np.log(bounds["high"])
            drawn[name] = float(np.exp(generator.uniform(low, high)))
        else:
            drawn[name] = float(generator.uniform(bounds["low"], bounds["high"]))
    return drawn


def _settings(chosen: dict[str, float]) -> Settings:
    named = {name: chosen[name] for name in EXPLORED if name != "damping"}
    settings = DEFAULT._replace(**named, momentum=1.0 - chosen["damping"])
    return Settings(*np.clip(settings, LOW, HIGH).tolist())
