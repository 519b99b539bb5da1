"""What is kept of one cell of an experiment: a method on a task, with a seed and a budget."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

# A decision as `history.jsonl` of a run folder has it; see rlagent.history.
Record = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One network that a method trained on its way; a schedule has one, a search many."""

    settings: dict[str, float]  # at the start
    rung: str  # at the start, WIDTHxDEPTH
    schedule: str  # what the learning rate did: constant, cosine, …
    valid_score: float | None  # of its selected weights; None: it never had finite ones
    test_score: float | None  # of the same weights; recorded, never used to choose
    updates: int  # of the optimizer
    flops: float  # billed, evaluation included
    stopped: bool = False  # ended early by a pruner


@dataclass(frozen=True)
class Curve:
    """The best so far over the budget of the whole method; a point for each evaluation."""

    flops: list[float]  # billed until then, over all trials
    valid_score: list[float]  # lowest so far on validation data


@dataclass(frozen=True)
class StoredRun:
    """A finished or failed cell.

    A score is log(L / L0 + 0.05): L the loss of the weights that were selected on validation data,
    L0 that of the best constant predictor; lower is better.
    """

    key: str  # 16 hexadecimal digits: a hash of `config`
    task: str
    method: str  # as in `--methods`, for instance cosine, controller or tpe:16
    seed: int
    updates: int  # budget of a single run, in updates of the base rung; the method may cost k times
    config: dict[str, Any]  # all that the result depends on
    versions: dict[str, str]  # of rlagent, jax, … and the device
    status: str = "finished"  # or failed
    reason: str | None = None  # why it failed
    budget_flops: float | None = None  # of a single run of this task
    flops: float | None = None  # billed
    seconds: float | None = None  # of computing, on the machine that did it
    valid_score: float | None = None  # of the selected weights
    test_score: float | None = None
    metric_name: str | None = None  # accuracy or r2
    test_metric: float | None = None
    trials: list[Trial] = field(default_factory=list)
    curve: Curve | None = None
    # Of methods that train one network, and of populations: there a decision has the number of its
    # network, as `trial`, and as `copied` that of another one from whose weights it went on before.
    decisions: list[Record] = field(default_factory=list)


class Packed(NamedTuple):
    """A run on its way into a store: packed by who computed it, so that the writer need not."""

    run: StoredRun  # without its decisions, which are most of it
    decisions: bytes  # as the store holds them


def pack(run: StoredRun) -> Packed:
    """The run with its decisions packed.

    Raises:
        ValueError: if the decisions are not what JSON can hold.
    """
    text = to_json(run.key, "decisions", run.decisions)
    return Packed(replace(run, decisions=[]), zlib.compress(text.encode()))


def unpack(decisions: bytes) -> list[Record]:
    """The decisions that were packed."""
    records: list[Record] = json.loads(zlib.decompress(decisions))
    return records


def to_json(key: str, name: str, value: object) -> str:
    """A part of the run of a key, as the store holds it; ValueError if it is not JSON."""
    try:
        # Sorted, because dictionaries are equal in any order.
        return json.dumps(value, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot store the run {key}: its {name} is not JSON: {error}") from error


def to_line(packed: Packed) -> str:
    """A line of JSON for a pipe, without copying lists as `dataclasses.asdict` does."""
    run = packed.run
    curve = None if run.curve is None else vars(run.curve)
    plain = vars(run) | {"trials": [vars(trial) for trial in run.trials], "curve": curve}
    plain["decisions"] = base64.b64encode(packed.decisions).decode()
    return json.dumps(plain, allow_nan=False) + "\n"


def from_line(line: str) -> Packed:
    """What `to_line` gave."""
    plain = json.loads(line)
    curve, decisions = plain["curve"], base64.b64decode(plain["decisions"])
    parts = {
        "trials": [Trial(**trial) for trial in plain["trials"]],
        "curve": None if curve is None else Curve(**curve),
        "decisions": [],
    }
    return Packed(StoredRun(**plain | parts), decisions)
