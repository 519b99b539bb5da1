"""Who chooses the actions of a run: a controller, or nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from rlagent.controller.file import Controller, bind
from rlagent.controller.policy import choose, log_probabilities
from rlagent_envs import knobs
from rlagent_envs.observation import FEATURES

ROUNDED = 5  # digits of a probability in the history

# For each knob of a controller the probability of each of its levels.
Chances = dict[str, list[float]]
# (observation [features], mask [levels], number of the decision) -> action [knobs], chances
Decide = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, Chances | None]]


def hold(
    observation: np.ndarray, mask: np.ndarray, number: int
) -> tuple[np.ndarray, Chances | None]:
    """Changes nothing: what the start says goes, its schedule included."""
    return knobs.HOLD, None


def decide_by(controller: Controller, seed: int) -> Decide:
    """Lets a controller decide.

    Raises:
        ValueError: if it reads or moves what the environment does not have.
    """
    binding = bind(controller, FEATURES, knobs.KNOBS)
    starts = np.cumsum([len(levels) for levels in controller.knobs.values()])[:-1]
    base = None if controller.deterministic else jax.random.key(seed)

    def decide(
        observation: np.ndarray, mask: np.ndarray, number: int
    ) -> tuple[np.ndarray, Chances | None]:
        key = None if base is None else jax.random.fold_in(base, number)
        own, chances = _act(
            controller.policy, binding.own_observation(observation), binding.own_mask(mask), key
        )
        pieces = np.split(np.exp(np.asarray(chances, np.float64)), starts)
        told = {
            name: [round(float(chance), ROUNDED) for chance in piece]
            for name, piece in zip(controller.knobs, pieces, strict=True)
        }
        return binding.full_action(np.asarray(own)), told

    return decide


@jax.jit
def _act(policy: Any, observation: Any, mask: Any, key: Any) -> tuple[jax.Array, jax.Array]:
    return choose(policy, observation, mask, key), log_probabilities(policy, observation, mask)
