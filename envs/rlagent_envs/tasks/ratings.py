"""Ratings that users gave to items, or items that they took: which of them test, and the task.

A rating is a row of two identifiers and a value; of what was taken there is no value. Other columns
are not looked at, but for one of times, by which the rows of each user are divided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rlagent_envs.tasks.arrays import Part, check_kind, check_together, from_arrays, read_part
from rlagent_envs.tasks.choices import CANDIDATES, CLASSES, ChoiceInput, draw_choices
from rlagent_envs.tasks.columns import column_names, is_table
from rlagent_envs.tasks.id_column import numbered_ids
from rlagent_envs.tasks.preprocessing import Preprocessing
from rlagent_envs.tasks.splits import divide, divide_by_time
from rlagent_envs.tasks.targets import ClassTarget
from rlagent_envs.tasks.task import Task, default_batch_size
from rlagent_envs.tasks.times import read_times

if TYPE_CHECKING:
    import pandas as pd

TIME = "timestamp"
RANKING = "ranking"  # asked for in the place of a kind: to learn what users take


def from_ratings(
    x: Any,
    y: Any,
    *,
    user: str,
    item: str,
    x_valid: Any = None,
    y_valid: Any = None,
    x_test: Any = None,
    y_test: Any = None,
    time: str | None = None,
    name: str = "data",
    kind: str | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> Task:
    """Makes a task of ratings in memory: a number for each user and item that training knows.

    Or of what users took, to rank items by how likely a user takes them; see choices.py.

    Where a column tells the times and no rows to validate on are given, the last fifth of each
    user's ratings tests, if no test rows are given either, and the fifth before validates. Else
    rows are divided at random; see `from_arrays`.

    Args:
        x: a DataFrame with the columns of users and of items, numbers or texts.
        y: what users said of items, `[rows]`; not looked at for a ranking.
        user: name of the column of users.
        item: name of the column of items.
        x_valid: as `x`, to validate on; needs `y_valid`.
        y_valid: as `y`.
        x_test: as `x`, to test on; needs `y_test`.
        y_test: as `y`.
        time: name of the column of times: numbers, times, texts of times, or other texts that
            sort; `timestamp` where None, if there is such a column.
        name: of the task.
        kind: regression where None, even if the ratings are a few whole numbers; classification;
            or ranking.
        batch_size: examples per update; by the number of rows where None.
        seed: divides the rows.

    Raises:
        ValueError: one sentence that names what cannot be used.
    """
    check_columns(user, item)
    parts = {"train": (x, y), "valid": (x_valid, y_valid), "test": (x_test, y_test)}
    return ratings_task(parts, user, item, time, name, kind, batch_size, seed)


def ratings_task(
    given: Mapping[str, tuple[Any, Any]],
    user: str,
    item: str,
    time: str | None,
    name: str,
    kind: str | None,
    batch_size: int | None,
    seed: int,
) -> Task:
    """The task of the parts that there are; see `from_ratings`."""
    parts = {}
    for part, (x, y) in given.items():
        if kind == RANKING and x is not None:
            y = np.zeros(len(x))
        check_together(part, x, y)
        if x is not None:
            suffix = "" if part == "train" else f"_{part}"
            parts[part] = read_part(suffix, _pairs(x, user, item, part), y)
    x, timed, notes = given["train"][0], False, list[str]()
    if "valid" not in parts:
        stratified, timed = kind == "classification", (time or TIME) in x.columns
        rows = _division(x, parts, user, time, notes, stratified=stratified, seed=seed)
        parts |= {part: parts["train"].take(own) for part, own in rows.items()}
    if kind == RANKING:
        pairs: dict[str, Any] = {part: rows.x for part, rows in parts.items()}
        task = _ranking(name, pairs, batch_size, seed)
    else:
        task = _of_ratings(name, parts, (user, item), kind, batch_size, seed)
    if timed:
        task = replace(task, divided_by="times of users", notes=(*notes, *task.notes))
    return task


def _of_ratings(
    name: str,
    parts: Mapping[str, Part],
    ids: tuple[str, str],
    kind: str | None,
    batch_size: int | None,
    seed: int,
) -> Task:
    """The task to say how users rate items."""
    test = parts.get("test")
    return from_arrays(
        *parts["train"],
        x_valid=parts["valid"].x,
        y_valid=parts["valid"].y,
        x_test=None if test is None else test.x,
        y_test=None if test is None else test.y,
        name=name,
        kind="regression" if kind is None else check_kind(kind),
        batch_size=batch_size,
        seed=seed,
        ids=ids,
    )


def _division(
    x: pd.DataFrame,
    parts: dict[str, Part],
    user: str,
    time: str | None,
    notes: list[str],
    *,
    stratified: bool,
    seed: int,
) -> dict[str, np.ndarray]:
    """The rows of the part `train` that stay there, that validate, and that test if none do yet."""
    train, test_given = parts["train"], "test" in parts
    name = TIME if time is None else time
    if time is not None and time not in x.columns:
        raise ValueError(f"there is no column {time!r} of times; there are: {', '.join(x.columns)}")
    if name not in x.columns:
        return divide(train.y, stratified=stratified, test_given=test_given, seed=seed)
    users, _ = numbered_ids(user, x[user])
    times = x[name]
    if times.isna().any():
        raise ValueError(f"column {name!r} is empty in {times.isna().sum()} of {len(times)} rows")
    return divide_by_time(users, _in_order(times, name, notes), test_given=test_given)


def _in_order(times: pd.Series, name: str, notes: list[str]) -> np.ndarray:
    """The place of each row's time among all times, `[rows]`."""
    import pandas as pd

    try:
        # In the order of what texts mean: 12/31/2014 comes before 1/2/2015.
        places, _ = pd.factorize(read_times(times, name), sort=True)
    except ValueError:
        places, _ = pd.factorize(times.astype(str), sort=True)
        notes.append(f"column {name!r} is not read as times, so its texts are in their own order")
    return places


def check_columns(user: str | None, item: str | None) -> tuple[str, str]:
    """The columns of users and items; ValueError if one is not named, or if they are the same."""
    if user is None or item is None:
        lacking = "user" if user is None else "item"
        raise ValueError(f"user and item go together, {lacking} is missing")
    if user == item:
        raise ValueError(f"user and item must be two columns, got {user!r} for both")
    return user, item


def _ranking(name: str, parts: dict[str, pd.DataFrame], batch_size: int | None, seed: int) -> Task:
    """The task to choose what users took."""
    inputs = ChoiceInput.fit(parts["train"])
    splits = draw_choices(inputs, parts, seed)
    return Task(
        name=name,
        kind="classification",
        train=splits["train"],
        valid=splits["valid"],
        test=splits.get("test"),
        outputs=CANDIDATES,
        batch_size=batch_size or default_batch_size(len(splits["train"].y)),
        family="factorization",
        input_shape=inputs.input_shape,
        vocabularies=inputs.vocabularies,
        preprocessing=Preprocessing(inputs=inputs, target=ClassTarget(classes=CLASSES)),
        continuous=np.array(inputs.continuous),
    )


def _pairs(given: Any, user: str, item: str, part: str) -> pd.DataFrame:
    """The two columns of identifiers; ValueError if one is not there, or has empty cells."""
    if not is_table(given):
        raise ValueError("ratings must be a table, with columns of users and of items")
    places = column_names(given)
    for name in (user, item):
        if name not in places:
            raise ValueError(f"there is no column {name!r}; there are: {', '.join(places)}")
        empty = given.iloc[:, places[name]].isna()
        if empty.any():
            raise ValueError(
                f"column {name!r} of the {part} part is empty in {empty.sum()} of {len(given)} "
                f"rows, the first is row {empty.index[empty.argmax()]}"
            )
    return given.iloc[:, [places[user], places[item]]]
