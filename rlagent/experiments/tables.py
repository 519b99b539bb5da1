"""The scoreboard in words: Markdown for a page, plain text for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlagent.experiments.scoreboard import Board

COLUMNS = 5  # tasks beside each other in a table
NOTHING = "-"


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
        "the cost; read from the best of its means up to a budget, so that it is below 1 for a "
        "method that is just as good. Cost: compute billed, in budgets of a single run."
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
