"""Reading .parquet files: columns have the types that the file says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

UNNAMED = re.compile(
    r"__index_level_\d+__"
)  # what pandas calls the column of an index without a name


def read_parquet_table(path: Path) -> pd.DataFrame:
    """The columns of a file; rows are numbered from 1.

    Raises:
        ValueError: if pyarrow is not installed, the file is damaged or has no rows, or a column
            holds lists and the like.
    """
    import pandas as pd

    read = _parquet_file(path)
    _refuse_nested(path, read.schema_arrow)
    try:
        table = read.read()
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these
        raise ValueError(_damaged(path)) from error
    table = table.cast(_with_floats(table.schema))
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    if len(frame) == 0:
        raise ValueError(f"{path} has no rows")
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


def parquet_header(path: Path) -> list[str]:
    """The names of the columns, without those of an index unless there are no others."""
    names, index = list(_parquet_file(path).schema_arrow.names), parquet_index(path)
    return [name for name in names if name not in index] or names


def parquet_index(path: Path) -> list[str]:
    """The columns that were no columns in pandas, but the index of its rows; none of others."""
    schema = _parquet_file(path).schema_arrow
    told = (schema.pandas_metadata or {}).get("index_columns", ())
    # A range is told by an object in the place of a name, and has no column. An index that was
    # given a name may be what is meant: the users, the times, the parts.
    names = [name for name in told if isinstance(name, str) and name in schema.names]
    return [name for name in names if UNNAMED.fullmatch(name)]


def _parquet_file(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ValueError(f"reading {path} needs pyarrow: pip install 'rlagent[formats]'") from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise ValueError(_damaged(path)) from error


def _damaged(path: Path) -> str:
    return f"{path} is not a readable .parquet file, it may be damaged"


def _refuse_nested(path: Path, fields: Iterable[Any]) -> None:
    import pyarrow.types

    for field in fields:
        if pyarrow.types.is_nested(field.type):
            raise ValueError(
                f"the column {field.name!r} of {path} is nested, of type {field.type}; give "
                f"columns of numbers, texts or booleans"
            )


def _with_floats(schema: Any) -> Any:
    """The schema with floats for decimal numbers, which pandas would keep as objects."""
    import pyarrow as pa

    fields = [
        field.with_type(pa.float64()) if pa.types.is_decimal(field.type) else field
        for field in schema
    ]
    return pa.schema(fields)
