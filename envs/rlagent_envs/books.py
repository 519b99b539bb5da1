"""What is known of a run besides its weights: its budget, counters, settings and memory."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rlagent_envs import observation, reward, telemetry
from rlagent_envs.models import FAMILIES, ShapeClass
from rlagent_envs.settings import Settings
from rlagent_envs.training.adversarial import JUDGE_STEPS, ROBUST
from rlagent_envs.training.optimizer import optimizer_of
from rlagent_envs.training.schedules import Schedule

SIGNS = len(telemetry.Telemetry._fields)
RECENT = 8  # scores that the running rank looks at
NO_SCORE = 10.0  # stands for a score that there was not: worse than any


class RungFacts(NamedTuple):
    """The numbers of a rung that the budget and the observation need."""

    depth: Any
    width: Any
    update_flops: Any  # floating-point operations of an update
    piece_flops: Any  # floating-point operations of evaluating a piece of validation rows
    weights: Any  # of the network, without biases and the like
    attack_flops: Any  # floating-point operations of a step of an attack on the batch

    @classmethod
    @cache
    def of(cls, shape: ShapeClass) -> RungFacts:
        """The facts of a shape class."""
        family, optimizer = FAMILIES[shape.family], optimizer_of(shape.optimizer)
        forward, both = family.flops(shape)
        batch = shape.batch_size
        params, _ = family.init(np.random.default_rng(0), shape, shape.features)
        attack = 2.0 * forward * batch  # forward, and backward to the inputs alone
        judging = forward * batch
        if ROBUST in shape.levers:
            judging += JUDGE_STEPS * attack + forward * batch
        return cls(
            depth=shape.rung.depth,
            width=shape.rung.width,
            update_flops=both * batch + optimizer.flops(params),
            piece_flops=judging,
            weights=float(sum(np.size(x) for x in jax.tree.leaves(params) if np.ndim(x) > 1)),
            attack_flops=attack,
        )

    def pack(self) -> np.ndarray:
        """The vector `[facts]`, float32."""
        return np.array(self, np.float32)


def update_flops(facts: RungFacts, settings: Settings) -> Any:
    """What an update costs with these settings: attacks are paid for, `[]`.

    All else that a setting does is small beside the passes through the network.
    """
    steps = jnp.round(settings.adversarial_steps)
    # One forward pass for what the attack is measured by; TRADES learns from two batches.
    attacks = (steps + 0.5) * facts.attack_flops
    # The optimizer works once: not more than forward, and backward to inputs and weights.
    second = jnp.minimum(facts.update_flops, 1.5 * facts.attack_flops)
    attacks += jnp.where(settings.trades > 0, second, 0.0)
    return facts.update_flops + jnp.where(settings.adversarial_epsilon > 0, attacks, 0.0)


class TaskFacts(NamedTuple):
    """The numbers of a task that the books need."""

    batch_size: Any
    train_rows: Any
    regression: Any  # 1 for regression, 0 for classification
    baseline_loss: Any  # L0, of the best constant predictor
    loss_ceiling: Any  # a validation loss above it counts as divergence
    robust_epsilon: Any = 0.0  # of the attacks that validation rows are judged under; 0: none

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
    schedule: Any  # [numbers], of Schedule: what the learning rate does by itself
    penalty: Any  # [], what a divergence costs
    available: Any  # [groups], 1 where a group of features is there
    task: Any  # [facts], of TaskFacts
    rung: Any  # [facts], of RungFacts
    # The best snapshot itself stays outside: it may be of another rung. What has to be known of
    # it, should the run go back to it, is here.
    safe_settings: Any  # [settings]
    safe_rung: Any  # [facts], of RungFacts
    safe_score: Any  # []; infinite as long as it is the untrained network


# How the entries lie in the two vectors.
_COUNTS = Entries._fields[1:6]
_SIZES = {name: () for name in Entries._fields[6:] + Memory._fields if name != "memory"} | {
    "settings": (len(Settings._fields),),
    "recent": (RECENT,),
    "telemetry": (SIGNS,),
    "schedule": (len(Schedule._fields),),
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


def fresh_memory(baseline_loss: float) -> Memory:
    """The memory before the first slice; the score is that of the best constant predictor."""
    start = np.float32(reward.START_SCORE)
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
