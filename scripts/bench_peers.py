"""Measures speed and memory against DACBench, Optuna with a plain Flax loop, and Ray Tune.

    python -m scripts.bench_peers install
    python -m scripts.bench_peers run [dacbench] [optuna] [ray] [--markdown FILE] [--json FILE]
    taskset -c 0 python -m scripts.bench_peers run dacbench   # each side on the same single core

`install` makes a virtual environment for the peers (some gigabytes). Each side runs in a process of
its own there, all with the same Python and JAX; the sides take turns in an order that is drawn anew
for each round, and idle otherwise. A ratio is the median over rounds of the ratio within a round.
This needs the standard library only, and is run from the repository's root.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts import host
from scripts.peers.comparisons import Comparison, decisions, searches
from scripts.peers.environment import VENV, install, made_data, python_of
from scripts.peers.measuring import Figure, measure

PARTS = ("dacbench", "optuna", "ray")
ROUNDS = {"dacbench": 15, "optuna": 5, "ray": 3}

_CPU_NOTE = (
    "By CPU time: the ratio of what a second of CPU time of each side's process brings. Other work"
    " on the machine does not lengthen it; threads that wait in a loop do."
)


def run(arguments: argparse.Namespace) -> int:
    """Measures the parts asked for; 1 if a figure that was asked for is missed."""
    python = python_of(arguments.venv)
    if not python.is_file():
        raise ValueError(f"there is no {python}: run `python -m scripts.bench_peers install` first")
    figures: list[Figure] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for comparison in _comparisons(arguments, made_data(Path(folder), python)):
            if arguments.only not in comparison.what:
                continue
            rounds = arguments.rounds or ROUNDS[comparison.part]
            figures += measure(comparison, rounds, python)
            notes += comparison.notes
    versions: dict[str, str] = {}
    for one in figures:
        for side in one.facts.values():
            versions |= side["versions"]
    described = machine(versions)
    text = table(figures, [_CPU_NOTE, *notes], described)
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")
    if arguments.json:
        told = [asdict(one) | {"verdict": one.verdict} for one in figures]
        whole = {"machine": described, "figures": told}
        arguments.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return int(any(one.verdict == "missed" for one in figures))


def main() -> None:
    """Installs the peers, or measures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--venv", type=Path, default=VENV, help="of the peers (%(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="make the virtual environment of the peers")
    measuring = commands.add_parser("run", help="measure")
    measuring.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(PARTS)}")
    measuring.add_argument("--only", default="", metavar="TEXT", help="what says so in its name")
    measuring.add_argument("--rounds", type=int, help=f"repetitions of each side ({ROUNDS})")
    measuring.add_argument("--seconds", type=float, default=1.0, help="of a round of decisions")
    measuring.add_argument("--task", default="digits", help="of the searches (%(default)s)")
    measuring.add_argument("--trials", type=int, default=32, help="configurations (%(default)s)")
    measuring.add_argument("--updates", type=int, default=1000, help="of each (%(default)s)")
    measuring.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    measuring.add_argument("--json", type=Path, metavar="FILE", help="write all rounds there")
    arguments = parser.parse_args()
    if arguments.command == "install":
        install(arguments.venv)
        return
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    sys.exit(run(arguments))


def _comparisons(arguments: argparse.Namespace, data: Mapping[str, Path]) -> Iterator[Comparison]:
    for part in arguments.parts or PARTS:
        if part == "dacbench":
            yield from decisions(data, arguments.seconds, host.cores())
        else:
            yield searches(part, arguments.task, arguments.trials, arguments.updates, host.cores())


def table(figures: Sequence[Figure], notes: Sequence[str], machine: Mapping[str, Any]) -> str:
    """The figures in Markdown."""
    told = ", ".join(f"{name} {value}" for name, value in machine.items())
    lines = [
        f"Measured on: {told}.",
        "",
        "| against | per second | rlagent | peer | ratio | by CPU time | asked | | n "
        "| memory: rlagent | peer |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for one in figures:
        asked = "" if one.at_least is None else f"at least {one.at_least:g}"
        memory = (
            [""] * 2 if one.memory is None else [f"{each / 2**20:.0f} MB" for each in one.memory]
        )
        cells = [
            one.what,
            one.unit,
            _short(one.ours),
            _short(one.theirs),
            f"{one.ratio:.3g}",
            "" if one.by_cpu is None else f"{one.by_cpu:.3g}",
            asked,
            one.verdict,
            str(len(one.rounds)),
            *memory,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {note}" for note in dict.fromkeys(notes))]) + "\n"


def machine(versions: Mapping[str, str]) -> dict[str, Any]:
    """What was measured on, and with what."""
    return {"device": f"CPU ({host.processor()})", "cores": host.cores(), **versions}


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
