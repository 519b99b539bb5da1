"""Parts in files or folders of their own: asked for by `valid` and `test`, or known by names."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import rlagent
from rlagent.cli import main
from rlagent_envs.tasks import Task, load_task

SIZES = {"train": 30, "valid": 8, "test": 6}
PARTS = tuple(SIZES)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "")


def table(part: str) -> pd.DataFrame:
    """A column of numbers, of categories and of groups, and two classes."""
    rows = np.arange(SIZES[part])
    groups = [f"{part}{row % 6}" for row in rows]
    return pd.DataFrame(
        {"a": rows + 0.5, "b": list("uvw" * 10)[: len(rows)], "who": groups, "y": rows % 2}
    )


def write_tables(*parts: str, suffix: str = ".csv", folder: str = ".") -> None:
    Path(folder).mkdir(exist_ok=True)
    for part in parts:
        table(part).to_csv(Path(folder, part + suffix), index=False)


def rows(task: Task) -> list[int]:
    """How many there are to train, validate and test on."""
    return [len(one.y) for one in (task.train, task.valid, task.test) if one is not None]


def same(a: Task, b: Task) -> bool:
    pairs = [(a.train, b.train), (a.valid, b.valid), (a.test, b.test)]
    return all(
        (p is q is None) or np.array_equal(getattr(p, name), getattr(q, name))
        for p, q in pairs
        for name in ("x", "y")
    )


def sentence(path: str | Path, **options: Any) -> str:
    """What is said of data that cannot be used."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        load_task(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_arrays(suffix: str) -> None:
    for part, size in SIZES.items():
        x, y = np.random.default_rng(0).standard_normal((size, 4)), np.arange(size) % 2
        np.savez(f"{part}.npz", x=x, y=y)


def write_series(suffix: str) -> None:
    for part, size in SIZES.items():
        lines = [f"{row % 2}\t" + "\t".join(["0.5", "1.5"] * 6) for row in range(size)]
        Path(f"{part}{suffix}").write_text("\n".join(lines))


def write_ratings(suffix: str) -> None:
    for part, size in SIZES.items():
        lines = [f"{row % 5}\t{row % 3}\t{row % 4 + 1}\t{row}" for row in range(size)]
        Path(f"{part}{suffix}").write_text("\n".join(lines))


def write_images(suffix: str) -> None:
    for part, size in SIZES.items():
        for row in range(size):
            path = Path(part, ("cat", "dog")[row % 2], f"{row}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), row, np.uint8)).save(path)


def write_csv(suffix: str) -> None:
    write_tables(*PARTS)


OF_TABLES: dict[str, Any] = {"target": "y", "drop": "who"}
FORMS: list[tuple[Any, str, dict[str, Any]]] = [
    (write_csv, ".csv", OF_TABLES),
    (write_arrays, ".npz", {}),
    (write_series, ".tsv", {}),
    (write_ratings, ".data", {}),
    (write_images, "", {}),
]


@pytest.mark.parametrize(("write", "suffix", "options"), FORMS)
def test_each_form_takes_rows_to_validate_and_to_test_on(
    write: Any, suffix: str, options: dict[str, Any]
) -> None:
    write(suffix)
    paths = {part: f"{part}{suffix}" for part in PARTS}
    task = load_task(paths["train"], valid=paths["valid"], test=paths["test"], **options)
    assert rows(task) == list(SIZES.values())
    alone = load_task(paths["train"], test=paths["test"], **options)
    divided = rows(alone)
    assert sum(divided[:2]) == SIZES["train"]
    assert 4 <= divided[1] <= 8
    assert divided[2] == SIZES["test"]
    assert alone.test is not None
    assert task.test is not None
    ours, theirs = (np.argsort(one.y, kind="stable") for one in (alone.test, task.test))
    assert np.array_equal(ours, theirs)  # values are standardised by the rows that train
    assert rows(load_task(paths["train"], valid=paths["valid"], **options)) == [30, 8]


def test_texts_take_other_texts() -> None:
    for part, letter in zip(PARTS, "abc", strict=True):
        Path(f"{part}.txt").write_text(f"abc{letter} " * 500)
    whole = rows(load_task("train.txt", valid="valid.txt", test="test.txt"))
    assert whole[0] > whole[1] == whole[2]
    ours = load_task("train.txt", test="test.txt")
    assert ours.test is not None
    assert rows(ours)[2] == whole[2]
    assert rows(ours)[1] == round(500 * 5 * 0.05 - 1) // 64
    write_tables("train", "valid", "test")
    assert sentence("train.txt", test="test.csv") == (
        "test.csv must be a .txt file, as the training data"
    )


def test_a_test_file_is_what_a_split_column_would_say() -> None:
    write_tables(*PARTS)
    told = pd.concat([table(part).assign(split=part) for part in PARTS])
    told.to_csv("told.csv", index=False)
    task = load_task("train.csv", valid="valid.csv", test="test.csv", **OF_TABLES)
    assert same(task, load_task("told.csv", **OF_TABLES))


# Files that are called as parts


@pytest.mark.parametrize(
    "names",
    [
        ("train", "valid", "test"),
        ("train", "dev", "test"),
        ("Train", "Val", "Test"),
        ("mnist_train", "mnist_validation", "mnist_test"),
        ("train-00000-of-00001", "validation-00000-of-00001", "test-00000-of-00001"),
        ("ptb.train", "ptb.valid", "ptb.test"),
    ],
)
def test_files_in_a_folder_are_the_parts(names: tuple[str, str, str]) -> None:
    write_tables(*PARTS)
    Path("data").mkdir()
    for part, name in zip(PARTS, names, strict=True):
        Path(f"{part}.csv").rename(f"data/{name}.csv")
    task = load_task("data", **OF_TABLES)
    assert rows(task) == list(SIZES.values())
    assert task.name == "data"
    with zipfile.ZipFile("packed.zip", "w") as archive:
        for path in Path("data").iterdir():
            archive.write(path, path.name)
    packed = load_task("packed.zip", **OF_TABLES)
    assert same(packed, task)
    assert packed.name == "packed"


def test_texts_in_a_folder_are_the_parts() -> None:
    Path("ptb").mkdir()
    for part in PARTS:
        Path("ptb", f"ptb.{part}.txt").write_text("the cat sat " * 100)
    task = load_task("ptb")
    assert rows(task)[1:] == [18, 18]
    assert task.name == "ptb"


def test_texts_beside_a_table_are_not_the_data() -> None:
    write_tables("train", folder="data")
    Path("data/train.csv").rename("data/plants.csv")
    for part in ("train", "test"):
        Path("data", f"{part}.txt").write_text("1\n2\n")
    assert same(load_task("data", **OF_TABLES), load_task("data/plants.csv", **OF_TABLES))


def test_rows_to_predict_for_are_not_tested_on() -> None:
    write_tables("train", folder="titanic")
    table("test").drop(columns="y").to_csv("titanic/test.csv", index=False)
    Path("titanic/gender_submission.csv").write_text("who,y\nx,1\n")
    task = load_task("titanic", **OF_TABLES)
    assert same(task, load_task("titanic/train.csv", **OF_TABLES))
    assert task.notes[-2:] == (
        "read are test.csv, train.csv alone",
        "test.csv has no column 'y', so it is not tested on; rlagent predict takes it",
    )
    assert "lacks the column 'y'" in sentence(
        "titanic/train.csv", test="titanic/test.csv", target="y"
    )


def test_files_that_could_be_several_sets_are_named() -> None:
    write_tables("train", "test", folder="two")
    for name in ("train", "test"):
        Path("two", f"{name}.csv").rename(f"two/{name}_x.csv")
    write_tables("train", "test", folder="two")
    assert sentence("two", target="y").startswith("two holds several files of data; give one")
    write_tables("train", folder="one")
    Path("one/other.csv").write_text("a,y\n1,2\n")
    assert sentence("one", target="y").startswith("one holds several files of data; give one")


# In memory, and by the command


def test_arrays_and_frames_take_test_rows() -> None:
    x, y = np.random.default_rng(0).standard_normal((40, 3)), np.arange(40) % 2
    options: dict[str, Any] = {"method": "constant", "updates": 20, "decisions": 2}
    result = rlagent.tune(x, y, test=(x[:7], y[:7]), **options)
    assert [result.summary[f"{part}_rows"] for part in PARTS] == [32, 8, 7]
    frame = table("train").drop(columns="who")
    other = table("test").drop(columns="who")
    result = rlagent.tune(frame, target="y", valid=other, test=other, **options)
    assert [result.summary[f"{part}_rows"] for part in PARTS] == [30, 6, 6]
    assert result.summary["test_loss"] == pytest.approx(result.summary["valid_loss"], rel=1e-5)
    with pytest.raises(ValueError, match=r"^test must be a file or a pair \(x, y\)$"):
        rlagent.tune(x, y, test=3, **options)
    with pytest.raises(ValueError, match=r"^data in memory for y and test goes with x"):
        rlagent.tune("iris", y, test=(x, y), **options)


def test_groups_are_in_one_part_only() -> None:
    frames = {part: table(part) for part in PARTS}
    options: dict[str, Any] = {"target": "y", "group": "who", "updates": 20, "decisions": 2}
    options |= {"method": "constant", "valid": frames["valid"]}
    shared = frames["test"].assign(who="valid0")
    with pytest.raises(ValueError, match=r"^the group 'valid0' of 'who' is in valid and test$"):
        rlagent.tune(frames["train"], test=shared, **options)
    result = rlagent.tune(frames["train"], test=frames["test"], **options)
    assert result.summary["test_rows"] == 6
    write_tables(*PARTS)
    shared.to_csv("test.csv", index=False)
    said = sentence("train.csv", target="y", group="who", valid="valid.csv", test="test.csv")
    assert said == "the group 'valid0' of 'who' is in valid and test"


def test_the_command_judges_by_a_test_file(capsys: pytest.CaptureFixture[str]) -> None:
    write_tables(*PARTS)
    options = ["--target", "y", "--drop", "who", "--method", "constant", "--updates", "20"]
    command = ["tune", "train.csv", *options, "--test", "test.csv", "--out", "run", "--json"]
    assert main(command) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [summary[f"{part}_rows"] for part in PARTS] == [24, 6, 6]
    request = json.loads(Path("run/run.json").read_text())["request"]
    assert request["test"] == str(Path("test.csv").resolve())


# What makes no sense


def test_a_part_that_is_told_twice_is_named() -> None:
    write_tables(*PARTS)
    write_tables(*PARTS, folder="data")
    table("train").assign(split="train").to_csv("told.csv", index=False)
    pd.concat([table(part).assign(split=part) for part in PARTS]).to_csv("all.csv", index=False)
    assert sentence("all.csv", target="y", test="test.csv") == (
        "all.csv has test rows already, so test.csv cannot be used too"
    )
    assert sentence("data", target="y", test="test.csv") == (
        "data has test rows in test.csv, so test.csv cannot be used too"
    )
    assert sentence("iris", test="test.csv") == "test is for files, but iris is a bundled task"
    assert sentence("train.csv", target="y", test="no.csv") == "there is no file no.csv"
    said = sentence("train.csv", target="y", split_time="a", test="test.csv")
    assert said == (
        "rows are divided by time into train, valid and test, but the test part is given already"
    )
