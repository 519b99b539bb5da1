"""Columns that are left out: those that people name, and those without a name or a value."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import rlagent
from rlagent.apply.request import Request
from rlagent.apply.source import load_source
from rlagent.cli import main
from rlagent.experiments.sources import source
from rlagent_envs.tasks import Task, from_arrays, load_task
from rlagent_envs.tasks.csv_tables import csv_header
from rlagent_envs.tasks.files import read_features

ROWS = 40
SMALL = ["--method", "cosine", "--updates", "8", "--decisions", "1", "--rung", "32x1"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plants() -> pd.DataFrame:
    """Two columns that say something, two that say nothing, the group and the class."""
    generator = np.random.default_rng(0)
    size = generator.normal(size=ROWS)
    return pd.DataFrame(
        {
            "code": [f"plant {n}x" for n in range(ROWS)],
            "size": size,
            "colour": generator.choice(["red", "blue"], ROWS),
            "noise, of all": generator.normal(size=ROWS),
            "field": np.arange(ROWS) % 8,
            "kind": np.where(size > 0, "yes", "no"),
        }
    )


WITHOUT = ["size", "colour", "field", "kind"]
DROPPED = ["code", "noise, of all"]


def write(table: pd.DataFrame, path: str) -> str:
    if path.endswith(".csv"):
        table.to_csv(path, index=False)
    elif path.endswith(".tsv"):
        table.to_csv(path, index=False, sep="\t")
    elif path.endswith(".parquet"):
        table.to_parquet(path, index=False)
    else:
        table.to_json(path, orient="records", lines=True)
    return path


def assert_same(found: Task, expected: Task) -> None:
    for one, other in ((found.train, expected.train), (found.valid, expected.valid)):
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.y, other.y)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_columns_are_left_out_of_files_of_every_form(suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    whole = write(plants(), f"whole{suffix}")
    less = write(plants()[WITHOUT], f"less{suffix}")
    expected = load_task(less, target="kind", group="field")
    assert_same(load_task(whole, target="kind", group="field", drop=DROPPED), expected)
    # A file to validate on may have the columns or lack them.
    for valid in (whole, less):
        found = load_task(whole, target="kind", drop=DROPPED, valid=valid)
        assert_same(found, load_task(less, target="kind", valid=less))


def test_columns_are_left_out_of_a_dataframe_and_by_an_experiment() -> None:
    whole, less = plants(), plants()[WITHOUT]
    request = Request(target="kind", drop=DROPPED)
    expected, _ = load_source(less, None, replace(request, drop=None), {})
    assert_same(load_source(whole, None, request, {})[0], expected)
    assert_same(
        load_source(whole, None, request, {"valid": less})[0],
        load_source(less, None, replace(request, drop=None), {"valid": less})[0],
    )
    write(whole, "t.csv")
    described = {"task": "t.csv", "target": "kind", "drop": DROPPED}
    assert_same(source(described).load(), load_task("t.csv", target="kind", drop=DROPPED))


def test_a_series_is_forecast_without_columns_and_without_empty_ones() -> None:
    table = pd.DataFrame(
        {"day": np.arange(60), "sold": np.sin(np.arange(60.0)), "x": 1.5 * np.arange(60)}
    )
    expected = load_task(write(table[["day", "sold"]], "less.csv"), target="sold", time="day")
    table["none"] = np.nan
    found = load_task(write(table, "t.csv"), target="sold", time="day", drop="x")
    assert_same(found, expected)
    assert "column 'none' is left out: empty in every row" in found.notes
    with pytest.raises(ValueError, match=r"^column 'day' is the column of times, so it cannot be"):
        load_task("t.csv", target="sold", time="day", drop="day")


def test_a_run_without_a_column_predicts_with_and_without_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = plants().rename(columns={"noise, of all": "noise"})
    write(table, "t.csv")
    write(table.drop(columns=["code", "noise"]), "less.csv")
    arguments = ["tune", "t.csv", "--target", "kind", "--drop", "code, noise", *SMALL]
    assert main([*arguments, "--out", "run", "--json"]) == 0
    assert json.loads(Path("run/run.json").read_text())["request"]["drop"] == ["code", "noise"]
    capsys.readouterr()
    assert main(["predict", "run", "t.csv"]) == 0
    first = capsys.readouterr().out
    assert main(["predict", "run", "less.csv"]) == 0
    assert capsys.readouterr().out == first
    assert len(first.splitlines()) == ROWS + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"drop": "sort"},
            "t.csv has no column 'sort' to drop; it has: "
            "code, size, colour, noise, of all, field, kind",
        ),
        ({"drop": ["size", "kind"]}, "column 'kind' is the target, so it cannot be dropped"),
        (
            {"drop": "field", "group": "field"},
            "column 'field' is the group column, so it cannot be dropped",
        ),
        (
            {"drop": "size", "split_time": "size"},
            "column 'size' is the column of times, so it cannot be dropped",
        ),
        ({"drop": []}, "drop must name one or several columns, got none"),
        ({"drop": ["size", ""]}, "drop must name one or several columns, got ''"),
    ],
)
def test_what_cannot_be_dropped_is_named(options: dict[str, Any], message: str) -> None:
    write(plants(), "t.csv")
    with pytest.raises(ValueError, match="drop") as caught:
        load_task("t.csv", target="kind", **options)
    assert str(caught.value) == message
    with pytest.raises(ValueError, match="drop") as caught:
        load_source(plants(), None, Request(target="kind", **options), {})
    assert str(caught.value) == message.replace("t.csv", "x")


def test_drop_is_refused_for_data_that_is_no_table() -> None:
    x, y = np.zeros((20, 3)), np.arange(20) % 2
    np.savez("t.npz", x=x, y=y)
    with pytest.raises(ValueError, match=r"^drop is for tables, but t\.npz is a \.npz file$"):
        load_task("t.npz", drop="a")
    with pytest.raises(ValueError, match=r"^drop is for tables, but iris is a bundled task$"):
        load_task("iris", drop="a")
    with pytest.raises(ValueError, match=r"^drop names columns, but x is not a DataFrame$"):
        rlagent.tune(x, y, drop="a", method="constant")
    with pytest.raises(ValueError, match=r"^drop is not for a Task$"):
        rlagent.tune(load_task("iris"), drop="a", method="constant")


def test_columns_without_a_name_are_left_out_with_a_note() -> None:
    table = plants()[WITHOUT]
    expected = load_task(write(table, "less.csv"), target="kind")
    table.to_csv("t.csv")  # with its index, in a column without a name
    found = load_task("t.csv", target="kind")
    assert_same(found, expected)
    assert "column 1 is left out: without a name" in found.notes
    assert csv_header(Path("t.csv")) == WITHOUT
    lines = Path("t.csv").read_text().splitlines()
    Path("t.csv").write_text("".join(line + ",\n" for line in lines))
    found = load_task("t.csv", target="kind")
    assert_same(found, expected)
    assert "columns 1, 6 are left out: without a name" in found.notes
    assert expected.preprocessing is not None
    inputs = read_features("t.csv", expected.preprocessing)
    again = read_features("less.csv", expected.preprocessing)
    pd.testing.assert_frame_equal(inputs, again)
    Path("t.csv").write_text(",a,y\n0,1,2\n1,2,3,4\n")
    with pytest.raises(ValueError, match="Expected 3 fields in line 3, saw 4"):
        load_task("t.csv", target="y")


def test_columns_that_are_empty_in_every_row_are_left_out_with_a_note() -> None:
    table = plants()[WITHOUT]
    expected = from_arrays(table[WITHOUT[:3]], table["kind"])
    table["nothing"] = ""
    found = load_task(write(table, "t.csv"), target="kind")
    assert_same(found, expected)
    assert found.notes == ("column 'nothing' is left out: empty in every row",)
    x = table[WITHOUT[:3]].assign(nothing=None, nan=np.nan)
    found = from_arrays(x, table["kind"])
    assert_same(found, expected)
    assert found.notes == ("columns 'nothing', 'nan' are left out: empty in every row",)
    # One that has values where it validates is no such column.
    told = r"^column 'nan' has no values in the training rows, so drop it: --drop nan, in Python "
    with pytest.raises(ValueError, match=told):
        from_arrays(x, table["kind"], x_valid=x.assign(nan=1.0), y_valid=table["kind"])
