"""Ensembles against the single run, at the same total budget and with the whole for each member.

    python scripts/ensembles.py --data DIR --seeds 10 --out ensembles.json

Prints a table in Markdown: interquartile means over the seeds of what test data say, and of the
paired differences to the single run, with their 95 % bootstrap intervals.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import rlagent
from rlagent.apply.ensembles.kinds import KINDS
from rlagent.experiments.statistics.aggregates import interquartile
from rlagent.storage import write_json
from rlagent_envs.reward import FLOOR

TASKS = ("digits", "breast_cancer", "cal_housing.csv:target", "adult.csv:income")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, help="the folder of the .csv files")
    arguments.add_argument("--tasks", nargs="+", default=TASKS, help="names, or FILE.csv:COLUMN")
    arguments.add_argument("--seeds", type=int, default=10)
    arguments.add_argument("--updates", type=int, default=1000)
    arguments.add_argument("--members", type=int, default=5)
    arguments.add_argument("--out", type=Path, required=True, help="figures; gone on with if there")
    arguments.add_argument("--equal", action="store_true", help="not with the whole for each")
    args = arguments.parse_args()
    done: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    for seed in range(args.seeds):
        for name in args.tasks:
            for way in ways(args.equal):
                key = f"{name} {way[0]} {way[1]} {seed}"
                if key not in done:
                    done[key] = measure(name, way, seed, args)
                    write_json(args.out, done)
    for name in args.tasks:
        print_table(name, done, args.seeds, args.equal)


def ways(equal: bool) -> list[tuple[str, bool]]:
    """The ensemble, none for the single run, and whether each member has the whole budget."""
    budgets = (False,) if equal else (False, True)
    return [("none", False), *((kind, whole) for whole in budgets for kind in KINDS)]


def measure(
    name: str, way: tuple[str, bool], seed: int, args: argparse.Namespace
) -> dict[str, float]:
    """What test data say of a run."""
    kind, whole = way
    options: dict[str, Any] = {"seed": seed, "updates": args.updates}
    if kind != "none":
        options |= {"ensemble": kind, "members": args.members, "budget_per_member": whole}
    file, _, column = name.partition(":")
    if column:
        options |= {"target": column, "split_column": "split"}
    with tempfile.TemporaryDirectory() as folder:
        source = args.data / file if column else name
        summary = rlagent.tune(source, out=Path(folder) / "run", **options).summary
    share = summary["test_loss"] / summary["baseline_loss"]
    return {
        "score": math.log(share + FLOOR),
        "metric": summary["test_score"],
        "flops": summary["flops"],
    }


def print_table(name: str, done: dict[str, Any], seeds: int, equal: bool) -> None:
    print(f"\n{name}, n = {seeds}\n")
    print("| ensemble | FLOPs | score | difference | metric | difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    single = [done[f"{name} none False {seed}"] for seed in range(seeds)]
    for kind, whole in ways(equal):
        runs = [done[f"{name} {kind} {whole} {seed}"] for seed in range(seeds)]
        flops = sum(run["flops"] for run in runs) / sum(run["flops"] for run in single)
        title = kind if kind != "none" else "single run"
        cells = [title + (", budget per member" if whole else ""), f"{flops:.2f}"]
        for what in ("score", "metric"):
            values = [run[what] for run in runs]
            cells.append(f"{interquartile([values]).value:.4f}")
            if kind == "none":
                cells.append("")
                continue
            less = [run[what] - alone[what] for run, alone in zip(runs, single, strict=True)]
            apart = interquartile([less])
            cells.append(f"{apart.value:+.4f} ({apart.low:+.4f} to {apart.high:+.4f})")
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
