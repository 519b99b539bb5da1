"""Stable-Baselines3's view of a pool of tuning episodes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from rlagent_envs.config import EnvConfig
from rlagent_envs.knobs import LEVELS
from rlagent_envs.models import FAMILIES, Rung
from rlagent_envs.observation import GROUPS, HIGHEST, LOWEST
from rlagent_envs.pool import PROCEDURAL, Place, Pool, fixed_task
from rlagent_envs.tasks.procedural import CONTEXT

Observations = dict[str, np.ndarray]

# The task's context, then what was drawn for the episode, then what a group that is absent hides.
PRIVILEGED = CONTEXT + 5 + len(GROUPS) + 2


class TuningVecEnv(VecEnv):
    """Many tuning episodes at once; an episode that ends is followed by the next one at once.

    Observations are a dict: `observation` is what the environment shows, `privileged` what only
    the critic may see. Action masks come from `env_method("action_masks")`, as MaskablePPO asks.

    Args:
        config: how episodes are drawn.
        places: how many run at once.
        seed: place i draws its episodes from `seed` + i.
    """

    def __init__(self, config: EnvConfig, places: int, seed: int) -> None:
        for rung in itertools.product(config.depths, config.widths):
            FAMILIES["mlp"].check(Rung(*rung))
        if config.task != PROCEDURAL:
            fixed_task(config.task)  # kept for the episodes; what is wrong with it is said here
        self.pool = Pool(config, places)
        self.pool.seed(range(seed, seed + places))
        self.returns, self.lengths = np.zeros(places), np.zeros(places, np.int64)
        self._actions = np.zeros((places, len(LEVELS)), np.int64)
        self.render_mode = None
        spaces: dict[str, gym.Space[Any]] = {
            "observation": gym.spaces.Box(LOWEST, HIGHEST, dtype=np.float32),
            "privileged": gym.spaces.Box(-5.0, 5.0, (PRIVILEGED,), np.float32),
        }
        super().__init__(
            places, gym.spaces.Dict(spaces), gym.spaces.MultiDiscrete(np.array(LEVELS))
        )

    def reset(self) -> Observations:
        """Begins a new episode in every place."""
        self.returns[:], self.lengths[:] = 0.0, 0
        observations = [self.pool.begin_next(number) for number in range(self.num_envs)]
        return self._with_privileged(np.stack(observations))

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions of the next `step_wait`, `[places, knobs]`."""
        self._actions = actions

    def step_wait(self) -> tuple[Observations, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """One decision in each place; an episode that ends is replaced by its next one."""
        stepped = self.pool.step(self._actions)
        observations = np.stack([one.observation for one in stepped])
        rewards = np.array([one.report.reward for one in stepped], np.float32)
        dones = np.array([one.report.terminated for one in stepped], bool)
        infos: list[dict[str, Any]] = [{} for _ in stepped]
        self.returns += rewards
        self.lengths += 1
        for number in np.flatnonzero(dones).tolist():
            report, place = stepped[number].report, self.pool.place(number)
            infos[number] = {
                "terminal_observation": {
                    "observation": stepped[number].observation,
                    "privileged": privileged_features(place),
                },
                "TimeLimit.truncated": False,
                "episode": {
                    "r": float(self.returns[number]),
                    "l": int(self.lengths[number]),
                    "t": 0.0,  # no wall-clock: the same seed gives the same infos
                },
                "best_score": report.best_score,
                "divergences": int(stepped[number].episode.run.books.divergences),
                "kind": place.task.kind,
            }
            observations[number] = self.pool.begin_next(number)
            self.returns[number], self.lengths[number] = 0.0, 0
        return self._with_privileged(observations), rewards, dones, infos

    def _with_privileged(self, observations: np.ndarray) -> Observations:
        privileged = [privileged_features(self.pool.place(i)) for i in range(self.num_envs)]
        return {"observation": observations, "privileged": np.stack(privileged)}

    def close(self) -> None:
        """Nothing to close."""

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Starts the streams of episodes anew: place i draws from `seed` + i."""
        if seed is None:
            return [None] * self.num_envs
        seeds = list(range(seed, seed + self.num_envs))
        self.pool.seed(seeds)
        return seeds

    def has_attr(self, attr_name: str) -> bool:
        """Whether the places have an attribute; of methods, only the masks."""
        return attr_name == "action_masks" or hasattr(self, attr_name)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The same attribute for each place asked for."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refused: the places share all there is."""
        raise ValueError(f"{attr_name} cannot be set: the config of an environment is frozen")

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method for each place asked for; there is only `action_masks`."""
        if method_name != "action_masks":
            raise ValueError(f"unknown method {method_name!r}; there is: action_masks")
        masks = self.pool.masks()
        return [masks[number] for number in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        """No place is wrapped."""
        return [False for _ in self._get_indices(indices)]


def privileged_features(place: Place) -> np.ndarray:
    """What only the critic may know of an episode, `[PRIVILEGED]`, float32, within [-5, 5]."""
    start, task, books = place.start, place.task, place.episode.run.books
    context = task.context or (0.0,) * CONTEXT
    drawn = (
        (np.log10(start.settings.learning_rate) + 3.0) / 2.0,
        (np.log10(start.settings.weight_decay) + 3.0) / 2.0,
        start.settings.dropout / 0.3,
        np.log(start.decisions) / 3.0 - 1.0,
        np.log(start.budget / start.decisions) / 2.0 - 1.5,
    )
    present = np.asarray(books.available)
    memory = books.memory
    hidden = (np.asarray(memory.best_score), np.asarray(memory.valid_score))
    return np.clip(np.array([*context, *drawn, *present, *hidden], np.float32), -5.0, 5.0)
