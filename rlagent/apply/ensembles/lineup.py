"""The networks of a run: on which rows each is trained, from which seed, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from rlagent.apply import driver
from rlagent.apply.driver import Driven, Member, Moment
from rlagent.apply.ensembles.boosting import add_up, offset_bank
from rlagent.apply.ensembles.folds import fold_tasks
from rlagent.apply.ensembles.kinds import BAGGING, BOOSTING, FOLDS, SNAPSHOT
from rlagent.controller.deciding import Decide, decide_by, hold
from rlagent_envs.training.bank import Bank
from rlagent_envs.training.feed import Feed, bank_of, data_of

if TYPE_CHECKING:
    from rlagent.apply.jobs import Job


def line_up(job: Job) -> list[Member]:
    """The networks that a run trains.

    None or a snapshot ensemble: one, from the seed of the run. Seeds: one from each of as many
    seeds. Bagging: these, each on rows drawn with replacement. Boosting: these, one after another,
    each on what those before leave over (see `train`). Folds: these, one for each fold.
    """
    task, plan = job.task, job.plan
    kind = plan.several
    if kind == FOLDS:
        tasks, on_host = fold_tasks(task, plan.members, plan.seed)
        bank: Bank = jax.device_put(on_host)
        return [
            _member(job, number, bank, task=own, slot=number) for number, own in enumerate(tasks)
        ]
    data = data_of(task)
    if kind is None or kind == SNAPSHOT:
        snapshots = plan.members if kind == SNAPSHOT else 0
        return [Member(plan, task, data, _decider(job, plan.seed), snapshots=snapshots)]
    return [_member(job, number, _own_data(job, data, number)) for number in range(plan.members)]


def begin(job: Job, members: list[Member]) -> Driven:
    """A run before its first decision: of boosting, the first stage alone has begun."""
    driven = Driven(Moment((), []))
    driver.enter(driven, members[:1] if job.plan.several == BOOSTING else members)
    return driven


def train(driven: Driven, job: Job, members: list[Member], tell: Callable[[Any], None]) -> bool:
    """Trains the networks of a run, from where it stands.

    Returns:
        Whether the budgets were spent; False if the deadline came first.
    """
    if job.plan.several != BOOSTING:
        return driver.drive(driven, members, job.plan, job.folder, tell)
    first = sum(one.ended for one in driven.now.networks)
    for number in range(first, len(members)):
        ended = driven.now.networks[:number]
        before = add_up([driver.best_model(job.task, one.episode) for one in ended], job.task)
        bank = offset_bank(bank_of(members[number].data), before, job.task)
        members[number] = replace(members[number], data=bank)
        driver.enter(driven, members[: number + 1])
        if not driver.drive(driven, members, job.plan, job.folder, tell):
            return False
    return True


def member_seed(seed: int, number: int) -> int:
    """The seed of a member, counted from 0: the first has that of the run, no other is near it."""
    if number == 0:
        return seed
    return int(np.random.SeedSequence([seed, 6, number]).generate_state(1)[0])


def bootstrap(rows: int, seed: int) -> np.ndarray:
    """As many row numbers as there are rows, drawn with replacement, `[rows]`, int32."""
    return np.random.default_rng([seed, 7]).integers(rows, size=rows, dtype=np.int32)


def _member(job: Job, number: int, data: Bank | Feed, **changes: Any) -> Member:
    seed = member_seed(job.plan.seed, number)
    plan = replace(job.plan, seed=seed)
    plain = Member(plan, job.task, data, _decider(job, seed), number=number + 1)
    return replace(plain, **changes)


def _own_data(job: Job, data: Bank | Feed, number: int) -> Bank | Feed:
    """The data of a member; the rows themselves are shared by all."""
    if isinstance(data, Feed):  # each reads ahead for itself
        return Feed(job.task) if number else data
    if job.plan.several == BAGGING:
        drawn = bootstrap(len(job.task.train.x), member_seed(job.plan.seed, number))
        return data.replace(picks=jax.device_put(drawn[None]))
    if job.plan.several == BOOSTING:
        return offset_bank(data, add_up([], job.task), job.task)
    return data


def _decider(job: Job, seed: int) -> Decide:
    return hold if job.controller is None else decide_by(job.controller, seed)
