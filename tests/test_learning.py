"""PPO, set up as for controllers, learns a learning-rate schedule whose optimum is known.

The problem is the noisy quadratic: weights w with curvatures h, gradients h w plus noise of
variance c. An update with rate a turns the second moments m = E[w^2] into (1 - a h)^2 m + a^2 c,
and the expected loss is the sum of h m / 2, so the best schedule of a horizon is a smooth problem
of a few numbers. Greedy rates are far from it: they sink before the flat direction has moved.

Source: Schaul et al. 2013 (arXiv:1206.1106), section 3, for one curvature; Wu et al. 2018
(arXiv:1803.02021), section 2, for several.
"""

from __future__ import annotations

import sys
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

from rlagent.ppo.config import read_config
from rlagent.ppo.training import SHIPPED_CONFIG, make_model
from rlagent_envs.knobs import HOLD, KNOBS, LEVELS, open_mask
from rlagent_envs.tasks import load_task

CURVATURES = np.array([1.0, 0.05])
HORIZON = 20
HIGHEST_RATE = 1.0
FACTORS = np.array(KNOBS["learning_rate"].levels, float)
MASK = open_mask(["learning_rate"], load_task("iris"))
SPREAD = (0.03, 0.3)  # of the noise: its variance is a multiple of the curvature
LOG_SPREAD = np.log(SPREAD).tolist()


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
        super().__init__(places, gym.spaces.Dict(spaces), gym.spaces.MultiDiscrete(list(LEVELS)))

    def begin(self, which: np.ndarray) -> None:
        count = int(which.sum())
        self.noise[which] = np.exp(self.generator.uniform(LOG_SPREAD[0], LOG_SPREAD[1], count))
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

    Rates may take any value up to what the largest levels can reach, so the agent, which has nine
    levels, cannot do better.
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
        minimize(log_loss_and_slope, np.log(rate * highest), jac=True, bounds=bounds, tol=1e-10).fun
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
            env.step_async(actions)
            observations, _, _, infos = env.step_wait()
        return self.factor(np.array([info["loss"] for info in infos]))


def test_moments_are_those_of_stochastic_gradient_descent() -> None:
    generator = np.random.default_rng(0)
    noise, rates = np.array([0.2]), np.array([[0.9, 0.5, 0.05, 0.3]])
    weights = generator.choice([-1.0, 1.0], (200_000, 2))
    for rate in rates[0]:
        errors = np.sqrt(noise * CURVATURES) * generator.normal(size=weights.shape)
        weights = weights - rate * (CURVATURES * weights + errors)
    simulated = np.mean(0.5 * weights**2 @ CURVATURES)
    np.testing.assert_allclose(simulated, final_losses(rates, noise)[0], rtol=0.01)


def test_the_optimum_for_one_curvature_is_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """The greedy rate a = h m / (h^2 m + c) is then the best: 1 / m grows by h^2 / c an update."""
    monkeypatch.setattr(sys.modules[__name__], "CURVATURES", np.ones(2))
    for noise in SPREAD:
        expected = 1.0 / (1.0 + HORIZON / noise)
        np.testing.assert_allclose(lowest_loss(noise, start=1.0), expected, rtol=1e-3)
        np.testing.assert_allclose(greedy_losses(np.array([noise])), expected, rtol=1e-3)


def test_no_schedule_is_better_than_the_optimum() -> None:
    generator = np.random.default_rng(0)
    for noise in SPREAD:
        lowest = lowest_loss(noise, start=1.0)
        # High up to some update, then falling by some power of time: the kind that is good here.
        turn, first, power = (
            generator.uniform(low, high, 20_000) for low, high in ((0, 20), (0.1, 1), (0.3, 3))
        )
        since = np.maximum(np.arange(HORIZON) - turn[:, None], 0.0)
        rates = np.where(since > 0.0, first[:, None] / (1.0 + since) ** power[:, None], 1.0)
        losses = final_losses(rates, np.full(len(rates), noise))
        assert lowest < losses.min() < 1.05 * lowest
        # A start at a low rate costs something, one at the highest allowed rate nothing.
        assert lowest_loss(noise, start=1e-4) > 1.01 * lowest


@pytest.mark.slow
def test_ppo_learns_a_schedule_near_the_optimum() -> None:
    torch.set_num_threads(1)
    problems = Problems()
    greedy = problems.factor(greedy_losses(problems.noise))
    rates = np.geomspace(1e-2, 1.0, 60)
    constant = np.min(
        [final_losses(np.full((48, HORIZON), rate), problems.noise) for rate in rates], axis=0
    )
    # What short sight costs, and one rate even if chosen for each problem with all knowledge of it.
    assert greedy > 1.5
    assert problems.factor(constant) > 1.6

    config = replace(read_config(SHIPPED_CONFIG).ppo, decisions=100_000, seed=0)
    model = make_model(config, Quadratics(config.places, config.seed))
    assert problems.factor_of(model) > 5.0
    model.learn(config.decisions)
    assert problems.factor_of(model) < 1.4
