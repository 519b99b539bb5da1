"""Where the data of a run comes from, and by what it is known again."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlagent_envs.tasks.grain_data import is_grain, read_grain

if TYPE_CHECKING:
    from rlagent.apply.request import Request
    from rlagent_envs.tasks.task import AskedKind, Task

IN_MEMORY = "data in memory"
SERIES = ("time", "horizon", "window")  # options that are for a time series
OF_FILES = ("image_size", "skip_bad")  # options that have a meaning where files are read


def load_source(x: Any, y: Any, request: Request, valid: Any) -> tuple[Task, str]:
    """The task that `tune` was given, whatever it is, and how `run.json` calls it.

    Args:
        x: a task's name, a path, a `Task`, an array, lists, a DataFrame, or data of grain.
        y: the targets where `x` is an array or a DataFrame; None otherwise, and where a column of
            a DataFrame is the target.
        request: the other options.
        valid: `(x, y)` to validate on, in memory, or None.

    Returns:
        The task, and its name, its absolute path, or `IN_MEMORY`.

    Raises:
        ValueError: one sentence that names what cannot be used.
    """
    from rlagent_envs.tasks.registry import is_name, load_with
    from rlagent_envs.tasks.task import Task

    if x is None:
        raise ValueError("give a task, a file or data")
    if isinstance(x, Task):
        others = ("valid", "target", "split_column", "group", "kind", "batch_size", "streamed")
        of_tables = ("split_time", "drop", "user", "item", "vocabulary")
        _refuse(request, "a Task", *others, "form", *SERIES, *OF_FILES, *of_tables)
        if y is not None or valid is not None:
            raise ValueError("a Task holds its targets and validation rows already")
        return request.applied(x), IN_MEMORY
    if not isinstance(x, str | Path):
        return request.applied(_from_memory(x, y, request, valid)), IN_MEMORY
    if y is not None or valid is not None:
        raise ValueError(f"y and valid rows in memory go with x in memory, but x is {str(x)!r}")
    return load_with(x, request), str(x) if is_name(str(x)) else str(Path(x).resolve())


def fingerprint(task: Task) -> str:
    """A digest of everything in a task that a run looks at."""
    from rlagent_envs.models import FAMILIES

    digest = hashlib.sha256()
    digest.update(repr((task.kind, task.family, task.outputs, task.batch_size)).encode())
    if "table" not in FAMILIES[task.family].reads:  # else every example is a flat row to it
        digest.update(repr((task.input_shape, task.vocabularies, task.target_shape)).encode())
    if task.mirrored:
        digest.update(b"mirrored")
    if task.streamed is not None:
        digest.update(task.streamed.digest())
    for split in (task.train, task.valid, task.test):
        for array in () if split is None else split:
            digest.update(repr((array.shape, array.dtype.str)).encode())
            if array is not task.train.x or task.streamed is None:  # else a stand-in
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _from_memory(x: Any, y: Any, request: Request, valid: Any) -> Task:
    from rlagent_envs.tasks import from_arrays

    if is_grain(x):
        return _of_grain(x, y, request, valid)
    _refuse(request, "data in memory", "valid", "split_column", *OF_FILES)
    if request.user is not None or request.item is not None:
        return _ratings(x, y, request, valid)
    if request.time is not None:
        return _forecast(x, y, request, valid)
    _refuse(request, "data without a column of times", *SERIES)
    x = _without_dropped(x, request, "x")
    x, y = _with_target(x, y, request.target, "x")
    groups = None
    if request.group is not None:
        x, groups = _taken_out(x, "group", request.group, "to group by", "x")
    times = None
    if request.split_time is not None:
        x, times = _taken_out(x, "split_time", request.split_time, "to split by time", "x")
    x_valid, y_valid = _validating(valid, request.target)  # its other columns do not matter
    if request.group is not None and x_valid is not None:
        x_valid, own = _taken_out(x_valid, "group", request.group, "to group by", "valid")
        _refuse_shared(request.group, groups, own)
    kind: AskedKind | None = request.kind  # type: ignore[assignment]  # from_arrays checks it
    return from_arrays(
        x,
        y,
        x_valid=x_valid,
        y_valid=y_valid,
        groups=groups,
        times=times,
        kind=kind,
        form=request.form,
        batch_size=request.batch_size,
        streamed=request.streamed,
        seed=request.seed,
        embed=request.embeds,
        vocabulary=request.vocabulary,
    )


def _of_grain(x: Any, y: Any, request: Request, valid: Any) -> Task:
    """The task of a data set or loader of grain."""
    others = ("target", "group", "split_time", "drop", "user", "item", *SERIES)
    _refuse(request, "data of grain", "valid", "split_column", *others, *OF_FILES)
    if y is not None:
        raise ValueError("the examples of grain hold their targets, so y must not be given")
    inputs, targets = read_grain(x, "x", streamed=request.streamed)
    if is_grain(valid):
        valid = read_grain(valid, "valid", streamed=False)
    # What is to be streamed is so already.
    return _from_memory(inputs, targets, replace(request, streamed=None), valid)


def _forecast(x: Any, y: Any, request: Request, valid: Any) -> Task:
    """The task of a time series in a DataFrame."""
    from rlagent_envs.tasks.columns import is_table
    from rlagent_envs.tasks.forecasting import forecast_task

    _refuse(request, "a time series", "streamed", "vocabulary")
    if not is_table(x) or y is not None or valid is not None:
        raise ValueError(
            "time is for a DataFrame alone: the target is one of its columns, and its latest rows "
            "validate and test"
        )
    return forecast_task(x, "data", request)


def _ratings(x: Any, y: Any, request: Request, valid: Any) -> Task:
    """The task of a DataFrame of ratings, or of what users took."""
    from rlagent_envs.tasks.ratings import RANKING, check_columns, from_ratings

    user, item = check_columns(request.user, request.item)
    others = ("group", "split_time", "drop", "streamed", "form", "horizon", "window", "vocabulary")
    _refuse(request, "ratings", *others)
    if request.kind != RANKING:
        x, y = _with_target(x, y, request.target, "x")
    elif y is not None or request.target is not None:
        raise ValueError("a ranking has no target: each row is an item taken")
    x_valid, y_valid = _validating(valid, request.target)
    return from_ratings(
        x,
        y,
        user=user,
        item=item,
        x_valid=x_valid,
        y_valid=y_valid,
        time=request.time,
        kind=request.kind,
        batch_size=request.batch_size,
        seed=request.seed,
    )


def _refuse_shared(column: str, train: Any, valid: Any) -> None:
    """Raises ValueError if a group has rows to train on and rows to validate on."""
    if valid.isna().any():
        raise ValueError(
            f"the group is missing in {valid.isna().sum()} of {len(valid)} rows of valid"
        )
    shared = sorted(map(str, set(train.dropna()) & set(valid)))
    if shared:
        raise ValueError(f"the group {shared[0]!r} of {column!r} is in x and valid")


def _validating(valid: Any, target: str | None) -> tuple[Any, Any]:
    """Inputs and targets to validate on; None and None where there are none."""
    from rlagent_envs.tasks.columns import is_table

    if valid is None:
        return None, None
    if is_table(valid):  # whose target is a column
        valid = valid, None
    try:
        x_valid, y_valid = valid
    except (TypeError, ValueError):
        raise ValueError("valid must be a file or a pair (x, y)") from None
    if target is not None and y_valid is None:
        return _with_target(x_valid, None, target, "valid")
    return x_valid, y_valid


def _with_target(x: Any, y: Any, target: str | None, name: str) -> tuple[Any, Any]:
    """Inputs and targets, the targets taken from a column if one is named."""
    if target is None:
        if y is None:
            raise ValueError("y is missing: give the targets, or target, a column of a DataFrame")
        return x, y
    if y is not None:
        raise ValueError(f"give y or the target {target!r}, not both")
    return _taken_out(x, "target", target, "for the target", name)


def _without_dropped(x: Any, request: Request, name: str) -> Any:
    """A DataFrame without the columns that are to be left out; anything else if there are none."""
    from rlagent_envs.tasks.columns import is_table
    from rlagent_envs.tasks.left_out import without_dropped

    if request.drop is None:
        return x
    if not is_table(x):
        raise ValueError(f"drop names columns, but {name} is not a DataFrame")
    roles = {
        "the target": request.target,
        "the group column": request.group,
        "the column of times": request.split_time,
    }
    return without_dropped(x, request.drop, name, roles)


def _taken_out(x: Any, option: str, column: str, purpose: str, name: str) -> tuple[Any, Any]:
    """A DataFrame without a column, and the column."""
    from rlagent_envs.tasks.columns import is_table

    if not is_table(x):
        raise ValueError(f"{option} {column!r} names a column, but {name} is not a DataFrame")
    if column not in x.columns:
        columns = ", ".join(map(str, x.columns))
        raise ValueError(f"{name} has no column {column!r} {purpose}; it has: {columns}")
    return x.drop(columns=column), x[column]


def lasting_paths(request: Request, source: str) -> dict[str, str | None]:
    """The options of a request that are paths: absolute, for a run goes on in another folder, too.

    Args:
        request: what was asked for.
        source: what the data is, as `load_source` says.
    """
    paths: dict[str, str | Path | None] = {"valid": request.valid}
    if source.endswith(".npy"):
        paths["target"] = request.target
    return {
        name: None if path is None else str(Path(path).resolve()) for name, path in paths.items()
    }


def _refuse(request: Request, what: str, *options: str) -> None:
    """Raises ValueError for an option that has no meaning for this kind of data."""
    for name in options:
        given = getattr(request, name)
        if given is not None and given is not False:
            raise ValueError(f"{name} is not for {what}")
