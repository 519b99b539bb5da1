"""What is left out of a network while it trains: dropout and stochastic depth."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlagent_envs import draws


def dropped(
    x: jax.Array, share: jax.Array, start: jax.Array, shape: tuple[int, ...] | None = None
) -> jax.Array:
    """The numbers without some, the others larger for it, so that their mean stays.

    Args:
        x: the numbers.
        share: of them that go, `[]`.
        start: of the random numbers, `[]`, uint32.
        shape: of what is drawn, to be broadcast to that of x: where it has a 1, all along that
            axis go together; that of x where None.

    Source: Srivastava et al. 2014, "Dropout", section 10, with the division in training.
    """
    kept = draws.uniform(draws.mix(start), x.shape if shape is None else shape) >= share
    return jnp.where(kept, x / (1.0 - share), 0.0)


def survival(batch: int, skipped: jax.Array, start: jax.Array) -> jax.Array:
    """By what is multiplied what a block adds to each example: 0 where it is skipped, `[batch]`.

    Args:
        batch: examples.
        skipped: probability that an example skips the block, `[]`.
        start: of the random numbers, `[]`, uint32.
    """
    kept = draws.uniform(draws.mix(start), (batch,)) >= skipped
    return jnp.where(kept, 1.0 / (1.0 - skipped), 0.0)
