"""`tune`: trains a network on a task in one run, under a learned controller or a plain schedule."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from rlagent.apply.jobs import Job, job_again, new_job
from rlagent.apply.loggers.run_log import RunLog, open_log
from rlagent.apply.request import Request

if TYPE_CHECKING:
    from rlagent.apply.driver import Driven
    from rlagent.apply.result import Result
    from rlagent.controller.file import Controller


class View(Protocol):
    """Shows a run while it is on its way; see `rlagent.apply.live`."""

    def begin(self, job: Job) -> None:
        """The run is about to begin, or to go on."""

    def show(self, record: dict[str, Any]) -> None:
        """A decision has been made."""

    def end(self) -> None:
        """No more decisions will be made."""


class _Views:
    """The view, the log and the callback of a run, whichever of them there is, as one view."""

    def __init__(
        self, callback: Callable[[dict[str, Any]], None] | None, view: View | None, log: RunLog
    ) -> None:
        self._callback, self._view, self._log = callback, view, log

    def begin(self, job: Job) -> None:
        if self._view is not None:
            self._view.begin(job)
        self._log.begin(job.folder, [] if job.checkpoint is None else job.checkpoint.history)

    def show(self, record: dict[str, Any]) -> None:
        if self._view is not None:
            self._view.show(record)
        self._log.show(record)
        if self._callback is not None:
            self._callback(record)

    def end(self) -> None:
        if self._view is not None:
            self._view.end()


class Interrupted(KeyboardInterrupt):
    """Ctrl-C: the best model so far and the history are in `run_dir`."""

    def __init__(self, message: str, run_dir: Path) -> None:
        super().__init__(message)
        self.run_dir = run_dir


def tune(
    x: Any = None,
    y: Any = None,
    *,
    method: str = "controller",
    controller: str | Path | Controller | None = None,
    hold: str | Sequence[str] = (),
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    settings: Mapping[str, float | str] | None = None,
    optimizer: str | None = None,
    norm: str | None = None,
    robust_epsilon: float | None = None,
    report_epsilon: float | None = None,
    patience: int | None = None,
    family: str | None = None,
    rung: str | None = None,
    updates: int | None = None,
    minutes: float | None = None,
    decisions: int | None = None,
    batch_size: int | None = None,
    streamed: bool | None = None,
    mirrored: bool = False,
    valid: Any = None,
    test: Any = None,
    target: str | None = None,
    split_column: str | None = None,
    group: str | None = None,
    split_time: str | None = None,
    drop: str | Sequence[str] | None = None,
    image_size: str | int | None = None,
    skip_bad: bool | None = None,
    user: str | None = None,
    item: str | None = None,
    kind: str | None = None,
    form: str | None = None,
    time: str | None = None,
    horizon: int | None = None,
    window: int | None = None,
    vocabulary: int | None = None,
    score: str | None = None,
    seed: int = 0,
    ensemble: str | None = None,
    members: int | None = None,
    budget_per_member: bool = False,
    folds: int | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    resume: str | Path | None = None,
    log: str | Sequence[str] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    view: View | None = None,
) -> Result:
    """Trains a network on data in one run, and keeps what is best by validation loss.

    Args:
        x: a task's name, the path of a file or folder, an array, a DataFrame, a data set or loader
            of grain, or a `Task`; see `rlagent_envs.tasks.load_task` and `read_grain`.
        y: labels or values, where `x` is an array or a DataFrame.
        method: controller (a learned policy changes the settings as it goes), or a schedule of
            the learning rate: constant, cosine, one-cycle, step, exponential or warmup-cosine.
        controller: the name of one that ships, a file, or one in memory; where None, the one that
            ships for the optimizer: muon, and basic for the others.
        hold: knobs that the controller leaves as they are, such as ["weight_decay"].
        learning_rate: at the start, 1e-8 to 1; where None, with AdamW 1e-3 for a controller and
            the schedule's own of baselines/frozen.toml, else what the optimizer's paper begins
            with.
        weight_decay: at the start, 1e-6 to 1; 1e-4 where None.
        settings: others at the start by name, such as {"mixup": 0.2, "activation": "gelu"}; see
            docs/levers.md. A controller moves those that it has learned to move.
        optimizer: adamw, sgd, lion or muon; where None, muon for convolutional networks (cnn,
            sequence, segmentation, detection) and adamw for the others.
        norm: of attacks: linf (where None) or l2.
        robust_epsilon: judge and select by validation rows as they are and, to an equal share,
            attacked within this distance, in standard deviations of the inputs; and tell how the
            model does under attack at the end. See `rlagent.apply.robustness`.
        report_epsilon: tell only how the model does under such attacks, and select by the rows as
            they are.
        patience: end the run after so many decisions without improvement; never where None.
        family: of networks, such as cnn for images: arrays `[rows, height, width]`, or with 1, 3
            or 4 channels behind. Where None, the first that docs/tasks.md names for the data.
        rung: width x depth at the start; a controller may grow it. Where None, that of the family:
            64x2 of an MLP, 16x1 (channels x blocks of a stage) of cnn.
        updates: the budget, in updates of that rung; a larger rung gets fewer. Where None,
            `default_updates` of the number of rows.
        minutes: in the place of `updates`: as many as fit into the time, by a short calibration.
            The run ends when the time is over, in any case.
        decisions: how often settings may change and the model is validated; where None, about 1.25
            times the square root of the updates, at most 100.
        batch_size: examples per update; by the number of rows where None.
        streamed: the rows to train on stay on disk and are read in time: of a folder a class, of a
            .npy file, of an array `np.load("x.npy", mmap_mode="r")` or of a `grain.MapDataset`.
            Where None, they are if all rows would take more than 2 GiB.
        mirrored: images keep their target when they are mirrored left to right: photographs do,
            digits and letters do not. Then half of the images that are learned from are mirrored,
            and a prediction is the mean of what is said of an image and of its mirror image.
        valid: what to validate on: a file or folder, `(x, y)`, or data of grain. Where None, rows
            of the data.
        test: what to judge the model by at the end, the same. Where None, rows of the data, or none
            if `valid` is given.
        target: the column to predict, of a table or a DataFrame; of a .npy file, that of the
            targets.
        split_column: of a table in a file, the column that says train, valid or test.
        group: of a table or a DataFrame, the column that says which rows stay together in a part,
            such as those of a patient; it is no feature.
        split_time: of a table or a DataFrame, the column of times by which rows are divided: the
            oldest train, the next validate and the newest test; it is no feature.
        drop: of a table or a DataFrame, the column or columns to leave out.
        image_size: what images are resized to, 32 or "24x32" pixels; see `load_task`.
        skip_bad: leave out files of a folder that cannot be read.
        user: of ratings, the column of users in a table or a DataFrame; needs `item`. The files of
            MovieLens, `u.data` and `ratings.csv`, need neither. See docs/tasks_pairs.md.
        item: of ratings, the column of items.
        kind: classification, regression, segmentation (masks) or detection (boxes); by the data
            where None. Of what users took: ranking.
        form: of arrays: image or sequence; by the shape of a row where None, see `from_arrays`.
        time: the column of times, where the rows of a table or DataFrame are one time series: the
            target is forecast, as a regression, and the latest rows validate and test. Of ratings
            the column by which those of each user are divided, `timestamp` where None.
        horizon: with `time`, how many rows ahead the target is; 1 where None.
        window: with `time`, how many past rows are looked at; at most 32 where None.
        vocabulary: of texts, how many tokens there are at most, each with a vector that every
            update moves; 8,000 where None.
        score: by what the model is judged at the end, the usual one where None (accuracy, r2, …);
            it selects nothing, validation loss does.
        seed: divides the rows, and draws weights and batches.
        ensemble: several networks that predict together: snapshot (of one run), bagging, boosting
            or seeds; see docs/ensembles.md. Validation decides which of them, with which weights.
        members: of the ensemble; 5 where None. They share the budget of a single run.
        budget_per_member: each member has the whole budget instead.
        folds: cross-validation: train one network for each of so many parts of the rows to train
            and validate on, validated on that part. Each has the whole budget; the model that is
            kept is the mean of all of them.
        out: the folder of the run, new or empty; `runs/NAME-METHOD-N` where None.
        device: cpu, gpu or tpu; the best there is where None.
        resume: the folder of a run that was interrupted: go on with it. All else is as it was; data
            in memory has to be given again.
        log: who is told of each decision and of the end: tensorboard, mlflow, wandb or several of
            them. None for nobody or, with `resume`, for those of the run. A run that is over can
            be logged, too: name it by `resume`.
        callback: called with each line of the history, as it comes.
        view: shows the run while it is on its way.

    Returns:
        The result; what is in its folder can be loaded again by `load_run`.

    Raises:
        ValueError: one sentence that names what makes no sense, and the choices; nothing has been
            written then.
        Interrupted: a KeyboardInterrupt, after Ctrl-C: the best model so far has been written.
    """
    started = monotonic()
    if not isinstance(out, str | Path | None):
        raise ValueError(f"out must be the path of a folder, got {out!r}")
    given = {"valid": valid, "test": test}
    apart = {part: data for part, data in given.items() if data is not None}
    paths = {part: str(data) for part, data in apart.items() if isinstance(data, str | Path)}
    in_memory = {part: data for part, data in apart.items() if part not in paths}
    request = Request(
        method=method,
        controller=None if controller is None else _controller_name(controller),
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        settings=None if settings is None else _by_name(settings),
        optimizer=optimizer,
        hold=_names(hold),
        norm=norm,
        robust_epsilon=robust_epsilon,
        report_epsilon=report_epsilon,
        patience=patience,
        family=family,
        rung=rung,
        updates=updates,
        minutes=minutes,
        decisions=decisions,
        batch_size=batch_size,
        streamed=streamed,
        mirrored=mirrored,
        valid=paths.get("valid"),
        test=paths.get("test"),
        target=target,
        split_column=split_column,
        group=group,
        split_time=split_time,
        drop=drop,
        image_size=image_size,
        skip_bad=skip_bad,
        user=user,
        item=item,
        kind=kind,
        form=form,
        time=time,
        horizon=horizon,
        window=window,
        vocabulary=vocabulary,
        score=score,
        seed=seed,
        device=device,
        ensemble=ensemble,
        members=members,
        budget_per_member=budget_per_member,
        folds=folds,
    )
    run_log = open_log(log, None if resume is None else Path(resume))
    if resume is not None:
        job = job_again(Path(resume), x, y, in_memory, request, out)
        if isinstance(job, Path):
            from rlagent.apply.result import load_run

            result = load_run(job)
            run_log.begin(job, result.history)
            run_log.end(result.summary)
            return result
    else:
        folder = None if out is None else Path(out)
        job = new_job(x, y, in_memory, request, controller, folder, started)
    try:
        return _run(job, started, _Views(callback, view, run_log), run_log)
    finally:
        run_log.close()


def _controller_name(controller: str | Path | Controller) -> str:
    if isinstance(controller, str | Path):
        return str(controller)
    from rlagent.controller.file import Controller

    if not isinstance(controller, Controller):
        raise ValueError(f"controller must be a name, a file or a Controller, got {controller!r}")
    return controller.name


def _names(hold: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(hold, str):
        return (hold,)
    if not isinstance(hold, Iterable):
        raise ValueError(f"hold must name one or several knobs, got {hold!r}")
    return tuple(hold)


def _by_name(settings: Mapping[str, float | str]) -> dict[str, float | str]:
    if not isinstance(settings, Mapping):
        raise ValueError(
            f"settings must be numbers by name, as in {{'mixup': 0.2}}, got {settings!r}"
        )
    return dict(settings)


def _run(job: Job, started: float, view: View, log: RunLog) -> Result:
    """Drives a job to its end and writes its result."""
    from rlagent.apply.driver import take_up
    from rlagent.apply.ensembles.lineup import begin, line_up, train
    from rlagent.apply.finish import write_result

    driven: Driven | None = None
    try:
        view.begin(job)
        members = line_up(job)
        driven = begin(job, members) if job.checkpoint is None else take_up(members, job.checkpoint)
        driven.started = started
        whole = train(driven, job, members, view.show)
        view.end()
        result = write_result(job, driven, "finished" if whole else "deadline")
    except KeyboardInterrupt:
        with _undisturbed():
            view.end()
            if driven is not None:
                log.end(write_result(job, driven, "interrupted").summary)
        raise Interrupted(_stopped_message(job, driven), job.folder) from None
    finally:
        view.end()
    log.end(result.summary)  # here, because Ctrl-C would not make the run unfinished again
    return result


def _stopped_message(job: Job, driven: Driven | None) -> str:
    made = 0 if driven is None else driven.now.decisions
    if driven is None:
        what = f"before training had begun; nothing is in {job.folder} but what was asked for"
    elif made:
        each = "" if job.plan.several in (None, "snapshot") else " for each member"
        what = f"after decision {made} of {job.plan.decisions}{each}; the best model so far and the"
        what += f" history are in {job.folder}"
    else:
        what = f"before the first decision, so the model in {job.folder} is untrained"
    return f"interrupted {what}; go on with: rlagent tune --resume {job.folder}"


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignores a second Ctrl-C, where Python lets us: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
