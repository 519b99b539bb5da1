"""Tasks from names, arrays and files: what is in which part, and what is refused."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlagent_envs.tasks import (
    TASKS,
    Task,
    describe_tasks,
    from_arrays,
    load_task,
    read_features,
)
from rlagent_envs.tasks.splits import divide, stratified_order

DATA = Path(__file__).parents[2] / "shared" / "data"


def real(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not there")
    return DATA / name


def rows_and_labels(rows: int = 60, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(rows, 4))
    return x, np.arange(rows) % classes


def same(a: Task, b: Task) -> bool:
    """Whether all parts and the preprocessing of two tasks are equal."""
    parts = ((a.train, b.train), (a.valid, b.valid), (a.test, b.test))
    equal = [np.array_equal(p.x, q.x) and np.array_equal(p.y, q.y) for p, q in parts if p and q]
    return all(equal) and a.preprocessing == b.preprocessing


# Dividing rows


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=8),
    seed=st.integers(0, 2**31 - 1),
)
def test_any_prefix_has_nearly_the_class_shares_of_the_whole(counts: list[int], seed: int) -> None:
    classes = np.repeat(np.arange(len(counts)), counts)
    ordered = classes[stratified_order(classes, np.random.default_rng(seed))]
    shares = np.array(counts) / sum(counts)
    for length in range(1, len(ordered) + 1):
        found = np.bincount(ordered[:length], minlength=len(counts))
        # Off by a row for rounding, and by those of each other class.
        assert (np.abs(found - shares * length) <= 1 + shares * len(counts)).all()


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=8).filter(lambda c: max(c) > 9),
    seed=st.integers(0, 2**31 - 1),
    test_given=st.booleans(),
)
def test_parts_are_disjoint_complete_and_train_has_all_classes(
    counts: list[int], seed: int, test_given: bool
) -> None:
    target = np.repeat(np.arange(len(counts)), counts)
    parts = divide(target, stratified=True, test_given=test_given, seed=seed)
    assert set(parts) == {"train", "valid"} | (set() if test_given else {"test"})
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(target)))
    assert set(target[parts["train"]]) == set(target)


def test_shares_are_60_20_20_and_each_class_has_them() -> None:
    task = from_arrays(*rows_and_labels(300))
    assert task.test is not None
    for split, rows in ((task.train, 180), (task.valid, 60), (task.test, 60)):
        np.testing.assert_array_equal(np.bincount(split.y), [rows // 3] * 3)


def test_with_test_rows_a_fifth_of_the_others_validates_at_most_10000() -> None:
    x, y = np.arange(120_000.0).reshape(60_000, 2), np.arange(60_000) % 2
    assert len(from_arrays(x, y, x_test=x[:9], y_test=y[:9]).valid.y) == 10_000
    assert len(from_arrays(x[:100], y[:100], x_test=x[:9], y_test=y[:9]).valid.y) == 20


def test_with_validation_rows_everything_else_trains() -> None:
    x, y = rows_and_labels()
    task = from_arrays(x, y, x_valid=x[:30], y_valid=np.sort(y[:30]))
    assert len(task.train.y) == 60
    assert task.test is None
    assert sorted(task.valid.y[:3]) == [0, 1, 2]  # sorted as given, stratified as kept


def test_validation_rows_are_stratified_where_the_given_rows_are_sorted() -> None:
    x, y = rows_and_labels(300)
    task = from_arrays(x, np.sort(y))
    for length in range(3, 61, 3):
        np.testing.assert_array_equal(np.bincount(task.valid.y[:length]), [length // 3] * 3)


def test_the_seed_decides_the_division() -> None:
    x, y = rows_and_labels()
    assert same(from_arrays(x, y, seed=3), from_arrays(x, y, seed=3))
    assert not same(from_arrays(x, y, seed=3), from_arrays(x, y, seed=4))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), factor=st.floats(-1e6, 1e6))
def test_nothing_is_learned_from_rows_outside_train(seed: int, factor: float) -> None:
    x, y = rows_and_labels()
    one = from_arrays(x, y, seed=seed)
    scaled = from_arrays(x, y, seed=seed, x_test=x * factor, y_test=y)
    plain = from_arrays(x, y, seed=seed, x_test=x, y_test=y)
    assert scaled.preprocessing == plain.preprocessing
    # Without given parts: change all rows whose values are in no training row.
    restored = one.preprocessing
    assert restored is not None
    trained = (restored.transform(x)[:, None] == one.train.x[None]).all(-1).any(1)
    changed = from_arrays(np.where(trained[:, None], x, x * factor), y, seed=seed)
    assert changed.preprocessing == restored
    np.testing.assert_array_equal(changed.train.x, one.train.x)


def test_rows_keep_their_targets() -> None:
    x = np.random.default_rng(0).normal(size=(100, 1))
    task = from_arrays(x, x[:, 0] * 3 + 1)  # equal once both are standardised
    assert task.test is not None
    assert task.kind == "regression"
    assert task.outputs == 1
    for split in (task.train, task.valid, task.test):
        assert split.y.dtype == np.float32
        np.testing.assert_allclose(split.x[:, 0], split.y, rtol=1e-5, atol=1e-6)


# Arrays that make no sense

X, Y = rows_and_labels()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": Y[:9]}, "x has 60 rows but y has 9"),
        ({"x": X[:0], "y": Y[:0]}, "x is empty, of shape (0, 4)"),
        ({"x": X[:, 0]}, "x must be [rows, features] or have more axes, got shape (60,)"),
        ({"x": [[1], [2, 3]]}, "x is not a regular array: its rows differ in length"),
        ({"x": X.astype(str)}, "x must hold numbers, got <U32; give a DataFrame for texts"),
        (
            {"x": np.where(X[3, 1] == X, np.nan, X)},
            "x has values that are not finite, 1 of 240, the first at [3, 1]",
        ),
        ({"y": Y * 0}, "the target is 0 in every row"),
        ({"y": np.stack([Y, Y], 1)}, "y must have one value for each row, got shape (60, 2)"),
        (
            {"y": np.where(Y == 2, np.nan, Y)},
            "y has missing or infinite values in 20 of 60 rows, the first in row 2",
        ),
        (
            {"y": ["a", None] * 30},
            "y has missing or infinite values in 30 of 60 rows, the first in row 1",
        ),
        (
            {"y": np.array(["a", 1] * 30, object)},
            "y must hold numbers, texts or booleans, got int, str",
        ),
        (
            {"y": Y.astype(str), "kind": "regression"},
            "regression needs a target of numbers, got '0'",
        ),
        (
            {"kind": "order"},
            "kind must be classification, regression, segmentation or detection, got 'order'",
        ),
        (
            {"y": [f"name {n}" for n in range(60)]},
            "60 rows are too few to divide into train and valid and test",
        ),
        (
            {"x_valid": X, "y_valid": Y, "y": [f"name {n}" for n in range(60)]},
            "the target has 60 classes in 60 training rows, too few rows of each; if it is a "
            "quantity, ask for kind 'regression'",
        ),
        ({"x_test": X}, "x_test and y_test go together, one of them is missing"),
        (
            {"x_test": X, "y_test": Y + 1},
            "the test part has classes that the train part lacks: 3",
        ),
        (
            {"x_valid": X, "y_valid": [*"abcdefghij"] * 6},
            "the valid part has classes that the train part lacks: 'a', 'b', 'c', 'd', 'e' "
            "and 5 more",
        ),
        ({"x_test": X[:, :3], "y_test": Y}, "the input has rows of shape (3,), expected (4,)"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"x": X[:2], "y": Y[:2]}, "2 rows are too few to divide into train and valid and test"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        from_arrays(**({"x": X, "y": Y} | arguments))
    assert str(caught.value) == message


# Files


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def table_text(**columns: Any) -> str:
    rows = np.arange(40)
    table = pd.DataFrame({"a": rows * 0.5, "b": np.where(rows % 4 < 2, "x", "y"), "y": rows % 2})
    return str(table.assign(**columns).to_csv(index=False))


SPLITS = (["train"] * 7 + ["dev", "validation", "test"]) * 4


def test_a_column_named_split_tells_the_parts_and_is_no_feature(tmp_path: Path) -> None:
    task = load_task(write(tmp_path / "d.csv", table_text(split=SPLITS)), target="y")
    assert task.test is not None
    assert (len(task.train.y), len(task.valid.y), len(task.test.y)) == (28, 8, 4)
    assert task.features == 3
    renamed = write(tmp_path / "e.csv", table_text(part=SPLITS))
    assert same(task, load_task(renamed, target="y", split_column="part"))


def test_a_column_named_split_of_other_words_is_a_feature(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", table_text(split=["train", "banana"] * 20))
    assert load_task(path, target="y").features == 5


def test_a_second_file_validates(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", table_text())
    valid = write(tmp_path / "v.csv", table_text(a=1000))
    task = load_task(path, target="y", valid=valid)
    assert (len(task.train.y), len(task.valid.y), task.test) == (40, 40, None)
    np.testing.assert_array_equal(task.valid.x[:, 0], 10)


@pytest.mark.parametrize("separator", [";", "\t", ", "])
def test_other_separators_are_found(tmp_path: Path, separator: str) -> None:
    expected = load_task(write(tmp_path / "d.csv", table_text()), target="y")
    path = write(tmp_path / "d2.csv", "\ufeff" + table_text().replace(",", separator))
    assert same(load_task(path, target="y"), expected)


def test_npz_files_make_the_task_that_their_arrays_make(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", x=X, y=Y)
    assert same(load_task(tmp_path / "whole.npz", seed=5), from_arrays(X, Y, seed=5))
    np.savez(tmp_path / "parts.npz", x_train=X, y_train=Y, x_test=X[:9], y_test=Y[:9])
    expected = from_arrays(X, Y, x_test=X[:9], y_test=Y[:9])
    assert same(load_task(tmp_path / "parts.npz"), expected)
    both = load_task(tmp_path / "parts.npz", valid=tmp_path / "whole.npz")
    assert (len(both.train.y), len(both.valid.y)) == (60, 60)


def test_features_to_predict_for_come_without_target_and_in_any_order(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", table_text(split=SPLITS))
    task = load_task(path, target="y")
    assert task.test is not None
    assert task.preprocessing is not None
    table = pd.read_csv(path)
    table[table["split"] == "test"][["b", "a"]].to_csv(tmp_path / "p.csv", index=False)
    made = task.preprocessing.transform(read_features(tmp_path / "p.csv", task.preprocessing))
    np.testing.assert_array_equal(made, task.test.x)
    table[["a"]].to_csv(tmp_path / "q.csv", index=False)
    with pytest.raises(ValueError, match=r"lacks the column 'b'$"):
        read_features(tmp_path / "q.csv", task.preprocessing)


def test_arrays_to_predict_for_are_x_test_or_else_x(tmp_path: Path) -> None:
    preprocessing = from_arrays(X, Y).preprocessing
    assert preprocessing is not None
    np.savez(tmp_path / "both.npz", x_test=X[:5], x=X)
    np.savez(tmp_path / "one.npz", x=X[:5])
    for name in ("both.npz", "one.npz"):
        np.testing.assert_array_equal(read_features(tmp_path / name, preprocessing), X[:5])
    np.savez(tmp_path / "p.npz", z=X)
    with pytest.raises(ValueError, match=r"must have the array x_test or x; it has: z$"):
        read_features(tmp_path / "p.npz", preprocessing)
    with pytest.raises(
        ValueError, match=r"p.csv must be a .npz or .npy file, as the training data$"
    ):
        read_features(write(tmp_path / "p.csv", table_text()), preprocessing)


def csv_errors() -> list[tuple[str, dict[str, Any], str]]:
    """A file's text, further arguments, and the error, in which FILE is the path."""
    good, sizes = table_text(), np.arange(40).astype(object)
    sizes[7] = "?"
    return [
        (good, {"target": None}, "name the target column of FILE; it has: a, b, y"),
        (good, {"target": "z"}, "FILE has no column 'z' for the target; it has: a, b, y"),
        (
            good,
            {"split_column": "z"},
            "FILE has no column 'z' to split by; it has: a, b, y",
        ),
        (
            good,
            {"split_column": "b"},
            "column 'b' has 'x' in row 1; it must say train, valid, val, validation, dev, test",
        ),
        (
            table_text(split=["test", "dev"] * 20),
            {},
            "the split column of FILE calls no row train",
        ),
        ("", {}, "FILE is empty"),
        ("a,y\n", {}, "FILE has a header but no rows"),
        ("a,y,a\n1,2,3\n", {}, "FILE has 2 columns named 'a'"),
        (",y\n0,1\n", {}, "there is no column besides the target 'y'"),
        ("a,y\n1,2,3\n", {}, "FILE has rows with more cells than its header"),
        (
            "a,y\n1,2\n1,2,3\n",
            {},
            "FILE is not a well-formed .csv file: Error tokenizing data. C error: Expected 2 "
            "fields in line 3, saw 3",
        ),
        (
            "a,y\n1,0\n2,\n",
            {},
            "the target column 'y' is empty in 1 of 2 rows, the first is row 2",
        ),
        (
            table_text(size=["1", "inf"] * 20),
            {},
            "column 'size' has 'inf' in row 2, which is not a finite number",
        ),
        (
            table_text(size=sizes),
            {},
            "column 'size' has '?' in row 8, which is not a finite number",
        ),
        (
            table_text(size=[*range(39), "big"], split=["train"] * 39 + ["test"]),
            {},
            "column 'size' has 'big' in row 40, which is not a finite number",
        ),
        (
            table_text(text=[f"Sentence {n}" for n in range(40)]),
            {},
            "column 'text' has 24 different texts in 24 rows; identifiers cannot be used, so drop "
            "it: --drop text, in Python drop='text'",
        ),
        (
            table_text(empty=[""] * 39 + ["1"], split=["train"] * 39 + ["test"]),
            {},
            "column 'empty' has no values in the training rows, so drop it: "
            "--drop empty, in Python drop='empty'",
        ),
    ]


@pytest.mark.parametrize(("text", "arguments", "message"), csv_errors())
def test_csv_files_that_cannot_be_used_are_refused(
    tmp_path: Path, text: str, arguments: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "d.csv", text)
    with pytest.raises(ValueError, match=r"\w") as caught:
        load_task(path, **({"target": "y"} | arguments))
    assert str(caught.value) == message.replace("FILE", str(path))


def npz_bytes(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "FILE is empty"),
        (b"not a zip", "FILE is not a readable .npz file, it may be damaged"),
        (npz_bytes(x=X, y=Y)[:-30], "FILE is not a readable .npz file, it may be damaged"),
        (flipped(npz_bytes(x=X, y=Y), 500), "the array x of FILE is damaged"),
        (
            npz_bytes(a=X, b=Y),
            "FILE must have the arrays x_train and y_train, x and y, or train_images and "
            "train_labels; it has: a, b",
        ),
        (
            npz_bytes(x=X, y=Y, x_test=X),
            "FILE lacks the array y_test; it has: x, x_test, y",
        ),
        (
            npz_bytes(x=np.array([[{}]] * 60, object), y=Y),
            "the array x of FILE holds Python objects, not numbers or texts",
        ),
    ],
)
def test_npz_files_that_cannot_be_used_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "d.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"\w") as caught:
        load_task(path)
    assert str(caught.value) == message.replace("FILE", str(path))


def test_paths_that_are_no_data_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    write(tmp_path / "d.xyz", "x")
    for name, message in (
        ("none.csv", "there is no file PATH"),
        ("folder.csv", "PATH holds no folders, one for each class"),
        (
            "d.xyz",
            "PATH has the unknown extension '.xyz'; give a .csv, .tsv, .parquet, .jsonl, .npz, "
            ".npy, .ts or .txt file, a folder of images or of .wav files, or a .zip or .tar of it",
        ),
    ):
        with pytest.raises(ValueError, match=r"\w") as caught:
            load_task(tmp_path / name)
        assert str(caught.value) == message.replace("PATH", str(tmp_path / name))


# Names


def test_an_unknown_task_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown task") as caught:
        load_task("foo")
    assert str(caught.value) == (
        "unknown task 'foo'; there are: breast_cancer, diabetes, digits, iris, wine, "
        "or give a .csv, .tsv, .parquet, .jsonl, .npz, .npy, .ts or .txt file, a folder of images "
        "or of .wav files, or a .zip or .tar of it"
    )
    with pytest.raises(ValueError, match=r"^target is for tables, but iris is a bundled task$"):
        load_task("iris", target="y")


def test_bundled_tasks_are_described_as_they_are() -> None:
    found = {tuple(line.values()) for line in describe_tasks()}
    assert found == {
        ("breast_cancer", "classification", 569, 30, 2),
        ("diabetes", "regression", 442, 10, 1),
        ("digits", "classification", 1797, 64, 10),
        ("iris", "classification", 150, 4, 3),
        ("wine", "classification", 178, 13, 3),
    }


def test_a_task_is_for_the_family_and_the_mirror_images_that_were_asked_for() -> None:
    task = load_task("digits", family="cnn", mirrored=True)
    assert (task.family, task.mirrored) == ("cnn", True)
    assert (load_task("digits").family, load_task("digits").mirrored) == ("mlp", False)
    with pytest.raises(ValueError, match=r"^cnn reads image, but iris is of the form table"):
        load_task("iris", family="cnn")


@pytest.mark.parametrize("name", sorted(TASKS))
def test_bundled_tasks_do_not_depend_on_the_seed(name: str) -> None:
    task = load_task(name, seed=1, batch_size=7)
    assert same(task, load_task(name, seed=2))
    assert (task.name, task.batch_size) == (name, 7)
    assert task.test is not None
    for split in (task.train, task.valid, task.test):
        assert np.isfinite(split.x).all()
        assert split.x.dtype == np.float32


def test_diabetes_is_scaled_by_its_training_rows_only() -> None:
    preprocessing = load_task("diabetes").preprocessing
    assert preprocessing is not None
    ages = preprocessing.to_json()["inputs"]["mean"][0]
    assert 40 < ages < 60  # years; scikit-learn's scaled ones have the mean 0 over all rows


def test_importing_tasks_loads_neither_pandas_nor_scikit_learn_nor_jax() -> None:
    folder = Path(__file__).parents[1] / "envs" / "rlagent_envs"
    # An empty package in the place of rlagent_envs, whose own __init__ may import JAX.
    code = (
        "import sys, types\n"
        "package = sys.modules['rlagent_envs'] = types.ModuleType('rlagent_envs')\n"
        f"package.__path__ = [{str(folder)!r}]\n"
        "import rlagent_envs.tasks\n"
        "print({'pandas', 'sklearn', 'jax', 'torch', 'rlagent'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


# Real files


def test_adult() -> None:
    path = real("adult.csv")
    task = load_task(path, target="income")
    assert task.test is not None
    assert task.preprocessing is not None
    assert (len(task.train.y), len(task.valid.y), len(task.test.y)) == (26_049, 6_512, 16_281)
    assert task.preprocessing.classes == ("<=50K", ">50K")
    raw = pd.read_csv(path).query("split == 'test'")
    np.testing.assert_array_equal(task.preprocessing.decode_target(task.test.y), raw["income"])
    columns = task.preprocessing.to_json()["inputs"]["columns"]
    assert [column["name"] for column in columns if column["flags_missing"]] == [
        "workclass",
        "occupation",
        "native_country",
    ]


def test_cal_housing() -> None:
    path = real("cal_housing.csv")
    task = load_task(path, target="target")
    assert task.test is not None
    assert task.preprocessing is not None
    assert (task.kind, len(task.test.y)) == ("regression", 4_128)
    raw = pd.read_csv(path).query("split == 'test'")
    back = task.preprocessing.decode_target(task.test.y)
    np.testing.assert_allclose(back, raw["target"], rtol=1e-4)


def test_fashion_mnist() -> None:
    path = real("fashion_mnist.npz")
    task = load_task(path)
    assert task.test is not None
    assert task.train.x.shape == (50_000, 784)
    assert (len(task.valid.y), len(task.test.y), task.outputs) == (10_000, 10_000, 10)
    np.testing.assert_array_equal(np.bincount(task.valid.y[:1000]), 100)
    np.testing.assert_allclose([task.train.x.mean(), task.train.x.std()], [0, 1], atol=1e-3)
