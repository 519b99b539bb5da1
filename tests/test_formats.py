"""People's own tables and arrays, in the forms they have them, and data sets to download."""

from __future__ import annotations

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

import rlagent
from rlagent.apply.predicting import written
from rlagent.apply.request import Request
from rlagent.apply.source import fingerprint, load_source
from rlagent.cli import main
from rlagent.experiments.sources import guess_target, source
from rlagent_envs.tasks import Task, from_arrays, load_task, read_features
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
    expected = load_task(write(made_table(), "csv.csv"), target="kind")
    task = load_task(write(made_table(), f"table{suffix}"), target="kind")
    assert same(task, expected)
    assert task.preprocessing == expected.preprocessing
    assert task.name == "table"


@pytest.mark.parametrize("suffix", sorted(READERS))
def test_split_column_second_file_and_group_work_in_any_form(suffix: str) -> None:
    table = made_table()
    told = np.array(["train", "train", "train", "val", "test"])[np.arange(ROWS) % 5]
    path = write(table.assign(part=told), f"parts{suffix}")
    task = load_task(path, target="kind", split_column="part")
    assert [len(one) for one in parts(task)[1::2]] == [48, 16, 16]
    whole = load_task(
        write(table, f"a{suffix}"), target="kind", valid=write(table[:30], f"b{suffix}")
    )
    assert (len(whole.train.y), len(whole.valid.y), whole.test) == (ROWS, 30, None)
    grouped = load_task(
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
    assert said == ("predictions go into .csv, .tsv, .parquet, .jsonl, .ndjson files, got out.xls")


@settings(max_examples=40, deadline=None)
@given(
    columns=st.lists(
        st.lists(
            st.sampled_from(
                [
                    "",
                    "1",
                    "02",
                    "-3",
                    "4.5",
                    "1e3",
                    " 7",
                    "True",
                    "false",
                    "x",
                    "NA",
                    "0x1",
                    "9" * 20,
                ]
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
    task = load_task("t.csv", target="y")
    assert task.preprocessing is not None
    made = task.preprocessing.transform(read_features("digits.csv", task.preprocessing))
    np.testing.assert_array_equal(made[:, :4].sum(axis=1), 1)  # each is a category of training
    whole = load_task("t.csv", target="y", valid="digits.csv")
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
    task = load_task("t.parquet", target="y")
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
        (
            "t.parquet",
            lines("t.parquet", "x"),
            "FILE is not a readable .parquet file, it may be damaged",
        ),
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
        (
            "t.jsonl",
            lines("t.jsonl", good, "[1]"),
            "line 2 of FILE is no JSON object with a value for each column",
        ),
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
            "t.json",
            lines("t.json", '{\n"images": [],', '"annotations": [], "categories": []}'),
            "FILE holds annotations in the form of COCO; give the folder that it and the images "
            "are in",
        ),
        (
            "t.jsonl",
            lines("t.jsonl", good, '{"y": 0}', '{"a": "x", "y": 1}'),
            "the key 'a' of FILE has a number in record 1 but a text in record 3",
        ),
        ("t.jsonl", lines("t.jsonl", ""), "FILE has no rows"),
        (
            "t.jsonl",
            lines("t.jsonl", '{"a": 1}'),
            "FILE has no column 'y' for the target; it has: a",
        ),
        (
            "t.tsv",
            lines("t.tsv", "a,y", "1,2"),
            "FILE has no column 'y' for the target; it has: a,y",
        ),
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
    with pytest.raises(ValueError, match=r"^writing \.parquet needs pyarrow: pip install 'rlagent"):
        written(Path("out.parquet"))


def test_experiments_know_tables_of_any_form_and_downloads() -> None:
    for suffix in READERS:
        path = write(made_table().rename(columns={"count": "Label"}), f"t{suffix}")
        assert guess_target(Path(path)) == "Label"
        assert source(path).target == "Label"
        assert source(f"{path}:kind").load().kind == "classification"
    assert source("openml:31").place == "openml:31"
    assert message_of(source, "t.xls") == (
        "unknown task 't.xls'; there are: breast_cancer, diabetes, digits, iris, wine, "
        "procedural:[DOMAIN:]SEED, or give the path of a file or folder"
    )


# Arrays


def arrays() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(2).normal(size=(ROWS, 5))
    return x, (x[:, 0] > 0).astype(int)


def test_npy_files_make_the_task_that_their_arrays_make() -> None:
    x, y = arrays()
    expected = from_arrays(x, y)
    np.save("data.npy", x)
    np.save("labels.npy", y)
    assert same(load_task("data.npy", target="labels.npy"), expected)
    np.save("x.npy", x)
    np.save("y.npy", y)
    assert same(load_task("x.npy"), expected)
    for name, rows in (("train", slice(0, 40)), ("valid", slice(40, 60)), ("test", slice(60, 80))):
        np.save(f"x_{name}.npy", x[rows])
        np.save(f"y_{name}.npy", y[rows])
    told = load_task("x_train.npy")
    assert [len(one) for one in parts(told)[1::2]] == [40, 20, 20]
    np.testing.assert_array_equal(parts(told)[5], y[60:])
    assert told.preprocessing is not None
    np.testing.assert_array_equal(read_features("data.npy", told.preprocessing), x)


def test_npy_files_that_cannot_be_used_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = arrays()
    np.save("data.npy", x)
    np.save("x.npy", x)
    Path("bad.npy").write_bytes(b"no array")
    Path("cut.npy").write_bytes(Path("data.npy").read_bytes()[:-100])
    np.save("objects.npy", np.array([{}] * ROWS, object), allow_pickle=True)
    np.save("few.npy", y[:9])
    for command, message in (
        (
            "data.npy",
            "name the .npy file of the targets of data.npy; for x_train, x, train_images they are "
            "in a file beside it",
        ),
        ("x.npy", "ROOT lacks the array y; it has: x"),
        ("data.npy --target y.npy", "there is no file y.npy"),
        (
            "data.npy --target t.csv",
            "the targets of a .npy file are in another .npy file, got 't.csv'",
        ),
        ("data.npy --target bad.npy", "bad.npy is not a .npy file, or it is damaged"),
        ("cut.npy --target few.npy", "cut.npy is damaged"),
        ("objects.npy --target few.npy", "objects.npy holds Python objects, not numbers or texts"),
        ("data.npy --target few.npy", "x has 80 rows but y has 9"),
        ("data.npy --group a", "group is for tables, but data.npy is a .npy file"),
    ):
        said = sentence(["tune", *command.split(), *SMALL], capsys)
        assert said.replace("ROOT", ".") == message.replace("ROOT", "."), command


def test_a_run_on_npy_files_goes_on_from_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = arrays()
    np.save("data.npy", x)
    np.save("labels.npy", y)
    with monkeypatch.context() as patched:
        patched.setattr("rlagent.apply.tuning._run", interrupted)
        command = ["tune", "data.npy", "--target", "labels.npy", *SMALL, "--out", "run", "--quiet"]
        assert main(command) == 130
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert main(["tune", "--resume", "../run", "--quiet"]) == 0


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_medmnist_names_are_known() -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
    labels = (np.arange(60) % 3)[:, None].astype(np.uint8)  # [rows, 1], as there
    np.savez("med.npz", train_images=images[:30], train_labels=labels[:30])
    assert load_task("med.npz").input_shape == (8, 8, 3)
    cuts = {"train": slice(0, 30), "val": slice(30, 45), "test": slice(45, 60)}
    stored: dict[str, Any] = {f"{part}_images": images[cut] for part, cut in cuts.items()}
    stored |= {f"{part}_labels": labels[cut] for part, cut in cuts.items()}
    np.savez("med.npz", **stored)
    task = load_task("med.npz")
    found = parts(task)
    assert [len(one) for one in found[1::2]] == [30, 15, 15]
    np.testing.assert_array_equal(found[5], labels[45:, 0])
    train = images[:30].astype(float)
    expected = (images[45:] - train.mean()) / train.std()
    np.testing.assert_allclose(found[4], expected.reshape(15, -1), rtol=1e-5, atol=1e-5)
    assert task.preprocessing is not None
    np.testing.assert_array_equal(read_features("med.npz", task.preprocessing), images[45:])


# Rows that stay together


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=5, max_size=40),
    classes=st.integers(2, 4),
    seed=st.integers(0, 2**31 - 1),
    stratified=st.booleans(),
    test_given=st.booleans(),
)
def test_a_group_is_in_one_part_only(
    sizes: list[int], classes: int, seed: int, stratified: bool, test_given: bool
) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    target = np.random.default_rng(seed).integers(0, classes, len(groups))
    try:
        divided = divide_groups(
            target, groups, stratified=stratified, test_given=test_given, seed=seed
        )
    except ValueError as error:  # all groups of a part have a class that train would lack
        assert stratified
        assert "are too few to divide into" in str(error)  # noqa: PT017
        return
    assert set(divided) == {"train", "valid"} | (set() if test_given else {"test"})
    assert sorted(np.concatenate(list(divided.values()))) == list(range(len(groups)))
    found = [set(groups[rows]) for rows in divided.values()]
    assert sum(map(len, found)) == len(sizes)
    if stratified:
        assert set(target[divided["train"]]) == set(target)
    again = divide_groups(target, groups, stratified=stratified, test_given=test_given, seed=seed)
    assert all(np.array_equal(divided[part], again[part]) for part in divided)


def test_a_class_of_one_group_comes_into_train_with_the_whole_group() -> None:
    groups = np.repeat(np.arange(20), 2)
    # No class has rows enough for folds that are stratified, and five have a single one.
    target = groups // 4
    target[::8] = 10 + np.arange(5)
    target[1::2] = np.arange(20) % 6 + 20
    outside = 0
    for seed in range(10):
        divided = divide_groups(target, groups, stratified=True, test_given=False, seed=seed)
        assert set(target[divided["train"]]) == set(target)
        found = [set(groups[rows]) for rows in divided.values()]
        assert sum(map(len, found)) == 20
        outside += len(found[0]) + len(found[1])
    assert outside > 30  # else there was nothing to move


def test_grouped_parts_have_about_a_fifth_of_the_rows_and_the_class_shares() -> None:
    groups = np.repeat(np.arange(100), 6)
    target = (groups % 4 == 0).astype(int)  # a group has one class
    divided = divide_groups(target, groups, stratified=True, test_given=False, seed=0)
    for part, rows in (("train", 360), ("valid", 120), ("test", 120)):
        assert len(divided[part]) == rows
        np.testing.assert_allclose(target[divided[part]].mean(), 0.25, atol=0.01)


def test_a_group_is_not_in_rows_to_validate_on_too() -> None:
    table = made_table().assign(owner=[f"owner {row // 2}" for row in range(ROWS)])
    options: dict[str, Any] = {"target": "kind", "group": "owner", "updates": 8}
    with pytest.raises(ValueError, match=r"^the group 'owner 10' of 'owner' is in x and valid$"):
        rlagent.tune(table[:22], valid=table[20:], **options)
    with pytest.raises(ValueError, match=r"^valid has no column 'owner' to group by; it has: "):
        rlagent.tune(table[:40], valid=table[40:].drop(columns="owner"), **options)


def test_lines_of_json_may_hold_any_break_of_lines() -> None:
    table = made_table()[["count", "kind"]]
    records = [one | {"note": "a\u2028b\u0085c"} for one in table.to_dict("records")]
    write(table, "plain.csv")
    text = "\r\n".join(json.dumps(one, ensure_ascii=False) for one in records)
    Path("t.jsonl").write_text(text, encoding="utf-8")
    assert same(load_task("t.jsonl", target="kind"), load_task("plain.csv", target="kind"))


def test_quotes_in_tabs_are_letters_where_a_line_has_an_odd_one() -> None:
    lines = [f"word {row} is here\t{row % 2}" for row in range(40)]
    lines[3] = '"a great film\t1'
    lines[4] = 'not so good "\t0'
    Path("t.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n", encoding="utf-8")
    table = read_csv_table(Path("t.tsv"))
    assert len(table) == 40
    assert table["text"].iloc[3] == '"a great film'
    Path("u.tsv").write_text('text\tlabel\n"two\nlines"\t1\nb\t0\n', encoding="utf-8")
    assert read_csv_table(Path("u.tsv"))["text"].tolist() == ["two\nlines", "b"]
    Path("one.tsv").write_text('text\n"two\nlines"\nb\n', encoding="utf-8")
    assert read_csv_table(Path("one.tsv"))["text"].tolist() == ["two\nlines", "b"]
    Path("r.tsv").write_text('"text"\t"label"\n"a\\" pipe"\t"yes"\n"b"\t"no"\n', encoding="utf-8")
    assert read_csv_table(Path("r.tsv"))["label"].tolist() == ["yes", "no"]


def test_an_array_without_rows_and_a_table_to_validate_on() -> None:
    np.savez("t.npz", x=np.array(3.0), y=np.arange(9))
    with pytest.raises(ValueError, match=r"^x must be"):
        load_task("t.npz")
    table = pd.DataFrame({"a": np.arange(60.0), "y": np.arange(60) % 2})
    task, _ = load_source(table[:40], None, Request(target="y"), {"valid": table[40:]})
    assert (len(task.train.x), len(task.valid.x)) == (40, 20)


def test_groups_are_no_feature_and_bad_ones_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    table = made_table().assign(owner=[f"owner {row // 2}" for row in range(ROWS)])
    write(table, "t.csv")
    x, groups = table.drop(columns=["kind", "owner"]), table["owner"]
    expected = from_arrays(x, table["kind"], groups=groups)
    assert same(load_task("t.csv", target="kind", group="owner"), expected)
    write(table.assign(split=["train", "test"] * (ROWS // 2)), "torn.csv")
    write(table.assign(owner=np.arange(ROWS) % 3), "few.csv")
    write(table.assign(owner=[None, *groups[1:]]), "gap.csv")
    for command, message in (
        ("torn.csv --group owner", "the group 'owner 0' of 'owner' is in train and test"),
        ("few.csv --group owner", "the rows are of 3 groups, but to divide them takes at least 5"),
        ("gap.csv --group owner", "the group is missing in 1 of 80 rows"),
        (
            "t.csv --group kind",
            "column 'kind' cannot be both the target and the group column",
        ),
        (
            "t.csv --group owner --folds 3",
            "folds cannot keep the rows of a group together: give group or folds",
        ),
    ):
        assert sentence(["tune", *command.split(), "--target", "kind", *SMALL], capsys) == message


def test_a_class_with_a_single_row_is_trained_on() -> None:
    kinds = np.where(np.arange(ROWS) == 33, "rare", made_table()["kind"])
    for seed in range(5):
        task = load_task(write(made_table().assign(kind=kinds), "t.csv"), target="kind", seed=seed)
        assert task.preprocessing is not None
        rare = task.preprocessing.encode_target(["rare"])[0]
        assert [int((one == rare).sum()) for one in parts(task)[1::2]] == [1, 0, 0]


def test_what_a_task_is_is_told_before_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    write(made_table(), "t.csv")
    assert main(["tune", "t.csv", "--target", "kind", *SMALL, "--out", "run"]) == 0
    told = capsys.readouterr().err.splitlines()[1]
    task = load_task("t.csv", target="kind")
    no, yes = (100 * np.mean(task.train.y == number) for number in (0, 1))
    largest, smallest = (f"no {no:.2g} %", f"yes {yes:.2g} %")
    if yes > no:
        largest, smallest = smallest, largest
    assert told == (
        f"t: classification, 48 rows to train, 16 to validate, 16 to test, {task.features} "
        f"features, 2 classes, the largest {largest}, the smallest {smallest}"
    )


# Data sets to download: never over the network here


class Recorded(types.SimpleNamespace):
    """What `fetch_openml` gives."""


def test_openml_gives_a_table_with_its_target(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = made_table().assign(colour=lambda t: t["colour"].astype("category"))
    asked: list[dict[str, Any]] = []

    def fetch(**options: Any) -> Recorded:
        asked.append(options)
        target = "kind" if options["target_column"] == "default-target" else "count"
        return Recorded(data=table.drop(columns=target), target=table[target])

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    monkeypatch.setenv("RLAGENT_CACHE_DIR", str(tmp_path / "cache"))
    task = load_task("openml:adult", kind="classification")
    assert same(task, load_task(write(made_table(), "t.csv"), target="kind"))
    assert task.name == "adult"
    assert load_task("openml:1590", target="count", kind="regression").kind == "regression"
    assert asked[0]["name"] == "adult"
    assert asked[1]["data_id"] == 1590
    assert asked[0]["data_home"] == str(tmp_path / "cache" / "data" / "openml")


@pytest.mark.parametrize("name", ["openml:adult", "openml:1590"])
def test_offline_openml_says_so_and_leaves_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", unreachable)
    monkeypatch.setattr("sklearn.datasets._openml.time.sleep", lambda _: None)
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "cache")
    monkeypatch.setattr("rlagent.apply.devices.use_compile_cache", lambda: None)
    said = sentence(["tune", name], capsys)
    assert said == f"{name} cannot be downloaded: Temporary failure in name resolution"


def test_what_openml_refuses_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(**_: Any) -> None:
        raise ValueError("No active dataset\nadultx found.")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", unknown)
    assert message_of(load_task, "openml:adultx") == (
        "openml:adultx cannot be used: No active dataset adultx found."
    )
    without = Recorded(data=made_table(), target=None)
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda **_: without)
    assert message_of(load_task, "openml:1") == (
        "name the target column of openml:1; it has: size, count, colour, kind"
    )
    assert message_of(load_task, "openml:1", split_column="a") == (
        "split_column is for tables, but openml:1 is a data set of OpenML"
    )


class ClassLabel:
    """As of the library datasets: numbers with names."""

    def __init__(self, names: list[str]) -> None:
        self.names = names


class Value:
    """As of the library datasets: any other column."""


class Image:
    """As of the library datasets: a column of Pillow's images."""


class Rows:
    """As `datasets.Dataset`, of what is used of it."""

    def __init__(self, columns: dict[str, Any], features: dict[str, Any]) -> None:
        self.columns, self.features = columns, features

    def __getitem__(self, name: str) -> Any:
        return self.columns[name]

    def remove_columns(self, name: str) -> Rows:
        rest = {key: value for key, value in self.columns.items() if key != name}
        return Rows(rest, {key: value for key, value in self.features.items() if key != name})

    def to_pandas(self) -> pd.DataFrame:
        return pd.DataFrame(self.columns)


class DatasetsError(Exception):
    """As of `datasets.exceptions`: what its errors have in common."""


def fake_library(monkeypatch: pytest.MonkeyPatch, load: Callable[..., Any]) -> None:
    library = types.ModuleType("datasets")
    library.load_dataset = load  # type: ignore[attr-defined]
    errors = types.SimpleNamespace(DatasetsError=DatasetsError)
    library.exceptions = errors  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", library)


def test_hugging_face_tables_have_their_splits_as_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    table = made_table()
    labels = ClassLabel(["no", "yes"])
    features = {"size": Value(), "count": Value(), "colour": Value(), "kind": labels}

    def rows(cut: slice, *, hidden: bool = False) -> Rows:
        columns = {name: list(values[cut]) for name, values in table.items()}
        numbers = (table["kind"][cut] == "yes").astype(int)
        return Rows(columns | {"kind": list(numbers * 0 - 1 if hidden else numbers)}, features)

    asked: list[Any] = []

    def load(*arguments: Any, **_: Any) -> dict[str, Rows]:
        asked.append(arguments)
        return {
            "train": rows(slice(0, 50)),
            "validation": rows(slice(50, 70)),
            "test": rows(slice(70, 80), hidden=True),
        }

    fake_library(monkeypatch, load)
    task = load_task("hf:someone/table:small")
    assert asked == [("someone/table", "small")]
    assert (len(task.train.y), len(task.valid.y), task.test) == (50, 20, None)
    assert task.preprocessing is not None
    assert task.preprocessing.classes == ("no", "yes")
    told = ["train"] * 50 + ["valid"] * 20 + ["test"] * 10
    expected = load_task(write(table.assign(split=told), "t.csv"), target="kind")
    np.testing.assert_array_equal(task.train.x, expected.train.x)
    np.testing.assert_array_equal(task.valid.x, expected.valid.x)
    assert message_of(load_task, "hf:someone/table", target="z") == (
        "hf:someone/table has no column 'z' for the target; it has: size, count, colour, kind"
    )
    three = {"validation": rows(slice(50, 60)), "dev": rows(slice(60, 80))}
    three["train"] = rows(slice(0, 50))
    fake_library(monkeypatch, lambda *_, **__: three)
    assert len(load_task("hf:someone/table").valid.y) == 10  # not those of dev


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Dataset scripts are no longer supported, but found a.py"),
        DatasetsError("An error occurred while\ngenerating the dataset"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise error

    fake_library(monkeypatch, load)
    expected = f"hf:a/b cannot be downloaded: {' '.join(str(error).split())}"
    assert message_of(load_task, "hf:a/b") == expected


def test_hugging_face_images_become_an_image_task(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image as Pillow

    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (60, 9, 7), np.uint8)
    features = {"image": Image(), "label": ClassLabel(["cat", "dog"])}
    columns = {"image": [Pillow.fromarray(one) for one in pixels], "label": [0, 1] * 30}
    fake_library(monkeypatch, lambda *_, **__: {"train": Rows(columns, features)})
    task = load_task("hf:pictures")
    assert task.input_shape == (9, 7, 1)
    assert same(task, from_arrays(pixels[..., None], np.array(["cat", "dog"] * 30)))


def test_hugging_face_without_library_or_network(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach\nthe Hub")

    fake_library(monkeypatch, offline)
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "cache")
    monkeypatch.setattr("rlagent.apply.devices.use_compile_cache", lambda: None)
    said = sentence(["tune", "hf:a/b"], capsys)
    assert said == "hf:a/b cannot be downloaded: Couldn't reach the Hub"
    monkeypatch.setitem(sys.modules, "datasets", None)
    said = sentence(["tune", "hf:a/b"], capsys)
    assert said == "hf:a/b needs the library datasets: pip install 'rlagent[hub]'"


def test_a_run_on_a_download_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    table = made_table()
    found = Recorded(data=table.drop(columns="kind"), target=table["kind"])
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda **_: found)
    assert main(["tune", "openml:shop", *SMALL, "--out", "run", "--quiet"]) == 0
    stored = json.loads(Path("run/run.json").read_text())
    assert stored["request"]["source"] == "openml:shop"
    assert stored["data"]["fingerprint"] == fingerprint(load_task("openml:shop"))


def test_the_cache_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() is None
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "here")
    assert cache_folder() == Path("here")
    monkeypatch.delenv("RLAGENT_CACHE_DIR")
    assert cache_folder() == Path.home() / ".cache" / "rlagent"
