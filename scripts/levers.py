"""Measures the figures of docs/levers.md and puts them into it.

Each run is a line of a JSON-lines file, so that a measurement goes on where it was stopped, and a
new controller adds its arms to it. Run from the repository's root, with the folder of data sets:

    python -m scripts.levers --data-dir DATA --store levers.jsonl --markdown docs/levers.md
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from rlagent.apply.devices import use_compile_cache
from rlagent.controller.file import Controller, load_controller
from rlagent_envs.models import Rung
from scripts import lever_effects, lever_growth, lever_quantiles, lever_robustness, lever_speed
from scripts.figures import machine
from scripts.lever_runs import FAMILY_TASKS, TASKS, Bench, Store

PARTS = ("speed", "cosine", "growth", "robustness", "quantiles", "families", "controller")
IMAGE = Path("images/robustness.png")  # beside the page


def main() -> None:
    """Measures the parts asked for, and writes their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--controller", default="default")
    parser.add_argument(
        "--tasks", nargs="+", choices=(*TASKS, *FAMILY_TASKS), metavar="TASK", help="all by default"
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--updates", type=int, default=1000, help="the budget, of a 64x2 network")
    parser.add_argument("--rounds", type=int, default=60, help="of the part speed")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put the tables there")
    arguments = parser.parse_args()
    chosen = arguments.parts or list(PARTS)
    if unknown := [part for part in chosen if part not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    use_compile_cache()
    controller = load_controller(arguments.controller)
    fingerprint = fingerprint_of(controller)
    store = Store(arguments.store)
    names = arguments.tasks or (*TASKS, *FAMILY_TASKS)
    tasks = [name for name in names if name in TASKS]
    bench = Bench(store, arguments.data_dir, controller, arguments.seeds, arguments.updates, tasks)
    for part in (one for one in PARTS if one in chosen):
        if part == "speed":
            lever_speed.measure(store, arguments.rounds)
        else:
            measure(part, bench, fingerprint, [name for name in names if name in FAMILY_TASKS])
    if arguments.markdown:
        write_page(arguments.markdown, bench, fingerprint, chosen)


def measure(part: str, bench: Bench, fingerprint: str, others: Sequence[str]) -> None:
    """Computes what is missing of a part; `others` are tasks by networks of other families."""
    match part:
        case "cosine":
            lever_effects.measure(bench, None, bench.tasks)
        case "growth":
            lever_growth.measure(bench)
        case "robustness":
            lever_robustness.measure(bench, fingerprint)
        case "quantiles":
            lever_quantiles.measure(bench)
        case "families":
            for controlled in (None, fingerprint):
                lever_effects.measure(bench, controlled, others, lever_effects.FAMILY_LEVERS)
        case "controller":
            lever_effects.measure(bench, fingerprint, bench.tasks)


def fingerprint_of(controller: Controller) -> str:
    """Tells one controller's results from another's, whatever their files are called."""
    parts = sorted(controller.weights.items())
    return hashlib.sha256(b"".join(value.tobytes() for _, value in parts)).hexdigest()[:12]


def write_page(page: Path, bench: Bench, fingerprint: str, parts: Sequence[str]) -> None:
    """Renews the tables and the picture of some parts; the rest of the page stays."""
    told = ", ".join(f"{name} {value}" for name, value in machine().items())
    about = (
        f"Controller `{bench.controller.name}`, up to {bench.seeds} seeds, a budget of "
        f"{bench.updates:,} updates of a {Rung(2, 64)} network. Measured on: {told}.\n"
    )
    blocks = {}
    if {"cosine", "controller"} & {*parts}:
        blocks["effects"] = about + "\n" + lever_effects.tables(bench, fingerprint, TASKS)
    if "families" in parts:
        blocks["families"] = lever_effects.tables(
            bench, fingerprint, list(FAMILY_TASKS), lever_effects.FAMILY_LEVERS
        )
    if "quantiles" in parts:
        blocks["quantiles"] = lever_quantiles.table(bench)
    if "growth" in parts:
        blocks["growth"] = lever_growth.table(bench)
    if "robustness" in parts:
        lever_robustness.draw(bench).savefig(page.parent / IMAGE, dpi=150)
        blocks["robustness"] = lever_robustness.table(bench, fingerprint)
    if "speed" in parts:
        blocks["speed"] = lever_speed.table(bench.store)
    text = page.read_text("utf-8")
    for name, block in blocks.items():
        text, count = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)",
            lambda found, block=block: f"{found[1]}\n{block}\n{found[2]}",  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
        if count != 1:
            raise ValueError(f"{page} has {count} places for {name}, and needs 1")
    page.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
