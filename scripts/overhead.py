"""Share of the worker-seconds of `rlagent bench` that is not the runs' own.

    python -m scripts.overhead [--tasks A,B] [--seeds N] [--updates N,M] [--workers N]

An experiment is computed into a new store. What is measured is `workers` times the time from its
begin to its end, less the time that the runs themselves took: starting the processes, loading
programs anew, dealing, packing, the store, and waiting for the last one. With one worker nothing is
started, and the writing of the store stands between two runs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rlagent.apply.devices import use_compile_cache
from rlagent.experiments.experiment import Asked
from rlagent.experiments.runner import run_experiment
from rlagent.experiments.store import Store

METHODS = ("reference", "controller", "one-cycle", "schedule-free", "random:8")


def main() -> None:
    """Prints the share."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="breast_cancer,digits,diabetes")
    parser.add_argument("--updates", default="100,400,1600")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    asked = Asked(
        tasks=tuple(arguments.tasks.split(",")),
        methods=METHODS,
        seeds=arguments.seeds,
        updates=tuple(int(one) for one in arguments.updates.split(",")),
    )
    use_compile_cache()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.sqlite"
        summary = run_experiment(asked.experiment(), path, workers=arguments.workers)
        with Store.open(path, write=False) as store:
            runs = store.runs(details=False)
    own = sum(run.seconds or 0.0 for run in runs)
    whole = arguments.workers * summary.seconds
    print(f"{summary.cells} cells, {arguments.workers} workers, {summary.seconds:.1f} s")
    print(f"of {whole:.1f} worker-seconds {own:.1f} are the runs' own")
    print(
        f"overhead {100 * (1 - own / whole):.2f} %: {1e3 * (whole - own) / len(runs):.1f} ms a cell"
    )


if __name__ == "__main__":
    main()
