"""What random users take: repeatable, valid, drawn as that of real users, and possible to learn."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from rlagent_envs.tasks.choices import NEGATIVES
from rlagent_envs.tasks.procedural_common import MAX_TRAIN_ROWS
from rlagent_envs.tasks.procedural_rankings import (
    MOST_ACCIDENTS,
    VOCABULARIES,
    RankingRecipe,
    draw_ranking_recipe,
    sample_ranking_task,
    taken_pairs,
)
from rlagent_envs.tasks.procedural_ratings import all_pairs
from rlagent_envs.tasks.task import Split, Task
from rlagent_envs.training.bank import baseline_loss, make_bank
from tests.random_tasks import check_same, check_seeds_differ, check_size_and_context

SEEDS = range(16)
TEST_ROWS = 202  # no multiple of what an item makes


@cache
def tasks() -> list[Task]:
    return [sample_ranking_task(seed, TEST_ROWS) for seed in SEEDS]


def splits(task: Task) -> list[Split]:
    assert task.test is not None
    return [task.train, task.valid, task.test]


def recipe_of(seed: int) -> tuple[RankingRecipe, np.random.Generator]:
    """What is drawn for a seed, and the generator behind it."""
    generator = np.random.default_rng([seed, 26])
    return draw_ranking_recipe(generator), generator


def sides(split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each choice the user, the item taken and the other one."""
    x, rows = split.x.astype(int), np.arange(len(split.y))
    return x[:, 0], x[rows, 1 + split.y], x[rows, 2 - split.y]


@pytest.mark.parametrize("seed", [0, 7])
def test_a_seed_is_a_task_bit_for_bit(seed: int) -> None:
    check_same(sample_ranking_task(seed, TEST_ROWS), tasks()[seed])
    assert sample_ranking_task(seed).test is None


def test_seeds_differ() -> None:
    check_seeds_differ(tasks())


def test_every_task_is_valid() -> None:
    for task in tasks():
        assert (task.form, task.family, task.attackable) == ("choice", "factorization", False)
        assert task.vocabularies in VOCABULARIES
        check_size_and_context(task)
        assert len(task.train.x) >= 256 * NEGATIVES
        assert [len(split.x) for split in splits(task)][2] == TEST_ROWS
        assert 0.45 < task.train.y.mean() < 0.55
        assert baseline_loss(task) == pytest.approx(np.log(2), abs=0.01)
        bank = make_bank(task, padded=True)
        assert bank.train_x.shape == (1, MAX_TRAIN_ROWS, 3)
        assert bank.classes.tolist() == [[1.0, 1.0]]  # an output for each item, and no padding
    assert {task.vocabularies for task in tasks()} == set(VOCABULARIES)


def test_who_and_what_is_rare_has_number_0_and_nothing_is_taken_twice() -> None:
    for seed, task in enumerate(tasks()):
        recipe, generator = recipe_of(seed)
        train = recipe.pairs.train_rows
        valid = len(task.valid.y) // NEGATIVES
        assert len(task.train.y) == NEGATIVES * train
        pairs = taken_pairs(recipe, generator, train + valid + -(-TEST_ROWS // NEGATIVES))
        assert len(np.unique(pairs, axis=0)) == len(pairs)
        assert (pairs.max(axis=0) < (recipe.pairs.users, recipe.pairs.items)).all()
        for place in range(2):
            known = [i for i, n in enumerate(np.bincount(pairs[:train, place])) if n > 1]
            share = np.mean(np.isin(pairs[:train, place], known))
            number = sides(task.train)[place]
            assert np.mean(number > 0) == pytest.approx(share), task.name
            assert len(set(number) - {0}) == len(known), task.name


def test_what_a_user_took_is_not_what_they_did_not() -> None:
    for seed, task in enumerate(tasks()):
        before: set[tuple[int, int]] = set()
        both = np.concatenate([split.x[:, 0] for split in splits(task)[:2]]).astype(int)
        often = np.bincount(both, minlength=task.vocabularies[0]) / NEGATIVES
        items = recipe_of(seed)[0].pairs.items
        for split in splits(task)[:2]:
            user, taken, other = sides(split)
            # Those with number 0 share it, and who took nearly all may get any item at last.
            known = (user > 0) & (often[user] < items / 2)
            assert known.mean() > 0.1
            own = {*zip(user[known].tolist(), taken[known].tolist(), strict=True)}
            others = {*zip(user[known].tolist(), other[known].tolist(), strict=True)}
            own, others = ({pair for pair in pairs if pair[1]} for pairs in (own, others))
            assert not (others & (own | before)), task.name
            assert not (own & before), task.name
            before |= own


def test_items_with_number_0_are_drawn_as_often_as_others() -> None:
    """Their share of what a user did not take."""
    drawn = expected = variance = 0.0
    for seed, task in enumerate(tasks()):
        recipe, generator = recipe_of(seed)
        train = recipe.pairs.train_rows
        rows = train + len(task.valid.y) // NEGATIVES + -(-TEST_ROWS // NEGATIVES)
        pairs = taken_pairs(recipe, generator, rows)[:train]
        left = np.ones((recipe.pairs.users, recipe.pairs.items))
        left[pairs[:, 0], pairs[:, 1]] = 0.0
        rare = np.bincount(pairs[:, 1], minlength=recipe.pairs.items) < 2
        user, _, other = sides(task.train)
        of_user = left[user[user > 0] - 1]
        shares = of_user[:, rare].sum(axis=1) / of_user.sum(axis=1)
        drawn += np.sum(other[user > 0] == 0)
        expected += shares.sum()
        variance += np.sum(shares * (1.0 - shares))
    assert expected > 1000
    assert abs(drawn - expected) < 4.0 * np.sqrt(variance)


def right_order(seed: int, difficulty: float) -> float:
    """Share of the choices to validate on that those would make who know all chances."""
    recipe, generator = recipe_of(seed)
    recipe = replace(recipe, accidents=MOST_ACCIDENTS * difficulty)
    log_chance = all_pairs(recipe.pairs, generator).log_chance
    task = sample_ranking_task(seed, 0, difficulty)
    user, taken, other = sides(task.valid)
    there = (user > 0) & (taken > 0) & (other > 0)
    scores = [log_chance[user[there] - 1, item[there] - 1] for item in (taken, other)]
    return float(np.mean(scores[0] > scores[1]))


def test_accidents_make_it_difficult_by_as_much_as_they_are() -> None:
    shares = np.array([[right_order(seed, level) for level in (0.0, 0.5, 1.0)] for seed in SEEDS])
    easy, middle, hard = shares.mean(axis=0)
    assert easy > 0.85
    # Of what is taken by accident a coin tells as much.
    assert middle == pytest.approx(easy - 0.5 * MOST_ACCIDENTS * (easy - 0.5), abs=0.03)
    assert hard == pytest.approx(easy - MOST_ACCIDENTS * (easy - 0.5), abs=0.03)


def test_how_popular_an_item_is_tells_much_and_not_all() -> None:
    by_popularity = []
    for task in tasks():
        _, taken, _ = sides(task.train)
        counts = np.bincount(taken, minlength=task.vocabularies[1])
        counts[0] = 1  # the most that any of them has
        _, first, second = sides(task.valid)
        right = (counts[first] > counts[second]) + 0.5 * (counts[first] == counts[second])
        by_popularity.append(right.mean())
    assert 0.62 < np.mean(by_popularity) < 0.82
