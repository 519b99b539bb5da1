"""What choices of the family `cnn` and of its augmentation are worth on photographs.

    python -m scripts.photos cifar10.npz --seeds 3 --markdown FILE

Each arm changes one thing of what `rlagent tune` does, on a part of the training images, under a
cosine; judged by validation images. What the product no longer has is put in its place here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np

import rlagent
from rlagent_envs import batch
from rlagent_envs.models import cnn
from rlagent_envs.models.normalisation import Norm, normalised
from rlagent_envs.models.residual import Layers
from rlagent_envs.training import augmentation
from scripts.figures import machine

ROWS, UPDATES = 8000, 500
MAGNITUDE = 0.2


class GroupNormalisation:
    """The normalisation of sequences, in the place of that by batches."""

    def __init__(self, params: Layers, statistics: Layers, training: bool) -> None:
        del params, training
        self._statistics = statistics

    def __call__(self, x: jax.Array, norm: Norm) -> jax.Array:
        """Each group of channels of an image at mean 0 and variance 1."""
        return normalised(x, norm)

    def after(self) -> Layers:
        """The statistics, of which nothing is used."""
        return self._statistics


def between_pixels(x: jax.Array, down: jax.Array, right: jax.Array) -> jax.Array:
    """Bilinear means of the four pixels around some places, which are zeros outside of an image."""

    def channel(image: jax.Array, down: jax.Array, right: jax.Array) -> jax.Array:
        return jax.scipy.ndimage.map_coordinates(image, [down, right], order=1, mode="constant")

    of_image = jax.vmap(channel, (2, None, None), 2)
    return jax.vmap(of_image)(x, down, right)


@dataclass(frozen=True)
class Arm:
    """One way to do it."""

    options: dict[str, Any] = field(default_factory=dict)
    instead: tuple[tuple[Any, str, Any], ...] = ()  # module, name, what stands there


AUGMENTED: dict[str, Any] = {"mirrored": True, "settings": {"augmentation": MAGNITUDE}}
ARMS = {
    "as it is": Arm(AUGMENTED),
    "normalised by groups of channels": Arm(
        AUGMENTED, ((cnn, "BatchNormalisation", GroupNormalisation),)
    ),
    "moved images are means of pixels": Arm(
        AUGMENTED, ((augmentation, "_sampled", between_pixels),)
    ),
    "not mirrored": Arm(AUGMENTED | {"mirrored": False}),
    "mirrored, not augmented": Arm({"mirrored": True}),
    "neither": Arm(),
}


def measure(path: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """A line for each run."""
    with np.load(path) as stored:
        x, y = stored["x_train"][:ROWS], stored["y_train"][:ROWS].reshape(-1)
    for name, arm in ARMS.items():
        with ExitStack() as stack:
            for place in arm.instead:
                stack.enter_context(mock.patch.object(*place))
            batch.drop_programs()  # they know nothing of what was put in the place of something
            for seed in range(seeds):
                out = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
                result = rlagent.tune(
                    x, y, method="cosine", updates=UPDATES, seed=seed, out=out, **arm.options
                )
                yield {"arm": name, "seed": seed, "score": result.summary["valid_score"]}


def table(lines: list[dict[str, Any]]) -> str:
    """Means over seeds, and the difference to the first arm by seed."""
    scores = {
        name: np.array([line["score"] for line in lines if line["arm"] == name]) for name in ARMS
    }
    first = scores["as it is"]
    rows = ["| | validation accuracy | against the first |", "| --- | ---: | --- |"]
    for name, values in scores.items():
        apart = values - first
        told = (
            ""
            if name == "as it is"
            else f"{apart.mean():+.3f} ({min(apart):+.3f} to {max(apart):+.3f})"
        )
        rows.append(f"| {name} | {values.mean():.3f} | {told} |")
    facts = ", ".join(f"{name} {value}" for name, value in machine().items())
    return "\n".join([*rows, "", f"n = {len(first)} seeds; {facts}."])


def main() -> None:
    """Measures, and writes a line for each run and the table."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("data", type=Path, help="x_train and y_train, as of scripts/cifar10.py")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--markdown", type=Path)
    args = arguments.parse_args()
    lines = []
    for line in measure(args.data, args.seeds):
        lines.append(line)
        print(json.dumps(line), flush=True)
    told = table(lines)
    print(told)
    if args.markdown:
        args.markdown.write_text(told + "\n")


if __name__ == "__main__":
    main()
