"""What the setting `quantile` makes of a regression: which share of the targets lies below it."""

from __future__ import annotations

from typing import Any

import numpy as np

from rlagent.apply.driver import best_model
from rlagent_envs.episode import Episode
from rlagent_envs.tasks.task import Task
from scripts.lever_runs import Arm, Bench, short

TASKS = ("cal_housing.csv:target",)
# As `--set quantile=Q` has it: deviations count linearly from the smallest delta on.
ABSOLUTE = 0.01
ARMS = {
    q: Arm(settings=(("quantile", q), ("huber_delta", ABSOLUTE)))
    for q in (0.1, 0.25, 0.5, 0.75, 0.9)
}


def measure(bench: Bench) -> None:
    """Computes what is missing."""
    for name in (one for one in TASKS if one in bench.tasks):
        bench.forget(name, Arm(), "pinball")
        bench.measure(name, [Arm(), *ARMS.values()], judge=judge)
        print(f"{short(name)}: quantiles", flush=True)


def judge(task: Task, episode: Episode) -> dict[str, Any]:
    """The share of test targets below the prediction, and the pinball loss at each quantile."""
    assert task.test is not None
    made = best_model(task, episode).raw(task.test.x)[:, 0]
    beyond = task.test.y - made
    losses = {f"{q:g}": float(np.mean(np.maximum(q * beyond, (q - 1) * beyond))) for q in ARMS}
    return {"below": float(np.mean(beyond < 0)), "pinball": losses}


def table(bench: Bench) -> str:
    """Means over seeds on test data."""
    lines = [
        "| data set | quantile | targets below the prediction | lowest to highest "
        "| its pinball loss | of a network without the setting | n |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for name in TASKS:
        plain = bench.results(name, Arm())
        for q, arm in ARMS.items():
            found = bench.results(name, arm)
            if not found:
                continue
            below = [one["below"] for one in found]
            own, without = (
                np.mean([one["pinball"][f"{q:g}"] for one in some]) for some in (found, plain)
            )
            lines.append(
                f"| {short(name)} | {q:g} | {np.mean(below):.3f} "
                f"| {min(below):.3f} to {max(below):.3f} | {own:.3f} | {without:.3f} "
                f"| {len(found)} |"
            )
    return "\n".join(lines) + "\n"
