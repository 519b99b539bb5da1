"""Throughput of data that stays on disk, as a ratio to the same data in memory.

    python -m scripts.streaming [--rounds N] [--rows N] [--json FILE] [--markdown FILE]

Images of 28 x 28 pixels in a .npy file, read by `np.load(…, mmap_mode="r")`, and the same behind a
`grain.MapDataset` where grain is installed; the file is in the system's cache after the first
round, so that the reader keeps up as far as the processor lets it.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rlagent.apply.request import Request
from rlagent.apply.source import load_source
from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.episode import Episode, Start
from rlagent_envs.models import FAMILIES
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks import from_arrays
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import Bank
from rlagent_envs.training.feed import Feed, bank_of, data_of
from scripts.figures import Figure, in_turns, milliseconds, ratio, table

SIDE, UPDATES, SLICES = 28, 64, 4
LEAST = 0.9  # of the throughput of data in memory


@dataclass
class Training:
    """A run under way, on data of either kind."""

    data: Bank | Feed
    episode: Episode

    @classmethod
    def of(cls, task: Task) -> Training:
        """Before its first slice; long enough that it never ends here."""
        data = data_of(task)
        rung = FAMILIES[task.family].default
        start = Start(0, DEFAULT, rung, budget=float(UPDATES * 10_000), decisions=10_000)
        return cls(data, episodes.begin(task, bank_of(data), start, ()))

    def slices(self) -> Any:
        """Trains for some slices."""
        for _ in range(SLICES):
            (stepped,) = batch.step([self.data], [self.episode], knobs.HOLD[None], "sequential")
            self.episode = stepped.episode
        return self.episode.run


def written(folder: Path, rows: int) -> tuple[np.memmap, np.ndarray]:
    """Images on disk with a bright half, and which half it is."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, rows)
    x = generator.integers(0, 100, (rows, SIDE, SIDE), np.uint8)
    x[y == 0, : SIDE // 2] += 50
    x[y == 1, SIDE // 2 :] += 50
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r"), y


def tasks(x: np.memmap, y: np.ndarray) -> Iterator[tuple[str, Task]]:
    """The same data in memory, on disk, and behind a data set of grain."""
    in_memory = from_arrays(np.array(x), y)
    yield "memory", in_memory
    yield "disk", from_arrays(x, y, streamed=True)
    if importlib.util.find_spec("grain") is not None:
        import grain

        pairs = grain.MapDataset.range(len(y)).map(lambda row: (x[row], y[row]))
        yield "grain", load_source(pairs, None, Request(streamed=True), None)[0]


def measure(x: np.memmap, y: np.ndarray, rounds: int) -> Iterator[Figure]:
    """Ratios for networks that need little and much time for a batch."""
    made = list(tasks(x, y))
    for family in ("mlp", "cnn"):
        running = {name: Training.of(replace(task, family=family)) for name, task in made}
        variants = {name: (one.slices, SLICES) for name, one in running.items()}
        seconds = in_turns(variants, rounds)
        for name in list(running)[1:]:
            yield Figure(
                f"throughput of {name} against memory, {family} {FAMILIES[family].default}",
                ratio(seconds, "memory", name),
                rounds,
                at_least=LEAST,
                details=milliseconds(seconds, "memory", name),
            )


def main() -> None:
    """Prints the figures, a line each, and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    parser.add_argument("--rows", type=int, default=50_000, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="lines of JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = []
        for one in measure(*written(Path(folder), args.rows), args.rounds):
            figures.append(one)
            print(one.line(), flush=True)
    if args.json:
        args.json.write_text("".join(one.line() + "\n" for one in figures), encoding="utf-8")
    if args.markdown:
        args.markdown.write_text(table(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
