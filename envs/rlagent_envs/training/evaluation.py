"""How a network is judged: by its plain loss on validation rows, as they are or attacked too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlagent_envs import draws
from rlagent_envs.models import ShapeClass
from rlagent_envs.training import adversarial, losses
from rlagent_envs.training.bank import Bank
from rlagent_envs.training.loop import Live, forward_of
from rlagent_envs.training.optimizer import optimizer_of


def judged(shape: ShapeClass, live: Live) -> Any:
    """The weights that a network is judged by, and that are kept of it."""
    if "averaging" in shape.levers:
        return live.average
    return optimizer_of(shape.optimizer).judged(live.optimizer, live.params)


class Judgement(NamedTuple):
    """What validation rows say of a network; each `[]`, float32."""

    loss: Any  # mean plain loss; with the lever robust the mean of that and `robust_loss`
    hits: Any  # share of right answers, in the same way; 0 for regression
    robust_loss: Any  # of the rows under attack; 0 without the lever
    robust_hits: Any
    clean_loss: Any  # mean plain loss, with the lever too


def evaluate(
    shape: ShapeClass,
    bank: Bank,
    slot: jax.Array,
    live: Live,
    pieces: jax.Array,
    activation: jax.Array,
    robust_epsilon: jax.Array,
) -> Judgement:
    """The plain loss and the share of right answers on the first pieces of the validation rows.

    With the lever robust each row counts twice: as it is, and attacked by PGD within a ball.

    Args:
        shape: what the program is specialised to.
        bank: the data.
        slot: which task of the bank.
        live: the network.
        pieces: how many pieces of `batch_size` rows to look at, `[]`, int32; any number of them
            is a stratified subset, and the same one whenever it is asked for.
        activation: number of the activation, `[]`.
        robust_epsilon: radius of the ball, `[]`; of no use without the lever.
    """
    size, robust = shape.batch_size, adversarial.ROBUST in shape.levers
    params = judged(shape, live)

    def one(number: jax.Array, sums: jax.Array) -> jax.Array:
        start = number * size
        x = _piece(bank.valid_x, slot, start, size)
        y = _piece(bank.valid_y, slot, start, size)
        offset = None
        if bank.valid_offset is not None:
            offset = _piece(bank.valid_offset, slot, start, size)
        forward = forward_of(shape, activation, offset=offset)
        judge = partial(
            _row_losses, shape.kind, forward, params, live.model_state, y, bank.classes[slot]
        )
        told = [*judge(x)]
        if robust:
            moved = _attacked(shape, judge, x, robust_epsilon, bank.continuous[slot], number)
            told += judge(moved)
        real = start + jnp.arange(size) < bank.valid_rows[slot]
        return sums + jnp.stack([jnp.sum(jnp.where(real, of_rows, 0.0)) for of_rows in told])

    sums = jax.lax.fori_loop(0, pieces, one, jnp.zeros(4 if robust else 2, jnp.float32))
    means = sums / jnp.minimum(pieces * size, bank.valid_rows[slot]).astype(jnp.float32)
    if not robust:
        return Judgement(means[0], means[1], jnp.float32(0.0), jnp.float32(0.0), means[0])
    loss, hits, robust_loss, robust_hits = means
    both = (loss + robust_loss) / 2, (hits + robust_hits) / 2
    return Judgement(*both, robust_loss, robust_hits, loss)


def _row_losses(
    kind: str,
    forward: Callable[..., tuple[jax.Array, Any]],
    params: Any,
    model_state: Any,
    y: jax.Array,
    classes: jax.Array,
    x: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The plain loss of each row, and whether it is right, `[rows]`."""
    outputs, _ = forward(params, model_state, x, jnp.float32(0.0), None)
    _, plain = losses.example_losses(kind, outputs, y, classes, jnp.float32(0.0))
    return plain, losses.example_hits(kind, outputs, y, classes)


def _attacked(
    shape: ShapeClass,
    judge: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    x: jax.Array,
    epsilon: jax.Array,
    continuous: jax.Array,
    number: jax.Array,
) -> jax.Array:
    """The rows of a piece, moved by PGD to where their loss is high."""
    return adversarial.attack(
        lambda moved: jnp.sum(judge(moved)[0]),
        x,
        epsilon,
        jnp.int32(adversarial.JUDGE_STEPS),
        jnp.float32(adversarial.JUDGE_STEP),
        adversarial.norm_of(shape.levers),
        continuous,
        draws.mix(number.astype(jnp.uint32)),
        jnp.bool_(True),
    )


def _piece(rows: jax.Array, slot: jax.Array, start: jax.Array, size: int) -> jax.Array:
    """Some rows of a slot, `[size, ...]`, of `[slots, rows, ...]`."""
    begin = [slot, start, *[jnp.int32(0)] * (rows.ndim - 2)]
    return jax.lax.dynamic_slice(rows, begin, (1, size, *rows.shape[2:]))[0]
