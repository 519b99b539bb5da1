"""The end of a run: its model is written, judged once on test data, and summed up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from rlagent.apply import run_folder
from rlagent.apply.boxes import class_names
from rlagent.apply.driver import checkpoint_of
from rlagent.apply.ensembles.conclusion import conclude
from rlagent.apply.ensembles.kinds import FOLDS, SNAPSHOT, notes_on
from rlagent.apply.model import Predictor, finite
from rlagent.apply.model_file import save_model
from rlagent.apply.result import Result
from rlagent.apply.robustness import worst_case
from rlagent.apply.scores import judge, told_too
from rlagent_envs.reward import START_SCORE
from rlagent_envs.training.bank import baseline_loss

if TYPE_CHECKING:
    from rlagent.apply.driver import Driven, Moment
    from rlagent.apply.jobs import Job
    from rlagent.apply.request import Plan
    from rlagent_envs.tasks.task import JudgedPart, Task


def write_result(job: Job, driven: Driven, status: str) -> Result:
    """Writes what the folder of a run lacks, the summary last: it says that all is there.

    Args:
        job: the run.
        driven: how far it has come.
        status: finished, deadline (ended early by its time limit) or interrupted (by Ctrl-C: no
            test data is looked at, no curves are drawn, and a checkpoint stays).
    """
    now, folder = driven.now, job.folder
    interrupted = status == "interrupted"
    if interrupted:
        run_folder.write_checkpoint(folder, checkpoint_of(driven))
    else:
        run_folder.write_history(folder, now.history)
    concluded = conclude(job, now, test=not interrupted)
    model = concluded.model
    save_model(model, folder / run_folder.MODEL)
    summary = _summary(job, driven, model, status) | concluded.told
    if not interrupted:
        from rlagent.apply.curves import write_curves

        write_curves(folder / run_folder.CURVES, now.history, summary)
    summary["seconds"] = round(driven.elapsed(), 3)
    run_folder.write_summary(folder, summary)
    if not interrupted:
        run_folder.clean_up(folder)
    return Result(model, now.history, summary, folder)


def _summary(job: Job, driven: Driven, model: Predictor, status: str) -> dict[str, Any]:
    """What there is to say of a run."""
    task, plan, now = job.task, job.plan, driven.now
    valid_loss, valid_score = judge(model, task, "valid", model.raw(task.valid.x), plan.score)
    also = told_too(plan.score, task)
    test: list[float | None] = [None] * (2 + len(also))
    if task.test is not None and status != "interrupted":
        test = judge(model, task, "test", model.raw(task.test.x), plan.score, *also)
    test_loss, test_score, *more = test
    device = jax.devices()[0]
    before = [*task.notes, *notes_on(plan.several, task)]
    robust: dict[str, Any] = {}
    epsilon = plan.robust_epsilon or plan.report_epsilon
    if epsilon:
        robust = {"robust_epsilon": epsilon, "norm": plan.norm}
        parts: tuple[JudgedPart, ...] = ("valid", "test")
        for part in parts:
            # The networks of folds have trained on each other's validation rows.
            folded = part == "valid" and plan.several == FOLDS
            there = part == "valid" or task.test is not None
            known = there and status != "interrupted" and not folded
            judged = _judge_robust(model, task, part, plan, epsilon) if known else (None, None)
            robust |= {f"robust_{part}_loss": judged[0], f"robust_{part}_score": judged[1]}
    networks = 1 if plan.several == SNAPSHOT else plan.members
    return {
        "task": task.name,
        "method": job.request.method,
        "controller": None if job.controller is None else job.controller.name,
        "status": status,
        "seed": plan.seed,
        "budget": plan.updates * networks,
        "updates": now.updates,
        "decisions": now.decisions,
        "flops": now.flops,
        "seconds": round(driven.elapsed(), 3),
        "learning_rate": plan.settings["learning_rate"],
        "optimizer": plan.optimizer,
        "kind": task.kind,
        **({"class_names": names} if (names := class_names(task.preprocessing)) else {}),
        "train_rows": len(task.train.x),
        "valid_rows": len(task.valid.x),
        "test_rows": 0 if task.test is None else len(task.test.x),
        "baseline_loss": finite(baseline_loss(task)),  # of the best constant, on validation rows
        "valid_loss": valid_loss,
        "valid_score": valid_score,
        "test_loss": test_loss,
        "test_score": test_score,
        "score_name": plan.score,
        **{f"test_{name}": value for name, value in zip(also, more, strict=True)},
        **robust,
        "diverged": now.divergences,
        "rung": str(model.rung),
        "rung_at_start": str(plan.start().rung),
        "device": f"{device.platform} ({device.device_kind})",
        "run_dir": str(job.folder),
        **({"notes": notes} if (notes := [*before, *_warnings(now)]) else {}),
    }


def _warnings(now: Moment) -> list[str]:
    """What a user has to know of the result."""
    begun = [one.episode for one in now.networks if one.episode.decisions]
    useless = [one for one in begun if float(one.run.books.memory.best_score) > START_SCORE - 1e-6]
    if not useless:
        return []
    which = "no weights were"
    if len(now.networks) > 1:
        which = f"{len(useless)} of {len(now.networks)} networks were never"
    sentence = f"{which} better on validation data than the best constant prediction"
    if all(np.isinf(one.run.books.safe_score) for one in begun):
        sentence += ", and what is kept is untrained"
    return [sentence]


def _judge_robust(
    model: Predictor, task: Task, part: JudgedPart, plan: Plan, epsilon: float
) -> tuple[float | None, float | None]:
    """The loss and the score of a part under attack."""
    split = task.valid if part == "valid" else task.test
    assert split is not None
    worst = worst_case(model, split.x, split.y, epsilon, plan.norm)
    _, value = judge(model, task, part, worst.raw, plan.score)
    return finite(float(np.mean(worst.losses))), value
