"""The loop of a slice: a traced number of updates of one network, and its evaluation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from rlagent_envs import draws
from rlagent_envs.models import FAMILIES, ShapeClass
from rlagent_envs.training import losses
from rlagent_envs.training.bank import Bank
from rlagent_envs.training.optimizer import optimizer_of
from rlagent_envs.training.schedules import Schedule, multiplier
from rlagent_envs.training.settings import Settings

# What the draws of an update are for.
BATCH, DROPOUT = 0, 1


# (params, params after the update, gradients, first moment before it, second moment after it)
# -> signs [signs], float32
Measure = Callable[[Any, Any, Any, Any, Any], jax.Array]


class Live(struct.PyTreeNode):
    """What training changes, and what a snapshot keeps."""

    params: Any
    model_state: Any
    optimizer: Any  # the state of the shape class's optimizer


class Slice(struct.PyTreeNode):
    """How many updates, and at which learning rate."""

    key: jax.Array  # [2], uint32: the run's own; see draws.py
    first: jax.Array  # [], int32: updates of the run before this slice
    updates: jax.Array  # [], int32: updates in this slice
    schedule: jax.Array  # [numbers], of Schedule
    progress: jax.Array  # [], float32: share of the budget spent at the first update
    progress_each: jax.Array  # [], float32: what an update adds to it


class Trace(struct.PyTreeNode):
    """What a slice tells of itself."""

    early_loss: jax.Array  # [], float32: sum of the plain batch losses of the first half
    late_loss: jax.Array  # [], float32: the same of the second half
    telemetry: jax.Array  # [signs], float32: sum over the updates that were looked at
    looks: jax.Array  # [], float32: how many were


class _Carry(struct.PyTreeNode):
    live: Live
    trace: Trace


def train(
    shape: ShapeClass,
    bank: Bank,
    slot: jax.Array,
    live: Live,
    settings: Settings,
    plan: Slice,
    measure: Measure,
    every: int,
    signs: int,
) -> tuple[Live, Trace]:
    """Trains for the updates of the plan.

    Args:
        shape: what the program is specialised to.
        bank: the data; batches are rows of its slot, drawn with replacement.
        slot: which task of the bank, `[]`, int32.
        live: the network and its optimizer.
        settings: the settings in force, each `[]`.
        plan: the updates to make.
        measure: the telemetry of an update.
        every: it is taken at the first update of the slice and at every `every`-th after it.
        signs: how many numbers telemetry has.

    Returns:
        The network after the updates, and the sums that the observation is made of.
    """
    optimizer = optimizer_of(shape.optimizer)
    live = live.replace(optimizer=optimizer.begin(live.optimizer, settings))
    zero = jnp.zeros((), jnp.float32)
    trace = Trace(zero, zero, jnp.zeros(signs, jnp.float32), zero)
    one = partial(_update, shape, bank, slot, settings, plan)

    def block(number: jax.Array, carry: _Carry) -> _Carry:
        """An update that is looked at, and those up to the next one that is."""
        first = number * every
        carry = one(first, carry, measure)
        return jax.lax.fori_loop(first + 1, jnp.minimum(first + every, plan.updates), one, carry)

    # A branch inside one loop would cost up to a fifth of the training even where it is not taken:
    # it needs the weights before and after an update, so that XLA cannot update them in place.
    blocks = (plan.updates + every - 1) // every
    carry = jax.lax.fori_loop(0, blocks, block, _Carry(live, trace))
    return carry.live, carry.trace


def _update(
    shape: ShapeClass,
    bank: Bank,
    slot: jax.Array,
    settings: Settings,
    plan: Slice,
    number: jax.Array,
    carry: _Carry,
    measure: Measure | None = None,
) -> _Carry:
    """One update of a slice, its number counted from the slice's first."""
    live, trace = carry.live, carry.trace
    update = (plan.first + number).astype(jnp.uint32)
    x, y = batch(shape, bank, slot, plan.key, update)
    start = draws.stream(plan.key, update, DROPOUT)
    grad = jax.value_and_grad(_batch_loss, argnums=1, has_aux=True)
    (loss, (plain, model_state)), gradients = grad(
        shape, live.params, live.model_state, settings, bank.classes[slot], x, y, start
    )
    progress = plan.progress + plan.progress_each * number
    learning_rate = settings.learning_rate * multiplier(Schedule(*plan.schedule), progress)
    optimizer = optimizer_of(shape.optimizer)
    params, state = optimizer.update(
        gradients, live.optimizer, live.params, settings, learning_rate, loss
    )
    if measure is not None:
        first, _ = optimizer.moments(live.optimizer, live.params)
        _, second = optimizer.moments(state, params)
        signs = measure(live.params, params, gradients, first, second)
        trace = trace.replace(telemetry=trace.telemetry + signs, looks=trace.looks + 1.0)
    early = 2 * number < plan.updates
    trace = trace.replace(
        early_loss=trace.early_loss + jnp.where(early, plain, 0.0),
        late_loss=trace.late_loss + jnp.where(early, 0.0, plain),
    )
    live = live.replace(params=params, model_state=model_state, optimizer=state)
    return _Carry(live, trace)


def batch(
    shape: ShapeClass, bank: Bank, slot: jax.Array, key: jax.Array, update: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The rows of one update: a pure function of the key and the update's number."""
    start = draws.stream(key, update, BATCH)
    positions = jnp.arange(shape.batch_size, dtype=jnp.uint32)
    rows = draws.rows(start, positions, bank.train_rows[slot].astype(jnp.uint32))
    return bank.train_x[slot, rows], bank.train_y[slot, rows]


def _batch_loss(
    shape: ShapeClass,
    params: Any,
    model_state: Any,
    settings: Settings,
    classes: jax.Array,
    x: jax.Array,
    y: jax.Array,
    start: jax.Array,
) -> tuple[jax.Array, tuple[jax.Array, Any]]:
    outputs, model_state = FAMILIES[shape.family].apply(
        params, model_state, x, settings.dropout, start
    )
    trained, plain = losses.example_losses(
        shape.kind, outputs, y, classes, settings.label_smoothing
    )
    return jnp.mean(trained), (jnp.mean(plain), model_state)


def evaluate(
    shape: ShapeClass, bank: Bank, slot: jax.Array, live: Live, pieces: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The plain loss and the share of right answers on the first pieces of the validation rows.

    Args:
        shape: what the program is specialised to.
        bank: the data.
        slot: which task of the bank.
        live: the network.
        pieces: how many pieces of `batch_size` rows to look at, `[]`, int32; any number of them
            is a stratified subset, and the same one whenever it is asked for.

    Returns:
        Mean loss and mean hits, `[]` each.
    """
    size = shape.batch_size
    classes = bank.classes[slot]
    params = optimizer_of(shape.optimizer).judged(live.optimizer, live.params)

    def one(number: jax.Array, sums: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        start = number * size
        x = jax.lax.dynamic_slice(bank.valid_x, (slot, start, 0), (1, size, shape.features))[0]
        y = jax.lax.dynamic_slice(bank.valid_y, (slot, start), (1, size))[0]
        outputs, _ = FAMILIES[shape.family].apply(
            params, live.model_state, x, jnp.float32(0.0), None
        )
        _, plain = losses.example_losses(shape.kind, outputs, y, classes, jnp.float32(0.0))
        real = start + jnp.arange(size) < bank.valid_rows[slot]
        hits = losses.example_hits(shape.kind, outputs, y, classes)
        loss_sum, hit_sum = sums
        return (
            loss_sum + jnp.sum(jnp.where(real, plain, 0.0)),
            hit_sum + jnp.sum(jnp.where(real, hits, 0.0)),
        )

    zero = jnp.zeros((), jnp.float32)
    loss_sum, hit_sum = jax.lax.fori_loop(0, pieces, one, (zero, zero))
    rows = jnp.minimum(pieces * size, bank.valid_rows[slot]).astype(jnp.float32)
    return loss_sum / rows, hit_sum / rows
