"""The score of a run, and what a decision is paid for."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

FLOOR = 0.05  # below this share of the baseline's loss, further gains count ever less
START_SCORE = math.log(1.0 + FLOOR)  # of the best constant predictor


def score(loss: jax.Array, baseline: jax.Array) -> jax.Array:
    """log(L / L0 + 0.05): comparable between tasks, lower is better, about 0.05 at the start."""
    return jnp.log(loss / baseline + FLOOR)


def reward(
    best_before: jax.Array, best_after: jax.Array, diverged: jax.Array, penalty: jax.Array
) -> jax.Array:
    """The drop of the best score, less a bounded penalty for a divergence; within [-3, 3].

    It telescopes: the undiscounted return of an episode without divergence is the improvement of
    the whole run, from the best constant predictor to the best weights.

    Args:
        best_before: score of the best weights before the decision, `[]`.
        best_after: the same after it, at most `best_before`.
        diverged: whether the run diverged, `[]`, bool.
        penalty: what a divergence costs, `[]`.
    """
    drop = best_before - best_after - jnp.where(diverged, penalty, 0.0)
    return jnp.clip(drop, -3.0, 3.0)
