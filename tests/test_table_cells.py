"""Cells of tables as people have them: encodings, decimal commas, headers, classes called None."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlagent_envs.tasks import load_task
from rlagent_envs.tasks.csv_tables import csv_header, read_csv_table
from rlagent_envs.tasks.json_lines import read_json_table


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


TEXT = "größe,preis\nklein,1\nweiß,2\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_texts_in_unicode_are_read_by_their_byte_order_mark(encoding: str) -> None:
    text = "\ufeff" + TEXT if encoding[-2:] in ("le", "be") else TEXT
    Path("t.csv").write_bytes(text.encode(encoding))
    notes: list[str] = []
    table = read_csv_table(Path("t.csv"), notes=notes)
    assert table["größe"].tolist() == ["klein", "weiß"]
    assert table["preis"].tolist() == [1, 2]
    assert csv_header(Path("t.csv")) == ["größe", "preis"]
    assert notes == []


def test_other_texts_are_those_of_windows_with_a_note() -> None:
    Path("t.csv").write_bytes(TEXT.replace("klein", "10 €").encode("cp1252"))
    notes: list[str] = []
    table = read_csv_table(Path("t.csv"), notes=notes)
    assert table["größe"].tolist() == ["10 €", "weiß"]
    assert notes == ["t.csv is not in UTF-8, so it is read as cp1252, of Windows"]
    assert csv_header(Path("t.csv")) == ["größe", "preis"]
    Path("t.tsv").write_bytes('a\tb\n5" ß\tx\n6\ty\n'.encode("cp1252"))
    assert read_csv_table(Path("t.tsv"))["a"].tolist() == ['5" ß', "6"]
    # The byte that is no UTF-8 may come late, and a character may lie across two pieces.
    late = b"a,b\n" + b"x\xc3\xb6x,1\n" * 400_000
    Path("late.csv").write_bytes(late)
    assert set(read_csv_table(Path("late.csv"))["a"]) == {"xöx"}
    Path("late.csv").write_bytes(late + b"\xe9,1\n")
    assert read_csv_table(Path("late.csv"))["a"].iloc[-1] == "é"
    Path("none.csv").write_bytes(b"a,b\n\x81,1\n")
    with pytest.raises(ValueError, match=r"^none\.csv is not a text file in UTF-8 or cp1252$"):
        read_csv_table(Path("none.csv"))
    Path("none.csv").write_bytes(b"PK\0\xff\0\n")
    with pytest.raises(ValueError, match=r"^none\.csv is not a text file$"):
        read_csv_table(Path("none.csv"))


def test_decimal_commas_are_read_where_commas_do_not_separate() -> None:
    Path("t.csv").write_text("a;b;c;d\n1,5;1,5;7;1,2,3\n-2;x;8;1,5\n;2;9;2\n0,25;3;1;4\n")
    notes: list[str] = []
    table = read_csv_table(Path("t.csv"), notes=notes)
    np.testing.assert_array_equal(table["a"], [1.5, -2, np.nan, 0.25])
    assert table["b"].tolist() == ["1,5", "x", "2", "3"]
    assert table["c"].tolist() == [7, 8, 9, 1]
    assert table["d"].tolist() == ["1,2,3", "1,5", "2", "4"]
    assert notes == ["decimal commas: 1,5 is read as 1.5 in 'a'"]
    # What was trained on as texts stays texts.
    assert read_csv_table(Path("t.csv"), ["a"])["a"].iloc[0] == "1,5"
    Path("u.csv").write_text('a,b\n"1,5",x\n"2,5",y\n')
    assert read_csv_table(Path("u.csv"))["a"].tolist() == ["1,5", "2,5"]
    rows = "".join(f"{n % 7},{n};{n},5\n" for n in range(40))
    Path("v.csv").write_text("a;y\n" + rows)
    task = load_task("v.csv", target="y")
    assert task.kind == "regression"
    assert "decimal commas: 1,5 is read as 1.5 in 'a', 'y'" in task.notes


def test_separators_are_counted_outside_of_quotes_or_said() -> None:
    Path("t.csv").write_text('"a;b;c",d\n1,2\n')
    assert read_csv_table(Path("t.csv")).to_dict("list") == {"a;b;c": [1], "d": [2]}
    Path("u.csv").write_text('5" pipe;7" pipe\n1;2\n')
    assert csv_header(Path("u.csv")) == ['5" pipe', '7" pipe']
    for first in ("sep=;", '"sep=;"', "SEP=;"):
        Path("v.csv").write_text(first + "\na,b;c\n1;2\n3;4\n")
        assert read_csv_table(Path("v.csv")).to_dict("list") == {"a,b": [1, 3], "c": [2, 4]}
    Path("w.csv").write_text("sep=|\na|b\n1|2\n")
    assert read_csv_table(Path("w.csv")).to_dict("list") == {"a": [1], "b": [2]}
    Path("x.tsv").write_text('sep=\t\na\tb\n5" x\ty\n')
    assert read_csv_table(Path("x.tsv")).to_dict("list") == {"a": ['5" x'], "b": ["y"]}


def test_what_is_too_large_is_named() -> None:
    Path("t.csv").write_text("a" * 200_000 + ",b\n1,2\n")
    with pytest.raises(ValueError, match=r"^t\.csv has no header in its first line: a name is too"):
        read_csv_table(Path("t.csv"))
    Path("t.jsonl").write_text('{"a": 1}\n{"a": 1' + "0" * 400 + "}\n")
    told = r"^the key 'a' of t\.jsonl has a number in record 2 that is too large$"
    with pytest.raises(ValueError, match=told):
        read_json_table(Path("t.jsonl"))
