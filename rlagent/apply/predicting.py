"""Predictions for the rows of a file, and the files that they are written to."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rlagent.apply.result import load_run
from rlagent_envs.tasks import read_features
from rlagent_envs.tasks.audio_folders import audio_files
from rlagent_envs.tasks.audio_input import AudioInput
from rlagent_envs.tasks.box_target import BoxTarget
from rlagent_envs.tasks.characters import CharacterInput
from rlagent_envs.tasks.choices import ChoiceInput
from rlagent_envs.tasks.folders import skipped
from rlagent_envs.tasks.image_folders import image_files
from rlagent_envs.tasks.image_input import ImageInput
from rlagent_envs.tasks.record_input import RecordInput
from rlagent_envs.tasks.series_input import SeriesInput
from rlagent_envs.tasks.table_input import TableInput
from rlagent_envs.tasks.texts import TextInput
from rlagent_envs.tasks.window_input import WindowInput

if TYPE_CHECKING:
    from rlagent_envs.tasks.preprocessing import Preprocessing


class Predictions(NamedTuple):
    """A table of what was predicted."""

    names: dict[str, list[str]]  # what the rows are called, a column by its name; or none
    labels: list[Any]  # [rows]
    shares: dict[str, np.ndarray]  # the probability of each class, by its column, [rows]; or none
    notes: tuple[str, ...] = ()  # on what was left out

    @property
    def columns(self) -> dict[str, Any]:
        """All of it by column."""
        return self.names | {"prediction": self.labels} | self.shares


def predictions(folder: Path, file: Path, *, skip_bad: bool = False) -> Predictions:
    """Predictions for the rows of a file, or the files of a folder.

    Args:
        folder: of a run.
        file: of the form of the data that it was trained on.
        skip_bad: leave out files of a folder that cannot be read.

    Raises:
        ValueError: if there is no such run, or the file does not suit it.
    """
    model = load_run(folder).model
    stored = model.preprocessing
    if stored is None:
        raise ValueError(f"the run {folder} has no preprocessing, so it cannot read files")
    given = read_features(file, stored, skip_bad=skip_bad)
    values = model.values(model.raw(model.transform(given)))
    names: dict[str, list[str]] = {}
    notes: tuple[str, ...] = ()
    inputs = stored.inputs
    if isinstance(inputs, WindowInput):
        names = dict([inputs.row_names(given)])
    if isinstance(inputs, ImageInput | AudioInput) and isinstance(given, list):
        names = dict([inputs.row_names(given)])
        files = image_files(file) if isinstance(inputs, ImageInput) else audio_files(file)
        notes = skipped(files, given)
    classes = model.classes or []
    shares = {f"probability_{label}": values[:, place] for place, label in enumerate(classes)}
    return Predictions(names, model.labels(values).tolist(), shares, notes)


def what_to_predict_for(preprocessing: Preprocessing) -> str:
    """What a hint has behind `rlagent predict RUN`: a file, and where to."""
    inputs = preprocessing.inputs
    if isinstance(inputs, CharacterInput):
        return "PROMPT.txt --characters 200"
    out = "predictions.csv"
    if preprocessing.target_shape:
        out = "masks.npz"
        if isinstance(preprocessing.target, BoxTarget):
            out = "boxes.json" if isinstance(inputs, ImageInput) else "boxes.npz"
    given = "FOLDER" if isinstance(inputs, ImageInput) else "FILE.npz"
    if isinstance(inputs, TableInput | TextInput | RecordInput | WindowInput | ChoiceInput):
        given = "FILE.csv"
    if isinstance(inputs, AudioInput):
        given = "FILE.wav"
    if isinstance(inputs, SeriesInput):
        given = "FILE.ts" if inputs.width is None else "FILE.tsv"
    return f"{given} --out {out}"


def written(path: Path | None) -> Callable[[Predictions], bytes]:
    """What makes the content of a file, by its suffix; .csv where there is none.

    Raises:
        ValueError: naming the suffixes, if there is no such form.
    """
    suffix = ".csv" if path is None else path.suffix.lower()
    if suffix not in WRITERS:
        raise ValueError(f"predictions go into {', '.join(WRITERS)} files, got {path}")
    if suffix == ".parquet":
        _pyarrow()  # before the work is done
    return WRITERS[suffix]


def _as_csv(table: Predictions, separator: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
    writer.writerow(table.columns)
    shares = [[f"{share:.6g}" for share in column] for column in table.shares.values()]
    writer.writerows(zip(*table.names.values(), table.labels, *shares, strict=True))
    return text.getvalue().encode()


def _as_tsv(table: Predictions) -> bytes:
    return _as_csv(table, "\t")


def _as_json_lines(table: Predictions) -> bytes:
    columns = {name: np.asarray(values).tolist() for name, values in table.columns.items()}
    rows = zip(*columns.values(), strict=True)
    return "".join(
        json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in rows
    ).encode()


def _as_parquet(table: Predictions) -> bytes:
    pyarrow = _pyarrow()
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(table.columns), buffer)
    return buffer.getvalue()


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ValueError("writing .parquet needs pyarrow: pip install 'rlagent[formats]'") from None
    return pyarrow


WRITERS: dict[str, Callable[[Predictions], bytes]] = {
    ".csv": _as_csv,
    ".tsv": _as_tsv,
    ".parquet": _as_parquet,
    ".jsonl": _as_json_lines,
    ".ndjson": _as_json_lines,
}
