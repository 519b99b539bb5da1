"""Networks that grow or shrink against the same architectures from the start, at equal compute."""

from __future__ import annotations

import numpy as np

from rlagent.experiments.statistics import aggregates, comparisons
from scripts.lever_runs import TASKS, Arm, Bench, each, short

SMALL, FINAL = (1, 32), (2, 128)  # depth and width
# By which share of the budget; each step is to the next rung of the ladder.
GROWN = Arm(rung=SMALL, edits=((0.1, "wider"), (0.2, "deeper"), (0.3, "wider")))
LATE = Arm(rung=SMALL, edits=((0.25, "wider"), (0.5, "deeper"), (0.75, "wider")))
WHOLE = Arm(rung=FINAL)
KEPT = Arm(rung=SMALL)
ARMS = {
    "128x2 from the start": WHOLE,
    "grown by 10, 20 and 30 % of the budget": GROWN,
    "grown by 25, 50 and 75 % of the budget": LATE,
    "32x1 to the end": KEPT,
    "64x2 from the start": Arm(rung=(2, 64)),
    "narrowed to 64x2 by 25 % of the budget": Arm(rung=FINAL, edits=((0.25, "narrower"),)),
    "narrowed to 64x2 by 50 % of the budget": Arm(rung=FINAL, edits=((0.5, "narrower"),)),
}


def measure(bench: Bench) -> None:
    """Computes what is missing."""
    for name in bench.tasks:
        bench.measure(name, list(ARMS.values()))
        print(f"{short(name)}: growth", flush=True)


def table(bench: Bench) -> str:
    """Interquartile means on test data, and the paired difference to the final architecture."""
    lines = [
        "| data set | network | score | difference to 128x2 from the start | metric | n |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name in TASKS:
        for words, arm in ARMS.items():
            found = bench.results(name, arm)
            if not found:
                continue
            score, metric = (
                aggregates.interquartile_mean(np.array(list(each(found, what))))
                for what in ("score", "metric")
            )
            told = "-"
            if arm != WHOLE and len(found) > 1:
                difference = aggregates.interquartile(bench.paired(name, arm, WHOLE, "score")[None])
                value, low, high = difference
                told = f"{value:+.3f} ({low:+.3f} to {high:+.3f}) {comparisons.verdict(difference)}"
            lines.append(
                f"| {short(name)} | {words} | {score:.3f} | {told} | {metric:.4f} | {len(found)} |"
            )
    return "\n".join(lines) + "\n"
