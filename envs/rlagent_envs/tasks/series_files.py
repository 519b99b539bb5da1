"""Reading files of the time series archives: .ts of UEA and sktime, .tsv of UCR."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from rlagent_envs.tasks.task import Kind

SUFFIXES = (".ts", ".tsv")
TRAIN, TEST = "_TRAIN", "_TEST"  # how the names of the two files of a set end


class Series(NamedTuple):
    """What a file holds."""

    x: list[np.ndarray]  # of each series, [steps, channels], float64, without gaps
    y: np.ndarray | None  # [series], of whole numbers, floats or texts; None: it has no labels
    kind: Kind | None  # of the labels; None: the file does not tell
    width: int | None = None  # values in a line of .tsv, gaps behind the end of a series too


def is_series(path: Path) -> bool:
    """Whether a file holds series: .ts always, .tsv if it has numbers in the place of a header."""
    if path.suffix.lower() == ".ts":
        return True
    if path.suffix.lower() != ".tsv" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return all(map(_is_number, file.readline().rstrip("\r\n").split("\t")))


def read_series_parts(path: Path) -> dict[str, Series]:
    """The series to train on, and those to test on where `NAME_TEST` is beside `NAME_TRAIN`.

    Raises:
        ValueError: naming the file and line, if one cannot be read, or if there are no labels.
    """
    files = {"train": path}
    if (beside := test_file(path)) is not None:
        files["test"] = beside
    parts = {part: read_series(file) for part, file in files.items()}
    for file, series in zip(files.values(), parts.values(), strict=True):
        if series.y is None:
            raise ValueError(f"{file} has no labels to learn")
    return parts


def test_file(path: Path) -> Path | None:
    """`NAME_TEST` beside `NAME_TRAIN`; None if there is no such file."""
    if not path.stem.endswith(TRAIN):
        return None
    beside = path.with_name(path.stem.removesuffix(TRAIN) + TEST + path.suffix)
    return beside if beside.is_file() else None


def name_of(path: Path) -> str:
    """What a set is called: the file without its ending, and without `_TRAIN`."""
    return path.stem.removesuffix(TRAIN)


def read_series(path: Path, width: int | None = None, *, one_length: bool = False) -> Series:
    """All of a file; gaps in a series are filled by straight lines between their neighbours.

    Lines of .tsv have as many cells all, so that gaps at their end are behind the end of a series.

    Args:
        path: of a .ts or .tsv file.
        width: values in a line, where a .tsv file may have labels before them or not; None: it has.
        one_length: whether gaps at the end of lines of .tsv are such as others.

    Raises:
        ValueError: naming the file and line, if series differ in channels, lines of .tsv in cells,
            or if something in it is neither a number nor, as a gap, `?` or `NaN`.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file in UTF-8") from None
    if path.suffix.lower() == ".ts":
        return _read_ts(path, lines)
    rows = [(number, line.split("\t")) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise ValueError(f"{path} holds no series")
    labelled = width is None or len(rows[0][1]) != width
    x = []
    for number, cells in rows:
        where = f"line {number} of {path}"
        if len(cells) != len(rows[0][1]):
            raise ValueError(
                f"{where} has {len(cells)} cells, but those before have {len(rows[0][1])}; end "
                f"shorter series in NaN"
            )
        values = _numbers(cells[labelled:], where)
        x.append(_filled(values if one_length else _to_its_end(values), where)[:, None])
    width = len(rows[0][1]) - labelled
    if not labelled:
        return Series(x, None, None, width)
    y = _labels([cells[0].strip() for _, cells in rows])
    return Series(x, y, "classification" if y.dtype.kind in "iU" else None, width)


def _read_ts(path: Path, lines: list[str]) -> Series:
    facts: dict[str, str] = {}
    rows: list[tuple[int, str]] = []
    in_data = False
    for number, text in enumerate(lines, 1):
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        if in_data:
            rows.append((number, line))
            continue
        name, _, value = line.partition(" ")
        in_data = name.lower() == "@data"
        facts[name.lower()] = value.strip().lower()
    if not rows:
        raise ValueError(f"{path} holds no series: there must be lines below @data")
    if facts.get("@timestamps") == "true":
        raise ValueError(f"{path} has a time for each value, which is not read; give values alone")
    classes = facts.get("@classlabel", "false").startswith("true")
    labelled = classes or facts.get("@targetlabel", "false").startswith("true")
    dimensions = [(number, line.split(":")) for number, line in rows]
    values = [parts[:-1] if labelled else parts for _, parts in dimensions]
    x = [
        _of_channels([channel.split(",") for channel in channels], f"line {number} of {path}")
        for (number, _), channels in zip(rows, values, strict=True)
    ]
    for (number, _), one in zip(rows, x, strict=True):
        if one.shape[1] != x[0].shape[1]:
            raise ValueError(
                f"line {number} of {path} has {one.shape[1]} channels, but those before have "
                f"{x[0].shape[1]}; all must be the same"
            )
    if not labelled:
        return Series(x, None, None)
    y = _labels([parts[-1].strip() for _, parts in dimensions])
    return Series(x, y, "classification" if classes else "regression")


def _of_channels(channels: list[list[str]], where: str) -> np.ndarray:
    """A series `[steps, channels]` of the cells of its channels."""
    lengths = {len(cells) for cells in channels}
    if len(lengths) != 1:
        raise ValueError(f"{where} has channels of different lengths, {sorted(lengths)}")
    return np.stack([_filled(_numbers(cells, where), where) for cells in channels], axis=1)


def _to_its_end(values: np.ndarray) -> np.ndarray:
    """Without the gaps at the end."""
    there = np.flatnonzero(~np.isnan(values))
    return values[: there[-1] + 1] if len(there) else values


def _numbers(cells: list[str], where: str) -> np.ndarray:
    """Float64, NaN for gaps."""
    stripped = ["nan" if cell.strip() == "?" else cell.strip() for cell in cells]
    try:
        values = np.array(stripped, np.float64)
    except ValueError:
        wrong = next(cell for cell in stripped if not _is_number(cell))
        raise ValueError(f"{where} has {wrong!r} where a number should be") from None
    if np.isinf(values).any():
        raise ValueError(f"{where} has infinite values")
    return values


def _filled(values: np.ndarray, where: str) -> np.ndarray:
    missing = np.isnan(values)
    if not missing.any():
        return values
    if missing.all():
        raise ValueError(f"{where} has a channel without values")
    steps = np.arange(len(values))
    return np.interp(steps, steps[~missing], values[~missing])


def _labels(texts: list[str]) -> np.ndarray:
    """As whole numbers where all are, as floats where all are numbers, else as texts."""
    if not all(map(_is_number, texts)):
        return np.array(texts)
    values = np.array(texts, np.float64)
    whole = np.all(values == np.round(values)) and np.all(np.abs(values) < 2**53)
    return values.astype(np.int64) if whole else values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
