"""Baselines and statistics: equal budgets, known answers, and no test data before the end."""

from dataclasses import replace
from functools import cache
from itertools import combinations

import jax
import numpy as np
import pytest

from rlagent.baselines import search
from rlagent.baselines.reference import REFERENCE_LEARNING_RATE, reference_start
from rlagent.baselines.runs import as_test, play, scores_on_test
from rlagent.baselines.statistics import expected_best, paired_interval, trials_to_match
from rlagent_envs.episode import flops_spent
from rlagent_envs.models import Rung
from rlagent_envs.tasks import Task, from_arrays
from rlagent_envs.training.bank import Bank, baseline_loss, make_bank
from rlagent_envs.training.settings import HIGH, LOW


@cache
def blobs() -> Task:
    generator = np.random.default_rng(0)
    y = generator.integers(3, size=600)
    x = generator.standard_normal((600, 8)) + 1.5 * np.eye(3, 8)[y]
    return from_arrays(x, y, batch_size=32)


@cache
def bank() -> Bank:
    return jax.device_put(make_bank(blobs(), padded=False))


def test_the_expected_best_is_the_mean_over_all_subsets() -> None:
    generator = np.random.default_rng(1)
    valid, test = generator.standard_normal((2, 7))
    for k in range(1, 8):
        best = [test[min(chosen, key=lambda i: valid[i])] for chosen in combinations(range(7), k)]
        assert expected_best(valid, test, k) == pytest.approx(np.mean(best))


def test_a_k_that_the_pool_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^k must be from 1 to the 2 runs of the pool, got 3$"):
        expected_best([0.0, 1.0], [0.0, 1.0], 3)


def test_trials_to_match_is_the_first_k_that_is_good_enough() -> None:
    scores = [3.0, 1.0, 2.0, 4.0]  # expected best of 1 to 4: 2.5, 1.67, 1.25, 1
    assert [trials_to_match(scores, scores, at) for at in (2.6, 1.7, 1.3, 1.0, 0.9)] == [
        1,
        2,
        3,
        4,
        None,
    ]


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for number in range(100):
        interval = paired_interval(generator.normal(0.3, 1.0, 25), seed=number)
        assert interval.low <= interval.mean <= interval.high
        covered += interval.low <= 0.3 <= interval.high
    assert 88 <= covered <= 100  # 95 expected; a binomial with 0.95 is below 88 once in 300


def test_seeds_of_one_task_are_no_independent_evidence() -> None:
    of_tasks = np.array([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0], [0.5, 0.5, 0.5], [0.0, 0.0, 0.0]])
    by_task, as_if = paired_interval(of_tasks), paired_interval(of_tasks.ravel())
    assert by_task.high - by_task.low > as_if.high - as_if.low
    with pytest.raises(ValueError, match=r"^an interval needs at least 2 pairs, got 1$"):
        paired_interval([0.1])
    assert paired_interval([0.2, 0.2]) == (0.2, 0.2, 0.2)


def test_random_search_stays_in_its_space_and_costs_the_same_whatever_it_draws() -> None:
    costs, rungs, rates = [], set(), []
    for seed in range(60):
        start = search.random_start(blobs(), seed, 100.0, 10)
        start.settings.check()
        assert 1e-5 <= start.settings.learning_rate <= 1e-1
        assert LOW.dropout <= start.settings.dropout <= HIGH.dropout
        width, depth = start.rung.width, start.rung.depth
        # Multiplications of an update, written out: thrice each layer, but twice the first.
        cost = 2 * 8 * width + 3 * (depth - 1) * width * width + 3 * width * 3
        if start.budget > 1.0:
            costs.append(start.budget * cost)
        rungs.add(start.rung)
        rates.append(start.settings.learning_rate)
    np.testing.assert_allclose(costs, costs[0], rtol=1e-6)
    assert len(rungs) > 10
    assert min(rates) < 1e-4 < 1e-2 < max(rates)


def test_single_rates_differ_in_rate_and_schedule_only() -> None:
    starts = search.single_starts(3, 100.0, 10)
    assert len(starts) == 12
    same = {
        replace(start, cosine=False, settings=start.settings._replace(learning_rate=1e-3))
        for start in starts.values()
    }
    assert len(same) == 1
    assert starts["cosine:0.003"].cosine
    assert not starts["constant:0.003"].cosine


def test_a_start_has_no_more_evaluations_than_updates() -> None:
    start = search.random_start(blobs(), 0, 100.0, 50)
    assert search.limited(replace(start, budget=7.9), 50).decisions == 7
    assert search.limited(replace(start, budget=1.0), 50).decisions == 1


def test_runs_are_the_same_alone_and_together_and_learn_something() -> None:
    starts = [replace(reference_start(seed, 120, 6), rung=Rung(1, 32)) for seed in range(3)]
    together = play(blobs(), bank(), starts)
    alone = play(blobs(), bank(), starts[1:2])
    assert alone[0].reports == together[1].reports
    budgets = [flops_spent(one.episode) for one in together]
    assert budgets == [budgets[0]] * 3
    scores = scores_on_test(blobs(), together)
    assert max(scores) < -0.3  # well below 0.05, the score of the best constant
    assert starts[0].settings.learning_rate == REFERENCE_LEARNING_RATE


def test_a_test_score_is_that_of_the_selected_weights() -> None:
    (run,) = play(blobs(), bank(), [replace(reference_start(0, 60, 3), rung=Rung(1, 32))])
    task = as_test(blobs())
    hidden, last = jax.tree.map(np.asarray, run.episode.snapshot.params)
    outputs = np.maximum(task.valid.x @ hidden.kernel + hidden.bias, 0) @ last.kernel + last.bias
    log_p = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    loss = -log_p[np.arange(len(log_p)), task.valid.y].mean()
    expected = np.log(loss / baseline_loss(task) + 0.05)
    assert scores_on_test(blobs(), [run]) == [pytest.approx(expected, rel=1e-4)]


def test_a_task_without_test_data_is_not_judged() -> None:
    with pytest.raises(ValueError, match=r"^data has no test part$"):
        as_test(replace(blobs(), test=None))
