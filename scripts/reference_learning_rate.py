"""Finds the reference's learning rate: the best of a grid on procedural tasks, by validation."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import jax
import numpy as np

from rlagent.baselines.reference import reference_start
from rlagent.baselines.runs import play
from rlagent_envs.tasks.procedural import sample_task
from rlagent_envs.training.bank import make_bank

GRID = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def main() -> None:
    """Prints the mean score of each learning rate over tasks and budgets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=60)
    parser.add_argument("--first-seed", type=int, default=1_000_000_000)
    arguments = parser.parse_args()
    scores = []
    for number in range(arguments.tasks):
        seed = arguments.first_seed + number
        task = sample_task(seed)
        bank = jax.device_put(make_bank(task, padded=True))
        budget = (250, 1000, 4000)[number % 3]
        reference = reference_start(seed, budget, 25)
        starts = [
            replace(reference, settings=reference.settings._replace(learning_rate=rate))
            for rate in GRID
        ]
        scores.append([one.reports[-1].best_score for one in play(task, bank, starts)])
    mean = np.mean(scores, axis=0)
    print(
        json.dumps(
            {
                "tasks": arguments.tasks,
                "mean_score": dict(zip(map(str, GRID), mean.round(4).tolist(), strict=True)),
                "best": GRID[int(np.argmin(mean))],
            }
        )
    )


if __name__ == "__main__":
    main()
