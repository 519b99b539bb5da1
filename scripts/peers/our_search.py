"""A random search by the environment's own functions."""

from __future__ import annotations

import time
from typing import Any

import jax
import numpy as np

from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.config import BASIC_KNOBS
from rlagent_envs.episode import Start
from rlagent_envs.models import Rung
from rlagent_envs.settings import DEFAULT
from rlagent_envs.training.bank import make_bank
from scripts.peers import search_plan
from scripts.peers.side import Round


class OurSearch:
    """All configurations side by side through `batch.step`, everything else held."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.task = search_plan.task(options)
        self.bank = jax.device_put(make_bank(self.task, padded=False))
        self.searches = 0
        # Evaluation is billed: without this a budget of n updates would make fewer.
        self.budget = float(options["updates"])
        self.budget *= self.budget / self._search(1).updates
        self.facts = search_plan.facts(self.task, options)

    def round(self) -> Round:
        """A whole search."""
        return self._search(self.options["trials"])

    def _search(self, trials: int) -> Round:
        begun = time.perf_counter()
        generator = np.random.default_rng(self.searches)
        self.searches += 1
        running = [
            episodes.begin(self.task, self.bank, self._start(generator, number), BASIC_KNOBS)
            for number in range(trials)
        ]
        left, updates = list(range(trials)), 0
        mode = batch.default_mode()
        while left:
            actions = np.tile(knobs.HOLD, (len(left), 1))
            stepped = batch.step([self.bank] * len(left), [running[n] for n in left], actions, mode)
            for number, one in zip(left, stepped, strict=True):
                running[number] = one.episode
                updates += int(one.report.updates)
            left = [n for n, one in zip(left, stepped, strict=True) if not one.report.terminated]
        jax.block_until_ready([one.run for one in running])  # type: ignore[no-untyped-call]
        return Round(time.perf_counter() - begun, updates)

    def _start(self, generator: np.random.Generator, seed: int) -> Start:
        def log_uniform(bounds: tuple[float, float]) -> float:
            return float(np.exp(generator.uniform(*np.log(bounds))))

        settings = DEFAULT._replace(
            learning_rate=log_uniform(search_plan.LEARNING_RATE),
            weight_decay=log_uniform(search_plan.WEIGHT_DECAY),
            dropout=0.0,
            label_smoothing=0.0,
        )
        rung = Rung(self.options["depth"], self.options["width"])
        return Start(seed, settings, rung, self.budget, self.options["evaluations"])
