"""Where the data of a run comes from, and by what it is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlagent_envs.tasks.grain_data import is_grain, read_grain
from rlagent_envs.tasks.parts_apart import PARTS_APART

if TYPE_CHECKING:
    from rlagent.apply.request import Request
    from rlagent_envs.tasks.task import AskedKind, Task

IN_MEMORY = "data in memory"
SERIES = ("time", "horizon", "window")  # options that are for a time series
OF_FILES = ("image_size", "skip_bad")  # options that have a meaning where files are read


def load_source(x: Any, y: Any, request: Request, apart: Mapping[str, Any]) -> tuple[Task, str]:
    """The task that `tune` was given, whatever it is, and how `run.json` calls it.

    Args:
        x: a task's name, a path, a `Task`, an array, lists, a DataFrame, or data of grain.
        y: the targets where `x` is an array or a DataFrame; None otherwise, and where a column of
            a DataFrame is the target.
        request: the other options.
        apart: `valid` and `test`, as far as they are given and in memory: `(x, y)`, a DataFrame,
            or data of grain.

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
        others = (*PARTS_APART, "target", "split_column", "group", "kind", "batch_size", "streamed")
        of_tables = ("split_time", "drop", "user", "item", "vocabulary")
        _refuse(request, "a Task", *others, "form", *SERIES, *OF_FILES, *of_tables)
        if y is not None or apart:
            raise ValueError("a Task holds its targets, validation rows and test rows already")
        return request.applied(x), IN_MEMORY
    if not isinstance(x, str | Path):
        return request.applied(_from_memory(x, y, request, apart)), IN_MEMORY
    if y is not None or apart:
        named = " and ".join([*(["y"] if y is not None else []), *apart])
        raise ValueError(f"data in memory for {named} goes with x in memory, but x is {str(x)!r}")
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


def _from_memory(x: Any, y: Any, request: Request, apart: Mapping[str, Any]) -> Task:
    from rlagent_envs.tasks import from_arrays

    if is_grain(x):
        return _of_grain(x, y, request, apart)
    _refuse(request, "data in memory", *PARTS_APART, "split_column", *OF_FILES)
    if request.user is not None or request.item is not None:
        return _ratings(x, y, request, apart)
    if request.time is not None:
        return _forecast(x, y, request, apart)
    _refuse(request, "data without a column of times", *SERIES)
    x = _without_dropped(x, request, "x")
    x, y = _with_target(x, y, request.target, "x")
    groups = None
    if request.group is not None:
        x, groups = _taken_out(x, "group", request.group, "x")
    times = None
    if request.split_time is not None:
        x, times = _taken_out(x, "split_time", request.split_time, "x")
    others = _others(apart, request.target)  # whose other columns do not matter
    if request.group is not None:
        seen = {"x": groups}
        for part, (own_x, own_y) in others.items():
            own_x, own = _taken_out(own_x, "group", request.group, part)
            for before, groups_before in seen.items():
                _refuse_shared(request.group, groups_before, own, before, part)
            seen[part], others[part] = own, (own_x, own_y)
    kind: AskedKind | None = request.kind  # type: ignore[assignment]  # from_arrays checks it
    return from_arrays(
        x,
        y,
        **_as_arguments(others),
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


def _of_grain(x: Any, y: Any, request: Request, apart: Mapping[str, Any]) -> Task:
    """The task of a data set or loader of grain."""
    others = ("target", "group", "split_time", "drop", "user", "item", *SERIES)
    _refuse(request, "data of grain", *PARTS_APART, "split_column", *others, *OF_FILES)
    if y is not None:
        raise ValueError("the examples of grain hold their targets, so y must not be given")
    inputs, targets = read_grain(x, "x", streamed=request.streamed)
    apart = {
        part: read_grain(data, part, streamed=False) if is_grain(data) else data
        for part, data in apart.items()
    }
    # What is to be streamed is so already.
    return _from_memory(inputs, targets, replace(request, streamed=None), apart)


def _forecast(x: Any, y: Any, request: Request, apart: Mapping[str, Any]) -> Task:
    """The task of a time series in a DataFrame."""
    from rlagent_envs.tasks.columns import is_table
    from rlagent_envs.tasks.forecasting import forecast_task

    _refuse(request, "a time series", "streamed", "vocabulary")
    if not is_table(x) or y is not None or apart:
        raise ValueError(
            "time is for a DataFrame alone: the target is one of its columns, and its latest rows "
            "validate and test"
        )
    return forecast_task(x, "data", request)


def _ratings(x: Any, y: Any, request: Request, apart: Mapping[str, Any]) -> Task:
    """The task of a DataFrame of ratings, or of what users took."""
    from rlagent_envs.tasks.ratings import RANKING, check_columns, from_ratings

    user, item = check_columns(request.user, request.item)
    others = ("group", "split_time", "drop", "streamed", "form", "horizon", "window", "vocabulary")
    _refuse(request, "ratings", *others)
    if request.kind != RANKING:
        x, y = _with_target(x, y, request.target, "x")
    elif y is not None or request.target is not None:
        raise ValueError("a ranking has no target: each row is an item taken")
    return from_ratings(
        x,
        y,
        user=user,
        item=item,
        **_as_arguments(_others(apart, request.target)),
        time=request.time,
        kind=request.kind,
        batch_size=request.batch_size,
        seed=request.seed,
    )


def _refuse_shared(column: str, groups: Any, others: Any, part: str, other_part: str) -> None:
    """Raises ValueError if a group has rows in two parts."""
    if others.isna().any():
        raise ValueError(
            f"the group is missing in {others.isna().sum()} of {len(others)} rows of {other_part}"
        )
    shared = sorted(map(str, set(groups.dropna()) & set(others)))
    if shared:
        raise ValueError(f"the group {shared[0]!r} of {column!r} is in {part} and {other_part}")


def _others(apart: Mapping[str, Any], target: str | None) -> dict[str, tuple[Any, Any]]:
    """Inputs and targets of the other parts that there are."""
    return {part: _inputs_and_targets(part, data, target) for part, data in apart.items()}


def _inputs_and_targets(part: str, data: Any, target: str | None) -> tuple[Any, Any]:
    from rlagent_envs.tasks.columns import is_table

    if is_table(data):  # whose target is a column
        data = data, None
    try:
        x, y = data
    except (TypeError, ValueError):
        raise ValueError(f"{part} must be a file or a pair (x, y)") from None
    return _with_target(x, None, target, part) if target is not None and y is None else (x, y)


def _as_arguments(others: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """The parts by the names of arguments: x_valid, y_valid, x_test and y_test."""
    return {
        f"{axis}_{part}": values
        for part, pair in others.items()
        for axis, values in zip("xy", pair, strict=True)
    }


def _with_target(x: Any, y: Any, target: str | None, name: str) -> tuple[Any, Any]:
    """Inputs and targets, the targets taken from a column if one is named."""
    if target is None:
        if y is None:
            raise ValueError("y is missing: give the targets, or target, a column of a DataFrame")
        return x, y
    if y is not None:
        raise ValueError(f"give y or the target {target!r}, not both")
    return _taken_out(x, "target", target, name)


def _without_dropped(x: Any, request: Request, name: str) -> Any:
    """A DataFrame without the columns that are to be left out; anything else if there are none."""
    from rlagent_envs.tasks.columns import is_table
    from rlagent_envs.tasks.left_out import without_dropped

    if request.drop is None:
        return x
    if not is_table(x):
        raise ValueError(f"drop names columns, but {name} is not a DataFrame")
    needed = {option: getattr(request, option) for option in ("target", "group", "split_time")}
    return without_dropped(x, request.drop, name, needed)


def _taken_out(x: Any, option: str, column: str, name: str) -> tuple[Any, Any]:
    """A DataFrame without a column, and the column."""
    from rlagent_envs.tasks.columns import is_table
    from rlagent_envs.tasks.roles import ROLES

    if not is_table(x):
        raise ValueError(f"{option} {column!r} names a column, but {name} is not a DataFrame")
    if column not in x.columns:
        columns = ", ".join(map(str, x.columns))
        raise ValueError(
            f"{name} has no column {column!r} {ROLES[option].purpose}; it has: {columns}"
        )
    return x.drop(columns=column), x[column]


def lasting_paths(request: Request, source: str) -> dict[str, str | None]:
    """The options of a request that are paths: absolute, for a run goes on in another folder, too.

    Args:
        request: what was asked for.
        source: what the data is, as `load_source` says.
    """
    paths: dict[str, str | Path | None] = {part: getattr(request, part) for part in PARTS_APART}
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
