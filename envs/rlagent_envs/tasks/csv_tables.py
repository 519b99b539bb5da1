"""Reading .csv and .tsv files: numbers where a column has no others, else the texts as they are."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Container, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = ",;\t"
MISSING = (  # the texts of cells that say so; pandas' own
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)


def read_csv_table(path: Path, texts: Container[str] = ()) -> pd.DataFrame:
    """A table with numbers or texts in a column, NaN where empty; rows from 1, below the header.

    Args:
        path: of a file with a header; tabs separate the cells of a .tsv file, commas, semicolons
            or tabs those of others.
        texts: columns that are texts even if they look like numbers.

    Raises:
        ValueError: if it is no table with a header of different names and at least one row.
    """
    import pandas as pd

    separator = separator_of(path)
    names = _names(path, separator)
    as_texts = {name: str for name in names if name in texts}
    plain = separator == "\t" and _quotes_mean_nothing(path)
    table = _parsed(path, separator, names, plain=plain, dtype=as_texts)
    # Booleans, and what was taken for numbers in some pieces of the file only: as they stand.
    again = [name for name in names if not _settled(table[name])]
    if again:
        cells = _parsed(path, separator, names, plain=plain, dtype=str, usecols=again)
        table[again] = cells[again]
    if len(table) == 0:
        raise ValueError(f"{path} has a header but no rows")
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table


def csv_header(path: Path) -> list[str]:
    """The names in the first line; ValueError if some are the same or empty."""
    return _names(path, separator_of(path))


def separator_of(path: Path) -> str:
    """What stands between cells: tabs in a .tsv file, else what is most frequent in the header."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    return max(SEPARATORS, key=_first_line(path).count)


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return file.readline()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file in UTF-8") from None


def _names(path: Path, separator: str) -> list[str]:
    """The names in the header; ValueError if some are the same or empty."""
    cells = next(csv.reader([_first_line(path)], delimiter=separator), [])
    names = [name.strip() for name in cells]
    if not any(names):
        raise ValueError(f"{path} has no header in its first line")
    for place, name in enumerate(names, start=1):
        if not name:
            raise ValueError(f"column {place} of {path} has no name; name it or drop it")
        if names.count(name) > 1:
            raise ValueError(f"{path} has {names.count(name)} columns named {name!r}")
    return names


def _parsed(
    path: Path,
    separator: str,
    names: list[str],
    *,
    plain: bool,
    dtype: Any,
    usecols: Iterable[str] = (),
) -> pd.DataFrame:
    """What pandas makes of a file, quotes being plain letters or not; ValueError if malformed."""
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)  # read again, as texts
            return pd.read_csv(
                path,
                sep=separator,
                quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
                header=0,
                names=names,
                dtype=dtype,
                usecols=list(usecols) or None,
                index_col=False,  # else cells beyond the header would become row labels
                na_values=list(MISSING),
                keep_default_na=False,
                skipinitialspace=True,
                encoding="utf-8-sig",
            )
    except pd.errors.ParserWarning:
        raise ValueError(f"{path} has rows with more cells than its header") from None
    except pd.errors.ParserError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not a well-formed {path.suffix} file: {reason}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file in UTF-8") from None


def _quotes_mean_nothing(path: Path) -> bool:
    """Whether quotes in a file separated by tabs are letters like others, as in those of GLUE.

    So it is if some line has an odd number of them though each has as many cells as the header, of
    two at least and without quotes: a quoted cell that goes on in the next line would leave too
    few, and programs that quote texts quote the header, too.
    """
    odd = False
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
            tabs = header.count("\t")
            if not tabs or '"' in header:
                return False
            for line in file:
                if line.strip() and line.count("\t") != tabs:
                    return False
                odd = odd or line.count('"') % 2 == 1
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file in UTF-8") from None
    return odd


def _settled(column: pd.Series) -> bool:
    """Whether a column is of numbers alone or of texts alone, with NaN where they are missing."""
    import pandas as pd
    from pandas.api import types

    if isinstance(column.dtype, pd.StringDtype):
        # Beside a whole number of more than 64 bits pandas takes missing ones for texts.
        return not column.isin(MISSING).any()
    return types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype)
