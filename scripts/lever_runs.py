"""Runs that the figures of docs/levers.md are made of: computed once, a line of a file each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rlagent.apply.request import default_decisions
from rlagent.baselines.method import Problem, Steps, Training, advance, begin, one_by_one
from rlagent.baselines.method import run_together as together
from rlagent.baselines.reference import REFERENCE_LEARNING_RATE
from rlagent.baselines.runs import judge_on_test
from rlagent.controller.deciding import Decide, decide_by, hold
from rlagent.controller.file import Controller
from rlagent.experiments.sources import source
from rlagent_envs import episode as episodes
from rlagent_envs import knobs
from rlagent_envs.config import KNOB_NAMES
from rlagent_envs.episode import Episode
from rlagent_envs.models import Rung
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.adversarial import Norm
from rlagent_envs.training.bank import Bank, make_bank
from rlagent_envs.training.optimizer import ADAMW, ADVISED_RATES

TASKS = ("digits", "fashion_mnist.npz", "adult.csv:income", "cal_housing.csv:target", "fsdd.npz")
CONTROLLED_RATE = 1e-3  # where a controlled run starts, as in `rlagent tune`
# What the arrays of a file are pictures of, where the task does not say it itself.
PICTURES = {"digits": (8, 8, 1), "fashion_mnist.npz": (28, 28, 1), "fsdd.npz": (63, 32, 1)}
# Data by the network that `rlagent tune` takes for it, where that is no perceptron.
FAMILY_TASKS = {
    "fsdd.npz:sequence": {"task": "fsdd.npz", "form": "sequence"},
    "sst2.csv:label": {"task": "sst2.csv:label"},
    "subj.csv:label": {"task": "subj.csv:label"},
    "trec.csv:label": {"task": "trec.csv:label"},
    "fashion_mnist.npz:cnn": {"task": "fashion_mnist.npz", "family": "cnn"},
}

# The knob and its level of each edit.
EDITS = {
    "wider": (knobs.GROWTH, knobs.WIDER),
    "deeper": (knobs.GROWTH, knobs.DEEPER),
    "narrower": (knobs.SHRINK, knobs.NARROWER),
}

Judge = Callable[[Task, Episode], Mapping[str, Any]]


@dataclass(frozen=True)
class Arm:
    """How a run is begun, and who moves what; all of it is in the key of a result."""

    controller: str | None = None  # fingerprint; None: a cosine, and nothing moves
    opened: tuple[str, ...] = ()  # knobs that the controller may move
    settings: tuple[tuple[str, float], ...] = ()  # at the start, where they are not the default's
    optimizer: str = ADAMW
    rung: tuple[int, int] | None = None  # depth and width at the start; None: the usual one
    edits: tuple[tuple[float, str], ...] = ()  # from that share of the budget on: see `EDITS`
    norm: Norm = "linf"  # of attacks
    robust_epsilon: float = 0.0  # validation rows are judged under attacks within it; 0: not

    def key(self, task: str, seed: int, updates: int) -> str:
        """Tells one result from another; a store may be older than the last two fields."""
        usual = {"norm": "linf", "robust_epsilon": 0.0}.items()
        told = {k: v for k, v in asdict(self).items() if (k, v) not in usual}
        return json.dumps([task, seed, updates, told], sort_keys=True)


class Armed:
    """An arm as a method."""

    def __init__(self, arm: Arm, controller: Controller | None) -> None:
        self.name, self._arm, self._controller = "arm", arm, controller

    def steps(self, problem: Problem) -> Steps:
        arm, controller = self._arm, self._controller
        rate = REFERENCE_LEARNING_RATE if arm.controller is None else CONTROLLED_RATE
        rate = ADVISED_RATES.get(arm.optimizer, rate)
        settings = DEFAULT._replace(**{"learning_rate": rate, **dict(arm.settings)})
        schedule = "cosine"
        decide: Decide = hold
        if arm.controller is not None and controller is not None:
            schedule, decide = controller.schedule, decide_by(controller, problem.seed)
        # Each program has every lever, held where an arm has it closed, and so serves all arms.
        opened = (*arm.opened, "growth", "shrink") if arm.edits else arm.opened
        held = tuple(name for name in KNOB_NAMES if name not in opened)
        start = problem.start(
            settings,
            schedule=schedule,
            optimizer=arm.optimizer,
            norm=arm.norm,
            robust_epsilon=arm.robust_epsilon,
            held=held,
        )
        if arm.rung is not None:
            start = replace(start, rung=Rung(*arm.rung))
        training = begin(problem, start, KNOB_NAMES)
        edits = list(arm.edits)
        while not training.ended:
            mask = episodes.action_mask(training.episode)
            action, chances = decide(training.observation, mask, len(training.reports))
            if edits and training.episode.spent >= edits[0][0] * problem.updates:
                action = _edited(action, edits.pop(0)[1], mask)
            yield from advance([training], [action], [chances])
        return one_by_one([training])

    def describe(self) -> dict[str, Any]:
        return asdict(self._arm)


def _edited(action: np.ndarray, edit: str, mask: np.ndarray) -> np.ndarray:
    """The action with an edit in it, unless what is left of the budget does not allow it."""
    knob, level = EDITS[edit]
    if not mask[knobs.STARTS[knob] + level]:
        return action
    action = action.copy()
    action[knob] = level
    return action


class Store:
    """Results by key, in a file of JSON lines that is added to after each run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        text = path.read_text("utf-8") if path.exists() else ""
        if text and not text.endswith("\n"):  # the last line of a run that was killed
            path.write_text(text[: text.rfind("\n") + 1], "utf-8")
        lines = text[: text.rfind("\n") + 1].splitlines()
        self._found: dict[str, dict[str, Any]] = dict(json.loads(line) for line in lines)

    def get(self, key: str) -> dict[str, Any] | None:
        """The result of a key, if there is one."""
        return self._found.get(key)

    def add(self, key: str, result: dict[str, Any]) -> None:
        """Keeps a result."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([key, result]) + "\n")
        self._found[key] = result

    def forget(self, key: str) -> None:
        """A result that is to be computed again; the later line of a file counts."""
        self._found.pop(key, None)


def load(name: str, folder: Path) -> Task:
    """A task of `TASKS` for an MLP, its arrays marked as the pictures that they are, or another."""
    given = {"task": name, "family": "mlp"} if name in PICTURES else FAMILY_TASKS.get(name, name)
    task = source(given, folder).load()
    if not task.input_shape and name in PICTURES:
        task = replace(task, input_shape=PICTURES[name])
    return task


def short(name: str) -> str:
    """A task's name in tables."""
    return name.partition(":")[0].partition(".")[0]


class Bench:
    """Computes what a store lacks."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        controller: Controller,
        seeds: int,
        updates: int,
        tasks: Sequence[str] = TASKS,
    ) -> None:
        self.store, self.folder, self.controller = store, folder, controller
        self.seeds, self.updates = seeds, updates
        self.tasks = tasks  # to be measured now; tables have all of `TASKS`
        self._held: tuple[str, Task, Bank] | None = None

    def task(self, name: str) -> tuple[Task, Bank]:
        """A task and its bank, on the device; the one before is given up."""
        if self._held is None or self._held[0] != name:
            self._held = None
            task = load(name, self.folder)
            self._held = name, task, jax.device_put(make_bank(task, padded=False))
        return self._held[1:]

    def measure(
        self, name: str, arms: Sequence[Arm], seeds: int | None = None, judge: Judge | None = None
    ) -> None:
        """Runs each arm with each seed, where the store has no result yet."""
        for arm in dict.fromkeys(arms):
            chosen = range(self.seeds if seeds is None else seeds)
            keys = {seed: arm.key(name, seed, self.updates) for seed in chosen}
            missing = [seed for seed, key in keys.items() if self.store.get(key) is None]
            if not missing:
                continue
            task, bank = self.task(name)
            decisions = default_decisions(self.updates)
            pairs = [
                (Armed(arm, self.controller), Problem(task, bank, seed, self.updates, decisions))
                for seed in missing
            ]
            trained = [outcome.trained[0] for outcome in together(pairs)]
            judged = judge_on_test(task, [one.episode for one in trained])
            for seed, one, (score, metric) in zip(missing, trained, judged, strict=True):
                more = {} if judge is None else judge(task, one.episode)
                self.store.add(keys[seed], _result(one, score, metric) | dict(more))

    def forget(self, name: str, arm: Arm, what: str, seeds: int | None = None) -> None:
        """Runs that were made for another table, without this, are to be made again."""
        for seed in range(self.seeds if seeds is None else seeds):
            key = arm.key(name, seed, self.updates)
            known = self.store.get(key)
            if known is not None and what not in known:
                self.store.forget(key)

    def results(self, name: str, arm: Arm, seeds: int | None = None) -> list[dict[str, Any]]:
        """The results of an arm by seed, as far as there are any."""
        chosen = range(self.seeds if seeds is None else seeds)
        found = (self.store.get(arm.key(name, seed, self.updates)) for seed in chosen)
        return [one for one in found if one is not None]

    def paired(self, name: str, arm: Arm, other: Arm, what: str) -> np.ndarray:
        """Differences of a number between two arms, of the seeds that both have, `[seeds]`."""
        pairs = (
            [self.store.get(one.key(name, seed, self.updates)) for one in (arm, other)]
            for seed in range(self.seeds)
        )
        return np.array([a[what] - b[what] for a, b in pairs if a is not None and b is not None])


def _result(training: Training, score: float, metric: float) -> dict[str, Any]:
    books = training.episode.run.books
    return {
        "valid": training.score,
        "score": score,
        "metric": metric,
        "updates": int(books.updates),
        "flops": training.flops,
        "rung": str(training.episode.snapshot_shape.rung),
    }


def each(values: Sequence[dict[str, Any]], what: str) -> Iterator[float]:
    """One number of some results."""
    return (float(one[what]) for one in values)
