"""Training of one convolutional network by our convolution, by `lax.conv` and by PyTorch.

Run from the repository's root: `python -m scripts.convolution`. The same network at the same batch,
AdamW, everything in turns within one process. One thread each, unless `--threads` says otherwise,
and the time is that of the processor, which other programs do not lengthen much.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from rlagent_envs.models import CNN, Rung, ShapeClass, residual
from rlagent_envs.models.cnn import LARGEST_BLOCK, stage_sizes
from rlagent_envs.models.convolution import by_lax, in_one_form
from rlagent_envs.settings import DEFAULT, Settings
from rlagent_envs.training import adamw
from scripts.figures import machine

BATCH, CLASSES = 64, 10
# Side and channels of the image, rung.
NETWORKS = (
    ((8, 8, 1), Rung(2, 16)),
    ((28, 28, 1), Rung(1, 8)),
    ((28, 28, 1), Rung(2, 16)),
    ((28, 28, 1), Rung(3, 32)),
    ((32, 32, 3), Rung(2, 16)),
)
SLOW = 1.5e6  # multiplications of an example above which `lax.conv` in the loop takes too long

Run = Callable[[], Any]


class TorchBlock(nn.Module):
    """A residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The images with the block added."""
        return x + self.second(torch.relu(self.norm(self.first(x))))


class TorchStage(nn.Module):
    """A convolution and its blocks."""

    def __init__(self, channels: int, width: int, depth: int, halvings: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.halvings = halvings
        self.blocks = nn.Sequential(*[TorchBlock(width) for _ in range(depth)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The images after the stage."""
        x = torch.relu(self.norm(self.enter(x)))
        for _ in range(self.halvings):
            x = nn.functional.avg_pool2d(x, 2)
        made: torch.Tensor = self.blocks(x)
        return made


class TorchNetwork(nn.Module):
    """The network of the family."""

    def __init__(self, input_shape: tuple[int, int, int], rung: Rung) -> None:
        super().__init__()
        *sizes, channels = input_shape
        halvings = 0
        while min(sizes) >> halvings > LARGEST_BLOCK:
            halvings += 1
        stages: list[nn.Module] = []
        for number in range(len(stage_sizes(input_shape))):
            width = residual.stage_width(rung.width, number)
            if number:
                stages.append(nn.AvgPool2d(2))
            stages.append(TorchStage(channels, width, rung.depth, 0 if number else halvings))
            channels = width
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(channels)
        self.last = nn.Linear(channels, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits."""
        x = self.stages(x)
        logits: torch.Tensor = self.last(torch.relu(self.norm(x)).mean((2, 3)))
        return logits


def in_jax(shape: ShapeClass, updates: int, by: Any, x: Any, y: Any, *, unrolled: bool) -> Run:
    """Some updates as one program, with a loop in it or without."""
    params, unseen = CNN.init(np.random.default_rng(0), shape, shape.features)
    settings = Settings(*map(jnp.float32, DEFAULT))
    zero, start = jnp.float32(0.0), jnp.uint32(0)

    def loss(params: Any, seen: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any]:
        outputs, seen = CNN.apply(shape, params, seen, x, zero, start, None, None)
        log_p = jax.nn.log_softmax(outputs)
        return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1)), seen

    def one(x: jax.Array, y: jax.Array, number: Any, carry: Any) -> Any:
        params, state, seen = carry
        gradients, seen = jax.grad(loss, has_aux=True)(params, seen, x[number], y[number])
        rate = settings.learning_rate
        return *adamw.update(gradients, state, params, settings, rate), seen

    @jax.jit
    def train(carry: Any, x: jax.Array, y: jax.Array) -> Any:
        if not unrolled:
            return jax.lax.fori_loop(0, updates, partial(one, x, y), carry)
        for number in range(updates):
            carry = one(x, y, number, carry)
        return carry

    carry = (params, adamw.init(params, DEFAULT.momentum), unseen)
    with mock.patch.object(residual, "convolution", by):  # read while this is traced
        jax.block_until_ready(train(carry, x, y))  # type: ignore[no-untyped-call]
    return lambda: jax.block_until_ready(train(carry, x, y))  # type: ignore[no-untyped-call]


def in_torch(shape: ShapeClass, updates: int, x: Any, y: Any, layout: torch.memory_format) -> Run:
    """The same by PyTorch, eagerly."""
    height, width, channels = shape.input_shape
    network = TorchNetwork((height, width, channels), shape.rung).to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, foreach=True)
    images = [
        torch.tensor(one.reshape(BATCH, *shape.input_shape))
        .permute(0, 3, 1, 2)
        .contiguous(memory_format=layout)
        for one in x
    ]
    targets = [torch.tensor(one, dtype=torch.int64) for one in y]

    def run() -> None:
        for image, target in zip(images, targets, strict=True):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(image), target)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return run


def measure(input_shape: tuple[int, int, int], rung: Rung, updates: int, rounds: int) -> str:
    """A row of the table."""
    features = int(np.prod(input_shape))
    shape = ShapeClass(
        "cnn", rung, "classification", features, CLASSES, BATCH, input_shape=input_shape
    )
    generator = np.random.default_rng(0)
    x = generator.standard_normal((updates, BATCH, features), np.float32)
    y = generator.integers(0, CLASSES, (updates, BATCH)).astype(np.int32)
    operations = CNN.flops(shape)[1]
    runs = {
        "ours": in_jax(shape, updates, in_one_form, x, y, unrolled=False),
        "lax.conv unrolled": in_jax(shape, updates, by_lax, x, y, unrolled=True),
        "torch": in_torch(shape, updates, x, y, torch.contiguous_format),
        "torch, channels last": in_torch(shape, updates, x, y, torch.channels_last),
    }
    if operations < SLOW * 6:
        runs["lax.conv in a loop"] = in_jax(shape, updates, by_lax, x, y, unrolled=False)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            begun = time.process_time()
            run()
            if number:  # the first round warms up
                seconds[name].append(time.process_time() - begun)
    ours = np.array(seconds["ours"])
    torches = np.minimum(seconds["torch"], seconds["torch, channels last"])
    cells = [f"{'x'.join(map(str, input_shape))}, {rung}", f"{1e3 * np.median(ours) / updates:.3g}"]
    for name in ("ours", "lax.conv in a loop", "lax.conv unrolled", "torch"):
        taken = torches if name == "torch" else np.array(seconds.get(name, [np.nan]))
        rate = operations * BATCH * updates / np.median(taken) / 1e9
        cells.append("-" if np.isnan(rate) else f"{rate:.3g}")
    cells.append(f"{np.median(torches / ours):.2f} x")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measures each network; prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=4, help="in a program")
    parser.add_argument("--rounds", type=int, default=9, help="repetitions of each variant")
    parser.add_argument("--threads", type=int, default=1, help="cores that may be used")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if hasattr(os, "sched_setaffinity"):  # before JAX makes its threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-arguments.threads :])
    told = machine() | {"torch": torch.__version__}
    print(", ".join(f"{name} {value}" for name, value in told.items()), flush=True)
    print("| network | ms an update | ours | lax.conv | unrolled | torch | rate to torch's |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for input_shape, rung in NETWORKS:
        print(measure(input_shape, rung, arguments.updates, arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
