"""A run that is asked for becomes a job: checked, planned, with a folder of its own."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlagent.apply import run_folder
from rlagent.apply.devices import use_device
from rlagent.apply.request import Plan, Request, chosen_optimizer, make_plan, with_budget
from rlagent.apply.source import IN_MEMORY, fingerprint, lasting_paths, load_source

if TYPE_CHECKING:
    from rlagent.controller.file import Controller
    from rlagent_envs.tasks.task import Task


@dataclass(frozen=True)
class Job:
    """A run with everything that it needs."""

    task: Task
    request: Request
    plan: Plan
    controller: Controller | None
    folder: Path
    checkpoint: run_folder.Checkpoint | None


def new_job(
    x: Any,
    y: Any,
    apart: dict[str, Any],
    request: Request,
    controller: str | Path | Controller | None,
    out: Path | None,
    started: float,
) -> Job:
    """Checks everything, then makes the folder of the run.

    Args:
        x: as `load_source` takes it, and so are `y` and `apart`.
        y: see there.
        apart: see there.
        request: what is asked for.
        controller: a name, a file, or one in memory.
        out: the folder; None for one of ours.
        started: when, for a run that is limited in time.
    """
    from rlagent_envs.training.feed import check_room

    run_folder.check_free(out)
    use_device(request.device)
    if controller is not None:  # what is wrong with it is said before data is read
        _controller(request, controller, request.optimizer)
    task, source = load_source(x, y, request, apart)
    policy = _controller(request, controller, chosen_optimizer(request, task))
    schedule = None if policy is None else policy.schedule
    plan = make_plan(request, task, () if policy is None else tuple(policy.knobs), schedule)
    if request.minutes is not None:
        from rlagent.apply.calibration import affordable_updates

        plan = with_budget(plan, request, affordable_updates(plan, task, started))
    check_room(task, plan.updates, plan.decisions)
    contents = {
        "request": asdict(request) | lasting_paths(request, source) | {"source": source},
        "plan": plan.to_json(),
        "data": {"name": task.name, "fingerprint": fingerprint(task)},
        "versions": versions(),
    }
    name = f"{task.name}-{request.method}"
    folder = run_folder.create(out, name, contents, policy)
    return Job(task, request, plan, policy, folder, None)


def _controller(
    request: Request, controller: str | Path | Controller | None, optimizer: str | None
) -> Controller | None:
    """The controller of a run, found and checked; None for the other methods."""
    if request.method != "controller":
        return None
    from rlagent.controller.deciding import decide_by
    from rlagent.controller.file import DEFAULT, Controller, load_controller

    found = controller if isinstance(controller, Controller) else None
    if found is None:
        found = load_controller(request.controller or DEFAULT, optimizer or "adamw")
    decide_by(found, request.seed)
    return found


def job_again(
    folder: Path, x: Any, y: Any, apart: dict[str, Any], given: Request, out: str | Path | None
) -> Job | Path:
    """The job of a folder, to go on with; its path if there is nothing left to do."""
    for option in fields(Request):
        changed = getattr(given, option.name) != option.default
        if changed and option.name != "device":
            raise ValueError(f"{option.name} cannot change in a run that is resumed: leave it out")
    if out is not None:
        raise ValueError("out cannot change in a run that is resumed: leave it out")
    stored = run_folder.read_run(folder)
    summary = run_folder.read_summary(folder)
    if summary is not None and summary.get("status") != "interrupted":
        return folder
    try:
        options = dict(stored["request"])
        source = options.pop("source")
        request = Request(**options)
        plan = Plan.from_json(stored["plan"])
        expected = stored["data"]["fingerprint"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the run {folder} cannot be read: {error}") from error
    task = _same_data(folder, source, x, y, apart, request, expected)
    from rlagent.controller.file import load_controller

    use_device(given.device or request.device)
    policy = None
    if request.method == "controller":
        policy = load_controller(folder / run_folder.CONTROLLER)
    return Job(task, request, plan, policy, folder, run_folder.read_checkpoint(folder))


def _same_data(
    folder: Path,
    source: str,
    x: Any,
    y: Any,
    apart: dict[str, Any],
    request: Request,
    expected: str,
) -> Task:
    """The data of a run that is taken up again; ValueError if it is not what it was."""
    if source != IN_MEMORY and (apart or not x is y is None):
        raise ValueError("a run that is resumed goes on with its own data: leave out other data")
    if source == IN_MEMORY and x is None:
        raise ValueError(f"the run {folder} is on data in memory: give the data again")
    task, _ = load_source(source if source != IN_MEMORY else x, y, request, apart)
    if fingerprint(task) != expected:
        what = "the data given" if source == IN_MEMORY else source
        raise ValueError(
            f"{what} is not what the run {folder} began with: it has changed since, or this "
            f"version of rlagent reads it in another way"
        )
    return task


def versions() -> dict[str, str]:
    """What a run depends on, for the record."""
    import jax
    import numpy as np

    import rlagent

    return {
        "rlagent": rlagent.__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
