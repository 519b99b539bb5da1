"""Matrix factorization with a perceptron beside it, against plain NumPy and a loop of Optax."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rlagent.apply.request import Request, make_plan
from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.books import RungFacts
from rlagent_envs.config import BASIC_KNOBS, KNOB_NAMES
from rlagent_envs.episode import Episode, Start
from rlagent_envs.growth import grow, shrink
from rlagent_envs.models import FACTORIZATION, Rung, ShapeClass, fitting
from rlagent_envs.models.factorization import Layers
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks import from_arrays
from rlagent_envs.tasks.options import of_family
from rlagent_envs.tasks.task import Split, Task
from rlagent_envs.training import adamw, loop
from rlagent_envs.training.bank import Bank, make_bank
from rlagent_envs.training.loop import Live

SMALL = Rung(1, 8)
LADDER = [Rung(depth, width) for depth in FACTORIZATION.depths for width in FACTORIZATION.widths]
USERS, ITEMS = 7, 9


def shape_of(rung: Rung, outputs: int = 1) -> ShapeClass:
    kind = "regression" if outputs == 1 else "classification"
    return ShapeClass("factorization", rung, kind, 2, outputs, 4, vocabularies=(USERS, ITEMS))


def make_params(shape: ShapeClass, seed: int = 0) -> Layers:
    """As if it had been trained: nothing is at the value that it began with."""
    generator = np.random.default_rng(seed)
    params, _ = FACTORIZATION.init(generator, shape, 2)
    return jax.tree.map(
        lambda leaf: leaf + 0.3 * generator.standard_normal(leaf.shape).astype(np.float32), params
    )


def every_pair() -> np.ndarray:
    grid = np.meshgrid(np.arange(USERS), np.arange(ITEMS), indexing="ij")
    return np.stack(grid, axis=-1).reshape(-1, 2).astype(np.float32)


def outputs_of(shape: ShapeClass, params: Layers, x: np.ndarray, **more: Any) -> np.ndarray:
    dropout, start = more.get("dropout", 0.0), more.get("start")
    made, state = FACTORIZATION.apply(
        shape, params, (), jnp.asarray(x), jnp.float32(dropout), start, None, None
    )
    assert state == ()
    return np.asarray(made)


# --- another implementation: one pair after another, in float64


def plain_network(params: Layers, x: np.ndarray) -> np.ndarray:
    rows = []
    for user, item in x.astype(int):
        p, q = (np.asarray(one, float) for one in (params.users[user], params.items[item]))
        made = params.last.bias + params.user_biases[user] + params.item_biases[item]
        made = made + sum(p[k] * q[k] * params.last.kernel[k] for k in range(len(p)))
        if params.hidden:
            units = np.append(p, q)
            for layer in params.hidden:
                units = np.maximum(layer.bias + units @ np.asarray(layer.kernel, float), 0.0)
            made = made + units @ params.last.kernel[len(p) :]
        rows.append(made)
    return np.array(rows)


@pytest.mark.parametrize("rung", LADDER, ids=str)
def test_a_rung_is_a_plain_network(rung: Rung) -> None:
    shape = shape_of(rung, outputs=3)
    params = make_params(shape)
    expected = plain_network(params, every_pair())
    np.testing.assert_allclose(
        outputs_of(shape, params, every_pair()), expected, rtol=1e-4, atol=1e-5
    )


def test_a_new_network_says_nothing_of_who_is_unknown() -> None:
    for rung in (SMALL, Rung(3, 16)):
        shape = shape_of(rung)
        params, _ = FACTORIZATION.init(np.random.default_rng(0), shape, 2)
        np.testing.assert_array_equal(outputs_of(shape, params, np.zeros((1, 2), np.float32)), 0.0)
        assert np.std(outputs_of(shape, params, every_pair())) < 0.5
        assert np.std(params.users[1:]) > 0.1


def test_operations_are_counted_one_by_one() -> None:
    for rung in (SMALL, Rung(3, 16)):
        shape = shape_of(rung, outputs=3)
        params = make_params(shape)
        kernels = [params.last.kernel, *(layer.kernel for layer in params.hidden)]
        forward = 2 * sum(kernel.size for kernel in kernels) + rung.width
        tables = params[:4]  # vectors and biases: 16 operations of AdamW for each number
        moved = 16 * sum(table.size for table in tables) / shape.batch_size
        assert FACTORIZATION.flops(shape) == (forward, 3 * forward + moved)
        weights = sum(leaf.size for leaf in (*kernels, *tables))
        assert RungFacts.of(shape).weights == weights


def test_dropout_takes_products_and_units() -> None:
    rows, share = 4000, 0.25
    for rung in (SMALL, Rung(2, 64)):
        shape = shape_of(rung)
        params = make_params(shape)
        x = np.repeat(np.array([[3, 4]], np.float32), rows, axis=0)
        plain = outputs_of(shape, params, x[:1], dropout=share)
        dropped = outputs_of(shape, params, x, dropout=share, start=jnp.uint32(3))[:, 0]
        deviation = float(dropped.std())
        assert deviation > 0.01
        assert dropped.mean() == pytest.approx(float(plain[0, 0]), abs=4 * deviation / rows**0.5)
        # Neither biases are dropped, nor is all of a row at once.
        biases = params.last.bias + params.user_biases[3] + params.item_biases[4]
        assert np.mean(np.abs(dropped - biases) < 1e-6) < 0.01


# --- growth


def make_live(shape: ShapeClass) -> Live:
    params = make_params(shape)
    generator = np.random.default_rng(3)
    state = adamw.init(params, 0.9)
    moments = [
        jax.tree.map(
            lambda leaf: np.square(generator.standard_normal(leaf.shape)).astype(np.float32), params
        )
        for _ in range(2)
    ]
    return Live(params, (), state.replace(first=moments[0], second=moments[1]), average=params)


@pytest.mark.parametrize("way", ["wwwddd", "dddwww", "wdwdwd"])
def test_any_way_up_the_ladder_keeps_the_outputs(way: str) -> None:
    shape = shape_of(SMALL, outputs=2)
    live = make_live(shape)
    before = plain_network(live.params, every_pair())
    for number, step in enumerate(way):
        larger = FACTORIZATION.wider if step == "w" else FACTORIZATION.deeper
        rung = larger(shape.rung)
        assert rung is not None
        live = grow(np.random.default_rng(number), shape, live, rung)
        shape = replace(shape, rung=rung)
        native, _ = FACTORIZATION.init(np.random.default_rng(0), shape, 2)
        state = live.optimizer
        for tree in (live.params, live.average, state.first, state.second):
            jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), tree, native)
            assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {np.dtype(np.float32)}
        for params in (live.params, live.average):
            after = outputs_of(shape, params, every_pair())
            assert np.abs(after - before).max() <= 1e-6 * np.abs(before).max()
    assert shape.rung == LADDER[-1]


@pytest.mark.parametrize("rung", [SMALL, Rung(3, 16)], ids=str)
def test_narrowing_undoes_widening(rung: Rung) -> None:
    """What is new is not heard by anyone, so that it goes first."""
    shape = shape_of(rung)
    live = make_live(shape)
    wider = FACTORIZATION.wider(rung)
    assert wider is not None
    grown = grow(np.random.default_rng(1), shape, live, wider)
    back = shrink(replace(shape, rung=wider), grown, rung)
    for before, after in (
        (live.params, back.params),
        (live.average, back.average),
        (live.optimizer.first, back.optimizer.first),
        (live.optimizer.second, back.optimizer.second),
    ):
        jax.tree.map(np.testing.assert_array_equal, after, before)


def test_narrowing_keeps_what_is_used_the_most() -> None:
    shape = shape_of(Rung(2, 16))
    params = make_params(shape)
    kernel = params.last.kernel.copy()
    useless, deaf = np.array([1, 3, 4, 5, 8, 10, 11, 14]), np.arange(8)
    kernel[useless] = 0.0  # the products of these numbers
    kernel[[0, 2]] = 0.0  # of these the hidden layer hears
    kernel[16 + deaf] = 0.0  # the hidden layer's units
    first = params.hidden[0].kernel.copy()
    first[np.append(useless, 16 + useless)] = 0.0
    params = params._replace(
        last=params.last._replace(kernel=kernel),
        hidden=(params.hidden[0]._replace(kernel=first),),
    )
    narrow = FACTORIZATION.narrow(params, 8)(params)
    np.testing.assert_array_equal(narrow.users, np.delete(params.users, useless, axis=1))
    expected = plain_network(params, every_pair())
    np.testing.assert_allclose(plain_network(narrow, every_pair()), expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"^width must be at most the present width 16, got 32$"):
        FACTORIZATION.narrow(params, 32)


def test_an_edit_knows_what_is_new() -> None:
    for rung, larger in ((SMALL, Rung(1, 16)), (SMALL, Rung(2, 8)), (Rung(2, 8), Rung(2, 16))):
        shape = shape_of(rung)
        live = make_live(shape)
        grown = grow(np.random.default_rng(0), shape, live, larger)
        edit = FACTORIZATION.widen(np.random.default_rng(0), live.params, larger.width)
        _, new = FACTORIZATION.deepen(live.params) if larger.depth > rung.depth else edit
        old = jax.tree.map(lambda leaf: leaf.size, live.params)
        kept = jax.tree.map(lambda is_new: int(np.sum(~is_new)), new)
        assert sum(jax.tree.leaves(kept)) == sum(jax.tree.leaves(old))
        first, second = grown.optimizer.first, grown.optimizer.second
        at_new = jax.tree.map(lambda leaf, is_new: leaf[is_new], first, new)
        assert not any(leaf.any() for leaf in jax.tree.leaves(at_new))
        assert all((leaf > 0).all() for leaf in jax.tree.leaves(second))
        if larger.width == 16:
            assert np.std(grown.params.users[1:, 8:]) > 0.05
            assert not grown.params.users[0, 8:].any()
    with pytest.raises(ValueError, match=r"^width must be at least the present width 8, got 4$"):
        FACTORIZATION.widen(None, live.params, 4)


# --- training


@pytest.fixture(scope="module")
def data() -> tuple[Task, Bank]:
    generator = np.random.default_rng(0)
    x = np.stack([generator.integers(1, size, 300) for size in (USERS, ITEMS)], axis=1)
    x = x.astype(np.float32)
    y = generator.standard_normal(300).astype(np.float32)
    task = Task(
        "ratings",
        "regression",
        Split(x[:200], y[:200]),
        Split(x[200:], y[200:]),
        None,
        outputs=1,
        batch_size=32,
        family="factorization",
        vocabularies=(USERS, ITEMS),
    )
    return task, jax.device_put(make_bank(task, padded=False))


def begin(data: tuple[Task, Bank], open_knobs: tuple[str, ...] = ()) -> Episode:
    settings = DEFAULT._replace(learning_rate=1e-2, weight_decay=1e-2)
    return episodes.begin(*data, Start(5, settings, Rung(2, 8), 60.0, 3), open_knobs)


def test_training_is_a_plain_loop_of_optax(data: tuple[Task, Bank]) -> None:
    _, bank = data
    episode = begin(data)
    params = episode.run.live.params
    live, measured = batch.advance_one(episode.shape, bank, episode.run, knobs.HOLD)
    optimizer = optax.adamw(1e-2, weight_decay=1e-2)
    key = jnp.asarray(episode.run.books.key)

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        """With one-hot rows in the place of looking vectors up."""
        numbers = x.astype(int)
        user, item = jax.nn.one_hot(numbers[:, 0], USERS), jax.nn.one_hot(numbers[:, 1], ITEMS)
        p, q = user @ params.users, item @ params.items
        (hidden,) = params.hidden
        both = jnp.concatenate([p, q], axis=1)
        units = jax.nn.relu(both @ hidden.kernel + hidden.bias[None])
        made = jnp.concatenate([p * q, units], axis=1) @ params.last.kernel
        made += user @ params.user_biases + item @ params.item_biases + params.last.bias[None]
        return jnp.mean((made[:, 0] - y) ** 2)

    @jax.jit
    def update(params: Any, state: Any, number: jax.Array) -> Any:
        x, y = loop.batch(episode.shape, bank, jnp.int32(0), key, number)
        changes, state = optimizer.update(jax.grad(loss)(params, x, y), state, params)
        return optax.apply_updates(params, changes), state

    state = optimizer.init(params)
    assert int(measured.updates) >= 10
    for number in range(int(measured.updates)):
        params, state = update(params, state, jnp.uint32(number))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), live.params, params
    )
    assert not np.asarray(live.params.users)[0].any()  # nobody unknown was seen


@pytest.mark.parametrize("level", [knobs.WIDER, knobs.DEEPER])
def test_growth_is_paid_for_and_trains_on(data: tuple[Task, Bank], level: int) -> None:
    episode = begin(data, BASIC_KNOBS)
    action = knobs.HOLD.copy()
    action[knobs.GROWTH] = level
    ((episode, observation, report),) = batch.step([data[1]], [episode], action[None], "sequential")
    facts, books = RungFacts.of(episode.shape), episode.run.books
    billed = report.updates * facts.update_flops + int(books.pieces) * facts.piece_flops
    assert report.spent * float(books.base_flops) == pytest.approx(billed, rel=1e-4)
    assert np.isfinite(observation).all()
    kernel = np.asarray(episode.run.live.params.last.kernel)
    assert np.mean(kernel != 0.0) > 0.9


# --- what is asked for


def test_knobs_without_a_meaning_for_pairs_are_closed(data: tuple[Task, Bank]) -> None:
    mask = knobs.open_mask(KNOB_NAMES, data[0])
    closed = {"mixup", "cutmix", "augmentation", "stochastic_depth", "trades"}
    closed |= {"label_smoothing", "focal_gamma", "class_balance"}
    for number, (name, knob) in enumerate(knobs.KNOBS.items()):
        start = knobs.STARTS[number]
        is_open = mask[start : start + len(knob.levels)].sum() > 1
        assert is_open == (name not in closed and "adversarial" not in name), name
    given = Request(settings={"mixup": 0.2})
    with pytest.raises(ValueError, match=r"^mixup has no meaning for inputs of the form pair$"):
        make_plan(given, data[0], ())


def test_pairs_are_factorized_where_no_family_is_named() -> None:
    assert fitting("pair", ()) == ["factorization", "embedding_mlp"]
    task = from_arrays(np.random.default_rng(0).standard_normal((50, 2)), np.arange(50) % 2)
    with pytest.raises(
        ValueError,
        match=r"^factorization reads pair or choice, but data is of the form table; there are for ",
    ):
        of_family(task, "factorization")


def test_numbers_outside_of_a_vocabulary_are_refused(data: tuple[Task, Bank]) -> None:
    task = data[0]
    for wrong, text in ((USERS, "7"), (-1, "-1"), (0.5, "0.5")):
        x = task.valid.x.copy()
        x[3, 0] = wrong
        message = (
            f"^the valid part of ratings has {text} for a number; vocabularies are of 7, 9, from 0$"
        )
        with pytest.raises(ValueError, match=message):
            replace(task, valid=Split(x, task.valid.y))
