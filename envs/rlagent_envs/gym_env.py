"""The Gymnasium environment: one place of a pool, with NumPy and plain Python at the border."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

import gymnasium as gym
import numpy as np

from rlagent_envs import episode as episodes
from rlagent_envs import knobs
from rlagent_envs.batch import Mode, Stepped
from rlagent_envs.config import EnvConfig, config_from_dict
from rlagent_envs.observation import HIGHEST, LOWEST
from rlagent_envs.pool import Place, Pool, check_config
from rlagent_envs.settings import named


class TuningEnv(gym.Env[np.ndarray, np.ndarray]):
    """A network in training, whose settings and architecture the agent moves.

    A level that is masked acts as *hold*, and `info["masked"]` names its knob; `action_masks()`
    says what is allowed. The episode terminates when its budget is spent; nothing truncates it.

    Args:
        config: how episodes are drawn; None: as EnvConfig has it.
        task: the task's name, or "procedural"; None: that of the config.
        mode: as for `Pool`.
        render_mode: only None, as there is nothing to render.
        overrides: fields of EnvConfig that take the place of those of `config`.

    Raises:
        ValueError: naming it, if a task or a field is unknown or makes no sense.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium declares it so)

    def __init__(
        self,
        config: EnvConfig | None = None,
        *,
        task: str | None = None,
        mode: Mode | None = None,
        render_mode: str | None = None,
        **overrides: Any,
    ) -> None:
        self.pool = make_pool(config, 1, task, mode, render_mode, overrides)
        self.observation_space = observation_space()
        self.action_space = action_space()
        self._ended = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode: the first of the seed's stream, or without a seed the next one.

        Raises:
            ValueError: if there are options, for there are none to choose.
        """
        super().reset(seed=seed)
        check_options(options)
        self.pool.generators[0] = self.np_random  # the stream that Pool.seed would start
        self._ended = False
        observation = self.pool.begin_next(0)
        return observation, reset_info(self.pool.place(0))

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Moves the settings, trains for a slice of the budget, and evaluates.

        Args:
            action: a level for each knob, `[knobs]`.

        Returns:
            Observation `[features]`, reward, whether the budget is spent, False, and the info.

        Raises:
            RuntimeError: before the first reset, and after the end of an episode.
            ValueError: if a level does not exist.
        """
        place = self.pool.place(0)
        if self._ended:
            raise RuntimeError("the episode has ended: call reset() before step()")
        allowed, masked = episodes.held(place.episode, action)
        (stepped,) = self.pool.step(allowed[None])
        self._ended = bool(stepped.report.terminated)
        info = step_info(self.pool.place(0), stepped, masked)
        return stepped.observation, float(stepped.report.reward), self._ended, False, info

    def action_masks(self) -> np.ndarray:
        """What may be chosen now, flat `[levels]`, bool, as MaskablePPO wants it."""
        return self.pool.masks()[0]


def make_pool(
    config: EnvConfig | None,
    places: int,
    task: str | None,
    mode: Mode | None,
    render_mode: str | None,
    overrides: Mapping[str, Any],
) -> Pool:
    """The pool behind an environment, from what the environment's constructor was given."""
    if render_mode is not None:
        raise ValueError(f"there is nothing to render: render_mode is None, got {render_mode!r}")
    if mode not in (None, *get_args(Mode)):
        raise ValueError(f"unknown mode {mode!r}; there are: {', '.join(get_args(Mode))}")
    values = asdict(config or EnvConfig()) | dict(overrides)
    config = config_from_dict(values if task is None else values | {"task": task})
    check_config(config)  # what is wrong is an error here, not at a later reset
    return Pool(config, places, mode)


def observation_space() -> gym.spaces.Box:
    """The space of one observation."""
    return gym.spaces.Box(LOWEST.copy(), HIGHEST.copy(), dtype=np.float32)


def action_space() -> gym.spaces.MultiDiscrete:
    """The space of one action: a level for each knob."""
    return gym.spaces.MultiDiscrete(list(knobs.LEVELS))


def check_options(options: dict[str, Any] | None) -> None:
    """Raises ValueError if reset is given options: what an episode is, its config says."""
    if options:
        raise ValueError(f"reset takes no options, got {', '.join(map(str, options))}")


def reset_info(place: Place) -> dict[str, Any]:
    """What is known before the first decision; plain Python values but for the mask."""
    return {
        "seed": place.start.seed,
        "budget": float(place.start.budget),  # updates of the base rung
        **_state(place),
    }


def step_info(place: Place, stepped: Stepped, masked: list[str]) -> dict[str, Any]:
    """What a decision led to; plain Python values but for the mask."""
    report = stepped.report
    return {
        "valid_loss": float(report.valid_loss),  # not finite if the run diverged
        "train_loss": float(report.train_loss),
        "updates": int(report.updates),
        "diverged": bool(report.diverged),
        "improved": bool(report.improved),
        "masked": masked,
        **_state(place),
    }


def _state(place: Place) -> dict[str, Any]:
    """The state between two decisions; every value is made anew."""
    books = place.episode.run.books
    return {
        "spent": place.episode.spent,  # of the budget, in updates of the base rung
        "best_score": float(books.memory.best_score),
        "rung": str(place.episode.shape.rung),
        "settings": named(books.settings, place.episode.shape.levers),
        "action_mask": episodes.action_mask(place.episode),
    }
