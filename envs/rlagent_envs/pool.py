"""A number of places in which episodes run, each with its own stream of seeds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import jax
import numpy as np

from rlagent_envs import batch, saving
from rlagent_envs import episode as episodes
from rlagent_envs.batch import Mode, Stepped
from rlagent_envs.config import EnvConfig
from rlagent_envs.episode import Episode, Start
from rlagent_envs.models import FAMILIES, Rung
from rlagent_envs.tasks.domains import sample
from rlagent_envs.tasks.registry import load_task
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import Bank, make_bank

PROCEDURAL = "procedural"


@dataclass(frozen=True)
class Place:
    """One place of a pool: an episode and what it runs on."""

    task: Task
    start: Start
    episode: Episode
    bank: Bank | None  # a bank of its own, or None where the pool holds it


def check_config(config: EnvConfig) -> None:
    """Raises ValueError, in one sentence, if episodes cannot be drawn as the config says."""
    for rung in itertools.product(config.depths, config.widths):
        FAMILIES["mlp"].check(Rung(*rung))
    if config.task != PROCEDURAL:
        fixed_task(config.task)  # kept for the episodes of this process


@cache
def fixed_task(name: str) -> tuple[Task, Bank]:
    """A task by name, with its data on the device; loaded once, whoever asks for it."""
    task = load_task(name, streamed=False)  # episodes have their data in memory
    return task, jax.device_put(make_bank(task, padded=False))


class Pool:
    """Episodes in a number of places; a place is empty until `begin` fills it.

    An episode depends on its config and seed alone: not on its place, nor on its neighbours.

    Args:
        config: how episodes are drawn.
        places: how many.
        mode: sequential (run by run) or vmap (the runs of a shape class together); None: what
            suits the device.
        test_rows: that a procedural task has beside those to train and validate on.
    """

    def __init__(
        self, config: EnvConfig, places: int, mode: Mode | None = None, test_rows: int = 0
    ) -> None:
        self.config, self.test_rows = config, test_rows
        self.mode: Mode = mode or batch.default_mode()
        self.places: list[Place | None] = [None] * places
        self.generators = [np.random.default_rng(number) for number in range(places)]
        self._shared: dict[Any, Bank] = {}  # banks of all places, by the shapes of their data

    def seed(self, seeds: Sequence[int | Sequence[int] | None]) -> None:
        """Starts the stream of episode seeds of each place anew, where a seed is given."""
        for number, seed in enumerate(seeds):
            if seed is not None:
                self.generators[number] = np.random.default_rng(seed)

    def begin_next(self, number: int) -> np.ndarray:
        """Begins the next episode of a place's own stream; returns its first observation."""
        return self.begin(number, int(self.generators[number].integers(2**31)))

    def begin(self, number: int, seed: int) -> np.ndarray:
        """Begins the episode of a seed; returns its first observation `[features]`."""
        task, bank, slot = self._data(number, seed)
        start = episodes.suited(episodes.draw(self.config, seed), task)
        episode = episodes.begin(task, bank, start, self.config.knobs, slot)
        self._fill(number, Place(task, start, episode, bank))
        return batch.observe(episode)

    def step(self, actions: np.ndarray) -> list[Stepped]:
        """One decision in each place.

        Args:
            actions: `[places, knobs]`, levels.

        Raises:
            RuntimeError: if a place is empty.
            ValueError: if an action is masked.
        """
        places = self._filled()
        banks = [place.bank or self._shared[_form(place.episode)] for place in places]
        stepped = batch.step(banks, [place.episode for place in places], actions, self.mode)
        for number, (place, one) in enumerate(zip(places, stepped, strict=True)):
            self.places[number] = Place(place.task, place.start, one.episode, place.bank)
        return stepped

    def masks(self) -> np.ndarray:
        """What may be chosen now, `[places, levels]`, bool."""
        return np.stack([episodes.action_mask(place.episode) for place in self._filled()])

    def place(self, number: int) -> Place:
        """What runs in a place; raises RuntimeError if nothing does."""
        place = self.places[number]
        if place is None:
            raise RuntimeError("call reset() before step()")
        return place

    def _filled(self) -> list[Place]:
        return [self.place(number) for number in range(len(self.places))]

    def save(self, number: int) -> tuple[saving.Arrays, dict[str, Any]]:
        """What runs in a place, as arrays and plain values."""
        place = self.place(number)
        arrays, facts = saving.pack(place.episode)
        stream = self.generators[number].bit_generator.state
        return arrays, {"seed": place.start.seed, "stream": stream, "episode": facts}

    def load(self, number: int, arrays: saving.Arrays, facts: dict[str, Any]) -> None:
        """Puts back what `save` gave, in a pool of the same config."""
        task, bank, slot = self._data(number, facts["seed"])
        start = episodes.suited(episodes.draw(self.config, facts["seed"]), task)
        episode = saving.unpack(
            task, bank, start, self.config.knobs, arrays, facts["episode"], slot
        )
        self._fill(number, Place(task, start, episode, bank))
        self.generators[number].bit_generator.state = facts["stream"]

    def _data(self, number: int, seed: int) -> tuple[Task, Bank, int]:
        """The task of an episode, the bank that holds it, and the slot there."""
        if self.config.task != PROCEDURAL:
            return *fixed_task(self.config.task), 0
        config = self.config
        task = sample(
            config.domains,
            seed,
            self.test_rows,
            difficulty=config.difficulty,
            canvases=config.canvases,
        )
        bank = make_bank(task, padded=True)
        if self.mode == "sequential":
            return task, jax.device_put(bank), 0
        return task, self._share(number, bank), number

    def _fill(self, number: int, place: Place) -> None:
        shared = self.config.task == PROCEDURAL and self.mode == "vmap"
        self.places[number] = replace(place, bank=None) if shared else place

    def _share(self, number: int, bank: Bank) -> Bank:
        """Puts a bank of one slot into the one that all places of its shapes share."""
        form = _bank_form(bank)
        if form not in self._shared:
            self._shared[form] = batch.empty_bank(bank, len(self.places))
        self._shared[form] = batch.put(self._shared[form], number, bank)
        return self._shared[form]


def _bank_form(bank: Bank) -> tuple[Any, ...]:
    targets = tuple(bank.train_y.shape[2:])
    return bank.train_x.shape[2], bank.classes.shape[1], targets, str(bank.train_y.dtype)


def _form(episode: Episode) -> tuple[Any, ...]:
    kind = "float32" if episode.shape.kind == "regression" else "int32"
    shape = episode.shape
    return shape.features, shape.outputs, shape.target_shape, kind
