"""Measures a controller on tasks it has not seen, against single learning rates and random search.

Every run is a line of a JSON-lines file, so that a measurement goes on where it was stopped:

    python scripts/quality.py run single random --store FILE
    python scripts/quality.py run controller --controller default --store FILE
    python scripts/quality.py table --store FILE --markdown FILE
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rlagent.baselines import search
from rlagent.baselines.reference import REFERENCE_RUNG
from rlagent.baselines.runs import Act, hold, play, scores_on_test
from rlagent.baselines.statistics import expected_best, paired_interval, trials_to_match
from rlagent.controller.file import bind, load_controller
from rlagent_envs.episode import Start
from rlagent_envs.knobs import KNOBS
from rlagent_envs.observation import FEATURES
from rlagent_envs.tasks import Task, load_task
from rlagent_envs.tasks.procedural import sample_task
from rlagent_envs.training.bank import make_bank
from rlagent_envs.training.settings import DEFAULT

BUDGETS = {250: 20, 1000: 40, 4000: 80}  # updates of the base rung: decisions
FILES = {"fashion_mnist": "fashion_mnist.npz", "mnist": "mnist.npz", "adult": "adult.csv"}
TARGETS = {"adult": "income"}
BUNDLED = ("digits", "breast_cancer")
PROCEDURAL_SEEDS = 2_000_000_000  # training draws seeds below 2^31 by hashing; these it never saw
POOL = 64  # runs of random search
SEARCHED = "fashion_mnist"


def main() -> None:
    """Runs what is missing, or prints the tables of what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["run", "table"])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="single, random or controller")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--controller", default="default")
    parser.add_argument("--label", help="name of the controller in the store")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--procedural", type=int, default=40, help="tasks")
    parser.add_argument("--tasks", help="only these, with commas between")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    if arguments.action == "table":
        text = tables(read(arguments.store), arguments.label or arguments.controller)
        print(text)
        if arguments.markdown:
            arguments.markdown.write_text(text)
        return
    chosen = arguments.tasks.split(",") if arguments.tasks else None
    for name, task, seeds in tasks(arguments.data, arguments.seeds, arguments.procedural, chosen):
        for method in arguments.methods:
            measure(arguments, method, name, task, seeds)


def tasks(
    data: Path, seeds: int, procedural: int, chosen: list[str] | None
) -> Iterator[tuple[str, Task, range]]:
    """Each task with the seeds of its runs: a procedural task is a seed of its own."""
    for name in (*BUNDLED, *FILES):
        if chosen is None or name in chosen:
            source = str(data / FILES[name]) if name in FILES else name
            yield name, load_task(source, target=TARGETS.get(name)), range(seeds)
    if chosen is None or "procedural" in chosen:
        for number in range(procedural):
            task = sample_task(PROCEDURAL_SEEDS + number, test_rows=4000)
            yield task.name, task, range(2)


def measure(
    arguments: argparse.Namespace, method: str, name: str, task: Task, seeds: range
) -> None:
    """Makes the runs of a task that the store lacks, at every budget."""
    done = {(r["task"], r["budget"], r["method"], r["seed"]) for r in read(arguments.store)}
    # Padded, procedural tasks share their programs.
    bank = jax.device_put(make_bank(task, padded=name.startswith("procedural")))
    label = arguments.label or arguments.controller
    act = actor(arguments.controller) if method == "controller" else hold
    cosine = load_controller(arguments.controller).schedule == "cosine"
    for budget, decisions in BUDGETS.items():
        starts = starts_of(method, label, name, task, seeds, budget, decisions, cosine)
        missing = [key for key in starts if (name, budget, *key) not in done]
        for first in range(0, len(missing), 16):
            keys = missing[first : first + 16]
            begun = time.perf_counter()
            finished = play(task, bank, [starts[key] for key in keys], act)
            scores = scores_on_test(task, finished)
            seconds = round((time.perf_counter() - begun) / len(keys), 3)
            with arguments.store.open("a") as file:
                for key, one, score in zip(keys, finished, scores, strict=True):
                    line = {
                        "task": name,
                        "budget": budget,
                        "method": key[0],
                        "seed": key[1],
                        "test": score,
                        "valid": one.reports[-1].best_score,
                        "rung": str(one.episode.snapshot_shape.rung),
                        "seconds": seconds,
                    }
                    file.write(json.dumps(line) + "\n")
            print(name, budget, keys[0][0], len(keys), seconds, flush=True)


def starts_of(
    method: str,
    label: str,
    name: str,
    task: Task,
    seeds: range,
    budget: int,
    decisions: int,
    cosine: bool,
) -> dict[tuple[str, int], Start]:
    """What the runs of a method begin with, by the method's label and the seed."""
    match method:
        case "single":
            return {
                (single, seed): start
                for seed in seeds
                for single, start in search.single_starts(seed, budget, decisions).items()
            }
        case "random":
            pool = range(POOL) if name == SEARCHED else ()
            drawn = {seed: search.random_start(task, seed, budget, decisions) for seed in pool}
            return {
                ("random", seed): search.limited(start, decisions) for seed, start in drawn.items()
            }
        case "controller":
            return {
                (label, seed): controller_start(seed, budget, decisions, cosine) for seed in seeds
            }
    raise ValueError(f"unknown method {method!r}; there are: single, random, controller")


def controller_start(seed: int, budget: float, decisions: int, cosine: bool) -> Start:
    """The controller's start: a learning rate drawn over four decades, the rest as anyone's."""
    drawn = float(10.0 ** np.random.default_rng([seed, 6]).uniform(-5.0, -1.0))
    settings = DEFAULT._replace(learning_rate=drawn)
    return Start(seed, settings, REFERENCE_RUNG, budget, decisions, cosine)


def actor(name: str) -> Act:
    """A controller's choices for a batch of runs."""
    controller = load_controller(name)
    binding = bind(controller, FEATURES, KNOBS)
    keys = np.random.default_rng(0)

    def act(observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        return np.stack(
            [
                binding.full_action(
                    controller.act(
                        binding.own_observation(observation),
                        binding.own_mask(mask),
                        None
                        if controller.deterministic
                        else jax.random.key(int(keys.integers(2**31))),
                    )
                )
                for observation, mask in zip(observations, masks, strict=True)
            ]
        )

    return act


def tables(runs: list[dict[str, Any]], label: str) -> str:
    """The comparisons as Markdown: against the best single rate, and against random search."""
    rows: list[str] = []
    names = list(dict.fromkeys(str(run["task"]) for run in runs))
    groups = {name: [name] for name in names if not name.startswith("procedural")}
    groups["procedural"] = [name for name in names if name.startswith("procedural")]
    for chosen in ("test", "valid"):
        rows.append(f"| tasks | updates | controller | best single on {chosen} data |")
        rows[-1] += " difference (95 %) | verdict |"
        rows.append("| --- | --- | --- | --- | --- | --- |")
        for group, members in groups.items():
            budgets = [*BUDGETS, None] if members else []
            for budget in budgets:  # None: all budgets together
                of_row = [budget] if budget else list(BUDGETS)
                row = compared(runs, label, members, of_row, chosen)
                if row:
                    rows.append(f"| {group} | {budget or 'all'} | {row} |")
        rows.append("")
    rows += ["| task | updates | controller | best of 8 | of 16 | of 32 | trials to match |"]
    rows += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for budget in BUDGETS:
        pool = select(runs, SEARCHED, budget, "random")
        mine = select(runs, SEARCHED, budget, label)
        if len(pool) < POOL or not mine:
            continue
        valid, test = [run["valid"] for run in pool], [run["test"] for run in pool]
        score = float(np.mean([run["test"] for run in mine]))
        best = " | ".join(f"{expected_best(valid, test, k):.4f}" for k in (8, 16, 32))
        match = trials_to_match(valid, test, score)
        match_text = str(match) if match else f"more than {len(pool)}"
        rows.append(f"| {SEARCHED} | {budget} | {score:.4f} | {best} | {match_text} |")
    return "\n".join(rows) + "\n"


def compared(
    runs: list[dict[str, Any]], label: str, names: list[str], budgets: list[int], chosen: str
) -> str | None:
    """A row: the controller against the single rate that is best for each task on some data."""
    differences, mine_all, best_all, best_methods = [], [], [], []
    for name in names:
        for budget in budgets:
            mine = {run["seed"]: run["test"] for run in select(runs, name, budget, label)}
            single = {
                method: {run["seed"]: run for run in select(runs, name, budget, method)}
                for method in search.single_starts(0, 1.0, 1)
            }
            if not mine or any(set(mine) - set(of_method) for of_method in single.values()):
                return None
            seeds = sorted(mine)
            means = {m: np.mean([own[s][chosen] for s in seeds]) for m, own in single.items()}
            best = min(means, key=lambda method: means[method])
            scores = [single[best][seed]["test"] for seed in seeds]
            differences.append([mine[s] - score for s, score in zip(seeds, scores, strict=True)])
            mine_all.append(np.mean(list(mine.values())))
            best_all.append(np.mean(scores))
            best_methods.append(best)
    # Many tasks: they are what is drawn. One task: its seeds, each as the mean of its budgets.
    table = np.array(differences)
    many = len(names) > 1
    if many:
        table = table.reshape(len(names), -1)
    interval = paired_interval(table if many else table.mean(axis=0))
    verdict = "better" if interval.high < 0 else "worse" if interval.low > 0 else "equal"
    which = best_methods[0] if len(best_methods) == 1 else "of each"
    return (
        f"{np.mean(mine_all):.4f} | {np.mean(best_all):.4f} ({which}) | {interval.mean:+.4f} "
        f"({interval.low:+.4f} to {interval.high:+.4f}) | {verdict}"
    )


def select(runs: list[dict[str, Any]], name: str, budget: int, method: str) -> list[dict[str, Any]]:
    """The runs of one cell."""
    return [
        run
        for run in runs
        if run["task"] == name and run["budget"] == budget and run["method"] == method
    ]


def read(store: Path) -> list[dict[str, Any]]:
    """The runs in a store; none if it is not there yet."""
    if not store.exists():
        return []
    return [json.loads(line) for line in store.read_text().splitlines()]


if __name__ == "__main__":
    main()
