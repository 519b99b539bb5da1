"""Statistics: known answers, SciPy as a second opinion, and intervals that cover what they say."""

from itertools import combinations

import numpy as np
import pytest
from scipy import special, stats

from rlagent.experiments.statistics import aggregates, bootstrap, search
from rlagent.experiments.statistics.aggregates import (
    interquartile,
    interquartile_mean,
    seeds_interquartile,
    task_mean,
)
from rlagent.experiments.statistics.bootstrap import Interval, resample
from rlagent.experiments.statistics.comparisons import (
    best_known,
    improvement,
    performance_profile,
    ranks,
    regrets,
    verdict,
)
from rlagent.experiments.statistics.search import Match, expected_bests, trials_to_match
from rlagent.experiments.statistics.speed_up import multiple_to_match, speed_up

NAN = np.nan


def holed(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """A table with missing runs, and tasks that differ."""
    generator = np.random.default_rng(seed)
    table = generator.normal(size=shape) + generator.normal(size=(shape[0], *[1] * len(shape[1:])))
    table[generator.random(shape) < 0.3] = NAN
    table[:, -1] = 1.0
    table[0, -1] = NAN
    table[0, 0] = 0.5
    return table


@pytest.mark.parametrize("runs", [*range(1, 14), 100])
def test_an_interquartile_mean_is_scipys(runs: int) -> None:
    values = np.random.default_rng(runs).normal(size=runs)
    assert interquartile_mean([*values, NAN]) == pytest.approx(stats.trim_mean(values, 0.25))


def test_draws_are_of_tasks_then_of_the_seeds_that_they_have() -> None:
    present = np.array([[True, False, True, True], [False, True, False, False], [True] * 4])
    counts = resample(present, draws=4000, seed=3)
    assert not counts[:, ~present].any()
    times = counts.sum(axis=2) / present.sum(axis=1)
    np.testing.assert_array_equal(times, times.round())
    np.testing.assert_array_equal(times.sum(axis=1), 3)
    np.testing.assert_allclose(times.mean(axis=0), 1.0, atol=0.05)
    np.testing.assert_allclose(counts[:, present].mean(axis=0), 1.0, atol=0.08)
    # A task that is drawn once has its seeds drawn as by a plain bootstrap.
    once = counts[times[:, 2] == 1][:, 2, 0]
    expected = stats.binom.pmf(range(4), 4, 0.25)
    np.testing.assert_allclose([(once == n).mean() for n in range(4)], expected, atol=0.04)
    np.testing.assert_array_equal(counts, resample(present, draws=4000, seed=3))


def test_a_task_without_runs_cannot_be_drawn_from() -> None:
    with pytest.raises(ValueError, match=r"^each task needs at least 1 run to draw from$"):
        resample([[True], [False]])


@pytest.mark.parametrize("shape", [(5, 4), (4, 3, 2), (1, 6)])
def test_each_draw_is_the_interquartile_mean_of_its_runs(shape: tuple[int, ...]) -> None:
    table = holed(shape).reshape(*shape[:2], -1)
    counts = resample(~np.isnan(table).all(axis=2), 600, 1)
    drawn = aggregates._interquartile_draws(table, counts)
    assert len(drawn) == 600
    for number in (0, 1, 2, 249, 250, 599):
        runs = np.repeat(table.reshape(-1, table.shape[2]), counts[number].ravel().astype(int), 0)
        expected = stats.trim_mean(runs[~np.isnan(runs)], 0.25)
        assert drawn[number] == pytest.approx(expected, abs=1e-12)


def test_an_interval_is_the_widened_quantiles_of_a_plain_loop() -> None:
    table = holed((6, 5))
    generator = np.random.default_rng(9)
    drawn = []
    for _ in range(4000):
        runs: list[float] = []
        for task in generator.integers(6, size=6):
            seeds = table[task][~np.isnan(table[task])]
            runs += list(generator.choice(seeds, len(seeds)))
        cut = len(runs) // 4
        drawn.append(np.mean(sorted(runs)[cut : len(runs) - cut]))
    value = interquartile_mean(table)
    wider = stats.t.ppf(0.975, 5) / stats.norm.ppf(0.975) * np.sqrt(6 / 5)
    low, high = value + wider * (np.quantile(drawn, [0.025, 0.975]) - value)
    found = interquartile(table, draws=6000)
    assert found == pytest.approx((value, low, high), abs=0.06 * (high - low))


@pytest.mark.parametrize("number", [2, 3, 30])
def test_a_bootstrap_of_normal_values_is_widened_to_students_interval(number: int) -> None:
    values = np.random.default_rng(number).normal(size=number)
    spread = values.std() / np.sqrt(number)  # of the bootstrap, from the same values
    student = stats.t.interval(0.95, number - 1, values.mean(), stats.sem(values))
    reach = stats.norm.ppf(0.975) * spread * bootstrap._widening(number)
    assert values.mean() + reach == pytest.approx(student[1])


def test_a_mean_over_tasks_counts_each_task_once() -> None:
    table = np.array([[1.0, 2.0, 3.0], [10.0, NAN, NAN], [NAN, NAN, NAN]])
    found = task_mean(table)
    assert found.value == 6.0
    assert found.low < 6.0 < found.high
    bounded = task_mean(table, least=5.9, most=6.1)
    assert bounded == (6.0, 5.9, 6.1)


def covered(tasks: int, seeds: int, spread: float) -> float:
    """How often the interval holds the truth, 0."""
    generator = np.random.default_rng(4)
    hits = 0
    for _ in range(400):
        effects = spread * generator.standard_normal((tasks, 1))
        found = interquartile(effects + 0.5 * generator.standard_normal((tasks, seeds)), draws=500)
        assert found.low <= found.value <= found.high
        hits += found.low <= 0.0 <= found.high
    return hits / 400


@pytest.mark.parametrize(
    ("tasks", "seeds", "spread"), [(3, 4, 1.0), (5, 4, 1.0), (12, 4, 1.0), (1, 5, 0.0)]
)
def test_an_interval_covers_the_truth_about_as_often_as_it_says(
    tasks: int, seeds: int, spread: float
) -> None:
    assert covered(tasks, seeds, spread) >= 0.92  # a binomial of 0.95 is below once in 200


def test_plain_quantiles_of_few_tasks_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_widening", lambda independent: 1.0)
    assert covered(3, 4, 1.0) < 0.85


def test_no_effect_is_equal_and_a_planted_one_is_found() -> None:
    generator = np.random.default_rng(5)
    found: dict[float, list[str | None]] = {0.0: [], 0.4: [], -0.4: []}
    for _ in range(150):
        noise = 0.2 * generator.standard_normal((6, 5)) + 0.1 * generator.standard_normal((6, 1))
        for effect, verdicts in found.items():
            verdicts.append(verdict(interquartile(noise + effect, draws=500)))
    assert 0.92 <= np.mean([one == "equal" for one in found[0.0]]) <= 1.0
    assert np.mean([one == "worse" for one in found[0.4]]) > 0.95
    assert np.mean([one == "better" for one in found[-0.4]]) > 0.95


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-2.0, -1.0, "better"), (1.0, 2.0, "worse"), (-1.0, 1.0, "equal"), (0.0, 0.0, "equal")],
)
def test_a_verdict_is_the_side_that_excludes_zero(low: float, high: float, expected: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high)) == expected


def test_one_run_has_no_interval_and_no_verdict() -> None:
    found = interquartile([[0.3]])
    assert found.value == 0.3
    assert np.isnan([found.low, found.high]).all()
    assert verdict(found) is None
    assert interquartile([[0.2, 0.2], [0.2, 0.2]]) == (0.2, 0.2, 0.2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[NAN, NAN]], "there is no run to take a mean of"),
        ([[np.inf, 0.0]], "a table has NaN where a run is missing, and no infinite score"),
        ([0.0], r"a table is \[tasks, seeds\] or \[tasks, seeds, budgets\], got \(1,\)"),
    ],
)
def test_what_is_no_table_is_refused(values: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        interquartile(np.array(values, float))


@pytest.mark.parametrize("seeds", [2, 3, 7])
def test_many_tables_of_seeds_are_as_one_by_one(seeds: int) -> None:
    values = np.random.default_rng(6).normal(size=(3, seeds))
    band = seeds_interquartile(values, draws=6000)
    for number, row in enumerate(values):
        one = interquartile(row[None], draws=6000)
        found = (band.value[number], band.low[number], band.high[number])
        assert found == pytest.approx(one, abs=0.05 * (one.high - one.low))


def test_the_probability_of_improvement_counts_pairs_and_halves_ties() -> None:
    ours = [[1.0, 2.0, 3.0, 4.0], [1.0, NAN, 0.0, NAN]]
    theirs = [[2.0, 2.0, 2.0, 5.0], [0.0, 1.0, NAN, NAN]]
    found = improvement(ours, theirs)
    assert found.value == pytest.approx(((1 + 0.5 + 0 + 1) / 4 + 0.0) / 2)
    assert found.low == 0.0
    assert found.high == 1.0
    assert improvement([[0.0] * 3] * 3, [[1.0] * 3] * 3) == (1.0, 1.0, 1.0)


def test_a_profile_is_the_share_of_runs_below() -> None:
    table = [[0.0, 0.1, 0.2, 0.3], [0.4, NAN, NAN, NAN]]
    band = performance_profile(table, [-0.1, 0.0, 0.2, 0.5])
    np.testing.assert_allclose(band.value, [0.0, 0.2, 0.6, 1.0])
    assert (band.low <= band.value).all()
    assert (band.high >= band.value).all()
    assert band.low[2] < 0.6 < band.high[2]
    assert band.low[3] == band.high[3] == 1.0


def test_regret_is_to_the_lowest_mean_of_any_method() -> None:
    scores = np.array([[[1.0, 3.0], [0.0, NAN]], [[0.5, 4.5], [NAN, NAN]]])
    np.testing.assert_allclose(best_known(scores), [2.0, 0.0])
    np.testing.assert_allclose(
        regrets(scores), [[[-1.0, 1.0], [0.0, NAN]], [[-1.5, 2.5], [NAN] * 2]]
    )
    np.testing.assert_allclose(best_known(np.full((2, 1, 2), NAN)), [NAN])


def test_ranks_share_ties_and_stretch_where_methods_are_missing() -> None:
    scores = np.array([[1.0, 1.0, NAN, 5.0], [2.0, 1.0, 3.0, NAN], [3.0, 2.0, 4.0, NAN]])
    expected = [[1.0, 1.5, NAN, NAN], [2.0, 1.5, 1.0, NAN], [3.0, 3.0, 3.0, NAN]]
    np.testing.assert_allclose(ranks(scores), expected)
    full = np.random.default_rng(0).integers(4, size=(5, 3, 4)).astype(float)
    np.testing.assert_allclose(ranks(full), stats.rankdata(full, axis=0))


def test_the_expected_best_is_the_mean_over_all_subsets() -> None:
    valid, test = np.random.default_rng(1).standard_normal((2, 7))
    for k in range(1, 8):
        best = [test[min(chosen, key=lambda i: valid[i])] for chosen in combinations(range(7), k)]
        assert expected_bests(valid, test)[k - 1] == pytest.approx(np.mean(best))


def test_trials_of_equal_validation_score_share_their_chances() -> None:
    assert expected_bests([0.0, 0.0, 1.0], [4.0, 2.0, 9.0])[1] == pytest.approx(3.0)


def test_chances_hold_for_pools_whose_factorials_overflow() -> None:
    chances = search._chances(1500)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    i = np.arange(30)
    exact = special.comb(29 - i, 6) / special.comb(30, 7)
    np.testing.assert_allclose(search._chances(30)[6], exact, rtol=1e-12)


def test_trials_to_match_are_interpolated_and_bounded() -> None:
    scores = [3.0, 1.0, 2.0, 4.0]  # expected best of 1 to 4: 2.5, 1.667, 1.25, 1
    curve = expected_bests(scores, scores)
    assert trials_to_match(curve, 2.6) == Match(1.0, at_most=True)
    assert trials_to_match(curve, 2.5) == Match(1.0)
    assert trials_to_match(curve, 1.125) == pytest.approx((3.5, False, False))
    assert trials_to_match(curve, 1.0) == pytest.approx((4.0, False, False))
    assert trials_to_match(curve, 0.9) == Match(4.0, at_least=True)


def test_the_multiple_is_interpolated_in_its_logarithm_on_the_best_so_far() -> None:
    curve = [-1.0, -2.0, -1.5, -3.0]  # at twice the budget it is worse: that counts as -2
    multiples = [0.5, 1.0, 2.0, 4.0]
    found = multiple_to_match(multiples, [curve] * 6, [-0.5, -1.0, -1.5, -2.0, -2.5, -9.0])
    np.testing.assert_allclose(found, [-1.0, -1.0, -0.5, 0.0, 1.5, 2.0])


def test_a_speed_up_is_of_the_budget_and_of_the_own_cost() -> None:
    generator = np.random.default_rng(2)
    seeds = generator.normal(size=(5, 4))  # what a seed and a task do to all methods alike
    levels = np.array([0.0, -1.0, -2.0])[:, None, None]
    reference = seeds + levels
    found = speed_up(seeds - 1.5, reference, [1.0, 2.0, 4.0], np.full(5, 2.0))
    assert found is not None
    assert found.value == pytest.approx(2**1.5 / 2.0)
    assert (found.cases, found.censored) == (5, 0)
    assert (found.low, found.high) == pytest.approx((found.value, found.value))


def test_a_speed_up_says_where_it_is_only_a_bound() -> None:
    levels = np.array([0.0, -1.0, -2.0])[:, None, None]
    reference = np.zeros((4, 3)) + levels
    scores = np.repeat([[-1.0], [-2.5], [0.5], [NAN]], 3, axis=1)
    found = speed_up(scores, reference, [1.0, 2.0, 4.0], np.ones(4))
    assert found is not None
    assert (found.cases, found.at_least, found.at_most, found.censored) == (3, 1, 1, 2)
    assert found.value == pytest.approx(2.0)  # of 2, at least 4, and at most 1
    assert found.low < 2.0 < found.high


def test_a_speed_up_uses_seeds_that_all_have() -> None:
    reference = np.stack([[[0.0, NAN]], [[-2.0, -8.0]]])
    found = speed_up([[-1.0, -1.0]], reference, [1.0, 4.0], [1.0])
    assert found is not None
    assert found.value == pytest.approx(2.0)
    assert np.isnan(found.low)
    assert speed_up([[NAN, -1.0]], reference, [1.0, 4.0], [1.0]) is None
    message = r"^a speed-up needs 2 or more ascending multiples, got \[4.0, 1.0\]$"
    with pytest.raises(ValueError, match=message):
        speed_up([[-1.0, -1.0]], reference, [4.0, 1.0], [1.0])


def test_a_speed_up_over_budgets_is_the_geometric_mean_of_them() -> None:
    generator = np.random.default_rng(3)
    reference = np.array([0.0, -1.0, -2.0])[:, None, None, None] + np.zeros((3, 4, 2))
    scores = np.stack([np.full((3, 4), -1.0), np.full((3, 4), -2.0)], axis=-1)
    scores += 0.01 * generator.normal(size=scores.shape)
    found = speed_up(scores, reference, [1.0, 2.0, 4.0], np.ones((3, 2)))
    assert found is not None
    assert found.cases == 6
    assert found.value == pytest.approx(2**1.5, rel=0.02)
    assert found.low < found.value < found.high
    assert found.high / found.low < 1.2
