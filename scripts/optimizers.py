"""AdamW and Muon, under a cosine and the controllers, for a network of each family.

    python -m scripts.optimizers --data-dir DATA --markdown FILE

By validation data, so that defaults may be chosen by it. The same updates for all; Muon's matrix
products come on top, and are told. Each optimizer begins at the learning rate that `rlagent tune`
gives it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import rlagent
from rlagent_envs.tasks.canvases import digit_canvases, digit_scenes
from scripts.figures import machine

ARMS: dict[str, dict[str, Any]] = {
    "AdamW, cosine": {"optimizer": "adamw", "method": "cosine"},
    "AdamW, `basic`": {"optimizer": "adamw", "controller": "basic"},
    "Muon, cosine": {"optimizer": "muon", "method": "cosine"},
    "Muon, `basic`": {"optimizer": "muon", "controller": "basic"},
    "Muon, `muon`": {"optimizer": "muon", "controller": "muon"},
}
UPDATES = 400
ROWS = 1000  # of composed images


def _images(made: Any) -> dict[str, Any]:
    return {"x": made[0], "y": made[1]}


def tasks(folder: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    """What `rlagent.tune` is given, by family and data."""
    return {
        "cnn, digits": lambda: {"x": "digits", "family": "cnn"},
        "sequence, fsdd": lambda: {"x": folder / "fsdd.npz", "form": "sequence"},
        "segmentation, digits on canvases": lambda: _images(digit_canvases(ROWS)),
        "detection, digits on canvases": lambda: _images(digit_scenes(ROWS)),
        "text, trec": lambda: {"x": folder / "trec.csv", "target": "label"},
        "mlp, digits": lambda: {"x": "digits"},
    }


def measure(folder: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """A line for each run."""
    for task, data in tasks(folder).items():
        for seed in range(seeds):
            for arm, options in ARMS.items():
                with tempfile.TemporaryDirectory() as out:
                    result = rlagent.tune(
                        **data(), **options, updates=UPDATES, seed=seed, out=Path(out) / "run"
                    )
                told = result.summary
                yield {
                    "task": task,
                    "arm": arm,
                    "seed": seed,
                    "loss": told["valid_loss"],
                    "score": told["valid_score"],
                    "metric": told["score_name"],
                    "flops": told["flops"],
                }


def table(rows: list[dict[str, Any]]) -> str:
    """The mean loss and score over the seeds of each arm, and what Muon costs."""
    lines = [
        f"| network, data | score | {' | '.join(ARMS)} | Muon's FLOPs |",
        f"| --- | --- |{' ---: |' * (len(ARMS) + 1)}",
    ]
    for task in dict.fromkeys(row["task"] for row in rows):
        of = {
            arm: [row for row in rows if (row["task"], row["arm"]) == (task, arm)] for arm in ARMS
        }

        def mean(arm: str, name: str, of: dict[str, list[dict[str, Any]]] = of) -> float:
            return float(np.mean([row[name] for row in of[arm]]))

        shown = [f"{mean(arm, 'loss'):.3f} ({mean(arm, 'score'):.3f})" for arm in ARMS]
        cost = mean("Muon, cosine", "flops") / mean("AdamW, cosine", "flops")
        metric = of["Muon, cosine"][0]["metric"]
        lines.append(f"| {task} | {metric} | {' | '.join(shown)} | {cost:.2f} x |")
    return "\n".join(lines)


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    args = parser.parse_args()
    rows = []
    for row in measure(args.data_dir, args.seeds):
        print(json.dumps(row), flush=True)
        rows.append(row)
    about = f"Loss (score), means of {args.seeds} seeds, {UPDATES} updates. {machine()}"
    text = f"{table(rows)}\n\n{about}\n"
    print(text)
    if args.markdown is not None:
        args.markdown.write_text(text)


if __name__ == "__main__":
    main()
