"""The Gymnasium vector environment: all places of a pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from rlagent_envs import episode as episodes
from rlagent_envs.batch import Mode
from rlagent_envs.config import EnvConfig
from rlagent_envs.gym_env import (
    action_space,
    check_options,
    make_pool,
    observation_space,
    reset_info,
    step_info,
)


class TuningVectorEnv(gym.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """A number of `TuningEnv`, stepped together; each plays the episodes that it would play alone.

    An episode that ends is followed by the next one in the same step: the observation returned is
    the first of the new one, the last of the old one is in `infos["final_obs"]`, its info in
    `infos["final_info"]`.

    Args:
        num_envs: how many.
        config: how episodes are drawn; None: as EnvConfig has it.
        task: the task's name, or "procedural"; None: that of the config.
        mode: as for `Pool`.
        render_mode: only None, as there is nothing to render.
        overrides: fields of EnvConfig that take the place of those of `config`.

    Raises:
        ValueError: naming it, if an argument is unknown or makes no sense.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (Gymnasium declares it so)
        "render_modes": [],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        config: EnvConfig | None = None,
        *,
        task: str | None = None,
        mode: Mode | None = None,
        render_mode: str | None = None,
        **overrides: Any,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self.num_envs = num_envs
        self.pool = make_pool(config, num_envs, task, mode, render_mode, overrides)
        # Until a seed is given chance decides, as for any Gymnasium environment.
        self.pool.generators = [np.random.default_rng() for _ in range(num_envs)]
        self.single_observation_space = observation_space()
        self.single_action_space = action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode in each environment; number i gets `seed` + i, or its own of a list.

        Raises:
            ValueError: if there are options, or not as many seeds as environments.
        """
        check_options(options)
        if seed is None or isinstance(seed, int):
            super().reset(seed=seed)
            seeds = [None if seed is None else seed + number for number in range(self.num_envs)]
        elif len(seed) == self.num_envs:
            seeds = list(seed)
        else:
            raise ValueError(f"there are {self.num_envs} environments, but {len(seed)} seeds")
        self.pool.seed(seeds)
        observations: list[np.ndarray] = []
        infos: dict[str, Any] = {}
        for number in range(self.num_envs):
            observations.append(self.pool.begin_next(number))
            infos = self._add_info(infos, reset_info(self.pool.place(number)), number)
        return np.stack(observations), infos

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """A decision in each environment, and a new episode where one ended.

        Args:
            actions: `[num_envs, knobs]`, levels; a masked one acts as hold.

        Returns:
            Observations `[num_envs, features]`, rewards, terminations and truncations
            `[num_envs]`, and the infos.

        Raises:
            RuntimeError: before the first reset.
            ValueError: if a level does not exist, or there are not as many actions as
                environments; then nothing has moved.
        """
        places = [self.pool.place(number) for number in range(self.num_envs)]
        if len(actions) != self.num_envs:
            raise ValueError(f"there are {self.num_envs} environments, but {len(actions)} actions")
        allowed = [
            episodes.held(place.episode, action)
            for place, action in zip(places, actions, strict=True)
        ]
        stepped = self.pool.step(np.stack([action for action, _ in allowed]))
        observations: list[np.ndarray] = []
        infos: dict[str, Any] = {}
        for number, (one, (_, masked)) in enumerate(zip(stepped, allowed, strict=True)):
            observation, info = one.observation, step_info(self.pool.place(number), one, masked)
            if one.report.terminated:
                final = {"final_obs": observation, "final_info": info}
                infos = self._add_info(infos, final, number)
                observation = self.pool.begin_next(number)
                info = reset_info(self.pool.place(number))
            observations.append(observation)
            infos = self._add_info(infos, info, number)
        return (
            np.stack(observations),
            np.array([one.report.reward for one in stepped], np.float64),
            np.array([bool(one.report.terminated) for one in stepped]),
            np.zeros(self.num_envs, bool),
            infos,
        )

    def action_masks(self) -> np.ndarray:
        """What may be chosen now, `[num_envs, levels]`, bool."""
        return self.pool.masks()
