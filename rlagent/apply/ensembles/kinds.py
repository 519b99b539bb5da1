"""Which ensembles there are, and what a run of several networks may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rlagent_envs.tasks.options import check_whole

if TYPE_CHECKING:
    from rlagent.apply.request import Request
    from rlagent_envs.tasks.task import Task

SNAPSHOT, BAGGING, BOOSTING, SEEDS = KINDS = ("snapshot", "bagging", "boosting", "seeds")
FOLDS = "folds"  # what a plan says in the place of a kind where it is cross-validation
DEFAULT_MEMBERS = 5
MOST_OFFSETS = 2**26  # numbers that boosting keeps of the rows to train on, several times over


def check_request(request: Request) -> None:
    """Raises ValueError, naming the option and its value, if it makes no sense by itself."""
    for name in ("members", "folds"):
        check_whole(name, getattr(request, name), least=2)
    if request.ensemble is None:
        for name in ("members", "budget_per_member"):
            if getattr(request, name):
                kinds = ", ".join(KINDS)
                raise ValueError(f"{name} is for an ensemble: name its kind too, one of {kinds}")
        return
    if request.ensemble not in KINDS:
        raise ValueError(f"unknown ensemble {request.ensemble!r}; there are: {', '.join(KINDS)}")
    if request.folds is not None:
        raise ValueError(
            f"give ensemble or folds, not both, got {request.ensemble} and {request.folds} folds"
        )
    if request.budget_per_member and request.minutes is not None:
        raise ValueError("budget_per_member multiplies updates, and the minutes stay what they are")
    if request.updates is not None and request.decisions is not None:
        updates_of_each(request, request.updates)


def several(request: Request) -> tuple[str | None, int]:
    """The kind of a run of several networks, None for a single one, and how many members it has."""
    if request.folds is not None:
        return FOLDS, int(request.folds)
    return request.ensemble, 1 if request.ensemble is None else members_of(request)


def members_of(request: Request) -> int:
    """How many members an ensemble is to have."""
    return DEFAULT_MEMBERS if request.members is None else int(request.members)


def updates_of_each(request: Request, updates: int) -> int:
    """The budget of each network that is trained.

    Args:
        request: what was asked for.
        updates: the budget that a single run would have.

    Raises:
        ValueError: if a member would not have an update for each of its decisions.
    """
    if request.ensemble is None:
        return updates  # of cross-validation, too: each fold says what a single run gives
    members = members_of(request)
    if request.ensemble == SNAPSHOT:  # one run
        return updates * members if request.budget_per_member else updates
    each = updates if request.budget_per_member else updates // members
    if each < (needed := request.decisions or 1):
        raise ValueError(
            f"members must be at most {updates // needed}, because each makes {needed} "
            f"{'decision' if needed == 1 else 'decisions'} and the budget is {updates} updates, "
            f"got {members}"
        )
    return each


def updates_in_time(request: Request, updates: int) -> int:
    """The budget of each network where all of them together have time for some updates."""
    if request.folds is not None:
        return max(1, updates // request.folds)
    return updates_of_each(request, updates)


def check_task(request: Request, task: Task, decisions: int) -> None:
    """Raises ValueError if the networks of a run would lack decisions or rows."""
    in_memory = FOLDS if request.folds is not None else request.ensemble
    if task.streamed is not None and in_memory in (FOLDS, BAGGING, BOOSTING):
        raise ValueError(
            f"{in_memory} needs data that fit into memory, but those of {task.name} are streamed; "
            f"there are for them: {SNAPSHOT}, {SEEDS}"
        )
    if request.minutes is None:
        check_members(request, decisions)
    if request.folds is not None:
        _check_folds(request.folds, task)
    if request.ensemble == BOOSTING:
        _check_offsets(task)


def check_attacked(request: Request, told: str) -> None:
    """Raises ValueError if stages of boosting would be attacked; `told` begins the sentence."""
    if request.ensemble == BOOSTING:
        raise ValueError(
            f"{told} no meaning for boosting, of which a stage would be attacked alone, without "
            f"those before it; there are for attacks: {SNAPSHOT}, {BAGGING}, {SEEDS}"
        )


def notes_on(several: str | None, task: Task) -> list[str]:
    """What a user has to know of the networks of a run before it begins.

    Args:
        several: what they are for, as a plan says it.
        task: the data of the run.
    """
    if several != FOLDS or task.divided_by != "times of users":
        return []
    return [
        "ratings are dealt into folds without regard to their times: a fold may be older than "
        "what is trained on"
    ]


def check_members(request: Request, decisions: int) -> None:
    """Raises ValueError if a run makes fewer decisions than it is to have snapshots."""
    if request.ensemble == SNAPSHOT and members_of(request) > decisions:
        raise ValueError(
            f"members of a snapshot ensemble must be at most the number of decisions, {decisions}, "
            f"got {members_of(request)}"
        )


def _check_folds(folds: int, task: Task) -> None:
    """Raises ValueError if a fold, or a class in it, would have no row, or know the answers."""
    from rlagent_envs.tasks.window_input import WindowInput

    inputs = None if task.preprocessing is None else task.preprocessing.inputs
    if isinstance(inputs, WindowInput):
        raise ValueError(f"folds has no meaning for {task.name}, whose rows are ordered by time")
    if task.divided_by == "times":
        raise ValueError(
            f"folds has no meaning for {task.name}, whose rows are divided by time: a fold would "
            f"validate on rows older than those trained on"
        )
    if task.divided_by == "groups":
        raise ValueError(
            f"folds has no meaning for {task.name}, whose rows are divided by groups: folds cannot "
            f"keep the rows of a group together"
        )
    if task.form == "tokens" and task.target_shape:
        raise ValueError(
            f"folds has no meaning for {task.name}: its windows overlap, so that a fold would "
            f"validate on characters that it trains on"
        )
    if task.form == "choice":
        raise ValueError(
            f"folds has no meaning for {task.name}: what a user took stands in several rows, so "
            f"that a fold would validate on what it trains on"
        )
    rows = len(task.train.x) + len(task.valid.x)
    if folds > rows:
        raise ValueError(
            f"folds must be at most the number of rows to train and validate on, {rows}, "
            f"got {folds}"
        )
    if task.kind == "classification" and not task.target_shape:
        _, counts = np.unique(np.concatenate([task.train.y, task.valid.y]), return_counts=True)
        if folds > counts.min():
            raise ValueError(
                f"folds must be at most the number of rows of the smallest class, {counts.min()}, "
                f"got {folds}"
            )


def _check_offsets(task: Task) -> None:
    """Raises ValueError if what stages say of all targets to train on would not fit into memory."""
    count = task.train.y.size * task.outputs
    if count > MOST_OFFSETS:
        raise ValueError(
            f"boosting keeps what networks say of every target to train on, {count} numbers for "
            f"{task.name}, and there is room for {MOST_OFFSETS}"
        )
