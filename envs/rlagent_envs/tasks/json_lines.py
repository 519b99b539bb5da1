"""Reading flat records: a JSON object in each line, or a list of objects."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

Record = dict[str, Any]


def read_json_table(path: Path) -> pd.DataFrame:
    """A column for each key, NaN where a record lacks it or has null; rows are numbered from 1.

    Raises:
        ValueError: naming the record, if it is no flat object, or if a value is of another type
            than those of its key before it.
    """
    import pandas as pd

    records = _records(path)
    if not records:
        raise ValueError(f"{path} has no rows")
    columns = {name: _column(path, name, records) for name in json_header(path, records)}
    if not columns:
        raise ValueError(f"the records of {path} have no keys")
    table = pd.DataFrame(columns)
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table


def json_header(path: Path, records: list[Record] | None = None) -> list[str]:
    """The keys of all records, in the order in which they come."""
    return list(dict.fromkeys(key for record in records or _records(path) for key in record))


def _records(path: Path) -> list[Record]:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file in UTF-8") from None
    if text.lstrip()[:1] == "[":
        whole = _parsed(text, f"{path} is not JSON")
        return [_flat(one, f"record {number} of {path}") for number, one in enumerate(whole, 1)]
    _refuse_coco(path, text)
    return [
        _flat(_parsed(line, f"line {number} of {path} is not JSON"), f"line {number} of {path}")
        for number, line in enumerate(text.split("\n"), start=1)  # texts may hold other breaks
        if line.strip()
    ]


def _refuse_coco(path: Path, text: str) -> None:
    """Raises ValueError if the text is one object, with what annotations of COCO have."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return  # several lines, or damaged
    if isinstance(whole, dict) and {"images", "annotations"} <= whole.keys():
        raise ValueError(
            f"{path} holds annotations in the form of COCO; give the folder that it and the images "
            "are in"
        )


def _parsed(text: str, sentence: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(sentence) from None


def _flat(record: Any, where: str) -> Record:
    """The record; ValueError if it is no object, or has an object or list in it."""
    if not isinstance(record, dict):
        raise ValueError(f"{where} is no JSON object with a value for each column")
    for key, value in record.items():
        if isinstance(value, dict | list):
            raise ValueError(
                f"the key {key!r} in {where} is nested; give numbers, texts or booleans"
            )
    return record


def _column(path: Path, name: str, records: list[Record]) -> pd.Series:
    """The values of a key, of numbers, texts or booleans alone."""
    import pandas as pd

    values = [record.get(name) for record in records]
    first: tuple[str, int] | None = None
    for number, value in enumerate(values, start=1):
        if value is None:
            continue
        kind = _kind(value)
        first = first or (kind, number)
        if kind != first[0]:
            raise ValueError(
                f"the key {name!r} of {path} has a {first[0]} in record {first[1]} but a {kind} "
                f"in record {number}"
            )
    if first is not None and first[0] == "number":
        # By way of floats: a whole number may be larger than any type of NumPy.
        floats = any(value is None or isinstance(value, float) for value in values)
        large = any(isinstance(value, int) and abs(value) >= 2**63 for value in values)
        try:
            return pd.Series(values, dtype="float64" if floats or large else "int64")
        except OverflowError:
            wrong = next(n for n, one in enumerate(values, 1) if _beyond_floats(one))
            raise ValueError(
                f"the key {name!r} of {path} has a number in record {wrong} that is too large"
            ) from None
    return pd.Series(values, dtype="object" if first is None else None)


def _beyond_floats(value: Any) -> bool:
    return isinstance(value, int) and abs(value) > sys.float_info.max


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"
