"""How many trials of random search a method's single run is worth."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rlagent.experiments.run_table import Runs, finite_mean
from rlagent.experiments.statistics import search
from rlagent.experiments.stored_run import StoredRun, Trial

POOL = "random"
POOLED = re.compile(rf"{POOL}(?::\d+)?")
CONSTANT_SCORE = math.log(1.05)  # of the best constant predictor; that of rlagent_envs.reward


def trials_of(runs: Sequence[StoredRun], single: Sequence[Runs]) -> list[dict[str, Any]]:
    """What random search would find with how many trials, for each budget that has a pool."""
    found = []
    for table in single:
        (updates,) = table.budgets
        pools = _pools([run for run in runs if run.updates == updates])
        if not pools:
            continue
        size = min(len(valid) for valid, _ in pools.values())
        curves = {
            task: search.expected_bests(valid, test)[:size] for task, (valid, test) in pools.items()
        }
        means = np.mean(list(curves.values()), axis=0)
        powers = [2**power for power in range(size.bit_length()) if 2**power < size]
        found.append(
            {
                "updates": updates,
                "pool": POOL,
                "size": size,
                "tasks": list(curves),
                "expected": [[k, means[k - 1]] for k in [*powers, size]],
                "to_match": {
                    method: _to_match(table, number, curves)
                    for number, method in enumerate(table.methods)
                    if not np.isnan(table.scores[number]).all()
                },
            }
        )
    return found


def _to_match(table: Runs, method: int, curves: dict[str, np.ndarray]) -> dict[str, Any]:
    """How many trials a method's mean over tasks is worth, on the tasks that have both."""
    means = {task: finite_mean(table.scores[method, at]) for at, task in enumerate(table.tasks)}
    shared = [task for task in curves if means[task] is not None]
    if not shared:
        return {"value": None, "at_least": False, "at_most": False, "tasks": 0}
    expected = np.mean([curves[task] for task in shared], axis=0)
    match = search.trials_to_match(expected, float(np.mean([means[task] for task in shared])))
    return match._asdict() | {"tasks": len(shared)}


def _pools(runs: Iterable[StoredRun]) -> dict[str, tuple[list[float], list[float]]]:
    """Validation and test scores of all trials of the largest random search, by task.

    The seeds of a search are pooled. Trials that were stopped early are left out; one that never
    had finite weights is as good as the best constant predictor.
    """
    trials: dict[str, dict[str, list[Trial]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if POOLED.fullmatch(run.method):
            trials[run.method][run.task] += [trial for trial in run.trials if not trial.stopped]
    if not trials:
        return {}
    largest = max(trials, key=lambda method: max(map(len, trials[method].values())))
    return {
        task: (
            [_finite(trial.valid_score) for trial in pool],
            [_finite(trial.test_score) for trial in pool],
        )
        for task, pool in trials[largest].items()
        if pool
    }


def _finite(score: float | None) -> float:
    return CONSTANT_SCORE if score is None or not math.isfinite(score) else score
