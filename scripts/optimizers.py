"""AdamW against Muon for a network of each family, by validation data: which one is the default.

    python -m scripts.optimizers --data-dir DATA --markdown FILE

The same updates for both; Muon's matrix products come on top, and are told. Each optimizer begins
at the learning rate that `rlagent tune` gives it.
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

OPTIMIZERS, METHODS = ("adamw", "muon"), ("cosine", "controller")
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
    for name, data in tasks(folder).items():
        for seed in range(seeds):
            for optimizer in OPTIMIZERS:
                for method in METHODS:
                    with tempfile.TemporaryDirectory() as out:
                        result = rlagent.tune(
                            **data(),
                            method=method,
                            optimizer=optimizer,
                            updates=UPDATES,
                            seed=seed,
                            out=Path(out) / "run",
                        )
                    told = result.summary
                    yield {
                        "task": name,
                        "optimizer": optimizer,
                        "method": method,
                        "seed": seed,
                        "loss": told["valid_loss"],
                        "score": told["valid_score"],
                        "metric": told["score_name"],
                        "flops": told["flops"],
                    }


def table(rows: list[dict[str, Any]]) -> str:
    """Means over the seeds, and the range of the losses."""
    lines = [
        "| network, data | method | loss: AdamW | Muon | score: AdamW | Muon | FLOPs |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in dict.fromkeys(row["task"] for row in rows):
        for method in METHODS:
            of = {
                optimizer: [
                    row
                    for row in rows
                    if (row["task"], row["method"], row["optimizer"]) == (name, method, optimizer)
                ]
                for optimizer in OPTIMIZERS
            }
            losses = [[row["loss"] for row in of[optimizer]] for optimizer in OPTIMIZERS]
            scores = [np.mean([row["score"] for row in of[optimizer]]) for optimizer in OPTIMIZERS]
            adamw, muon = (np.mean([row["flops"] for row in of[one]]) for one in OPTIMIZERS)
            shown = [f"{np.mean(some):.3f} ({min(some):.3f}-{max(some):.3f})" for some in losses]
            metric = of["adamw"][0]["metric"]
            lines.append(
                f"| {name} | {method} | {shown[0]} | {shown[1]} | {metric} {scores[0]:.3f} "
                f"| {scores[1]:.3f} | {muon / adamw:.2f} x |"
            )
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
    text = f"{table(rows)}\n\nMeans of {args.seeds} seeds, {UPDATES} updates. {machine()}\n"
    print(text)
    if args.markdown is not None:
        args.markdown.write_text(text)


if __name__ == "__main__":
    main()
