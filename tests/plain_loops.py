"""Training written out anew, for tests: Optax's own AdamW, an update at a time, without a scan."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rlagent_envs import batch, knobs
from rlagent_envs.episode import Episode
from rlagent_envs.training import loop
from rlagent_envs.training.bank import Bank


def check_against_optax(
    episode: Episode, bank: Bank, network: Callable[[Any, jax.Array], jax.Array], least: int
) -> None:
    """The first slice of a classification gives the losses and the weights of the plain loop.

    Args:
        episode: before its first decision, with AdamW.
        bank: of its task.
        network: (weights, inputs of a batch) -> outputs.
        least: updates that the slice has to have.
    """
    params, settings = episode.run.live.params, episode.settings
    live, measured = batch.advance_one(episode.shape, bank, episode.run, knobs.HOLD)
    optimizer = optax.adamw(settings.learning_rate, weight_decay=settings.weight_decay)
    key = jnp.asarray(episode.run.books.key)

    @jax.jit
    def update(params: Any, state: Any, number: jax.Array) -> Any:
        x, y = loop.batch(episode.shape, bank, jnp.int32(0), key, number)

        def loss(params: Any) -> jax.Array:
            outputs = network(params, x)
            return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()

        value, gradients = jax.value_and_grad(loss)(params)
        changes, state = optimizer.update(gradients, state, params)
        return value, optax.apply_updates(params, changes), state

    state, losses = optimizer.init(params), []
    assert int(measured.updates) >= least
    for number in range(int(measured.updates)):
        loss, params, state = update(params, state, jnp.uint32(number))
        losses.append(float(loss))
    trace = measured.trace
    assert float(trace.early_loss + trace.late_loss) == pytest.approx(sum(losses), rel=1e-3)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-2, atol=1e-3), live.params, params
    )
