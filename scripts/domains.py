"""A table of two methods, task by task, from a store of `rlagent bench`.

rlagent bench scripts/domains.toml --suite-dir DATA --workers 2
python -m scripts.domains domains.sqlite
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rlagent.experiments.statistics.aggregates import interquartile
from rlagent.experiments.statistics.comparisons import verdict
from rlagent.experiments.store import Store
from rlagent.experiments.stored_run import StoredRun

Runs = dict[str, dict[int, StoredRun]]  # by method and seed


def by_task(runs: Sequence[StoredRun]) -> dict[str, Runs]:
    """The finished runs of each task."""
    found: dict[str, Runs] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        found[run.task][run.method][run.seed] = run
    return found


def line(task: str, runs: Runs, method: str, other: str) -> str:
    """A task's row: the paired difference of the test score, and both metrics."""
    seeds = sorted(runs[method].keys() & runs[other].keys())
    pairs = [(runs[method][seed], runs[other][seed]) for seed in seeds]
    scores = [(a.test_score, b.test_score) for a, b in pairs]
    differences = [a - b for a, b in scores if a is not None and b is not None]
    told = interquartile(np.array([differences]))
    metrics = [
        np.mean([run.test_metric for run in side if run.test_metric is not None])
        for side in zip(*pairs, strict=True)
    ]
    metric = pairs[0][0].metric_name
    bounds = f"{told.value:+.3f} ({told.low:+.3f} to {told.high:+.3f})"
    return (
        f"| {task} | {bounds} | {verdict(told)} | {metric} {metrics[0]:.3f} | {metrics[1]:.3f} "
        f"| {len(differences)} |"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path, metavar="STORE")
    parser.add_argument("--method", default="controller")
    parser.add_argument("--against", default="cosine")
    args = parser.parse_args()
    with Store.open(args.store, write=False) as store:
        methods = [args.method, args.against]
        runs = store.runs(methods=methods, status="finished", details=False)
    print(f"| task | {args.method} - {args.against} | | {args.method} | {args.against} | seeds |")
    print("| --- | --- | --- | --- | --- | ---: |")
    for task, found in by_task(runs).items():
        print(line(task, found, args.method, args.against))


if __name__ == "__main__":
    main()
