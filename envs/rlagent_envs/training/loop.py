"""The loop of a slice: a traced number of updates of one network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from rlagent_envs import draws
from rlagent_envs.models import FAMILIES, ShapeClass
from rlagent_envs.settings import Settings
from rlagent_envs.training import adversarial, losses, regularization
from rlagent_envs.training.augmentation import MIRRORING, augment, mirror, mix
from rlagent_envs.training.bank import Bank
from rlagent_envs.training.optimizer import optimizer_of
from rlagent_envs.training.schedules import Schedule, multiplier

# What the draws of an update are for.
BATCH, DROPOUT, AUGMENTATION, MIXING, ATTACK, SIDES = range(6)


# (params, params after the update, gradients, first moment before it, second moment after it)
# -> signs [signs], float32
Measure = Callable[[Any, Any, Any, Any, Any], jax.Array]


class Live(struct.PyTreeNode):
    """What training changes, and what a snapshot keeps."""

    params: Any
    model_state: Any
    optimizer: Any  # the state of the shape class's optimizer
    norms: Any = ()  # of the last gradients, with the lever clipping
    average: Any = ()  # running mean of the params, with the lever averaging


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

    def block(number: jax.Array, carry: _Carry) -> _Carry:
        """An update that is looked at, and those up to the next one that is."""
        first = number * every
        limit = None
        if "clipping" in shape.levers:
            limit = regularization.clip_limit(carry.live.norms, settings.clip_quantile)
        one = partial(_update, shape, bank, slot, settings, plan, limit)
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
    limit: jax.Array | None,
    number: jax.Array,
    carry: _Carry,
    measure: Measure | None = None,
) -> _Carry:
    """One update of a slice, its number counted from the slice's first."""
    live, trace = carry.live, carry.trace
    update = (plan.first + number).astype(jnp.uint32)
    examples, start = draw_examples(shape, bank, slot, settings, plan.key, update)
    facts = bank.classes[slot], bank.shares[slot]
    if "adversarial" in shape.levers:
        attacked = draws.stream(plan.key, update, ATTACK)
        examples = jax.lax.cond(
            settings.adversarial_epsilon > 0,
            lambda: _attacked(shape, bank, slot, live, settings, facts, examples, attacked),
            lambda: examples._replace(attacked=examples.x),
        )
    (loss, (plain, model_state)), gradients = _gradients(
        shape, live, settings, facts, examples, start
    )
    if "penalty" in shape.levers:
        gradients = regularization.penalized(gradients, live.params, settings)
    norms, average = live.norms, live.average
    if limit is not None:
        gradients, norms = regularization.clipped(gradients, norms, limit, update)
    progress = plan.progress + plan.progress_each * number
    learning_rate = settings.learning_rate * multiplier(Schedule(*plan.schedule), progress)
    optimizer = optimizer_of(shape.optimizer)
    params, state = optimizer.update(
        gradients, live.optimizer, live.params, settings, learning_rate, loss
    )
    if "averaging" in shape.levers:
        average = regularization.averaged(average, params, settings.average_decay, update)
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
    return _Carry(Live(params, model_state, state, norms, average), trace)


def batch(
    shape: ShapeClass, bank: Bank, slot: jax.Array, key: jax.Array, update: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The rows of one update: a pure function of the key and the update's number."""
    at = slot
    slot, rows = _drawn(shape, bank, slot, key, update)
    if bank.block is None:
        return bank.train_x[slot, rows], bank.train_y[slot, rows]
    first = (update.astype(jnp.int32) - bank.block[at]) * shape.batch_size
    x = jax.lax.dynamic_slice_in_dim(bank.train_x[at], first, shape.batch_size)
    if bank.lookup is not None:
        x = bank.lookup[at].at[x].get(mode="promise_in_bounds")
    return x, bank.train_y[slot, rows]


def _drawn(
    shape: ShapeClass, bank: Bank, slot: jax.Array, key: jax.Array, update: jax.Array
) -> tuple[Any, jax.Array]:
    """Where the examples of an update are: the slot, and the rows `[batch]`."""
    start = draws.stream(key, update, BATCH)
    positions = jnp.arange(shape.batch_size, dtype=jnp.uint32)
    rows = draws.rows(start, positions, bank.train_rows[slot].astype(jnp.uint32))
    return (slot, rows) if bank.picks is None else (0, bank.picks[slot, rows])


class Examples(NamedTuple):
    """The batch of an update, as the levers have made it."""

    x: jax.Array  # [batch, features]
    y: jax.Array  # [batch, *targets]
    # Mixed with others: each example has `share` of its own target, the rest of its partner's.
    mixture: tuple[jax.Array, jax.Array] | None = None  # partner [batch], share []
    attacked: jax.Array | None = None  # [batch, features], x where an example is not attacked
    offset: jax.Array | None = None  # [batch, *targets, outputs], added to the outputs


def draw_examples(
    shape: ShapeClass,
    bank: Bank,
    slot: jax.Array,
    settings: Settings,
    key: jax.Array,
    update: jax.Array,
) -> tuple[Examples, jax.Array]:
    """The examples of an update, augmented and mixed, and where its dropout starts."""
    x, y = batch(shape, bank, slot, key, update)
    mixture, offset = None, None
    if bank.train_offset is not None:
        offset = bank.train_offset[_drawn(shape, bank, slot, key, update)]
    if MIRRORING in shape.levers:
        x = mirror(x, draws.stream(key, update, SIDES), shape.input_shape)
    if "augmentation" in shape.levers:
        start = draws.stream(key, update, AUGMENTATION)
        x = augment(x, settings.augmentation, start, shape, bank.features[slot])
    if "mixing" in shape.levers:
        start = draws.stream(key, update, MIXING)
        mixed = mix(x, settings.mixup, settings.cutmix, start, shape.input_shape)
        x, mixture = mixed.x, (mixed.partner, mixed.share)
        if offset is not None:  # mixed as the targets are
            offset = mixed.share * offset + (1.0 - mixed.share) * offset[mixed.partner]
    examples = Examples(x, y, mixture, offset=offset)
    return examples, draws.stream(key, update, DROPOUT)


def _losses(
    shape: ShapeClass,
    settings: Settings,
    facts: tuple[jax.Array, jax.Array],
    outputs: jax.Array,
    examples: Examples,
) -> tuple[jax.Array, jax.Array]:
    """What training minimises and the plain loss of each example, `[batch]` each."""
    classes, shares = facts

    def of(y: jax.Array) -> tuple[jax.Array, jax.Array]:
        if "loss" in shape.levers:
            return losses.designed_losses(shape.kind, outputs, y, classes, shares, settings)
        return losses.example_losses(shape.kind, outputs, y, classes, settings.label_smoothing)

    own = of(examples.y)
    if examples.mixture is None:
        return own
    partner, share = examples.mixture
    trained, plain = (
        share * one + (1.0 - share) * other
        for one, other in zip(own, of(examples.y[partner]), strict=True)
    )
    return trained, plain


# Of a batch: the loss that training minimises, and beside it the plain loss and the model state.
_BatchLoss = tuple[jax.Array, tuple[jax.Array, Any]]


def _gradients(
    shape: ShapeClass,
    live: Live,
    settings: Settings,
    facts: tuple[jax.Array, jax.Array],
    examples: Examples,
    start: jax.Array,
) -> tuple[_BatchLoss, Any]:
    """The loss of a batch and its gradients."""

    def of(loss: Callable[..., _BatchLoss], learned: Examples) -> tuple[_BatchLoss, Any]:
        grad = jax.value_and_grad(loss, argnums=1, has_aux=True)
        made: tuple[_BatchLoss, Any] = grad(
            shape, live.params, live.model_state, settings, facts, learned, start
        )
        return made

    attacked = examples.attacked
    if attacked is None:
        return of(_batch_loss, examples)
    return jax.lax.cond(
        _trades(settings) > 0,
        lambda: of(_trades_loss, examples),
        lambda: of(_batch_loss, examples._replace(x=attacked)),
    )


def _batch_loss(
    shape: ShapeClass,
    params: Any,
    model_state: Any,
    settings: Settings,
    facts: tuple[jax.Array, jax.Array],
    examples: Examples,
    start: jax.Array,
) -> _BatchLoss:
    forward = forward_of(shape, settings.activation, settings.stochastic_depth, examples.offset)
    outputs, model_state = forward(params, model_state, examples.x, settings.dropout, start)
    trained, plain = _losses(shape, settings, facts, outputs, examples)
    return jnp.mean(trained), (jnp.mean(plain), model_state)


def _trades_loss(
    shape: ShapeClass,
    params: Any,
    model_state: Any,
    settings: Settings,
    facts: tuple[jax.Array, jax.Array],
    examples: Examples,
    start: jax.Array,
) -> _BatchLoss:
    """TRADES learns the examples as they are, and that an attack changes nothing."""
    forward = forward_of(shape, settings.activation, settings.stochastic_depth, examples.offset)
    attacked, _ = forward(params, model_state, examples.attacked, settings.dropout, start)
    outputs, model_state = forward(params, model_state, examples.x, settings.dropout, start)
    trained, plain = _losses(shape, settings, facts, outputs, examples)
    change = losses.output_change(shape.kind, outputs, attacked, facts[0])
    return jnp.mean(trained + settings.trades * change), (jnp.mean(plain), model_state)


def _attacked(
    shape: ShapeClass,
    bank: Bank,
    slot: jax.Array,
    live: Live,
    settings: Settings,
    facts: tuple[jax.Array, jax.Array],
    examples: Examples,
    start: jax.Array,
) -> Examples:
    """The examples with the first share of them attacked; the order of a batch is random anyway."""
    forward = forward_of(shape, settings.activation, offset=examples.offset)
    size = shape.batch_size
    none = jnp.float32(0.0)
    by_change = settings.trades > 0
    # Of no use without TRADES, but then it costs a forward pass only.
    outputs, _ = forward(live.params, live.model_state, examples.x, none, None)

    def loss(x: jax.Array) -> jax.Array:
        moved, _ = forward(live.params, live.model_state, x, none, None)
        trained, _ = _losses(shape, settings, facts, moved, examples)
        change = losses.output_change(shape.kind, outputs, moved, facts[0])
        return jnp.sum(jnp.where(by_change, change, trained))

    steps = jnp.round(settings.adversarial_steps).astype(jnp.int32)
    # At the examples themselves the change has no gradient.
    inside = (steps > 1) | by_change
    norm = adversarial.norm_of(shape.levers)
    moved = adversarial.attack(
        loss,
        examples.x,
        settings.adversarial_epsilon,
        steps,
        settings.adversarial_step,
        norm,
        bank.continuous[slot],
        start,
        inside,
    )
    count = jnp.round(settings.adversarial_share * size)
    chosen = (jnp.arange(size) < count)[:, None]
    return examples._replace(attacked=jnp.where(chosen, moved, examples.x))


def _trades(settings: Settings) -> jax.Array:
    """The weight of what an attack changes: of no attack, none."""
    return jnp.where(settings.adversarial_epsilon > 0, settings.trades, 0.0)


def forward_of(
    shape: ShapeClass,
    activation: jax.Array,
    stochastic_depth: jax.Array | None = None,
    offset: jax.Array | None = None,
) -> Callable[..., tuple[jax.Array, Any]]:
    """The family's network, with what is a choice of it, and an offset added to the outputs."""
    apply = FAMILIES[shape.family].apply
    number = activation if "activation" in shape.levers else None
    skipped = stochastic_depth if "skipping" in shape.levers else None

    def forward(
        params: Any, model_state: Any, x: jax.Array, dropout: jax.Array, start: jax.Array | None
    ) -> tuple[jax.Array, Any]:
        outputs, model_state = apply(shape, params, model_state, x, dropout, start, number, skipped)
        return (outputs if offset is None else outputs + offset), model_state

    return forward
