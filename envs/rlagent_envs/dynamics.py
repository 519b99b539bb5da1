"""One decision of ONE run, as a pure function: settings, a slice of training, what it tells."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rlagent_envs import knobs, observation, reward, telemetry
from rlagent_envs.models import FAMILIES, ShapeClass
from rlagent_envs.observation import Signals
from rlagent_envs.training.bank import Bank
from rlagent_envs.training.loop import Live, Slice, Trace, evaluate, train
from rlagent_envs.training.settings import Settings

SIGNS = len(telemetry.Telemetry._fields)
RECENT = 8  # scores that the running rank looks at
NO_SCORE = 10.0  # stands for a score that there was not: worse than any
EVALUATION_SHARE = 0.14  # of a slice's FLOPs, at the most: a costlier evaluation lengthens it


class RungFacts(NamedTuple):
    """The numbers of a rung that the budget and the observation need."""

    depth: Any
    width: Any
    update_flops: Any  # floating-point operations of an update
    piece_flops: Any  # floating-point operations of evaluating a piece of validation rows
    weights: Any  # about how many the network has

    @classmethod
    @cache
    def of(cls, shape: ShapeClass) -> RungFacts:
        """The facts of a shape class."""
        forward, both = FAMILIES[shape.family].flops(shape)
        batch = shape.batch_size
        return cls(shape.rung.depth, shape.rung.width, both * batch, forward * batch, forward / 2)

    def pack(self) -> np.ndarray:
        """The vector `[facts]`, float32."""
        return np.array(self, np.float32)


class TaskFacts(NamedTuple):
    """The numbers of a task that the books need."""

    batch_size: Any
    train_rows: Any
    regression: Any  # 1 for regression, 0 for classification
    baseline_loss: Any  # L0, of the best constant predictor
    loss_ceiling: Any  # a validation loss above it counts as divergence

    def pack(self) -> np.ndarray:
        """The vector `[facts]`, float32."""
        return np.array(self, np.float32)


class Memory(NamedTuple):
    """What a run remembers of earlier slices, for the observation."""

    train_loss: Any  # [], mean of the last slice
    train_slow: Any  # [], running mean of its score
    valid_score: Any  # []
    valid_slow: Any  # [], running mean
    best_score: Any  # []
    recent: Any  # [RECENT], the last scores, oldest first; before there were any, NO_SCORE
    since_best: Any  # [], decisions
    telemetry: Any  # [SIGNS]
    gradient_norm: Any  # [], log10, of the slice before


class Entries(NamedTuple):
    """What stands in the books; float32 if not said."""

    key: Any  # [2], uint32: never changes: update t draws from (key, t), see draws.py
    slot: Any  # [], int32: which task of the bank
    updates: Any  # [], int32
    decisions: Any  # [], int32
    divergences: Any  # [], int32
    pieces: Any  # [], int32: pieces of the validation rows that an evaluation looks at
    settings: Any  # [settings], in the order of `Settings`
    memory: Memory
    budget: Any  # [], in updates of the base rung
    spent: Any  # [], the same, evaluation included
    slice: Any  # [], the same: the share of a decision
    base_flops: Any  # [], of an update of the base rung
    cosine: Any  # [], 1: the learning rate decays to zero over the budget; 0: it does not
    penalty: Any  # [], what a divergence costs
    available: Any  # [groups], 1 where a group of features is there
    task: Any  # [facts], of TaskFacts
    rung: Any  # [facts], of RungFacts
    # The best snapshot itself stays outside: it may be of another rung. What has to be known of
    # it, should the run go back to it, is here.
    safe_settings: Any  # [settings]
    safe_rung: Any  # [facts], of RungFacts


_COUNTS = Entries._fields[1:6]
_SIZES = {name: () for name in Entries._fields[6:] + Memory._fields if name != "memory"} | {
    "settings": (len(Settings._fields),),
    "recent": (RECENT,),
    "telemetry": (SIGNS,),
    "available": (len(observation.GROUPS),),
    "task": (len(TaskFacts._fields),),
    "rung": (len(RungFacts._fields),),
    "safe_settings": (len(Settings._fields),),
    "safe_rung": (len(RungFacts._fields),),
}
_ENDS = dict(zip(_SIZES, np.cumsum([math.prod(s) for s in _SIZES.values()]).tolist(), strict=True))


class Books(struct.PyTreeNode):
    """All of a run but its weights, in three arrays.

    Each array that goes in or out of a program costs some microseconds, and one by one the entries
    would take as long as the training of a small network.

    The entries read as attributes; `changed` gives books with some of them changed. Outside of a
    compiled program both work on NumPy arrays.
    """

    key: Any  # [2], uint32
    counts: Any  # [counts], int32
    numbers: Any  # [numbers], float32

    @classmethod
    def of(cls, entries: Entries) -> Books:
        """The books with these entries."""
        named = entries._asdict() | entries.memory._asdict()
        xp = jnp if _traced(named) else np
        numbers = [xp.ravel(xp.asarray(named[name], np.float32)) for name in _SIZES]
        counts = [xp.asarray(named[name], np.int32) for name in _COUNTS]
        return cls(entries.key, xp.stack(counts), xp.concatenate(numbers))

    def entries(self) -> Entries:
        """All entries."""
        counts, numbers = _readable(self.counts), _readable(self.numbers)
        named = {name: _number(numbers, name) for name in _SIZES}
        named |= {name: counts[i] for i, name in enumerate(_COUNTS)}
        memory = Memory(**{name: named.pop(name) for name in Memory._fields})
        return Entries(key=self.key, memory=memory, **named)

    def __getattr__(self, name: str) -> Any:
        """An entry."""
        if name in _SIZES and name in Entries._fields:
            return _number(_readable(self.numbers), name)
        if name in _COUNTS:
            return _readable(self.counts)[_COUNTS.index(name)]
        if name == "memory":
            return self.entries().memory
        raise AttributeError(f"the books have no entry {name!r}")

    def changed(self, **changes: Any) -> Books:
        """The books with other values for some entries."""
        return Books.of(self.entries()._replace(**changes))


def _readable(array: Any) -> Any:
    """The array as it is inside a compiled program, else as a NumPy array."""
    return array if isinstance(array, jax.core.Tracer) else np.asarray(array)


def _number(numbers: Any, name: str) -> Any:
    size, end = _SIZES[name], _ENDS[name]
    return numbers[end - size[0] : end] if size else numbers[end - 1]


def _traced(values: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


class Run(struct.PyTreeNode):
    """A training run between two decisions."""

    live: Live
    books: Books


class Measured(struct.PyTreeNode):
    """What a slice of training tells of itself."""

    trace: Trace
    valid_loss: Any  # []
    valid_hits: Any  # []
    updates: Any  # [], int32
    spent: Any  # [], of the budget, by this slice
    settings: Any  # [settings], that were in force


class Report(NamedTuple):
    """What is told of a decision besides the observation: one vector, so that reading is cheap."""

    reward: Any
    terminated: Any  # 1: the budget is spent
    diverged: Any  # 1: the run has to go back to its snapshot
    improved: Any  # 1: these are the best weights so far
    valid_loss: Any  # plain loss on the fixed subset
    valid_hits: Any  # share of right answers on it; 0 for regression
    train_loss: Any  # mean plain batch loss of the slice
    updates: Any  # made in this slice
    spent: Any  # of the budget, in updates of the base rung
    best_score: Any


class Outcome(struct.PyTreeNode):
    """The result of a decision."""

    observation: Any  # [features]
    report: Any  # [numbers], float32, in the order of Report


def fresh_memory(baseline_loss: float) -> Memory:
    """The memory before the first slice; the score is that of the best constant predictor."""
    start = np.float32(np.log(1.0 + reward.FLOOR))
    zero = np.float32(0.0)
    return Memory(
        train_loss=np.float32(baseline_loss),
        train_slow=start,
        valid_score=start,
        valid_slow=start,
        best_score=start,
        recent=np.full(RECENT, NO_SCORE, np.float32),
        since_best=zero,
        telemetry=np.zeros(SIGNS, np.float32),
        gradient_norm=zero,
    )


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
    updates, cost, evaluation = _plan(books)
    settings = knobs.apply(books.settings, action)
    plan = Slice(
        key=books.key,
        first=books.updates,
        updates=updates,
        cosine=books.cosine,
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
    loss, hits = evaluate(shape, bank, books.slot, live, books.pieces)
    spent = updates.astype(jnp.float32) * cost + evaluation
    return live, Measured(trace, loss, hits, updates, spent, settings)


def account(kept: Books, measured: Measured, action: jax.Array) -> tuple[Books, Outcome]:
    """Judges a slice and observes it: the part of a step that is one program for all shapes.

    If the outcome says that the run diverged, the books are those of the snapshot already (but for
    counters and budget), and the caller has to put the snapshot's weights in place.
    """
    books = kept.entries()
    task = TaskFacts(*books.task)
    diverged = ~(measured.valid_loss <= task.loss_ceiling)
    memory = _remember(books, measured, task.baseline_loss, diverged)
    improved = ~diverged & (memory.best_score < books.memory.best_score)
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
    )
    change = _changes(books.memory, memory, measured)
    observed = observation.observe(describe(after, action, diverged, change), books.available)
    facts = RungFacts(*rung)
    least = (facts.update_flops + books.pieces * facts.piece_flops) / books.base_flops
    report = Report(
        reward=reward.reward(books.memory.best_score, memory.best_score, diverged, books.penalty),
        terminated=books.budget - after.spent < least,
        diverged=diverged,
        improved=improved,
        valid_loss=measured.valid_loss,
        valid_hits=measured.valid_hits,
        train_loss=_mean_loss(measured),
        updates=measured.updates,
        spent=after.spent,
        best_score=memory.best_score,
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


def _plan(books: Entries) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Updates of the slice, what one costs, and what the evaluation costs, in base updates."""
    facts = RungFacts(*books.rung)
    cost = facts.update_flops / books.base_flops
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
    score = reward.score(measured.valid_loss, baseline)
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
        valid_score=old.best_score, since_best=jnp.zeros((), jnp.float32), telemetry=signs
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
    cost = facts.update_flops / books.base_flops
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
