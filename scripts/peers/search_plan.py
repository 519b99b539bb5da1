"""What the random searches have in common."""

from __future__ import annotations

from typing import Any

from rlagent_envs.tasks.registry import load_task
from rlagent_envs.tasks.task import Task
from scripts.peers.plain_flax import Data, Plan

LEARNING_RATE = (1e-4, 1e-2)  # log-uniform, as weight decay
WEIGHT_DECAY = (1e-5, 1e-1)


def task(options: dict[str, Any]) -> Task:
    """The task, with the batch size asked for."""
    return load_task(options["task"], batch_size=options["batch"])


def data(task: Task) -> Data:
    """Its rows for the plain loop."""
    return Data(task.train.x, task.train.y, task.valid.x, task.valid.y)


def plan(task: Task, options: dict[str, Any]) -> Plan:
    """What a trial of the plain loop does."""
    names = ("batch", "updates", "evaluations", "reads", "once")
    chosen = {name: options[name] for name in names}
    return Plan(options["width"], options["depth"], task.outputs, **chosen)


def facts(task: Task, options: dict[str, Any]) -> dict[str, Any]:
    """What is told of a search."""
    return {
        "network": f"{task.features}-{options['width']}x{options['depth']}-{task.outputs}",
        "batch": options["batch"],
        "rows": len(task.train.x),
        "rows to evaluate on": len(task.valid.x),
        **{name: options[name] for name in ("trials", "updates", "evaluations")},
    }
