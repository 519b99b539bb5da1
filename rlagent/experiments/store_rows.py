"""Runs as rows of a store, and the conditions by which they are found."""

from __future__ import annotations

import json
import math
import operator
import re
import zlib
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rlagent.experiments.stored_run import Curve, Packed, StoredRun, Trial, to_json, unpack

STATUSES = ("finished", "failed")
COLUMNS = tuple(field.name for field in fields(StoredRun))
DETAILS = ("trials", "curve", "decisions")
_REALS = ("budget_flops", "flops", "seconds", "valid_score", "test_score", "test_metric")


def conditions(**wanted: str | Iterable[Any] | None) -> tuple[str, list[str]]:
    """A WHERE clause, empty if all is wanted, and the values for its question marks."""
    clauses, values = [], []
    for name, value in wanted.items():
        if value is None:
            continue
        if name == "status":
            clauses.append("status = ?")
            values.append(_status(value))
        elif name == "key_prefix":
            clauses.append("key GLOB ?")
            values.append(f"{_prefix(str(value))}*")
        else:
            # A list in one value: SQLite limits how many question marks a query may have.
            clauses.append(f"{name} IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(list(value)))
    return (f" WHERE {' AND '.join(clauses)}" if clauses else ""), values


def _prefix(text: str) -> str:
    prefix = text.lower()
    if not re.fullmatch(r"[0-9a-f]{1,16}", prefix):
        raise ValueError(f"a key has up to 16 hexadecimal digits; {text!r} cannot begin one")
    return prefix


def _status(status: object) -> str:
    if status not in STATUSES:
        raise ValueError(f"unknown status {status!r}; choices: {', '.join(STATUSES)}")
    return str(status)


def to_row(packed: Packed) -> dict[str, Any]:
    """The values of the columns; equal runs give equal rows.

    Raises:
        ValueError: naming what cannot be stored.
    """
    run = packed.run
    if not re.fullmatch(r"[0-9a-f]{16}", run.key):
        raise ValueError(f"a key has 16 lower-case hexadecimal digits, not {run.key!r}")
    row = {name: getattr(run, name) for name in COLUMNS} | {"status": _status(run.status)}
    row |= {name: _integer(run.key, name, row[name]) for name in ("seed", "updates")}
    row |= {name: _real(run.key, name, row[name]) for name in _REALS}
    row |= {name: to_json(run.key, name, row[name]) for name in ("config", "versions")}
    row["trials"] = to_json(run.key, "trials", [_trial(trial) for trial in run.trials])
    if run.curve is not None:
        curve = {name: [float(one) for one in line] for name, line in asdict(run.curve).items()}
        row["curve"] = to_json(run.key, "curve", curve)
    row["decisions"] = packed.decisions
    return row


def _integer(key: str, name: str, value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"cannot store the run {key}: its {name} is {value}, not of 64 bits")
    return operator.index(value)


def _real(key: str, name: str, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise ValueError(f"cannot store the run {key}: its {name} is {value}, not a finite number")
    return None if value is None else float(value)


def _trial(trial: Trial) -> dict[str, Any]:
    """A trial as JSON holds it, its numbers of one kind: 1 equals 1.0, but is written otherwise."""
    reals = {name: getattr(trial, name) for name in ("valid_score", "test_score", "flops")}
    return asdict(trial) | {
        "settings": {name: float(value) for name, value in trial.settings.items()},
        **{name: None if value is None else float(value) for name, value in reals.items()},
    }


def from_row(path: Path, row: dict[str, Any]) -> StoredRun:
    """A run from the values of the columns that were read."""
    try:
        row |= {name: json.loads(row[name]) for name in ("config", "versions")}
        if "trials" in row:
            row["trials"] = [Trial(**trial) for trial in json.loads(row["trials"])]
        if row.get("curve") is not None:
            row["curve"] = Curve(**json.loads(row["curve"]))
        if "decisions" in row:
            row["decisions"] = unpack(row["decisions"])
    except (TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"the run {row['key']} in {path} is damaged: {error}") from error
    return StoredRun(**row)
