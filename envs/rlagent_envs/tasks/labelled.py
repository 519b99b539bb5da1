"""Reading data with its targets, to judge a model by that was trained on data of the same form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlagent_envs.tasks import folders
from rlagent_envs.tasks.array_input import ArrayInput
from rlagent_envs.tasks.audio_folders import readable_audio
from rlagent_envs.tasks.audio_input import AudioInput
from rlagent_envs.tasks.box_folders import holds_boxes, places_of, read_boxed
from rlagent_envs.tasks.box_target import BoxTarget
from rlagent_envs.tasks.characters import CharacterInput
from rlagent_envs.tasks.choices import ChoiceInput
from rlagent_envs.tasks.coco import Source, source_of, sources
from rlagent_envs.tasks.coco_folders import read_annotated
from rlagent_envs.tasks.files import ARRAYS, check_file, check_skipping, data_in
from rlagent_envs.tasks.forecasting import read_forecasts
from rlagent_envs.tasks.image_folders import readable_images
from rlagent_envs.tasks.image_input import ImageInput
from rlagent_envs.tasks.language import read_text
from rlagent_envs.tasks.listed_files import labelled_files
from rlagent_envs.tasks.mask_folders import MASKS, part_folders, read_pairs
from rlagent_envs.tasks.mask_target import MaskTarget
from rlagent_envs.tasks.npy import read_npy_labelled
from rlagent_envs.tasks.npz import read_npz_labelled
from rlagent_envs.tasks.parts_apart import to_judge
from rlagent_envs.tasks.pictures import SUFFIXES as IMAGES
from rlagent_envs.tasks.pictures import Size
from rlagent_envs.tasks.preprocessing import Preprocessing
from rlagent_envs.tasks.rating_files import OF_RATINGS_CSV, OF_U_DATA, U_DATA, read_u_data
from rlagent_envs.tasks.record_input import RecordInput
from rlagent_envs.tasks.series_files import is_series
from rlagent_envs.tasks.series_input import SeriesInput
from rlagent_envs.tasks.series_tasks import read_new_series
from rlagent_envs.tasks.table_input import TableInput
from rlagent_envs.tasks.tables import READERS, header_of, read_labelled_rows, target_values
from rlagent_envs.tasks.targets import Label
from rlagent_envs.tasks.texts import TextInput
from rlagent_envs.tasks.wav import SUFFIX as AUDIO
from rlagent_envs.tasks.window_input import WindowInput

ANNOTATIONS = ".json"  # a file of COCO's


class Examples(NamedTuple):
    """Inputs, as `Preprocessing.transform` takes them, with their targets."""

    x: Any
    y: Any  # as `Preprocessing.encode_target` takes them
    tests: bool = False  # the data tells its parts, and this is the one to test on
    notes: tuple[str, ...] = ()  # what there is to say of the reading


def read_labelled(
    path: str | Path,
    preprocessing: Preprocessing,
    *,
    target: str | None = None,
    split_column: str | None = None,
    skip_bad: bool = False,
) -> Examples:
    """Reads inputs and their targets: the part to test on, or all where no parts are told.

    Of a .npz file the arrays `x_test` and `y_test`, else `x` and `y`. Of a time series all rows
    that have a window before them. A folder has a folder for each class, or what else folders to
    train on have.

    Args:
        path: a file or folder of the form of the one trained on; any file of a table is of its
            form.
        preprocessing: of the task trained on.
        target: the column of the targets in a table, also in one that names the files of a folder;
            of a .npy file the file of them.
        split_column: the column of a table that tells the parts, if it is there.
        skip_bad: leave out files of a folder that cannot be read.

    Raises:
        ValueError: if the data cannot be read, has no targets, or is of another form.
    """
    path, inputs = Path(path), preprocessing.inputs
    check_skipping(path, preprocessing, skip_bad=skip_bad)
    if isinstance(inputs, ImageInput | AudioInput):
        if path.is_dir():
            return _of_folder(path, preprocessing, target, skip_bad=skip_bad)
        return _of_images(path, preprocessing, target, skip_bad=skip_bad)
    if path.is_dir():
        found = data_in(path)
        file = to_judge({"train": found.path, **found.apart}, path)
        if file.is_dir():
            raise ValueError(f"{path} holds no file of the form of the training data")
        read = read_labelled(file, preprocessing, target=target, split_column=split_column)
        return read._replace(tests=read.tests or "test" in found.apart)
    if isinstance(inputs, ArrayInput | SeriesInput) and is_series(path):
        return _of_series(check_file(path), inputs)
    if isinstance(inputs, ArrayInput | TextInput) and path.suffix.lower() not in READERS:
        return _of_arrays(path, target)
    return _of_file(path, preprocessing, target, split_column)


def _of_file(
    path: Path, preprocessing: Preprocessing, target: str | None, split_column: str | None
) -> Examples:
    """Tables of all forms, and texts."""
    inputs = preprocessing.inputs
    if isinstance(inputs, CharacterInput):
        return _of_text(check_file(path, ".txt"), inputs.length)
    if isinstance(inputs, WindowInput):
        path = check_file(path, *READERS)
        return Examples(*read_forecasts(path, inputs, _named(target, path)))
    if isinstance(inputs, TextInput):
        columns = dict.fromkeys(inputs.columns, True)
        return _of_table(path, columns, preprocessing, target, split_column)
    if isinstance(inputs, TableInput | RecordInput):
        return _of_table(path, inputs.are_texts, preprocessing, target, split_column)
    if isinstance(inputs, ChoiceInput):
        raise ValueError(
            "a ranking of what users take is judged against items that they did not take, and all "
            f"that they took is not in {path} alone, so it cannot be scored"
        )
    return _of_arrays(path, target)


def _of_arrays(path: Path, target: str | None) -> Examples:
    path = check_file(path, *ARRAYS)
    if path.suffix.lower() == ".npy":
        return Examples(*read_npy_labelled(path, target))
    return Examples(*read_npz_labelled(path))


def _of_images(
    path: Path, preprocessing: Preprocessing, target: str | None, *, skip_bad: bool
) -> Examples:
    """A file of images: arrays, or what COCO has on some."""
    suffix = path.suffix.lower()
    if isinstance(preprocessing.target, BoxTarget) and suffix == ANNOTATIONS:
        return _annotated({"train": source_of(path)}, path, preprocessing.target, skip_bad=skip_bad)
    if suffix in (*IMAGES, AUDIO):
        raise ValueError(f"{path} is a single file, whose target nothing tells: give a folder")
    return _of_arrays(path, target)


def _of_folder(
    path: Path, preprocessing: Preprocessing, target: str | None, *, skip_bad: bool
) -> Examples:
    """Images or sound with their classes, or images with masks or boxes."""
    targets, folder = preprocessing.target, data_in(path).path
    if isinstance(targets, MaskTarget):
        masks = part_folders(folder, MASKS)
        read = read_pairs(to_judge(masks, path), _size(targets), skip_bad=skip_bad)
        return Examples(read.files, read.targets, "test" in masks, read.notes)
    if isinstance(targets, BoxTarget) and holds_boxes(folder):
        places = places_of(folder)
        read = read_boxed(to_judge(places, path), _size(targets), skip_bad=skip_bad)
        return Examples(read.files, read.targets, "test" in places, read.notes)
    if isinstance(targets, BoxTarget):
        return _annotated(sources(folder), path, targets, skip_bad=skip_bad)
    of_images = isinstance(preprocessing.inputs, ImageInput)
    suffixes = IMAGES if of_images else (AUDIO,)
    # Of folders a single class will do here.
    parts = (
        folders.class_files(folder, suffixes)
        if target is None
        else labelled_files(folder, suffixes, target)
    )
    part = to_judge(parts, path)
    readable = readable_images if of_images else readable_audio
    kept = folders.kept(part, readable(part.files)) if skip_bad else part
    notes = folders.skipped(part.files, kept.files)
    return Examples(kept.files, np.array(kept.labels), "test" in parts, notes)


def _annotated(
    parts: Mapping[str, Source], path: Path, target: BoxTarget, *, skip_bad: bool
) -> Examples:
    """The boxes that a file of COCO's tells."""
    names = dict(zip(target.classes, target.names, strict=True)) if target.names else {}
    read = read_annotated(to_judge(parts, path), _size(target), names, skip_bad=skip_bad)
    return Examples(read.files, read.targets, "test" in parts, read.notes)


def _size(target: MaskTarget | BoxTarget) -> Size:
    height, width = target.shape
    return height, width


def _of_text(path: Path, length: int) -> Examples:
    """The windows of a text, which do not overlap, and the characters that follow each of theirs.

    As `language.windows` cuts those to validate and test on.
    """
    text = read_text(path)
    if len(text) <= length:
        raise ValueError(
            f"{path} has {len(text)} characters, a window and the character behind it need "
            f"{length + 1}"
        )
    starts = range(0, len(text) - length, length)
    before = [text[start : start + length] for start in starts]
    return Examples(before, [text[start + 1 : start + 1 + length] for start in starts])


def _of_series(path: Path, inputs: ArrayInput | SeriesInput) -> Examples:
    x, y = read_new_series(path, inputs)
    if y is None:
        raise ValueError(f"{path} has no labels to compare predictions with")
    return Examples(x, y)


def _of_table(
    path: Path,
    are_texts: Mapping[str, bool],
    preprocessing: Preprocessing,
    target: str | None,
    split_column: str | None,
) -> Examples:
    path = check_file(path, *READERS, *U_DATA)
    if target is None and list(are_texts) in ([*OF_U_DATA[:2]], [*OF_RATINGS_CSV[:2]]):
        target = OF_U_DATA.rating  # of MovieLens, whose files need no option
    if path.suffix.lower() in U_DATA:
        table = read_u_data(path)
        return Examples(table, target_values(table[_named(target, path)]))
    target, classes = _named(target, path), preprocessing.classes
    parts = read_labelled_rows(path, are_texts, target, classes, split_column)
    rows = to_judge(parts, path)
    return Examples(rows.x[list(are_texts)], _as_trained(rows.y, classes), "test" in parts)


def _named(target: str | None, path: Path) -> str:
    if target is None:
        names = ", ".join(header_of(path)) if path.suffix.lower() in READERS else "no names"
        raise ValueError(f"name the target column of {path}; it has: {names}")
    return target


def _as_trained(labels: np.ndarray, classes: tuple[Label, ...] | None) -> np.ndarray:
    """Labels of the type of those in training: files of some forms hold truth as text alone."""
    if classes is None or labels.dtype.kind == np.array(classes).dtype.kind:
        return labels
    if isinstance(classes[0], str):
        return labels.astype(str)
    if isinstance(classes[0], bool) and np.isin(labels, ("True", "False")).all():
        return labels == "True"
    return labels
