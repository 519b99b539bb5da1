"""Rankings: what was not taken is drawn, the loss is that of BPR, and items are ranked."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import ndcg_score

import rlagent
from rlagent.apply import scores
from rlagent.apply.rankings import items_of_users
from rlagent.apply.request import Request, make_plan
from rlagent.apply.source import fingerprint
from rlagent.cli import main
from rlagent_envs import knobs
from rlagent_envs.forms import check_features, form_of
from rlagent_envs.models import FACTORIZATION, Rung, ShapeClass, fitting
from rlagent_envs.tasks import Preprocessing, from_ratings, load_task
from rlagent_envs.tasks.choices import NEGATIVES, ChoiceInput, choices_of
from rlagent_envs.tasks.task import Split
from rlagent_envs.training import losses
from rlagent_envs.training.bank import baseline_loss

USERS, ITEMS, TAKEN = 100, 60, 20


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def taken() -> pd.DataFrame:
    """Each user takes items of their group, of which there are two, and popular ones sooner."""
    generator = np.random.default_rng(0)
    own = np.arange(USERS)[:, None] % 2 == np.arange(ITEMS)[None, :] % 2
    liking = 3.0 * own + 0.5 * generator.standard_normal((1, ITEMS))
    order = np.argsort(-liking - generator.gumbel(size=liking.shape), axis=1)[:, :TAKEN]
    users = np.repeat([f"u{user}" for user in range(USERS)], TAKEN)
    when = np.tile(np.arange(TAKEN), USERS)
    table = pd.DataFrame({"user": users, "item": order.reshape(-1), "timestamp": when})
    return table.sample(frac=1.0, random_state=0)


# --- choices


def test_a_choice_is_a_user_and_two_items() -> None:
    assert form_of((2,), (5, 7), 3) == "choice"
    check_features(3, (2,), (5, 7))
    with pytest.raises(ValueError, match=r"^its 2 features are no choice of the shape \(2,\)$"):
        check_features(2, (2,), (5, 7))
    assert fitting("choice", ()) == ["factorization"]


def test_what_was_not_taken_is_drawn_among_what_the_user_did_not_take() -> None:
    table = taken()
    task = from_ratings(table, None, user="user", item="item", kind="ranking")
    assert task.test is not None
    assert task.preprocessing is not None
    pairs = Preprocessing.fit(
        table[["user", "item"]], np.arange(len(table)), "regression", ids=("user", "item")
    )
    numbers = pairs.transform(table)
    counts = table.groupby("user")["user"].transform("size")
    place = table.groupby("user")["timestamp"].rank()
    in_train = (place <= counts - 8).to_numpy()
    everything = set(map(tuple, numbers.tolist()))
    of_train = set(map(tuple, numbers[in_train].tolist()))
    of_test = set(map(tuple, numbers[(place > counts - 4).to_numpy()].tolist()))
    until_valid = everything - of_test
    for split, own, known in (
        (task.train, of_train, of_train),
        (task.valid, until_valid - of_train, until_valid),
        (task.test, of_test, everything),
    ):
        rows = np.arange(len(split.y))
        chosen = np.stack([split.x[:, 0], split.x[rows, 1 + split.y]], axis=1)
        other = np.stack([split.x[:, 0], split.x[rows, 2 - split.y]], axis=1)
        assert set(map(tuple, chosen.tolist())) <= own
        assert not set(map(tuple, other.tolist())) & known
        _, often = np.unique(chosen, axis=0, return_counts=True)
        assert set(often) == {NEGATIVES}
        assert 0.4 < split.y.mean() < 0.6
        assert len(np.unique(other[:, 1])) > ITEMS - 3
    # What is taken later is not left out of what a part draws: that would give it away.
    for split, later in ((task.train, everything - of_train), (task.valid, of_test)):
        others = split.x[np.arange(len(split.y)), 2 - split.y]
        assert set(zip(split.x[:, 0].tolist(), others.tolist(), strict=True)) & later
    assert len(task.train.y) == NEGATIVES * len(of_train)
    assert baseline_loss(task) == pytest.approx(np.log(2), abs=0.01)


def test_what_is_drawn_is_drawn_evenly_and_numbered_afterwards() -> None:
    generator = np.random.default_rng(0)
    users, items, rows = 30, 40, {"train": 300, "valid": 100, "test": 100}
    pairs = {part: generator.integers((users, items), size=(n, 2)) for part, n in rows.items()}
    raw = choices_of(np.random.default_rng(1), pairs, np.arange(users), np.arange(items))
    left, often, expected = np.ones((users, items)), np.zeros(items), np.zeros(items)
    for part, own in pairs.items():
        left[own[:, 0], own[:, 1]] = 0.0
        user, _, other = raw[part].x[:, 0].astype(int), *_taken_and_other(raw[part])
        assert left[user, other].all()
        often += np.bincount(other, minlength=items)
        expected += (left / left.sum(axis=1, keepdims=True))[user].sum(axis=0)
    # Chi-square of 39 degrees of freedom: above 73 by chance once in a thousand times.
    assert np.sum((often - expected) ** 2 / expected) < 73
    # Rare ones have number 0 on either side.
    user_numbers = np.where(np.arange(users) % 5, np.arange(users), 0)
    item_numbers = np.where(np.arange(items) % 2, np.arange(items), 0)
    made = choices_of(np.random.default_rng(1), pairs, user_numbers, item_numbers)
    for part, split in made.items():
        x = raw[part].x.astype(int)
        np.testing.assert_array_equal(split.x[:, 0], user_numbers[x[:, 0]])
        np.testing.assert_array_equal(split.x[:, 1:], item_numbers[x[:, 1:]])
        np.testing.assert_array_equal(split.y, raw[part].y)
        assert (split.x[:, 1:] == 0).all(axis=1).any()


def _taken_and_other(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Of each choice the item taken and the other one."""
    x, rows = split.x.astype(int), np.arange(len(split.y))
    return x[rows, 1 + split.y], x[rows, 2 - split.y]


def long_tail() -> dict[str, pd.DataFrame]:
    """Beside what all take, each user takes eight items that nobody else does."""
    own = np.arange(8 * USERS)
    rare = pd.DataFrame({"user": [f"u{n // 8}" for n in own], "item": 1000 + own})
    both = pd.concat([taken()[["user", "item"]], rare]).sample(frac=1.0, random_state=1)
    ends = (0, 1600, 2200, len(both))
    return {
        part: both[first:last]
        for part, first, last in zip(("train", "valid", "test"), ends, ends[1:], strict=False)
    }


def test_the_auc_is_that_among_all_items_that_a_user_did_not_take() -> None:
    parts = long_tail()
    given = {"x_valid": parts["valid"], "x_test": parts["test"]}
    task = from_ratings(parts["train"], None, user="user", item="item", kind="ranking", **given)
    result = rlagent.tune(
        task,
        method="cosine",
        learning_rate=0.01,
        rung="8x1",
        updates=400,
        decisions=4,
        weight_decay=0.3,
        settings={"dropout": 0.2},
        out="run",
    )
    everything = pd.concat(list(parts.values()))
    users, items = (everything[name].unique() for name in ("user", "item"))
    grid = pd.DataFrame([(u, i) for u in users for i in items], columns=["user", "item"])
    likely = pd.Series(result.predict_proba(grid)[:, 0].astype(float), [grid["user"], grid["item"]])
    each = []
    for user, item in parts["test"].itertuples(index=False):
        of_user = likely[user]
        others = of_user.drop(everything["item"][everything["user"] == user])
        ahead = of_user[item] - others.to_numpy()
        each.append(np.mean(np.where(np.abs(ahead) < 1e-6, 0.5, ahead > 0)))
    assert result.summary["test_score"] == pytest.approx(np.mean(each), abs=0.02)
    assert np.mean(each) > 0.6


def test_a_seed_is_a_task_and_without_times_the_rows_are_drawn() -> None:
    table = taken()
    table.to_csv("taken.csv", index=False)
    names = {"user": "user", "item": "item", "kind": "ranking"}
    task = from_ratings(table, None, user="user", item="item", kind="ranking", seed=3)
    assert fingerprint(load_task("taken.csv", **names, seed=3)) == fingerprint(task)  # type: ignore[arg-type]
    other = from_ratings(table, None, user="user", item="item", kind="ranking", seed=4)
    assert fingerprint(other) != fingerprint(task)
    timeless = table.drop(columns="timestamp")
    drawn = from_ratings(timeless, None, user="user", item="item", kind="ranking")
    assert len(drawn.train.y) == NEGATIVES * round(0.6 * len(table))
    parts = {"x_valid": table[:100], "x_test": table[100:300]}
    given = from_ratings(table[300:], None, user="user", item="item", kind="ranking", **parts)
    assert given.test is not None
    sizes = [len(split.y) / NEGATIVES for split in (given.train, given.valid, given.test)]
    assert sizes == [len(table) - 300, 100, 200]


def test_folds_would_know_what_was_taken() -> None:
    task = from_ratings(taken(), None, user="user", item="item", kind="ranking")
    with pytest.raises(ValueError, match=r"^folds has no meaning for \S+: what a user took stands"):
        make_plan(Request(folds=3), task, ())


def test_ids_in_files_are_texts() -> None:
    table = taken()
    table["item"] = "0" + table["item"].astype(str)
    table.to_csv("taken.csv", index=False)
    task = load_task("taken.csv", user="user", item="item", kind="ranking")
    assert task.preprocessing is not None
    rows = pd.DataFrame({"user": ["u1", "u1", "u1"], "item": ["017", "17", "elsewhere"]})
    made = task.preprocessing.transform(rows)
    assert made[0, 1] > 0
    np.testing.assert_array_equal(made[:, 2], 0)
    np.testing.assert_array_equal(made[1:, 1], 0)


def test_the_loss_is_that_of_bpr() -> None:
    shape = ShapeClass(
        "factorization",
        Rung(2, 8),
        "classification",
        3,
        2,
        4,
        input_shape=(2,),
        vocabularies=(5, 7),
    )
    generator = np.random.default_rng(0)
    params, _ = FACTORIZATION.init(generator, shape, 3)
    params = jax.tree.map(
        lambda leaf: leaf + 0.3 * generator.standard_normal(leaf.shape).astype(np.float32), params
    )
    x = np.stack([generator.integers(0, size, 50) for size in (5, 7, 7)], axis=1)
    zero = jnp.float32(0.0)

    def of(shape: ShapeClass, x: np.ndarray) -> np.ndarray:
        made, _ = FACTORIZATION.apply(
            shape, params, (), jnp.asarray(x, jnp.float32), zero, None, None, None
        )
        return np.asarray(made)

    pair = ShapeClass("factorization", shape.rung, "regression", 2, 1, 4, vocabularies=(5, 7))
    native, _ = FACTORIZATION.init(generator, pair, 2)
    jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), params, native)
    first, second = of(pair, x[:, [0, 1]])[:, 0], of(pair, x[:, [0, 2]])[:, 0]
    outputs = of(shape, x)
    np.testing.assert_allclose(outputs, np.stack([first, second], axis=1), rtol=1e-5, atol=1e-6)
    y = generator.integers(0, 2, 50)
    difference = np.where(y == 0, first - second, second - first).astype(float)
    expected = -np.log(1.0 / (1.0 + np.exp(-difference)))
    _, plain = losses.example_losses(
        "classification", jnp.asarray(outputs), jnp.asarray(y), jnp.ones(2), zero
    )
    np.testing.assert_allclose(plain, expected, rtol=1e-4)
    forward, both = FACTORIZATION.flops(shape)
    forward_of_pair, both_of_pair = FACTORIZATION.flops(pair)
    assert forward == 2 * forward_of_pair
    assert both - both_of_pair == 3 * forward_of_pair


# --- tuning


def test_items_are_ranked(capsys: pytest.CaptureFixture[str]) -> None:
    table = taken()
    table.to_csv("taken.csv", index=False)
    options = ["--user", "user", "--item", "item", "--kind", "ranking", "--method", "cosine"]
    options += ["--learning-rate", "0.01", "--weight-decay", "0.3", "--set", "dropout=0.2"]
    options += ["--rung", "8x1", "--updates", "800", "--decisions", "8", "--batch-size", "64"]
    assert main(["tune", "taken.csv", *options, "--out", "run", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["score_name"] == "auc"
    assert summary["test_score"] > 0.8  # half of all items are of the other group
    assert summary["test_loss"] < 0.75 * np.log(2)
    # What each user would take is ranked by the probability.
    users = [f"u{number}" for number in range(20)]
    grid = pd.DataFrame([(user, item) for user in users for item in range(ITEMS)])
    grid.columns = pd.Index(["user", "item"])
    grid.to_csv("grid.csv", index=False)
    assert main(["predict", "run", "grid.csv", "--out", "ranked.csv"]) == 0
    ranked = pd.read_csv("ranked.csv")
    assert set(ranked["prediction"]) <= {"taken", "not taken"}
    likely = ranked["probability_taken"].to_numpy().reshape(len(users), ITEMS)
    best = np.argsort(-likely, axis=1)[:, :10]
    same_group = best % 2 == np.arange(len(users))[:, None] % 2
    assert same_group.mean() > 0.9
    again = rlagent.load_run("run")
    np.testing.assert_allclose(again.predict_proba(grid)[:, 0], likely.reshape(-1), rtol=1e-4)
    stored = again.model.preprocessing
    assert stored == Preprocessing.from_json(json.loads(json.dumps(stored and stored.to_json())))


def with_rare_ones(table: pd.DataFrame) -> pd.DataFrame:
    """Some users took an item last that nobody else takes; some users took one thing."""
    last = pd.DataFrame(
        {"user": [f"u{n}" for n in range(5)], "item": [100 + n for n in range(5)], "timestamp": 99}
    )
    once = pd.DataFrame({"user": [f"new{n}" for n in range(5)], "item": 3, "timestamp": 0})
    return pd.concat([table, last, once])


def scikit_learns_ndcg(result: rlagent.Result, part: Split) -> float:
    """Of the ten items that are likeliest of those a user took in a part, or did not."""
    assert result.model.preprocessing is not None
    inputs = result.model.preprocessing.inputs
    assert isinstance(inputs, ChoiceInput)
    gains: dict[str, dict[str, float]] = {}
    for (user, *items), first in zip(part.x.astype(int), part.y == 0, strict=True):
        for item, gain in zip(items, (first, not first), strict=True):
            if user and item:  # number 0 is many users, or many items
                own = gains.setdefault(inputs.user.categories[user - 1], {})
                name = inputs.item.categories[item - 1]
                own[name] = max(own.get(name, 0.0), float(gain))
    each = []
    for user, own in gains.items():
        likely = result.predict_proba(pd.DataFrame({"user": user, "item": list(own)}))[:, 0]
        if any(own.values()):
            each.append(ndcg_score([list(own.values())], [likely], k=10))
    return float(np.mean(each))


def test_ndcg_is_of_what_each_user_took_among_what_was_drawn(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with_rare_ones(taken()).to_csv("taken.csv", index=False)
    options = ["--user", "user", "--item", "item", "--kind", "ranking", "--score", "ndcg_10"]
    options += ["--method", "cosine", "--learning-rate", "0.01", "--rung", "8x1"]
    options += ["--updates", "100", "--decisions", "2", "--batch-size", "64"]
    assert main(["tune", "taken.csv", *options, "--out", "run", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    task = load_task("taken.csv", user="user", item="item", kind="ranking", batch_size=64)
    assert task.test is not None
    assert (task.test.x == 0).any()
    result = rlagent.load_run("run")
    assert summary["score_name"] == "ndcg_10"
    for part, split in (("valid", task.valid), ("test", task.test)):
        by_hand = scikit_learns_ndcg(result, split)
        assert 0.3 < by_hand < 0.9
        assert summary[f"{part}_score"] == pytest.approx(by_hand, abs=1e-6)
    # Of rows that are given it is the order of the items in them.
    given = pd.DataFrame({"user": ["u1"] * 4, "item": [1, 3, 4, 1]})
    labels = np.array(["taken", "not taken", "taken", "taken"])
    likely = result.predict_proba(given)[:3, 0]
    expected = ndcg_score([[1, 0, 1]], [likely], k=10)
    assert result.score(given, labels) == pytest.approx(expected)


def test_an_item_counts_once_for_a_user_and_number_0_not_at_all() -> None:
    x = np.array([[1, 2, 3], [1, 3, 2], [1, 2, 0], [2, 0, 3], [0, 1, 2]], np.float32)
    items, gains = items_of_users(x, np.array([0, 1, 0, 0, 1]))
    expected = {(0, 1): 0, (0, 2): 1, (1, 2): 1, (1, 3): 0, (2, 3): 0}
    assert {(row[0], row[1]): gain for row, gain in zip(items, gains, strict=True)} == expected
    assert not items[:, 2].any()


def test_a_ranking_has_scores_of_its_own() -> None:
    assert scores.check_score(None, "classification", "choice") == "auc"
    y, chances = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    assert scores.compute("auc", "classification", y, chances) == pytest.approx(2 / 3)
    # Of equal scores half is right, whichever of them was taken.
    y = np.array([0, 1, 0, 1, 1])
    tied = np.array([[0.5, 0.5], [0.5, 0.5], [0.5000001, 0.4999999], [0.2, 0.8], [0.9, 0.1]])
    assert scores.compute("auc", "classification", y, tied) == pytest.approx((3 * 0.5 + 1) / 5)
    known = "auc, log_loss, ndcg_10"
    with pytest.raises(ValueError, match=f"^unknown score 'r2' for a ranking; there are: {known}$"):
        scores.check_score("r2", "classification", "choice")
    task = from_ratings(taken(), None, user="user", item="item", kind="ranking")
    closed = ("mixup", "cutmix", "augmentation", "adversarial_epsilon")
    assert not any(knobs.meaningful(name, task) for name in closed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["iris", "--kind", "ranking"],
            "kind is for data whose targets may be of several kinds, but iris is a bundled task",
        ),
        (["t.csv", "--target", "c", "--kind", "ranking"], "a ranking is of what users took: name"),
        (
            ["t.csv", "--user", "a", "--item", "b", "--target", "c", "--kind", "ranking"],
            "a ranking has no target, got 'c': each row is an item taken",
        ),
        (
            ["t.csv", "--user", "a", "--item", "b", "--kind", "ranking", "--split-column", "c"],
            "split_column is for tables, but a ranking reads all of t.csv",
        ),
        (
            ["t.csv", "--user", "a", "--item", "b", "--kind", "ranking"],
            "a ranking needs at least two items that are taken more than once",
        ),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("t.csv").write_text("a,b,c\n" + "".join(f"{n % 4},same,1\n" for n in range(40)))
    assert main(["tune", *options, "--method", "constant"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"rlagent: {message}")
    assert said.count("\n") == 1
    assert not Path("runs").exists()


def test_a_ranking_in_memory_names_its_columns_and_has_no_target() -> None:
    table = taken()
    with pytest.raises(ValueError, match=r"^a ranking is of what users took: name the columns us"):
        rlagent.tune(table, table["item"], kind="ranking", method="constant")
    with pytest.raises(ValueError, match=r"^a ranking has no target: each row is an item taken$"):
        rlagent.tune(table, np.ones(len(table)), user="user", item="item", kind="ranking")
