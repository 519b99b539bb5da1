"""Reading .csv and .tsv files: numbers where a column has no others, else the texts as they are."""

from __future__ import annotations

import csv
import re
import warnings
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from collections.abc import Container, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rlagent_envs.tasks.left_out import on_left_out

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = ",;\t"
OTHERWISE = "cp1252"  # the encoding of texts that are not in UTF-8 or UTF-16
BYTES_AT_ONCE = 2**20  # decoded to find out
MISSING = (  # the texts of cells that say so; pandas' own
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)


class _Layout(NamedTuple):
    """How a file is written."""

    encoding: str
    separator: str
    before: int  # lines before the header
    header: str  # the line

    @property
    def names(self) -> list[str]:
        """What is in the header, from left to right, without spaces around it."""
        cells = next(csv.reader([self.header], delimiter=self.separator), [])
        return [name.strip() for name in cells]


def read_csv_table(
    path: Path, texts: Container[str] = (), notes: list[str] | None = None
) -> pd.DataFrame:
    """A table with numbers or texts in a column, NaN where empty; rows from 1, below the header.

    Columns without a name are left out. Where cells are not separated by commas, columns of
    numbers may have decimal commas.

    Args:
        path: of a file with a header; tabs separate the cells of a .tsv file, commas, semicolons
            or tabs those of others, or what a first line such as `sep=;` says.
        texts: columns that are texts even if they look like numbers.
        notes: what there is to say of the reading is put behind it.

    Raises:
        ValueError: if it is no table with a header of different names and at least one row.
    """
    import pandas as pd

    notes = [] if notes is None else notes
    layout = _layout(path, encoding_of(path, notes))
    names = _names(path, layout)
    if len(names) < len(layout.names):
        places = [n for n, name in enumerate(layout.names, start=1) if not name]
        notes.append(on_left_out(places, "without a name"))
    as_texts = {name: str for name in names if name in texts}
    plain = layout.separator == "\t" and _quotes_mean_nothing(path, layout)
    table = _parsed(path, layout, plain=plain, dtype=as_texts)
    # Booleans, and what was taken for numbers in some pieces of the file only: as they stand.
    again = [name for name in names if not _settled(table[name])]
    if again:
        cells = _parsed(path, layout, plain=plain, dtype=str, usecols=again)
        table[again] = cells[again]
    if len(table) == 0:
        raise ValueError(f"{path} has a header but no rows")
    if layout.separator != ",":
        _read_decimal_commas(table, [name for name in names if name not in texts], notes)
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table


def csv_texts(path: Path, name: str) -> pd.Series:
    """A column as texts, of which the empty ones alone are missing; rows are numbered from 1."""
    import pandas as pd

    layout = _layout(path, encoding_of(path, []))
    plain = layout.separator == "\t" and _quotes_mean_nothing(path, layout)
    table = _parsed(path, layout, plain=plain, dtype=str, usecols=[name], missing=[""])
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table[name]


def csv_header(path: Path) -> list[str]:
    """The names in the header; ValueError if some are the same, or if there is none."""
    with path.open("rb") as file:
        encoding = _encoding([file.readline() + file.readline()])  # the header is one of them
    return _names(path, _layout(path, encoding))


def encoding_of(path: Path, notes: list[str]) -> str:
    """UTF-16 where a byte order mark says so, UTF-8, or else cp1252, with a note behind `notes`."""
    with path.open("rb") as file:
        encoding = _encoding(iter(partial(file.read, BYTES_AT_ONCE), b""))
    if encoding == OTHERWISE:
        notes.append(f"{path.name} is not in UTF-8, so it is read as {OTHERWISE}, of Windows")
    return encoding


def _encoding(pieces: Iterable[bytes]) -> str:
    """That of a text which comes in pieces."""
    decoder = getincrementaldecoder("utf-8")()
    for place, piece in enumerate(pieces):
        if place == 0 and piece.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
            return "utf-16"
        try:
            decoder.decode(piece)
        except UnicodeDecodeError:
            return OTHERWISE
    return OTHERWISE if decoder.getstate()[0] else "utf-8-sig"


def _layout(path: Path, encoding: str) -> _Layout:
    """The separator, and the line that is the header."""
    first, second = _first_lines(path, encoding)
    said = re.fullmatch(r'"?sep=(.)"?', first.rstrip("\r\n"), re.IGNORECASE)
    if said is not None:
        return _Layout(encoding, said[1], 1, second)
    if path.suffix.lower() == ".tsv":
        return _Layout(encoding, "\t", 0, first)
    # Names in quotes may hold what separates others.
    outside = re.sub(r'(^|[,;\t])[ ]*"(?:[^"]|"")*"', r"\1", first)
    if not any(map(outside.count, SEPARATORS)):
        outside = first
    return _Layout(encoding, max(SEPARATORS, key=outside.count), 0, first)


def _first_lines(path: Path, encoding: str) -> tuple[str, str]:
    try:
        # More than a line is decoded at once, and what is behind these two does not matter here.
        with path.open(encoding=encoding, newline="", errors="replace") as file:
            lines = file.readline(), file.readline()
    except UnicodeError:
        raise ValueError(f"{path} is not a text file in UTF-8 or {OTHERWISE}") from None
    if "\0" in lines[0]:
        raise ValueError(f"{path} is not a text file")
    return lines


def _names(path: Path, layout: _Layout) -> list[str]:
    """The names in the header that are not empty; ValueError if some are the same."""
    try:
        names = [name for name in layout.names if name]
    except csv.Error:
        raise ValueError(f"{path} has no header in its first line: a name is too long") from None
    if not names:
        raise ValueError(f"{path} has no header in its first line")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{path} has {names.count(name)} columns named {name!r}")
    return names


def _parsed(
    path: Path,
    layout: _Layout,
    *,
    plain: bool,
    dtype: Any,
    usecols: Iterable[str] = (),
    missing: Iterable[str] = MISSING,
) -> pd.DataFrame:
    """What pandas makes of the columns with a name, quotes being plain letters or not.

    Raises:
        ValueError: if the file is malformed.
    """
    import pandas as pd

    # pandas wants different names also of those that have none; no name has a line break.
    names = [name or f"\n{place}" for place, name in enumerate(layout.names)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)  # read again, as texts
            table = pd.read_csv(
                path,
                sep=layout.separator,
                quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
                header=0,
                skiprows=layout.before,
                names=names,
                dtype=dtype,
                usecols=list(usecols) or None,
                index_col=False,  # else cells beyond the header would become row labels
                na_values=list(missing),
                keep_default_na=False,
                skipinitialspace=True,
                encoding=layout.encoding,
            )
    except pd.errors.ParserWarning:
        raise ValueError(f"{path} has rows with more cells than its header") from None
    except pd.errors.ParserError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not a well-formed {path.suffix} file: {reason}") from None
    except UnicodeError:
        raise ValueError(f"{path} is not a text file in UTF-8 or {OTHERWISE}") from None
    unnamed = [name for name in table.columns if name.startswith("\n")]
    return table.drop(columns=unnamed) if unnamed else table


def _quotes_mean_nothing(path: Path, layout: _Layout) -> bool:
    """Whether quotes in a file separated by tabs are letters like others, as in those of GLUE.

    So it is if some line has an odd number of them though each has as many cells as the header, of
    two at least and without quotes: a quoted cell that goes on in the next line would leave too
    few, and programs that quote texts quote the header, too.
    """
    odd = False
    try:
        with path.open(encoding=layout.encoding) as file:
            header = [file.readline() for _ in range(layout.before + 1)][-1]
            tabs = header.count("\t")
            if not tabs or '"' in header:
                return False
            for line in file:
                if line.strip() and line.count("\t") != tabs:
                    return False
                odd = odd or line.count('"') % 2 == 1
    except UnicodeError:
        raise ValueError(f"{path} is not a text file in UTF-8 or {OTHERWISE}") from None
    return odd


def _read_decimal_commas(table: pd.DataFrame, names: list[str], notes: list[str]) -> None:
    """Makes numbers of columns of texts such as 1,5, with a note behind `notes`.

    Where three digits are behind each comma they may be thousands: such columns stay texts.
    """
    import pandas as pd
    from pandas.api import types

    found, told = [], ""
    for name in names:
        column = table[name]
        if types.is_numeric_dtype(column.dtype):
            continue
        places, texts = pd.factorize(column)
        whole_or_decimal = map(re.compile("-?[0-9]+(,[0-9]+)?").fullmatch, texts)
        cells = [text for text in texts if "," in text]
        thousands = all(len(text.partition(",")[2]) == 3 for text in cells)
        if not all(whole_or_decimal) or thousands:
            continue
        told = told or f"decimal commas: {cells[0]} is read as {cells[0].replace(',', '.')} in "
        values = [float(text.replace(",", ".")) for text in texts]
        table[name] = np.array([*values, np.nan])[places]
        found.append(name)
    if found:
        notes.append(told + ", ".join(map(repr, found[:5])) + (", …" if len(found) > 5 else ""))


def _settled(column: pd.Series) -> bool:
    """Whether a column is of numbers alone or of texts alone, with NaN where they are missing."""
    import pandas as pd
    from pandas.api import types

    if isinstance(column.dtype, pd.StringDtype):
        # Beside a whole number of more than 64 bits pandas takes missing ones for texts.
        return not column.isin(MISSING).any()
    return types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype)
