"""Size and time of the report of a large experiment, made of invented runs.

`.venv/bin/python scripts/report_size.py [--small] [--store FILE] [--out FILE]`
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rlagent.experiments.report import write_report
from rlagent.experiments.store import Store
from rlagent.experiments.stored_run import Curve, StoredRun, Trial
from rlagent_envs.knobs import KNOBS

REPETITIONS = 3
POINTS = 80  # of a curve
LIMIT_BYTES, LIMIT_SECONDS = 5_000_000, 10.0

# (name, how much better than the reference, cost in single runs)
METHODS = (
    ("controller", -0.16, 1.0),
    ("tpe:16", -0.13, 16.0),
    ("random:32", -0.12, 32.0),
    ("pbt:8", -0.11, 8.0),
    ("random:16", -0.09, 16.0),
    ("schedule_free", -0.07, 1.0),
    ("hyperband:16", -0.06, 16.0),
    ("prodigy", -0.04, 1.0),
    ("cosine", -0.02, 1.0),
    ("one_cycle", -0.01, 1.0),
    ("reference", 0.0, 1.0),
    ("dog", 0.02, 1.0),
    ("linear", 0.03, 1.0),
    ("plateau", 0.05, 1.0),
    ("mechanize", 0.06, 1.0),
    ("momo", 0.08, 1.0),
    ("dadapt", 0.10, 1.0),
    ("constant@0.001", 0.14, 1.0),
    ("constant@0.01", 0.18, 1.0),
    ("held", 0.25, 1.0),
)
TASKS = (
    "digits",
    "wine",
    "breast_cancer",
    "diabetes",
    "fashion_mnist",
    "covertype",
    "california_housing",
    "spirals",
    "text_reviews",
    "teacher_network",
)
BUDGETS = (100, 300, 1000, 3000, 10000)


@dataclass(frozen=True)
class Extent:
    """How large an invented experiment is."""

    methods: Sequence[tuple[str, float, float]] = METHODS
    tasks: Sequence[str] = TASKS
    seeds: int = 10
    budgets: Sequence[int] = BUDGETS
    decisions: int = 40  # of a controller's run
    points: int = POINTS


SMALL = Extent(METHODS[:12], TASKS[:5], 4, (300, 1000), 22, 40)


def invented_runs(extent: Extent) -> list[StoredRun]:
    """Runs with plausible scores; equal extents give equal runs."""
    generator = np.random.default_rng(0)
    runs: list[StoredRun] = []
    for place, task in enumerate(extent.tasks):
        level, spread = -1.2 - 0.17 * place, 0.03 + 0.02 * (place % 3)
        for method, gain, cost in extent.methods:
            own = gain * (0.6 + 0.8 * generator.random())
            for budget in extent.budgets:
                target = level + own - 0.18 * np.log10(budget / 1000)
                for seed in range(extent.seeds):
                    score = float(target + spread * generator.standard_normal())
                    runs.append(
                        _run(extent, generator, task, method, seed, budget, score, cost, len(runs))
                    )
    return [_failed(run) if number % 997 == 7 else run for number, run in enumerate(runs)]


def _failed(run: StoredRun) -> StoredRun:
    return replace(
        run,
        status="failed",
        reason="out of memory: the batch of 512 rows did not fit",
        valid_score=None,
        test_score=None,
        test_metric=None,
        trials=[],
        curve=None,
        decisions=[],
    )


def _run(
    extent: Extent,
    generator: np.random.Generator,
    task: str,
    method: str,
    seed: int,
    budget: int,
    score: float,
    cost: float,
    number: int,
) -> StoredRun:
    flops = 2e6 * budget
    regression = task in ("diabetes", "california_housing")
    trials = [
        Trial(
            {"learning_rate": float(10 ** generator.uniform(-4, -1))},
            "64x2",
            "cosine",
            score + gap,
            score + gap + 0.02 * float(generator.standard_normal()),
            budget,
            flops,
        )
        for gap in np.sort(generator.exponential(0.12, int(cost))).tolist()
    ]
    return StoredRun(
        key=f"{number:016x}",
        task=task,
        method=method,
        seed=seed,
        updates=budget,
        config={"task": task, "method": method, "seed": seed, "updates": budget},
        versions={"rlagent": "0.2.0", "jax": "0.10.2", "device": "cpu (AMD EPYC)"},
        budget_flops=flops,
        flops=flops * cost,
        seconds=flops * cost / 4e9,
        valid_score=score - 0.02,
        test_score=score,
        metric_name="r2" if regression else "accuracy",
        test_metric=float(np.clip(1.1 + score / 9 if regression else 0.82 - score / 20, 0, 1)),
        trials=trials,
        curve=_curve(generator, score - 0.02, flops * cost, extent.points),
        decisions=_decisions(generator, extent.decisions, budget) if method == "controller" else [],
    )


def _curve(generator: np.random.Generator, end: float, flops: float, points: int) -> Curve:
    shares = np.arange(1, points + 1) / points
    falling = end + (0.05 - end) * np.exp(-5.0 * shares) * (1 - shares)
    noise = 0.02 * np.abs(generator.standard_normal(points)) * (1 - shares)
    best = np.minimum.accumulate(falling + noise)
    return Curve((flops * shares).tolist(), best.tolist())


def _decisions(generator: np.random.Generator, count: int, budget: int) -> list[dict[str, Any]]:
    settings = {
        "learning_rate": 1e-3,
        "weight_decay": 1e-4,
        "dropout": 0.0,
        "label_smoothing": 0.0,
        "momentum": 0.9,
    }
    rungs = ("64x2", "128x2", "128x3")
    records = []
    loss = best = 2.3
    rung = 0
    for number in range(count):
        shares = {
            name: generator.dirichlet(np.full(len(knob.levels), 0.3))
            for name, knob in KNOBS.items()
        }
        shares["growth"] = np.array([0.9, 0.06, 0.04])
        shares["restore"] = np.array([0.95, 0.05])
        levels = {name: int(np.argmax(share)) for name, share in shares.items()}
        grows = number in (count // 3, 2 * count // 3)
        levels["growth"] = 1 if grows and rung == 0 else 2 if grows else 0
        levels["restore"] = int(number == count // 2)
        rung += grows
        factor = KNOBS["learning_rate"].levels[levels["learning_rate"]]
        settings["learning_rate"] = float(
            np.clip(settings["learning_rate"] * float(factor), 1e-5, 0.1)
        )
        settings["weight_decay"] = float(
            np.clip(
                settings["weight_decay"]
                * float(KNOBS["weight_decay"].levels[levels["weight_decay"]]),
                1e-6,
                0.1,
            )
        )
        diverged = number == count // 4
        loss = loss * (0.86 + 0.06 * float(generator.standard_normal()))
        improved = loss < best and not diverged
        best = min(best, loss) if improved else best
        records.append(
            {
                "decision": number + 1,
                "updates": budget * (number + 1) // count,
                "spent": (number + 1) / count,
                "rung": rungs[rung],
                "settings": dict(settings),
                "action": {name: KNOBS[name].levels[level] for name, level in levels.items()},
                "train_loss": None if diverged else 0.8 * loss,
                "valid_loss": None if diverged else loss,
                "valid_accuracy": None if diverged else 1.0 - 0.3 * loss,
                "reward": 0.1 * float(generator.standard_normal()),
                "improved": improved,
                "diverged": diverged,
                "probabilities": {
                    name: [round(float(one), 5) for one in share] for name, share in shares.items()
                },
            }
        )
    return records


def write_store(path: Path, runs: Sequence[StoredRun]) -> None:
    """Writes runs into a new store."""
    with Store.open(path, write=True) as store:
        for run in runs:
            store.add(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="12 methods, 5 tasks, 4 seeds")
    parser.add_argument("--store", type=Path, help="where the invented store is kept; reused")
    parser.add_argument("--out", type=Path, help="where the page goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.store or Path(folder) / "store.sqlite"
        out = arguments.out or Path(folder) / "report.html"
        extent = SMALL if arguments.small else Extent()
        if not path.exists():
            write_store(path, invented_runs(extent))
        write_report(path, out)  # warm-up: imports
        taken = []
        for _ in range(REPETITIONS):
            begun = time.perf_counter()
            write_report(path, out)
            taken.append(time.perf_counter() - begun)
        size, seconds = out.stat().st_size, statistics.median(taken)
        with Store.open(path, write=False) as store:
            count = len(store.keys())
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "jax")}
    print(f"python {platform.python_version()}, {', '.join(map(' '.join, versions.items()))}")
    print(f"report of {count:,} runs: {size / 1e6:.2f} MB, asked for below {LIMIT_BYTES / 1e6:g}")
    print(
        f"median of {REPETITIONS} after a warm-up: {seconds:.1f} s ({min(taken):.1f} to "
        f"{max(taken):.1f}), asked for below {LIMIT_SECONDS:g}"
    )


if __name__ == "__main__":
    main()
