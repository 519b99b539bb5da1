"""One decision of ONE run, as a pure function: settings, a slice of training, what it tells."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from rlagent_envs import knobs, observation, reward, telemetry
from rlagent_envs.books import (
    NO_SCORE,
    SIGNS,
    Books,
    Entries,
    Memory,
    RungFacts,
    TaskFacts,
    update_flops,
)
from rlagent_envs.models import ShapeClass
from rlagent_envs.observation import Signals
from rlagent_envs.settings import Settings
from rlagent_envs.training.bank import Bank
from rlagent_envs.training.evaluation import Judgement, evaluate
from rlagent_envs.training.loop import Live, Slice, Trace, train

EVALUATION_SHARE = 0.14  # of a slice's FLOPs, at the most: a costlier evaluation lengthens it


class Run(struct.PyTreeNode):
    """A training run between two decisions."""

    live: Live
    books: Books


class Measured(struct.PyTreeNode):
    """What a slice of training tells of itself."""

    trace: Trace
    judged: Judgement
    updates: Any  # [], int32
    spent: Any  # [], of the budget, by this slice
    settings: Any  # [settings], that were in force


class Report(NamedTuple):
    """What is told of a decision besides the observation: one vector, so that reading is cheap."""

    reward: Any
    terminated: Any  # 1: the budget is spent
    diverged: Any  # 1: the run has to go back to its snapshot
    improved: Any  # 1: these are the best weights so far
    valid_loss: Any  # plain loss on the fixed subset, or what a robust run is judged by
    valid_hits: Any  # share of right answers on it; 0 for regression
    train_loss: Any  # mean plain batch loss of the slice
    updates: Any  # made in this slice
    spent: Any  # of the budget, in updates of the base rung
    best_score: Any
    robust_loss: Any  # on attacked rows of the subset; 0 where that is not asked for
    robust_hits: Any


class Outcome(struct.PyTreeNode):
    """The result of a decision."""

    observation: Any  # [features]
    report: Any  # [numbers], float32, in the order of Report


def advance(shape: ShapeClass, bank: Bank, run: Run, action: jax.Array) -> tuple[Live, Measured]:
    """Trains for a slice of the budget and evaluates: the part of a step that knows the shapes.

    Args:
        shape: what the program is specialised to.
        bank: the data.
        run: the run; its weights are of the rung of `shape`. An edit of the architecture, or a
            return to the best weights, has been made before (see episode.py).
        action: a level for each knob, `[knobs]`, int32.
    """
    books = run.books.entries()
    settings = knobs.apply(books.settings, action)
    updates, cost, evaluation = _plan(books, settings)
    plan = Slice(
        key=books.key,
        first=books.updates,
        updates=updates,
        schedule=books.schedule,
        progress=books.spent / books.budget,
        progress_each=cost / books.budget,
    )
    live, trace = train(
        shape,
        bank,
        books.slot,
        run.live,
        Settings.unpack(settings),
        plan,
        _look,
        telemetry.EVERY,
        SIGNS,
    )
    activation = Settings.unpack(settings).activation
    epsilon = TaskFacts(*books.task).robust_epsilon
    judged = evaluate(shape, bank, books.slot, live, books.pieces, activation, epsilon)
    spent = updates.astype(jnp.float32) * cost + evaluation
    return live, Measured(trace, judged, updates, spent, settings)


def slice_updates(kept: Books, action: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first update and the number of updates of the slice that `advance` would train, `[]`."""
    books = kept.entries()
    updates, _, _ = _plan(books, knobs.apply(books.settings, action))
    return books.updates, updates


def slice_cost(kept: Books, action: jax.Array) -> jax.Array:
    """What the slice that `advance` would train costs, evaluation included, in base updates."""
    books = kept.entries()
    updates, cost, evaluation = _plan(books, knobs.apply(books.settings, action))
    return updates.astype(jnp.float32) * cost + evaluation


def account(kept: Books, measured: Measured, action: jax.Array) -> tuple[Books, Outcome]:
    """Judges a slice and observes it: the part of a step that is one program for all shapes.

    If the outcome says that the run diverged, the books are those of the snapshot already (but for
    counters and budget), and the caller has to put the snapshot's weights in place.
    """
    books = kept.entries()
    task = TaskFacts(*books.task)
    # Under attack any loss may be large: rows as they are tell whether weights have exploded.
    judged = measured.judged
    scored = reward.score(judged.loss, task.baseline_loss) < NO_SCORE
    diverged = ~(scored & (judged.clean_loss <= task.loss_ceiling))
    memory = _remember(books, measured, task.baseline_loss, diverged)
    # Not by `best_score`, which begins at the score of a constant: a trained network that is worse
    # than that is still to be kept in the place of an untrained one.
    improved = ~diverged & (memory.valid_score < books.safe_score)
    settings = jnp.where(diverged, books.safe_settings, measured.settings)
    rung = jnp.where(diverged, books.safe_rung, books.rung)
    after = books._replace(
        settings=settings,
        memory=memory,
        updates=books.updates + measured.updates,
        decisions=books.decisions + 1,
        divergences=books.divergences + diverged.astype(jnp.int32),
        spent=books.spent + measured.spent,
        rung=rung,
        safe_settings=jnp.where(improved, settings, books.safe_settings),
        safe_rung=jnp.where(improved, rung, books.safe_rung),
        safe_score=jnp.where(improved, memory.valid_score, books.safe_score),
    )
    change = _changes(books.memory, memory, measured)
    observed = observation.observe(describe(after, action, diverged, change), books.available)
    facts = RungFacts(*rung)
    update = update_flops(facts, Settings.unpack(settings))
    least = (update + books.pieces * facts.piece_flops) / books.base_flops
    report = Report(
        reward=reward.reward(books.memory.best_score, memory.best_score, diverged, books.penalty),
        terminated=books.budget - after.spent < least,
        diverged=diverged,
        improved=improved,
        valid_loss=measured.judged.loss,
        valid_hits=measured.judged.hits,
        train_loss=_mean_loss(measured),
        updates=measured.updates,
        spent=after.spent,
        best_score=memory.best_score,
        robust_loss=measured.judged.robust_loss,
        robust_hits=measured.judged.robust_hits,
    )
    return Books.of(after), Outcome(
        observed, jnp.stack([jnp.asarray(x, jnp.float32) for x in report])
    )


def step(shape: ShapeClass, bank: Bank, run: Run, action: jax.Array) -> tuple[Run, Outcome]:
    """One decision: sets the settings, trains for a slice, evaluates, observes.

    The same as `advance` and `account` one after the other, for where one program is wanted.
    """
    live, measured = advance(shape, bank, run, action)
    books, outcome = account(run.books, measured, action)
    return Run(live, books), outcome


def _plan(books: Entries, settings: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Updates of the slice, what one costs, and what the evaluation costs, in base updates."""
    facts = RungFacts(*books.rung)
    cost = update_flops(facts, Settings.unpack(settings)) / books.base_flops
    evaluation = books.pieces * facts.piece_flops / books.base_flops
    left = books.budget - books.spent
    # Slices end at whole multiples of the share, so that roundings do not add up.
    target = books.slice * (jnp.round(books.spent / books.slice) + 1.0)
    shortest = evaluation / EVALUATION_SHARE
    share = jnp.minimum(jnp.maximum(target - books.spent, shortest), left)
    # What would be left for a slice of its own, but too short for its evaluation, goes to this one.
    share = jnp.where(left - share < shortest, left, share)
    updates = jnp.floor((share - evaluation) / cost + 1e-3)
    # Rounded down, a slice of few updates would leave more than its share to the evaluation.
    fewest = jnp.ceil((shortest - evaluation) / cost)
    affordable = jnp.floor((left - evaluation) / cost + 1e-3)
    updates = jnp.maximum(jnp.maximum(updates, jnp.minimum(fewest, affordable)), 1.0)
    return updates.astype(jnp.int32), cost, evaluation


def _look(params: Any, updated: Any, gradients: Any, first: Any, second: Any) -> jax.Array:
    """The telemetry of an update as a vector `[SIGNS]`."""
    return jnp.stack(telemetry.measure(params, updated, gradients, first, second))


def _mean_loss(measured: Measured) -> jax.Array:
    return (measured.trace.early_loss + measured.trace.late_loss) / measured.updates


def _remember(
    books: Entries, measured: Measured, baseline: jax.Array, diverged: jax.Array
) -> Memory:
    """The memory after a slice; after a divergence that of the snapshot's weights."""
    old, trace = books.memory, measured.trace
    begun = books.decisions > 0
    train_loss = _mean_loss(measured)
    train_score = reward.score(train_loss, baseline)
    score = reward.score(measured.judged.loss, baseline)
    best = jnp.minimum(old.best_score, score)
    signs = trace.telemetry / jnp.maximum(trace.looks, 1.0)
    new = Memory(
        train_loss=train_loss,
        train_slow=jnp.where(begun, 0.8 * old.train_slow + 0.2 * train_score, train_score),
        valid_score=score,
        valid_slow=jnp.where(begun, 0.8 * old.valid_slow + 0.2 * score, score),
        best_score=best,
        recent=jnp.append(old.recent[1:], score),
        since_best=jnp.where(best < old.best_score, 0.0, old.since_best + 1.0),
        telemetry=signs,
        gradient_norm=signs[3],
    )
    kept = old._replace(
        valid_score=jnp.where(jnp.isfinite(books.safe_score), books.safe_score, old.best_score),
        since_best=jnp.zeros((), jnp.float32),
        telemetry=signs,
    )
    return jax.tree.map(lambda a, b: jnp.where(diverged, a, b), kept, new)


class _Changes(NamedTuple):
    train_change: Any
    train_slope: Any
    valid_change: Any
    gradient_change: Any


def _changes(old: Memory, new: Memory, measured: Measured) -> _Changes:
    """The differences between this slice and the one before, where there was one."""
    begun = old.recent[-1] < NO_SCORE
    early = (measured.updates + 1) // 2
    late = measured.updates - early
    late_loss = measured.trace.late_loss / jnp.maximum(late, 1)
    slope = jnp.log(late_loss / (measured.trace.early_loss / early) + 1e-6)
    return _Changes(
        train_change=jnp.where(begun, jnp.log(new.train_loss / old.train_loss + 1e-6), 0.0),
        train_slope=jnp.where(late > 0, slope, 0.0),
        valid_change=jnp.where(begun, new.valid_score - old.valid_score, 0.0),
        gradient_change=jnp.where(begun, new.gradient_norm - old.gradient_norm, 0.0),
    )


def describe(books: Entries, action: jax.Array, diverged: jax.Array, change: _Changes) -> Signals:
    """The signals of a run, from which the observation is made."""
    memory, task, facts = books.memory, TaskFacts(*books.task), RungFacts(*books.rung)
    cost = update_flops(facts, Settings.unpack(books.settings)) / books.base_flops
    remaining = jnp.maximum(books.budget - books.spent, 0.0)
    train_score = reward.score(memory.train_loss, task.baseline_loss)
    loss = (jnp.exp(memory.valid_score) - reward.FLOOR) * task.baseline_loss
    little = 1e-3 * task.baseline_loss
    return Signals(
        progress=books.spent / books.budget,
        decisions_left=remaining / books.slice,
        slice_updates=books.slice / cost,
        epochs_done=books.updates * task.batch_size / task.train_rows,
        epochs_left=remaining / cost * task.batch_size / task.train_rows,
        regression=task.regression,
        train_score=train_score,
        train_change=change.train_change,
        train_slope=change.train_slope,
        train_trend=train_score - memory.train_slow,
        valid_score=memory.valid_score,
        best_score=memory.best_score,
        valid_change=change.valid_change,
        valid_trend=memory.valid_score - memory.valid_slow,
        valid_gap=jnp.log((loss + little) / (memory.train_loss + little)),
        rank=jnp.mean((memory.recent < memory.valid_score).astype(jnp.float32)),
        since_best=memory.since_best,
        telemetry=memory.telemetry,
        gradient_change=change.gradient_change,
        settings=books.settings,
        robust_epsilon=task.robust_epsilon,
        depth=facts.depth,
        width=facts.width,
        cost=cost,
        params_per_row=facts.weights / task.train_rows,
        diverged=diverged,
        divergences=books.divergences.astype(jnp.float32),
        action=action,
    )


def first_observation(books: Books) -> jax.Array:
    """The observation before the first decision: no loss is known, the score is the baseline's."""
    zero = jnp.zeros((), jnp.float32)
    entries = books.entries()
    signals = describe(entries, jnp.asarray(knobs.HOLD), zero, _Changes(zero, zero, zero, zero))
    return observation.observe(signals, entries.available)
