"""Large categories of tables: numbered, embedded, and learned where "other" would not do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import rlagent
from rlagent.apply.model import Model
from rlagent.apply.source import fingerprint
from rlagent_envs import episode as episodes
from rlagent_envs import knobs
from rlagent_envs.books import RungFacts
from rlagent_envs.config import KNOB_NAMES
from rlagent_envs.forms import check_features, form_of
from rlagent_envs.growth import grow, shrink
from rlagent_envs.models import EMBEDDING_MLP, Rung, ShapeClass, fitting
from rlagent_envs.models.embedding_mlp import Layers, dimensions
from rlagent_envs.models.mlp import MLP
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks import Preprocessing, from_arrays
from rlagent_envs.training import adamw
from rlagent_envs.training.augmentation import augment
from rlagent_envs.training.bank import make_bank
from rlagent_envs.training.loop import Live

SMALL = Rung(1, 32)
VOCABULARIES = (5, 90)
QUANTITIES = 3


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shape_of(rung: Rung) -> ShapeClass:
    features = QUANTITIES + len(VOCABULARIES)
    return ShapeClass(
        "embedding_mlp", rung, "classification", features, 3, 4, vocabularies=VOCABULARIES
    )


def make_params(shape: ShapeClass) -> Layers:
    """As if it had been trained: nothing is at the value that it began with."""
    generator = np.random.default_rng(0)
    params, _ = EMBEDDING_MLP.init(generator, shape, shape.features)
    return jax.tree.map(
        lambda leaf: leaf + 0.1 * generator.standard_normal(leaf.shape).astype(np.float32), params
    )


def inputs(rows: int = 30) -> np.ndarray:
    generator = np.random.default_rng(1)
    numbers = [generator.integers(0, size, rows) for size in VOCABULARIES]
    made = [generator.standard_normal((rows, QUANTITIES)), np.stack(numbers, axis=1)]
    return np.concatenate(made, axis=1).astype(np.float32)


def outputs_of(shape: ShapeClass, params: Layers) -> np.ndarray:
    x = jnp.asarray(inputs())
    return np.asarray(
        EMBEDDING_MLP.apply(shape, params, (), x, jnp.float32(0.0), None, None, None)[0]
    )


def plain_network(params: Layers) -> np.ndarray:
    """In float64, with one-hot rows."""
    x = inputs()
    units = x[:, :QUANTITIES].astype(float)
    for column, table in zip(x[:, QUANTITIES:].T, params.tables, strict=True):
        units = np.concatenate([units, np.eye(len(table))[column.astype(int)] @ table], axis=1)
    for layer in params.layers[:-1]:
        units = np.maximum(units @ layer.kernel + layer.bias, 0.0)
    return np.asarray(units @ params.layers[-1].kernel + params.layers[-1].bias)


# --- forms


@pytest.mark.parametrize(
    ("features", "vocabularies", "form"),
    [(3, (), "table"), (2, (5, 7), "pair"), (1, (5,), "mixed"), (3, (5, 7), "mixed")],
)
def test_the_last_columns_may_be_numbers(
    features: int, vocabularies: tuple[int, ...], form: str
) -> None:
    assert form_of((), vocabularies, features) == form
    check_features(features, (), vocabularies)


def test_there_are_no_more_numbers_than_columns() -> None:
    with pytest.raises(
        ValueError, match=r"^there are no examples of the shape \(\) with vocabular"
    ):
        form_of((), (5, 7), 1)


# --- networks


@pytest.mark.parametrize("rung", [SMALL, Rung(3, 64)], ids=str)
def test_a_rung_is_a_plain_network(rung: Rung) -> None:
    shape = shape_of(rung)
    params = make_params(shape)
    expected = plain_network(params)
    np.testing.assert_allclose(outputs_of(shape, params), expected, rtol=1e-4, atol=1e-5)
    sizes = [table.shape for table in params.tables]
    assert sizes == [(5, 4), (90, 16)]
    first, *kernels = (layer.kernel.size for layer in params.layers)
    forward = 2 * (first + sum(kernels))
    both = 3 * forward - 2 * QUANTITIES * rung.width + 16 * (5 * 4 + 90 * 16) / shape.batch_size
    assert EMBEDDING_MLP.flops(shape) == (forward, both)
    assert RungFacts.of(shape).weights == first + sum(kernels) + 5 * 4 + 90 * 16


def test_vectors_are_larger_for_larger_vocabularies() -> None:
    sizes = [dimensions(vocabulary) for vocabulary in (2, 10, 60, 500, 10_000)]
    assert sizes == [2, 6, 16, 16, 16]


@pytest.mark.parametrize("way", ["wwwddd", "wdwdwd"])
def test_any_way_up_the_ladder_keeps_the_outputs(way: str) -> None:
    shape = shape_of(SMALL)
    params = make_params(shape)
    generator = np.random.default_rng(3)
    moments = [
        jax.tree.map(lambda leaf: np.float32(generator.random(leaf.shape)), params)
        for _ in range(2)
    ]
    state = adamw.init(params, 0.9).replace(first=moments[0], second=moments[1])
    live = Live(params, (), state, average=params)
    before = outputs_of(shape, params)
    for number, step in enumerate(way):
        rung = (EMBEDDING_MLP.wider if step == "w" else EMBEDDING_MLP.deeper)(shape.rung)
        assert rung is not None
        previous, live = live, grow(np.random.default_rng(number), shape, live, rung)
        if step == "w":
            back = shrink(replace(shape, rung=rung), live, shape.rung)
            jax.tree.map(np.testing.assert_array_equal, back.params, previous.params)
        shape = replace(shape, rung=rung)
        native, _ = EMBEDDING_MLP.init(np.random.default_rng(0), shape, shape.features)
        for tree in (live.params, live.average, live.optimizer.first, live.optimizer.second):
            jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), tree, native)
        after = outputs_of(shape, live.params)
        assert np.abs(after - before).max() <= 1e-6 * np.abs(before).max()
        for tree, moment in zip(
            (live.optimizer.first, live.optimizer.second), moments, strict=True
        ):
            jax.tree.map(np.testing.assert_array_equal, tree.tables, moment.tables)
    assert shape.rung == Rung(4, 256)


# --- tables


def postcodes(rows: int = 4000, categories: int = 500) -> tuple[pd.DataFrame, np.ndarray]:
    """The target is a matter of the category, and of how that takes a quantity."""
    generator = np.random.default_rng(0)
    level = generator.standard_normal(categories)
    code, size = generator.integers(0, categories, rows), generator.standard_normal(rows)
    y = level[code] + 0.5 * np.sign(level[code]) * size + 0.3 * generator.standard_normal(rows)
    table = pd.DataFrame(
        {"code": [f"z{number:03d}" for number in code], "size": size, "paid": size > 1.0}
    )
    return table, y


def test_large_categories_are_numbered_behind_the_other_columns() -> None:
    table, y = postcodes()
    table.loc[0, "code"] = "seen once"
    table.loc[:1, "paid"] = True
    fitted = Preprocessing.fit(table, y, "regression")
    plain = Preprocessing.fit(table.drop(columns="code"), y, "regression")
    assert fitted.features == plain.features + 1 == 4
    counts = table["code"].value_counts()
    names = sorted(counts.index[counts > 1])
    assert fitted.inputs.vocabularies == (1 + len(names),)
    assert fitted.inputs.continuous == [True, False, False, False]
    made = fitted.transform(table)
    np.testing.assert_array_equal(made[:, :-1], plain.transform(table))
    expected = [names.index(code) + 1 if code in names else 0 for code in table["code"]]
    np.testing.assert_array_equal(made[:, -1], expected)
    assert made[0, -1] == 0
    again = Preprocessing.from_json(json.loads(json.dumps(fitted.to_json())))
    np.testing.assert_array_equal(again.transform(table), made)


def test_missing_categories_have_a_number_if_training_had_them() -> None:
    table, y = postcodes()
    new = pd.DataFrame({"code": [None, "elsewhere"], "size": 0.0, "paid": False})
    fitted = Preprocessing.fit(table, y, "regression")
    np.testing.assert_array_equal(fitted.transform(new)[:, -1], [0, 0])
    table.loc[::7, "code"] = None
    fitted = Preprocessing.fit(table, y, "regression")
    (vocabulary,) = fitted.inputs.vocabularies
    np.testing.assert_array_equal(fitted.transform(new)[:, -1], [vocabulary - 1, 0])
    assert fitted.transform(table)[:, -1].max() == vocabulary - 1


def test_tables_without_large_categories_stay_as_they_were() -> None:
    table, y = postcodes(categories=64)
    for own in (table, table[["size", "paid"]]):
        task = from_arrays(own, y)
        assert (task.form, task.family, task.vocabularies) == ("table", "mlp", ())
        assert fingerprint(task) == fingerprint(from_arrays(own, y, embed=False))


def test_numbered_columns_must_be_the_last_ones() -> None:
    stored = Preprocessing.fit(*postcodes(), "regression").to_json()
    stored["inputs"]["columns"].reverse()
    message = "^the preprocessing cannot be read: its numbered columns are not the last ones$"
    with pytest.raises(ValueError, match=message):
        Preprocessing.from_json(stored)


def test_500_categories_are_learned_and_as_other_they_are_not() -> None:
    table, y = postcodes()
    options: dict[str, Any] = {"method": "cosine", "learning_rate": 1e-2, "updates": 600}
    options |= {"decisions": 6, "rung": "32x1", "batch_size": 64}
    embedded = rlagent.tune(table[:3500], y[:3500], **options)
    assert isinstance(embedded.model, Model)
    assert embedded.model.family == "embedding_mlp"
    assert embedded.summary["test_score"] > 0.8  # of at most 0.94, for the noise
    other = rlagent.tune(table[:3500], y[:3500], family="mlp", **options)
    assert other.model.features == 3 + 65
    assert other.summary["test_score"] < 0.4
    again = rlagent.load_run(embedded.run_dir)
    assert again.score(table[3500:], y[3500:]) > 0.75
    # An attack moves the quantity, and leaves the category, which says more.
    attacked = again.robust_score(table[3500:], y[3500:], 0.5)
    assert 0.2 < attacked < again.score(table[3500:], y[3500:]) - 0.1
    unknown = table[3500:].assign(code="elsewhere")
    assert np.isfinite(again.predict(unknown)).all()
    assert again.score(unknown, y[3500:]) < 0.4


# --- what may be done to them


def test_augmentation_makes_no_new_numbers() -> None:
    shape = shape_of(SMALL)
    x = jnp.asarray(inputs(600))
    made = augment(x, jnp.float32(1.0), jnp.uint32(3), shape, jnp.int32(shape.features))
    before, after = (np.asarray(one)[:, QUANTITIES:] for one in (x, made))
    for place, vocabulary in enumerate(VOCABULARIES):
        assert set(after[:, place]) <= set(map(float, range(vocabulary)))
    unknown = np.mean(after[before > 0] == 0)
    assert 0.15 < unknown < 0.3
    kept = np.mean(after[:, 1] == before[:, 1])
    assert 0.5 < kept < 0.8
    assert np.mean(np.asarray(made)[:, :QUANTITIES] == np.asarray(x)[:, :QUANTITIES]) < 0.01


def test_knobs_are_open_for_the_quantities_of_a_row() -> None:
    table, y = postcodes()
    task = from_arrays(table, y, batch_size=32)
    assert task.attackable
    names = ("mixup", "cutmix", "augmentation", "adversarial_epsilon")
    assert [knobs.meaningful(name, task) for name in names] == [False, False, True, True]
    start = episodes.Start(
        1, DEFAULT._replace(adversarial_epsilon=0.5), SMALL, 20.0, 1, robust_epsilon=0.2
    )
    bank = jax.device_put(make_bank(task, padded=False))
    np.testing.assert_array_equal(bank.continuous, [[1.0, 0.0, 0.0, 0.0]])
    episode = episodes.begin(task, bank, start, KNOB_NAMES)
    assert "mixing" not in episode.shape.levers
    only = from_arrays(table[["code"]], y)
    assert (only.form, only.attackable) == ("mixed", False)


def test_the_family_is_for_tables_with_numbers() -> None:
    assert fitting("mixed", ()) == ["embedding_mlp"]
    assert (EMBEDDING_MLP.widths, EMBEDDING_MLP.depths) == (MLP.widths, MLP.depths)
    table, y = postcodes()
    with pytest.raises(
        ValueError,
        match=r"^embedding_mlp reads mixed or pair, but data is of the form table; there are for",
    ):
        rlagent.tune(table[["size"]], y, family="embedding_mlp", method="constant")
    with pytest.raises(ValueError, match=r"^factorization reads pair or choice, but data is of "):
        rlagent.tune(table, y, family="factorization", method="constant")
