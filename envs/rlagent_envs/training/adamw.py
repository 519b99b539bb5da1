"""AdamW with every number traced, and a bias correction that stays right when momentum changes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from rlagent_envs.settings import Settings

SECOND_DECAY = 0.999  # Adam's b2
EPSILON = 1e-8


class AdamState(struct.PyTreeNode):
    """The moments, and what their bias correction needs."""

    first: Any  # like params: running mean of the gradients
    second: Any  # like params: running mean of their squares
    updates: Any  # [], int32: updates that the second moment has seen
    # The first moment of a run whose momentum changes has the weight 1 - product of all momenta.
    # The product is kept as anchor * momentum^since: while momentum never changes that is bit for
    # bit Optax's 1 - momentum^updates, which a running product is not.
    anchor: Any  # [], float32: product of the momenta up to the last change
    since: Any  # [], int32: updates since that change
    momentum: Any  # [], float32: the momentum since that change


def init(params: Any, momentum: float) -> AdamState:
    """The state before the first update, as NumPy arrays."""
    zeros = jax.tree.map(np.zeros_like, params)
    return AdamState(
        first=zeros,
        second=jax.tree.map(np.zeros_like, params),
        updates=np.int32(0),
        anchor=np.float32(1.0),
        since=np.int32(0),
        momentum=np.float32(momentum),
    )


def set_momentum(state: AdamState, momentum: jax.Array) -> AdamState:
    """Makes `momentum` the one of all later updates, until it is set again."""
    changed = momentum != state.momentum
    anchor = state.anchor * state.momentum**state.since
    return state.replace(
        anchor=jnp.where(changed, anchor, state.anchor),
        since=jnp.where(changed, 0, state.since),
        momentum=momentum,
    )


def update(
    gradients: Any, state: AdamState, params: Any, settings: Settings, learning_rate: jax.Array
) -> tuple[Any, AdamState]:
    """One step of AdamW: the new params and state.

    Args:
        gradients: like params.
        state: whose `momentum` was set from the settings by `set_momentum`.
        params: the weights.
        settings: of them only weight_decay and momentum.
        learning_rate: of this update, `[]`: the setting times what a schedule makes of it.

    Source: Loshchilov and Hutter 2019 (arXiv:1711.05101), algorithm 2, as Optax computes it.
    """
    b1 = settings.momentum
    first = jax.tree.map(lambda g, m: (1 - b1) * g + b1 * m, gradients, state.first)
    second = jax.tree.map(
        lambda g, v: (1 - SECOND_DECAY) * (g**2) + SECOND_DECAY * v, gradients, state.second
    )
    updates, since = state.updates + 1, state.since + 1
    first_weight = 1 - state.anchor * b1**since
    second_weight = 1 - SECOND_DECAY**updates

    def change(p: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        direction = (m / first_weight) / (jnp.sqrt(v / second_weight) + EPSILON)
        return p + -learning_rate * (direction + settings.weight_decay * p)

    params = jax.tree.map(change, params, first, second)
    return params, state.replace(first=first, second=second, updates=updates, since=since)
