"""Stable-Baselines3's view of tuning episodes, in this process or in several."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from rlagent.ppo.places import COUNTERS, PRIVILEGED, Infos, Places, Turn
from rlagent.ppo.workers import Worker
from rlagent.processes import check_workers
from rlagent_envs import saving
from rlagent_envs.config import EnvConfig
from rlagent_envs.knobs import LEVELS
from rlagent_envs.observation import HIGHEST, LOWEST
from rlagent_envs.pool import check_config

Observations = dict[str, np.ndarray]


class TuningVecEnv(VecEnv):
    """Many tuning episodes at once; an episode that ends is followed by the next one at once.

    Observations are a dict: `observation` is what the environment shows, `privileged` what only
    the critic may see. Action masks come from `env_method("action_masks")`, as MaskablePPO asks.
    An episode depends on the config and its seed alone, so that any number of processes gives the
    same ones.

    Args:
        config: how episodes are drawn.
        places: how many run at once.
        seed: place i draws its episodes from (`seed`, i).
        reward_rows: as in `Places`.
        workers: processes that share the places; 1: this process runs all of them.
    """

    def __init__(
        self, config: EnvConfig, places: int, seed: int, reward_rows: int = 0, workers: int = 1
    ) -> None:
        if not 1 <= workers <= places:
            raise ValueError(f"workers must be from 1 to the {places} places, got {workers}")
        check_workers(workers)
        check_config(config)  # here, because an error in a worker is a traceback
        ends = [places * (number + 1) // workers for number in range(workers)]
        self._slices = [slice(*ends_of) for ends_of in zip([0, *ends], ends, strict=False)]
        self._parts: list[Places | Worker] = []
        with ExitStack() as stack:
            for number, one in enumerate(self._slices):
                arguments = config, _streams(seed, one), reward_rows
                part = Places(*arguments) if workers == 1 else Worker(number, *arguments)
                stack.callback(part.close)
                self._parts.append(part)
            self._stack = stack.pop_all()
        self.masks = np.zeros((places, sum(LEVELS)), bool)
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
        return _observations(self._gather([part.reset() for part in self._parts]))

    def step_async(self, actions: np.ndarray) -> None:
        """Hands out the actions, `[places, knobs]`; other processes begin with them at once."""
        for part, one in zip(self._parts, self._slices, strict=True):
            part.send(actions[one])

    def step_wait(self) -> tuple[Observations, np.ndarray, np.ndarray, Infos]:
        """One decision in each place; an episode that ends is replaced by its next one."""
        turn = self._gather([part.receive() for part in self._parts])
        return _observations(turn), turn.rewards, turn.dones, turn.infos

    def _gather(self, turns: Sequence[Turn]) -> Turn:
        """The turns of the parts as one; its masks are kept."""
        *arrays, infos = zip(*turns, strict=True)
        observation, privileged, masks, rewards, dones = map(np.concatenate, arrays)
        all_infos: Infos = list(chain.from_iterable(infos))
        turn = Turn(observation, privileged, masks, rewards, dones, all_infos)
        self.masks = turn.masks
        return turn

    def save(self) -> tuple[saving.Arrays, Infos]:
        """All that the places hold, as arrays and plain values, a list entry for each place."""
        arrays: saving.Arrays = {}
        facts: Infos = []
        counters: dict[str, list[np.ndarray]] = {name: [] for name in COUNTERS}
        for part, one in zip(self._parts, self._slices, strict=True):
            of_part, of_part_facts = part.save()
            for name in COUNTERS:
                counters[name].append(of_part.pop(name))
            arrays |= _renumbered(of_part, one.start)
            facts += of_part_facts
        return arrays | {name: np.concatenate(of_all) for name, of_all in counters.items()}, facts

    def load(self, arrays: saving.Arrays, facts: Infos) -> None:
        """Puts back what `save` gave, however many workers there were."""
        turns = []
        for part, one in zip(self._parts, self._slices, strict=True):
            counters = {name: arrays[name][one] for name in COUNTERS}
            places = {k: v for k, v in arrays.items() if k not in COUNTERS}
            mine = {k: v for k, v in places.items() if one.start <= _number(k) < one.stop}
            mine = _renumbered(mine, -one.start)
            turns.append(part.load(mine | counters, facts[one]))
        self._gather(turns)

    def close(self) -> None:
        """Ends the other processes, if there are any."""
        self._stack.close()

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Starts the streams of episodes anew: place i draws from (`seed`, i)."""
        if seed is None:
            return [None] * self.num_envs
        for part, one in zip(self._parts, self._slices, strict=True):
            part.seed(_streams(seed, one))
        return [seed] * self.num_envs

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
        return [self.masks[number] for number in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        """No place is wrapped."""
        return [False for _ in self._get_indices(indices)]


def _observations(turn: Turn) -> Observations:
    return {"observation": turn.observation, "privileged": turn.privileged}


def _number(name: str) -> int:
    """The place that an array belongs to: its name begins with the number."""
    return int(name.split("/", 1)[0])


def _renumbered(arrays: saving.Arrays, shift: int) -> saving.Arrays:
    return {f"{_number(k) + shift}/{k.split('/', 1)[1]}": value for k, value in arrays.items()}


def _streams(seed: int, places: slice) -> list[tuple[int, int]]:
    """The seeds of the streams of some places; neighbouring trainings share none of them."""
    return [(seed, number) for number in range(places.start, places.stop)]
