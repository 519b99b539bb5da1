"""An ordered list of configurations that were good on other tasks: transfer without learning."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rlagent.baselines.method import Problem, Steps, finish, one_by_one
from rlagent.baselines.search import Configuration

FILE = Path(__file__).with_name("transferred.toml")


@cache
def configurations() -> tuple[dict[str, Any], ...]:
    """The list, the best first, as `transferred.toml` has it."""
    return tuple(tomllib.loads(FILE.read_text("utf-8"))["configurations"])


@dataclass(frozen=True)
class Transferred:
    """Trains the first k configurations of the list, and keeps the best by validation."""

    name: str
    count: int

    def __post_init__(self) -> None:
        """Raises ValueError if the list is shorter."""
        if self.count > len(configurations()):
            raise ValueError(
                f"the transferred list has {len(configurations())} configurations, got {self.name}"
            )

    def steps(self, problem: Problem) -> Steps:
        """Trains them side by side."""
        trainings = []
        for number, chosen in enumerate(configurations()[: self.count]):
            rate = problem.in_proportion(chosen["learning_rate"])  # the list is for AdamW
            configuration = Configuration.of(chosen | {"learning_rate": rate})
            trainings.append(configuration.begin(problem, number))
        yield from finish(trainings)
        return one_by_one(trainings)

    def describe(self) -> dict[str, Any]:
        """The configurations."""
        return {"name": self.name, "configurations": list(configurations()[: self.count])}


def greedy_order(scores: ArrayLike, count: int) -> list[int]:
    """Which configurations to try, in which order, to do well on a new task.

    Each next one is that which lowers the mean over tasks of the best score so far the most.

    Args:
        scores: `[configurations, tasks]`, lower is better.
        count: how many to choose.

    Source: Wistuba, Schilling and Schmidt-Thieme 2015, "Sequential Model-Free Hyperparameter
    Tuning"; Winkelmolen et al. 2020 (arXiv:2012.08180), section 3.
    """
    table = np.asarray(scores, float)
    best = np.full(table.shape[1], np.inf)
    chosen: list[int] = []
    for _ in range(min(count, len(table))):
        means = np.minimum(table, best).mean(axis=1)
        means[chosen] = np.inf
        chosen.append(int(np.argmin(means)))
        best = np.minimum(best, table[chosen[-1]])
    return chosen
