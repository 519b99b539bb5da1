"""Measures the figures of docs/performance.md, as ratios within one run.

All speed figures: 196 inputs, 10 classes, batch 64, slices of 20 updates, AdamW, dropout 0.1,
snapshot and telemetry on. Run from the repository's root: `python -m scripts.performance`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts import footprint, shares, speed, walks
from scripts.figures import Figure, table

PARTS: dict[str, Callable[[int], Iterator[Figure]]] = {
    "speed": speed.decisions,
    "rungs": speed.rungs,
    "compilations": lambda _: walks.compilations(),
    "flops": speed.flops,
    "controller": shares.controller,
    "evaluation": lambda _: walks.evaluation(),
    "ppo": lambda _: shares.ppo(),
    "footprint": lambda _: footprint.tuning(),
    "training": lambda _: footprint.training(),
}


def main() -> None:
    """Measures the parts asked for; prints a line of JSON for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=60, help="repetitions of each variant")
    parser.add_argument("--training", action="store_true", help="the part training too: long")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a table there")
    arguments = parser.parse_args()
    chosen = arguments.parts or [part for part in PARTS if part != "training"]
    if arguments.training and "training" not in chosen:
        chosen.append("training")
    if unknown := [part for part in chosen if part not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    figures = []
    for part in chosen:
        for figure in PARTS[part](arguments.rounds):
            print(figure.line(), flush=True)
            figures.append(figure)
    if arguments.markdown:
        arguments.markdown.write_text(table(figures), encoding="utf-8")
    sys.exit(any(figure.verdict == "missed" for figure in figures))


if __name__ == "__main__":
    main()
