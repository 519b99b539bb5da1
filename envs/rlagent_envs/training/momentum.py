"""SGD, Lion and Muon over the storage of AdamW, so that growth and telemetry serve all of them.

Each keeps Adam's running mean of squares too, which SGD and Lion do not need themselves: what an
observation says of the noise of gradients means the same whichever optimizer a run has.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs.settings import Settings
from rlagent_envs.training.adamw import EPSILON, SECOND_DECAY, AdamState

LION_DECAY = 0.99  # of what Lion keeps; what it steps by has the momentum of the settings
# Newton and Schulz's iteration.
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.775, 2.0315)


def sgd(
    gradients: Any, state: AdamState, params: Any, settings: Settings, learning_rate: jax.Array
) -> tuple[Any, AdamState]:
    """One step of SGD with Nesterov's momentum and decoupled weight decay.

    Args:
        gradients: like params.
        state: its `first` is the sum of decayed gradients.
        params: the weights.
        settings: of them only weight_decay and momentum.
        learning_rate: of this update, `[]`.

    Returns:
        The weights and the state after it.

    Source: Sutskever et al. 2013, "On the importance of initialization and momentum", section 2, in
    the form of Optax.
    """
    momentum = settings.momentum
    first = jax.tree.map(lambda g, m: g + momentum * m, gradients, state.first)

    def change(p: jax.Array, g: jax.Array, m: jax.Array) -> jax.Array:
        return p - learning_rate * (g + momentum * m + settings.weight_decay * p)

    return jax.tree.map(change, params, gradients, first), _counted(state, first, gradients)


def lion(
    gradients: Any, state: AdamState, params: Any, settings: Settings, learning_rate: jax.Array
) -> tuple[Any, AdamState]:
    """One step of Lion: the sign of a running mean; arguments and result as of `sgd`.

    Source: Chen et al. 2023 (arXiv:2302.06675), algorithm 2.
    """
    momentum = settings.momentum

    def change(p: jax.Array, g: jax.Array, m: jax.Array) -> jax.Array:
        direction = jnp.sign(momentum * m + (1 - momentum) * g)
        return p - learning_rate * (direction + settings.weight_decay * p)

    changed = jax.tree.map(change, params, gradients, state.first)
    first = jax.tree.map(lambda g, m: (1 - LION_DECAY) * g + LION_DECAY * m, gradients, state.first)
    return changed, _counted(state, first, gradients)


def muon(
    gradients: Any, state: AdamState, params: Any, settings: Settings, learning_rate: jax.Array
) -> tuple[Any, AdamState]:
    """One step of Muon for matrices, of Nesterov's AdamW for the rest; arguments as of `sgd`.

    The kernel of a convolution is a matrix of its inputs, those of all its pixels, by its outputs.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks", as Optax
    computes it.
    """
    momentum = settings.momentum
    first = jax.tree.map(lambda g, m: (1 - momentum) * g + momentum * m, gradients, state.first)
    after = _counted(state, first, gradients)
    now = 1 - state.anchor * momentum**after.since
    then = 1 - state.anchor * momentum ** (after.since + 1)
    squares = 1 - SECOND_DECAY**after.updates

    def change(p: jax.Array, g: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        looked_ahead = momentum * m / then + (1 - momentum) * g / now
        if p.ndim >= 2:
            matrix = looked_ahead.reshape(-1, p.shape[-1])
            rows, columns = matrix.shape
            direction = orthogonal(matrix) * np.sqrt(max(1.0, columns / rows))
            direction = direction.reshape(p.shape)
        else:
            direction = looked_ahead / (jnp.sqrt(v / squares) + EPSILON)
        return p - learning_rate * (direction + settings.weight_decay * p)

    return jax.tree.map(change, params, gradients, first, after.second), after


def orthogonal(matrix: jax.Array) -> jax.Array:
    """A matrix of the same singular vectors, whose singular values are all near 1.

    Args:
        matrix: `[rows, columns]`.
    """
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = wide / (jnp.sqrt(jnp.sum(jnp.square(wide))) + EPSILON)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * (square @ square)) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def muon_flops(params: Any) -> float:
    """Floating-point operations of the iterations of an update, which are not few."""
    total = 0.0
    for leaf in jax.tree.leaves(params):
        if np.ndim(leaf) >= 2:
            short, long = sorted((np.size(leaf) // np.shape(leaf)[-1], np.shape(leaf)[-1]))
            total += ITERATIONS * (4.0 * short * short * long + 2.0 * short**3)
    return total


def _counted(state: AdamState, first: Any, gradients: Any) -> AdamState:
    """The state after an update with this first moment."""
    second = jax.tree.map(
        lambda g, v: (1 - SECOND_DECAY) * (g**2) + SECOND_DECAY * v, gradients, state.second
    )
    return state.replace(
        first=first, second=second, updates=state.updates + 1, since=state.since + 1
    )
