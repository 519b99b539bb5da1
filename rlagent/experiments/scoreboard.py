"""The scoreboard: what a store of runs says about its methods, as one JSON-ready dictionary.

Everything is judged by the score on test data of the weights that were selected on validation data,
log(L / L0 + 0.05), lower is better. `against` is the method that all others are compared with, run
by run: a pair is the same task, seed and budget. Methods of one name with another budget are one
method. Failed runs are listed, and count for nothing else.

    {"against": name, "budgets": [updates], "tasks": [name], "methods": [name, best score first],
     "seeds": {"least", "most"},  # runs of a method on a task with a budget
     "failed": [{"key", "task", "method", "seed", "updates", "reason"}],
     "rows": [{  # of a method with a budget, or with all of them together (updates null)
        "method", "updates", "tasks", "runs",
        "pairs",  # runs that have a partner of `against`
        "cost",  # mean, in budgets of a single run
        "seconds",  # sum
        "score": INTERVAL,  # interquartile mean
        "difference": INTERVAL | null,  # interquartile mean of the pairs, ours minus theirs
        "verdict": "better" | "equal" | "worse" | null,  # equal: the interval holds 0
        "probability": INTERVAL | null,  # that a run is better than its partner
        "regret": INTERVAL,  # interquartile mean, to the best known; see comparisons.best_known
        "rank": INTERVAL | null,  # mean over tasks; 1 is best; null where there are no rivals
        "worst": {"task", "difference"} | null,  # the task with the highest mean difference
        "speed_up": INTERVAL + {"censored", "at_least", "at_most", "tasks"} | null,
        "metric": {name: mean over tasks}}],
     "by_task": [{"task", "updates", "method", "runs", "score": INTERVAL,
        "difference": INTERVAL | null, "verdict", "metric", "metric_name", "regret"}],
     "profiles": [{"updates", "thresholds": [regret],
        "methods": {name: {"share": [], "low": [], "high": []}}}],
     "trials": [{"updates", "pool": "random", "size", "tasks", "expected": [[k, score]],
        "to_match": {method: {"value", "at_least", "at_most", "tasks"}}}],
     "anytime": [{"task", "updates", "method", "spent": [budgets of a single run], "score": [],
        "low": [], "high": []}]}  # validation score, best so far; no band of a single seed

INTERVAL is {"value", "low", "high"}, of 95 %, over tasks and seeds; its bounds are null where there
is one run, and so is the verdict. In `by_task` and `anytime` it is over seeds. A speed-up counts
pairs of task and budget as its tasks; `at_least` and `at_most` of them are only bounded. Numbers
have 5 significant digits; there is no NaN.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rlagent.experiments.anytime import anytime
from rlagent.experiments.run_table import Runs, finite_mean, tabulate
from rlagent.experiments.statistics import aggregates, comparisons
from rlagent.experiments.statistics.bootstrap import DRAWS, Interval
from rlagent.experiments.statistics.speed_up import speed_up
from rlagent.experiments.stored_run import StoredRun
from rlagent.experiments.trials import trials_of

Board = dict[str, Any]

REFERENCE = re.compile(r"reference(?::(\d+(?:\.\d+)?))?")  # the number multiplies the budget
THRESHOLDS = 41  # of a profile


def scoreboard(
    runs: Sequence[StoredRun], *, against: str | None = None, draws: int = DRAWS
) -> Board:
    """Judges the runs of a store.

    Args:
        runs: finished and failed ones; tasks keep their order.
        against: the method that the others are compared with; by default `reference`, or else the
            first of those that are there on most tasks.
        draws: of each bootstrap.

    Returns:
        What the module describes, ready for `json.dumps`.

    Raises:
        ValueError: if no run has finished with a score, if there is no method `against`, or if two
            runs claim the same cell.
    """
    finished = [run for run in runs if reason_against(run) is None]
    if not finished:
        raise ValueError(f"there is no finished run to judge, of {len(runs)} in the store")
    table = tabulate(finished)
    against = _against(table, against)
    single = [table.of_budget(number) for number in range(len(table.budgets))]
    parts = [(None, table), *((part.budgets[0], part) for part in single)]
    rows = [row for updates, part in parts for row in _rows(part, updates, against, draws)]
    together = [row for row in rows if row["updates"] is None]
    methods = [row["method"] for row in sorted(together, key=lambda row: row["score"]["value"])]
    board = {
        "against": against,
        "budgets": table.budgets,
        "tasks": table.tasks,
        "methods": methods,
        "seeds": _seeds(table),
        "failed": [
            _failed(run, reason) for run in runs if (reason := reason_against(run)) is not None
        ],
        "rows": _sorted(rows, methods),
        "by_task": _sorted(_by_task(table, against, draws), methods),
        "profiles": [_profile(part, updates, methods, draws) for updates, part in parts],
        "trials": trials_of(finished, single),
        "anytime": _sorted(anytime(finished), methods),
    }
    rounded: Board = _rounded(board)
    return rounded


def reason_against(run: StoredRun) -> str | None:
    """Why a run cannot be judged; None if it can."""
    if run.status != "finished":
        return run.reason or "no reason was recorded"
    if run.test_score is None or not math.isfinite(run.test_score):
        return "it has no finite score on test data"
    return None


def _failed(run: StoredRun, reason: str) -> Board:
    names = ("key", "task", "method", "seed", "updates")
    return {name: getattr(run, name) for name in names} | {"reason": reason}


def _against(table: Runs, asked: str | None) -> str:
    """The method to compare with."""
    if asked is None:
        on_tasks = (~np.isnan(table.scores)).any(axis=(2, 3)).sum(axis=1)
        most = table.methods[int(np.argmax(on_tasks))]
        return "reference" if "reference" in table.methods else most
    if asked not in table.methods:
        raise ValueError(f"no finished run of {asked!r}; there are: {', '.join(table.methods)}")
    return asked


def _seeds(table: Runs) -> dict[str, int]:
    """The least and most runs of a method on a task with a budget, where there is any."""
    numbers = (~np.isnan(table.scores)).sum(axis=2)
    there = numbers[numbers > 0]
    return {"least": int(there.min()), "most": int(there.max())}


def _rows(table: Runs, updates: int | None, against: str, draws: int) -> list[Board]:
    """A row for each method that has a run."""
    regrets, ranks = comparisons.regrets(table.scores), comparisons.ranks(table.scores)
    theirs = table.scores[table.methods.index(against)]
    multiples = _multiples(table)
    rows = []
    for number, method in enumerate(table.methods):
        ours = table.scores[number]
        there = ~np.isnan(ours)
        if not there.any():
            continue
        rank = None
        if not np.isnan(ranks[number]).all():
            rank = aggregates.task_mean(
                ranks[number], least=1.0, most=len(table.methods), draws=draws
            )
        rows.append(
            {
                "method": method,
                "updates": updates,
                "tasks": int(there.any(axis=(1, 2)).sum()),
                "runs": int(there.sum()),
                "cost": finite_mean(table.costs[number]),
                "seconds": _sum(table.seconds[number]),
                "score": _interval(aggregates.interquartile(ours, draws=draws)),
                "regret": _interval(aggregates.interquartile(regrets[number], draws=draws)),
                "rank": rank and _interval(rank),
                "speed_up": _speed_up(table, number, multiples, draws),
                "metric": _metric(table, number),
            }
            | _compared(table.tasks, ours, theirs, method != against, draws)
        )
    return rows


def _compared(
    tasks: list[str], ours: np.ndarray, theirs: np.ndarray, other: bool, draws: int
) -> Board:
    """What the pairs say; nothing of a method against itself."""
    differences = ours - theirs
    paired = ~np.isnan(differences)
    row: Board = {"pairs": int(paired.sum()), "difference": None, "verdict": None}
    row |= {"probability": None, "worst": None}
    if not other or not paired.any():
        return row
    difference = aggregates.interquartile(differences, draws=draws)
    on_tasks = paired.any(axis=(1, 2))
    means = np.where(paired, differences, 0.0).sum(axis=(1, 2)) / np.maximum(
        paired.sum(axis=(1, 2)), 1
    )
    worst = int(np.argmax(np.where(on_tasks, means, -np.inf)))
    return row | {
        "difference": _interval(difference),
        "verdict": comparisons.verdict(difference),
        "probability": _interval(comparisons.improvement(ours, theirs, draws=draws)),
        "worst": {"task": tasks[worst], "difference": float(means[worst])},
    }


def _multiples(table: Runs) -> list[tuple[float, int]]:
    """The reference's multiples of the budget that were run, ascending, each with its method."""
    there = (~np.isnan(table.scores)).any(axis=(1, 2, 3))
    found: dict[float, int] = {}
    for number, method in enumerate(table.methods):
        if (match := REFERENCE.fullmatch(method)) and there[number]:
            found.setdefault(float(match[1] or 1.0), number)
    return sorted(found.items())


def _speed_up(
    table: Runs, method: int, multiples: list[tuple[float, int]], draws: int
) -> Board | None:
    if len(multiples) < 2:
        return None
    costs = table.costs[method]
    there = ~np.isnan(costs)
    numbers = there.sum(axis=1)
    means = np.where(there, costs, 0.0).sum(axis=1) / np.maximum(numbers, 1)
    found = speed_up(
        table.scores[method],
        table.scores[[number for _, number in multiples]],
        [multiple for multiple, _ in multiples],
        np.where(numbers > 0, means, np.nan),
        draws=draws,
    )
    if found is None:
        return None
    return _interval(Interval(found.value, found.low, found.high)) | {
        "censored": found.censored,
        "at_least": found.at_least,
        "at_most": found.at_most,
        "tasks": found.cases,
    }


def _metric(table: Runs, method: int) -> dict[str, float]:
    """The means over tasks of each metric that the method has."""
    found = {}
    for name, values in table.metrics.items():
        of_tasks = [finite_mean(task) for task in values[method]]
        there = [mean for mean in of_tasks if mean is not None]
        if there:
            found[name] = float(np.mean(there))
    return found


def _by_task(table: Runs, against: str, draws: int) -> list[Board]:
    """A row for each task, budget and method, with intervals over seeds."""
    theirs = table.scores[table.methods.index(against)]
    best = comparisons.best_known(table.scores)
    differences = table.scores - theirs
    differences[table.methods.index(against)] = np.nan
    scores, compared = _over_seeds(table.scores, draws), _over_seeds(differences, draws)
    rows = []
    for task, of_task in enumerate(table.tasks):
        for budget, updates in enumerate(table.budgets):
            for number, method in enumerate(table.methods):
                if (score := scores.get((number, task, budget))) is None:
                    continue
                difference = compared.get((number, task, budget))
                runs = table.scores[number, task, :, budget]
                metric = {
                    name: mean
                    for name, values in table.metrics.items()
                    if (mean := finite_mean(values[number, task, :, budget])) is not None
                }
                name = next(iter(metric), None)
                rows.append(
                    {
                        "task": of_task,
                        "updates": updates,
                        "method": method,
                        "runs": int((~np.isnan(runs)).sum()),
                        "score": _interval(score),
                        "difference": difference and _interval(difference),
                        "verdict": difference and comparisons.verdict(difference),
                        "metric": name and metric[name],
                        "metric_name": name,
                        "regret": float(np.nanmean(runs) - best[task, budget]),
                    }
                )
    return rows


def _over_seeds(values: np.ndarray, draws: int) -> dict[tuple[int, ...], Interval]:
    """The interquartile mean over seeds of each (method, task, budget) that has any."""
    by_cell = np.moveaxis(values, 2, -1)
    numbers = (~np.isnan(by_cell)).sum(axis=-1)
    found = {}
    for number in np.unique(numbers[numbers > 0]):
        cells = np.argwhere(numbers == number)
        # NaN sorts last.
        group = np.sort(by_cell[tuple(cells.T)], axis=-1)[:, :number]
        band = aggregates.seeds_interquartile(group, draws=draws)
        for cell, value, low, high in zip(cells.tolist(), *band, strict=True):
            found[tuple(cell)] = Interval(float(value), float(low), float(high))
    return found


def _profile(table: Runs, updates: int | None, methods: list[str], draws: int) -> Board:
    """The share of runs below each regret, on a grid that nineteen of twenty runs are within."""
    regrets = comparisons.regrets(table.scores)
    top = max(float(np.nanquantile(regrets, 0.95)), 1e-3)
    grid = np.linspace(0.0, top, THRESHOLDS)
    shares = {}
    for method in methods:
        own = regrets[table.methods.index(method)]
        if not np.isnan(own).all():
            band = comparisons.performance_profile(own, grid, draws=draws)
            shares[method] = {"share": band.value, "low": band.low, "high": band.high}
    return {"updates": updates, "thresholds": grid, "methods": shares}


def _sorted(rows: Iterable[Board], methods: list[str]) -> list[Board]:
    """Rows with the best method first within what they share (task and budget)."""
    place = {method: number for number, method in enumerate(methods)}
    groups: dict[tuple[str | None, int | None], list[Board]] = defaultdict(list)
    for row in rows:
        groups[row.get("task"), row["updates"]].append(row)
    return [
        row
        for group in groups.values()
        for row in sorted(group, key=lambda row: place[row["method"]])
    ]


def _interval(interval: Interval) -> Board:
    return interval._asdict()


def _sum(values: np.ndarray) -> float | None:
    there = values[np.isfinite(values)]
    return float(there.sum()) if there.size else None


def _rounded(value: Any) -> Any:
    """The same with Python numbers of 5 significant digits, and None where one is not finite."""
    match value:
        case dict():
            return {name: _rounded(inner) for name, inner in value.items()}
        case np.ndarray():
            return [_digits(number) for number in value.tolist()]
        case list() | tuple():
            return [_rounded(inner) for inner in value]
        case float():
            return _digits(value)
    return value


def _digits(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
