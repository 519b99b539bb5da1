"""What whole episodes with growth cost: compilations, and the evaluation's share of the bill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.books import RungFacts
from rlagent_envs.config import BASIC_KNOBS, EnvConfig
from rlagent_envs.episode import Episode, Start
from rlagent_envs.models import FAMILIES, Rung, ShapeClass
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import Bank, make_bank
from scripts.figures import CompileCount, Figure
from scripts.speed import made_task

GROWTH, CHANGE = 0.15, 0.3  # probability of growth, and of a change of each other knob


class Walk(NamedTuple):
    """An episode under random actions, from its start to the end of its budget."""

    shapes: set[ShapeClass]
    training: float  # FLOPs
    evaluation: float  # FLOPs


def walk(task: Task, bank: Bank, start: Start) -> Walk:
    """Plays an episode; it grows by one path through the ladder, whatever else it does."""
    generator = np.random.default_rng([start.seed, 9])
    now = episodes.begin(task, bank, start, BASIC_KNOBS)
    shapes, training, evaluation = {now.shape}, 0.0, 0.0
    ended = False
    while not ended:
        action = _action(generator, now)
        shape = episodes.edit(now, action).shape
        facts, pieces = RungFacts.of(shape), int(now.run.books.pieces)
        (stepped,) = batch.step([bank], [now], action[None], batch.default_mode())
        shapes.add(shape)
        training += stepped.report.updates * facts.update_flops
        evaluation += pieces * facts.piece_flops
        now, ended = stepped.episode, bool(stepped.report.terminated)
    billed = episodes.flops_spent(now)
    if abs(training + evaluation - billed) > 1e-3 * billed:
        raise RuntimeError(f"billed {billed:g} FLOPs, but made {training + evaluation:g}")
    return Walk(shapes, training, evaluation)


def _action(generator: np.random.Generator, now: Episode) -> np.ndarray:
    """Random levels; where it grows, the rung alone says whether wider or deeper."""
    action, mask = knobs.HOLD.copy(), episodes.action_mask(now)
    for knob, levels in enumerate(knobs.LEVELS):
        allowed = np.flatnonzero(mask[knobs.STARTS[knob] :][:levels])
        if knob != knobs.GROWTH and generator.random() < CHANGE:
            action[knob] = generator.choice(allowed)
    rung = now.shape.rung
    wider = FAMILIES[now.shape.family].widths.index(rung.width) < rung.depth
    level = knobs.WIDER if wider else knobs.DEEPER
    if mask[knobs.STARTS[knobs.GROWTH] + level] and generator.random() < GROWTH:
        action[knobs.GROWTH], action[knobs.RESTORE] = level, knobs.HOLD[knobs.RESTORE]
    return action


def compilations() -> Iterator[Figure]:
    """Programs compiled for each shape class visited, and for changes of anything else."""
    first = made_task(195)
    shared = Start(0, DEFAULT, Rung(1, 32), budget=16.0, decisions=2)
    walk(first, make_bank(first, padded=False), shared)  # compiles what all shapes share
    task = replace(first, batch_size=32)  # another shape class on every rung
    bank = jax.device_put(make_bank(task, padded=False))
    advance: Any = batch.advance_one
    count, entries = CompileCount(), advance._cache_size()
    seen = walk(task, bank, replace(shared, budget=2000.0, decisions=100)).shapes
    entries = advance._cache_size() - entries
    yield Figure(
        "compilations for each shape class visited",
        count.programs / len(seen),
        len(seen),
        "",
        at_most=1.0,
        details={"shape classes": len(seen), "programs": count.programs, "cache entries": entries},
    )
    programs, walks = count.programs, 20
    for seed in range(1, 1 + walks):
        drawn = episodes.draw(EnvConfig(decisions=(2, 60)), seed)
        later = walk(task, bank, replace(drawn, rung=Rung(1, 32))).shapes
        if later - seen:
            raise RuntimeError(f"an episode left the path to {later - seen}")
    yield Figure(
        "compilations for any change of settings, horizon or budget",
        float(count.programs - programs),
        walks,
        "",
        at_most=0.0,
    )


def evaluation() -> Iterator[Figure]:
    """The evaluation's share of the FLOPs billed, over whole episodes."""
    task = made_task(196)
    bank = jax.device_put(make_bank(task, padded=False))
    found = []
    for seed in range(60):
        start = episodes.draw(EnvConfig(), seed)
        result = walk(task, bank, start)
        share = 100.0 * result.evaluation / (result.training + result.evaluation)
        found.append((share, start.decisions, start.budget))
    share, decisions, budget = max(found)
    yield Figure(
        "evaluation's share of the billed FLOPs, worst episode",
        share,
        len(found),
        "%",
        below=15.0,
        details={
            "median %": float(np.median([one[0] for one in found])),
            "its decisions": decisions,
            "its budget": budget,
        },
    )
