"""Tasks from files and folders, whatever form they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlagent_envs.tasks.archives import SUFFIXES as ARCHIVES
from rlagent_envs.tasks.archives import member_names, unpacked
from rlagent_envs.tasks.array_input import ArrayInput
from rlagent_envs.tasks.arrays import check_kind
from rlagent_envs.tasks.audio_folders import (
    audio_files,
    holds_audio,
    load_audio_folder,
    readable_audio,
)
from rlagent_envs.tasks.audio_input import AudioInput
from rlagent_envs.tasks.box_folders import holds_boxes, load_box_folder
from rlagent_envs.tasks.choices import ChoiceInput
from rlagent_envs.tasks.cifar import holds_cifar, load_cifar
from rlagent_envs.tasks.coco import holds_coco
from rlagent_envs.tasks.coco_folders import load_coco_folder
from rlagent_envs.tasks.data_files import Found, data_files, folder_of_classes
from rlagent_envs.tasks.folders import files_below
from rlagent_envs.tasks.forecasting import load_forecast
from rlagent_envs.tasks.image_folders import image_files, load_image_folder, readable_images
from rlagent_envs.tasks.image_input import ImageInput
from rlagent_envs.tasks.language import from_text, read_text
from rlagent_envs.tasks.loading import task_of_parts
from rlagent_envs.tasks.mask_folders import holds_masks, load_mask_folder
from rlagent_envs.tasks.npy import read_npy, read_npy_parts
from rlagent_envs.tasks.npz import read_npz_inputs, read_npz_parts
from rlagent_envs.tasks.options import Options
from rlagent_envs.tasks.parts_apart import PARTS_APART, ROWS, with_apart
from rlagent_envs.tasks.pictures import SUFFIXES as IMAGES
from rlagent_envs.tasks.preprocessing import Preprocessing
from rlagent_envs.tasks.rating_files import U_DATA, find_columns, load_ratings, read_u_data
from rlagent_envs.tasks.record_input import RecordInput
from rlagent_envs.tasks.series_files import is_series
from rlagent_envs.tasks.series_input import SeriesInput
from rlagent_envs.tasks.series_tasks import load_series, read_new_series
from rlagent_envs.tasks.table_input import TableInput
from rlagent_envs.tasks.tables import (
    READERS,
    TablePart,
    header_of,
    read_table,
    read_table_parts,
)
from rlagent_envs.tasks.texts import TextInput
from rlagent_envs.tasks.wav import SUFFIX as AUDIO
from rlagent_envs.tasks.window_input import WindowInput

if TYPE_CHECKING:
    import pandas as pd

    from rlagent_envs.tasks.task import AskedKind, Task


def load_path(path: Path, options: Options) -> Task:
    """The task of a file or folder.

    A table is a .csv or .tsv file with a header and a row for each example, .parquet, or JSON
    records, one a line (.jsonl, .ndjson, .json) or in a list. In .csv a column of which all values
    are numbers is numeric and any other one a category, an empty cell is a missing value, and
    cells are separated by commas, semicolons or tabs; in others the types are those of the file.
    Columns of free text make a task of texts, alone or beside others, see `text_columns`.

    A table of ratings has columns of users and of items; see `from_ratings` for what is made of
    them. The files of MovieLens are known as such: `u.data`, or any .data file, without a header
    and separated by tabs; and `ratings.csv`, by its header.

    Arrays are a .npz file with `x_train, y_train` and, as it likes, `x_valid, y_valid` and
    `x_test, y_test`, or `x, y`, or with the names of MedMNIST; or .npy files, see `read_npy_parts`.
    Targets `[rows, height, width]` are masks.

    A .ts file, and a .tsv file of numbers without a header, hold time series with a label each, as
    the archives of UEA and UCR do; `NAME_TEST.ts` beside `NAME_TRAIN.ts` is the test part. A table
    with a column of times is one time series, see `forecast_task`.

    A .txt file is for language modelling, see `from_text`.

    A folder that holds neither images nor .wav files holds files of these: the ratings of
    MovieLens, the only pair of a training and a test file of time series, files that are called as
    parts are (`train.csv` and `test.csv`), or the only file.

    A folder holds images or .wav files, see `load_image_folder` and `load_audio_folder`, or images
    with masks or boxes, see `load_mask_folder`, `load_box_folder` and `load_coco_folder`. A .zip or
    .tar archive holds a folder or a single file, or is CIFAR-10, see `load_cifar`.

    Parts that are not told are divided as `from_arrays` does it.

    Args:
        path: of the file or folder.
        options: how it is read.

    Raises:
        ValueError: one sentence that names the file, column or array that cannot be used.
    """
    if not path.is_dir():
        path = check_file(path)
        return LOADERS[path.suffix.lower()](path, options)
    return _load_found(path, data_in(path), options)


def _load_found(folder: Path, found: Found, options: Options) -> Task:
    """The task of what was found in a folder."""
    if found.path.is_dir():
        return _load_folder(found.path, options)
    return _load_files(folder, found, options)


def data_in(folder: Path) -> Found:
    """The folder with the folders for classes in a folder, or the files in it that are the data."""
    if _is_whole(folder) or files_below(folder, PICTURES_AND_SOUND):
        return Found(folder_of_classes(folder, PICTURES_AND_SOUND, _is_whole), {})
    return data_files(folder) or Found(folder, {})


def _load_files(folder: Path, found: Found, options: Options) -> Task:
    """The task of the files in a folder."""
    notes = list(found.notes)
    apart: dict[str, Path] = {}
    for part, path in found.apart.items():
        if part in options.parts_apart:
            raise ValueError(
                f"{folder} has {ROWS[part]} in {path.name}, so {options.parts_apart[part]} cannot "
                f"be used too"
            )
        if part == "test" and _lacks_target(path, options.target):
            notes.append(
                f"{path.name} has no column {options.target!r}, so it is not tested on; "
                f"rlagent predict takes it"
            )
        else:
            apart[part] = path
    task = load_path(found.path, options.with_apart(apart))
    if found.apart:  # else the file is named after what is in it
        task = replace(task, name=folder.resolve().name)
    return replace(task, notes=(*task.notes, *notes))


def _lacks_target(path: Path, target: str | None) -> bool:
    """Whether a file is a table without this column, as those to predict for are."""
    if target is None or path.suffix.lower() not in READERS or is_series(path):
        return False
    return target not in header_of(path)


def _is_whole(folder: Path) -> bool:
    """Whether a folder is known by what is in it: masks or boxes."""
    return any(holds(folder) for _, holds, _ in FOLDERS)


def _load_folder(folder: Path, options: Options) -> Task:
    """The task of a folder, by the kind that was asked for or by what is in it."""
    asked = check_kind(options.kind)
    within = {
        part: data_in(path).path if path.is_dir() else path
        for part, path in options.parts_apart.items()
    }
    options = options.with_apart(within)
    if asked == "regression":
        raise ValueError(
            f"kind is regression, but {folder} is a folder; there are for it: classification, "
            f"{', '.join(NEEDED)}"
        )
    for kind, holds, load in FOLDERS:
        if asked in (None, kind) and holds(folder):
            return load(folder, options)
    if asked not in (None, "classification"):
        raise ValueError(f"kind is {asked}, but {folder} holds no {NEEDED[asked]}")
    of_classes = load_audio_folder if holds_audio(folder) else load_image_folder
    return of_classes(folder, replace(options, kind=None))


def read_features(
    path: str | Path, preprocessing: Preprocessing, *, skip_bad: bool = False
) -> pd.DataFrame | np.ndarray | list[Path] | tuple[np.ndarray, ...]:
    """Reads inputs to predict for, as `preprocessing.transform` takes them.

    Of a table the columns that were trained on; the target and others may be there or not. Of a
    .npz file the array `x_test`, or `x` where there is no `x_test`. Of a .ts or .tsv file of time
    series all of them, with labels or without. Of a folder all images or .wav files.

    Args:
        path: a file of the form of the one trained on; any file of a table is of its form, and
            texts may come as arrays, too.
        preprocessing: of the task trained on.
        skip_bad: leave out files of a folder that cannot be read.

    Returns:
        A DataFrame, an array `[rows, ...]`, the paths of images or .wav files, or series of several
        lengths, each `[steps, channels]`.

    Raises:
        ValueError: if the file cannot be read, lacks a column, or is of another form.
    """
    path, inputs = Path(path), preprocessing.inputs
    check_skipping(path, preprocessing, skip_bad=skip_bad)
    if isinstance(inputs, TableInput | RecordInput):
        return _read_columns(check_file(path, *READERS, *U_DATA), inputs.are_texts)
    if isinstance(inputs, ChoiceInput):
        names = dict.fromkeys([column.name for column in inputs.columns], True)
        return _read_columns(check_file(path, *READERS, *U_DATA), names)
    if isinstance(inputs, WindowInput):
        names = dict.fromkeys([inputs.time, *inputs.columns], False)
        return _read_columns(check_file(path, *READERS), names)
    if isinstance(inputs, TextInput) and path.suffix.lower() not in ARRAYS:
        return _read_columns(check_file(path, *READERS), dict.fromkeys(inputs.columns, True))
    if isinstance(inputs, ImageInput) and (path.is_dir() or path.suffix.lower() in IMAGES):
        files = image_files(path if path.is_dir() else check_file(path))
        return readable_images(files) if skip_bad else files
    if isinstance(inputs, AudioInput):
        files = audio_files(path if path.is_dir() else check_file(path, AUDIO))
        return readable_audio(files) if skip_bad else files
    if isinstance(inputs, ArrayInput | SeriesInput) and is_series(path):
        return read_new_series(check_file(path), inputs)[0]
    path = check_file(path, *ARRAYS, *(IMAGES if isinstance(inputs, ImageInput) else ()))
    return read_npy(path) if path.suffix.lower() == ".npy" else read_npz_inputs(path)


def check_skipping(path: Path, preprocessing: Preprocessing, *, skip_bad: bool) -> None:
    """Raises ValueError if files that cannot be read may be left out where there are none."""
    if skip_bad and not isinstance(preprocessing.inputs, ImageInput | AudioInput):
        raise ValueError(f"skip_bad is for images and sound, which {path} is not to be read as")


def _read_columns(path: Path, are_texts: dict[str, bool]) -> pd.DataFrame:
    """The columns that were trained on, by their names; those that are texts as such."""
    texts = {name for name, is_text in are_texts.items() if is_text}
    is_u_data = path.suffix.lower() in U_DATA
    table = read_u_data(path) if is_u_data else read_table(path, texts)
    for name in are_texts:
        if name not in table.columns:
            raise ValueError(f"{path} lacks the column {name!r}")
    return table[list(are_texts)]


def check_file(path: str | Path, *suffixes: str) -> Path:
    """The path of a file that can be tried; ValueError if it is none, or not of `suffixes`."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a file")
    if not path.exists():
        raise ValueError(f"there is no file {path}")
    if path.suffix.lower() not in LOADERS:
        advice = ADVICE.get(path.suffix.lower(), f"give {FORMATS}")
        raise ValueError(f"{path} has the unknown extension {path.suffix!r}; {advice}")
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f"{path} must be a {' or '.join(suffixes)} file, as the training data")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty")
    return path


def _load_table(path: Path, options: Options) -> Task:
    if is_series(path):
        return _load_series(path, options)
    if (columns := find_columns(path, options)) is not None:
        return load_ratings(path, columns, _files_apart(options, path.suffix.lower()), options)
    if options.time is not None:
        return load_forecast(path, options)
    divided = ("split_column", "group", "split_time", *PARTS_APART)
    options.allow(f"{path} is a table", "target", "drop", *divided, "kind", "vocabulary")
    apart = _files_apart(options, path.suffix.lower())
    target, told, group = options.target, options.split_column, options.group
    notes: list[str] = []
    parts = read_table_parts(
        *(path, target, told, group, apart),
        split_time=options.split_time,
        drop=options.drop,
        notes=notes,
    )
    _refuse_torn_groups(parts)
    inputs = {part: (rows.x, rows.y) for part, rows in parts.items()}
    train = parts["train"]
    return task_of_parts(inputs, path.stem, options, train.groups, tuple(notes), train.times)


def _files_apart(options: Options, *suffixes: str) -> dict[str, Path]:
    """The files of the parts that have one of their own; ValueError if one cannot be tried."""
    return {part: check_file(path, *suffixes) for part, path in options.parts_apart.items()}


def _load_series(path: Path, options: Options) -> Task:
    return load_series(path, _files_apart(options, *SERIES), options)


def _refuse_torn_groups(parts: dict[str, TablePart]) -> None:
    """Raises ValueError if a group has rows in two of the parts that are told."""
    seen: dict[object, str] = {}
    for part, rows in parts.items():
        if rows.groups is None:
            return
        for name in rows.groups.unique():
            if name in seen:
                raise ValueError(
                    f"the group {str(name)!r} of {rows.groups.name!r} is in {seen[name]} and {part}"
                )
            seen[name] = part


def _load_arrays(path: Path, options: Options) -> Task:
    named = ["target", "streamed"] if path.suffix.lower() == ".npy" else []
    options.allow(f"{path} is a {path.suffix} file", *named, "form", *PARTS_APART, "kind")
    parts = _array_parts(path, options.target)
    parts = with_apart(parts, path, _files_apart(options, *ARRAYS), _array_parts)
    return task_of_parts(parts, path.stem, options)


def _load_text(path: Path, options: Options) -> Task:
    options.allow(f"{path} is a text", *PARTS_APART)
    apart = {part: read_text(file) for part, file in _files_apart(options, ".txt").items()}
    return from_text(
        read_text(path),
        valid=apart.get("valid"),
        test=apart.get("test"),
        name=path.stem,
        batch_size=options.batch_size,
        seed=options.seed,
    )


def _array_parts(path: Path, target: str | None = None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    if path.suffix.lower() == ".npy":
        return read_npy_parts(path, target)
    return read_npz_parts(path)


def _load_archive(path: Path, options: Options) -> Task:
    """The task of what is in an archive: CIFAR-10, a folder, or a single file."""
    if holds_cifar(path, member_names(path)):
        return load_cifar(path, options)
    if options.streamed:
        raise ValueError(f"streamed needs files that stay, but {path} is unpacked to be read")
    with unpacked(path) as content:
        try:
            inside = content.inside
            if inside.is_dir():
                task = _load_unpacked(inside, options)
            else:
                task = load_path(inside, options)
        except ValueError as error:
            raise ValueError(content.told(str(error))) from None
        return replace(task, notes=tuple(map(content.told, task.notes)))


def _load_unpacked(folder: Path, options: Options) -> Task:
    """The task of a folder that will be gone."""
    found = data_in(folder)
    if found.path.is_dir():
        # Files would be gone when they are needed; an array that is mapped is not.
        options = replace(options, streamed=False)
    return _load_found(folder, found, options)


def _refuse_single_file(path: Path, options: Options) -> Task:
    what = "recording" if path.suffix.lower() == AUDIO else "image"
    raise ValueError(f"{path} is a single {what}; give a folder with a folder for each class")


# For errors: what can be given.
FORMATS = (
    "a .csv, .tsv, .parquet, .jsonl, .npz, .npy, .ts or .txt file, a folder of images or of .wav "
    "files, or a .zip or .tar of it"
)
# For errors: what to do with files that programs of many can read.
AS_CSV = "save the table as .csv, with the names of the columns in the first line"
ADVICE = {
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".arff", ".sav", ".dta", ".feather"), AS_CSV),
    **dict.fromkeys((".mat", ".h5", ".hdf5", ".pkl", ".pt"), "save its arrays as .npz, x and y"),
    **dict.fromkeys((".mp3", ".flac", ".ogg", ".m4a"), "make a folder of .wav files of it"),
}
# What folders hold that have no folder for each class; the first that fits is taken.
FOLDERS: tuple[tuple[AskedKind, Callable[[Path], bool], Callable[[Path, Options], Task]], ...] = (
    ("segmentation", holds_masks, load_mask_folder),
    ("detection", holds_boxes, load_box_folder),
    ("detection", holds_coco, load_coco_folder),
)
NEEDED = {
    "segmentation": "masks: it needs the folders images and masks",
    "detection": "boxes: it needs the folders images and labels, annotations/instances_train.json, "
    "or train/_annotations.coco.json",
}
ARRAYS = (".npz", ".npy")
PICTURES_AND_SOUND = (*IMAGES, AUDIO)
SERIES = (".ts", ".tsv")
LOADERS: dict[str, Callable[[Path, Options], Task]] = {
    **dict.fromkeys((*READERS, *U_DATA), _load_table),
    **dict.fromkeys(ARRAYS, _load_arrays),
    **dict.fromkeys(ARCHIVES, _load_archive),
    **dict.fromkeys(PICTURES_AND_SOUND, _refuse_single_file),
    ".ts": _load_series,
    ".txt": _load_text,
}
