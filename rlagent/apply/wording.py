"""Numbers, settings and actions as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rlagent_envs.tasks.box_target import BoxTarget
from rlagent_envs.tasks.record_input import RecordInput
from rlagent_envs.tasks.targets import shortened

if TYPE_CHECKING:
    from rlagent.apply.request import Plan
    from rlagent_envs.tasks.task import Task

# How the level of a knob is written, `{}` is the level; of all others it is added.
_ACTIONS = {
    "learning_rate": "learning rate x {:g}",
    "weight_decay": "weight decay x {:g}",
    "momentum": "1 - momentum x {:g}",
    "huber_delta": "huber delta x {:g}",
    "l2": "l2 x {:g}",
    "l1": "l1 x {:g}",
    "average_decay": "1 - average decay x {:g}",
    "adversarial_epsilon": "adversarial epsilon x {:g}",
    "activation": "{} from now on",
    "growth": "{}",
    "shrink": "{}",
    "restore": "back to the {}",
}


def number(value: float | None) -> str:
    """A loss with three digits; `inf` for one that was not finite."""
    return "inf" if value is None else f"{value:.3g}"


def value_in_words(name: str, value: float) -> str:
    """The value of a setting with two digits; an activation by its name."""
    if name != "activation":
        return f"{value:.2g}"
    from rlagent_envs.models.activations import ACTIVATIONS

    return ACTIVATIONS[round(value)]


def settings_in_words(record: dict[str, Any]) -> str:
    """The settings of a line of the history, in two lines."""
    settings = record["settings"]
    named = [
        f"{name.replace('_', ' ')} {value_in_words(name, value)}"
        for name, value in settings.items()
    ]
    return "   ".join(named[:2]) + "\n" + "   ".join(named[2:])


def _in_words(name: str, level: float | str) -> str:
    """What a level does; nothing for hold."""
    if name not in _ACTIONS:
        return f"{name.replace('_', ' ')} {level:+g}" if level else ""
    return "" if level in (1.0, "hold") else _ACTIONS[name].format(level)


def actions_in_words(record: dict[str, Any]) -> str:
    """What the decision changed, empty if nothing; with what came of it, if that was special."""
    parts = [_in_words(name, level) for name, level in record["action"].items()]
    parts = [part for part in parts if part]
    if record["diverged"]:
        parts.append("diverged, so back to the best")
    return ", ".join(parts)


def several_in_words(plan: Plan) -> str:
    """What the networks of a run are for; nothing for a single one."""
    if plan.several is None:
        return ""
    if plan.several == "folds":
        return f", {plan.members} folds"
    return f", {plan.several} of {plan.members}"


def ensemble_in_words(summary: dict[str, Any]) -> list[str]:
    """What there is to say of the networks of a run, in a line or two; nothing for a single one."""
    name = summary["score_name"]
    if told := summary.get("cross_validation"):
        parts = [
            f"{title} {number(told[key]['mean'])} ± {number(told[key]['std'])}"
            for title, key in ((name, "valid_score"), ("loss", "valid_loss"))
        ]
        return [f"over {told['folds']} folds: {', '.join(parts)} (standard deviation)"]
    if not (told := summary.get("ensemble")):
        return []
    part = "test" if told["single"].get("test_loss") is not None else "valid"
    where = "test" if part == "test" else "validation"
    weights = ", ".join(f"{weight:.2g}" for weight in told["weights"])
    single = told["single"]
    lines = [
        f"{told['kind']} ensemble, weights {weights}; member {single['member']} alone: {name} "
        f"{number(single[f'{part}_score'])}, loss {number(single[f'{part}_loss'])}"
    ]
    said = f"disagreement {number(told['disagreement'][part])}"
    if part in told.get("calibration_error", {}):
        errors = told["calibration_error"][part]
        said += (
            f", calibration error {number(errors['ensemble'])}, alone {number(errors['single'])}"
        )
    return [*lines, f"{said}, on {where} rows"]


def task_in_words(task: Task) -> str:
    """What is known of a task before a run begins: kind, rows, inputs, and classes with shares."""
    tests = 0 if task.test is None else len(task.test.y)
    rows = f"{len(task.train.y)} rows to train, {len(task.valid.y)} to validate, {tests} to test"
    kind = {"masks": "segmentation", "boxes": "detection"}.get(_target_kind(task), task.kind)
    return f"{kind}, {rows}, {_inputs_in_words(task)}{_classes_in_words(task)}"


def _target_kind(task: Task) -> str:
    return "" if task.preprocessing is None else task.preprocessing.target.kind


def _inputs_in_words(task: Task) -> str:
    if not task.input_shape:
        return f"{task.features} features"
    if task.form in ("tokens", "record"):
        tokens = f"at most {task.input_shape[0]} tokens of {task.vocabularies[0]} that there are"
        return f"{tokens}{_beside_in_words(task)}"
    return f"{task.form} inputs of {'x'.join(map(str, task.input_shape))}"


def _beside_in_words(task: Task) -> str:
    """Of a record, which columns are read as texts, and what else there is; else nothing."""
    if task.form != "record":
        return ""
    inputs = None if task.preprocessing is None else task.preprocessing.inputs
    beside = f" and {task.input_shape[1]} features"
    if not isinstance(inputs, RecordInput):
        return beside
    texts = shortened([repr(name) for name in inputs.text.columns])
    return f" in {texts}{beside} of {shortened([repr(c.name) for c in inputs.table.columns])}"


def _classes_in_words(task: Task) -> str:
    """The classes, with the shares of the most and the least frequent in the rows to train."""
    if task.kind == "regression":
        return ""
    stored = task.preprocessing
    known = None if stored is None else stored.classes
    labels: Sequence[Any] = known or range(task.outputs)
    numbers, objects = task.train.y, ""
    if stored is not None and isinstance(stored.target, BoxTarget):
        labels = stored.target.names or labels
        numbers = numbers[..., 0][numbers[..., 0] > 0] - 1
        objects = f", {len(numbers)} objects"
    counts = np.bincount(numbers.reshape(-1), minlength=len(labels))
    largest, smallest = (
        f"{labels[int(place)]} {100 * counts[place] / counts.sum():.2g} %"
        for place in (counts.argmax(), len(counts) - 1 - counts[::-1].argmin())  # two, if equal
    )
    there = f"{len(labels)} classes, the largest {largest}, the smallest {smallest}"
    return f"{objects}, {there}"
