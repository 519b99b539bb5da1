"""People's own tables and arrays, in the forms they have them, and data sets to download."""

from __future__ import annotations

import io
import json
import sys
import types
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlagent.apply.source import fingerprint
from rlagent.cli import main
from rlagent_envs.tasks import Task, from_arrays, load_file, load_task, read_features
from rlagent_envs.tasks.cache import cache_folder
from rlagent_envs.tasks.csv_tables import read_csv_table
from rlagent_envs.tasks.splits import divide_groups
from rlagent_envs.tasks.tables import READERS, read_table

ROWS = 80
SMALL = ["--method", "cosine", "--updates", "60", "--decisions", "6", "--rung", "32x1"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "")


def made_table() -> pd.DataFrame:
    """Numbers, whole and not, categories, and gaps in both."""
    generator = np.random.default_rng(5)
    size = generator.normal(size=ROWS).round(4)
    size[::9] = np.nan
    colour = generator.choice(np.array(["red", "green", "blue"], object), ROWS)
    colour[::7] = None
    count = generator.integers(0, 40, ROWS)
    kind = np.where(np.nan_to_num(size) + count / 20 > 1, "yes", "no")
    return pd.DataFrame({"size": size, "count": count, "colour": colour, "kind": kind})


def write(table: pd.DataFrame, path: str) -> str:
    """The same table in any of the forms."""
    suffix = Path(path).suffix
    if suffix == ".parquet":
        table.to_parquet(path, index=False)
    elif suffix == ".json":
        table.to_json(path, orient="records")
    elif suffix in (".jsonl", ".ndjson"):
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    return path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on the table."""
    folder = tmp_path_factory.mktemp("tuned")
    path = write(made_table(), str(folder / "train.csv"))
    out = str(folder / "run")
    assert main(["tune", path, "--target", "kind", *SMALL, "--out", out, "--quiet"]) == 0
    return folder / "run"


def message_of(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def parts(task: Task) -> list[np.ndarray]:
    assert task.test is not None
    return [array for split in (task.train, task.valid, task.test) for array in split]


def same(a: Task, b: Task) -> bool:
    return all(np.array_equal(p, q) for p, q in zip(parts(a), parts(b), strict=True))


def sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a failing command says: one line, status 2, and nothing is left behind."""
    before = sorted(Path().rglob("*"))
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    return err.removeprefix("rlagent: ").rstrip("\n")


# Tables


@pytest.mark.parametrize("suffix", sorted(READERS))
def test_a_table_makes_the_same_task_in_any_form(suffix: str) -> None:
    expected = load_file(write(made_table(), "csv.csv"), target="kind")
    task = load_file(write(made_table(), f"table{suffix}"), target="kind")
    assert same(task, expected)
    assert task.preprocessing == expected.preprocessing
    assert task.name == "table"


@pytest.mark.parametrize("suffix", sorted(READERS))
def test_split_column_second_file_and_group_work_in_any_form(suffix: str) -> None:
    table = made_table()
    told = np.array(["train", "train", "train", "val", "test"])[np.arange(ROWS) % 5]
    path = write(table.assign(part=told), f"parts{suffix}")
    task = load_file(path, target="kind", split_column="part")
    assert [len(one) for one in parts(task)[1::2]] == [48, 16, 16]
    whole = load_file(
        write(table, f"a{suffix}"), target="kind", valid=write(table[:30], f"b{suffix}")
    )
    assert (len(whole.train.y), len(whole.valid.y), whole.test) == (ROWS, 30, None)
    grouped = load_file(
        write(table.assign(owner=np.arange(ROWS) // 4), f"c{suffix}"), target="kind", group="owner"
    )
    assert grouped.features == task.features
    assert sum(len(one) for one in parts(grouped)[1::2]) == ROWS


@pytest.mark.parametrize("suffix", sorted(READERS))
def test_predict_reads_and_writes_any_form(
    suffix: str, tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tuned)
    write(made_table().drop(columns="kind"), "new.csv")
    assert main(["predict", run, "new.csv", "--out", "expected.csv"]) == 0
    write(made_table()[["colour", "count", "size"]], f"new{suffix}")
    out = "out.jsonl" if suffix == ".json" else f"out{suffix}"
    assert main(["predict", run, f"new{suffix}", "--out", out]) == 0
    expected, found = pd.read_csv("expected.csv"), read_table(Path(out)).reset_index(drop=True)
    assert list(found.columns) == ["prediction", "probability_no", "probability_yes"]
    assert found["prediction"].tolist() == expected["prediction"].tolist()
    for column in ("probability_no", "probability_yes"):
        np.testing.assert_allclose(found[column], expected[column], atol=1e-5)
    capsys.readouterr()
    said = sentence(["predict", run, "new.csv", "--out", "out.xls"], capsys)
    assert said == (
        "predictions go into .csv, .tsv, .parquet, .jsonl, .ndjson files, got out.xls"
    )


@settings(max_examples=40, deadline=None)
@given(
    columns=st.lists(
        st.lists(
            st.sampled_from(
                ["", "1", "02", "-3", "4.5", "1e3", " 7", "True", "false", "x", "NA", "0x1", "9" * 20]
            ),
            min_size=12,
            max_size=12,
        ),
        min_size=2,
        max_size=4,
    )
)
def test_csv_columns_are_numbers_where_all_cells_are_else_the_texts_as_they_stand(
    columns: list[list[str]],
) -> None:
    header = ",".join(f"c{place}" for place in range(len(columns)))
    lines = [",".join(cells) for cells in zip(*columns, strict=True)]
    Path("t.csv").write_text("\n".join([header, *lines, ",".join("1" for _ in columns)]) + "\n")
    table = read_csv_table(Path("t.csv"))
    for place, cells in enumerate(columns):
        column = table[f"c{place}"]
        given_texts = [cell.strip() for cell in [*cells, "1"] if cell not in ("", "NA")]
        numbers = pd.to_numeric(pd.Series(given_texts, dtype=object), errors="coerce")
        if numbers.isna().any():
            assert column.dropna().tolist() == given_texts
        else:
            known = pd.to_numeric(column.dropna()).astype(float)
            np.testing.assert_allclose(known, numbers.astype(float))
        missing = [cell in ("", "NA") for cell in [*cells, "1"]]
        assert column.isna().tolist() == missing


def test_texts_late_in_a_long_column_of_numbers_make_all_of_it_texts() -> None:
    rows = 400_000  # more than pandas looks at in one piece
    codes = np.array([f"{number:03d}" for number in range(40)])[np.arange(rows) % 40]
    codes[-rows // 4 :] = "x1"
    pd.DataFrame({"code": codes, "y": np.arange(rows) % 2}).to_csv("t.csv", index=False)
    assert read_csv_table(Path("t.csv"))["code"].tolist() == codes.tolist()


def test_codes_that_were_categories_stay_texts_in_other_files() -> None:
    codes = ["01", "x2", "03", "x4"] * 20
    table = pd.DataFrame({"code": codes, "size": np.arange(80.0), "y": np.arange(80) % 2})
    write(table, "t.csv")
    write(table[table["code"].str.isdigit()], "digits.csv")
    task = load_file("t.csv", target="y")
    assert task.preprocessing is not None
    made = task.preprocessing.transform(read_features("digits.csv", task.preprocessing))
    np.testing.assert_array_equal(made[:, :4].sum(axis=1), 1)  # each is a category of training
    whole = load_file("t.csv", target="y", valid="digits.csv")
    np.testing.assert_array_equal(whole.valid.x[:, :4].sum(axis=1), 1)


def test_parquet_keeps_its_types() -> None:
    table = pa.table(
        {
            "zip": pa.array(["01", "02", "10", "11"] * 20),  # texts, though they look like numbers
            "paid": pa.array([True, False, None, True] * 20),
            "price": pa.array([Decimal("1.50"), Decimal("2.00"), Decimal("9.99"), None] * 20),
            "size": pa.array(np.arange(80) % 7, pa.int16()),
            "town": pa.array(["Ulm", "Bonn"] * 40).dictionary_encode(),
            "y": pa.array([True, False] * 40),
        }
    )
    pa.parquet.write_table(table, "t.parquet")
    task = load_file("t.parquet", target="y")
    assert task.preprocessing is not None
    columns = task.preprocessing.to_json()["inputs"]["columns"]
    assert {one["name"]: one["kind"] for one in columns} == {
        "zip": "category",
        "paid": "category",
        "price": "numeric",
        "size": "numeric",
        "town": "category",
    }
    assert task.preprocessing.classes == (False, True)


def table_errors() -> list[tuple[str, Callable[[], object], str]]:
    """A file's name, what makes it, and the error, in which FILE is the name."""

    def lines(name: str, *texts: str) -> Callable[[], object]:
        return lambda: Path(name).write_text("\n".join(texts) + "\n")

    good = '{"a": 1, "y": 0}'
    date = pd.DataFrame({"a": pd.date_range("2020", periods=30), "y": [0, 1] * 15})
    nested = pa.table({"a": [[1, 2], [3]] * 9, "y": [0, 1] * 9})
    return [
        ("t.parquet", lines("t.parquet", "x"), "FILE is not a readable .parquet file, it may be damaged"),
        (
            "t.parquet",
            lambda: pa.parquet.write_table(nested, "t.parquet"),
            "the column 'a' of FILE is nested, of type list<element: int64>; give columns of "
            "numbers, texts or booleans",
        ),
        (
            "t.parquet",
            lambda: date.to_parquet("t.parquet"),
            "column 'a' is of type datetime64[us]; give numbers, texts or booleans",
        ),
        ("t.jsonl", lines("t.jsonl", good, "{"), "line 2 of FILE is not JSON"),
        ("t.jsonl", lines("t.jsonl", good, "[1]"), "line 2 of FILE is no JSON object with a value for each column"),
        (
            "t.jsonl",
            lines("t.jsonl", good, good, '{"a": {"b": 1}, "y": 1}'),
            "the key 'a' in line 3 of FILE is nested; give numbers, texts or booleans",
        ),
        (
            "t.json",
            lines("t.json", f'[{good}, {{"a": [1], "y": 1}}]'),
            "the key 'a' in record 2 of FILE is nested; give numbers, texts or booleans",
        ),
        (
            "t.jsonl",
            lines("t.jsonl", good, '{"y": 0}', '{"a": "x", "y": 1}'),
            "the key 'a' of FILE has a number in record 1 but a text in record 3",
        ),
        ("t.jsonl", lines("t.jsonl", ""), "FILE has no rows"),
        ("t.jsonl", lines("t.jsonl", '{"a": 1}'), "FILE has no column 'y' for the target; it has: a"),
        ("t.tsv", lines("t.tsv", "a,y", "1,2"), "FILE has no column 'y' for the target; it has: a,y"),
        (
            "t.csv",
            lines("t.csv", "a,y", *(f"{n},label {n}" for n in range(50))),
            "regression needs a target of numbers, got 'label 0'",
        ),
    ]


@pytest.mark.parametrize(("name", "make", "message"), table_errors())
def test_tables_that_cannot_be_used_are_named(
    name: str, make: Callable[[], object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    kind = ["--kind", "regression"] if "regression" in message else []
    said = sentence(["tune", name, "--target", "y", *SMALL, *kind], capsys)
    assert said == message.replace("FILE", name)


def test_mixed_types_in_a_column_are_named() -> None:
    table = made_table().assign(mixed=[1, "x"] * (ROWS // 2))
    message = message_of(from_arrays, table.drop(columns="kind"), table["kind"])
    assert message == (
        "column 'mixed' holds values of the type int and str; it must hold numbers, texts or "
        "booleans, one of them alone"
    )


@pytest.mark.parametrize("what", ["read", "write"])
def test_parquet_without_pyarrow_names_what_to_install(
    what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(made_table(), "t.parquet")
    write(made_table(), "t.csv")
    for name in [one for one in sys.modules if one.split(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    if what == "read":
        said = sentence(["tune", "t.parquet", "--target", "kind"], capsys)
        assert said == "reading t.parquet needs pyarrow: pip install 'rlagent[formats]'"
        return
    said = sentence(["predict", "run", "t.csv", "--out", "out.parquet"], capsys)
    assert said == "writing .parquet needs pyarrow: pip install 'rlagent[formats]'"
