"""Time and memory of whole commands, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rlagent.controller.file import save_controller
from scripts.figures import Figure
from scripts.shares import SHIPPED, any_controller

# The command as it is, but that it tells of its first decision and, at the end, of its peak memory.
TOLD = """
import sys
from functools import partial
from rlagent.apply import tuning
def tell(record):
    print("decision", file=sys.stderr, flush=True)
tuning.tune = partial(tuning.tune, callback=tell)
from rlagent.cli import main
from scripts.host import peak_memory
status = main(sys.argv[1:])
print("peak", peak_memory(), file=sys.stderr, flush=True)
sys.exit(status)
"""


class Ran(NamedTuple):
    """How a command went."""

    first: float  # seconds until the first decision; nan if there was none
    seconds: float
    gigabytes: float  # peak memory


def run(arguments: list[str], cache: Path) -> Ran:
    """Runs `rlagent` with a compile cache; RuntimeError if it fails."""
    environment = os.environ | {"RLAGENT_CACHE_DIR": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else each start compiles all of Python
    first, told = float("nan"), ""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", TOLD, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    peak = 0.0
    for line in process.stderr:
        if line == "decision\n":
            first = time.perf_counter() - begun if first != first else first
        elif line.startswith("peak "):
            peak = float(line.split()[1])
        else:
            told += line
    status = process.wait()
    seconds = time.perf_counter() - begun
    if status:
        raise RuntimeError(f"rlagent {' '.join(arguments)} failed: {told[-500:]}")
    return Ran(first, seconds, peak / 1024**3)


def tuning(times: int = 3) -> Iterator[Figure]:
    """`rlagent tune digits`: with an empty compile cache, a filled one, and a damaged one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = ["tune", "digits", "--json"]
        if not SHIPPED.is_file():
            save_controller(any_controller(), folder / "random.safetensors")
            base += ["--controller", str(folder / "random.safetensors")]
        number = iter(range(10**6))

        def once(cache: Path) -> Ran:
            return run([*base, "--out", str(folder / f"run-{next(number)}")], cache)

        once(folder / "bytecode")  # Python's own files, which an installation writes
        empty = [once(folder / f"cache-{each}") for each in range(times)]
        filled = [once(folder / "cache-0") for _ in range(times)]
        damaged = []
        for _ in range(times):
            _damage(folder / "cache-0")
            damaged.append(once(folder / "cache-0"))
    for what, ran, limit in (
        ("empty compile cache", empty, 10.0),
        ("later", filled, 5.0),
        ("later, the largest entry of the cache damaged", damaged, 5.0),
    ):
        yield _worst(
            f"first decision of rlagent tune digits, {what}", [r.first for r in ran], limit
        )
    yield _worst("rlagent tune digits, empty compile cache", [r.seconds for r in empty], 30.0)
    yield _worst("rlagent tune digits, later", [r.seconds for r in filled], 30.0)
    memory = [ran.gigabytes for ran in empty + filled + damaged]
    yield _worst("peak memory of rlagent tune digits", memory, 1.0, "GB")


def training(decisions: int = 20_480) -> Iterator[Figure]:
    """Peak memory of the training of a controller with 64 parallel runs."""
    config = Path(SHIPPED).with_suffix(".toml")
    with tempfile.TemporaryDirectory() as name:
        arguments = ["train", "--config", str(config), "--decisions", str(decisions)]
        ran = run([*arguments, "--out", str(Path(name) / "run")], Path(name) / "cache")
    yield Figure(
        f"peak memory of training a controller, 64 places, {decisions} decisions",
        ran.gigabytes,
        1,
        "GB",
        below=4.0,
        details={"seconds": ran.seconds},
    )


def _worst(what: str, values: list[float], limit: float, unit: str = "s") -> Figure:
    ordered = sorted(values)
    details = {f"median {unit}": ordered[len(ordered) // 2]}
    return Figure(f"{what}, worst", ordered[-1], len(ordered), unit, below=limit, details=details)


def _damage(cache: Path) -> None:
    """Cuts the largest entry of a compile cache in half."""
    entries = [entry for entry in cache.rglob("*-cache") if entry.is_file()]
    if not entries:
        raise RuntimeError(f"there is no entry in the compile cache {cache}")
    largest = max(entries, key=lambda entry: entry.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
