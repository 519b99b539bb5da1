"""Cells of tables as people have them: encodings, decimal commas, headers, classes called None."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rlagent_envs.tasks import load_task
from rlagent_envs.tasks.csv_tables import csv_header, read_csv_table
from rlagent_envs.tasks.json_lines import read_json_table
from rlagent_envs.tasks.tables import header_of


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
    Path("a.csv").write_bytes("a,b\nKöln,1\n".encode("cp1252"))  # the header is in ASCII
    assert csv_header(Path("a.csv")) == ["a", "b"]
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
    assert "decimal commas: 0,0 is read as 0.0 in 'a', 'y'" in task.notes
    Path("w.csv").write_text("a;y\n1,234;1\n12,500;2\n")  # thousands, it may be
    assert read_csv_table(Path("w.csv"))["a"].tolist() == ["1,234", "12,500"]


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


def test_classes_called_none_are_classes_but_empty_cells_are_missing() -> None:
    kinds = ["None", "NA", "brick", "null"] * 10
    rows = [f"{n**1.5},{'NA' if n % 4 else 2.5},{kind}" for n, kind in enumerate(kinds)]
    Path("t.csv").write_text("\n".join(["a,b,y", *rows]))
    task = load_task("t.csv", target="y")
    assert task.preprocessing is not None
    assert task.preprocessing.classes == ("NA", "None", "brick", "null")
    assert "the target 'NA' in 10 rows is taken for a class, not for a missing value" in task.notes
    assert len([note for note in task.notes if "is taken for a class" in note]) == 3
    of_b = task.preprocessing.to_json()["inputs"]["columns"][1]
    assert (of_b["kind"], of_b["flags_missing"]) == ("numeric", True)  # elsewhere NA is missing
    Path("valid.csv").write_text("a,b,y\n1,1,None\n2,2,NA\n")
    task = load_task("t.csv", target="y", valid="valid.csv")
    assert sorted(task.valid.y.tolist()) == [0, 1]
    Path("t.csv").write_text("\n".join(["a,b,y", *rows, "1,2,"]))
    with pytest.raises(ValueError, match="the target column 'y' is empty in 1 of 41 rows, the fir"):
        load_task("t.csv", target="y")
    numbers = [f"{n**1.5},{'NA' if n == 3 else n}" for n in range(40)]
    Path("t.csv").write_text("\n".join(["a,y", *numbers]))
    with pytest.raises(ValueError, match="the target column 'y' is empty in 1 of 40 rows, the fir"):
        load_task("t.csv", target="y")


def test_the_index_of_pandas_is_left_out_of_parquet_files() -> None:
    pytest.importorskip("pyarrow")
    table = pd.DataFrame({"x": np.arange(40) ** 1.5, "y": ["a", "b"] * 20})
    table.to_parquet("plain.parquet")
    expected = load_task("plain.parquet", target="y")
    assert expected.notes == ()
    table.sample(frac=1, random_state=0).sort_values("x").to_parquet("t.parquet")
    found = load_task("t.parquet", target="y")
    np.testing.assert_array_equal(found.train.x, expected.train.x)
    told = "column '__index_level_0__' is left out: the index of the rows in pandas"
    assert found.notes == (told,)
    assert header_of(Path("t.parquet")) == ["x", "y"]
    # One with a name is a column like others, and may be what tells the parts.
    named = pd.concat({"train": table, "test": table}, names=["split", "row"])
    named.to_parquet("named.parquet")
    divided = load_task("named.parquet", target="y", drop="row")
    assert divided.test is not None
    assert (len(divided.test.y), divided.notes) == (40, ())
    days = pd.DataFrame(
        {"sold": np.sin(np.arange(60.0))}, index=pd.Index(np.arange(60) ** 2, name="day")
    )
    days.to_parquet("days.parquet")
    assert load_task("days.parquet", target="sold", time="day").notes == ()
    assert load_task("t.parquet", target="y", drop="__index_level_0__").notes == ()


def test_marks_among_numbers_are_named() -> None:
    generator = np.random.default_rng(0)
    some = [str(n) for n in generator.integers(0, 30, 150)]
    kinds = ["yes", "no"] * 75
    cells = ["unknown" if n % 5 == 4 else one for n, one in enumerate(some)]
    Path("t.csv").write_text("\n".join(["a,y", *map(",".join, zip(cells, kinds, strict=True))]))
    told = (
        "column 'a' is of categories, because it has 'unknown' among its numbers; leave such cells "
        "empty if it is a quantity"
    )
    assert load_task("t.csv", target="y").notes == (told,)
    cells = ["?" if n % 5 == 4 else str(n / 7) for n in range(150)]
    Path("t.csv").write_text("\n".join(["a,y", *map(",".join, zip(cells, kinds, strict=True))]))
    with pytest.raises(ValueError, match="among its numbers") as caught:
        load_task("t.csv", target="y")
    assert str(caught.value) == (
        "column 'a' has '?' among its numbers; leave cells without a number empty, or drop it: "
        "--drop a, in Python drop='a'"
    )
