"""Tasks from arrays, lists and DataFrames."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np

from rlagent_envs.forms import form_of
from rlagent_envs.tasks.array_input import ArrayInput, check_form, read_inputs
from rlagent_envs.tasks.box_target import BoxTarget, are_boxes, read_boxes
from rlagent_envs.tasks.columns import is_table
from rlagent_envs.tasks.left_out import on_left_out, without_empty
from rlagent_envs.tasks.mask_target import MaskTarget, read_masks
from rlagent_envs.tasks.notes import on_boxes, on_inputs, on_masks, on_times
from rlagent_envs.tasks.preprocessing import Preprocessing
from rlagent_envs.tasks.splits import (
    MOST_VALID_ROWS,
    divide,
    divide_groups,
    divide_oldest_first,
    row_order,
    with_fewer,
)
from rlagent_envs.tasks.streamed import OnDisk, Streamed, on_disk
from rlagent_envs.tasks.targets import infer_kind, read_array, read_target
from rlagent_envs.tasks.task import AskedKind, Kind, Split, Task, default_batch_size, stand_in
from rlagent_envs.tasks.texts import check_vocabulary, read_texts
from rlagent_envs.tasks.times import read_times

if TYPE_CHECKING:
    import pandas as pd


class Part(NamedTuple):
    """Rows as the user gave them."""

    x: pd.DataFrame | pd.Series | np.ndarray | OnDisk
    y: np.ndarray  # [rows], of booleans, numbers or texts, or masks [rows, height, width]

    def take(self, rows: np.ndarray) -> Part:
        """Some of the rows."""
        if isinstance(self.x, OnDisk):
            return Part(self.x.only(rows), self.y[rows])
        x = self.x[rows] if isinstance(self.x, np.ndarray) else self.x.iloc[rows]
        return Part(x, self.y[rows])


def from_arrays(
    x: Any,
    y: Any,
    *,
    x_valid: Any = None,
    y_valid: Any = None,
    x_test: Any = None,
    y_test: Any = None,
    groups: Any = None,
    times: Any = None,
    name: str = "data",
    kind: AskedKind | None = None,
    form: str | None = None,
    batch_size: int | None = None,
    streamed: bool | None = None,
    seed: int = 0,
    ids: Collection[str] = (),
    embed: bool = True,
    vocabulary: int | None = None,
) -> Task:
    """Makes a task of data in memory, preprocessed by the statistics of its training rows.

    Where no other part is given, 60 % of the rows train, 20 % validate and 20 % test. Where test
    rows are given but no validation rows, a fifth of `x`, at most 10,000 rows, validates. Where
    validation rows are given, all of `x` trains, and there is a test part only if it is given.

    Args:
        x: a DataFrame, numbers `[rows, ...]`, as an array or lists, or texts `[rows]`, as a list
            or Series.
        y: labels or values, `[rows]` or `[rows, 1]`; for images also masks, whole numbers
            `[rows, height, width]` that say what each pixel is of, or boxes, see `read_boxes`.
        x_valid: as `x`, to validate on; needs `y_valid`.
        y_valid: as `y`.
        x_test: as `x`, to test on; needs `y_test`.
        y_test: as `y`.
        groups: `[rows]`, names or numbers that say whose rows those of `x` are: where they are
            divided, all rows of a group come into one part. None where each row is for itself.
        times: `[rows]`, numbers, times or texts that pandas reads as such: the oldest rows of `x`
            train, the next validate and the newest test, all rows of one time in one part. None
            where rows are divided at random.
        name: of the task.
        kind: inferred by `infer_kind` where None. Where arrays could be masks as well as boxes,
            segmentation or detection says which.
        form: image, for arrays `[rows, height, width]` or with 1, 3 or 4 channels behind, or
            sequence, for `[rows, steps, channels]` or `[rows, steps]`. Where None, rows with two
            axes are a sequence if they have at least 8 steps, and 4 times as many as channels;
            all others that can be an image are one, and the rest are rows of a table.
        batch_size: examples per update; `default_batch_size` where None.
        streamed: `x` is an array on disk, `np.load(…, mmap_mode="r")`, and its rows to train on
            stay there. Where None, those that would take more than 2 GiB do.
        seed: divides the rows; the same seed gives the same parts.
        ids: of a DataFrame, the columns that hold identifiers, be they numbers or texts.
        embed: of a DataFrame, number the categories of columns that have more than 64, for a
            network that embeds them; else the less frequent ones share one feature.
        vocabulary: of texts, how many tokens there are at most, those for no and for unknown words
            among them; 8,000 where None.

    Raises:
        ValueError: one sentence that names what cannot be used.
    """
    check_vocabulary(vocabulary)
    stays = on_disk(x, streamed=streamed)
    checked = check_kind(kind)
    given = {"train": read_part("", x if stays is None else stays, y, checked)}
    for part, part_x, part_y in (("valid", x_valid, y_valid), ("test", x_test, y_test)):
        check_together(part, part_x, part_y)
        if part_x is not None:
            given[part] = read_part(f"_{part}", part_x, part_y, checked)
    given, empty = _without_empty(given, ids)
    chosen = _choose_kind(checked, given["train"].y)
    numbers = None if groups is None else _read_groups(groups, len(given["train"].y))
    moments = None if times is None else _read_times(times, given, grouped=groups is not None)
    asked = check_form(form)
    if asked is not None and not isinstance(given["train"].x, np.ndarray | OnDisk):
        raise ValueError(f"form {asked!r} is for arrays of numbers, but x holds others")
    parts = _complete(given, chosen, numbers, None if moments is None else moments[1], seed)
    train = parts["train"]
    preprocessing = Preprocessing.fit(
        train.x, train.y, chosen, asked, ids=ids, embed=embed, vocabulary=vocabulary
    )
    task = _make_task(name, chosen, parts, preprocessing, batch_size, empty)
    if moments is None:
        return task if groups is None else replace(task, divided_by="groups")
    ends = on_times(*moments, len(train.y), len(parts["valid"].y))
    return replace(task, divided_by="times", notes=(ends, *task.notes))


def drawn_to_train(
    y: Any,
    asked: AskedKind | None,
    *,
    test_given: bool,
    image_size: tuple[int, ...],
    streamed: bool,
    seed: int,
) -> np.ndarray:
    """The rows that `from_arrays` trains on where none to validate on are given.

    Args:
        y: the targets of the rows that it divides.
        asked: the kind that is asked for.
        test_given: whether there is a test part.
        image_size: height and width of the examples, () where they are no images.
        streamed: whether the inputs are on disk, so that few rows validate and test.
        seed: the same seed gives the same rows.
    """
    target = _read_targets(y, "y", image_size, asked)
    kind = _choose_kind(asked, target)
    rows = _divided(target, kind, None, test_given=test_given, seed=seed)
    return (with_fewer(rows, MOST_VALID_ROWS) if streamed else rows)["train"]


def check_together(part: str, x: Any, y: Any) -> None:
    """Raises ValueError if inputs of a part are given without targets, or the other way round."""
    if (x is None) != (y is None):
        raise ValueError(f"x_{part} and y_{part} go together, one of them is missing")


def _choose_kind(asked: AskedKind | None, target: np.ndarray) -> Kind:
    """The kind that was asked for, or that the targets, which suit it, are of."""
    if target.ndim > 1:
        return "classification"
    return "regression" if (asked or infer_kind(target)) == "regression" else "classification"


def check_kind(kind: str | None) -> AskedKind | None:
    """The kind that was asked for; ValueError if there is none such."""
    if kind is None:
        return None
    kinds = get_args(AskedKind)
    for known in kinds:
        if kind == known:
            return known
    if kind == "ranking":
        raise ValueError("a ranking is of what users took: name the columns user and item")
    raise ValueError(f"kind must be {', '.join(kinds[:-1])} or {kinds[-1]}, got {kind!r}")


def read_part(suffix: str, x: Any, y: Any, asked: AskedKind | None = None) -> Part:
    """Checks one part by itself, and whether its targets are of the kind that was asked for."""
    x_name, y_name = f"x{suffix}", f"y{suffix}"
    inputs = x if is_table(x) or isinstance(x, OnDisk) else _texts_or_numbers(x, x_name)
    if len(inputs) == 0:
        raise ValueError(f"{x_name} is empty, of shape {inputs.shape}")
    target = _read_targets(y, y_name, inputs.shape[1:3], asked)
    if len(inputs) != len(target):
        raise ValueError(f"{x_name} has {len(inputs)} rows but {y_name} has {len(target)}")
    return Part(inputs, target)


def _without_empty(
    given: dict[str, Part], ids: Collection[str]
) -> tuple[dict[str, Part], list[str]]:
    """Parts without the columns that have no value in any, and a note if there are some."""
    if ids or not all(is_table(part.x) for part in given.values()):
        return given, []
    tables, names = without_empty({part: one.x for part, one in given.items()})
    if not names:
        return given, []
    note = on_left_out(names, "empty in every row")
    return {part: one._replace(x=tables[part]) for part, one in given.items()}, [note]


def _texts_or_numbers(x: Any, name: str) -> pd.Series | np.ndarray:
    texts = read_texts(x)
    return read_inputs(x, name) if texts is None else texts


def _read_targets(
    y: Any, name: str, image_size: tuple[int, ...], asked: AskedKind | None
) -> np.ndarray:
    """One for each row, or masks, or boxes, which are floats."""
    many = asked in ("segmentation", "detection")
    if many and _one_each(y):
        raise ValueError(f"kind is {asked}, but {name} has one value for each row")
    if asked == "detection" or (asked != "segmentation" and are_boxes(y, image_size)):
        _refuse_classes(name, "boxes", "detection", asked)
        return read_boxes(y, name)
    values = read_array(y, name)
    if values.ndim != 3 and not many:
        return read_target(y, name)
    _refuse_classes(name, "masks", "segmentation", asked)
    return read_masks(values, name)


def _one_each(y: Any) -> bool:
    """Whether targets are one value for each row, judging by the first."""
    if isinstance(y, Sequence):
        return len(y) == 0 or np.ndim(y[0]) == 0
    return np.ndim(y) < 2


def _refuse_classes(name: str, what: str, kind: AskedKind, asked: AskedKind | None) -> None:
    """Raises ValueError if another kind was asked for than that of the targets."""
    if asked not in (None, kind):
        raise ValueError(f"kind is {asked}, but {name} has {what}, which are for {kind}")


def _read_groups(groups: Any, rows: int) -> np.ndarray:
    """A number for each row, the same for those of one group."""
    import pandas as pd

    numbers, _ = pd.factorize(np.asarray(groups))
    if len(numbers) != rows:
        raise ValueError(f"x has {rows} rows but groups has {len(numbers)}")
    if (missing := int((numbers < 0).sum())) > 0:
        raise ValueError(f"the group is missing in {missing} of {rows} rows")
    return numbers


def _read_times(
    times: Any, given: dict[str, Part], *, grouped: bool
) -> tuple[pd.Series, np.ndarray]:
    """The times of rows as they were given, and the number of each in their order."""
    import pandas as pd

    if grouped:
        raise ValueError("groups and times both say how rows are divided: give one of them")
    for part in ("valid", "test"):
        if part in given:
            raise ValueError(
                f"rows are divided by time into train, valid and test, but the {part} part is "
                f"given already"
            )
    column = times if isinstance(times, pd.Series) else pd.Series(np.asarray(times))
    if len(column) != (rows := len(given["train"].y)):
        raise ValueError(f"x has {rows} rows but times has {len(column)}")
    numbers, _ = pd.factorize(read_times(column, str(column.name or "times")), sort=True)
    return column, numbers


def _complete(
    given: dict[str, Part],
    kind: Kind,
    groups: np.ndarray | None,
    times: np.ndarray | None,
    seed: int,
) -> dict[str, Part]:
    """Divides the training rows where parts are lacking; puts valid into its order."""
    stratified = kind == "classification" and given["train"].y.ndim == 1
    if "valid" in given:
        valid = given["valid"]
        order = row_order(valid.y, stratified=stratified, seed=seed)
        return given | {"valid": valid.take(order)}
    train = given["train"]
    _refuse_one_value(train.y)
    if times is not None:
        rows = divide_oldest_first(train.y, times, stratified=stratified, seed=seed)
        _refuse_one_value(train.y[rows["train"]], "row to train on")
        return {part: train.take(rows[part]) for part in rows}
    rows = _divided(train.y, kind, groups, test_given="test" in given, seed=seed)
    if isinstance(train.x, OnDisk) and groups is None:
        rows = with_fewer(rows, MOST_VALID_ROWS)
    return given | {part: train.take(rows[part]) for part in rows}


def _divided(
    target: np.ndarray, kind: Kind, groups: np.ndarray | None, *, test_given: bool, seed: int
) -> dict[str, np.ndarray]:
    """The rows of each part, where they are not told."""
    divided = divide if groups is None else partial(divide_groups, groups=groups)
    # Of boxes the classes are looked at.
    labels = target[..., 0] if target.dtype.kind == "f" and target.ndim == 3 else target
    stratified = kind == "classification" and target.ndim == 1
    return divided(labels, stratified=stratified, test_given=test_given, seed=seed)


def _refuse_one_value(target: np.ndarray, rows: str = "row") -> None:
    """Raises ValueError if there is nothing to learn."""
    if np.all(target == target.flat[0]):
        raise ValueError(f"the target is {target.reshape(-1)[:1].tolist()[0]!r} in every {rows}")


def _make_task(
    name: str,
    kind: Kind,
    parts: dict[str, Part],
    preprocessing: Preprocessing,
    batch_size: int | None,
    notes: Sequence[str],
) -> Task:
    """Applies the preprocessing to all parts."""
    from rlagent_envs.models import usual  # imports JAX, which reading data does not need

    train = parts["train"]
    inputs, target_shape = preprocessing.inputs, preprocessing.target_shape
    form = form_of(inputs.input_shape, inputs.vocabularies, inputs.features)
    if batch_size is None:
        batch_size = default_batch_size(len(train.y), target_shape)
    splits, rows = {}, None
    for part, (x, y) in parts.items():
        target = preprocessing.encode_target(y, part)
        if part == "train" and isinstance(x, OnDisk):
            assert isinstance(inputs, ArrayInput)
            rows = Streamed(x, inputs)
            splits[part] = Split(stand_in(len(x), inputs.features), target)
            continue
        given = x[np.arange(len(x))] if isinstance(x, OnDisk) else x
        splits[part] = Split(preprocessing.transform(given), target)
    notes, boxes = [*on_inputs(train.x, preprocessing), *notes], None
    if isinstance(preprocessing.target, BoxTarget):
        boxes = {name: part.y for name, part in parts.items()}
        notes += on_boxes(boxes, {name: split.y for name, split in splits.items()})
    if isinstance(preprocessing.target, MaskTarget):
        notes += on_masks(preprocessing.target.outputs)
    return Task(
        name=name,
        kind=kind,
        train=splits["train"],
        valid=splits["valid"],
        test=splits.get("test"),
        outputs=preprocessing.outputs,
        batch_size=batch_size,
        family=usual(form, inputs.input_shape, target_shape),
        input_shape=inputs.input_shape,
        vocabularies=inputs.vocabularies,
        target_shape=target_shape,
        preprocessing=preprocessing,
        streamed=rows,
        continuous=np.array(inputs.continuous),
        boxes=boxes,
        notes=tuple(notes),
    )
