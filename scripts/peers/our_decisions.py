"""Decisions of `rlagent/Tuning-v0`, one environment or a vector of them, as a user makes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np

import rlagent_envs  # noqa: F401 (registers the environment)
from rlagent_envs import knobs
from rlagent_envs.tasks.registry import load_task
from scripts.peers.side import Round, repetitions

Env = Any  # of Gymnasium, or a vector of them: of both only `step` is called
SMALLER, LARGER = 2, 6  # levels of the learning rate: x 0.707 and x 1.414


class OurDecisions:
    """An episode long enough for all rounds; the agent moves the learning rate up and down."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.data, self.width, self.depth = options["data"], options["width"], options["depth"]
        self.places = options["places"]  # environments that are stepped together
        self.env, self.taken = self._of_updates(options["updates"]), 0
        updates = [self._decide() for _ in range(10)]
        self.count = repetitions(self._decide, options["seconds"], time.perf_counter)
        task = load_task(self.data)
        self.facts = {
            "network": f"{task.features}-{self.width}x{self.depth}-{task.outputs}",
            "batch": task.batch_size,
            "environments": self.places,
            "updates per decision": float(np.median(updates)) / self.places,
            "rows evaluated": self._rows_evaluated(task.batch_size, len(task.valid.x)),
        }

    def round(self) -> Round:
        """A number of decisions."""
        begun = time.perf_counter()
        updates = sum(self._decide() for _ in range(self.count))
        return Round(time.perf_counter() - begun, updates, self.count * self.places)

    def _decide(self) -> int:
        action = knobs.HOLD.copy()
        action[0] = (SMALLER, LARGER)[self.taken % 2]
        self.taken += 1
        if self.places > 1:
            action = np.tile(action, (self.places, 1))
        _, _, ended, _, info = self.env.step(action)
        if np.any(ended):
            raise RuntimeError("the episode has ended, so that a decision is no longer typical")
        return int(np.sum(info["updates"]))

    def _of_updates(self, wanted: int) -> Env:
        """An environment with the wanted number of updates in a decision, or the next larger one.

        A share of the budget pays for evaluation too, and evaluation is at most 14 % of a slice: a
        decision of a single update does not exist.
        """
        share = float(wanted)
        for _ in range(8):
            self.env, self.taken = self._made(share), 0
            made = [self._decide() for _ in range(8)]
            missing = wanted - float(np.mean(made[2:])) / self.places
            if abs(missing) < 0.01 * wanted or (missing < 0 and share == 1.0):
                break
            share = max(share + missing, 1.0)
        return self.env

    def _made(self, share: float) -> Env:
        make: Callable[..., Env] = gymnasium.make
        if self.places > 1:
            make = partial(gymnasium.make_vec, num_envs=self.places)
        env = make(
            "rlagent/Tuning-v0",
            task=self.data,
            knobs=("learning_rate",),
            decisions=(100_000, 100_000),
            updates_per_decision=(share, share),
            learning_rate=(1e-3, 1e-3),
            weight_decay=(1e-2, 1e-2),
            dropout=(0.0, 0.0),
            label_smoothing=(0.0, 0.0),
            momentum=(0.9, 0.9),
            depths=(self.depth,),
            widths=(self.width,),
        )
        env.reset(seed=0)
        return env

    def _rows_evaluated(self, batch: int, rows: int) -> int:
        books = self.env.unwrapped.pool.place(0).episode.run.books
        return min(int(books.pieces) * batch, rows)
