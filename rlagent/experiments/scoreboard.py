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
        "regret": INTERVAL,  # interquartile mean, to the best known; see statistics.best_known
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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rlagent.experiments import statistics
from rlagent.experiments.statistics import DRAWS, Interval
from rlagent.experiments.stored_run import StoredRun, Trial

Board = dict[str, Any]

REFERENCE = re.compile(r"reference(?::(\d+(?:\.\d+)?))?")  # the number multiplies the budget
POOL = "random"
POOLED = re.compile(rf"{POOL}(?::\d+)?")
CONSTANT_SCORE = math.log(1.05)  # of the best constant predictor; that of rlagent_envs.reward
THRESHOLDS = 41  # of a profile
ANYTIME_NUMBERS = 150_000  # in all curves together
ANYTIME_POINTS = 80  # in one curve, at most
COLUMNS = 5  # tasks beside each other in a table
NOTHING = "-"
ANYTIME_DRAWS = 400  # a band is looked at, nothing is concluded from it


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
    finished = [run for run in runs if _reason(run) is None]
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
        "failed": [_failed(run, reason) for run in runs if (reason := _reason(run)) is not None],
        "rows": _sorted(rows, methods),
        "by_task": _sorted(_by_task(table, against, draws), methods),
        "profiles": [_profile(part, updates, methods, draws) for updates, part in parts],
        "trials": _trials(finished, single),
        "anytime": _sorted(_anytime(finished), methods),
    }
    rounded: Board = _rounded(board)
    return rounded


def markdown(board: Board) -> str:
    """The tables of a scoreboard as Markdown: overall, by task, and trials to match."""
    parts = [_legend(board)]
    several = len(board["budgets"]) > 1
    for updates in [*([None] if several else []), *board["budgets"]]:
        parts += [f"### {_budget(updates)}", _overall(board, updates)]
    for updates in board["budgets"]:
        parts.append(f"### By task, {_budget(updates)}")
        for start in range(0, len(board["tasks"]), COLUMNS):
            parts.append(_task_table(board, updates, board["tasks"][start : start + COLUMNS]))
    if board["trials"]:
        parts += ["### Trials to match", *_trials_text(board)]
    if board["failed"]:
        failed = [
            [run["task"], run["method"], str(run["seed"]), str(run["updates"]), run["reason"]]
            for run in board["failed"]
        ]
        header = ["task", "method", "seed", "updates", "reason"]
        parts += ["### Failed runs", _table_text(header, failed)]
    return "\n\n".join(parts) + "\n"


def text(board: Board) -> str:
    """The overall table for a terminal, all budgets together."""
    lines = [["method", "score", "difference", "95 % interval", "verdict", "cost", "runs"]]
    for row in board["rows"]:
        if row["updates"] is None:
            difference = row["difference"] or dict.fromkeys(("value", "low", "high"))
            bounds = (_signed(difference["low"]), _signed(difference["high"]))
            lines.append(
                [
                    row["method"],
                    _plain(row["score"]["value"]),
                    _signed(difference["value"]),
                    NOTHING if NOTHING in bounds else " to ".join(bounds),
                    _verdict(row, board["against"]),
                    _short(row["cost"]),
                    str(row["runs"]),
                ]
            )
    failed = f", {_counted(len(board['failed']), 'run')} failed" if board["failed"] else ""
    below = [
        "",
        f"{_counted(len(board['tasks']), 'task')}, {_seeds_text(board)}, {_budgets_text(board)}"
        f"{failed}.",
        "Score: interquartile mean of log(L / L0 + 0.05) on test data, lower is better.",
        f"Difference: from {board['against']}, run by run. Cost: in budgets of a single run.",
    ]
    return "\n".join([*_aligned(lines, left=(0, 4)), *below]) + "\n"


def _aligned(lines: Sequence[Sequence[str]], left: Sequence[int]) -> list[str]:
    """Lines with columns of equal width, to the right but for those named."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


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
                f"seed {run.seed} and {run.updates} updates: judge one of them"
            )
        taken[cell] = run.key
        scores[cell] = run.test_score
        costs[cell] = _ratio(run.flops, run.budget_flops)
        seconds[cell] = _number(run.seconds)
        if run.metric_name is not None:
            by_name[run.metric_name][cell] = _number(run.test_metric)
    return Runs(methods, tasks, budgets, scores, costs, seconds, by_name)


def _reason(run: StoredRun) -> str | None:
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
    regrets, ranks = statistics.regrets(table.scores), statistics.ranks(table.scores)
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
            rank = statistics.task_mean(
                ranks[number], least=1.0, most=len(table.methods), draws=draws
            )
        rows.append(
            {
                "method": method,
                "updates": updates,
                "tasks": int(there.any(axis=(1, 2)).sum()),
                "runs": int(there.sum()),
                "cost": _mean(table.costs[number]),
                "seconds": _sum(table.seconds[number]),
                "score": _interval(statistics.interquartile(ours, draws=draws)),
                "regret": _interval(statistics.interquartile(regrets[number], draws=draws)),
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
    difference = statistics.interquartile(differences, draws=draws)
    on_tasks = paired.any(axis=(1, 2))
    means = np.where(paired, differences, 0.0).sum(axis=(1, 2)) / np.maximum(
        paired.sum(axis=(1, 2)), 1
    )
    worst = int(np.argmax(np.where(on_tasks, means, -np.inf)))
    return row | {
        "difference": _interval(difference),
        "verdict": statistics.verdict(difference),
        "probability": _interval(statistics.improvement(ours, theirs, draws=draws)),
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
    found = statistics.speed_up(
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
        of_tasks = [_mean(task) for task in values[method]]
        there = [mean for mean in of_tasks if mean is not None]
        if there:
            found[name] = float(np.mean(there))
    return found


def _by_task(table: Runs, against: str, draws: int) -> list[Board]:
    """A row for each task, budget and method, with intervals over seeds."""
    theirs = table.scores[table.methods.index(against)]
    best = statistics.best_known(table.scores)
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
                    if (mean := _mean(values[number, task, :, budget])) is not None
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
                        "verdict": difference and statistics.verdict(difference),
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
        band = statistics.seeds_interquartile(group, draws=draws)
        for cell, value, low, high in zip(cells.tolist(), *band, strict=True):
            found[tuple(cell)] = Interval(float(value), float(low), float(high))
    return found


def _profile(table: Runs, updates: int | None, methods: list[str], draws: int) -> Board:
    """The share of runs below each regret, on a grid that nineteen of twenty runs are within."""
    regrets = statistics.regrets(table.scores)
    top = max(float(np.nanquantile(regrets, 0.95)), 1e-3)
    grid = np.linspace(0.0, top, THRESHOLDS)
    shares = {}
    for method in methods:
        own = regrets[table.methods.index(method)]
        if not np.isnan(own).all():
            band = statistics.performance_profile(own, grid, draws=draws)
            shares[method] = {"share": band.value, "low": band.low, "high": band.high}
    return {"updates": updates, "thresholds": grid, "methods": shares}


def _trials(runs: Sequence[StoredRun], single: Sequence[Runs]) -> list[Board]:
    """What random search would find with how many trials, for each budget that has a pool."""
    found = []
    for table in single:
        (updates,) = table.budgets
        pools = _pools([run for run in runs if run.updates == updates])
        if not pools:
            continue
        size = min(len(valid) for valid, _ in pools.values())
        curves = {
            task: statistics.expected_bests(valid, test)[:size]
            for task, (valid, test) in pools.items()
        }
        mean = np.mean(list(curves.values()), axis=0)
        powers = [2**power for power in range(size.bit_length()) if 2**power < size]
        found.append(
            {
                "updates": updates,
                "pool": POOL,
                "size": size,
                "tasks": list(curves),
                "expected": [[k, mean[k - 1]] for k in [*powers, size]],
                "to_match": {
                    method: _to_match(table, number, curves)
                    for number, method in enumerate(table.methods)
                    if not np.isnan(table.scores[number]).all()
                },
            }
        )
    return found


def _to_match(table: Runs, method: int, curves: dict[str, np.ndarray]) -> Board:
    """How many trials a method's mean over tasks is worth, on the tasks that have both."""
    means = {task: _mean(table.scores[method, at]) for at, task in enumerate(table.tasks)}
    shared = [task for task in curves if means[task] is not None]
    if not shared:
        return {"value": None, "at_least": False, "at_most": False, "tasks": 0}
    expected = np.mean([curves[task] for task in shared], axis=0)
    match = statistics.trials_to_match(expected, float(np.mean([means[task] for task in shared])))
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


def _anytime(runs: Sequence[StoredRun]) -> list[Board]:
    """The best validation score so far over what was spent, for each task, budget and method."""
    groups: dict[tuple[str, int, str], list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for run in runs:
        if (steps := _steps(run)) is not None:
            groups[run.task, run.updates, run.method].append(steps)
    # A curve has 4 lists of numbers.
    points = max(2, min(ANYTIME_POINTS, ANYTIME_NUMBERS // (4 * max(len(groups), 1))))
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
        band = statistics.seeds_interquartile(
            np.concatenate([scores for _, scores in part]), draws=ANYTIME_DRAWS
        )
        for name, values in zip(("score", "low", "high"), band, strict=True):
            for (row, _), own in zip(part, np.split(values, ends), strict=True):
                row[name] = own if seeds > 1 or name == "score" else []


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


def _ratio(part: float | None, whole: float | None) -> float:
    return math.nan if part is None or not whole else part / whole


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _mean(values: np.ndarray) -> float | None:
    there = values[np.isfinite(values)]
    return float(there.mean()) if there.size else None


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


def _legend(board: Board) -> str:
    """What the tables hold, in words."""
    against = _code(board["against"])
    return (
        f"{_counted(len(board['methods']), 'method')} on {_counted(len(board['tasks']), 'task')}, "
        f"{_seeds_text(board)}, {_budgets_text(board)}. "
        "Scores are log(L / L0 + 0.05) on test data, of the weights that were selected on "
        "validation data, L0 the loss of the best constant predictor; lower is better. Score, "
        "difference and regret are interquartile means; in brackets 95 % intervals over tasks and "
        f"seeds. Differences are from {against}, run by run. `better` and `worse` mean that the "
        "interval excludes 0, `equal` that no difference was shown. Probability: of a better run "
        f"than that of {against}. Regret: to the lowest mean over seeds of any method here. "
        f"Speed-up: how many budgets {_code('reference')} needs for the same result, divided by "
        "the cost. Cost: compute billed, in budgets of a single run."
    )


def _overall(board: Board, updates: int | None) -> str:
    rows = [row for row in board["rows"] if row["updates"] == updates]
    sped = any(row["speed_up"] for row in rows)
    header = ["method", "score", "difference", "verdict", "probability", "regret", "rank"]
    header += [*(["speed-up"] if sped else []), "worst task", "metric", "cost", "time", "runs"]
    lines = []
    for row in rows:
        worst, rank = row["worst"], row["rank"]
        lines.append(
            [
                _code(row["method"]),
                _with_bounds(row["score"], _plain),
                _with_bounds(row["difference"], _signed),
                _verdict(row, board["against"]),
                _with_bounds(row["probability"], _share),
                _with_bounds(row["regret"], _plain),
                _short(rank and rank["value"]),
                *([_speed_up_text(row["speed_up"])] if sped else []),
                f"{worst['task']} {_signed(worst['difference'])}" if worst else NOTHING,
                ", ".join(f"{name} {value:.3f}" for name, value in row["metric"].items())
                or NOTHING,
                _short(row["cost"]),
                _time(row["seconds"]),
                str(row["runs"]),
            ]
        )
    return _table_text(header, lines)


def _task_table(board: Board, updates: int, tasks: Sequence[str]) -> str:
    """Score, metric and verdict of each method on some tasks."""
    cells = {
        (row["method"], row["task"]): row for row in board["by_task"] if row["updates"] == updates
    }
    lines = [
        [_code(method), *(_task_cell(cells.get((method, task))) for task in tasks)]
        for method in board["methods"]
        if any((method, task) in cells for task in tasks)
    ]
    return _table_text(["method", *tasks], lines)


def _task_cell(row: Board | None) -> str:
    if row is None:
        return NOTHING
    metric = "" if row["metric"] is None else f" ({row['metric_name']} {row['metric']:.3f})"
    return f"{_plain(row['score']['value'])}{metric} {row['verdict'] or ''}".rstrip()


def _trials_text(board: Board) -> list[str]:
    pools = board["trials"]
    header = ["method", *(_budget(pool["updates"]) for pool in pools)]
    lines = []
    for method in board["methods"]:
        matches = [(pool["to_match"].get(method), pool["size"]) for pool in pools]
        lines.append([_code(method), *(_match_text(match) for match, _ in matches)])
    expected = [
        [_budget(pool["updates"]), *(f"{k}: {_plain(value)}" for k, value in pool["expected"])]
        for pool in pools
    ]
    most = max(map(len, expected))
    padded = [[*line, *[NOTHING] * (most - len(line))] for line in expected]
    return [
        "How many trials of random search, the best chosen by validation score, are expected to "
        "reach the method's mean score over tasks.",
        _table_text(header, lines),
        "What the best of k trials is expected to score.",
        _table_text(["budget", *["k: score"] * (most - 1)], padded),
    ]


def _match_text(match: Board | None) -> str:
    if match is None or match["value"] is None:
        return NOTHING
    if match["at_least"]:
        return f"more than {match['value']:g}"
    return "less than 1" if match["at_most"] else f"{match['value']:.1f}"


def _speed_up_text(speed_up: Board | None) -> str:
    """The speed-up; as a bound where on some tasks only a bound is known."""
    if speed_up is None:
        return NOTHING
    words = {(True, False): "at least ", (False, True): "at most ", (True, True): "about "}
    bound = words.get((bool(speed_up["at_least"]), bool(speed_up["at_most"])), "")
    beyond = f", {speed_up['censored']} of {speed_up['tasks']} censored" if bound else ""
    return f"{bound}{_with_bounds(speed_up, _short)}{beyond}"


def _table_text(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    escaped = ([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def _with_bounds(interval: Board | None, form: Callable[[float | None], str]) -> str:
    if interval is None:
        return NOTHING
    if interval["low"] is None or interval["high"] is None:
        return form(interval["value"])
    return f"{form(interval['value'])} ({form(interval['low'])} to {form(interval['high'])})"


def _verdict(row: Board, against: str) -> str:
    return "compared with" if row["method"] == against else row["verdict"] or NOTHING


def _plain(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.4f}"


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _short(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3g}"


def _time(seconds: float | None) -> str:
    """Minutes or hours, as people say them."""
    if seconds is None:
        return NOTHING
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _budget(updates: int | None) -> str:
    return "All budgets together" if updates is None else f"{updates} updates"


def _budgets_text(board: Board) -> str:
    return f"budgets of {', '.join(map(str, board['budgets']))} updates"


def _seeds_text(board: Board) -> str:
    least, most = board["seeds"]["least"], board["seeds"]["most"]
    return _counted(most, "seed") if least == most else f"{least} to {most} seeds"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _code(name: str) -> str:
    return f"`{name}`"
