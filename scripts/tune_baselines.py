"""Chooses the frozen numbers of the baselines on procedural tasks, none of which is held out.

Each result is a line of a JSON-lines file, so that a measurement goes on where it was stopped:

    python scripts/tune_baselines.py rates --store rates.jsonl
    python scripts/tune_baselines.py transferred --store transferred.jsonl

`rates` prints the learning rate of each method that has one number, and the numbers of the rules,
for rlagent/baselines/frozen.toml. `transferred` writes rlagent/baselines/transferred.toml.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rlagent.apply.devices import use_compile_cache
from rlagent.apply.request import default_decisions
from rlagent.baselines.frozen import frozen
from rlagent.baselines.method import (
    Method,
    Outcome,
    Problem,
    Steps,
    best_of,
    finish,
    one_by_one,
    run_together,
)
from rlagent.baselines.runs import score_on_test
from rlagent.baselines.search import Configuration, configuration, distributions, make_study
from rlagent.baselines.single import Reactive, Scheduled
from rlagent.baselines.transferred import FILE, greedy_order
from rlagent_envs.config import SCHEDULES
from rlagent_envs.models import FAMILIES
from rlagent_envs.tasks import Task
from rlagent_envs.tasks.procedural_tables import sample_table_task
from rlagent_envs.training.bank import make_bank
from rlagent_envs.training.optimizer import TUNING_FREE

FIRST_SEED = 1_000_000_000
BUDGETS = (250, 1000)
ROWS = 4000  # fresh ones of each task, on which a choice is judged
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
FACTORS = (0.1, 0.3, 1.0, 3.0)  # of the learning rate that an optimizer finds
FINDERS = ("prodigy", "dadapt", "dog")
RULE_NUMBERS: dict[str, list[dict[str, float]]] = {
    "plateau": [{"factor": f, "patience": p} for f, p in product((0.2, 0.5), (1, 3, 6))],
    "greedy": [{"factor": f, "patience": p} for f, p in product((0.5, 0.8, 0.95), (0, 1, 3))],
}
POOL = 96  # configurations, of which the list is made
LENGTH = 32  # of the list


class Candidate(NamedTuple):
    """One choice of numbers for a method."""

    method: str
    learning_rate: float
    numbers: tuple[tuple[str, float], ...] = ()

    def make(self) -> Method:
        if self.method in RULE_NUMBERS:
            numbers = frozen()[self.method] | dict(self.numbers)
            return Reactive(self.method, self.learning_rate, self.method, tuple(numbers.items()))
        if self.method in TUNING_FREE:
            return Scheduled(self.method, self.learning_rate, optimizer=self.method)
        return Scheduled(self.method, self.learning_rate, schedule=self.method)


class Fixed:
    """One configuration of the space, as a method."""

    def __init__(self, name: str, chosen: Configuration) -> None:
        self.name, self._chosen = name, chosen

    def steps(self, problem: Problem) -> Steps:
        training = self._chosen.begin(problem, 0)
        yield from finish([training])
        return one_by_one([training])

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


def main() -> None:
    """Measures what is missing, and prints or writes the choice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["rates", "transferred"])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--tasks", type=int, default=24)
    arguments = parser.parse_args()
    use_compile_cache()
    methods: dict[str, Method] = (
        {json.dumps(c): c.make() for c in candidates()}
        if arguments.what == "rates"
        else {json.dumps(c): Fixed("", Configuration.of(c)) for c in pool()}
    )
    measure(arguments.store, methods, arguments.tasks)
    scores = read(arguments.store, list(methods), arguments.tasks)
    (print_rates if arguments.what == "rates" else write_list)(scores)


def candidates() -> list[Candidate]:
    found = [Candidate(name, rate) for name in SCHEDULES for rate in RATES]
    for name in TUNING_FREE:
        found += [Candidate(name, r) for r in (FACTORS if name in FINDERS else RATES)]
    for name, choices in RULE_NUMBERS.items():
        for numbers, rate in product(choices, RATES[1:4]):
            found.append(Candidate(name, rate, tuple(numbers.items())))
    return found


def pool() -> list[dict[str, Any]]:
    """Configurations of random search."""
    study = make_study(frozen()["searches"]["random"], seed=0, decisions=1)
    found = []
    for _ in range(POOL):
        chosen = configuration(study.ask(distributions()))
        rung = chosen.rung or FAMILIES["mlp"].default
        settings = {k: float(f"{v:.3g}") for k, v in chosen.settings._asdict().items()}
        momentum = settings.pop("momentum")
        found.append(
            settings
            | {"damping": round(1.0 - momentum, 4)}
            | {"width": rung.width, "depth": rung.depth}
            | {"schedule": chosen.schedule}
        )
    return found


def measure(store: Path, methods: dict[str, Method], tasks: int) -> None:
    """Makes the results that the store lacks, a line each."""
    done = set(lines(store))
    for number, updates in product(range(tasks), BUDGETS):
        missing = [key for key in methods if (number, updates, key) not in done]
        if not missing:
            continue
        task = sample_table_task(FIRST_SEED + number, test_rows=ROWS)
        bank = jax.device_put(make_bank(task, padded=True))
        problem = Problem(task, bank, number, updates, default_decisions(updates))
        for first in range(0, len(missing), 16):
            keys = missing[first : first + 16]
            outcomes = run_together([(methods[key], problem) for key in keys])
            with store.open("a") as file:
                for key, outcome in zip(keys, outcomes, strict=True):
                    line = [number, updates, key, judged(task, outcome)]
                    file.write(json.dumps(line) + "\n")
        print(f"task {number}, {updates} updates", flush=True)


def judged(task: Task, outcome: Outcome) -> float:
    return score_on_test(task, best_of(outcome).episode)


def lines(store: Path) -> dict[tuple[int, int, str], float]:
    if not store.exists():
        return {}
    rows = [json.loads(line) for line in store.read_text().splitlines()]
    return {(number, updates, key): score for number, updates, key, score in rows}


def read(store: Path, keys: list[str], tasks: int) -> dict[str, np.ndarray]:
    """The scores of each candidate, `[tasks x budgets]`."""
    found = lines(store)
    cells = list(product(range(tasks), BUDGETS))
    return {key: np.array([found[(n, u, key)] for n, u in cells]) for key in keys}


def print_rates(scores: dict[str, np.ndarray]) -> None:
    parsed = [(Candidate(*json.loads(key)), float(np.mean(of))) for key, of in scores.items()]
    for name in dict.fromkeys(candidate.method for candidate, _ in parsed):
        own = [(candidate, score) for candidate, score in parsed if candidate.method == name]
        best, score = min(own, key=lambda pair: pair[1])
        told = ", ".join(f"{k} {v:g}" for k, v in best.numbers)
        line = " ".join(f"{c.learning_rate:g}:{s:.4f}" for c, s in own if c.numbers == best.numbers)
        print(f"{name} = {best.learning_rate:g}  # {score:.4f} {told} ({line})")


def write_list(scores: dict[str, np.ndarray]) -> None:
    keys = list(scores)
    order = greedy_order(np.stack([scores[key] for key in keys]), LENGTH)
    texts = [
        "# An ordered list of configurations, to be tried in this order: each next one lowers the",
        "# mean of the best so far over procedural tasks the most (scripts/tune_baselines.py).",
    ]
    for place in order:
        texts.append("\n[[configurations]]")
        texts += [f"{k} = {json.dumps(v)}" for k, v in json.loads(keys[place]).items()]
    FILE.write_text("\n".join(texts) + "\n")
    print(f"wrote {len(order)} configurations to {FILE}")


if __name__ == "__main__":
    main()
