"""What comes of the networks of a run: the model that is kept, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rlagent.apply.driver import Moment, best_model
from rlagent.apply.ensembles import measures
from rlagent.apply.ensembles.boosting import add_up
from rlagent.apply.ensembles.ensemble import Ensemble, chosen, combined
from rlagent.apply.ensembles.folds import fold_tasks
from rlagent.apply.ensembles.kinds import BOOSTING, FOLDS, SNAPSHOT
from rlagent.apply.ensembles.selection import evidence, greedy_weights, mean_loss
from rlagent.apply.model import Model, Predictor, finite
from rlagent.apply.scores import judge
from rlagent_envs.reward import FLOOR
from rlagent_envs.tasks.task import JudgedPart, Split, Task
from rlagent_envs.training.bank import baseline_loss

if TYPE_CHECKING:
    from rlagent.apply.jobs import Job

_Told = dict[str, Any]


@dataclass(frozen=True)
class Conclusion:
    """The model of a run, and what its summary says besides what that of any run does."""

    model: Predictor
    told: _Told = field(default_factory=dict)


def conclude(job: Job, now: Moment, *, test: bool) -> Conclusion:
    """Makes the model of a run out of the networks that it has trained.

    A single run keeps its best weights; an ensemble those that `greedy_weights` chooses (boosting:
    the stages up to the one with the lowest validation loss); cross-validation the networks of all
    folds, with equal weights.

    Args:
        job: the run.
        now: how far it has come.
        test: whether test data may be looked at.
    """
    task, kind = job.task, job.plan.several
    if kind == FOLDS:
        return _cross_validated(job, now)
    models = [best_model(task, one.episode) for one in now.networks]
    if kind is None:
        return Conclusion(models[0])
    if kind == SNAPSHOT and now.networks[0].kept:
        models = [kept.model for kept in now.networks[0].kept]
    parts: dict[JudgedPart, Split] = {"valid": task.valid}
    if test and task.test is not None:
        parts["test"] = task.test
    outputs = {name: [one.raw(part.x) for one in models] for name, part in parts.items()}
    told: _Told = {"kind": kind, "members": len(models)}
    if kind == BOOSTING:
        ensemble, weights, single = _by_stages(models, task, told)
        said = {name: _sums(raws, weights) for name, raws in outputs.items()}
    else:
        ensemble, weights, single = _by_selection(models, outputs["valid"], task)
        said = outputs
    told |= {
        "weights": weights,
        "single": _judged(models[single], {n: raws[single] for n, raws in outputs.items()}, job)
        | {"member": single + 1},
        "member_valid_losses": [finite(ensemble.loss(task.valid, raw)) for raw in said["valid"]],
        "disagreement": {
            name: measures.disagreement(task.kind, [ensemble.values(raw) for raw in raws])
            for name, raws in said.items()
        },
    }
    if task.kind == "classification":
        told["calibration_error"] = {
            name: {
                "single": _calibration(ensemble, outputs[name][single], part),
                "ensemble": _calibration(ensemble, _together(ensemble, models, raws), part),
            }
            for (name, part), raws in zip(parts.items(), outputs.values(), strict=True)
        }
    return Conclusion(ensemble, {"ensemble": told})


def _by_selection(
    models: Sequence[Model], raws: Sequence[np.ndarray], task: Task
) -> tuple[Ensemble, list[float], int]:
    """The ensemble, the weight of each network, and the number of the best one."""
    shown = np.stack([evidence(task.kind, raw, task.valid.y) for raw in raws])
    weights = greedy_weights(task.kind, shown).tolist()
    return chosen(models, weights), weights, int(np.argmin(mean_loss(task.kind, shown)))


def _by_stages(
    models: Sequence[Model], task: Task, told: _Told
) -> tuple[Ensemble, list[float], int]:
    """The same of boosting, where the first stage alone is a model for itself."""
    stages = add_up(models, task)
    last = int(np.argmin(stages.valid_losses))
    weights = [step if number <= last else 0.0 for number, step in enumerate(stages.steps)]
    told |= {
        "steps": stages.steps,
        "stage_train_losses": stages.train_losses,
    }
    return chosen(models, weights, "sum"), weights, 0


def _sums(raws: Sequence[np.ndarray], weights: Sequence[float]) -> list[np.ndarray]:
    """What the stages up to each one that is kept say together."""
    kept = [weight * raw.astype(np.float64) for weight, raw in zip(weights, raws, strict=True)]
    last = max(number for number, weight in enumerate(weights) if weight)
    return list(np.cumsum(np.stack(kept), axis=0)[: last + 1])


def _together(
    ensemble: Ensemble, models: Sequence[Model], raws: Sequence[np.ndarray]
) -> np.ndarray:
    """The outputs of the ensemble, of those of all networks."""
    members = {id(one) for one in ensemble.members}
    there = [raw for one, raw in zip(models, raws, strict=True) if id(one) in members]
    return combined(there, ensemble)


def _calibration(model: Predictor, raw: np.ndarray, part: Split) -> float:
    return measures.calibration_error(model.values(raw), part.y)


def _judged(model: Predictor, raws: dict[JudgedPart, np.ndarray], job: Job) -> _Told:
    """Losses and scores of a network on parts of the task."""
    told: _Told = {}
    for name, raw in raws.items():
        loss, value = judge(model, job.task, name, raw, job.plan.score)
        told |= {f"{name}_loss": loss, f"{name}_score": value}
    return told


def _cross_validated(job: Job, now: Moment) -> Conclusion:
    plan = job.plan
    tasks, _ = fold_tasks(job.task, plan.members, plan.seed)
    models = [best_model(job.task, one.episode) for one in now.networks]
    losses, values, selection = [], [], []
    for own, model in zip(tasks, models, strict=True):
        loss, value = judge(model, own, "valid", model.raw(own.valid.x), plan.score)
        losses.append(loss)
        values.append(value)
        constant = baseline_loss(own)  # of a fold of few rows it may be 0
        share = None if loss is None or not constant else loss / constant
        selection.append(None if share is None else finite(float(np.log(share + FLOOR))))
    rows = [len(own.valid.x) for own in tasks]
    told: _Told = {
        "folds": plan.members,
        "rows": rows,
        "selection_score": _spread(selection),  # log(loss / loss of the best constant + 0.05)
        "valid_loss": _spread(losses),
        "valid_score": _spread(values),
    }
    means = {name: told[name]["mean"] for name in ("valid_loss", "valid_score")}
    even = [1.0 / len(models)] * len(models)
    both = {"train_rows": sum(rows), "valid_rows": sum(rows)}  # each row trains and validates
    return Conclusion(chosen(models, even), {"cross_validation": told} | both | means)


def _spread(values: Sequence[float | None]) -> _Told:
    """Mean and standard deviation (of a sample) over folds; None where a value is missing."""
    known = [value for value in values if value is not None]
    whole = len(known) == len(values)
    return {
        "mean": float(np.mean(known)) if whole else None,
        "std": float(np.std(known, ddof=1)) if whole else None,
        "values": list(values),
    }
