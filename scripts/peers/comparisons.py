"""What is compared with what: our side, the forms of a peer, and what is equal between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Ours and theirs: width, depth and batch of the search, and of DACBench's small data.
NETWORK = {"width": 64, "depth": 2}
BATCH = 64
PLACES = 16  # environments that are stepped together, where there are several


@dataclass(frozen=True)
class Opponent:
    """One form of a peer."""

    name: str
    side: str  # a key of SIDES in scripts/peers/worker.py
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Our side against forms of a peer, which take turns."""

    part: str
    what: str
    ours: Opponent
    theirs: Sequence[Opponent]
    unit: str  # decisions or updates
    notes: Sequence[str]  # what is equal, and what is not
    at_least: float | None = None
    # Of the peer: its rate counts as many times, as if they cost each other nothing.
    processes: int = 1


def decisions(data: Mapping[str, Path], seconds: float, cores: int) -> Iterator[Comparison]:
    """Decisions per second against DACBench, in its two modes, on little data and as much as MNIST.

    Args:
        data: the .npz file of each size.
        seconds: how long a side decides in a round.
        cores: how many threads torch may use; it is timed with one, too.
    """
    for size, mode, batch, updates in (
        ("small", "an epoch", BATCH, 20),
        ("small", "an update", BATCH, 1),
        ("full", "an epoch", 2 * BATCH, 375),
        ("full", "an update", 2 * BATCH, 1),
    ):
        shared = {"data": str(data[size]), "seconds": seconds, **NETWORK}
        theirs = shared | {"batch": batch, "epochs": mode == "an epoch"}
        rows = {"small": "1,280 rows", "full": "48,000 rows"}[size]
        one = Comparison(
            part="dacbench",
            what=f"DACBench SGD, {mode} a decision, {rows}",
            ours=Opponent("rlagent", "our decisions", shared | {"updates": updates, "places": 1}),
            theirs=[
                Opponent(f"{threads} torch threads", "dacbench", theirs | {"threads": threads})
                for threads in dict.fromkeys((1, cores))
            ],
            unit="decisions",
            notes=_DECISION_NOTES,
            at_least=10.0,
        )
        yield one
        many = dict(one.ours.options) | {"places": PLACES}
        yield replace(
            one,
            what=f"{one.what}, {PLACES} environments against {cores} processes",
            ours=replace(one.ours, options=many),
            theirs=[one.theirs[0]],
            processes=cores,
        )


_DECISION_NOTES = (
    "DACBench, equal: the network (784 inputs, 2 hidden layers of 64 with ReLU, 10 outputs),"
    " batch, AdamW, rows, the learning rate moved at each decision, and for `an epoch` (DACBench's"
    " default) the number of updates in a decision.",
    "DACBench, not equal: for `an update` a decision of rlagent makes as few updates as it can"
    " (evaluation is at most 14 % of a slice), more than DACBench's one: more work for rlagent."
    " DACBench evaluates a tenth of the validation rows, rlagent a share fixed by cost (how many is"
    " in the JSON). rlagent adds dropout (at rate 0), telemetry, a snapshot, and recovery from"
    " divergence. DACBench draws batches without replacement through a DataLoader, rlagent with"
    " replacement on the device.",
    f"{PLACES} environments: one `gymnasium.make_vec`, as a controller is trained. DACBench can"
    " only be run side by side in processes; the rate of one process with one thread is multiplied"
    " by the number of cores, as if they cost each other nothing. Memory is that of one.",
    "DACBench, in its favour: torchvision is replaced by tensors in memory (no decoding, no"
    " transforms); its resets and the evaluation on test data at the end of an episode are not"
    " timed; it is used bare, rlagent as `gymnasium.make` gives it, with Gymnasium's checks.",
)


def searches(part: str, task: str, trials: int, updates: int, cores: int) -> Comparison:
    """Updates per second of a random search, against a plain Flax loop under Optuna or Ray."""
    shared = {
        "task": task,
        "trials": trials,
        "updates": updates,
        "evaluations": min(20, updates),
        "batch": BATCH,
        "cores": cores,
        **NETWORK,
    }
    forms = {
        "the loop that people write": {"reads": True, "once": False},
        "silent": {"reads": False, "once": False},
        "compiled once": {"reads": True, "once": True},
        "compiled once, silent": {"reads": False, "once": True},
    }
    if part == "ray":  # a process for each trial compiles anew in any form
        forms = dict(list(forms.items())[:1])
    peer = {"optuna": "Optuna", "ray": "Ray Tune"}[part]
    return Comparison(
        part=part,
        what=f"{peer}, {trials} configurations of {updates} updates on {Path(task).stem}",
        ours=Opponent("rlagent", "our search", shared),
        theirs=[Opponent(name, part, shared | form) for name, form in forms.items()],
        unit="updates",
        notes=_SEARCH_NOTES,
        at_least=5.0 if part == "optuna" else None,
    )


_SEARCH_NOTES = (
    "Search, equal: the task's rows, batch, network (2 hidden layers of 64 with ReLU), AdamW,"
    " updates (to about 1 %), number of evaluations on validation rows; learning rate and weight"
    " decay are drawn log-uniformly from the same ranges.",
    "The loop that people write: a `TrainState` that holds the trial's `optax.adamw`, one jitted"
    " `train_step`, a Python loop over shuffled NumPy batches, `float(loss)` after each update."
    " The optimizer is part of what the step is compiled for, so that each trial compiles it anew."
    " `compiled once` is the same loop with `optax.inject_hyperparams`, whose settings are traced:"
    " all trials of a process share one program. `silent` never reads the loss of an update.",
    "Search, not equal: rlagent also draws dropout (at rate 0), takes telemetry and keeps the best"
    " weights; it evaluates a subset fixed by cost, the plain loop all validation rows (in both"
    " cases all of them on digits).",
    "`From process start` is one search with the imports, the loading of data and all compilation.",
    "Ray Tune starts a process of one CPU for each trial, as many at a time as there are cores,"
    " without its dashboard. The row without a remark is `Tuner.fit`, the start of these processes"
    " included; `with ray.init` adds Ray's own start; `loops alone` counts only what comes after"
    " the first update of each trial, as if imports and compilation cost nothing.",
    "Memory is the peak of the resident memory of a side's process; for Ray Tune the peak of the"
    " proportional set size of all its processes together, looked at every half second.",
)
