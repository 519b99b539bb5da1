"""Throughput of data that stays on disk, as a ratio to the same data in memory.

    python -m scripts.streaming [--rounds N] [--rows N] [--photos N] [--json FILE] [--markdown FILE]

Images of 28 x 28 pixels in a .npy file, read by `np.load(…, mmap_mode="r")`, and the same behind a
`grain.MapDataset` where grain is installed; and a folder of JPEGs of 160 x 120 pixels that become
64 x 64. Files are in the system's cache after the first round, so that the reader keeps up as far
as the processor lets it. A turn ends when what its last slice reads ahead has been read, so that it
has as many blocks to read as slices to train, and leaves the other variants alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rlagent.apply.request import Request
from rlagent.apply.source import load_source
from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.episode import Episode, Start
from rlagent_envs.models import FAMILIES
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks import from_arrays, load_task
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import Bank
from rlagent_envs.training.feed import Feed, bank_of, data_of
from scripts.figures import Figure, in_turns, milliseconds, ratio, table

SIDE, UPDATES, SLICES = 28, 64, 4
CLASSES, HEIGHT, WIDTH = 10, 120, 160  # of the photos
COARSE = 12  # pixels: what changes within less is noise
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
        if isinstance(self.data, Feed) and self.data._coming is not None:
            wait([self.data._coming[2]])
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
        yield "grain", load_source(pairs, None, Request(streamed=True), {})[0]


def photos(folder: Path, each: int) -> Path:
    """A folder for each class, with JPEGs of coloured clouds and some noise."""
    generator = np.random.default_rng(0)
    for label in range(CLASSES):
        tint = generator.integers(0, 100, 3)
        (folder / str(label)).mkdir(parents=True)
        for number in range(each):
            size = (HEIGHT // COARSE, WIDTH // COARSE, 3)
            clouds = Image.fromarray((tint + generator.integers(0, 120, size)).astype(np.uint8))
            image = np.array(clouds.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
            image += generator.integers(-8, 9, image.shape, np.int16)
            photo = Image.fromarray(image.clip(0, 255).astype(np.uint8))
            photo.save(folder / str(label) / f"{number}.jpg", quality=85)
    return folder


def of_folder(folder: Path) -> Iterator[tuple[str, Task]]:
    """The same photos in memory and on disk."""
    for name, streamed in (("memory", False), ("folder", True)):
        yield name, load_task(folder, image_size=64, streamed=streamed)


def measure(made: list[tuple[str, Task]], family: str, rounds: int) -> Iterator[Figure]:
    """Ratios of the other tasks to the first, for a family of networks."""
    running = {name: Training.of(replace(task, family=family)) for name, task in made}
    variants = {name: (one.slices, SLICES) for name, one in running.items()}
    seconds = in_turns(variants, rounds, warmup=2)
    for name in list(running)[1:]:
        yield Figure(
            f"throughput of {name} against memory, {family} {FAMILIES[family].default}",
            ratio(seconds, "memory", name),
            rounds,
            at_least=LEAST,
            details=milliseconds(seconds, "memory", name),
        )


def measurements(folder: Path, args: argparse.Namespace) -> Iterator[Figure]:
    """All figures: networks that need little and much time for a batch."""
    arrays = list(tasks(*written(folder, args.rows)))
    for family in ("mlp", "cnn"):
        yield from measure(arrays, family, args.rounds)
    yield from measure(list(of_folder(photos(folder / "photos", args.photos))), "cnn", args.rounds)


def main() -> None:
    """Prints the figures, a line each, and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    parser.add_argument("--rows", type=int, default=50_000, metavar="N")
    parser.add_argument("--photos", type=int, default=64, metavar="N", help="of each class")
    parser.add_argument("--json", type=Path, metavar="FILE", help="lines of JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = []
        for one in measurements(Path(folder), args):
            figures.append(one)
            print(one.line(), flush=True)
    if args.json:
        args.json.write_text("".join(one.line() + "\n" for one in figures), encoding="utf-8")
    if args.markdown:
        args.markdown.write_text(table(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
