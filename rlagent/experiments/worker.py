"""A process that computes cells for a runner: lines of JSON in, lines of JSON out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from rlagent.experiments.experiment import Cell, Job
from rlagent.experiments.sources import Source
from rlagent.experiments.stored_run import Packed, from_line, pack, to_line


class Worker:
    """The runner's end of the pipe."""

    def __init__(self, number: int) -> None:
        # One thread each: the workers are what runs side by side.
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rlagent.experiments.worker", str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=os.environ | threads | {"JAX_PLATFORMS": "cpu"},
        )

    def compute(self, job: Job) -> Packed:
        """Computes a cell; blocks until it is done.

        Raises:
            RuntimeError: if the process has ended, saying how.
        """
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the worker has no pipe")
        try:
            self.process.stdin.write(json.dumps(asdict(job)) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except (BrokenPipeError, ValueError):  # ValueError: `close` has closed the pipe
            line = ""
        if not line.endswith("\n"):
            raise RuntimeError(f"its process ended with status {self.process.wait()}")
        return from_line(line)

    def close(self) -> None:
        """Ends the process, in the middle of a cell too: it has nothing to lose."""
        self.process.terminate()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def main() -> None:
    """Computes what it is sent, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runner, which then ends us
    _stay_on_a_core(int(sys.argv[1]))
    # What a library prints must not get between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    from rlagent.apply.devices import use_compile_cache
    from rlagent.experiments.compute import Loaded, compute

    use_compile_cache()
    loaded = Loaded()
    for line in sys.stdin:
        (run,) = compute([_job(json.loads(line))], loaded)
        answers.write(to_line(pack(run)))
        answers.flush()


def _job(plain: dict[str, Any]) -> Job:
    cell = plain["cell"]
    source = cell["source"]
    source["options"] = tuple(map(tuple, source["options"]))
    return Job(Cell(**cell | {"source": Source(**source)}), plain["key"], plain["configuration"])


def _stay_on_a_core(number: int) -> None:
    """One core for each: XLA would start as many threads in each worker as there are cores."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[number % len(cores)]})


if __name__ == "__main__":
    main()
