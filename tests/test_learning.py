"""PPO, set up as for controllers, learns a learning-rate schedule whose optimum is known.

The problem is the noisy quadratic: weights w with curvatures h, gradients h w plus noise of variance
c. An update with rate a turns the second moments m = E[w^2] into (1 - a h)^2 m + a^2 c, and the
expected loss is the sum of h m / 2, so the best schedule of a horizon is a smooth problem of a few
numbers. Greedy rates are far from it: they sink too early, before the flat direction has moved.

Source: Schaul et al. 2013 (arXiv:1206.1106), section 3; Wu et al. 2018 (arXiv:1803.02021), section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO
from scipy.optimize import minimize
from stable_baselines3.common.vec_env import VecEnv

from rlagent.ppo.config import PPOConfig, read_config
from rlagent.ppo.training import SHIPPED_CONFIG, make_model
from rlagent_envs.knobs import HOLD, KNOBS, LEVELS, open_mask

CURVATURES = np.array([1.0, 0.05])
HORIZON = 20
HIGHEST_RATE = 1.0
FACTORS = np.array(KNOBS["learning_rate"].levels, float)
MASK = open_mask(["learning_rate"], "classification")
SPREAD = (0.03, 0.3)  # of the noise: its variance is a multiple of the curvature


def moved(moments: np.ndarray, rates: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Second moments `[..., 2]` after an update with rates `[...]`, for noise levels `[...]`."""
    rates, variance = rates[..., None], noise[..., None] * CURVATURES
    return (1.0 - rates * CURVATURES) ** 2 * moments + rates**2 * variance


def loss(moments: np.ndarray) -> np.ndarray:
    return 0.5 * moments @ CURVATURES


class Quadratics(VecEnv):
    """Noisy quadratics with the agent's own levels of the learning rate, all other knobs closed.

    The actor sees progress, rate and losses; how noisy the gradients are only the critic may see.
    """

    def __init__(self, places: int, seed: int) -> None:
        self.render_mode = None
        self.generator = np.random.default_rng(seed)
        self.noise, self.rates = np.zeros(places), np.zeros(places)
        self.moments, self.changes = np.zeros((places, 2)), np.zeros(places)
        self.steps = np.zeros(places, int)
        parts = {"observation": 5, "privileged": 4}
        spaces: dict[str, gym.Space[Any]] = {
            name: gym.spaces.Box(-10.0, 10.0, (size,), np.float32) for name, size in parts.items()
        }
        super().__init__(places, gym.spaces.Dict(spaces), gym.spaces.MultiDiscrete(LEVELS))

    def begin(self, which: np.ndarray) -> None:
        count = int(which.sum())
        self.noise[which] = np.exp(self.generator.uniform(*np.log(SPREAD), count))
        self.rates[which] = 10.0 ** self.generator.uniform(-4.0, 0.0, count)
        self.moments[which], self.changes[which], self.steps[which] = 1.0, 0.0, 0

    def observe(self) -> dict[str, np.ndarray]:
        progress, rate = self.steps / HORIZON, np.log10(self.rates)
        losses = np.log(loss(self.moments))
        shown = [progress, 1.0 + rate / 2.0, 1.0 + rate, losses / 2.0, 3.0 * self.changes]
        hidden = [np.log(self.noise), *np.log10(self.moments).T, losses]
        parts = {"observation": shown, "privileged": hidden}
        return {
            name: np.clip(np.stack(rows, 1), -10.0, 10.0).astype(np.float32)
            for name, rows in parts.items()
        }

    def reset(self) -> dict[str, np.ndarray]:
        self.begin(np.ones(self.num_envs, bool))
        return self.observe()

    def step_async(self, actions: np.ndarray) -> None:
        assert (actions[:, 1:] == HOLD[1:]).all()
        self.actions = actions

    def step_wait(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, list[Any]]:
        before = loss(self.moments)
        self.rates = np.minimum(self.rates * FACTORS[self.actions[:, 0]], HIGHEST_RATE)
        self.moments = moved(self.moments, self.rates, self.noise)
        self.changes = np.log(loss(self.moments) / before)
        self.steps += 1
        dones = self.steps == HORIZON
        rewards = (-self.changes).astype(np.float32)
        last = self.observe()
        infos: list[dict[str, Any]] = [{} for _ in dones]
        for number in np.flatnonzero(dones).tolist():
            infos[number] = {
                "terminal_observation": {name: part[number] for name, part in last.items()},
                "loss": loss(self.moments)[number],
            }
        self.begin(dones)
        return self.observe(), rewards, dones, infos

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kw: Any) -> list[Any]:
        assert method_name == "action_masks"
        return [MASK] * self.num_envs

    def has_attr(self, attr_name: str) -> bool:
        return attr_name == "action_masks"

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        self.generator = np.random.default_rng(seed)
        return [seed] * self.num_envs

    def close(self) -> None:
        pass


def final_losses(rates: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Expected losses `[problems]` at the end of schedules `[problems, updates]`."""
    moments = np.ones((len(noise), 2))
    for rate in rates.T:
        moments = moved(moments, rate, noise)
    return loss(moments)


def lowest_loss(noise: float, start: float) -> float:
    """The lowest expected loss at the horizon that any schedule reaches from a first rate.

    Rates may take any value between those that the largest levels can reach, so the agent, which has
    nine levels, cannot do better.
    """
    highest = np.minimum(start * FACTORS.max() ** np.arange(1, HORIZON + 1), HIGHEST_RATE)
    bounds = [(np.log(1e-4), np.log(high)) for high in highest]

    def log_loss_and_slope(logs: np.ndarray) -> tuple[float, np.ndarray]:
        rates, path = np.exp(logs), [np.ones(2)]
        for rate in rates:
            path.append(moved(path[-1], rate, np.array(noise)))
        end = float(loss(path[-1]))
        costate, slopes = 0.5 * CURVATURES / end, np.zeros(HORIZON)
        for t in reversed(range(HORIZON)):  # the derivative, backward through the recursion
            kept, rate = 1.0 - rates[t] * CURVATURES, rates[t]
            slope = 2.0 * rate * noise * CURVATURES - 2.0 * CURVATURES * kept * path[t]
            slopes[t] = rate * (costate @ slope)
            costate = costate * kept**2
        return np.log(end), slopes

    ends = [
        minimize(log_loss_and_slope, np.log(rate * highest), jac=True, bounds=bounds).fun
        for rate in (0.05, 0.3, 1.0)
    ]
    return float(np.exp(min(ends)))


def greedy_losses(noise: np.ndarray) -> np.ndarray:
    """Of the schedule that takes from each state the rate with the lowest loss one update later."""
    moments, h = np.ones((len(noise), 2)), CURVATURES
    for _ in range(HORIZON):
        variance = noise[:, None] * h
        rates = moments @ h**2 / ((h**2 * moments + variance) @ h)
        moments = moved(moments, np.minimum(rates, HIGHEST_RATE), noise)
    return loss(moments)


class Problems:
    """What policies are judged on: noise levels and first rates, and the optimum of each."""

    def __init__(self) -> None:
        grid = np.meshgrid(np.geomspace(*SPREAD, 6), np.geomspace(1e-4, 1.0, 8))
        self.noise, self.starts = (axis.ravel() for axis in grid)
        pairs = zip(self.noise, self.starts, strict=True)
        self.optimum = np.array([lowest_loss(*pair) for pair in pairs])

    def factor(self, losses: np.ndarray) -> float:
        """How many times the lowest loss, as a geometric mean."""
        return float(np.exp(np.mean(np.log(losses / self.optimum))))

    def factor_of(self, model: MaskablePPO) -> float:
        env = Quadratics(len(self.noise), seed=0)
        env.reset()
        env.noise, env.rates = self.noise.copy(), self.starts.copy()
        observations, masks = env.observe(), np.tile(MASK, (len(self.noise), 1))
        for _ in range(HORIZON):
            # What only the critic sees is spoiled: it must not matter.
            observations["privileged"] = np.full_like(observations["privileged"], np.nan)
            actions, _ = model.predict(observations, deterministic=True, action_masks=masks)
            observations, _, _, infos = env.step(actions)
        return self.factor(np.array([info["loss"] for info in infos]))
