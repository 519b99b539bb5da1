"""A side of a comparison in a process of its own: one line of JSON in, one out.

The first line is the options; what is answered are the facts. Each line `"round"` is answered with
a round, and the end of the input with the peak memory.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from importlib import metadata
from typing import Any, TextIO

from scripts.host import peak_memory
from scripts.peers.side import Maker

# Imported when asked for only: no side pays for what another one imports.
SIDES = {
    "our decisions": ("our_decisions", "OurDecisions"),
    "dacbench": ("dacbench_side", "DacbenchDecisions"),
    "our search": ("our_search", "OurSearch"),
    "optuna": ("optuna_side", "OptunaSearch"),
    "ray": ("ray_side", "RaySearch"),
}
PACKAGES = ("rlagent", "jax", "flax", "optax", "torch", "DACBench", "optuna", "ray", "numpy")


def serve(make: Maker, requests: TextIO, answers: TextIO) -> None:
    """Answers each request."""

    def answer(value: dict[str, Any]) -> None:
        print(json.dumps(value), file=answers, flush=True)

    side = make(json.loads(next(requests)))
    answer({"facts": side.facts, "versions": versions()})
    for line in requests:
        if json.loads(line) != "round":
            raise ValueError(f"unknown request {line.strip()}; there is: round")
        begun = time.process_time()
        told = asdict(side.round())
        answer(told | {"cpu seconds": time.process_time() - begun})
    answer({"bytes": peak_memory(), "bytes of all processes": getattr(side, "peak", 0.0)})


def versions() -> dict[str, str]:
    """Of Python and of what is installed of the packages that are compared."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Serves the side that is named on the command line."""
    module, name = SIDES[sys.argv[1]]
    # Libraries print too: what they print goes to standard error, and the answers have a way of
    # their own.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(getattr(importlib.import_module(f"scripts.peers.{module}"), name), sys.stdin, answers)


if __name__ == "__main__":
    main()
