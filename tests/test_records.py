"""Tables with free text beside other columns: read, learned from, grown and predicted for."""

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
from rlagent.apply.wording import task_in_words
from rlagent.cli import main
from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.books import RungFacts
from rlagent_envs.config import KNOB_NAMES
from rlagent_envs.episode import Start
from rlagent_envs.forms import UNKNOWN, check_features, check_numbers, form_of
from rlagent_envs.growth import grow, shrink
from rlagent_envs.models import RECORD, TEXT, Rung, ShapeClass
from rlagent_envs.models.record import Layers
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks import Preprocessing, from_arrays, read_features
from rlagent_envs.tasks.record_input import RecordInput
from rlagent_envs.tasks.table_input import TableInput
from rlagent_envs.tasks.texts import TextInput
from rlagent_envs.training import adamw
from rlagent_envs.training.augmentation import augment
from rlagent_envs.training.bank import make_bank
from rlagent_envs.training.loop import Live

SMALL = Rung(1, 16)
LENGTH, TOKENS, QUANTITIES, NUMBERED = 6, 20, 3, (5, 90)
COLUMNS = QUANTITIES + len(NUMBERED)
FEATURES = LENGTH + COLUMNS


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


FILLING = ["the", "a", "film", "plot", "it", "was", "is", "so", ",", "and", "with"]


def sales(rows: int = 600, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """What is liked and cheap is bought; horror turns round what its words say.

    The text alone tells nothing, and the other columns are right in 72 % of the rows at the best.
    """
    generator = np.random.default_rng(seed)
    liked, kind = generator.random(rows) < 0.6, generator.choice(["drama", "horror"], rows)
    reviews = []
    for praised in liked == (kind == "drama"):
        words = generator.choice(FILLING, generator.integers(4, 9)).tolist()
        words.insert(3, generator.choice(["fine", "great"] if praised else ["dull", "poor"]))
        reviews.append(" ".join(words))
    price = np.round(generator.uniform(1.0, 40.0, rows), 2)
    bought = np.where(liked & (price < 28.0), "yes", "no")
    return pd.DataFrame({"price": price, "review": reviews, "kind": kind}), bought


def shape_of(rung: Rung) -> ShapeClass:
    return ShapeClass(
        "record",
        rung,
        "classification",
        FEATURES,
        3,
        4,
        input_shape=(LENGTH, COLUMNS),
        vocabularies=(TOKENS, *NUMBERED),
    )


def make_params(shape: ShapeClass) -> Layers:
    """As if it had been trained: nothing is at the value that it began with."""
    generator = np.random.default_rng(0)
    params, _ = RECORD.init(generator, shape, shape.features)
    return jax.tree.map(
        lambda leaf: leaf + 0.1 * generator.standard_normal(leaf.shape).astype(np.float32), params
    )


def records(rows: int = 30) -> np.ndarray:
    """Texts of all lengths, the first one empty; then quantities, then numbers."""
    generator = np.random.default_rng(1)
    lengths = np.arange(rows) % (LENGTH + 1)
    tokens = generator.integers(1, TOKENS, (rows, LENGTH))
    tokens = np.where(np.arange(LENGTH) < lengths[:, None], tokens, 0)
    numbers = [generator.integers(0, size, rows) for size in NUMBERED]
    made = [tokens, generator.standard_normal((rows, QUANTITIES)), np.stack(numbers, axis=1)]
    return np.concatenate(made, axis=1).astype(np.float32)


def outputs_of(shape: ShapeClass, params: Layers, start: int | None = None) -> np.ndarray:
    begin, dropout = (None, 0.0) if start is None else (jnp.uint32(start), 0.5)
    x = jnp.asarray(records())
    return np.asarray(RECORD.apply(shape, params, (), x, jnp.float32(dropout), begin)[0])


def plain_record(params: Layers, row: np.ndarray, length: int = LENGTH) -> np.ndarray:
    """The outputs for one record, in float64; its text is as long as it is."""
    texts, beside = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    x = texts.embedding[row[:length][row[:length] > 0].astype(int)]

    def convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        padded = np.pad(x, ((1, 1), (0, 0)))
        return sum(padded[place : place + len(x)] @ kernel[place] for place in range(3))

    for block in texts.blocks:
        x = x + convolved(np.maximum(convolved(x, block.first) + block.bias, 0.0), block.second)
    width = x.shape[1]
    pooled = np.concatenate([x.max(axis=0), x.mean(axis=0)]) if len(x) else np.zeros(2 * width)
    columns, numbers = np.split(row[length:], [len(row) - length - len(beside.tables)])
    vectors = [table[int(one)] for table, one in zip(beside.tables, numbers, strict=True)]
    units = np.concatenate([pooled, columns, *vectors])
    *hidden, last = beside.layers
    assert len(hidden) == 2
    for layer in hidden:
        units = np.maximum(units @ layer.kernel + layer.bias, 0.0)
    of_text = pooled @ texts.last.kernel.reshape(2 * width, -1) + texts.last.bias
    return np.asarray(of_text + units @ last.kernel + last.bias)


def plain_network(params: Layers) -> np.ndarray:
    return np.stack([plain_record(params, row) for row in records()])


# --- forms


def test_a_record_is_tokens_and_then_a_row() -> None:
    for vocabularies in ((TOKENS,), (TOKENS, 5), (TOKENS, 5, 7)):
        assert form_of((LENGTH, 2), vocabularies, LENGTH + 2) == "record"
        check_features(LENGTH + 2, (LENGTH, 2), vocabularies)
    assert form_of((LENGTH, 2), (), LENGTH * 2) == "sequence"
    with pytest.raises(ValueError, match=r"^its 12 features are no record of the shape \(6, 2\)$"):
        check_features(12, (LENGTH, 2), (TOKENS,))
    with pytest.raises(ValueError, match=r"^there are no examples of the shape \(6, 2\) with voc"):
        form_of((LENGTH, 2), (TOKENS, 5, 7, 9), LENGTH + 2)


@pytest.mark.parametrize(
    ("place", "value"), [(0, TOKENS), (LENGTH - 1, -1), (-2, NUMBERED[0]), (-1, NUMBERED[1])]
)
def test_numbers_of_a_record_are_of_their_vocabularies(place: int, value: int) -> None:
    form = (LENGTH, COLUMNS), (TOKENS, *NUMBERED)
    x = records()
    check_numbers("x", x, *form)
    x[7, place] = value
    message = f"^x has {value} for a number; vocabularies are of 20, 5, 90, from 0$"
    with pytest.raises(ValueError, match=message):
        check_numbers("x", x, *form)


# --- networks


@pytest.mark.parametrize("rung", [SMALL, Rung(2, 32)], ids=str)
def test_a_rung_is_a_plain_network(rung: Rung) -> None:
    shape = shape_of(rung)
    params = make_params(shape)
    expected = plain_network(params)
    np.testing.assert_allclose(outputs_of(shape, params), expected, rtol=1e-4, atol=1e-5)
    texts, (tables, layers) = params
    convolved = sum(block.first.size + block.second.size for block in texts.blocks)
    dense = texts.last.kernel.size + sum(layer.kernel.size for layer in layers)
    forward = 2.0 * (LENGTH * convolved + dense)
    # Backward twice that, but for the gradient of quantities; and vectors are moved by AdamW.
    looked_up = LENGTH * rung.width
    moved = 16 * (texts.embedding.size + sum(table.size for table in tables)) / shape.batch_size
    both = 3 * forward - 2 * QUANTITIES * 2 * rung.width + looked_up + moved
    assert RECORD.flops(shape) == pytest.approx((forward, both))
    leaves = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    assert RungFacts.of(shape).weights == sum(leaf.size for leaf in leaves)


def test_without_what_is_beside_it_is_the_network_of_texts() -> None:
    """Dropped out alike, too."""
    shape = shape_of(Rung(2, 16))
    params = make_params(shape)
    *hidden, last = params.beside.layers
    silent = last._replace(kernel=0.0 * last.kernel, bias=0.0 * last.bias)
    params = params._replace(beside=params.beside._replace(layers=(*hidden, silent)))
    of_text = replace(
        shape, family="text", features=LENGTH, input_shape=(LENGTH,), vocabularies=(TOKENS,)
    )
    x = jnp.asarray(records()[:, :LENGTH])
    for start, dropout in ((None, 0.0), (jnp.uint32(3), 0.5)):
        alone, _ = TEXT.apply(of_text, params.texts, (), x, jnp.float32(dropout), start)
        made = outputs_of(shape, params, None if start is None else 3)
        np.testing.assert_allclose(made, alone, rtol=1e-6, atol=1e-6)


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
    before = plain_network(params)
    for number, step in enumerate(way):
        rung = (RECORD.wider if step == "w" else RECORD.deeper)(shape.rung)
        assert rung is not None
        previous, live = live, grow(np.random.default_rng(number), shape, live, rung)
        if step == "w":  # nothing hears the new channels and units, so that they go first
            back = shrink(replace(shape, rung=rung), live, shape.rung)
            for old, new in (
                (previous.params, back.params),
                (previous.average, back.average),
                (previous.optimizer.first, back.optimizer.first),
            ):
                jax.tree.map(np.testing.assert_array_equal, new, old)
        shape = replace(shape, rung=rung)
        native, _ = RECORD.init(np.random.default_rng(0), shape, shape.features)
        for tree in (live.params, live.average, live.optimizer.first, live.optimizer.second):
            jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), tree, native)
        assert all((leaf > 0).all() for leaf in jax.tree.leaves(live.optimizer.second))
        for tree in (live.params, live.average):
            assert np.abs(plain_network(tree) - before).max() <= 1e-6 * np.abs(before).max()
    assert shape.rung == Rung(4, 128)


def test_what_only_the_perceptron_hears_stays() -> None:
    """Channels that the last layer of the text network leaves out, and the perceptron needs."""
    shape = shape_of(Rung(1, 32))
    params = make_params(shape)
    *_, last = params.texts
    heard = np.arange(32) % 2 == 1
    texts = params.texts._replace(
        blocks=tuple(one._replace(first=0.0 * one.first) for one in params.texts.blocks),
        last=last._replace(kernel=0.0 * last.kernel),
    )
    first, *rest = params.beside.layers
    kernel = first.kernel.copy()
    kernel[:64] *= np.concatenate([heard, heard])[:, None]
    params = Layers(texts, params.beside._replace(layers=(first._replace(kernel=kernel), *rest)))
    narrowed = RECORD.narrow(params, 16)(params)
    np.testing.assert_array_equal(narrowed.texts.embedding, params.texts.embedding[:, heard])
    assert narrowed.beside.layers[0].kernel.shape == (len(kernel) - 32, 32)
    np.testing.assert_array_equal(
        narrowed.beside.layers[0].kernel[:16].any(axis=1), np.ones(16, bool)
    )


# --- what may be done to them


def test_augmentation_hides_tokens_and_changes_columns() -> None:
    shape = shape_of(SMALL)
    x = records(3000)
    made = np.asarray(
        augment(jnp.asarray(x), jnp.float32(1.0), jnp.uint32(3), shape, jnp.int32(FEATURES))
    )
    tokens, before = made[:, :LENGTH], x[:, :LENGTH]
    changed = tokens != before
    assert (tokens[changed] == UNKNOWN).all()
    assert 0.25 < changed[before > UNKNOWN].mean() < 0.35
    quantities = slice(LENGTH, LENGTH + QUANTITIES)
    assert np.mean(made[:, quantities] == x[:, quantities]) < 0.01
    for place, vocabulary in zip((-2, -1), NUMBERED, strict=True):
        assert set(made[:, place]) <= set(map(float, range(vocabulary)))


def test_records_learn_with_augmentation_and_other_levers_are_there() -> None:
    table, bought = sales(400)
    task = from_arrays(table, bought, batch_size=32)
    assert task.attackable
    names = ("mixup", "cutmix", "augmentation", "adversarial_epsilon", "stochastic_depth")
    assert [knobs.meaningful(name, task) for name in names] == [False, False, True, True, True]
    bank = jax.device_put(make_bank(task, padded=False))
    assert task.preprocessing is not None
    length, columns = task.input_shape
    expected = [0.0] * length + [1.0, 0.0, 0.0]
    assert columns == 3
    np.testing.assert_array_equal(bank.continuous, [expected])
    settings = DEFAULT._replace(learning_rate=1e-2, augmentation=0.1)
    episode = episodes.begin(task, bank, Start(5, settings, SMALL, 200.0, 2), ())
    every = episodes.begin(task, bank, Start(5, settings, SMALL, 200.0, 2), KNOB_NAMES)
    assert {"augmentation", "adversarial"} <= set(every.shape.levers)
    assert "mixing" not in every.shape.levers
    for _ in range(2):
        ((episode, _, report),) = batch.step([bank], [episode], knobs.HOLD[None], "sequential")
    assert report.best_score < -0.1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(episode.run.live))


# --- tables


def test_a_record_is_what_a_text_and_a_table_are() -> None:
    table, bought = sales()
    table["title"] = [f"{word} of {row}" for row, word in enumerate(table["kind"])]
    table["always"] = "the same words"
    table["never"] = None
    table.loc[:9, "price"] = np.nan
    fitted = Preprocessing.fit(table, bought, "classification")
    text = TextInput.fit(table[["review", "title"]])
    beside = TableInput.fit(table[["price", "kind"]])
    assert fitted.inputs == RecordInput(text=text, table=beside)
    new = pd.DataFrame(
        {
            "kind": ["western", None, "drama"],
            "more": 1,
            "title": ["Drama!", "", "of"],
            "price": [None, 3.0, 1e9],
            "review": [np.nan, "FINE plot", None],
        }
    )
    made = fitted.transform(new)
    assert fitted.features == made.shape[1] == text.features + beside.features
    np.testing.assert_array_equal(made[:, : text.features], text.transform(new))
    np.testing.assert_array_equal(made[:, text.features :], beside.transform(new))
    again = Preprocessing.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again == fitted
    task = from_arrays(table, bought)
    assert (task.form, task.family) == ("record", "record")
    assert f"tokens of {task.vocabularies[0]} that there are in 'review', 'title' and 4 " in (
        task_in_words(task)
    )
    assert "features of 'price', 'kind', 2 classes" in task_in_words(task)


def test_large_categories_beside_a_text_are_numbered() -> None:
    table, bought = sales(2000)
    table["shop"] = [f"s{row % 100}" for row in range(2000)]
    task = from_arrays(table, bought)
    assert task.vocabularies[1:] == (101,)
    assert task.preprocessing is not None
    assert set(task.valid.x[:, -1]) <= set(map(float, range(1, 101)))
    assert len(set(task.valid.x[:, -1])) > 90
    other = from_arrays(table, bought, embed=False)
    assert other.features == task.features - 1 + 65


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"id": np.arange(60)},
            "column 'id' numbers the rows, from 0 to 59; identifiers cannot be used, so drop it: "
            "--drop id, in Python drop='id'",
        ),
        (
            {"id": 1000.0 + 3 * np.arange(60)[::-1]},
            "column 'id' numbers the rows, from 1000 to 1177; identifiers cannot be used, so drop "
            "it: --drop id, in Python drop='id'",
        ),
        (
            {"user": [f"user-{row}" for row in range(60)]},
            "column 'user' has 60 different texts in 60 rows; identifiers cannot be used, so drop "
            "it: --drop user, in Python drop='user'",
        ),
        (
            {"at": pd.date_range("2020-01-01", periods=60)},
            "column 'at' is of type datetime64[us]; give numbers, texts or booleans",
        ),
    ],
)
def test_identifiers_beside_a_text_are_refused(given: dict[str, Any], message: str) -> None:
    table, bought = sales(60)
    with pytest.raises(ValueError, match="column") as caught:
        Preprocessing.fit(table.assign(**given), bought, "classification")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "numbers", [np.arange(60) * 5, np.arange(60) / 2, np.arange(60) // 2, [None, *range(59)]]
)
def test_other_whole_numbers_are_quantities(numbers: Any) -> None:
    table, bought = sales(60)
    fitted = Preprocessing.fit(table.assign(size=numbers), bought, "classification")
    assert isinstance(fitted.inputs, RecordInput)
    assert [one.name for one in fitted.inputs.table.columns] == ["price", "kind", "size"]


def test_damaged_preprocessing_is_refused() -> None:
    table, bought = sales(60)
    stored = Preprocessing.fit(table, bought, "classification").to_json()
    stored["inputs"]["table"]["columns"][0]["name"] = "review"
    message = "^the preprocessing cannot be read: it has two columns of one name$"
    with pytest.raises(ValueError, match=message):
        Preprocessing.from_json(stored)


# --- tuning


def test_what_needs_text_and_table_is_learned_and_predicted() -> None:
    table, bought = sales(1400)
    table.loc[::50, "price"] = np.nan
    whole = table.assign(bought=bought)
    whole[:1200].to_csv("sales.csv", index=False)
    new = table[1200:].copy()
    new.iloc[:3, 2] = ["western", None, None]
    new.iloc[2, 1] = None
    new.to_csv("new.csv", index=False)
    new.to_parquet("new.parquet")
    options = ["--target", "bought", "--learning-rate", "0.01", "--updates", "300"]
    options += ["--rung", "16x1", "--decisions", "5", "--batch-size", "32", "--method", "cosine"]
    assert main(["tune", "sales.csv", *options, "--out", "run", "--quiet"]) == 0
    result = rlagent.load_run("run")
    assert isinstance(result.model, Model)
    assert result.model.family == "record"
    assert result.summary["test_score"] > 0.9
    predicted = result.predict(new)
    assert np.mean(predicted == bought[1200:]) > 0.9
    for name in ("new.csv", "new.parquet"):
        assert main(["predict", "run", name, "--out", "out.csv"]) == 0
        np.testing.assert_array_equal(pd.read_csv("out.csv")["prediction"], predicted)
    model, x = result.model, result.model.transform(new)
    expected = [plain_record(model.params, row, model.input_shape[0]) for row in x]
    np.testing.assert_allclose(model.raw(x), expected, rtol=1e-3, atol=1e-3)
    # An attack moves prices, and neither words nor kinds.
    attacked = result.robust_score(new[3:], bought[1203:], 0.3)
    assert 0.5 < attacked < result.score(new[3:], bought[1203:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--family", "mlp"],
            "mlp reads table or image or sequence, but sales is of the form record; there are for "
            "it: record",
        ),
        (["--set", "mixup=0.2"], "mixup has no meaning for inputs of the form record"),
        (
            ["--rung", "8x1"],
            "record has no rung 8x1; widths are 16, 32, 64, 128 and depths 1, 2, 3, 4",
        ),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table, bought = sales(60)
    table.assign(bought=bought).to_csv("sales.csv", index=False)
    assert main(["tune", "sales.csv", "--target", "bought", *options, "--method", "constant"]) == 2
    assert capsys.readouterr().err == f"rlagent: {message}\n"


@pytest.mark.parametrize("lacking", ["review", "price", "kind"])
def test_what_a_file_to_predict_for_lacks_is_named(lacking: str) -> None:
    table, bought = sales(60)
    fitted = Preprocessing.fit(table, bought, "classification")
    table.drop(columns=lacking).to_csv("new.csv", index=False)
    with pytest.raises(ValueError, match=f"^new.csv lacks the column '{lacking}'$"):
        read_features("new.csv", fitted)
    with pytest.raises(ValueError, match=f"^the input lacks the column '{lacking}'$"):
        fitted.transform(table.drop(columns=lacking))
    with pytest.raises(ValueError, match=r"^the input must be a table, as in training, not an arr"):
        fitted.transform(["a fine film"])
