"""What a larger vocabulary of texts costs, as a ratio to the usual one, and what it brings.

`python scripts/vocabulary.py` times updates with vocabularies of several sizes. With
`--file reviews.csv --target label` it also trains on the file with each size, for each seed, and
tells the scores on the rows to validate on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rlagent
from rlagent.apply.model import Model
from rlagent_envs import episode as episodes
from rlagent_envs.episode import Start
from rlagent_envs.models import TEXT
from rlagent_envs.settings import DEFAULT, Settings
from rlagent_envs.tasks.task import Split, Task
from rlagent_envs.training.bank import make_bank
from scripts.figures import Figure, in_turns, milliseconds, ratio
from scripts.lever_speed import sliced

SIZES = (8_000, 4_000, 12_000, 30_000)  # the first one is compared with
UPDATES = 20  # in a slice
ROWS, LENGTH, CLASSES = 4096, 40, 4


def made_texts(tokens: int, length: int, batch_size: int) -> Task:
    """Random tokens: an update costs the same whatever they say."""
    generator = np.random.default_rng(0)
    x = generator.integers(2, tokens, (ROWS, length)).astype(np.float32)
    part = Split(x, generator.integers(0, CLASSES, ROWS).astype(np.int32))
    return Task(
        f"{tokens} tokens",
        "classification",
        part,
        part,
        None,
        outputs=CLASSES,
        batch_size=batch_size,
        family="text",
        input_shape=(length,),
        vocabularies=(tokens,),
    )


def slice_of(task: Task) -> Callable[[], Any]:
    """Trains a slice at the default rung."""
    bank = jax.device_put(make_bank(task, padded=False))
    start = Start(0, DEFAULT, TEXT.default, budget=1000.0, decisions=10)
    episode = episodes.on_device(episodes.begin(task, bank, start, ()))
    numbers = jax.device_put(Settings(*DEFAULT.pack()))
    return lambda: sliced(episode.shape, bank, episode.run.live, numbers, jnp.int32(UPDATES))


def costs(length: int, batch_size: int, rounds: int) -> None:
    """Prints the time of an update with each size, as a ratio to the first one."""
    tasks = {str(size): made_texts(size, length, batch_size) for size in SIZES}
    seconds = in_turns({name: (slice_of(task), UPDATES) for name, task in tasks.items()}, rounds)
    for name in tasks:
        what = f"update with {name} tokens, texts of {length}, batch {batch_size}"
        value = ratio(seconds, name, str(SIZES[0]))
        print(Figure(what, value, rounds, details=milliseconds(seconds, name)).line(), flush=True)


def scores(file: Path, target: str, seeds: int) -> None:
    """Prints the scores of runs with a cosine on the rows to validate on."""
    for seed in range(seeds):
        for size in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                result = rlagent.tune(
                    file,
                    target=target,
                    method="cosine",
                    vocabulary=size,
                    seed=seed,
                    out=Path(folder) / "run",
                )
            assert isinstance(result.model, Model)
            told: dict[str, Any] = {
                "file": file.name,
                "seed": seed,
                "tokens": result.model.vocabularies[0],
            }
            told |= {name: result.summary[name] for name in ("valid_score", "valid_loss")}
            print(json.dumps(told), flush=True)


def main() -> None:
    """Times, and trains where a file is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--target")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    for batch_size in (64, 128):
        costs(LENGTH, batch_size, given.rounds)
    if given.file is not None:
        scores(given.file, given.target, given.seeds)


if __name__ == "__main__":
    main()
