"""Draws the learning curve of a controller from the folder of its training.

python scripts/learning_curve.py checkpoints/basic --out docs/images/learning-curve.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

WINDOW = 10  # rollouts that the line is the mean of


def main() -> None:
    """Reads rollouts.jsonl and evaluations.jsonl, writes a picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    draw(
        read(arguments.folder / "rollouts.jsonl"), read(arguments.folder / "evaluations.jsonl")
    ).savefig(arguments.out, dpi=150)


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def draw(rollouts: list[dict[str, Any]], evaluations: list[dict[str, Any]]) -> Figure:
    """Return on the tasks it learns from, and the difference to the reference on bundled sets."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 6.5), sharex=True, layout="constrained")
    decisions = np.array([one["decisions"] for one in rollouts]) / 1000
    returns = np.array([one["return"] for one in rollouts])
    top.plot(decisions, returns, color="#bbbbbb", linewidth=0.8)
    mean = np.convolve(returns, np.ones(WINDOW) / WINDOW, mode="valid")
    top.plot(decisions[WINDOW - 1 :], mean, color="#0072b2", linewidth=2)
    top.set_ylabel("return of an episode")
    top.set_title("Procedural tasks: what an episode gains in log loss", loc="left")
    names = [name for name in evaluations[0] if name not in ("decisions", "mean")]
    at = [one["decisions"] / 1000 for one in evaluations]
    for name in names:
        bottom.plot(at, [one[name] for one in evaluations], color="#cccccc", linewidth=1)
        bottom.annotate(
            name.replace("_", " "),
            (at[-1], evaluations[-1][name]),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color="#777777",
        )
    bottom.plot(at, [one["mean"] for one in evaluations], color="#d55e00", linewidth=2, marker="o")
    bottom.axhline(0.0, color="black", linewidth=0.8, linestyle=":")
    bottom.set_ylabel("score less the reference's")
    bottom.set_title("Bundled sets, validation data: below 0 is better", loc="left")
    bottom.set_xlabel("thousands of decisions")
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
