"""The finished runs of a store as arrays, which is what statistics are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rlagent.experiments.stored_run import StoredRun


@dataclass(frozen=True)
class Runs:
    """Finished runs as arrays over methods, tasks, seeds and budgets, NaN where one is missing."""

    methods: list[str]
    tasks: list[str]
    budgets: list[int]
    scores: np.ndarray  # [methods, tasks, seeds, budgets], on test data
    costs: np.ndarray  # the same, in budgets of a single run
    seconds: np.ndarray  # the same
    metrics: dict[str, np.ndarray]  # the same, by the metric's name

    def of_budget(self, number: int) -> Runs:
        """The runs of one budget; it stays as an axis of length 1."""
        at = slice(number, number + 1)
        return replace(
            self,
            budgets=self.budgets[at],
            scores=self.scores[..., at],
            costs=self.costs[..., at],
            seconds=self.seconds[..., at],
            metrics={name: values[..., at] for name, values in self.metrics.items()},
        )


def tabulate(runs: Sequence[StoredRun]) -> Runs:
    """Finished runs as arrays.

    Raises:
        ValueError: if two runs are of the same method, task, seed and budget.
    """
    methods = list(dict.fromkeys(run.method for run in runs))
    tasks = list(dict.fromkeys(run.task for run in runs))
    seeds, budgets = sorted({run.seed for run in runs}), sorted({run.updates for run in runs})
    axes = [
        {name: at for at, name in enumerate(names)} for names in (methods, tasks, seeds, budgets)
    ]
    shape = tuple(map(len, axes))
    names = sorted({run.metric_name for run in runs if run.metric_name is not None})
    scores, costs, seconds, *metrics = (np.full(shape, np.nan) for _ in range(3 + len(names)))
    by_name = dict(zip(names, metrics, strict=True))
    taken: dict[tuple[int, ...], str] = {}
    for run in runs:
        cell = tuple(
            axis[name]
            for axis, name in zip(axes, (run.method, run.task, run.seed, run.updates), strict=True)
        )
        if cell in taken:
            raise ValueError(
                f"the runs {taken[cell]} and {run.key} are both of {run.method} on {run.task} with "
                f"seed {run.seed} and {run.updates} updates: if they are "
                "of the same data, remove the older one by `rlagent runs delete --superseded`"
            )
        taken[cell] = run.key
        scores[cell] = run.test_score
        costs[cell] = _ratio(run.flops, run.budget_flops)
        seconds[cell] = _number(run.seconds)
        if run.metric_name is not None:
            by_name[run.metric_name][cell] = _number(run.test_metric)
    return Runs(methods, tasks, budgets, scores, costs, seconds, by_name)


def _ratio(part: float | None, whole: float | None) -> float:
    return math.nan if part is None or not whole else part / whole


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def finite_mean(values: np.ndarray) -> float | None:
    """The mean of the finite ones; None if there is none."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if there.size else None
