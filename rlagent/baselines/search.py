"""Random search over a frozen space, and the grid of single learning rates."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rlagent.baselines.reference import REFERENCE_RUNG
from rlagent_envs.books import RungFacts
from rlagent_envs.episode import Start
from rlagent_envs.models import Rung, ShapeClass
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.settings import DEFAULT, Settings

SPACE_FILE = Path(__file__).parent / "search_space.toml"
SINGLE_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def single_starts(seed: int, budget: float, decisions: int) -> dict[str, Start]:
    """A run for each learning rate, constant and with cosine decay; all else at its default."""
    return {
        f"{schedule}:{rate:g}": Start(
            seed=seed,
            settings=DEFAULT._replace(learning_rate=rate),
            rung=REFERENCE_RUNG,
            budget=budget,
            decisions=decisions,
            cosine=schedule == "cosine",
        )
        for schedule in ("constant", "cosine")
        for rate in SINGLE_RATES
    }


def random_start(task: Task, seed: int, budget: float, decisions: int) -> Start:
    """A run of random search: settings, architecture and schedule drawn from the frozen space.

    Args:
        task: gives the cost of each architecture.
        seed: of the draw and of the run.
        budget: in updates of the space's base rung; the same FLOPs for every architecture.
        decisions: evaluations in a run.
    """
    space = read_space()
    generator = np.random.default_rng([seed, 5])
    settings = Settings(
        **{name: _draw(generator, space[name]) for name in Settings._fields if name != "momentum"},
        momentum=DEFAULT.momentum,
    )
    choices = {name: generator.choice(values) for name, values in space["choices"].items()}
    rung = Rung(int(choices["depth"]), int(choices["width"]))
    base = Rung(space["base"]["depth"], space["base"]["width"])
    return Start(
        seed=seed,
        settings=settings,
        rung=rung,
        budget=max(budget * _cost(task, base) / _cost(task, rung), 1.0),
        decisions=decisions,
        cosine=str(choices["schedule"]) == "cosine",
    )


def read_space() -> dict[str, Any]:
    """The frozen search space."""
    return tomllib.loads(SPACE_FILE.read_text())


def _draw(generator: np.random.Generator, bounds: dict[str, Any]) -> float:
    if bounds["log"]:
        return float(np.exp(generator.uniform(np.log(bounds["low"]), np.log(bounds["high"]))))
    return float(generator.uniform(bounds["low"], bounds["high"]))


def _cost(task: Task, rung: Rung) -> float:
    shape = ShapeClass(task.family, rung, task.kind, task.features, task.outputs, task.batch_size)
    return float(RungFacts.of(shape).update_flops)


def limited(start: Start, decisions: int) -> Start:
    """The same run with at most as many evaluations as it has updates."""
    return replace(start, decisions=max(min(decisions, int(start.budget)), 1))
