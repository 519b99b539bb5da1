"""A slice of training against plain loops, plain networks and plain arithmetic."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib
from scipy import stats

from rlagent_envs import batch, draws, dynamics, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.config import BASIC_KNOBS, SCHEDULES
from rlagent_envs.dynamics import Measured, Run
from rlagent_envs.episode import Episode, Start
from rlagent_envs.models import MLP, Rung, ShapeClass
from rlagent_envs.models.mlp import Dense, Layers
from rlagent_envs.settings import Settings
from rlagent_envs.tasks.task import Split, Task
from rlagent_envs.training import adamw as own_adamw
from rlagent_envs.training import evaluation, losses
from rlagent_envs.training.bank import Bank, make_bank
from rlagent_envs.training.loop import BATCH, Live
from rlagent_envs.training.optimizer import TUNING_FREE
from rlagent_envs.training.schedules import SHAPES, multiplier

BATCH_SIZE, TRAIN_ROWS, VALID_ROWS = 32, 200, 90
PLAIN = Settings(3e-3, 1e-2, 0.0, 0.0, 0.9)
SMALL, MIDDLE = Rung(1, 32), Rung(2, 64)


@cache
def make_task(features: int = 32, classes: int = 8) -> tuple[Task, Bank]:
    """A task of random rows, and its bank; with one class it is a regression."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((TRAIN_ROWS + VALID_ROWS, features)).astype(np.float32)
    scores = x @ generator.standard_normal((features, classes))
    y = np.argmax(scores, axis=1).astype(np.int32) if classes > 1 else scores[:, 0]
    y = y if classes > 1 else (y / y.std()).astype(np.float32)
    train, valid = Split(x[:TRAIN_ROWS], y[:TRAIN_ROWS]), Split(x[TRAIN_ROWS:], y[TRAIN_ROWS:])
    kind = "classification" if classes > 1 else "regression"
    task = Task("random", kind, train, valid, None, classes, BATCH_SIZE)  # type: ignore[arg-type]
    return task, jax.device_put(make_bank(task, padded=False))


def begin(
    task: Task,
    bank: Bank,
    rung: Rung = SMALL,
    settings: Settings = PLAIN,
    budget: float = 120.0,
    decisions: int = 1,
    schedule: str = "constant",
    optimizer: str = "adamw",
    seed: int = 5,
) -> Episode:
    start = Start(seed, settings, rung, budget, decisions, schedule, optimizer)
    return episodes.begin(task, bank, start, BASIC_KNOBS)


def train(episode: Episode, bank: Bank, action: np.ndarray = knobs.HOLD) -> tuple[Live, Measured]:
    live, measured = batch.advance_one(episode.shape, bank, episode.run, action)
    return live, measured


def batches(task: Task, key: np.ndarray, first: int, updates: int) -> list[Split]:
    """The batches of a run, drawn with NumPy alone."""
    numbers = np.arange(first, first + updates, dtype=np.uint32)
    starts = draws.stream(key, numbers, BATCH)[:, None]
    positions = np.arange(task.batch_size, dtype=np.uint32)[None]
    rows = draws.rows(starts, positions, np.uint32(len(task.train.x)))
    return [Split(task.train.x[r], task.train.y[r]) for r in rows]


def plain_forward(params: Layers, x: Any) -> Any:
    *hidden, last = params
    for layer in hidden:
        x = jax.nn.relu(x @ layer.kernel + layer.bias[None, :])
    return x @ last.kernel + last.bias[None, :]


def plain_loss(params: Layers, x: Any, y: Any) -> Any:
    outputs = plain_forward(params, x)
    if jnp.issubdtype(y.dtype, jnp.floating):
        return jnp.mean(jnp.square(outputs[:, 0] - y))
    return jnp.mean(-jnp.take_along_axis(jax.nn.log_softmax(outputs), y[:, None], axis=1)[:, 0])


plain_gradient = jax.jit(jax.grad(plain_loss))


def adamw(settings: Settings, learning_rate: Any = None) -> Any:
    """Optax's AdamW with the settings as the environment has them: float32, and traced.

    As constants they are not the same numbers: Optax then computes 1 - b1 in double precision.
    """
    numbers = Settings(*settings.pack())
    return optax.inject_hyperparams(optax.adamw, static_args=("b2", "eps", "eps_root"))(
        learning_rate=numbers.learning_rate if learning_rate is None else learning_rate,
        b1=numbers.momentum,
        weight_decay=numbers.weight_decay,
    )


def optax_loop(params: Layers, transformation: Any, data: list[Split]) -> Layers:
    """Training as anyone would write it: a jitted step in a Python loop."""

    @jax.jit
    def step(params: Layers, state: Any, x: Any, y: Any) -> tuple[Layers, Any]:
        gradients = jax.grad(plain_loss)(params, x, y)
        updates, state = transformation.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    params = jax.tree.map(jnp.asarray, params)
    state = transformation.init(params)
    for x, y in data:
        params, state = step(params, state, x, y)
    return params


def optax_value_loop(
    params: Layers, transformation: Any, data: list[Split], state: Any = None
) -> tuple[Layers, Any]:
    """The same for optimizers that want to know the loss, going on from a state."""
    transformation = optax.with_extra_args_support(transformation)

    @jax.jit
    def step(params: Layers, state: Any, x: Any, y: Any) -> tuple[Layers, Any]:
        loss, gradients = jax.value_and_grad(plain_loss)(params, x, y)
        updates, state = transformation.update(gradients, state, params, value=loss)
        return optax.apply_updates(params, updates), state

    params = jax.tree.map(jnp.asarray, params)
    state = transformation.init(params) if state is None else state
    for x, y in data:
        params, state = step(params, state, x, y)
    return params, state


def assert_bitwise_equal(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_close(a: Any, b: Any, tolerance: float) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, tolerance, tolerance), a, b)


# --- the loop of a slice


@pytest.mark.slow  # bits of programs as users have them; see conftest.py
@pytest.mark.parametrize("rung", [SMALL, MIDDLE])
def test_a_slice_is_an_optax_loop_bit_for_bit(rung: Rung) -> None:
    task, bank = make_task()
    episode = begin(task, bank, rung)
    live, measured = train(episode, bank)
    updates = int(measured.updates)
    assert updates > 100
    data = batches(task, episode.run.books.key, 0, updates)
    assert_bitwise_equal(live.params, optax_loop(episode.run.live.params, adamw(PLAIN), data))


@pytest.mark.parametrize("classes", [3, 1])
def test_with_few_outputs_a_slice_is_an_optax_loop_but_for_roundings(classes: int) -> None:
    # Where the outputs do not fill a vector register, XLA adds up the gradient of the last bias in
    # an order that depends on the rest of the program: in its last bit it differs.
    task, bank = make_task(classes=classes)
    episode = begin(task, bank)
    live, measured = train(episode, bank)
    data = batches(task, episode.run.books.key, 0, int(measured.updates))
    assert_close(live.params, optax_loop(episode.run.live.params, adamw(PLAIN), data), 2e-6)


@pytest.mark.slow  # bits of programs as users have them; see conftest.py
def test_the_next_slice_draws_the_next_batches() -> None:
    task, bank = make_task()
    episode = begin(task, bank, budget=80.0, decisions=2)
    run, _ = batch.step_one(episode.shape, bank, episode.run, knobs.HOLD)
    first = int(run.books.updates)
    live, measured = batch.advance_one(episode.shape, bank, run, knobs.HOLD)
    data = batches(task, episode.run.books.key, 0, first + int(measured.updates))
    assert len(data) > 70
    assert_bitwise_equal(live.params, optax_loop(episode.run.live.params, adamw(PLAIN), data))


def test_a_change_of_momentum_keeps_the_bias_correction_right() -> None:
    """Against float64 NumPy, where the weight of a moment is w <- b w + 1 - b."""
    task, bank = make_task()
    episode = begin(task, bank, budget=36.0, decisions=3)
    action = knobs.HOLD.copy()
    action[list(knobs.KNOBS).index("momentum")] = 0  # halves 1 - momentum
    params = jax.tree.map(np.float64, episode.run.live.params)
    first = second = jax.tree.map(np.zeros_like, params)
    first_weight = second_weight = 0.0
    run, b1, seen = episode.run, 0.9, 0
    for decision in (knobs.HOLD, action, action):
        b1 = 1.0 - (1.0 - b1) / 2.0 if decision is action else b1
        run, _ = batch.step_one(episode.shape, bank, run, decision)
        updates = int(run.books.updates) - seen
        for x, y in batches(task, episode.run.books.key, seen, updates):
            gradients = jax.tree.map(
                np.float64, plain_gradient(jax.tree.map(np.float32, params), x, y)
            )
            first = jax.tree.map(lambda m, g, b=b1: b * m + (1 - b) * g, first, gradients)
            second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
            first_weight = b1 * first_weight + 1.0 - b1
            second_weight = 0.999 * second_weight + 0.001
            params = jax.tree.map(
                lambda p, m, v, w=first_weight, u=second_weight: (
                    p
                    - PLAIN.learning_rate
                    * (m / w / (np.sqrt(v / u) + 1e-8) + PLAIN.weight_decay * p)
                ),
                params,
                first,
                second,
            )
        seen += updates
    assert seen > 25
    assert float(run.books.settings[4]) == pytest.approx(0.975)
    assert_close(run.live.params, params, 2e-5)
    assert_close(run.live.optimizer.first, first, 2e-5)


OPTAX_SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "cosine": optax.cosine_decay_schedule,
    "one-cycle": lambda peak, updates: optax.cosine_onecycle_schedule(updates, peak),
    "step": lambda peak, updates: optax.piecewise_constant_schedule(
        peak, {updates // 3: 0.1, 2 * updates // 3: 0.1}
    ),
    "exponential": lambda peak, updates: optax.exponential_decay(peak, updates, 0.01),
    "warmup-cosine": lambda peak, updates: optax.warmup_cosine_decay_schedule(
        0.0, peak, updates // 10, updates
    ),
}


@pytest.mark.parametrize("name", OPTAX_SCHEDULES)
def test_a_schedule_is_that_of_optax(name: str) -> None:
    schedule = OPTAX_SCHEDULES[name](1e-2, 120)
    for update in range(120):
        own = 1e-2 * multiplier(SHAPES[name], np.float64(update / 120), np)
        assert own == pytest.approx(float(schedule(update)), rel=2e-5, abs=1e-9)


def test_schedules_are_the_ones_that_a_config_offers() -> None:
    assert tuple(SHAPES) == SCHEDULES
    assert {*OPTAX_SCHEDULES, "constant"} == set(SHAPES)


@pytest.mark.parametrize("name", ["cosine", "one-cycle"])
def test_a_schedule_acts_at_each_update(name: str) -> None:
    task, bank = make_task()
    episode = begin(task, bank, schedule=name)
    live, measured = train(episode, bank)
    schedule = OPTAX_SCHEDULES[name](PLAIN.learning_rate, 120)
    data = batches(task, episode.run.books.key, 0, int(measured.updates))
    expected = optax_loop(episode.run.live.params, adamw(PLAIN, schedule), data)
    assert_close(live.params, expected, 2e-6)
    constant, _ = train(begin(task, bank), bank)
    assert not np.allclose(live.params[0].kernel, constant.params[0].kernel, atol=1e-3)


OPTAX_TUNING_FREE: dict[str, Callable[[float, float], Any]] = {
    "schedule-free": lambda rate, decay: contrib.schedule_free_adamw(rate, weight_decay=decay),
    "prodigy": lambda rate, decay: contrib.prodigy(rate, weight_decay=decay),
    "dadapt": lambda rate, decay: contrib.dadapt_adamw(rate, weight_decay=decay),
    "mechanic": lambda rate, decay: contrib.mechanize(optax.adamw(rate, weight_decay=decay)),
    "momo": lambda rate, decay: contrib.momo_adam(rate, weight_decay=decay),
    "dog": lambda rate, decay: contrib.dog(rate, weight_decay=decay),
}


@pytest.mark.parametrize("name", OPTAX_TUNING_FREE)
def test_a_tuning_free_optimizer_is_optax_own(name: str) -> None:
    assert set(OPTAX_TUNING_FREE) == set(TUNING_FREE)
    task, bank = make_task()
    episode = begin(task, bank, optimizer=name, budget=40.0, decisions=2)
    live, state = episode.run.live.params, None
    transformation = OPTAX_TUNING_FREE[name](*PLAIN[:2])
    for _ in range(2):  # a second slice goes on with the state of the first, and compiles nothing
        books = episode.run.books
        (stepped,) = batch.step([bank], [episode], knobs.HOLD[None], "sequential")
        made = int(stepped.report.updates)
        data = batches(task, books.key, int(books.updates), made)
        live, state = optax_value_loop(live, transformation, data, state)
        episode = stepped.episode
    assert_close(episode.run.live.params, live, 1e-4)
    judged = contrib.schedule_free_eval_params(state, live) if name == "schedule-free" else live
    looked_at = int(books.pieces) * task.batch_size
    loss = float(plain_loss(judged, task.valid.x[:looked_at], task.valid.y[:looked_at]))
    assert stepped.report.valid_loss == pytest.approx(loss, rel=1e-3)


def test_a_shape_class_is_traced_once_whatever_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traced: list[ShapeClass] = []
    evaluate = evaluation.evaluate

    def counted(shape: ShapeClass, *rest: Any) -> Any:
        traced.append(shape)
        return evaluate(shape, *rest)

    # `advance` calls it once each time that it is traced, and never when it runs compiled.
    monkeypatch.setattr(dynamics, "evaluate", counted)
    task, bank = make_task(features=8)
    for settings, budget, decisions, schedule in (
        (PLAIN, 20.0, 1, "constant"),
        (Settings(1.0, 1.0, 0.6, 0.3, 0.99), 9.0, 4, "one-cycle"),
        (Settings(1e-8, 1e-6, 0.0, 0.0, 0.5), 300.0, 2, "step"),
    ):
        episode = begin(task, bank, SMALL, settings, budget, decisions, schedule)
        run, _ = batch.step_one(episode.shape, bank, episode.run, knobs.HOLD)
        batch.step_one(episode.shape, bank, run, np.zeros_like(knobs.HOLD))
    assert traced == [episode.shape]
    episode = begin(task, bank, Rung(2, 32))
    batch.step_one(episode.shape, bank, episode.run, knobs.HOLD)
    assert len(traced) == 2


# --- networks and losses


@pytest.mark.parametrize("rung", [SMALL, MIDDLE, Rung(3, 32), Rung(4, 128)])
def test_a_rung_is_a_plain_network(rung: Rung) -> None:
    task, _ = make_task()
    shape = ShapeClass("mlp", rung, task.kind, task.features, task.outputs, BATCH_SIZE)
    params, state = MLP.init(np.random.default_rng(1), shape, task.features)
    assert [layer.kernel.shape for layer in params] == [
        (task.features, rung.width),
        *[(rung.width, rung.width)] * (rung.depth - 1),
        (rung.width, task.outputs),
    ]
    x, y = jnp.asarray(task.train.x[:BATCH_SIZE]), jnp.asarray(task.train.y[:BATCH_SIZE])
    zero = jnp.float32(0.0)

    def ladder_loss(params: Layers) -> Any:
        outputs, _ = MLP.apply(shape, params, state, x, zero, jnp.uint32(7), None, None)
        return losses.example_losses(task.kind, outputs, y, jnp.ones(8), zero)[0].mean()

    plain = task.train.x[:BATCH_SIZE]
    for layer in params[:-1]:
        plain = np.maximum(plain @ layer.kernel + layer.bias, 0.0)
    plain = plain @ params[-1].kernel + params[-1].bias
    computed, _ = jax.jit(MLP.apply, static_argnums=(0, 2, 5))(shape, params, state, x, zero, None)
    np.testing.assert_allclose(computed, plain, 1e-5, 1e-5)
    assert_close(jax.jit(jax.grad(ladder_loss))(params), plain_gradient(params, x, y), 1e-6)


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_dropout_drops_its_share_and_keeps_the_mean(share: float) -> None:
    width = 32
    ones = Dense(np.zeros((1, width), np.float32), np.ones(width, np.float32))
    show = Dense(np.eye(width, dtype=np.float32), np.zeros(width, np.float32))
    x = jnp.zeros((4000, 1))
    shape = ShapeClass("mlp", Rung(1, width), "classification", 1, width, len(x))
    made, _ = MLP.apply(shape, (ones, show), (), x, jnp.float32(share), jnp.uint32(3), None)
    outputs = np.asarray(made)
    kept = outputs != 0.0
    assert set(np.unique(outputs[kept])) == {np.float32(1.0) / (1.0 - np.float32(share))}
    deviation = np.sqrt(share * (1.0 - share) / kept.size)
    assert abs(np.mean(~kept) - share) < 4.0 * deviation
    assert abs(outputs.mean() - 1.0) < 4.0 * deviation / (1.0 - share)
    spread = np.sqrt(share * (1.0 - share) / len(kept))
    assert np.abs(np.mean(~kept, axis=0) - share).max() < 5.0 * spread  # no unit is favoured


def test_dropout_differs_between_layers_and_is_off_in_evaluation() -> None:
    width = 64
    eye, zeros = np.eye(width, dtype=np.float32), np.zeros(width, np.float32)
    first = Dense(np.zeros((1, width), np.float32), np.ones(width, np.float32))
    two = (first, Dense(eye, zeros), Dense(eye, zeros))
    x = jnp.zeros((1000, 1))
    share = jnp.float32(0.5)
    shape = ShapeClass("mlp", Rung(2, width), "classification", 1, width, len(x))
    outputs, _ = MLP.apply(shape, two, (), x, share, jnp.uint32(3), None, None)
    # Equal masks would leave one half; independent ones leave a quarter.
    assert np.mean(np.asarray(outputs) > 0.0) == pytest.approx(0.25, abs=0.01)
    outputs, _ = MLP.apply(shape, two, (), x, share, None, None, None)
    np.testing.assert_array_equal(outputs, np.ones((1000, width)))


def test_classification_losses_are_as_written_by_hand() -> None:
    generator = np.random.default_rng(2)
    outputs = generator.standard_normal((20, 6)).astype(np.float32)
    classes = np.array([1, 1, 1, 1, 0, 0], np.float32)
    y = generator.integers(4, size=20).astype(np.int32)
    p = np.exp(outputs[:, :4].astype(np.float64))
    log_p = np.log(p / p.sum(axis=1, keepdims=True))
    target = np.full((20, 4), 0.2 / 4)
    target[np.arange(20), y] += 0.8
    trained, plain = losses.example_losses(
        "classification",
        jnp.asarray(outputs),
        jnp.asarray(y),
        jnp.asarray(classes),
        jnp.float32(0.2),
    )
    np.testing.assert_allclose(plain, -log_p[np.arange(20), y], 1e-5)
    np.testing.assert_allclose(trained, -np.sum(target * log_p, axis=1), 1e-5)
    outputs[:, 5] = 100.0  # padding never wins
    hits = losses.example_hits(
        "classification", jnp.asarray(outputs), jnp.asarray(y), jnp.asarray(classes)
    )
    np.testing.assert_array_equal(hits, np.argmax(log_p, axis=1) == y)


def test_regression_losses_are_squares() -> None:
    outputs, y, one = jnp.array([[1.0], [-2.0]]), jnp.array([0.5, 1.0]), jnp.ones(1)
    trained, plain = losses.example_losses("regression", outputs, y, one, jnp.float32(0.3))
    np.testing.assert_array_equal(trained, [0.25, 9.0])
    np.testing.assert_array_equal(plain, [0.25, 9.0])
    np.testing.assert_array_equal(losses.example_hits("regression", outputs, y, one), 0.0)


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_an_evaluation_is_that_of_numpy_on_the_same_rows(pieces: int) -> None:
    task, bank = make_task()
    episode = begin(task, bank)
    rows = min(pieces * BATCH_SIZE, VALID_ROWS)  # the last piece is padded
    x = task.valid.x[:rows].astype(np.float64)
    params = episode.run.live.params
    x = np.maximum(x @ params[0].kernel + params[0].bias, 0.0) @ params[1].kernel + params[1].bias
    log_p = x - np.log(np.sum(np.exp(x), axis=1, keepdims=True))
    off = np.float32(0.0)
    loss, hits, *_ = batch.evaluate_one(
        episode.shape, bank, np.int32(0), episode.run.live, np.int32(pieces), off, off
    )
    y = task.valid.y[:rows]
    assert float(loss) == pytest.approx(-np.mean(log_p[np.arange(rows), y]), rel=1e-5)
    assert float(hits) == pytest.approx(np.mean(np.argmax(log_p, axis=1) == y), rel=1e-6)


def test_padding_changes_nothing() -> None:
    task, bank = make_task(features=20, classes=5)
    padded = jax.device_put(make_bank(task, padded=True))
    alone, within = begin(task, bank, budget=30.0), begin(task, padded, budget=30.0)
    assert (within.shape.features, within.shape.outputs) == (64, 16)
    live = within.run.live

    def embed(large: Any, small: Any) -> Any:
        large = np.zeros_like(large)
        large[tuple(slice(size) for size in small.shape)] = small
        return large

    params = jax.tree.map(embed, live.params, alone.run.live.params)
    # The same budget in updates, although an update of the padded network is billed at more.
    run = Run(live.replace(params=params), within.run.books)
    live, measured = batch.advance_one(within.shape, padded, run, knobs.HOLD)
    expected_live, expected = train(alone, bank)
    assert int(measured.updates) == int(expected.updates) > 20
    assert_close(measured.trace.early_loss, expected.trace.early_loss, 1e-6)
    assert_close(measured.trace.late_loss, expected.trace.late_loss, 1e-6)
    assert_close(measured.judged.loss, expected.judged.loss, 1e-6)
    for large, small in zip(
        jax.tree.leaves(live.params), jax.tree.leaves(expected_live.params), strict=True
    ):
        part = tuple(slice(size) for size in small.shape)
        np.testing.assert_allclose(large[part], small, 1e-5, 1e-6)
        rest = np.array(large)
        rest[part] = 0.0
        assert not rest.any()  # what is padding stays zero


# --- random numbers


def words(key: tuple[int, int], updates: int, positions: int, purpose: int = BATCH) -> np.ndarray:
    """Random words `[updates, positions]`."""
    starts = draws.stream(np.array(key, np.uint32), np.arange(updates, dtype=np.uint32), purpose)
    return draws.bits(starts[:, None], np.arange(positions, dtype=np.uint32)[None])


KEYS = [(0, 0), (1, 0), (123456789, 987654321)]


def test_numpy_and_jax_draw_the_same() -> None:
    key = np.array([7, 2**32 - 1], np.uint32)
    positions = np.arange(100, dtype=np.uint32)
    update = np.array([5], np.uint32)
    start = draws.stream(key, update, 1)
    traced = jax.jit(draws.stream, static_argnums=2)(key, np.uint32(5), 1)
    assert int(traced) == int(start[0])
    np.testing.assert_array_equal(
        jax.jit(draws.rows)(traced, positions, np.uint32(37)),
        draws.rows(start, positions, np.uint32(37)),
    )
    uniform = np.asarray(jax.jit(draws.uniform, static_argnums=1)(traced, (10, 10)))
    expected = (draws.bits(start, positions) >> 8).astype(np.float32) * np.float32(2.0**-24)
    np.testing.assert_array_equal(uniform.ravel(), expected)
    assert 0.0 <= uniform.min() < uniform.max() < 1.0


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("total", [7, 150, 1024])
def test_rows_are_uniform(key: tuple[int, int], total: int) -> None:
    rows = words(key, 2000, 64) % np.uint32(total)
    assert stats.chisquare(np.bincount(rows.ravel(), minlength=total)).pvalue > 1e-3


PAIRS: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "purposes": lambda a, b: (a, b),
    "updates": lambda a, b: (a[1:], a[:-1]),
    "distant updates": lambda a, b: (a[1024:], a[:-1024]),
    "positions": lambda a, b: (a[:, 1:], a[:, :-1]),
    "an update and the next position": lambda a, b: (a[1:, :-1], a[:-1, 1:]),
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("pair", PAIRS)
def test_draws_are_independent(pair: str, key: tuple[int, int]) -> None:
    left, right = PAIRS[pair](words(key, 2048, 64, 0), words(key, 2048, 64, 1))
    for shift in (0, 28):  # the lowest and the highest four bits
        cells = ((left >> shift) & 15) * 16 + ((right >> shift) & 15)
        assert stats.chisquare(np.bincount(cells.ravel(), minlength=256)).pvalue > 1e-4


def test_runs_with_near_keys_draw_independently() -> None:
    left, right = words((5, 9), 2048, 64), words((5, 10), 2048, 64)
    cells = (left % 16) * 16 + right % 16
    assert stats.chisquare(np.bincount(cells.ravel(), minlength=256)).pvalue > 1e-4
    assert not np.intersect1d(left[:, 0], right[:, 0]).size > 3


def test_the_batches_of_a_run_cover_the_data() -> None:
    task, _ = make_task()
    seen = np.concatenate([b.x[:, 0] for b in batches(task, np.array(KEYS[2], np.uint32), 0, 60)])
    # 1,920 draws with replacement from 200 rows miss one with probability 0.013.
    assert len(np.unique(seen)) >= TRAIN_ROWS - 2


# --- the optimizer alone


def test_momentum_that_is_set_but_not_changed_leaves_the_state_as_it_is() -> None:
    state = own_adamw.init({"w": np.ones(3, np.float32)}, 0.9)
    state = state.replace(since=np.int32(7), anchor=np.float32(0.25))
    same = jax.jit(own_adamw.set_momentum)(state, np.float32(0.9))
    assert_bitwise_equal(same, state)
    moved = jax.jit(own_adamw.set_momentum)(state, np.float32(0.5))
    assert float(moved.anchor) == pytest.approx(0.25 * 0.9**7, rel=1e-6)
    assert int(moved.since) == 0
