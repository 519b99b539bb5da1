"""Speed of the environment: decisions per second, rungs against each other, FLOP rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.books import RungFacts
from rlagent_envs.config import BASIC_KNOBS
from rlagent_envs.dynamics import Run
from rlagent_envs.episode import Episode, Start
from rlagent_envs.models import Rung
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks.task import Split, Task
from rlagent_envs.training.bank import Bank, make_bank
from scripts import plain_loops
from scripts.figures import Figure, in_turns, milliseconds, ratio
from scripts.plain_loops import HASHED, THREEFRY, Data, State, Work

UPDATES, RUNS, MATRIX = 20, 16, 2048
SMALLEST, LARGEST = Rung(1, 32), Rung(4, 256)


def made_task(features: int, train_rows: int = 4096) -> Task:
    """Ten classes by a random linear rule."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((train_rows + 1024, features), np.float32)
    rule = generator.standard_normal((features, 10), np.float32)
    y = np.argmax(x @ rule, axis=1).astype(np.int32)
    train, valid = Split(x[:train_rows], y[:train_rows]), Split(x[train_rows:], y[train_rows:])
    return Task("made", "classification", train, valid, None, outputs=10, batch_size=64)


@dataclass(frozen=True)
class Prepared:
    """Runs that are under way, from which each repetition starts anew."""

    task: Task
    bank: Bank
    running: list[Episode]

    @classmethod
    def of(cls, task: Task, rung: Rung, runs: int, updates: int = UPDATES) -> Prepared:
        """Runs whose decisions make exactly `updates` updates each."""
        bank = jax.device_put(make_bank(task, padded=False))
        settings = DEFAULT._replace(dropout=0.1)
        start = Start(0, settings, rung, budget=float(updates), decisions=1)
        for _ in range(5):  # a longer slice affords a larger evaluation, which lengthens it
            one = episodes.begin(task, bank, start, BASIC_KNOBS)
            facts = RungFacts.of(one.shape)
            share = updates + int(one.run.books.pieces) * facts.piece_flops / facts.update_flops
            start = replace(start, budget=200 * share, decisions=200)
        begun = [
            episodes.begin(task, bank, replace(start, seed=seed), BASIC_KNOBS)
            for seed in range(runs)
        ]
        prepared = cls(task, bank, [episodes.on_device(one) for one in begun])
        return replace(prepared, running=prepared.after(2, updates))

    def after(self, decisions: int, updates: int = UPDATES) -> list[Episode]:
        """The runs after some decisions that move the learning rate up and down."""
        running = self.running
        for number in range(decisions):
            action = knobs.HOLD.copy()
            action[0] += 1 - 2 * (number % 2)
            actions = np.tile(action, (len(running), 1))
            stepped = batch.step([self.bank] * len(running), running, actions, batch.default_mode())
            if any(one.report.updates != updates for one in stepped):
                raise RuntimeError("a decision did not make the updates that it should")
            running = [one.episode for one in stepped]
        return running

    def plain(self) -> tuple[Data, list[State]]:
        """The same data and networks of the same sizes for the loops written by hand."""
        books, shape = self.running[0].run.books, self.running[0].shape
        data = Data.of(self.task, int(books.pieces) * shape.batch_size)
        states = [
            plain_loops.begin(seed, shape.features, shape.rung.width, shape.rung.depth, 10)
            for seed in range(len(self.running))
        ]
        return data, states


def _runs(prepared: Prepared, decisions: int) -> list[Run]:
    """What the variants are waited for by."""
    return [one.run for one in prepared.after(decisions)]


def python_loop(work: Work, data: Data, state: State, slices: int, *, reads: bool) -> State:
    """A Python loop around one jitted update."""
    for _ in range(slices * work.updates):
        state, loss = plain_loops.jitted_update(work, data, state)
        if reads:
            float(loss)
    return state


def scan_loop(work: Work, data: Data, states: Sequence[State], slices: int) -> list[State]:
    """Slices by hand for a number of runs; what is told of each is read after each."""
    running = list(states)
    for _ in range(slices):
        results = [plain_loops.scanned(work, data, state) for state in running]
        for _, told in results:
            jax.device_get(told)
        running = [state for state, _ in results]
    return running


def decisions(rounds: int) -> Iterator[Figure]:
    """Decisions per second on the smallest rung, against loops written by hand."""
    prepared = Prepared.of(made_task(196), SMALLEST, RUNS)
    data, states = prepared.plain()
    single = replace(prepared, running=prepared.running[:1])
    bare = Work(looks=False, evaluates=False)

    def loop(draw: plain_loops.Draws, reads: bool) -> Callable[[], Any]:
        return lambda: python_loop(replace(bare, draw=draw), data, states[0], 4, reads=reads)

    seconds = in_turns(
        {
            "16 runs": (partial(_runs, prepared, 2), 2 * RUNS),
            "one run": (partial(_runs, single, 16), 16),
            "loop that reads": (loop(HASHED, True), 4),
            "loop that never reads": (loop(HASHED, False), 4),
            "loop that reads, jax.random": (loop(THREEFRY, True), 4),
            "loop that never reads, jax.random": (loop(THREEFRY, False), 4),
            "scan, 16 runs": (lambda: scan_loop(Work(), data, states, 2), 2 * RUNS),
            "scan, one run": (lambda: scan_loop(Work(), data, states[:1], 16), 16),
            "bare scan, 16 runs": (lambda: scan_loop(bare, data, states, 2), 2 * RUNS),
            "bare scan, one run": (lambda: scan_loop(bare, data, states[:1], 16), 16),
        },
        rounds,
    )
    for runs in ("16 runs", "one run"):
        rate = float(np.median(1.0 / seconds[runs]))
        yield Figure(f"decisions per second, 32x1, {runs}", rate, rounds, "1/s")
        for other, asked in (
            ("loop that reads", 4.0),
            ("loop that never reads", 2.0),
            (f"scan, {runs}", 0.9),
            ("loop that reads, jax.random", None),
            ("loop that never reads, jax.random", None),
            (f"bare scan, {runs}", None),
        ):
            yield Figure(
                f"decisions per second, 32x1, {runs}, against a {other}",
                ratio(seconds, other, runs),
                rounds,
                at_least=asked,
                details=milliseconds(seconds, runs, other),
            )


def rungs(rounds: int) -> Iterator[Figure]:
    """Cost of a step on the smallest rung against the largest."""
    task = made_task(196)
    small, large = (Prepared.of(task, rung, RUNS) for rung in (SMALLEST, LARGEST))
    for runs in (RUNS, 1):
        one, other = (replace(each, running=each.running[:runs]) for each in (small, large))
        seconds = in_turns(
            {
                "32x1": (partial(_runs, one, 2), 2 * runs),
                "256x4": (partial(_runs, other, 2), 2 * runs),
            },
            rounds,
        )
        yield Figure(
            f"cost of a step on 32x1 against 256x4, {runs} runs",
            ratio(seconds, "32x1", "256x4"),
            rounds,
            below=1 / 15,
            details=milliseconds(seconds, "32x1", "256x4"),
        )


@jax.jit
def _matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b)


def flops(rounds: int) -> Iterator[Figure]:
    """FLOP rate of the training loop on the largest rung against a bare matrix product."""
    prepared = Prepared.of(made_task(196), LARGEST, 1)
    data, (state,) = prepared.plain()
    facts = RungFacts.of(prepared.running[0].shape)
    pieces = int(prepared.running[0].run.books.pieces)
    training = UPDATES * facts.update_flops
    whole = training + pieces * facts.piece_flops
    a, b = jax.device_put(
        np.random.default_rng(0).standard_normal((2, MATRIX, MATRIX)).astype(np.float32)
    )
    bare = Work(dropout=False, looks=False, evaluates=False)
    one = prepared.running[0]
    seconds = in_turns(
        {
            "matmul": (lambda: _matmul(a, b), 1),
            "decision": (partial(_runs, prepared, 1), 1),
            "training loop": (
                lambda: batch.advance_one(one.shape, prepared.bank, one.run, knobs.HOLD)[0],
                1,
            ),
            "scan by hand": (lambda: plain_loops.scanned(Work(), data, state)[0], 1),
            "scan by hand, no dropout, telemetry or evaluation": (
                lambda: plain_loops.scanned(bare, data, state)[0],
                1,
            ),
        },
        rounds,
    )
    product = 2.0 * MATRIX**3
    work = dict.fromkeys(seconds, whole) | {
        "scan by hand, no dropout, telemetry or evaluation": training
    }
    rate = {"matmul": 1e-9 * product / float(np.median(seconds["matmul"]))}
    for name in list(seconds)[1:]:
        share = (work[name] / product) * ratio(seconds, "matmul", name)
        rate[name] = 1e-9 * work[name] / float(np.median(seconds[name]))
        yield Figure(
            f"FLOP rate at 256x4, {name}, against a bare {MATRIX}x{MATRIX} matmul",
            100.0 * share,
            rounds,
            "%",
            at_least=50.0 if name == "training loop" else None,
            details={f"{each} GFLOP/s": rate[each] for each in ("matmul", name)},
        )
