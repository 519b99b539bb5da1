"""Starts of the program that need no import: forks of a process that has imported it.

For tests that start the program again and again to kill it. A start takes seconds of imports, in
which it does nothing that a kill could disturb. A fork runs the same `main` as `python -m rlagent`;
devices, JAX's threads, files and compiled programs are its own, because JAX begins with them later.
"""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

# What tune, bench and train import, at once and on their way.
IMPORTED = (
    "pandas",
    "rlagent.apply.jobs",
    "rlagent.cli",
    "rlagent.experiments.bench",
    "rlagent.ppo.training",
    "scipy.stats",
    "sklearn.datasets",
    "torch._dynamo",
)
CONTEXT = multiprocessing.get_context("forkserver")


class Fork:
    """A start of the program; like `subprocess.Popen`, but that `kill` waits for the end."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        constants: Mapping[str, float],
        said: Path,
    ) -> None:
        CONTEXT.set_forkserver_preload(list(IMPORTED))
        self._said = said
        said.write_bytes(b"")  # not what another fork has said
        run = (list(arguments), dict(environment), dict(constants), said)
        self._process = CONTEXT.Process(target=_main, args=run, daemon=True)
        self._process.start()

    def poll(self) -> int | None:
        """The status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        """Kills it if it runs, and waits for its end."""
        self._process.kill()
        self._process.join()

    def said(self) -> str:
        """What it has written to standard output and standard error."""
        return self._said.read_text()


@contextmanager
def forked(
    arguments: Sequence[str],
    said: Path,
    environment: Mapping[str, str] | None = None,
    constants: Mapping[str, float] | None = None,
) -> Iterator[Fork]:
    """The program in a fork that is killed at the end of the `with` block, if it still runs.

    Args:
        arguments: of the command line.
        said: a file for what it says.
        environment: variables, besides those that the first fork of the tests' process found; not
            for what is read at import.
        constants: values for constants of the program, by name, such as
            `rlagent.apply.driver.CHECKPOINT_SECONDS`.
    """
    fork = Fork(arguments, environment or {}, constants or {}, said)
    try:
        yield fork
    finally:
        fork.kill()


def pause(seconds: float, done: Callable[[], int], most: int) -> None:
    """Sleeps, at most until so much is done, which a fast computer may come to sooner."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and done() < most:
        time.sleep(0.002)


def _main(
    arguments: list[str], environment: dict[str, str], constants: dict[str, float], said: Path
) -> None:
    """What a fork runs."""
    with said.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if missing := [name for name in IMPORTED if name not in sys.modules]:
        raise ImportError(f"the server of forks could not import {', '.join(missing)}")
    os.environ.update(environment)
    for name, value in constants.items():
        module, _, constant = name.rpartition(".")
        setattr(pkgutil.resolve_name(module), constant, value)
    from rlagent.cli import main

    sys.exit(main(arguments))
