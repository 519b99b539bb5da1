"""CIFAR-10: the classic small network, and a controlled run within the FLOPs of its 100 epochs.

    python -m scripts.cifar10 classic cifar10.npz --out runs/classic
    python -m scripts.cifar10 controlled cifar10.npz --out runs/controlled --seed 0
    python -m scripts.cifar10 controlled cifar10.npz --out runs/controlled-4 --share 4
    python -m scripts.cifar10 controlled cifar10.npz --out runs/cosine --method cosine

The file has `x_train, y_train, x_test, y_test`, images `[rows, 32, 32, 3]` as uint8. Either run
goes on where it was when the command is given again. Both train on the same rows, select on the
same 10,000 rows of the training part, and look at test data once, at the end.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rlagent
from rlagent.apply.request import parse_rung, parse_settings
from rlagent.storage import read_arrays, write_arrays, write_json
from rlagent_envs.books import RungFacts
from rlagent_envs.models import ShapeClass
from rlagent_envs.models.ladder import Rung
from rlagent_envs.tasks import load_task
from rlagent_envs.tasks.task import Split, Task
from scripts.figures import machine

BATCH, EPOCHS, PATIENCE = 64, 100, 10
LEARNING_RATE = 1e-3
CLASSES = 10
OPTIMIZER = optax.adam(LEARNING_RATE)
CONTROLLED_BATCH = 128

# Multiplications and additions of the classic network for one image, layer by layer: 3x3 kernels
# without padding give 30x30 and, behind a pool, 13x13 places.
FORWARD = {
    "first": 2 * 27 * 32 * 30 * 30,
    "second": 2 * 288 * 64 * 13 * 13,
    "dense": 2 * 6 * 6 * 64 * 64,
    "last": 2 * 64 * CLASSES,
}
# Backward costs twice as much, but for the gradient of the image, which nobody needs.
IMAGE_FLOPS = 3 * sum(FORWARD.values()) - FORWARD["first"]


class Best(NamedTuple):
    """The epoch that is kept."""

    epoch: int
    valid_accuracy: float
    train_accuracy: float


def main() -> None:
    """Runs one of the two."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("which", choices=("classic", "controlled"))
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True, help="a folder")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--share", type=float, default=1.0, help="FLOPs, in those of 100 epochs")
    start = arguments.add_argument_group("the start of the controlled run")
    start.add_argument("--rung", default="32x1")
    start.add_argument("--controller", default="default")
    start.add_argument("--method", default="controller", help="a schedule in the place of it")
    start.add_argument("--optimizer", default="muon")
    start.add_argument("--learning-rate", type=float, default=0.02)
    start.add_argument("--weight-decay", type=float)
    start.add_argument("--batch-size", type=int, default=CONTROLLED_BATCH, metavar="ROWS")
    start.add_argument("--hold", action="append", default=[], metavar="KNOB")
    start.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    args = arguments.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    task = load_task(args.data, batch_size=args.batch_size)
    told = classic(task, args) if args.which == "classic" else controlled(task, args)
    told |= {"machine": machine(), "seed": args.seed}
    write_json(args.out / "result.json", told)
    print(json.dumps(told, indent=2))


def budget(task: Task) -> float:
    """The FLOPs of 100 epochs of the classic network."""
    return float(IMAGE_FLOPS) * EPOCHS * len(task.train.x)


# --- the classic network


def init(seed: int) -> dict[str, jax.Array]:
    """Glorot's uniform weights and zero biases, as Keras has them."""
    shapes = {
        "first": (3, 3, 3, 32),
        "second": (3, 3, 32, 64),
        "dense": (6 * 6 * 64, 64),
        "last": (64, CLASSES),
    }
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    draw = jax.nn.initializers.glorot_uniform()
    weights = {name: draw(key, shapes[name]) for name, key in zip(shapes, keys, strict=True)}
    return weights | {f"{name}_bias": jnp.zeros(shape[-1]) for name, shape in shapes.items()}


def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """The logits `[batch, 10]` of images `[batch, 3072]`."""
    x = x.reshape(len(x), 32, 32, 3)
    for name in ("first", "second"):
        x = jax.lax.conv_general_dilated(
            x, params[name], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.relu(x + params[f"{name}_bias"])
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = jax.nn.relu(x.reshape(len(x), -1) @ params["dense"] + params["dense_bias"])
    return x @ params["last"] + params["last_bias"]


@jax.jit
def update(params: Any, state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, Any]:
    """One step of Adam."""

    def loss(params: Any) -> jax.Array:
        logits = apply(params, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    changes, state = OPTIMIZER.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, changes), state


@jax.jit
def hits(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """How many images are classified rightly."""
    return jnp.sum(jnp.argmax(apply(params, x), axis=1) == y)


def accuracy(params: Any, split: Split, at_once: int = 1000) -> float:
    """The share of right answers."""
    pieces = range(0, len(split.x), at_once)
    counted = [hits(params, *(part[i : i + at_once] for part in split)) for i in pieces]
    return float(sum(map(int, counted))) / len(split.x)


def batches(split: Split, seed: int, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows of an epoch in an order of its own; the last ones, fewer than a batch, are left."""
    order = np.random.default_rng([seed, epoch]).permutation(len(split.x))
    for first in range(0, len(order) - BATCH + 1, BATCH):
        rows = order[first : first + BATCH]
        yield split.x[rows], split.y[rows]


def classic(task: Task, args: argparse.Namespace) -> dict[str, Any]:
    """Up to 100 epochs; ended when 10 of them gave no better validation accuracy."""
    params = init(args.seed)
    state = OPTIMIZER.init(params)
    best_params, best, done, seconds = params, Best(0, 0.0, 0.0), 0, 0.0
    checkpoint = args.out / "checkpoint.safetensors"
    kept = (params, state, best_params)
    if checkpoint.exists():
        arrays, told = read_arrays(checkpoint)
        params, state, best_params = jax.tree.unflatten(
            jax.tree.structure(kept), [arrays[str(n)] for n in range(len(jax.tree.leaves(kept)))]
        )
        best, done, seconds = Best(*told["best"]), told["epoch"], told["seconds"]
    while done < EPOCHS and done - best.epoch < PATIENCE:
        epoch = done + 1
        begun = time.monotonic()
        for x, y in batches(task.train, args.seed, epoch):
            params, state = update(params, state, x, y)
        now = Best(epoch, accuracy(params, task.valid), accuracy(params, task.train))
        seconds += time.monotonic() - begun
        print(f"epoch {epoch}: valid {now.valid_accuracy:.4f}, train {now.train_accuracy:.4f}")
        if now.valid_accuracy > best.valid_accuracy:
            best, best_params = now, params
        leaves = jax.tree.leaves((params, state, best_params))
        arrays = {str(number): np.asarray(leaf) for number, leaf in enumerate(leaves)}
        facts = {"epoch": epoch, "best": list(best), "seconds": seconds}
        write_arrays(checkpoint, arrays, facts)
        done = epoch
    assert task.test is not None
    return {
        "best_epoch": best.epoch,
        "epochs": done,
        "valid_accuracy": best.valid_accuracy,
        "train_accuracy": best.train_accuracy,
        "test_accuracy": accuracy(best_params, task.test),
        "flops": float(IMAGE_FLOPS) * done * len(task.train.x),
        "flops_of_100_epochs": budget(task),
        "seconds": seconds,
    }


# --- the controlled run


def updates_within(task: Task, rung: Rung, optimizer: str, flops: float) -> int:
    """How many updates of a rung of the convolutional family the FLOPs pay for, optimizer included.

    Evaluations are paid for out of the same budget, by fewer updates.
    """
    shape = ShapeClass(
        "cnn",
        rung,
        task.kind,
        task.features,
        task.outputs,
        task.batch_size,
        optimizer,
        input_shape=task.input_shape,
    )
    return int(flops / RungFacts.of(shape).update_flops)


def controlled(task: Task, args: argparse.Namespace) -> dict[str, Any]:
    """One run by a controller; evaluation and optimizer are billed to it as well."""
    run = args.out / "run"
    settings = parse_settings(args.settings)
    begin = partial(
        rlagent.tune,
        args.data,
        method=args.method,
        controller=args.controller if args.method == "controller" else None,
        hold=args.hold,
        optimizer=args.optimizer,
        settings=settings,
        family="cnn",
        rung=args.rung,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        mirrored=True,
        updates=updates_within(
            task, parse_rung(args.rung), args.optimizer, args.share * budget(task)
        ),
        seed=args.seed,
        out=run,
    )
    result = rlagent.tune(resume=run) if run.exists() else begin()
    names = ("valid_score", "test_score", "updates", "decisions", "flops", "seconds", "rung")
    return {
        "share": args.share,
        "flops_of_100_epochs": budget(task),
        "method": args.method,
        "controller": args.controller,
        "hold": args.hold,
        "optimizer": args.optimizer,
        "batch_size": args.batch_size,
        "start": {
            "rung": args.rung,
            "learning_rate": args.learning_rate,
            "weight_decay": args.weight_decay,
        }
        | settings,
        **{name: result.summary[name] for name in names},
    }


if __name__ == "__main__":
    main()
