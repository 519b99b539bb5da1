"""The scoreboard: planted effects are seen, pairs are pairs, and what is unknown is said to be."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rlagent.experiments import anytime
from rlagent.experiments.scoreboard import scoreboard
from rlagent.experiments.statistics import aggregates, comparisons
from rlagent.experiments.stored_run import Curve, StoredRun, Trial
from rlagent.experiments.tables import markdown, text
from rlagent.experiments.trials import CONSTANT_SCORE

TASKS = ("digits", "wine", "diabetes", "moons", "rings")
DRAWS = 300


def run(
    method: str = "reference",
    task: str = "digits",
    seed: int = 0,
    score: float | None = -1.0,
    updates: int = 400,
    **changes: Any,
) -> StoredRun:
    """A finished run; a method NAME:K costs K runs."""
    times = float(method.partition(":")[2] or 1.0)
    regression = task == "diabetes"
    plain = StoredRun(
        key=f"{hash((method, task, seed, updates)) % 16**16:016x}",
        task=task,
        method=method,
        seed=seed,
        updates=updates,
        config={},
        versions={},
        budget_flops=1e9,
        flops=times * 1e9,
        seconds=2.0,
        valid_score=score,
        test_score=score,
        metric_name="r2" if regression else "accuracy",
        test_metric=0.25 if regression else 0.75,
    )
    return replace(plain, **changes)


def noise(task: str, seed: int) -> float:
    """What a task and a seed do to all methods alike."""
    return TASKS.index(task) + math.sin(7.0 * seed + TASKS.index(task))


def grid(
    levels: dict[str, Callable[[str, int, int], float]],
    seeds: int = 4,
    budgets: tuple[int, ...] = (400,),
) -> Iterator[StoredRun]:
    """Runs of methods whose scores are given by (task, seed, updates), on top of common noise."""
    for method, level in levels.items():
        for task in TASKS:
            for updates in budgets:
                for seed in range(seeds):
                    score = noise(task, seed) + level(task, seed, updates)
                    yield run(method, task, seed, score, updates)


def wobble(task: str, seed: int, updates: int) -> float:
    """An effect of no direction."""
    return 0.1 * math.cos(11.0 * seed + 5.0 * TASKS.index(task) + updates) * (-1) ** seed


def planted() -> list[StoredRun]:
    return list(
        grid(
            {
                "reference": lambda *_: 0.0,
                "better": lambda *cell: -0.5 + wobble(*cell),
                "equal": wobble,
                "worse": lambda *cell: 0.5 + wobble(*cell),
                "mixed": lambda task, *_: 2.0 if task == "wine" else -0.5,
            },
            budgets=(400, 1600),
        )
    )


def row_of(board: dict[str, Any], method: str, updates: int | None = None) -> dict[str, Any]:
    (row,) = (r for r in board["rows"] if r["method"] == method and r["updates"] == updates)
    return dict(row)


def test_planted_effects_are_seen() -> None:
    board = scoreboard(planted(), draws=DRAWS)
    assert board["against"] == "reference"
    assert board["budgets"] == [400, 1600]
    assert board["tasks"] == list(TASKS)
    assert board["methods"][0] == "better"
    assert board["methods"][-1] == "worse"
    assert board["seeds"] == {"least": 4, "most": 4}
    assert len(board["rows"]) == 15
    for updates in (None, 400, 1600):
        verdicts = {m: row_of(board, m, updates)["verdict"] for m in board["methods"]}
        expected = {"better": "better", "equal": "equal", "worse": "worse", "mixed": "equal"}
        assert verdicts == expected | {"reference": None}
    better, mixed = row_of(board, "better"), row_of(board, "mixed", 400)
    assert better["difference"]["value"] == pytest.approx(-0.5, abs=0.05)
    assert better["probability"]["value"] == 1.0
    assert (better["tasks"], better["runs"], better["pairs"]) == (5, 40, 40)
    assert (better["cost"], better["seconds"]) == (1.0, 80.0)
    assert better["metric"] == {"accuracy": 0.75, "r2": 0.25}
    assert better["rank"]["value"] < 2.0 < row_of(board, "worse")["rank"]["value"] <= 5.0
    assert better["speed_up"] is None
    assert mixed["worst"] == {"task": "wine", "difference": 2.0}
    assert mixed["probability"]["value"] == pytest.approx(0.8)
    for task in TASKS:
        (of_task,) = (
            one
            for one in board["by_task"]
            if (one["task"], one["updates"], one["method"]) == (task, 400, "mixed")
        )
        assert of_task["verdict"] == ("worse" if task == "wine" else "better")
        assert of_task["difference"]["value"] == (2.0 if task == "wine" else -0.5)
        assert of_task["runs"] == 4


def test_a_row_is_what_the_statistics_say() -> None:
    board = scoreboard(planted(), draws=DRAWS)
    cells = np.array(
        [[[noise(t, s) + wobble(t, s, u) for u in (400, 1600)] for s in range(4)] for t in TASKS]
    )
    base = np.array([[[noise(t, s)] * 2 for s in range(4)] for t in TASKS])
    row = row_of(board, "equal")
    for name, values in (("score", cells), ("difference", cells - base)):
        expected = aggregates.interquartile(values, draws=DRAWS)
        assert list(row[name].values()) == pytest.approx(list(expected), rel=1e-4)
    chance = comparisons.improvement(cells, base, draws=DRAWS)
    assert list(row["probability"].values()) == pytest.approx(list(chance), rel=1e-4)


def test_a_board_is_json_of_five_digits_without_nan() -> None:
    board = scoreboard([*planted(), run("alone", "digits", 9, 1 / 3)], draws=DRAWS)
    assert json.loads(json.dumps(board, allow_nan=False)) == board
    row = row_of(board, "alone", 400)
    assert row["score"] == {"value": 0.33333, "low": None, "high": None}
    assert row["pairs"] == 0
    unknown = ("difference", "verdict", "probability", "worst", "rank")
    assert [row[name] for name in unknown] == [None] * 5


def test_pairs_are_of_the_same_task_seed_and_budget() -> None:
    runs = [run("reference", "digits", seed, float(seed)) for seed in range(4)]
    runs += [run("other", "digits", seed, seed - 1.0) for seed in (2, 3, 4, 5)]
    runs += [run("other", "wine", 0, 50.0), run("other", "digits", 1, 50.0, updates=800)]
    row = row_of(scoreboard(runs, draws=DRAWS), "other")
    assert (row["tasks"], row["runs"], row["pairs"]) == (2, 6, 2)
    assert row["difference"] == {"value": -1.0, "low": -1.0, "high": -1.0}
    assert row["worst"] == {"task": "digits", "difference": -1.0}


def test_the_regret_is_to_the_best_mean_of_its_task_and_budget() -> None:
    runs = [run("a", "digits", seed, score) for seed, score in enumerate((-3.0, -1.0))]
    runs += [run("b", "digits", seed, score) for seed, score in enumerate((-1.0, 0.0))]
    runs += [run("b", "digits", 0, -5.0, updates=800)]
    board = scoreboard(runs, draws=DRAWS)
    regrets = {(r["method"], r["updates"]): r["regret"] for r in board["by_task"]}
    assert regrets == {("a", 400): 0.0, ("b", 400): 1.5, ("b", 800): 0.0}
    assert row_of(board, "b", 400)["regret"]["value"] == 1.5


def test_who_is_compared_with_by_default_is_the_reference_or_who_is_there_most() -> None:
    some = [run("a"), run("b"), run("b", "wine"), run("c"), run("c", "wine")]
    assert scoreboard(some, draws=10)["against"] == "b"
    assert scoreboard([*some, run("reference")], draws=10)["against"] == "reference"
    assert scoreboard(some, against="a", draws=10)["against"] == "a"
    with pytest.raises(ValueError, match=r"^no finished run of 'd'; there are: a, b, c$"):
        scoreboard(some, against="d")


def test_failed_runs_are_listed_and_count_for_nothing() -> None:
    runs = [run("a"), run("b"), run("b", seed=1, score=None)]
    runs += [run("b", seed=2, status="failed", reason="out of memory"), run("c", score=math.nan)]
    board = scoreboard(runs, draws=10)
    reasons = [(one["method"], one["seed"], one["reason"]) for one in board["failed"]]
    missing = "it has no finite score on test data"
    assert reasons == [("b", 1, missing), ("b", 2, "out of memory"), ("c", 0, missing)]
    assert board["methods"] == ["a", "b"]
    assert "out of memory" in markdown(board)
    assert "3 runs failed" in text(board)
    with pytest.raises(ValueError, match=r"^there is no finished run to judge, of 4 in the store$"):
        scoreboard(runs[-3:] + runs[-1:])


def test_two_runs_of_one_cell_are_refused() -> None:
    runs = [replace(run("a"), key="1" * 16), replace(run("a"), key="2" * 16)]
    message = (
        "both of a on digits with seed 0 and 400 updates: if they are of the same data, remove"
    )
    with pytest.raises(ValueError, match=message):
        scoreboard(runs)


def test_the_speed_up_is_of_references_at_other_budgets() -> None:
    halving = {
        f"reference:{times}" if times != "1" else "reference": lambda *_, t=times: (
            -math.log2(float(t))
        )
        for times in ("0.25", "0.5", "1", "2", "4")
    }
    runs = list(grid({**halving, "fast": lambda *_: -1.5, "tpe:4": lambda *_: -9.0}))
    board = scoreboard(runs, draws=DRAWS)
    fast, tpe = (row_of(board, name)["speed_up"] for name in ("fast", "tpe:4"))
    assert fast["value"] == pytest.approx(2**1.5, rel=1e-4)
    assert (fast["censored"], fast["tasks"]) == (0, 5)
    assert (tpe["value"], tpe["censored"], tpe["at_least"]) == (1.0, 5, 5)
    largest = row_of(board, "reference:4")["speed_up"]
    assert (largest["value"], largest["censored"]) == (1.0, 0)
    assert row_of(board, "reference:4")["cost"] == 4.0
    assert "at least 1 (1 to 1), 5 of 5 censored" in markdown(board)


def test_what_was_billed_is_unknown_where_nobody_wrote_it_down() -> None:
    runs = [run("a", seed=0, seconds=None, flops=None), run("b", seed=0)]
    # A second name of the same multiple is no second budget.
    runs += [run("reference"), run("reference:1"), run("reference:2", score=-2.0)]
    board = scoreboard(runs, draws=10)
    row = row_of(board, "a")
    assert (row["cost"], row["seconds"], row["speed_up"]) == (None, None, None)
    assert row_of(board, "b")["speed_up"]["value"] == 1.0
    assert "| - | - | 1 |" in markdown(board)


def searched(task: str, seed: int, scores: list[float | None]) -> StoredRun:
    trials = [Trial({}, "64x2", "cosine", score, score, 400, 1e9) for score in scores]
    return run(f"random:{len(scores)}", task, seed, -0.5, trials=trials)


def test_trials_to_match_pool_the_seeds_of_a_search() -> None:
    runs = [searched("digits", 0, [3.0, 1.0]), searched("digits", 1, [2.0, 4.0])]
    runs += [searched("wine", 0, [13.0, 11.0]), searched("wine", 1, [12.0, 14.0])]
    curve = np.array([2.5, 5 / 3, 1.25, 1.0]) + 5.0  # the mean of both tasks
    runs += [run("a", task, 0, score) for task, score in (("digits", -1.0), ("wine", 13.25))]
    runs += [run("b", task, 0, score) for task, score in (("digits", 0.0), ("wine", 9.0))]
    runs += [run("c", "wine", 0, 12.5), run("c", "moons", 0, -7.0), run("d", "moons")]
    (trials,) = scoreboard(runs, draws=10)["trials"]
    assert (trials["updates"], trials["pool"], trials["size"]) == (400, "random", 4)
    assert trials["tasks"] == ["digits", "wine"]
    assert [k for k, _ in trials["expected"]] == [1, 2, 4]
    assert [value for _, value in trials["expected"]] == pytest.approx(curve[[0, 1, 3]], rel=1e-4)
    match = trials["to_match"]
    assert match["a"]["value"] == pytest.approx(3.5)  # 6.125, between 6.25 and 6
    assert match["b"] == {"value": 4.0, "at_least": True, "at_most": False, "tasks": 2}
    assert match["c"] == {"value": 1.0, "at_least": False, "at_most": False, "tasks": 1}
    assert match["d"]["value"] is None
    assert "more than 4" in markdown(scoreboard(runs, draws=10))


def test_pools_are_as_large_as_the_smallest() -> None:
    runs = [searched("digits", 0, [3.0, 1.0]), searched("wine", 0, [3.0, 1.0])]
    (trials,) = scoreboard([*runs, searched("wine", 1, [3.0, 1.0])], draws=10)["trials"]
    assert trials["size"] == 2
    assert trials["expected"] == [[1, 2.0], [2, pytest.approx((1.0 + 8 / 6) / 2, rel=1e-4)]]


def test_a_trial_that_never_was_finite_is_as_good_as_the_best_constant() -> None:
    stopped = Trial({}, "64x2", "cosine", -9.0, -9.0, 40, 1e8, stopped=True)
    search = searched("digits", 0, [None, -1.0])
    search = replace(search, trials=[*search.trials, stopped])
    (trials,) = scoreboard([search], draws=10)["trials"]
    assert trials["expected"] == [[1, pytest.approx((math.log(1.05) - 1) / 2, rel=1e-4)], [2, -1]]


def test_the_constant_score_is_that_of_the_reward() -> None:
    from rlagent_envs import reward

    assert math.log(1.0 + reward.FLOOR) == CONSTANT_SCORE


def curved(seed: int, flops: list[float], scores: list[float], method: str = "a") -> StoredRun:
    return run(method, seed=seed, curve=Curve([1e9 * share for share in flops], scores))


def test_anytime_curves_are_steps_on_a_common_grid() -> None:
    runs = [curved(0, [0.2, 0.6, 1.0], [0.0, -2.0, -1.0]), curved(1, [0.5, 0.9], [-1.0, -4.0])]
    runs += [curved(0, [0.1, 1.0], [-1.0, -2.0], "b"), run("c")]
    board = scoreboard(runs, draws=50)
    two, one = sorted(board["anytime"], key=lambda curve: str(curve["method"]))
    assert (two["method"], two["task"], two["updates"]) == ("a", "digits", 400)
    assert two["spent"] == [0.5, 0.6, 0.9, 1.0]
    assert two["score"] == [-0.5, -1.5, -3.0, -3.0]
    assert all(
        low <= score <= high
        for low, score, high in zip(*(two[n] for n in ("low", "score", "high")), strict=True)
    )
    assert one["score"] == [-1.0, -2.0]
    assert one["low"] == one["high"] == []


def test_anytime_numbers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anytime, "NUMBERS", 200)
    flops, scores = [0.01 * n for n in range(1, 101)], [-0.1 * n for n in range(100)]
    runs = [curved(seed, flops, scores, method) for method in "abcde" for seed in range(3)]
    curves = scoreboard(runs, draws=20)["anytime"]
    assert len(curves) == 5
    for curve in curves:
        assert len(curve["spent"]) == 10
        assert (curve["spent"][0], curve["spent"][-1]) == (0.01, 1.0)
        assert curve["score"][-1] == pytest.approx(-9.9)
    assert sum(len(c[n]) for c in curves for n in ("spent", "score", "low", "high")) <= 200


def test_profiles_rise_to_all_runs_of_the_best() -> None:
    board = scoreboard(planted(), draws=DRAWS)
    assert [profile["updates"] for profile in board["profiles"]] == [None, 400, 1600]
    for profile in board["profiles"]:
        assert profile["thresholds"][0] == 0.0
        shares = {name: band["share"] for name, band in profile["methods"].items()}
        assert shares["better"][-1] == 1.0 > shares["mixed"][-1]
        assert shares["better"] == sorted(shares["better"])
        assert np.mean(shares["worse"]) < np.mean(shares["equal"]) < np.mean(shares["better"])


def test_the_tables_say_it_in_words() -> None:
    board = scoreboard([*planted(), run("a|b", "digits", 0, -8.0)], draws=DRAWS)
    page = markdown(board)
    assert [line for line in page.splitlines() if line.startswith("### ")] == [
        "### All budgets together",
        "### 400 updates",
        "### 1600 updates",
        "### By task, 400 updates",
        "### By task, 1600 updates",
    ]
    assert "5 tasks, 1 to 4 seeds, budgets of 400, 1600 updates" in page
    for table in re.split(r"\n\n", page):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) <= 1
    (row,) = (line for line in page.split("### 400")[0].splitlines() if "`better`" in line[:12])
    assert "| better |" in row
    assert "accuracy 0.750, r2 0.250" in row
    assert "compared with" in page
    lines = text(board).splitlines()
    assert " ".join(lines[0].split()) == "method score difference 95 % interval verdict cost runs"
    assert max(map(len, lines)) <= 100
    (line,) = (one for one in lines if one.startswith("worse"))
    assert re.search(r"\+0\.\d{4}  \+0\.\d{4} to \+0\.\d{4}  worse  +1 +40$", line)
