"""A process that computes cells for a runner: lines of JSON in, lines of JSON out."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from rlagent import processes
from rlagent.experiments.experiment import Cell, Job
from rlagent.experiments.sources import Source
from rlagent.experiments.stored_run import Packed, from_line, pack, to_line


class Worker:
    """The runner's end of the pipe."""

    def __init__(self, number: int) -> None:
        self.process = processes.start(
            "rlagent.experiments.worker", str(number), text=True, encoding="utf-8"
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
        processes.end(self.process)


def main() -> None:
    """Computes what it is sent, until the pipe ends."""
    processes.leave_interrupts()
    processes.take_core(int(sys.argv[1]))
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
    # JSON has no tuples.
    source["options"] = tuple(
        (name, tuple(value) if isinstance(value, list) else value)
        for name, value in source["options"]
    )
    return Job(Cell(**cell | {"source": Source(**source)}), plain["key"], plain["configuration"])


if __name__ == "__main__":
    main()
