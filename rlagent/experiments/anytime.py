"""Anytime curves: the best validation score so far over the compute that was spent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rlagent.experiments.statistics import aggregates
from rlagent.experiments.stored_run import StoredRun

if TYPE_CHECKING:
    from rlagent.experiments.scoreboard import Board

NUMBERS = 150_000  # in all curves together
POINTS = 80  # in one curve, at most
DRAWS = 400  # a band is looked at, nothing is concluded from it


def anytime(runs: Sequence[StoredRun]) -> list[Board]:
    """The best validation score so far over what was spent, for each task, budget and method."""
    groups: dict[tuple[str, int, str], list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for run in runs:
        if (steps := _steps(run)) is not None:
            groups[run.task, run.updates, run.method].append(steps)
    # A curve has 4 lists of numbers.
    points = max(2, min(POINTS, NUMBERS // (4 * max(len(groups), 1))))
    found = []
    at_points: dict[int, list[tuple[Board, np.ndarray]]] = defaultdict(list)
    for (task, updates, method), curves in groups.items():
        grid = _grid([spent for spent, _ in curves], points)
        scores = np.stack(
            [best[np.searchsorted(spent, grid, side="right") - 1] for spent, best in curves], axis=1
        )
        row: Board = {"task": task, "updates": updates, "method": method, "spent": grid}
        found.append(row)
        at_points[len(curves)].append((row, scores))
    for members in at_points.values():
        _add_bands(members)
    return found


def _steps(run: StoredRun) -> tuple[np.ndarray, np.ndarray] | None:
    """What a run had spent at each evaluation, and its best score so far; None if unknown."""
    if run.curve is None or not run.budget_flops:
        return None
    spent = np.asarray(run.curve.flops, float) / run.budget_flops
    scores = np.asarray(run.curve.valid_score, float)
    finite = np.isfinite(scores)
    if not finite.any():
        return None
    return spent[finite], np.minimum.accumulate(scores[finite])


def _grid(spent: Sequence[np.ndarray], points: int) -> np.ndarray:
    """Evaluations of all seeds, from where each has one, thinned out evenly to `points`."""
    start = max(of_seed[0] for of_seed in spent)
    every = np.unique(np.concatenate(spent))
    every = every[every >= start]
    if len(every) <= points:
        return every
    return every[np.linspace(0, len(every) - 1, points).round().astype(int)]


def _add_bands(members: Sequence[tuple[Board, np.ndarray]]) -> None:
    """Fills in the scores of curves with the same number of seeds, `[points, seeds]` each."""
    seeds = members[0][1].shape[1]
    # Not all at once: the draws of ten thousand curves would not fit into memory.
    for start in range(0, len(members), 64):
        part = members[start : start + 64]
        ends = np.cumsum([len(scores) for _, scores in part])[:-1]
        band = aggregates.seeds_interquartile(
            np.concatenate([scores for _, scores in part]), draws=DRAWS
        )
        for name, values in zip(("score", "low", "high"), band, strict=True):
            for (row, _), own in zip(part, np.split(values, ends), strict=True):
                row[name] = own if seeds > 1 or name == "score" else []
