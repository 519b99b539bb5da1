"""What is kept of one cell of an experiment: a method on a task, with a seed and a budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# A decision as `history.jsonl` of a run folder has it; see rlagent.apply.driver.
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
    decisions: list[Record] = field(default_factory=list)  # of methods that train one network


def to_plain(run: StoredRun) -> dict[str, Any]:
    """What JSON can hold, sharing the lists of the run: `dataclasses.asdict` copies all of them."""
    curve = None if run.curve is None else vars(run.curve)
    return vars(run) | {"trials": [vars(trial) for trial in run.trials], "curve": curve}


def from_plain(plain: dict[str, Any]) -> StoredRun:
    """What `to_plain` gave."""
    curve = plain["curve"]
    return StoredRun(
        **plain
        | {
            "trials": [Trial(**trial) for trial in plain["trials"]],
            "curve": None if curve is None else Curve(**curve),
        }
    )
