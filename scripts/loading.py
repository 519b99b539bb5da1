"""Time and memory of loading a large table, preprocessed, from each form it may have.

    python -m scripts.loading [.csv .parquet ...] [--rows N] [--times N]

A table of 14 numeric and 6 categorical columns with some missing cells is written into a temporary
folder, and loaded as `rlagent tune` does it, each time in a process of its own. The time is that of
`load_task`, imports not counted; the memory is the most that the whole process had at once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scripts.figures import Figure

if TYPE_CHECKING:
    import pandas as pd

NUMERIC, CATEGORICAL, MISSING = 14, 6, 0.02
BELOW_SECONDS, BELOW_GIGABYTES = 10.0, 2.0  # for a million rows of .csv

# In a process of its own.
TOLD = """
import json, sys, time
import pandas, rlagent_envs.models
from rlagent_envs.tasks import load_task
from scripts.host import peak_memory
begun = time.perf_counter()
task = load_task(sys.argv[1], target="target")
seconds = time.perf_counter() - begun
print(json.dumps({"seconds": seconds, "peak": peak_memory(), "features": task.features}))
"""


def main() -> None:
    """Prints a line of JSON for each form: seconds, with the memory beside it, worst of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("forms", nargs="*", default=[".csv"], help=f"of: {' '.join(WRITERS)}")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args()
    if unknown := [form for form in arguments.forms if form not in WRITERS]:
        parser.error(f"unknown form {unknown[0]!r}; there are: {', '.join(WRITERS)}")
    table = made_table(arguments.rows)
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        for form in arguments.forms:
            path = Path(folder) / f"table{form}"
            WRITERS[form](table, path)
            for figure in measured(path, arguments.rows, arguments.times):
                print(figure.line(), flush=True)
                missed = missed or figure.verdict == "missed"
            path.unlink()
    sys.exit(missed)


def made_table(rows: int) -> pd.DataFrame:
    """Numbers of six digits, categories of 3 to 18 kinds, and a target of two classes."""
    import pandas as pd

    generator = np.random.default_rng(0)
    columns: dict[str, Any] = {}
    for place in range(NUMERIC):
        if place % 3 == 2:
            values = generator.integers(0, 10 ** (place // 2 + 1), rows).astype(float)
        else:
            values = generator.normal(size=rows).round(5)
        values[generator.random(rows) < (MISSING if place % 2 else 0.0)] = np.nan
        columns[f"number_{place}"] = values
    for place in range(CATEGORICAL):
        names = np.array([f"kind {number}" for number in range(3 * (place + 1))], object)
        texts = generator.choice(names, rows)
        texts[generator.random(rows) < (MISSING if place % 2 else 0.0)] = None
        columns[f"category_{place}"] = texts
    score = columns["number_0"] + (columns["category_0"] == "kind 1") + generator.normal(size=rows)
    return pd.DataFrame(columns | {"target": np.where(score > 0.5, "yes", "no")})


WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".parquet": lambda table, path: table.to_parquet(path, index=False),
    ".jsonl": lambda table, path: table.to_json(path, orient="records", lines=True),
}


def measured(path: Path, rows: int, times: int) -> list[Figure]:
    """Seconds and gigabytes of loading a file, the worst of some times."""
    told = [load(path) for _ in range(times)]
    seconds = sorted(one["seconds"] for one in told)
    gigabytes = sorted(one["peak"] / 1024**3 for one in told)
    what = f"loading {rows} rows x {NUMERIC + CATEGORICAL} columns of {path.suffix}"
    asked = path.suffix == ".csv" and rows >= 1_000_000
    size = {"file MB": path.stat().st_size / 1e6, "features": told[0]["features"]}
    middle = len(told) // 2
    return [
        Figure(
            f"{what}, worst",
            seconds[-1],
            times,
            "s",
            below=BELOW_SECONDS if asked else None,
            details={"median s": seconds[middle]} | size,
        ),
        Figure(
            f"{what}, peak memory of the process, worst",
            gigabytes[-1],
            times,
            "GB",
            below=BELOW_GIGABYTES if asked else None,
            details={"median GB": gigabytes[middle]},
        ),
    ]


def load(path: Path) -> dict[str, Any]:
    """Loads a file in a process of its own; RuntimeError if that fails."""
    command = [sys.executable, "-c", TOLD, str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"loading {path.name} failed: {ran.stderr[-500:]}")
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


if __name__ == "__main__":
    main()
