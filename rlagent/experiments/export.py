"""Stored runs as people read them, and as the tables that other programs read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import Any

from rlagent.apply.wording import actions_in_words, number
from rlagent.experiments.stored_run import Record, StoredRun, Trial

IDENTITY = ("key", "task", "method", "seed", "updates")  # of a run, in each row of each table
DETAILS = ("trials", "curve", "decisions")
UNKNOWN = "-"

Row = dict[str, Any]


def list_text(runs: Sequence[StoredRun]) -> str:
    """Runs as an aligned table; the cost is in budgets of a single run. Details are not needed."""
    if not runs:
        return "no runs"
    columns: dict[str, list[str]] = {
        "key": [run.key for run in runs],
        "task": [run.task for run in runs],
        "method": [run.method for run in runs],
        "updates": [str(run.updates) for run in runs],
        "seed": [str(run.seed) for run in runs],
        "status": [run.status for run in runs],
        "test score": [_shown(run.test_score, ".4f") for run in runs],
        "metric": [_metric(run) for run in runs],
        "cost": [_shown(_cost(run), ".2f") for run in runs],
        "seconds": [_shown(run.seconds, ".1f") for run in runs],
    }
    return _aligned(columns, {"updates", "seed", "test score", "metric", "cost", "seconds"})


def show_text(run: StoredRun) -> str:
    """All that is known of a run, its curve and decisions in brief; with details, see `Store`."""
    facts = {
        "method": run.method,
        "seed": run.seed,
        "updates": f"{run.updates} are the budget of a single run",
        "status": run.status,
        "reason": run.reason,
        "test score": _shown(run.test_score, ".4f"),
        "valid score": _shown(run.valid_score, ".4f"),
        "metric": _metric(run),
        "cost": f"{_shown(_cost(run), '.2f')} budgets, {_shown(run.flops, '.4g')} FLOPs",
        "seconds": _shown(run.seconds, ".1f"),
    }
    known = {name: value for name, value in facts.items() if value is not None}
    sections = [
        f"{run.key}  {run.task}\n{_named(known)}",
        f"config\n{_named(run.config)}",
        f"versions\n{_named(run.versions)}",
    ]
    if run.trials:
        sections.append(f"trials\n{_indented(_trials_text(run.trials))}")
    if run.curve is not None and run.curve.flops:
        sections.append(f"curve\n{_indented(_curve_text(run))}")
    if run.decisions:
        sections.append(f"decisions\n{_indented(_decisions_text(run))}")
    return "\n\n".join(sections)


def export(runs: Sequence[StoredRun], path: str | Path, what: str = "runs") -> None:
    """Writes runs as a table, atomically; the ending of the name says in which format.

    Each row begins with key, task, method, seed and updates (the budget) of its run. A dictionary
    becomes a column for each name in it, such as `setting_learning_rate` and
    `action_learning_rate`; other nested values (config, versions and probabilities) are text in
    JSON, except in a .json file. What a row lacks is empty: null in JSON. A key may consist of
    decimal digits alone, so a reader of .csv must be told that it is text.

    Args:
        runs: with the details that are to be written.
        path: of a file that ends in .csv, .json (a list of objects) or .parquet.
        what: runs, one row each; or curves, trials or decisions, one row for each point, trial or
            decision: of a population those of all trials, which `trial` tells apart. In the latter
            two, `updates_done` are the updates of that network.

    Raises:
        ValueError: if there is no such format or table, nothing to write, or the file cannot be
            written.
    """
    from rlagent.storage import write_atomically

    path = Path(path)
    ending = path.suffix.lower()
    if ending not in _FORMATS:
        raise ValueError(f"cannot export to {path}: its name must end in {_choices(_FORMATS)}")
    if what not in _TABLES:
        raise ValueError(f"cannot export {what!r}; choices: {_choices(_TABLES)}")
    rows = [row for run in runs for row in _TABLES[what](run)]
    if not rows:
        found = f"none of {len(runs)} runs has {what}" if runs else "there are no runs"
        raise ValueError(f"nothing to export: {found}")
    content = _FORMATS[ending](rows)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}") from error


def _run_rows(run: StoredRun) -> Iterator[Row]:
    names = [field.name for field in fields(StoredRun) if field.name not in DETAILS]
    row = {name: getattr(run, name) for name in names}
    yield row | {"cost": _cost(run)}


def _curve_rows(run: StoredRun) -> Iterator[Row]:
    if run.curve is None:
        return
    pairs = zip(run.curve.flops, run.curve.valid_score, strict=True)
    for point, (flops, score) in enumerate(pairs):
        cost = _share(flops, run.budget_flops)
        yield _identity(run) | {"point": point, "flops": flops, "cost": cost, "valid_score": score}


def _trial_rows(run: StoredRun) -> Iterator[Row]:
    for place, trial in enumerate(run.trials):
        yield _identity(run) | {
            "trial": place,
            "rung": trial.rung,
            "schedule": trial.schedule,
            **_prefixed("setting", trial.settings),
            "valid_score": trial.valid_score,
            "test_score": trial.test_score,
            "updates_done": trial.updates,
            "flops": trial.flops,
            "cost": _share(trial.flops, run.budget_flops),
            "stopped": trial.stopped,
        }


def _decision_rows(run: StoredRun) -> Iterator[Row]:
    for record in run.decisions:
        row = _identity(run)
        for name, value in record.items():
            if name in ("settings", "action"):
                row |= _prefixed(name.removesuffix("s"), value)
            else:
                row["updates_done" if name == "updates" else name] = value
        yield row


def _identity(run: StoredRun) -> Row:
    return {name: getattr(run, name) for name in IDENTITY}


def _prefixed(prefix: str, values: Mapping[str, Any]) -> Row:
    return {f"{prefix}_{name}": value for name, value in values.items()}


def _columns(rows: Sequence[Row]) -> list[str]:
    """The names of all columns, in the order in which rows first have them."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _cell(value: Any) -> Any:
    """A value as a table without nesting holds it."""
    return json.dumps(value, allow_nan=False) if isinstance(value, dict | list) else value


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(rows), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _json(rows: Sequence[Row]) -> bytes:
    names = _columns(rows)
    complete = [{name: row.get(name) for name in names} for row in rows]
    return (json.dumps(complete, indent=1, allow_nan=False) + "\n").encode()


def _parquet(rows: Sequence[Row]) -> bytes:
    import pandas as pd

    columns = {name: [_cell(row.get(name)) for row in rows] for name in _columns(rows)}
    file = io.BytesIO()
    try:
        pd.DataFrame(columns).to_parquet(file, engine="pyarrow", index=False)
    except ImportError as error:
        raise ValueError("writing .parquet needs pyarrow: pip install 'rlagent[bench]'") from error
    return file.getvalue()


_TABLES: dict[str, Callable[[StoredRun], Iterator[Row]]] = {
    "runs": _run_rows,
    "curves": _curve_rows,
    "trials": _trial_rows,
    "decisions": _decision_rows,
}
_FORMATS: dict[str, Callable[[Sequence[Row]], bytes]] = {
    ".csv": _csv,
    ".json": _json,
    ".parquet": _parquet,
}


def _choices(names: Mapping[str, object]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}"


def _share(flops: float | None, budget: float | None) -> float | None:
    return None if flops is None or not budget else flops / budget


def _cost(run: StoredRun) -> float | None:
    """What was billed, in budgets of a single run."""
    return _share(run.flops, run.budget_flops)


def _metric(run: StoredRun) -> str:
    if run.metric_name is None or run.test_metric is None:
        return UNKNOWN
    return f"{run.metric_name} {run.test_metric:.4f}"


def _shown(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)


def _named(values: Mapping[str, Any]) -> str:
    """A line for each name, indented, the values below each other."""
    width = max(map(len, values), default=0)
    texts = {name: one if isinstance(one, str) else _inline(one) for name, one in values.items()}
    return "\n".join(f"  {name.ljust(width)}  {text}" for name, text in texts.items())


def _inline(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _trials_text(trials: Sequence[Trial]) -> str:
    columns = {
        "trial": [str(place) for place in range(len(trials))],
        "valid score": [_shown(trial.valid_score, ".4f") for trial in trials],
        "test score": [_shown(trial.test_score, ".4f") for trial in trials],
        "updates": [str(trial.updates) for trial in trials],
        "rung": [trial.rung for trial in trials],
        "schedule": [trial.schedule for trial in trials],
        "end": ["stopped" if trial.stopped else "whole" for trial in trials],
        "settings": [_settings_text(trial.settings) for trial in trials],
    }
    return _aligned(columns, {"trial", "valid score", "test score", "updates"})


def _settings_text(settings: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {one:.3g}" for name, one in settings.items())


def _curve_text(run: StoredRun) -> str:
    """The best so far at every quarter of the points."""
    assert run.curve is not None
    last = len(run.curve.flops) - 1
    places = sorted({round(last * quarter / 4) for quarter in range(5)})
    columns = {
        "point": [str(place) for place in places],
        "cost": [_shown(_share(run.curve.flops[one], run.budget_flops), ".2f") for one in places],
        "valid score": [_shown(run.curve.valid_score[one], ".4f") for one in places],
    }
    return _aligned(columns, set(columns))


def _decisions_text(run: StoredRun) -> str:
    """What each decision changed; neighbours that changed nothing share a line."""
    lines: list[tuple[str, str, str, str, str]] = []
    for (trial, held), group in groupby(run.decisions, key=_trial_and_hold):
        records = list(group)
        for part in [records] if held else [[record] for record in records]:
            first, last = part[0], part[-1]
            name = str(first["decision"]) + (f"-{last['decision']}" if len(part) > 1 else "")
            words = ", ".join(filter(None, [_copy_in_words(last), actions_in_words(last)]))
            loss = number(last["valid_loss"])
            lines.append((str(trial), name, str(last["rung"]), loss, words))
    names = ("trial", "decision", "rung", "valid loss", "change")
    columns = {name: [line[place] for line in lines] for place, name in enumerate(names)}
    if run.decisions[0].get("trial") is None:
        del columns["trial"]
    return _aligned(columns, {"trial", "decision", "valid loss"})


def _trial_and_hold(record: Record) -> tuple[int | None, bool]:
    """Which network of a population decided, and whether nothing was changed."""
    return record.get("trial"), not (_copy_in_words(record) or actions_in_words(record))


def _copy_in_words(record: Record) -> str:
    """Whose weights a member of a population went on from, and what with; nothing if its own."""
    if record.get("copied") is None:
        return ""
    return f"copies trial {record['copied']}: {_settings_text(record['settings'])}"


def _aligned(columns: Mapping[str, Sequence[str]], right: set[str]) -> str:
    """Columns of text as a table, some of them to the right."""
    from rlagent.apply.report import table

    padded = {}
    for name, cells in columns.items():
        width = max(map(len, [name, *cells])) if name in right else 0
        padded[name.rjust(width)] = [cell.rjust(width) for cell in cells]
    rows = zip(*padded.values(), strict=True)
    return table([dict(zip(padded, cells, strict=True)) for cells in rows])
