"""Worker processes: how they are started and ended, and what each of them does first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any


def start(module: str, *arguments: str, **options: Any) -> subprocess.Popen[Any]:
    """A process that runs a module of this program on the CPU, with a pipe in and one out.

    Args:
        module: run as `python -m` does.
        arguments: of its command line.
        options: of `subprocess.Popen`, such as `text`.
    """
    # One thread each: the workers are what runs side by side.
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | threads | {"JAX_PLATFORMS": "cpu"},
        **options,
    )


def check_workers(workers: int) -> None:
    """Raises ValueError if there are to be several processes and JAX computes on no CPU."""
    if workers == 1:
        return
    import jax

    if jax.default_backend() != "cpu":
        raise ValueError(
            f"workers share the cores of a CPU, got {workers} of them for a "
            f"{jax.default_backend()}: say device cpu or workers 1"
        )


def end(process: subprocess.Popen[Any]) -> None:
    """Ends a process, in the middle of its work too: it has nothing to lose."""
    process.terminate()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # what it was sent last, it did not live to read
                pipe.close()


def leave_interrupts() -> None:
    """Ctrl-C is for the process that has started this one, which then ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def take_core(number: int) -> None:
    """Keeps this process to one core, where the system can: XLA starts a thread for each it has."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[number % len(cores)]})
