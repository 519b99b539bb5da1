"""Each lever against a formula, a plain loop or a library; and all of them in one program."""

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optax import contrib
from scipy import optimize, stats

from rlagent.apply.request import Request, make_plan, parse_settings
from rlagent.apply.source import fingerprint
from rlagent_envs import batch, dynamics, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.books import RungFacts, update_flops
from rlagent_envs.config import BASIC_KNOBS, KNOB_NAMES, EnvConfig
from rlagent_envs.episode import Episode, Start
from rlagent_envs.models import MLP, Rung, ShapeClass
from rlagent_envs.models.activations import ACTIVATIONS, chosen
from rlagent_envs.settings import DEFAULT, HIGH, LEVERS, LOW, Settings, levers_of
from rlagent_envs.tasks.task import Split, Task
from rlagent_envs.training import (
    adversarial,
    augmentation,
    evaluation,
    loop,
    losses,
    regularization,
)
from rlagent_envs.training.bank import Bank, make_bank
from rlagent_envs.training.evaluation import judged
from rlagent_envs.training.optimizer import optimizer_of

ROWS, FEATURES, CLASSES, BATCH_SIZE = 200, 32, 4, 32
IMAGE = (4, 8, 1)
SMALL = Rung(1, 32)
ALL_OFF = DEFAULT._replace(learning_rate=3e-3)
ALL_ON = DEFAULT._replace(
    learning_rate=3e-3,
    focal_gamma=1.0,
    class_balance=0.5,
    l2=1e-3,
    l1=1e-4,
    clip_quantile=0.5,
    average_decay=0.9,
    augmentation=0.5,
    mixup=0.5,
    cutmix=0.5,
    adversarial_epsilon=0.1,
    adversarial_share=0.5,
    adversarial_steps=2.0,
    trades=2.0,
    activation=1.0,
)


@cache
def make_task(kind: str = "classification") -> tuple[Task, Bank]:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((ROWS + 64, FEATURES)).astype(np.float32)
    scores = x @ generator.standard_normal((FEATURES, CLASSES)) + [1.0, 0.0, 0.0, 0.0]
    y = np.argmax(scores, axis=1).astype(np.int32)
    if kind == "regression":
        y = (scores[:, 0] / scores[:, 0].std()).astype(np.float32)
    parts = Split(x[:ROWS], y[:ROWS]), Split(x[ROWS:], y[ROWS:])
    outputs = CLASSES if kind == "classification" else 1
    task = Task("rows", kind, *parts, None, outputs, BATCH_SIZE, input_shape=IMAGE)  # type: ignore[arg-type]
    return task, jax.device_put(make_bank(task, padded=False))


def begin(settings: Settings, open_knobs: tuple[str, ...] = (), **changes: Any) -> Episode:
    task, bank = make_task()
    start = replace(Start(5, settings, SMALL, 60.0, 3), **changes)
    return episodes.begin(task, bank, start, open_knobs)


def run(episode: Episode, decisions: int = 2) -> Episode:
    _, bank = make_task()
    for _ in range(decisions):
        (stepped,) = batch.step([bank], [episode], knobs.HOLD[None], "sequential")
        episode = stepped.episode
    return episode


# --- losses


def classification_loss(z: np.ndarray, y: int, shares: np.ndarray, s: Settings) -> float:
    """One example, written out."""
    p = np.exp(z) / np.exp(z).sum()
    smooth = s.label_smoothing
    cross = -(1 - smooth) * np.log(p[y]) - smooth * np.mean(np.log(p))
    weights = (1 / shares) ** s.class_balance
    return float((1 - p[y]) ** s.focal_gamma * cross * weights[y] / (shares * weights).sum())


def regression_loss(output: float, y: float, s: Settings) -> float:
    error = output - y
    squared = abs(error) <= s.huber_delta
    loss = error**2 if squared else 2 * s.huber_delta * abs(error) - s.huber_delta**2
    side = s.quantile if error < 0 else 1 - s.quantile
    return 2 * side * loss / min(s.huber_delta, 1.0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"focal_gamma": 2.0},
        {"focal_gamma": 0.5, "label_smoothing": 0.1},
        {"class_balance": 1.0},
        {"class_balance": 0.3, "focal_gamma": 1.0, "label_smoothing": 0.2},
    ],
)
def test_a_classification_loss_is_its_formula(changes: dict[str, float]) -> None:
    settings = DEFAULT._replace(**changes)
    generator = np.random.default_rng(1)
    z, y = generator.standard_normal((20, 3)), generator.integers(0, 3, 20)
    shares = np.array([0.7, 0.2, 0.1])

    def of(outputs: Any) -> Any:
        return losses.designed_losses(
            "classification", outputs, jnp.asarray(y), jnp.ones(3), jnp.asarray(shares), settings
        )[0]

    def formula(row: np.ndarray, number: int) -> float:
        return classification_loss(row, int(y[number]), shares, settings)

    expected = [formula(row, number) for number, row in enumerate(z)]
    np.testing.assert_allclose(of(jnp.asarray(z)), expected, rtol=2e-5)
    check_gradient(of, z, formula)


@pytest.mark.parametrize(
    "changes",
    [{}, {"huber_delta": 0.5}, {"quantile": 0.9}, {"huber_delta": 0.01, "quantile": 0.1}],
)
def test_a_regression_loss_is_its_formula(changes: dict[str, float]) -> None:
    settings = DEFAULT._replace(**changes)
    generator = np.random.default_rng(2)
    z, y = 2 * generator.standard_normal((20, 1)), generator.standard_normal(20)

    def of(outputs: Any) -> Any:
        ones = jnp.ones(1)
        return losses.designed_losses("regression", outputs, jnp.asarray(y), ones, ones, settings)[
            0
        ]

    def formula(row: np.ndarray, number: int) -> float:
        return regression_loss(row[0], y[number], settings)

    expected = [formula(row, number) for number, row in enumerate(z)]
    np.testing.assert_allclose(of(jnp.asarray(z)), expected, rtol=2e-5)
    check_gradient(of, z, formula)


def check_gradient(of: Any, z: np.ndarray, formula: Any) -> None:
    """Against finite differences of the formula, in double precision."""
    gradient = jax.grad(lambda outputs: jnp.sum(of(outputs)))(jnp.asarray(z, jnp.float32))
    for number, row in enumerate(z):
        expected = optimize.approx_fprime(row, formula, 1e-7, number)
        np.testing.assert_allclose(gradient[number], expected, rtol=1e-3, atol=1e-4)


def test_what_an_attack_changes_is_a_divergence() -> None:
    """Of probabilities in nats, of those in use; of values squared."""
    generator = np.random.default_rng(3)
    before, after = generator.standard_normal((2, 6, 4)).astype(np.float32)
    classes = np.array([1.0, 1.0, 1.0, 0.0], np.float32)

    def shares(outputs: np.ndarray) -> np.ndarray:
        powers = np.exp(outputs[:, :3].astype(np.float64))
        return powers / powers.sum(axis=1, keepdims=True)

    p, q = shares(before), shares(after)
    made = losses.output_change(
        "classification", jnp.asarray(before), jnp.asarray(after), jnp.asarray(classes)
    )
    np.testing.assert_allclose(made, (p * np.log(p / q)).sum(axis=1), rtol=1e-4, atol=1e-6)
    same = losses.output_change(
        "classification", jnp.asarray(before), jnp.asarray(before), jnp.asarray(classes)
    )
    np.testing.assert_array_equal(same, np.zeros(6))
    values = losses.output_change(
        "regression", jnp.asarray(before[:, :1]), jnp.asarray(after[:, :1]), jnp.ones(1)
    )
    np.testing.assert_allclose(values, (after[:, 0] - before[:, 0]) ** 2, rtol=1e-5)


def test_the_loss_of_a_mixed_example_is_that_of_both_by_their_shares() -> None:
    """Which is the cross-entropy to a target of two classes that add up to one."""
    generator = np.random.default_rng(5)
    outputs = generator.standard_normal((5, CLASSES)).astype(np.float32)
    y, partner = np.array([0, 1, 2, 3, 0]), np.array([1, 2, 3, 4, 0])
    share = np.array([0.9, 0.5, 0.7, 1.0, 0.0], np.float32)
    x = jnp.zeros((5, FEATURES))
    examples = loop.Examples(x, jnp.asarray(y), mixture=(jnp.asarray(partner), jnp.asarray(share)))
    shape = begin(DEFAULT._replace(mixup=0.2)).shape
    facts = jnp.ones(CLASSES), jnp.full(CLASSES, 1.0 / CLASSES)
    trained, plain = loop._losses(shape, DEFAULT, facts, jnp.asarray(outputs), examples)
    log_p = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    target = np.zeros((5, CLASSES))
    np.add.at(target, (np.arange(5), y), share)
    np.add.at(target, (np.arange(5), y[partner]), 1.0 - share)
    np.testing.assert_allclose(trained, -(target * log_p).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(plain, trained, rtol=1e-6)


def test_a_quantile_is_what_the_loss_is_least_at() -> None:
    values = np.random.default_rng(3).standard_normal(4000)
    settings = DEFAULT._replace(quantile=0.8, huber_delta=0.01)
    grid = np.linspace(-1, 2, 301)
    totals = [np.mean([regression_loss(at, y, settings) for y in values[:500]]) for at in grid]
    assert grid[np.argmin(totals)] == pytest.approx(np.quantile(values[:500], 0.8), abs=0.05)


def test_with_defaults_the_designed_loss_is_the_plain_one() -> None:
    z = jnp.asarray(np.random.default_rng(1).standard_normal((9, 4)), jnp.float32)
    y = jnp.arange(9) % 3
    classes, shares = jnp.array([1.0, 1.0, 1.0, 0.0]), jnp.array([0.5, 0.3, 0.2, 0.0])
    plain = losses.example_losses("classification", z, y, classes, jnp.float32(0.1))
    settings = DEFAULT._replace(label_smoothing=0.1)
    designed = losses.designed_losses("classification", z, y, classes, shares, settings)
    np.testing.assert_allclose(designed, plain, rtol=1e-6)


# --- regularization


def test_penalties_are_the_gradient_of_their_formula() -> None:
    generator = np.random.default_rng(4)
    params = {"kernel": generator.standard_normal((5, 3)), "bias": generator.standard_normal(3)}
    params = jax.tree.map(jnp.asarray, params)
    settings = DEFAULT._replace(l2=0.3, l1=0.2)

    def penalty(tree: Any) -> Any:
        kernel = tree["kernel"]
        return 0.15 * jnp.sum(kernel**2) + 0.2 * jnp.sum(jnp.abs(kernel))

    zeros = jax.tree.map(jnp.zeros_like, params)
    added = regularization.penalized(zeros, params, settings)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), added, jax.grad(penalty)(params)
    )


def test_gradients_are_cut_to_a_quantile_of_recent_norms() -> None:
    norms = jnp.asarray(regularization.no_norms())
    seen: list[float] = []
    assert float(regularization.clip_limit(norms, jnp.float32(0.5))) == np.inf
    for update in range(100):
        size = float(update % 17 + 1)
        gradient = {"a": jnp.full(4, size / 2)}  # of norm `size`
        limit = regularization.clip_limit(norms, jnp.float32(0.5))
        recent = sorted(seen[-regularization.NORMS :])
        expected = recent[len(recent) // 2] if recent else np.inf
        assert float(limit) == expected
        cut, norms = regularization.clipped(gradient, norms, limit, jnp.uint32(update))
        assert float(jnp.linalg.norm(cut["a"])) == pytest.approx(min(size, expected), rel=1e-5)
        seen.append(size)
    assert float(regularization.clip_limit(norms, jnp.float32(1.0))) == np.inf


def test_one_gradient_that_is_not_finite_limits_no_later_one() -> None:
    norms = jnp.asarray(regularization.no_norms())
    for update, value in enumerate((2.0, np.nan, np.inf)):
        _, norms = regularization.clipped(
            [jnp.full(1, value)], norms, jnp.float32(np.inf), jnp.uint32(update)
        )
    assert float(regularization.clip_limit(norms, jnp.float32(0.9))) == 2.0


def test_an_average_is_that_of_a_plain_loop() -> None:
    values = np.random.default_rng(5).standard_normal((30, 3)).astype(np.float32)
    average, expected = jnp.zeros(3), np.zeros(3)
    for update, value in enumerate(values):
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * value
        average = regularization.averaged(average, value, jnp.float32(0.9), jnp.uint32(update))
    np.testing.assert_allclose(average, expected, rtol=1e-5)
    same = regularization.averaged(average, values[0], jnp.float32(0.0), jnp.uint32(3))
    np.testing.assert_array_equal(same, values[0])


# --- augmentation and mixing


@pytest.mark.parametrize("shape", [(), IMAGE])
def test_augmentation_changes_nothing_at_0_and_more_the_stronger_it_is(
    shape: tuple[int, ...],
) -> None:
    x = jnp.asarray(np.random.default_rng(6).standard_normal((64, 32)), jnp.float32)
    x = x.at[:, 30:].set(0.0) if not shape else x
    features = jnp.int32(30 if not shape else 32)
    of_shape = ShapeClass("mlp", Rung(1, 32), "classification", 32, 3, 64, input_shape=shape)

    def of(magnitude: float) -> np.ndarray:
        start = jnp.uint32(9)
        made = augmentation.augment(x, jnp.float32(magnitude), start, of_shape, features)
        return np.asarray(made)

    np.testing.assert_array_equal(of(0.0), x)
    distances = [float(np.mean((of(magnitude) - x) ** 2)) for magnitude in (0.1, 0.5, 1.0)]
    assert 0 < distances[0] < distances[1] < distances[2] < 3
    assert np.isfinite(of(1.0)).all()
    if not shape:
        assert not of(1.0)[:, 30:].any()  # padding stays as it is


def test_half_of_the_images_are_mirrored() -> None:
    images = np.random.default_rng(7).standard_normal((400, 4, 8, 1)).astype(np.float32)
    flat = jnp.asarray(images.reshape(400, -1))
    made = np.asarray(augmentation.mirror(flat, jnp.uint32(3), (4, 8, 1))).reshape(images.shape)
    turned = np.all(made == images[:, :, ::-1], axis=(1, 2, 3))
    kept = np.all(made == images, axis=(1, 2, 3))
    assert np.all(turned != kept)
    assert abs(turned.mean() - 0.5) < 0.1


def test_training_learns_from_both_sides_where_a_task_says_so() -> None:
    task, _ = make_task()
    bank = make_bank(task, padded=False)
    shape = episodes.begin(task, bank, Start(0, DEFAULT, SMALL, budget=8.0, decisions=1), ()).shape
    settings = jax.tree.map(jnp.float32, DEFAULT)

    def drawn(levers: tuple[str, ...], number: int) -> np.ndarray:
        given = (bank, jnp.int32(0), settings, jnp.array([1, 2], jnp.uint32), jnp.uint32(number))
        examples, _ = loop.draw_examples(replace(shape, levers=levers), *given)
        return np.asarray(examples.x)

    turned = []
    for number in range(5):
        plain, made = drawn((), number), drawn((augmentation.MIRRORING,), number)
        other = plain.reshape(-1, *task.input_shape)[:, :, ::-1].reshape(plain.shape)
        turned.append(np.all(made == other, axis=1))
        assert np.all(turned[-1] | np.all(made == plain, axis=1))
    assert 0.3 < np.mean(turned) < 0.7
    assert not np.array_equal(turned[0], turned[1])


def test_only_a_task_that_says_so_is_mirrored() -> None:
    task, _ = make_task()
    with pytest.raises(ValueError, match=r"^mirrored is for images with a target each, but"):
        replace(task, mirrored=True, input_shape=())
    for mirrored in (False, True):
        start = Start(0, DEFAULT, SMALL, budget=8.0, decisions=1)
        there = replace(task, mirrored=mirrored)
        shape = episodes.begin(there, make_bank(there, padded=False), start, ()).shape
        assert (augmentation.MIRRORING in shape.levers) == mirrored
    assert fingerprint(task) != fingerprint(replace(task, mirrored=True))


def test_a_small_shift_of_an_image_moves_its_pixels() -> None:
    image = np.zeros((1, 9, 9, 1), np.float32)
    image[0, 4, 4] = 1.0
    rows, columns = jnp.meshgrid(jnp.arange(9.0), jnp.arange(9.0), indexing="ij")
    image[0, 0, 8] = 2.0
    moved = augmentation._sampled(jnp.asarray(image), rows[None] + 1.0, columns[None] - 1.7)
    expected = np.zeros((9, 9))
    expected[3, 6] = 1.0  # looked for one below and two to the left
    np.testing.assert_array_equal(moved[0, :, :, 0], expected)
    moved = augmentation._sampled(jnp.asarray(image), rows[None] - 1.0, columns[None] + 2.0)
    expected = np.zeros((9, 9))
    expected[5, 2] = 1.0
    expected[0:2, 6:9] = 2.0  # outside of an image its edge goes on
    np.testing.assert_array_equal(moved[0, :, :, 0], expected)


@given(st.floats(0.0, 1.0, width=32), st.floats(0.0, 1.0, width=32), st.integers(0, 2**32 - 1))
def test_a_mixture_is_between_its_examples(mixup: float, cutmix: float, start: int) -> None:
    x = jnp.asarray(np.random.default_rng(7).standard_normal((6, 32)), jnp.float32)
    mixed = _mix(x, jnp.float32(mixup), jnp.float32(cutmix), jnp.uint32(start))
    assert 0.0 <= float(mixed.share) <= 1.0
    assert sorted(np.asarray(mixed.partner).tolist()) == list(range(6))
    assert not np.any(np.asarray(mixed.partner) == np.arange(6))
    low, high = np.minimum(x, x[mixed.partner]), np.maximum(x, x[mixed.partner])
    assert np.all((low - 1e-5 <= mixed.x) & (mixed.x <= high + 1e-5))
    if mixup == cutmix == 0.0:
        np.testing.assert_array_equal(mixed.x, x)
        assert float(mixed.share) == 1.0


@jax.jit
def _mix(x: Any, mixup: Any, cutmix: Any, start: Any) -> augmentation.Mixture:
    return augmentation.mix(x, mixup, cutmix, start, IMAGE)


def test_cutmix_leaves_rows_of_a_table_as_they_are() -> None:
    x = jnp.asarray(np.random.default_rng(8).standard_normal((6, 32)), jnp.float32)
    mixed = augmentation.mix(x, jnp.float32(0.0), jnp.float32(1.0), jnp.uint32(3), ())
    np.testing.assert_array_equal(mixed.x, x)
    assert float(mixed.share) == 1.0


def test_the_share_of_a_cutmix_is_that_of_its_pixels() -> None:
    x = jnp.stack([jnp.zeros(32), jnp.ones(32)])
    for start in range(40):
        mixed = _mix(x, jnp.float32(0.0), jnp.float32(1.0), jnp.uint32(start))
        assert float(mixed.share) == pytest.approx(1.0 - float(jnp.mean(mixed.x[0])), abs=1e-6)


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0])
def test_shares_of_mixup_have_the_beta_distribution(alpha: float) -> None:
    starts = jnp.arange(4000, dtype=jnp.uint32) * jnp.uint32(7919)
    draw = jax.jit(jax.vmap(lambda start: augmentation._beta(jnp.float32(alpha), start)))
    shares = np.asarray(draw(starts))
    # Near 1 many round to 1 itself, so look at the lower half; both are equally likely.
    low = shares[shares < 0.5]
    assert len(low) / len(shares) == pytest.approx(0.5, abs=0.04)
    assert stats.kstest(low, lambda at: 2 * stats.beta(alpha, alpha).cdf(at)).pvalue > 1e-3


# --- attacks


@pytest.mark.parametrize("norm", adversarial.NORMS)
def test_an_attack_stays_in_its_ball_and_more_steps_do_more(norm: adversarial.Norm) -> None:
    generator = np.random.default_rng(8)
    x = jnp.asarray(generator.standard_normal((50, 6)), jnp.float32)
    inner = jnp.asarray(generator.standard_normal((6, 20)), jnp.float32)
    outer = jnp.asarray(generator.standard_normal(20), jnp.float32)

    def loss(moved: Any) -> Any:
        return jnp.sum(jnp.sin(0.3 * moved @ inner) @ outer)

    epsilon, columns = jnp.float32(0.3), jnp.ones(6).at[5].set(0.0)

    def reached(steps: int, inside: bool) -> float:
        moved = adversarial.attack(
            loss,
            x,
            epsilon,
            jnp.int32(steps),
            jnp.float32(2.5),
            norm,
            columns,
            jnp.uint32(3),
            jnp.bool_(inside),
        )
        change = np.asarray(moved - x)
        size = np.abs(change).max(axis=1) if norm == "linf" else np.linalg.norm(change, axis=1)
        assert size.max() <= 0.3 * (1 + 1e-5)
        assert not change[:, 5].any()  # padding is not moved
        return float(loss(moved))

    clean, fast, projected = float(loss(x)), reached(1, False), reached(10, False)
    assert clean < fast < projected
    assert clean < reached(10, True)  # it may end at another hill


def test_without_epsilon_an_attack_changes_no_bit_of_training() -> None:
    plain = begin(DEFAULT._replace(learning_rate=3e-3), ("adversarial_epsilon",))
    off = plain.settings._replace(adversarial_steps=5.0, trades=3.0)
    ends = [run(one) for one in (plain, episodes.with_settings(plain, off))]
    jax.tree.map(np.testing.assert_array_equal, ends[0].run.live, ends[1].run.live)


def test_attacks_are_paid_for() -> None:
    settings = DEFAULT._replace(adversarial_epsilon=0.1, adversarial_steps=3.0, trades=1.0)
    facts = RungFacts.of(begin(DEFAULT).shape)
    # Forward 2 operations a weight; backward to the inputs 2 more; TRADES trains on two batches.
    weights = FEATURES * 32 + 32 * CLASSES
    inputs = FEATURES * 32
    plain = BATCH_SIZE * (6 * weights - 2 * inputs)
    assert facts.update_flops == plain
    expected = 2 * plain + BATCH_SIZE * (3 * 4 * weights + 2 * weights)
    episode = begin(settings)
    _, measured = batch.advance_one(episode.shape, make_task()[1], episode.run, knobs.HOLD)
    evaluation = int(episode.run.books.pieces) * BATCH_SIZE * 2 * weights
    spent = float(measured.spent) * float(episode.run.books.base_flops)
    assert spent == pytest.approx(int(measured.updates) * expected + evaluation, rel=1e-5)


def test_with_trades_the_optimizer_is_paid_once() -> None:
    settings = DEFAULT._replace(adversarial_epsilon=0.1)
    shape = begin(settings, optimizer="muon").shape
    facts = RungFacts.of(shape)
    plain, both = (
        float(update_flops(facts, settings._replace(trades=weight))) for weight in (0.0, 1.0)
    )
    weights = FEATURES * 32 + 32 * CLASSES  # forward, and backward to inputs and weights
    assert both - plain == BATCH_SIZE * 6 * weights < 0.5 * facts.update_flops


def test_clipping_begins_within_the_first_slice() -> None:
    ends = [
        run(begin(ALL_OFF._replace(clip_quantile=share), ("clip_quantile",), decisions=1), 1)
        for share in (1.0, 0.05)
    ]
    first, second = (np.asarray(one.run.live.params[0].kernel) for one in ends)
    assert np.abs(first - second).max() > 1e-3


# --- programs


def test_levers_that_are_off_change_nothing() -> None:
    plain = begin(DEFAULT._replace(learning_rate=3e-3))
    held = begin(DEFAULT._replace(learning_rate=3e-3), KNOB_NAMES)
    assert plain.shape.levers == ()
    assert set(held.shape.levers) == {*LEVERS} - {"skipping"}  # an MLP has no blocks to skip
    ends = [run(one) for one in (plain, held)]
    # Other programs, so other roundings.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        ends[0].run.live.params,
        ends[1].run.live.params,
    )


def test_all_levers_together_learn_in_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[ShapeClass] = []
    evaluate = evaluation.evaluate

    def counted(shape: ShapeClass, *rest: Any) -> Any:
        traced.append(shape)
        return evaluate(shape, *rest)

    monkeypatch.setattr(dynamics, "evaluate", counted)
    task, bank = make_task()
    start = Start(5, ALL_ON._replace(momentum=0.89), SMALL, 200.0, 4)
    episode = episodes.begin(task, bank, start, KNOB_NAMES)
    generator = np.random.default_rng(0)
    reports: list[Any] = []
    while not reports or not reports[-1].terminated:
        action = generator.integers(knobs.LEVELS)
        action[knobs.GROWTH] = action[knobs.RESTORE] = 0
        action, _ = knobs.held(action, episodes.action_mask(episode))
        (stepped,) = batch.step([bank], [episode], action[None], "sequential")
        episode, _, report = stepped
        reports.append(report)
    assert len(traced) <= 1  # none, if another test has compiled the same program
    assert reports[-1].best_score < -0.1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(episode.run.live))


def test_a_run_has_the_levers_that_it_needs() -> None:
    assert levers_of(DEFAULT, BASIC_KNOBS) == ()
    assert levers_of(DEFAULT._replace(l1=0.1), ("mixup", "growth")) == ("penalty", "mixing")
    assert begin(DEFAULT, ("huber_delta",)).shape.levers == ()  # nothing for classification
    with pytest.raises(ValueError, match=r"^mixup cannot be moved in a run that began without it$"):
        episodes.with_settings(begin(DEFAULT), DEFAULT._replace(mixup=0.5))


def test_growth_keeps_the_average_too() -> None:
    # The attacks are dear, and growth has to be affordable.
    episode = run(begin(ALL_ON._replace(activation=0.0), KNOB_NAMES, budget=600.0))
    x = jnp.asarray(make_task()[0].valid.x)
    none = jnp.float32(0.0)
    shape = episode.shape
    before, _ = MLP.apply(shape, judged(shape, episode.run.live), (), x, none, None, None, None)
    for level in (knobs.WIDER, knobs.DEEPER):
        action = knobs.HOLD.copy()
        action[knobs.GROWTH] = level
        grown = episodes.edit(episode, action)
        weights = judged(grown.shape, grown.run.live)
        assert weights[0].kernel.shape[1] == (64 if level == knobs.WIDER else 32)
        after, _ = MLP.apply(grown.shape, weights, (), x, none, None, None, None)
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


def test_weights_that_are_restored_bring_their_activation() -> None:
    episode = run(begin(ALL_ON, KNOB_NAMES))
    action = knobs.HOLD.copy()
    action[list(knobs.KNOBS).index("activation")] = 4  # tanh
    _, bank = make_task()
    (stepped,) = batch.step([bank], [episode], action[None], "sequential")
    assert stepped.episode.settings.activation == 3.0
    back = episodes._restored(stepped.episode, settings=False)
    best = stepped.report.improved
    assert back.settings.activation == (3.0 if best else 1.0)
    assert back.settings._replace(activation=3.0) == stepped.episode.settings


def test_an_activation_is_chosen_by_its_number() -> None:
    x = jnp.linspace(-3.0, 3.0, 9)
    expected = [jax.nn.relu(x), jax.nn.gelu(x), jax.nn.silu(x), jnp.tanh(x)]
    for number, values in enumerate(expected):
        np.testing.assert_allclose(chosen(jnp.float32(number), x), values, rtol=1e-4)
    assert len(ACTIVATIONS) == len(expected)


# --- knobs


@pytest.mark.parametrize(
    ("name", "before", "level", "after"),
    [
        ("l2", 0.0, 2, 1e-6),
        ("l2", 0.0, 0, 0.0),
        ("l2", 1e-6, 0, 0.0),
        ("l2", 1e-3, 2, 4e-3),
        ("adversarial_epsilon", 0.0, 2, 0.01),
        ("average_decay", 0.0, 0, 0.5),
        ("average_decay", 0.5, 2, 0.0),
        ("average_decay", 0.9, 0, 0.95),
        ("activation", 0.0, 3, 2.0),
        ("clip_quantile", 1.0, 0, 0.9),
    ],
)
def test_a_level_moves_its_setting(name: str, before: float, level: int, after: float) -> None:
    action = knobs.HOLD.copy()
    action[list(knobs.KNOBS).index(name)] = level
    settings = DEFAULT._replace(**{name: before})
    moved = Settings(*np.asarray(knobs.apply(jnp.asarray(settings.pack()), jnp.asarray(action))))
    assert getattr(moved, name) == pytest.approx(after, rel=1e-5, abs=1e-9)
    others = settings._replace(**{name: 0.0}).pack()
    np.testing.assert_array_equal(moved._replace(**{name: 0.0}).pack(), others)


def test_knobs_are_named_in_the_order_of_settings() -> None:
    assert tuple(knobs.KNOBS) == KNOB_NAMES
    assert np.all(LOW.pack() <= DEFAULT.pack())
    assert np.all(DEFAULT.pack() <= HIGH.pack())


# --- optimizers


@pytest.mark.parametrize("name", ["sgd", "lion", "muon"])
def test_an_optimizer_is_that_of_optax(name: str) -> None:
    rate, decay, momentum = 0.02, 0.1, 0.8
    theirs = {
        "sgd": optax.chain(
            optax.trace(momentum, nesterov=True),
            optax.add_decayed_weights(decay),
            optax.scale_by_learning_rate(rate),
        ),
        "lion": optax.lion(rate, b1=momentum, b2=0.99, weight_decay=decay),
        "muon": contrib.muon(
            rate, beta=momentum, adam_b1=momentum, weight_decay=decay, adam_weight_decay=decay
        ),
    }[name]
    generator = np.random.default_rng(9)
    params = {"kernel": generator.standard_normal((6, 10)), "bias": generator.standard_normal(10)}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    settings = DEFAULT._replace(weight_decay=decay, momentum=momentum)
    own = optimizer_of(name)
    ours, state = params, own.begin(own.init(params, settings), settings)
    expected, their_state = params, theirs.init(params)

    for _ in range(25):
        gradients = jax.tree.map(
            lambda leaf: jnp.asarray(generator.standard_normal(leaf.shape), jnp.float32), params
        )
        ours, state = own.update(
            gradients, state, ours, settings, jnp.float32(rate), jnp.float32(0.0)
        )
        changes, their_state = theirs.update(gradients, their_state, expected)
        expected = optax.apply_updates(expected, changes)
    for part, leaf in expected.items():
        np.testing.assert_allclose(ours[part], leaf, rtol=1e-3, atol=1e-4)


# --- what is asked for


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["mixup"], r"set takes NAME=VALUE, for instance mixup=0.2, got 'mixup'"),
        (["mixup=0.1", "mixup=0.2"], r"set names mixup twice"),
    ],
)
def test_a_text_that_is_no_setting_is_named(texts: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        parse_settings(texts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"settings": {"magic": 1.0}},
            r"unknown setting 'magic'; there are: dropout, .*",
        ),
        (
            {"settings": {"weight_decay": 0.1}},
            r"weight_decay has an option of its own: --weight-decay",
        ),
        (
            {"settings": {"trades": 6.0}},
            r"trades 6 has no meaning for a run that does not learn from attacks: set adv.*",
        ),
        (
            {"settings": {"adversarial_steps": 3.0}, "robust_epsilon": 0.1},
            r"adversarial_steps 3 has no meaning for a run that does not learn from attacks.*",
        ),
        (
            {"settings": {"adversarial_epsilon": 0.1, "adversarial_share": 0.0}},
            r"adversarial_share 0 attacks no example: set a larger one, or do not attack",
        ),
        ({"norm": "l2"}, r"norm l2 has no meaning for a run without attacks"),
        (
            {"ensemble": "boosting", "robust_epsilon": 0.1},
            r"robust_epsilon has no meaning for boosting, of which a stage would be attacked a.*",
        ),
        (
            {"ensemble": "boosting", "settings": {"adversarial_epsilon": 0.1}},
            r"adversarial_epsilon has no meaning for boosting, .* snapshot, bagging, seeds",
        ),
        ({"settings": {"mixup": 2.0}}, r"mixup must be from 0 to 1, got 2"),
        ({"settings": {"mixup": "x"}}, r"mixup must be a number, got 'x'"),
        ({"settings": {"huber_delta": 1.0}}, r"huber_delta has no meaning for classification"),
        ({"settings": {"activation": "sin"}}, r"unknown activation 'sin'; there are: relu, .*tanh"),
        ({"optimizer": "adam"}, r"unknown optimizer 'adam'; there are: adamw, sgd, lion, muon"),
        ({"norm": "l1"}, r"unknown norm 'l1'; there are: linf, l2"),
        ({"patience": 0}, r"patience must be a whole number from 1 up, got 0"),
        ({"updates": "many"}, r"updates must be a whole number from 1 up, got 'many'"),
        ({"decisions": float("nan")}, r"decisions must be a whole number from 1 up, got nan"),
        ({"seed": "x"}, r"seed must be a whole number from 0 to 2\^32 - 1, got 'x'"),
        ({"learning_rate": "fast"}, r"learning_rate must be a number, got 'fast'"),
        ({"minutes": [1]}, r"minutes must be a number, got \[1\]"),
        ({"mirrored": "no"}, r"mirrored must be True or False, got 'no'"),
        (
            {"ensemble": "seeds", "members": "three"},
            r"members must be a whole number from 2 up, got 'three'",
        ),
        ({"ensemble": "seeds", "budget_per_member": 2}, r"budget_per_member must be True or .* 2"),
        ({"rung": 64}, r"rung must be WIDTHxDEPTH, for instance 64x2, got 64"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make_plan(Request(**changes), make_task()[0], ())


def test_the_knob_of_attacks_counts_where_it_is_open_and_means_something() -> None:
    task, knobs = make_task()[0], ("adversarial_epsilon",)
    asked: dict[str, Any] = {"norm": "l2", "settings": {"trades": 6.0}}
    assert make_plan(Request(**asked), task, knobs).norm == "l2"
    with pytest.raises(ValueError, match=r"^norm l2 has no meaning for a run without attacks$"):
        make_plan(Request(**asked, hold=knobs), task, knobs)
    with pytest.raises(ValueError, match=r"^the knob adversarial_epsilon must be held: it has no "):
        make_plan(Request(ensemble="boosting"), task, knobs)
    assert make_plan(Request(ensemble="boosting", hold=knobs), task, knobs).knobs == ()


def test_a_quantile_alone_is_a_quantile() -> None:
    task, _ = make_task("regression")
    alone = make_plan(Request(settings={"quantile": 0.9}), task, ()).settings
    assert (alone["quantile"], alone["huber_delta"]) == (0.9, 0.01)
    both = make_plan(Request(settings={"quantile": 0.9, "huber_delta": 1.0}), task, ()).settings
    assert both["huber_delta"] == 1.0
    plain = make_plan(Request(), task, ()).settings
    assert plain["huber_delta"] == DEFAULT.huber_delta


def test_a_knob_is_held_once() -> None:
    with pytest.raises(ValueError, match=r"^hold names the knob 'dropout' twice$"):
        make_plan(Request(hold=("dropout", "dropout")), make_task()[0], BASIC_KNOBS)


@pytest.mark.parametrize(
    ("family", "method", "changes", "optimizer", "rate"),
    [
        ("mlp", "controller", {}, "adamw", 1e-3),
        ("mlp", "cosine", {}, "adamw", 1e-2),
        ("mlp", "cosine", {"optimizer": "sgd"}, "sgd", 0.1),
        ("cnn", "controller", {}, "muon", 0.02),
        ("cnn", "cosine", {"learning_rate": 0.1}, "muon", 0.1),
        ("cnn", "cosine", {"optimizer": "adamw"}, "adamw", 1e-2),
    ],
)
def test_where_nothing_is_asked_optimizer_and_rate_suit_the_family(
    family: str, method: str, changes: dict[str, Any], optimizer: str, rate: float
) -> None:
    plan = make_plan(Request(method=method, **changes), replace(make_task()[0], family=family), ())
    assert (plan.optimizer, plan.settings["learning_rate"]) == (optimizer, rate)


def test_an_episode_draws_its_optimizer_and_nothing_else_by_it() -> None:
    both = [episodes.draw(EnvConfig(optimizers=("adamw", "muon")), seed) for seed in range(40)]
    assert {one.optimizer for one in both} == {"adamw", "muon"}
    plain = [episodes.draw(EnvConfig(), seed) for seed in range(40)]
    assert [replace(one, optimizer="adamw") for one in both] == plain
    with pytest.raises(ValueError, match=r"^unknown optimizer 'dog'; there are: adamw, sgd, li"):
        EnvConfig(optimizers=("dog",))
    with pytest.raises(ValueError, match=r"^optimizers must name at least one, got none$"):
        EnvConfig(optimizers=())


def test_a_start_outside_of_its_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"^l2 must be a range within 0 to 1, got \(0.5, 2.0\)$"):
        EnvConfig(starts=(("l2", 0.5, 2.0),))
    with pytest.raises(ValueError, match=r"^starts names 'mixup' twice$"):
        EnvConfig(starts=(("mixup", 0.0, 0.1), ("mixup", 0.2, 0.3)))
    with pytest.raises(ValueError, match=r"^starts has no 'dropout'; there are: focal_gamma, .*"):
        EnvConfig(starts=(("dropout", 0.0, 0.1),))
    drawn = [episodes.draw(EnvConfig(starts=(("mixup", 0.2, 0.4),)), seed) for seed in range(20)]
    assert all(0.2 <= one.settings.mixup <= 0.4 for one in drawn)
    plain = episodes.draw(EnvConfig(), 3)
    assert drawn[3].settings._replace(mixup=0.0) == plain.settings
