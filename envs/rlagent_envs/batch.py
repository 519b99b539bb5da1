"""Runs by the batch: groups them by shape class; the only place that compiles and batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs import dynamics
from rlagent_envs import episode as episodes
from rlagent_envs.dynamics import Report, Run
from rlagent_envs.episode import Episode
from rlagent_envs.models import ShapeClass
from rlagent_envs.training import evaluation
from rlagent_envs.training.bank import Bank
from rlagent_envs.training.feed import Feed, Span

Mode = Literal["sequential", "vmap"]

# Compiled here, at module level: equal shape classes share a program, whoever asks for it.
# The books are a program of their own, one for all shapes: they are half of what there is to
# compile, and a shape class would pay for them anew.
advance_one = jax.jit(dynamics.advance, static_argnums=0)
account_one = jax.jit(dynamics.account)
updates_one = jax.jit(dynamics.slice_updates)
cost_one = jax.jit(dynamics.slice_cost)
observe_one = jax.jit(dynamics.first_observation)
evaluate_one = jax.jit(evaluation.evaluate, static_argnums=0)


@partial(jax.jit, static_argnums=0)
def step_many(
    shape: ShapeClass, bank: Bank, runs: Run, actions: jax.Array
) -> tuple[Run, dynamics.Outcome]:
    """`dynamics.step` for the runs of one shape class at once, `[group]` in front of each leaf."""
    return jax.vmap(partial(dynamics.step, shape, bank))(runs, actions)


SLICES_LEFT = 1.5  # of the budget: below, the next slice is taken for the last one

# Linux lets a process have 65,530 memory maps if it is not told otherwise, XLA makes about a
# thousand for a program, and a process that finds no more dies without a word.
MAPS_SHARE = 0.8  # of those that the system allows
_shapes: set[ShapeClass] = set()  # whose programs there are


def make_room(shape: ShapeClass) -> None:
    """Drops all programs before one for a new shape class would be one too many."""
    if shape in _shapes:
        return
    if _memory_maps() > MAPS_SHARE * _most_memory_maps():
        drop_programs()
    _shapes.add(shape)


def drop_programs() -> None:
    """Forgets all compiled programs; what is needed again is compiled or loaded anew."""
    jax.clear_caches()  # type: ignore[no-untyped-call]
    _shapes.clear()


@cache
def _most_memory_maps() -> float:
    """How many a process may have; infinity where the system does not tell."""
    try:
        return float(Path("/proc/sys/vm/max_map_count").read_text())
    except OSError:
        return math.inf


def _memory_maps() -> int:
    """The memory maps of this process; 0 where the system does not tell."""
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return 0


class Stepped(NamedTuple):
    """What a decision gave one run."""

    episode: Episode
    observation: np.ndarray  # [features], float32
    report: Report  # of Python floats


def default_mode() -> Mode:
    """One by one on CPU, where that is faster and bit for bit repeatable; else together."""
    return "sequential" if jax.default_backend() == "cpu" else "vmap"


def observe(episode: Episode) -> np.ndarray:
    """The observation before the first decision, `[features]`."""
    return np.array(observe_one(episode.run.books))


def step_one(
    shape: ShapeClass, bank: Bank, run: Run, action: np.ndarray
) -> tuple[Run, dynamics.Outcome]:
    """`dynamics.step`, as its two compiled parts."""
    make_room(shape)
    live, measured = advance_one(shape, bank, run, action)
    books, outcome = account_one(run.books, measured, action)
    return Run(live, books), outcome


def step(
    banks: Sequence[Bank | Feed], running: Sequence[Episode], actions: np.ndarray, mode: Mode
) -> list[Stepped]:
    """One decision for each episode.

    Args:
        banks: the bank of each episode, or the feed that makes it, of streamed data; under `vmap`
            the episodes of a shape class that share no bank are stepped one after another.
        running: the episodes.
        actions: `[episodes, knobs]`, levels.
        mode: sequential or vmap.

    Returns:
        For each episode what became of it, in the same order.

    Raises:
        ValueError: if a mask forbids an action; then no run has been moved.
    """
    edited = [episodes.edit(one, action) for one, action in zip(running, actions, strict=True)]
    done = [episodes.carried_out(one, a) for one, a in zip(running, actions, strict=True)]
    levels = np.asarray(done, np.int32)
    filled = [_filled(*each) for each in zip(banks, edited, levels, strict=True)]
    if mode == "sequential":
        # All are dispatched before the first is read: Python's part overlaps with the training.
        results = [
            step_one(one.shape, bank, one.run, action)
            for bank, one, action in zip(filled, edited, levels, strict=True)
        ]
    else:
        results = _grouped(filled, edited, levels)
    stepped = []
    for one, (run, outcome) in zip(edited, results, strict=True):
        report = Report(*np.asarray(outcome.report).tolist())
        settled = episodes.settle(one, run, report)
        stepped.append(Stepped(settled, np.array(outcome.observation), report))
    return stepped


def _filled(bank: Bank | Feed, one: Episode, action: np.ndarray) -> Bank:
    """The bank of an episode's next slice: what is streamed has one for each."""
    if isinstance(bank, Bank):
        return bank
    books = one.run.books
    first, updates = map(int, updates_one(books, action))
    entries = books.entries()
    # With more than a slice left there may be another one, and with a bit more it is a short one.
    last = bool(entries.budget - entries.spent < SLICES_LEFT * entries.slice)
    return bank.bank(np.asarray(entries.key), Span(first, updates), last=last)


def _grouped(
    banks: Sequence[Bank], running: Sequence[Episode], actions: np.ndarray
) -> list[tuple[Run, dynamics.Outcome]]:
    """Steps the runs of each shape class together, padded to a power of two."""
    groups: dict[tuple[ShapeClass, int], list[int]] = {}
    for number, one in enumerate(running):
        groups.setdefault((one.shape, id(banks[number])), []).append(number)
    results: dict[int, tuple[Run, dynamics.Outcome]] = {}
    for (shape, _), members in groups.items():
        make_room(shape)
        size = 1 << (len(members) - 1).bit_length()
        padded = members + [members[0]] * (size - len(members))
        runs = _stack([running[number].run for number in padded])
        after, outcome = step_many(shape, banks[members[0]], runs, actions[padded])
        report, observation = np.asarray(outcome.report), np.asarray(outcome.observation)
        for place, number in enumerate(members):
            run = jax.tree.map(lambda leaf, place=place: leaf[place], after)
            results[number] = run, dynamics.Outcome(observation[place], report[place])
    return [results[number] for number in range(len(running))]


@jax.jit
def _stack_arrays(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _stack(runs: list[Run]) -> Run:
    stacked: Run = _stack_arrays(runs)
    return stacked


def empty_bank(bank: Bank, slots: int) -> Bank:
    """A bank of zeros with room for `slots` tasks of the shapes of `bank`."""
    return jax.tree.map(lambda leaf: jnp.zeros((slots, *leaf.shape[1:]), leaf.dtype), bank)


@partial(jax.jit, donate_argnums=0)
def put(bank: Bank, slot: int, one: Bank) -> Bank:
    """The bank with a task, itself a bank of one slot, in a slot; the old bank is used up."""
    return jax.tree.map(lambda leaf, new: leaf.at[slot].set(new[0]), bank, one)
