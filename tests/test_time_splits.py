"""Tables divided by time: the oldest rows train, the newest test, and nothing of them leaks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rlagent
from rlagent.apply.request import Request
from rlagent.apply.source import load_source
from rlagent.cli import main
from rlagent.experiments.sources import source
from rlagent_envs.tasks import Task, from_arrays, load_task
from rlagent_envs.tasks.splits import divide_oldest_first, part_sizes

DAYS = 50
SMALL = ["--method", "cosine", "--updates", "20", "--decisions", "2", "--rung", "32x1"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def visits() -> pd.DataFrame:
    """One to four rows a day, in no order; `number` is that of the row by its time."""
    generator = np.random.default_rng(3)
    day = np.repeat(np.arange(DAYS), generator.integers(1, 5, DAYS))
    table = pd.DataFrame(
        {
            "date": pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D"),
            "number": np.arange(len(day)) ** 1.5,
            "colour": generator.choice(["red", "green", "blue"], len(day)),
            "size": generator.normal(size=len(day)),
        }
    )
    table["kind"] = np.where(table["size"] + generator.normal(size=len(day)) > 0, "yes", "no")
    return table.sample(frac=1.0, random_state=0, ignore_index=True)


def parts(task: Task) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    assert task.test is not None
    return {"train": task.train, "valid": task.valid, "test": task.test}


def same(a: Task, b: Task) -> bool:
    pairs = zip(parts(a).values(), parts(b).values(), strict=True)
    return all(
        np.array_equal(p, q) for one, other in pairs for p, q in zip(one, other, strict=True)
    )


def by_hand(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Whole days, counted off from the oldest, to where 60 % and 80 % of the rows are nearest."""
    counts = table.groupby("date").size()
    ends = [
        min(range(1, len(counts)), key=lambda days: abs(counts.iloc[:days].sum() - share))
        for share in (round(0.6 * len(table)), round(0.8 * len(table)))
    ]
    first, second = (counts.index[end] for end in ends)
    dates = table["date"]
    return {
        "train": table[dates < first],
        "valid": table[(dates >= first) & (dates < second)],
        "test": table[dates >= second],
    }


@settings(max_examples=80, deadline=None)
@given(
    counts=st.lists(st.integers(1, 6), min_size=3, max_size=25),
    seed=st.integers(0, 9),
    stratified=st.booleans(),
)
def test_no_time_is_in_two_parts_and_parts_are_in_order(
    counts: list[int], seed: int, stratified: bool
) -> None:
    times = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)) * 7, counts))
    target = np.zeros(len(times)) if stratified else np.arange(len(times))
    divided = divide_oldest_first(target, times, stratified=stratified, seed=seed)
    assert sorted(np.concatenate(list(divided.values()))) == list(range(len(times)))
    train, valid, test = (times[divided[part]] for part in ("train", "valid", "test"))
    assert train.max() < valid.min() <= valid.max() < test.min()
    # Neither border could be moved by a time for parts that are nearer to those wanted.
    sizes = part_sizes(len(times), test_given=False) if len(times) > 4 else {}
    for before, wanted in (
        (train, sizes.get("train")),
        (np.concatenate([train, valid]), sizes and sizes["train"] + sizes["valid"]),
    ):
        last, following = (
            (times == before.max()).sum(),
            (times == times[times > before.max()].min()),
        )
        if wanted and len(np.unique(valid)) > 1 and len(np.unique(test)) > 1:
            off = abs(len(before) - wanted)
            assert off <= abs(len(before) - last - wanted) or len(np.unique(before)) == 1
            assert off <= abs(len(before) + following.sum() - wanted)


def test_different_times_give_parts_of_the_usual_sizes() -> None:
    times = np.random.default_rng(1).permutation(53)
    divided = divide_oldest_first(times % 2, times, stratified=True, seed=0)
    assert {name: len(rows) for name, rows in divided.items()} == part_sizes(53, test_given=False)
    # Any prefix of the rows to validate on has the shares of the classes.
    assert 0.4 < (times[divided["valid"][:6]] % 2).mean() < 0.6


@pytest.mark.parametrize("target", ["kind", "size"])
@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d %b %Y", None])
def test_a_table_is_divided_by_its_days_alone(target: str, form: str | None) -> None:
    table, others = visits(), {"kind", "size"} - {target}
    table = table.drop(columns=list(others))
    written = table.copy()
    day = (table["date"] - table["date"].min()).dt.days
    written["date"] = day / 4 if form is None else table["date"].dt.strftime(form)
    written.to_csv("t.csv", index=False)
    task = load_task("t.csv", target=target, split_time="date", seed=7)
    assert task.kind == ("classification" if target == "kind" else "regression")
    # Which rows they are is told by the column `number`, which is standardised by those that train.
    expected = by_hand(table)
    known = expected["train"]["number"]
    for part, (x, y) in parts(task).items():
        rows = expected[part].set_index(
            (expected[part]["number"] - known.mean()) / known.std(ddof=0)
        )
        assert len(x) == len(rows)
        place = np.abs(x[:, :1] - rows.index.to_numpy()[None]).argmin(axis=1)
        assert sorted(place) == list(range(len(rows)))
        np.testing.assert_allclose(x[:, 0], rows.index.to_numpy()[place], atol=1e-5)
        of_part = task.preprocessing.decode_target(y)  # type: ignore[union-attr]
        if target == "kind":
            assert of_part.tolist() == rows["kind"].iloc[place].tolist()
        else:
            np.testing.assert_allclose(of_part, rows["size"].iloc[place], atol=1e-5)
    # The column of times is no input: a number, and a feature for each colour.
    assert task.features == 4
    (note,) = task.notes
    ends = [written.loc[expected[part]["date"].idxmax(), "date"] for part in ("train", "valid")]
    assert note == (
        f"the rows are divided by time: up to {ends[0]} they train, up to {ends[1]} they validate, "
        "later ones test"
    )


def test_what_comes_later_changes_nothing_of_what_trains() -> None:
    table = visits()
    table.to_csv("t.csv", index=False)
    later = table["date"] >= by_hand(table)["valid"]["date"].min()
    table.loc[later, "size"] *= 100.0
    table.loc[later, "colour"] = "violet"
    table.loc[later, "number"] = np.nan
    table.to_csv("other.csv", index=False)
    one, other = (
        load_task(path, target="kind", split_time="date") for path in ("t.csv", "other.csv")
    )
    assert one.preprocessing == other.preprocessing
    for a, b in zip(one.train, other.train, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.valid.x, other.valid.x)


def test_files_frames_arrays_and_experiments_are_divided_alike() -> None:
    table = visits()
    table.to_csv("t.csv", index=False)
    expected = load_task("t.csv", target="kind", split_time="date", seed=2)
    request = Request(target="kind", split_time="date", seed=2)
    of_frame, _ = load_source(table, None, request, {})
    x, y, dates = table.drop(columns=["kind", "date"]), table["kind"], table["date"]
    of_arrays = from_arrays(x, y, times=dates.to_numpy(), seed=2)
    zoned = from_arrays(x, y, times=dates.dt.tz_localize("Europe/Berlin"), seed=2)
    described = {"task": "t.csv", "split_time": "date", "target": "kind"}
    assert same(source(described).load(), load_task("t.csv", target="kind", split_time="date"))
    for task in (of_frame, of_arrays, zoned):
        assert same(task, expected)
    plain = from_arrays(x[["number", "size"]].to_numpy(), y, times=dates.astype(str).tolist())
    assert [len(rows) for rows, _ in parts(plain).values()] == [
        len(rows) for rows, _ in parts(expected).values()
    ]


def test_a_run_says_that_its_rows_are_divided_by_time(capsys: pytest.CaptureFixture[str]) -> None:
    table = visits()
    table.to_csv("t.csv", index=False)
    arguments = ["tune", "t.csv", "--target", "kind", "--split-time", "date", *SMALL]
    assert main([*arguments, "--out", "run"]) == 0
    said = capsys.readouterr()
    summary = json.loads(Path("run/summary.json").read_text())
    note = summary["notes"][0]
    assert note.startswith("the rows are divided by time: up to 2024-0")
    assert note in said.out + said.err
    expected = by_hand(table)
    for part, rows in expected.items():
        assert summary[f"{part}_rows"] == len(rows)
    # New rows have no time yet.
    expected["test"].drop(columns=["date", "kind"]).to_csv("new.csv", index=False)
    assert main(["predict", "run", "new.csv", "--out", "said.csv"]) == 0
    predicted = pd.read_csv("said.csv")["prediction"]
    assert (predicted == expected["test"]["kind"].to_numpy()).mean() == pytest.approx(
        summary["test_score"]
    )


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({}, ["when"], "t.csv has no column 'when' to split by time; it has: date, number, colour"),
        ({}, ["kind"], "column 'kind' cannot be both the target and the column of times"),
        ({}, ["colour"], "column 'colour' has '{colour}', which is not read as a time; give"),
        ({"date": "gap"}, ["date"], "column 'date' has no time in row 2"),
        (
            {"date": "slip"},
            ["date"],
            "column 'date' has 'soon', which is no time like the others, in row 2",
        ),
        (
            {"date": "half"},
            ["date"],
            "the rows are of 2 times, but to divide them by time takes at least 3",
        ),
        (
            {"kind": "late"},
            ["date"],
            "the oldest {train} of {rows} rows, which train, lack the class 'maybe'",
        ),
        ({"kind": "one"}, ["date"], "the target is 'no' in every row"),
        (
            {"kind": "flat"},
            ["date", "--kind", "regression"],
            "the target is 4 in every row to train on",
        ),
        (
            {"split": "split"},
            ["date"],
            "t.csv has a split column, so it cannot be divided by split_time too",
        ),
        (
            {},
            ["date", "--valid", "t.csv"],
            "rows are divided by time into train, valid and test, but the valid part is given",
        ),
        (
            {},
            ["date", "--group", "colour"],
            "group and split_time both say how rows are divided: give one of them",
        ),
        (
            {},
            ["date", "--folds", "3"],
            "folds would validate on rows older than those trained on: give split_time or folds",
        ),
        ({}, ["date", "--time", "date"], "split_time is for tables, but t is a time series"),
        (
            {},
            ["date", "--user", "colour", "--item", "number"],
            "split_time is for tables, but t.csv holds ratings",
        ),
    ],
)
def test_what_cannot_be_divided_by_time_is_one_sentence(
    changed: dict[str, str],
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = visits()
    train = by_hand(table)["train"]
    facts = {"train": len(train), "rows": len(table), "colour": table["colour"].iloc[0]}
    oldest = table["date"] <= train["date"].max()
    dates = table["date"].astype(str)
    middle = table["date"] < table["date"].median()
    columns: dict[str, Any] = {
        "gap": dates.where(table.index != 1),
        "slip": dates.where(table.index != 1, "soon"),
        "half": np.where(middle, "2024-01-01", "2024-02-01"),
        "late": table["kind"].where(oldest, "maybe"),
        "one": "no",
        "flat": np.where(oldest, 4, table.index),
        "split": np.where(oldest, "train", "test"),
    }
    table = table.assign(**{name: columns[what] for name, what in changed.items()})
    table.to_csv("t.csv", index=False)
    assert main(["tune", "t.csv", "--target", "kind", *SMALL, "--split-time", *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"rlagent: {message.format(**facts)}")
    assert said.count("\n") == 1
    assert not Path("runs").exists()


def test_a_task_remembers_that_its_rows_were_divided() -> None:
    """Folds are refused for one that was made before, as they are for the option."""
    table = visits()
    x, y, times = table[["number", "size"]].to_numpy(), table["kind"], table["date"]
    table.to_csv("t.csv", index=False)
    few: dict[str, Any] = {"method": "constant", "rung": "32x1", "updates": 8, "decisions": 1}
    for task in (
        from_arrays(x, y, times=times),
        load_task("t.csv", target="kind", split_time="date"),
        replace(from_arrays(x, y, times=times), batch_size=16),
    ):
        with pytest.raises(
            ValueError, match=rf"^folds has no meaning for {task.name}, whose rows "
        ):
            rlagent.tune(task, folds=3, **few)
    days = times.dt.day_of_year.to_numpy()
    with pytest.raises(
        ValueError, match=r"whose rows are divided by groups: folds cannot keep the"
    ):
        rlagent.tune(from_arrays(x, y, groups=days), folds=3, **few)
    beside = from_arrays(x[40:], y[40:], groups=days[40:], x_valid=x[:40], y_valid=y[:40])
    with pytest.raises(ValueError, match=r"whose rows are divided by groups"):
        rlagent.tune(beside, folds=3, **few)
    assert not Path("runs").exists()
    folded = rlagent.tune(from_arrays(x, y), folds=3, **few, out="run")
    assert folded.summary["cross_validation"]["folds"] == 3
    # An ensemble keeps the parts as they are.
    task = from_arrays(x, y, times=times)
    bagged = rlagent.tune(task, ensemble="bagging", members=2, **few, out="bagged")
    assert bagged.summary["valid_rows"] == len(task.valid.y)


def test_times_in_memory_that_make_no_sense_are_one_sentence() -> None:
    table = visits()
    x, y, times = table[["number", "size"]].to_numpy(), table["kind"], table["date"]
    with pytest.raises(ValueError, match=r"^split_time 'date' names a column, but x is not a Data"):
        rlagent.tune(x, y, split_time="date", method="constant")
    with pytest.raises(ValueError, match=r"^split_time is not for a Task$"):
        rlagent.tune(from_arrays(x, y), split_time="date", method="constant")
    with pytest.raises(ValueError, match=r"^groups and times both say how rows are divided: give"):
        from_arrays(x, y, times=times, groups=y)
    with pytest.raises(ValueError, match=rf"^x has {len(x)} rows but times has {len(x) - 1}$"):
        from_arrays(x, y, times=times[1:])
    with pytest.raises(
        ValueError, match=r"^rows are divided by time into .*, but the test part is"
    ):
        from_arrays(x, y, times=times, x_test=x, y_test=y)
