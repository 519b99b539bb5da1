"""Ratings: their files, their division, how rankings are judged, and tuning on them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import ndcg_score, root_mean_squared_error
from sklearn.preprocessing import OneHotEncoder

import rlagent
from rlagent.apply import scores
from rlagent.apply.rankings import ndcg
from rlagent.apply.source import fingerprint
from rlagent.cli import main
from rlagent_envs.tasks import Preprocessing, from_ratings, load_task
from rlagent_envs.tasks.procedural_common import CONTEXT, MAX_TRAIN_ROWS, MAX_VALID_ROWS
from rlagent_envs.tasks.procedural_ratings import VOCABULARIES, sample_ratings_task
from rlagent_envs.tasks.splits import divide_by_time
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import make_bank

USERS, ITEMS, RANK, ROWS = 60, 40, 2, 1500
NOISE = 0.3


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ratings(seed: int = 0) -> pd.DataFrame:
    """Ratings of low rank: a user's and an item's level, and what they have to do with each other.

    Every pair is there once at the most. Levels are small beside the rest, so that they alone do
    not predict much.
    """
    generator = np.random.default_rng(seed)
    users, items = np.divmod(generator.choice(USERS * ITEMS, ROWS, replace=False), ITEMS)
    levels = [0.3 * generator.standard_normal(count) for count in (USERS, ITEMS)]
    factors = [generator.standard_normal((count, RANK)) for count in (USERS, ITEMS)]
    liking = levels[0][users] + levels[1][items] + (factors[0][users] * factors[1][items]).sum(1)
    return pd.DataFrame(
        {
            "userId": users + 1,
            "movieId": 10 * items + 7,
            "rating": np.round(3.5 + liking + NOISE * generator.standard_normal(ROWS), 2),
            "timestamp": 880_000_000 + generator.permutation(ROWS),
        }
    )


def u_data(table: pd.DataFrame) -> Path:
    table.to_csv("u.data", sep="\t", header=False, index=False)
    return Path("u.data")


def columns(table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    return table.drop(columns="rating"), table["rating"].to_numpy()


# --- where ratings are


def test_movielens_needs_no_options_and_other_files_name_their_columns() -> None:
    table = ratings()
    table.to_csv("ratings.csv", index=False)
    renamed = table.rename(columns={"userId": "who", "movieId": "what", "rating": "how"})
    renamed.assign(comment="-").to_csv("other.csv", index=False, sep=";")
    tasks = [
        load_task(u_data(table)),
        load_task("ratings.csv"),
        load_task("other.csv", user="who", item="what", target="how"),
        from_ratings(*columns(table), user="userId", item="movieId"),
    ]
    for task in tasks:
        assert (task.family, task.form, task.kind) == ("factorization", "pair", "regression")
        assert task.vocabularies == (USERS + 1, ITEMS + 1)
        assert fingerprint(task) == fingerprint(tasks[0])
    assert tasks[0].name == "u"
    # A table of which one column happens to be called so is a table.
    assert load_task("other.csv", target="how").form != "pair"


def test_ids_are_numbered_and_what_is_rare_is_0() -> None:
    ids = pd.DataFrame({"user": [7, 7, 8, 8, 9] * 4, "item": ["007", "7", "a", "a", "7"] * 4})
    ids.loc[0, "item"] = "once"
    fitted = Preprocessing.fit(ids, np.arange(20.0), "regression", ids=("user", "item"))
    assert fitted.inputs.vocabularies == (4, 4)
    new = pd.DataFrame(
        {"user": [7.0, 9.0, 10.0, np.nan], "item": ["7", "007", "a", "once"], "more": 0}
    )
    np.testing.assert_array_equal(fitted.transform(new), [[1, 2], [3, 1], [0, 3], [0, 0]])
    again = Preprocessing.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again == fitted
    texts = pd.DataFrame({"user": ["7", "x"], "item": ["7", "7"]})
    np.testing.assert_array_equal(again.transform(texts), [[1, 2], [0, 2]])


def test_ids_in_files_are_texts() -> None:
    table = ratings().astype({"movieId": str})
    table["movieId"] = "0" + table["movieId"]
    table.to_csv("ratings.csv", index=False)
    task = load_task("ratings.csv")
    assert task.preprocessing is not None
    rows = pd.DataFrame({"userId": [1, 1], "movieId": ["017", "17"]})
    known = task.preprocessing.transform(rows)
    assert known[0, 1] > 0
    assert known[1, 1] == 0


# --- which of them test


def test_the_last_ratings_of_each_user_test_and_those_before_validate() -> None:
    table = ratings()
    task = load_task(u_data(table))
    assert task.test is not None
    assert task.preprocessing is not None
    ordered = table.sort_values(["userId", "timestamp"])
    from_end = ordered.groupby("userId").cumcount(ascending=False)
    counts = ordered.groupby("userId")["userId"].transform("size")
    fifth = (0.2 * counts).round()
    parts = {
        "test": ordered[from_end < fifth],
        "valid": ordered[(from_end >= fifth) & (from_end < 2 * fifth)],
        "train": ordered[from_end >= 2 * fifth],
    }
    for name, expected in parts.items():
        split = getattr(task, name)
        x = task.preprocessing.transform(
            expected.rename(columns={"userId": "user"}).assign(item=expected["movieId"])
        )
        y = task.preprocessing.encode_target(expected["rating"])
        rows = sorted(map(tuple, np.column_stack([x, y])))
        assert rows == sorted(map(tuple, np.column_stack([split.x, split.y])))


@settings(max_examples=40, deadline=None)
@given(
    users=st.lists(st.integers(0, 6), min_size=30, max_size=60),
    data=st.data(),
    test_given=st.booleans(),
)
def test_parts_are_disjoint_complete_and_in_time(
    users: list[int], data: st.DataObject, test_given: bool
) -> None:
    times = np.array(
        data.draw(st.lists(st.integers(0, 9), min_size=len(users), max_size=len(users)))
    )
    who = np.array(users)
    parts = divide_by_time(who, times, test_given=test_given)
    assert list(parts) == ["train", "valid", "test"][: 3 - test_given]
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(who)))
    for user in set(users):
        own = [times[rows[who[rows] == user]] for rows in parts.values()]
        assert len(own[0]) > 0
        for before, after in pairwise(own):
            if len(before) and len(after):
                assert before.max() <= after.min()


def test_the_file_of_the_larger_movielens_sets_is_read() -> None:
    table = ratings()
    rows = ["::".join(map(str, row)) for row in table.itertuples(index=False)]
    Path("ratings.dat").write_text("\n".join(rows))
    assert fingerprint(load_task("ratings.dat")) == fingerprint(load_task(u_data(table)))


def test_texts_of_times_are_in_the_order_of_their_times() -> None:
    x, y = columns(ratings())
    names: dict[str, Any] = {"user": "userId", "item": "movieId"}
    moments = pd.to_datetime(86_400 * (x["timestamp"] - x["timestamp"].min()), unit="s")
    days = [f"{one.month}/{one.day}/{one.year}" for one in moments]  # 10/1/1971 behind 9/1/1970
    task = from_ratings(x.assign(timestamp=days), y, **names)
    assert fingerprint(task) == fingerprint(from_ratings(x, y, **names))
    assert task.notes == ()
    ranks = [f"w{rank:07.1f}" for rank in x["timestamp"].rank()]
    ranked = from_ratings(x.assign(timestamp=ranks), y, **names)
    assert fingerprint(ranked) == fingerprint(task)
    assert ranked.notes == (
        "column 'timestamp' is not read as times, so its texts are in their own order",
    )


def test_texts_that_sort_will_do_for_times() -> None:
    x, y = columns(ratings())
    dated = x.assign(timestamp=pd.to_datetime(x["timestamp"], unit="s"))
    texts = x.assign(timestamp=dated["timestamp"].astype(str))
    names: dict[str, Any] = {"user": "userId", "item": "movieId"}
    expected = fingerprint(from_ratings(x, y, **names))
    assert fingerprint(from_ratings(dated, y, **names)) == expected
    assert fingerprint(from_ratings(texts, y, **names)) == expected
    named = x.rename(columns={"timestamp": "when"})
    assert fingerprint(from_ratings(named, y, **names, time="when")) == expected
    assert fingerprint(from_ratings(named, y, **names)) != expected
    named.assign(stars=y).to_csv("named.csv", index=False)
    task = load_task("named.csv", **names, target="stars", time="when")
    assert fingerprint(task) == expected


def test_parts_that_are_given_stay_and_without_times_they_are_drawn() -> None:
    x, y = columns(ratings())
    names: dict[str, Any] = {"user": "userId", "item": "movieId"}
    task = from_ratings(x[200:], y[200:], **names, x_valid=x[:200], y_valid=y[:200])
    assert (len(task.train.y), len(task.valid.y), task.test) == (1300, 200, None)
    tested = from_ratings(x[200:], y[200:], **names, x_test=x[:200], y_test=y[:200])
    assert tested.test is not None
    assert len(tested.test.y) == 200
    assert 0.15 < len(tested.valid.y) / 1300 < 0.25
    timeless = x.drop(columns="timestamp")
    first, other = (from_ratings(timeless, y, **names, seed=seed) for seed in (0, 1))
    assert len(first.train.y) == 900
    assert fingerprint(first) != fingerprint(other)


# --- rankings


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=60
    ),
    most=st.integers(1, 12),
)
def test_ndcg_is_that_of_scikit_learn(rows: list[tuple[int, int, int]], most: int) -> None:
    groups, targets, predicted = np.array(rows).T
    expected = []
    for group in set(groups.tolist()):
        there = groups == group
        if np.ptp(targets[there]) > 0:  # else there is nothing to rank
            expected.append(ndcg_score([targets[there]], [predicted[there]], k=most))
    made = ndcg(targets.astype(float), predicted.astype(float), groups, most)
    assert made == pytest.approx(np.mean(expected) if expected else np.nan, nan_ok=True)


def test_negative_targets_gain_what_they_are_above_the_lowest() -> None:
    targets, predicted = np.array([-10.0, 4.0, 0.0]), np.array([1.0, 2.0, 3.0])
    groups = np.zeros(3, int)
    expected = ndcg_score([targets + 10.0], [predicted], k=10)
    assert ndcg(targets, predicted, groups, 10) == pytest.approx(expected)


def test_users_whom_training_lacked_are_not_ranked() -> None:
    x = np.array([[1, 1], [1, 2], [0, 1], [0, 2]], np.float32)
    targets, outputs = np.array([1.0, 2.0, 5.0, 1.0]), np.array([[1.0], [2.0], [1.0], [2.0]])
    assert scores.compute("ndcg_10", "regression", targets, outputs, x) == 1.0
    lacking = x * [[0, 1]]
    assert np.isnan(scores.compute("ndcg_10", "regression", targets, outputs, lacking))


def test_ratings_have_scores_of_their_own() -> None:
    assert scores.check_score(None, "regression", "pair") == "rmse"
    assert scores.check_score("ndcg_10", "regression", "pair") == "ndcg_10"
    assert scores.check_score(None, "classification", "pair") == "accuracy"
    assert scores.check_score(None, "regression", "table") == "r2"
    with pytest.raises(ValueError, match="unknown score 'mean_iou' for classification"):
        scores.check_score("mean_iou", "classification", "table")
    assert scores.check_score("mean_iou", "classification", "image", (8, 8)) == "mean_iou"
    for name, form, message in (
        ("ndcg", "pair", "'ndcg' for ratings; there are: rmse, mae, ndcg_10, r2"),
        ("ndcg_10", "table", "'ndcg_10' for regression; there are: r2, rmse, mae"),
    ):
        with pytest.raises(ValueError, match=f"^unknown score {message}$"):
            scores.check_score(name, "regression", form)  # type: ignore[arg-type]


# --- tuning


def test_ratings_are_tuned_judged_and_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    table = ratings()
    options = ["--method", "cosine", "--learning-rate", "0.02", "--weight-decay", "0.1"]
    options += ["--rung", "8x1", "--updates", "1500", "--decisions", "15", "--batch-size", "32"]
    score = ["--score", "ndcg_10"]
    assert main(["tune", str(u_data(table)), *options, *score, "--out", "run", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    task = load_task("u.data", batch_size=32)
    assert task.test is not None
    result = rlagent.load_run("run")
    assert result.model.preprocessing is not None
    # Much better than what users and items are like by themselves.
    encoder = OneHotEncoder(handle_unknown="ignore")
    levels = Ridge(2.0).fit(encoder.fit_transform(task.train.x), task.train.y)
    of_levels = levels.predict(encoder.transform(task.test.x))
    assert summary["test_loss"] < 0.6 * np.mean((of_levels - task.test.y) ** 2)
    # The score is that of each user by scikit-learn.
    predicted = result.model.values(result.model.raw(task.test.x))[:, 0]
    known = result.model.preprocessing.decode_target(task.test.y)
    each = [
        ndcg_score([known[rows] - min(0.0, known.min())], [predicted[rows]], k=10)
        for rows in (task.test.x[:, 0] == user for user in np.unique(task.test.x[:, 0]))
        if rows.sum() > 1
    ]
    assert summary["score_name"] == "ndcg_10"
    assert summary["test_score"] == pytest.approx(np.mean(each), abs=1e-6)
    assert 0.9 < summary["test_score"] <= 1.0
    # A file without ratings, with somebody new.
    pd.DataFrame({"item": [7, 17, 7], "user": [3, 3, 999]}).to_csv("new.csv", index=False)
    assert main(["predict", "run", "new.csv"]) == 0
    values = [float(line) for line in capsys.readouterr().out.split()[1:]]
    frame = pd.DataFrame({"user": [3, 3, 999], "item": [7, 17, 7]})
    np.testing.assert_allclose(values, result.predict(frame))
    assert main(["predict", "run", "u.data"]) == 0
    again = [float(line) for line in capsys.readouterr().out.split()[1:]]
    assert root_mean_squared_error(table["rating"], again) < 0.8
    named = table.rename(columns={"userId": "user", "movieId": "item"})
    assert result.score(named, table["rating"], "rmse") == pytest.approx(
        root_mean_squared_error(table["rating"], again)
    )


def test_folds_of_ratings_say_that_they_know_nothing_of_times(
    capsys: pytest.CaptureFixture[str],
) -> None:
    note = "ratings are dealt into folds without regard to their times: a fold may be older than"
    options = ["--method", "constant", "--rung", "8x1", "--updates", "8", "--decisions", "1"]
    path = str(u_data(ratings()))
    assert main(["tune", path, *options, "--folds", "2", "--out", "run"]) == 0
    assert note in " ".join(capsys.readouterr().err.split())
    assert rlagent.load_run("run").summary["notes"][0].startswith(note)
    assert main(["tune", path, *options, "--out", "single"]) == 0
    assert note not in " ".join(capsys.readouterr().err.split())
    timeless = ratings().drop(columns="timestamp")
    drawn = from_ratings(timeless, timeless.pop("rating"), user="userId", item="movieId")
    assert drawn.divided_by is None


def test_ratings_as_classes_are_classified() -> None:
    table = ratings()
    liked = np.where(table["rating"] > 3.5, "yes", "no")
    result = rlagent.tune(
        table.drop(columns="rating"),
        liked,
        user="userId",
        item="movieId",
        kind="classification",
        method="cosine",
        learning_rate=2e-2,
        rung="8x1",
        updates=600,
        decisions=6,
        batch_size=32,
        settings={"dropout": 0.2},
    )
    assert result.model.classes == ["no", "yes"]
    assert result.summary["test_score"] > 0.7  # chance: 0.5
    shares = result.predict_proba(table[:5])
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-6)


# --- what makes no sense


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["r.csv", "--user", "a"], "user and item go together, item is missing"),
        (
            ["r.csv", "--user", "a", "--item", "b"],
            "name the target column of r.csv: what users said of items",
        ),
        (
            ["r.csv", "--user", "a", "--item", "d", "--target", "c"],
            "there is no column 'd'; there are: a, b",
        ),
        (
            ["r.csv", "--user", "a", "--item", "a", "--target", "c"],
            "user and item must be two columns, got 'a' for both",
        ),
        (
            ["r.csv", "--user", "a", "--item", "b", "--target", "c"],
            "column 'b' of the train part is empty in 1 of 40 rows, the first is row 3",
        ),
        (["u.data", "--user", "a", "--item", "b"], "user is for ratings in tables, but u.data is"),
        (
            ["u.data", "--split-column", "a"],
            "split_column is for tables, but u.data is read as",
        ),
        (["iris", "--user", "a", "--item", "b"], "user is for ratings in tables, but iris is a "),
        (["bad.data"], "bad.data must have user, item, rating, timestamp in each row, separated"),
        (
            ["named.data"],
            "named.data must have no header, but row 1 has 'rating' for a rating; with a",
        ),
        (
            ["bad.dat"],
            "bad.dat must have user, item, rating, timestamp in each row, separated by ::",
        ),
        (["few.data"], "2 rows are too few to divide into train and valid and test"),
        (
            ["t.csv", "--user", "a", "--item", "b", "--target", "c", "--time", "d"],
            "there is no column 'd' of times; there are: a, b",
        ),
        (
            ["u.data", "--time", "d"],
            "time is for tables, but u.data is read as ratings without a header; save another ",
        ),
        (["u.data", "--score", "auc"], "unknown score 'auc' for ratings; there are: rmse, mae, nd"),
        (["u.data", "--family", "mlp"], "mlp reads table or image or sequence, but u is of the "),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{n % 5},{'' if n == 2 else n % 4},{n % 3}.5" for n in range(40)]
    Path("r.csv").write_text("\n".join(["a,b,c", *rows]))
    Path("t.csv").write_text("\n".join(["a,b,c", *(row for row in rows if ",," not in row)]))
    u_data(ratings())
    Path("bad.data").write_text("1\t2\t3\n")
    Path("bad.dat").write_text("1:7:2:8:5:9:100\n")
    Path("named.data").write_text("user\titem\trating\ttime\n1\t2\t3\t4\n")
    Path("few.data").write_text("1\t2\t3\t4\n2\t2\t3.5\t4\n")
    assert main(["tune", *options, "--method", "constant"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"rlagent: {message}")
    assert said.count("\n") == 1
    assert not Path("runs").exists()


def test_data_in_memory_must_have_the_columns() -> None:
    x, y = columns(ratings())
    names: dict[str, Any] = {"user": "userId", "item": "movieId", "method": "constant"}
    for changed, message in (
        (x.drop(columns="movieId"), "there is no column 'movieId'; there are: userId, timestamp"),
        (x.to_numpy(), "ratings must be a table, with columns of users and of items"),
        (x.assign(timestamp=np.nan), "column 'timestamp' is empty in 1500 of 1500 rows"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            rlagent.tune(changed, y, **names)
    with pytest.raises(ValueError, match=r"^x has 1500 rows but y has 9$"):
        rlagent.tune(x, y[:9], **names)


# --- random ratings


def test_random_ratings_are_those_of_their_seed_and_valid() -> None:
    seen: set[Any] = set()
    for seed in range(12):
        task, again = (sample_ratings_task(seed, test_rows=200) for _ in range(2))
        assert task.test is not None
        assert again.test is not None
        for part, same in zip(
            (task.train, task.valid, task.test), (again.train, again.valid, again.test), strict=True
        ):
            np.testing.assert_array_equal(part.x, same.x)
            np.testing.assert_array_equal(part.y, same.y)
            assert part.x.dtype == part.y.dtype == np.float32
            assert np.isfinite(part.y).all()
        assert task.context == again.context
        assert len(task.context) == CONTEXT
        assert np.abs(task.context).max() <= 1.5
        assert task.vocabularies in VOCABULARIES
        assert (task.form, task.family) == ("pair", "factorization")
        assert 256 <= len(task.train.x) <= MAX_TRAIN_ROWS
        assert 128 <= len(task.valid.x) <= MAX_VALID_ROWS
        assert len(task.test.x) == 200
        assert abs(task.train.y.mean()) < 1e-4
        assert task.train.y.std() == pytest.approx(1.0, abs=1e-3)
        bank = make_bank(task, padded=True)
        assert bank.train_x.shape == (1, MAX_TRAIN_ROWS, 2)
        seen.add(task.vocabularies)
        seen.add(task.train.x.tobytes())
    assert len(seen) == 12 + len(VOCABULARIES)
    assert sample_ratings_task(0).test is None


def test_no_pair_is_rated_twice_and_rare_ids_are_0() -> None:
    for seed in range(4):
        task = sample_ratings_task(seed, test_rows=200)
        assert task.test is not None
        rows = np.concatenate([task.train.x, task.valid.x, task.test.x])
        known = rows[(rows > 0).all(axis=1)]
        assert len(np.unique(known, axis=0)) == len(known)
        for place in range(2):
            numbers, counts = np.unique(task.train.x[:, place], return_counts=True)
            assert counts[numbers > 0].min() > 1
            assert set(rows[:, place]) <= {0.0, *numbers}


def explained(task: Task) -> float:
    """Share of the variance that levels of users and items explain in new rows."""
    encoder = OneHotEncoder(handle_unknown="ignore")
    fit = Ridge(5.0).fit(encoder.fit_transform(task.train.x), task.train.y)
    error = np.mean((fit.predict(encoder.transform(task.valid.x)) - task.valid.y) ** 2)
    return float(1.0 - error / np.mean((task.valid.y - task.train.y.mean()) ** 2))


def test_random_ratings_can_be_learned_and_levels_are_not_all() -> None:
    shares = np.array([explained(sample_ratings_task(seed)) for seed in range(25)])
    assert np.median(shares) > 0.1
    assert np.mean(shares > 0.03) > 0.8
    assert np.mean(shares < 0.6) > 0.8
