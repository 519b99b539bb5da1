"""Cost of each lever: a slice of training with it as a ratio to the plain slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from rlagent_envs import dynamics, telemetry
from rlagent_envs import episode as episodes
from rlagent_envs.books import SIGNS
from rlagent_envs.episode import Start
from rlagent_envs.models import Rung, ShapeClass
from rlagent_envs.settings import DEFAULT, LEVERS, Settings
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import Bank, make_bank
from rlagent_envs.training.loop import Live, Slice, Trace, train
from rlagent_envs.training.schedules import SHAPES
from scripts.figures import Figure, in_turns, machine, milliseconds, ratio
from scripts.lever_runs import Store
from scripts.speed import made_task

UPDATES = 200  # in a slice
RUNG = Rung(2, 64)
FEATURES, SIDE = 64, 8  # the inputs are images of 8 x 8 where a lever needs images


@partial(jax.jit, static_argnums=0)
def sliced(
    shape: ShapeClass, bank: Bank, live: Live, settings: Settings, updates: jax.Array
) -> tuple[Live, Trace]:
    """So many updates, and what telemetry saw of them."""
    zero = jnp.zeros(())
    plan = Slice(
        key=jnp.array([1, 2], jnp.uint32),
        first=jnp.int32(0),
        updates=updates,
        schedule=jnp.asarray(SHAPES["constant"].pack()),
        progress=zero,
        progress_each=zero,
    )
    look = dynamics._look
    return train(shape, bank, jnp.int32(0), live, settings, plan, look, telemetry.EVERY, SIGNS)


def _variant(
    task: Task,
    bank: Bank,
    levers: tuple[str, ...],
    settings: Mapping[str, float],
    optimizer: str = "adamw",
) -> Any:
    """Trains a slice; the program has those levers, whether the settings use them or not."""
    chosen = DEFAULT._replace(**settings)
    # Clipping remembers norms and averaging a mean: begun with the lever, so that they are there.
    begun = {"clipping": {"clip_quantile": 0.5}, "averaging": {"average_decay": 0.9}}
    at_start = chosen._replace(**{k: v for each in levers for k, v in begun.get(each, {}).items()})
    start = Start(0, at_start, RUNG, budget=1000.0, decisions=10, optimizer=optimizer)
    episode = episodes.on_device(episodes.begin(task, bank, start, ()))
    shape = replace(episode.shape, levers=levers)
    numbers = jax.device_put(Settings(*chosen.pack()))
    return lambda: sliced(shape, bank, episode.run.live, numbers, jnp.int32(UPDATES))


# Of each lever: what it contains, and the settings that use it.
USED: dict[str, tuple[tuple[str, ...], dict[str, float]]] = {
    "dropout": ((), {"dropout": 0.2}),
    "loss (label smoothing, focal)": (("loss",), {"label_smoothing": 0.1, "focal_gamma": 2.0}),
    "penalty (l2, l1)": (("penalty",), {"l2": 1e-4, "l1": 1e-5}),
    "clipping": (("clipping",), {"clip_quantile": 0.5}),
    "averaging": (("averaging",), {"average_decay": 0.99}),
    "augmentation of rows": (("augmentation",), {"augmentation": 0.3}),
    "augmentation of images": (("augmentation",), {"augmentation": 0.3}),
    "mixup": (("mixing",), {"mixup": 0.2}),
    "cutmix": (("mixing",), {"cutmix": 1.0}),
    "FGSM": (("adversarial",), {"adversarial_epsilon": 0.1}),
    "PGD-3": (("adversarial",), {"adversarial_epsilon": 0.1, "adversarial_steps": 3.0}),
    "TRADES, PGD-3": (
        ("adversarial",),
        {"adversarial_epsilon": 0.1, "adversarial_steps": 3.0, "trades": 1.0},
    ),
    "activation (gelu)": (("activation",), {"activation": 1.0}),
}
IMAGES = ("augmentation of images", "cutmix")
KEY = "speed"  # in the store
NOTHING: dict[str, float] = {}


def off_name(name: str) -> str:
    """What the program of a variant is called where nothing in it is used."""
    levers = USED[name][0] if name in USED else ()
    return "".join(levers) + (", images" if name in IMAGES else "")


def costs(rounds: int) -> Iterator[Figure]:
    """Each lever in use, compiled in but off; all of them off; the optimizers."""
    rows = made_task(FEATURES)
    images = replace(rows, input_shape=(SIDE, SIDE, 1))
    bank = jax.device_put(make_bank(rows, padded=False))
    variants = {"plain": _variant(rows, bank, (), NOTHING)}
    off = {"all levers, rows": _variant(rows, bank, LEVERS, NOTHING)}
    off["all levers, images"] = _variant(images, bank, LEVERS, NOTHING)
    for name, (levers, settings) in USED.items():
        task = images if name in IMAGES else rows
        variants[name] = _variant(task, bank, levers, settings)
        if levers:
            off.setdefault(off_name(name), _variant(task, bank, levers, NOTHING))
    variants |= {f"{name} (off)": run for name, run in off.items()}
    for name in ("sgd", "lion", "muon"):
        variants[f"optimizer {name}"] = _variant(rows, bank, (), NOTHING, name)
    seconds = in_turns({name: (run, UPDATES) for name, run in variants.items()}, rounds)
    for name in variants:
        yield Figure(
            name,
            ratio(seconds, name, "plain"),
            rounds,
            details=milliseconds(seconds, name),
        )


def measure(store: Store, rounds: int) -> None:
    """Times all variants, and keeps their ratios."""
    made = [
        {"what": one.what, "ratio": one.value, "n": one.n, **one.details} for one in costs(rounds)
    ]
    store.add(KEY, {"rows": made, "machine": machine()})


def table(store: Store) -> str:
    """The ratios, and what they were measured on."""
    found = store.get(KEY)
    if found is None:
        return "Not measured.\n"
    told = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    ratios = {row["what"]: row for row in found["rows"]}
    lines = [
        f"Median over {found['rows'][0]['n']} rounds of slices of {UPDATES} updates, {RUNG}, "
        f"{FEATURES} inputs, batch 64, 10 classes; the plain update takes "
        f"{1e3 * ratios['plain']['plain ms']:.0f} microseconds. Measured on: {told}.",
        "",
        "| lever | in use | compiled in, off |",
        "| --- | ---: | ---: |",
    ]
    for name, row in ratios.items():
        if name in USED or name.startswith("optimizer"):
            idle = ratios.get(f"{off_name(name)} (off)")
            told = "-" if idle is None else f"{idle['ratio']:.2f}"
            lines.append(f"| {name} | {row['ratio']:.2f} | {told} |")
    for name, row in ratios.items():
        if name.startswith("all levers"):
            lines.append(f"| {name.removesuffix(' (off)')} | - | {row['ratio']:.2f} |")
    return "\n".join(lines) + "\n"
