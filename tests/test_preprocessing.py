"""What is learned from training rows: columns, statistics, and their JSON."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from rlagent_envs.tasks import Preprocessing
from rlagent_envs.tasks.targets import infer_kind

ROWS = 200


def mixed_table(seed: int, rows: int = ROWS) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    size = generator.lognormal(3, 2, rows)
    size[generator.random(rows) < 0.1] = np.nan
    size[0] = np.nan
    town = generator.choice(np.array(["Ulm", "Bonn", "Köln", None], object), rows)
    town[:2] = "Ulm", None
    return pd.DataFrame(
        {
            "size": size,
            "count": generator.integers(0, 9, rows),
            "town": town,
            "paid": generator.random(rows) < 0.5,
            "always": 3.0,
        }
    )


def labels(rows: int = ROWS) -> np.ndarray:
    return np.arange(rows) % 3


def fitted(table: Any, y: Any = None) -> Preprocessing:
    return Preprocessing.fit(table, labels(len(table)) if y is None else y, "classification")


def through_text(preprocessing: Preprocessing) -> Preprocessing:
    return Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json())))


def test_a_table_is_imputed_scaled_and_encoded_as_scikit_learn_does_it() -> None:
    train, new = mixed_table(0), mixed_table(1)
    numbers = ["size", "count"]
    imputer = SimpleImputer(strategy="median").fit(train[numbers])
    scaler = StandardScaler().fit(imputer.transform(train[numbers]))
    scaled = np.clip(scaler.transform(imputer.transform(new[numbers])), -10, 10)
    towns = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
    towns.fit(train[["town"]].astype(object))
    expected = np.column_stack(
        [
            scaled[:, 0],
            new["size"].isna(),
            scaled[:, 1],
            towns.transform(new[["town"]].astype(object)),
            ~new["paid"],
            new["paid"],
        ]
    )
    made = fitted(train).transform(new)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)


def test_unknown_categories_are_zeros_and_missing_ones_too_where_training_had_none() -> None:
    train = pd.DataFrame({"town": ["Ulm", "Bonn"] * 5})
    made = fitted(train).transform(pd.DataFrame({"town": ["Bonn", "Rome", None, "Ulm"]}))
    np.testing.assert_array_equal(made, [[1, 0], [0, 0], [0, 0], [0, 1]])


def test_the_most_frequent_64_categories_are_kept_and_the_rest_is_other() -> None:
    texts = [f"c{number:02d}" for number in range(70) for _ in range(4 - (number < 6))]
    table = pd.DataFrame({"code": texts})
    y = np.arange(len(texts)) % 3
    preprocessing = Preprocessing.fit(table, y, "classification", embed=False)
    made = preprocessing.transform(pd.DataFrame({"code": ["c00", "c05", "c06", "c69", "new"]}))
    assert preprocessing.features == 65
    np.testing.assert_array_equal(made.argmax(axis=1), [64, 64, 0, 63, 64])
    np.testing.assert_array_equal(made.sum(axis=1), 1)


def test_numbers_read_as_text_are_taken_for_numbers_where_training_had_numbers() -> None:
    preprocessing = fitted(mixed_table(0))
    as_text = mixed_table(1).astype({"count": str})
    expected = preprocessing.transform(mixed_table(1))
    np.testing.assert_array_equal(preprocessing.transform(as_text), expected)


def test_images_share_one_mean_and_scale_and_arrays_of_features_do_not() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 5), np.uint8)
    made = fitted(images).transform(images)
    expected = (images.astype(float) - images.mean()) / images.std()
    np.testing.assert_allclose(made, expected.reshape(50, 20), rtol=1e-5, atol=1e-6)
    flat = images.reshape(50, 20).astype(np.float32)
    expected = StandardScaler().fit_transform(flat.astype(float))
    np.testing.assert_allclose(fitted(flat).transform(flat), expected, rtol=1e-5, atol=1e-6)


def test_constant_features_of_arrays_stay_at_zero_and_outliers_are_clipped() -> None:
    x = np.column_stack([np.full(9, 0.1), np.arange(9.0)])
    made = fitted(x).transform(np.array([[0.1, -1e9], [0.1, 1e300]]))
    np.testing.assert_array_equal(made, [[0, -10], [0, 10]])


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(
        st.one_of(st.none(), st.floats(-1e100, 1e100), st.integers(-(2**40), 2**40)),
        min_size=2,
        max_size=30,
    ).filter(lambda values: len({v for v in values if v is not None}) > 1),
    texts=st.lists(st.text(max_size=3), min_size=30, max_size=30),
)
def test_json_makes_bitwise_the_same_transform(values: list[Any], texts: list[str]) -> None:
    given_texts = [text.replace("\x00", "") for text in texts[: len(values)]]
    table = pd.DataFrame({"n": pd.Series(values, dtype="float64"), "t": [*given_texts]})
    if table["t"].nunique() > 20:
        table = table[["n"]]
    preprocessing = Preprocessing.fit(table, np.linspace(0, 1, len(values)), "regression")
    again = through_text(preprocessing)
    assert again == preprocessing
    assert again.transform(table).tobytes() == preprocessing.transform(table).tobytes()
    assert np.isfinite(again.transform(table)).all()


@pytest.mark.parametrize(
    "y", [["no", "yes"] * 9, [True, False] * 9, [3, 7] * 9, [0.5, 1.0, 2.0] * 6]
)
def test_labels_come_back_as_they_were(y: list[Any]) -> None:
    preprocessing = through_text(fitted(np.arange(18.0)[:, None], y))
    numbers = preprocessing.encode_target(y)
    assert numbers.dtype == np.int32
    assert preprocessing.classes == tuple(sorted(set(y)))
    assert [type(label) for label in preprocessing.classes] == [type(y[0])] * len(set(y))
    assert preprocessing.decode_target(numbers).tolist() == y


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=20, unique=True))
def test_values_come_back_in_their_units(y: list[float]) -> None:
    preprocessing = Preprocessing.fit(np.eye(len(y)), y, "regression")
    encoded = preprocessing.encode_target(y)
    assert encoded.dtype == np.float32
    spread = max(y) - min(y)
    np.testing.assert_allclose(preprocessing.decode_target(encoded), y, rtol=0, atol=1e-5 * spread)


def replaced(stored: Any, path: str, value: Any) -> Any:
    """The JSON with one value changed."""
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place = stored
    for step in steps:
        place = place[step]
    place[last] = value
    return stored


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("extra", 1, "extra: Extra inputs are not permitted"),
        ("version", 2, "version: Input should be 1"),
        ("inputs.columns.0.mean", float("nan"), "inputs.table.columns.0.numeric.mean: Input"),
        ("inputs.columns.0.scale", 0.0, "inputs.table.columns.0.numeric.scale: Input"),
        ("inputs.columns.0.scale", "1", "inputs.table.columns.0.numeric.scale: Input"),
        ("inputs.columns.0.kind", "text", "inputs.table.columns.0: Input tag"),
        ("inputs.columns.1.name", "size", "it has two columns of one name"),
        ("target.classes", [1], "target.classification.classes: Tuple should have at least 2"),
        ("target.classes", [[1], [2]], "target.classification.classes.0"),
    ],
)
def test_damaged_json_is_refused_in_one_sentence(path: str, value: Any, message: str) -> None:
    stored = replaced(fitted(mixed_table(0)).to_json(), path, value)
    with pytest.raises(ValueError, match=r"^the preprocessing cannot be read: ") as caught:
        Preprocessing.from_json(stored)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_of_an_array_must_have_as_many_means_as_features() -> None:
    stored = fitted(np.eye(6)).to_json()
    stored["inputs"]["mean"].pop()
    with pytest.raises(ValueError, match="its mean and scale do not fit its shape"):
        Preprocessing.from_json(stored)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            [None] * 30,
            "column 'c' has no values in the training rows, so drop it: "
            "--drop c, in Python drop='c'",
        ),
        ([1.0, np.inf] * 15, "column 'c' has 'inf' in row 1, which is not a finite number"),
        (
            [f"Part {n}" for n in range(30)],
            "column 'c' has 30 different texts in 30 rows; identifiers cannot be used, so drop it: "
            "--drop c, in Python drop='c'",
        ),
        (
            pd.date_range("2020", periods=30, unit="s"),
            "column 'c' is of type datetime64[s]; give numbers, texts or booleans",
        ),
        (
            [date(2020, 1, day) for day in range(1, 31)],
            "column 'c' holds values of the type date; give numbers, texts or booleans",
        ),
        ([1e308, -1e308] * 15, "column 'c' has values too large to standardise"),
        ([7] * 30, "no column of the table varies in the training rows"),
    ],
)
def test_columns_that_cannot_be_used_are_named(column: Any, message: str) -> None:
    with pytest.raises(ValueError, match="column") as caught:
        fitted(pd.DataFrame({"c": column}))
    assert str(caught.value) == message


def test_exact_decimals_are_numbers() -> None:
    prices = [Decimal(number) / 4 for number in range(30)]
    table = pd.DataFrame({"c": pd.Series(prices, dtype=object)})
    np.testing.assert_array_equal(
        fitted(table).transform(table), fitted(table.astype(float)).transform(table.astype(float))
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": "many"}, "column 'count' has 'many' in row 0, which is not a finite number"),
        ({"size": -np.inf}, "column 'size' has '-inf' in row 0, which is not a finite number"),
    ],
)
def test_bad_cells_to_predict_for_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="column") as caught:
        fitted(mixed_table(0)).transform(mixed_table(1).assign(**change))
    assert str(caught.value) == message


def test_inputs_of_another_form_are_refused() -> None:
    table, array = fitted(mixed_table(0)), fitted(np.eye(6))
    with pytest.raises(ValueError, match=r"^the input lacks the column 'town'$"):
        table.transform(mixed_table(1).drop(columns="town"))
    with pytest.raises(ValueError, match=r"^the input must be a table, as in training, not an arr"):
        table.transform(np.eye(5))
    with pytest.raises(ValueError, match=r"^the input must be an array, as in training, not a tab"):
        array.transform(mixed_table(1))
    with pytest.raises(ValueError, match=r"^the input has rows of shape \(5,\), expected \(6,\)$"):
        array.transform(np.eye(5))


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (["a", "b"] * 9, "classification"),
        ([True, False] * 9, "classification"),
        ([-1, 1, 1], "classification"),
        ([0.0, 1.0, 2.0] * 9, "classification"),
        ([1, 2, 3, 5, 6, 7] * 9, "classification"),  # glass: class 4 does not occur
        ([3, 4, 5, 6, 7, 8] * 9, "classification"),  # wine quality
        (list(range(0, 101, 10)) * 9, "regression"),  # pol
        (list(range(300)) * 9, "regression"),
        ([0.5, 1.0] * 9, "regression"),
        (list(range(9)), "regression"),
    ],
)
def test_the_kind_is_inferred_from_the_target(y: list[Any], kind: str) -> None:
    assert infer_kind(y) == kind
