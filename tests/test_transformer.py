"""The Transformer against plain NumPy in float64, head by head, and a plain Optax loop."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.books import RungFacts
from rlagent_envs.config import BASIC_KNOBS
from rlagent_envs.episode import Episode, Start
from rlagent_envs.growth import grow, shrink
from rlagent_envs.models import TRANSFORMER, Rung, ShapeClass, fitting
from rlagent_envs.models.transformer import Layers
from rlagent_envs.settings import DEFAULT, Settings
from rlagent_envs.tasks.task import Split, Task
from rlagent_envs.training import adamw
from rlagent_envs.training.bank import Bank, make_bank
from rlagent_envs.training.loop import Live
from tests.plain_loops import check_against_optax

SMALL = Rung(1, 64)
LENGTH, VOCABULARY, OUTPUTS, BATCH_SIZE = 6, 9, 8, 16
ZERO = jnp.float32(0.0)


def shape_of(rung: Rung, *, causal: bool = True, length: int = LENGTH) -> ShapeClass:
    return ShapeClass(
        "transformer",
        rung,
        "classification",
        length,
        OUTPUTS,
        BATCH_SIZE,
        input_shape=(length,),
        vocabularies=(VOCABULARY,),
        target_shape=(length,) if causal else (),
    )


def make_params(shape: ShapeClass, seed: int = 0) -> Layers:
    """As if it had been trained: nothing is at the value that it began with."""
    generator = np.random.default_rng(seed)
    params, _ = TRANSFORMER.init(generator, shape, shape.features)
    return jax.tree.map(
        lambda leaf: leaf + 0.1 * generator.standard_normal(leaf.shape).astype(np.float32), params
    )


def inputs(rows: int = 4, length: int = LENGTH) -> np.ndarray:
    """Tokens; the rows end in more and more places without one, the last one has none at all."""
    generator = np.random.default_rng(1)
    tokens = generator.integers(1, VOCABULARY, (rows, length)).astype(np.float32)
    for row in range(rows):
        tokens[row, length - row * length // max(rows - 1, 1) :] = 0.0
    return tokens


def outputs_of(shape: ShapeClass, params: Any, x: Any, *rest: Any) -> np.ndarray:
    """With dropout, the start, the activation and stochastic depth, if they are given."""
    given = [ZERO, None, None, None]
    given[: len(rest)] = rest
    outputs, _ = TRANSFORMER.apply(shape, params, (), jnp.asarray(x), *given)
    return np.asarray(outputs)


# --- another implementation: one example and one head at a time, turned by complex numbers


def plain_norm(xp: Any, x: Any, scale: Any) -> Any:
    return x / xp.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5) * (1 + scale)[None]


def plain_turn(xp: Any, x: Any) -> Any:
    pace = np.array([10_000.0 ** (-number / 8) for number in range(8)])
    turn = np.exp(1j * np.arange(len(x))[:, None] * pace[None])
    if xp is jnp:
        turn = turn.astype(np.complex64)
    turned = (x[:, :8] + 1j * x[:, 8:]) * turn
    return xp.concatenate([turned.real, turned.imag], axis=1)


def plain_attention(xp: Any, block: Any, x: Any, tokens: Any, causal: bool) -> Any:
    total, places = 0.0, np.arange(len(x))
    seen = places[:, None] >= places[None, :] if causal else (tokens > 0)[None, :]
    for first in range(0, block.query.shape[1], 16):
        head = slice(first, first + 16)
        query, key = (plain_turn(xp, x @ kernel[:, head]) for kernel in (block.query, block.key))
        shares = xp.where(seen, xp.exp(query @ key.T / 4.0), 0.0)
        shares = shares / xp.maximum(shares.sum(axis=1, keepdims=True), 1e-30)
        total = total + shares @ (x @ block.value[:, head]) @ block.project[head]
    return total


def plain_example(xp: Any, params: Layers, tokens: Any, causal: bool, activation: Any) -> Any:
    x = params.embedding[tokens.astype(int)]
    for block in params.blocks:
        norm = plain_norm(xp, x, block.attention_norm)
        x = x + plain_attention(xp, block, norm, tokens, causal)
        hidden = activation(
            plain_norm(xp, x, block.norm) @ block.first.kernel + block.first.bias[None]
        )
        x = x + hidden @ block.second.kernel + block.second.bias[None]
    x = plain_norm(xp, x, params.norm)
    if causal:
        return x @ params.last.kernel + params.last.bias[None]
    count = xp.maximum((tokens > 0).sum(), 1)
    return (x * (tokens > 0)[:, None]).sum(axis=0) / count @ params.last.kernel + params.last.bias


def plain_network(params: Layers, x: np.ndarray, causal: bool) -> np.ndarray:
    """In float64."""
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def relu(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0.0)

    return np.stack([plain_example(np, wide, tokens, causal, relu) for tokens in x])


# --- networks


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("rung", [SMALL, Rung(2, 128), Rung(4, 512)], ids=str)
def test_a_rung_is_a_plain_network(rung: Rung, causal: bool) -> None:
    shape = shape_of(rung, causal=causal)
    params, x = make_params(shape), inputs()
    expected = plain_network(params, x, causal)
    outputs = outputs_of(shape, params, x)
    there = np.arange(4) < 3  # a row without any token has no shares to compare
    assert np.isfinite(outputs).all()
    np.testing.assert_allclose(
        outputs[there], expected[there], rtol=1e-4, atol=2e-5 * np.abs(expected).max()
    )


def test_no_token_is_told_what_comes_after_it() -> None:
    shape = shape_of(Rung(2, 64))
    params, x = make_params(shape), inputs(1)
    before = outputs_of(shape, params, x)
    for place in range(LENGTH):
        changed = x.copy()
        changed[0, place] = 1.0 + x[0, place] % (VOCABULARY - 1)
        differ = np.abs(outputs_of(shape, params, changed) - before).max(axis=(0, 2))
        assert (differ[:place] == 0.0).all()
        assert (differ[place:] > 1e-4).all()


def test_places_without_a_token_are_not_there() -> None:
    shape, longer = (shape_of(Rung(2, 64), causal=False, length=n) for n in (LENGTH, LENGTH + 3))
    params, x = make_params(shape), inputs()
    padded = np.pad(x, ((0, 0), (0, 3)))
    np.testing.assert_allclose(
        outputs_of(longer, params, padded), outputs_of(shape, params, x), rtol=1e-5, atol=1e-5
    )
    other = x.copy()
    other[0, -1] = 0.0
    assert np.abs(outputs_of(shape, params, other) - outputs_of(shape, params, x)).max() > 1e-3


def test_a_score_depends_on_the_distance_alone() -> None:
    """Moved by some places, the same tokens hear the same of each other."""
    shape = shape_of(Rung(1, 64), causal=False, length=LENGTH + 3)
    params, x = make_params(shape), inputs(1)
    behind, before = (np.pad(x, ((0, 0), room)) for room in ((0, 3), (3, 0)))
    np.testing.assert_allclose(
        outputs_of(shape, params, before),
        outputs_of(shape, params, behind),
        rtol=1e-4,
        atol=1e-4,
    )
    np.testing.assert_raises(
        AssertionError,
        np.testing.assert_allclose,
        outputs_of(shape, params, behind[:, ::-1]),
        outputs_of(shape, params, behind),
        rtol=1e-2,
    )


def test_operations_are_counted_one_by_one() -> None:
    for rung, causal in ((SMALL, True), (Rung(3, 256), True), (Rung(2, 128), False)):
        shape = shape_of(rung, causal=causal)
        params = make_params(shape)
        of_blocks = [leaf.size for leaf in jax.tree.leaves(params.blocks) if leaf.ndim == 2]
        heads = rung.width // 64
        pairs = rung.depth * heads * LENGTH * LENGTH * (16 + 16)  # scores, and sums of values
        count = LENGTH * sum(of_blocks) + pairs + (LENGTH if causal else 1) * 64 * OUTPUTS
        moved = 16 * 64 * VOCABULARY / shape.batch_size  # by AdamW
        assert TRANSFORMER.flops(shape) == pytest.approx((2.0 * count, 6.0 * count + moved))
        assert RungFacts.of(shape).weights == sum(of_blocks) + 64 * (VOCABULARY + OUTPUTS)


def test_a_transformer_reads_tokens_for_one_target_or_one_for_each() -> None:
    assert "transformer" in fitting("tokens", ())
    assert fitting("tokens", (64,)) == ["transformer"]
    assert "transformer" not in fitting("table", ())


# --- training


@pytest.fixture(scope="module")
def data() -> tuple[Task, Bank]:
    """Sequences that count on, modulo 7, from anywhere."""
    starts = np.random.default_rng(0).integers(0, 7, 160)[:, None]
    counted = (starts + np.arange(LENGTH + 1)) % 7
    x, y = (counted[:, :-1] + 2).astype(np.float32), (counted[:, 1:] + 1).astype(np.int32)
    task = Task(
        name="counting",
        kind="classification",
        train=Split(x[:128], y[:128]),
        valid=Split(x[128:], y[128:]),
        test=None,
        outputs=OUTPUTS,
        batch_size=BATCH_SIZE,
        family="transformer",
        input_shape=(LENGTH,),
        vocabularies=(VOCABULARY,),
        target_shape=(LENGTH,),
    )
    return task, jax.device_put(make_bank(task, padded=False))


def begin(data: tuple[Task, Bank], settings: Settings, *open_knobs: str) -> Episode:
    return episodes.begin(*data, Start(5, settings, SMALL, 60.0, 3), open_knobs)


def test_training_is_a_plain_loop_of_optax(data: tuple[Task, Bank]) -> None:
    settings = DEFAULT._replace(learning_rate=3e-3, weight_decay=1e-2, activation=1.0)

    def network(params: Any, x: jax.Array) -> Any:
        return jax.vmap(lambda tokens: plain_example(jnp, params, tokens, True, jax.nn.gelu))(x)

    check_against_optax(begin(data, settings), data[1], network, least=10)


def test_levers_learn_to_count(data: tuple[Task, Bank]) -> None:
    settings = DEFAULT._replace(learning_rate=1e-2, dropout=0.05, augmentation=0.1)
    episode = begin(data, settings, "stochastic_depth")
    assert episode.shape.levers == ("augmentation", "skipping")
    report = None
    while report is None or not report.terminated:
        ((episode, _, report),) = batch.step([data[1]], [episode], knobs.HOLD[None], "sequential")
    assert report.valid_loss < 0.3  # a guess among seven has 1.95
    assert report.valid_hits > 0.9


# --- what is left out


def test_examples_skip_blocks() -> None:
    rows, share = 1000, 0.4
    shape = shape_of(SMALL, causal=False)
    params = make_params(shape)
    x = np.repeat(inputs(1), rows, axis=0)
    skipped = outputs_of(shape, params, x, ZERO, jnp.uint32(3), None, jnp.float32(share))
    factor = np.float32(1.0 / (1.0 - share))
    block = params.blocks[0]
    second = block.second._replace(
        kernel=block.second.kernel * factor, bias=block.second.bias * factor
    )
    stronger = block._replace(project=block.project * factor, second=second)
    for blocks, expected in (((), share), ((stronger,), 1.0 - share)):
        alone = plain_network(params._replace(blocks=blocks), x[:1], False)
        same = np.all(np.abs(skipped - alone) < 1e-3, axis=1)
        assert abs(same.mean() - expected) < 4 * np.sqrt(share * (1 - share) / rows)
    whole = outputs_of(shape, params, x[:2], ZERO, None, None, jnp.float32(share))
    np.testing.assert_array_equal(whole, outputs_of(shape, params, x[:2]))


def test_dropout_is_of_what_blocks_add() -> None:
    """With nothing but the last bias to add, each number of a vector is 0 or larger by its part."""
    shape = shape_of(SMALL, causal=False, length=1)
    params = make_params(shape)
    block = params.blocks[0]
    silent = block._replace(
        project=np.zeros_like(block.project),
        second=block.second._replace(
            kernel=np.zeros_like(block.second.kernel), bias=np.full(64, 3.0, np.float32)
        ),
    )
    params = params._replace(blocks=(silent,), embedding=np.zeros_like(params.embedding))
    last = params.last._replace(kernel=np.eye(64, OUTPUTS, dtype=np.float32))
    params = params._replace(last=last._replace(bias=np.zeros(OUTPUTS, np.float32)))
    x = np.ones((500, 1), np.float32)
    outputs = outputs_of(shape, params, x, jnp.float32(0.3), jnp.uint32(3))
    assert abs(np.mean(outputs == 0.0) - 0.3) < 0.03
    np.testing.assert_array_equal(
        outputs_of(shape, params, x[:3], ZERO, jnp.uint32(3)), outputs_of(shape, params, x[:3])
    )


# --- growth


def make_live(shape: ShapeClass) -> Live:
    params = make_params(shape)
    generator = np.random.default_rng(3)
    moments = [
        jax.tree.map(
            lambda leaf: np.square(generator.standard_normal(leaf.shape)).astype(np.float32), params
        )
        for _ in range(2)
    ]
    state = adamw.init(params, 0.9).replace(first=moments[0], second=moments[1])
    return Live(params, (), state, average=params)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("way", ["wwwddd", "dddwww", "wdwdwd"])
def test_any_way_up_the_ladder_keeps_the_outputs(way: str, causal: bool) -> None:
    shape = shape_of(SMALL, causal=causal)
    live, x = make_live(shape), inputs()[:3]
    before = plain_network(live.params, x, causal)
    for number, step in enumerate(way):
        rung = (TRANSFORMER.wider if step == "w" else TRANSFORMER.deeper)(shape.rung)
        assert rung is not None
        live = grow(np.random.default_rng(number), shape, live, rung)
        shape = replace(shape, rung=rung)
        native, _ = TRANSFORMER.init(np.random.default_rng(0), shape, shape.features)
        state = live.optimizer
        for tree in (live.params, live.average, state.first, state.second):
            jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), tree, native)
            assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {np.dtype(np.float32)}
        for params in (live.params, live.average):
            np.testing.assert_allclose(plain_network(params, x, causal), before, rtol=1e-9)
    assert shape.rung == Rung(4, 512)
    made = outputs_of(shape, live.params, x)
    assert np.abs(made - before).max() <= 1e-5 * np.abs(before).max()


@pytest.mark.parametrize("rung", [SMALL, Rung(2, 128)], ids=str)
def test_narrowing_undoes_widening(rung: Rung) -> None:
    """New heads and units are not heard by anyone, so that they go first."""
    shape = shape_of(rung)
    live = make_live(shape)
    wider = TRANSFORMER.wider(rung)
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


def test_a_head_that_is_not_used_goes_first() -> None:
    shape = shape_of(Rung(1, 256))
    live = make_live(shape)
    (block,) = live.params.blocks
    project = block.project.copy()
    project[16:48] = 0.0  # heads 1 and 2 of 4
    kernel = block.second.kernel.copy()
    kernel[:128] = 0.0
    silent = block._replace(project=project, second=block.second._replace(kernel=kernel))
    params = live.params._replace(blocks=(silent,))
    x = inputs()
    narrow = TRANSFORMER.narrow(params, 128)(params)
    np.testing.assert_allclose(
        plain_network(narrow, x, True), plain_network(params, x, True), rtol=1e-9
    )
    np.testing.assert_array_equal(narrow.blocks[0].query[:, 16:], block.query[:, 48:])


def test_an_edit_knows_what_is_new() -> None:
    shape = shape_of(Rung(2, 64))
    live = make_live(shape)
    for rung in (Rung(2, 128), Rung(3, 64)):
        grown = grow(np.random.default_rng(0), shape, live, rung)
        old = (slice(None), slice(16))
        for before, after in zip(live.params.blocks, grown.params.blocks[:2], strict=True):
            np.testing.assert_array_equal(after.query[old], before.query)
            np.testing.assert_array_equal(after.second.kernel[:64], before.second.kernel)
        first = grown.optimizer.first.blocks[-1].value.copy()
        if rung.depth == 2:
            first[old] = 0.0
            assert np.std(grown.params.blocks[0].key[:, 16:]) > 0.05
            assert np.std(grown.params.blocks[0].first.kernel[:, 64:]) > 0.05
        assert not first.any()  # of what is new, no first moment
        assert all((leaf > 0).all() for leaf in jax.tree.leaves(grown.optimizer.second))
    for width, edit, limit in ((32, TRANSFORMER.widen, "least"), (256, TRANSFORMER.narrow, "most")):
        given = (None, live.params, width) if limit == "least" else (live.params, width)
        with pytest.raises(
            ValueError, match=rf"^width must be at {limit} the present width 64, got {width}$"
        ):
            edit(*given)


def test_growth_is_paid_for_and_trains_on(data: tuple[Task, Bank]) -> None:
    episode = begin(data, DEFAULT._replace(learning_rate=1e-2), *BASIC_KNOBS)
    for level in (knobs.WIDER, knobs.DEEPER):
        action = knobs.HOLD.copy()
        action[knobs.GROWTH] = level
        ((episode, observation, report),) = batch.step(
            [data[1]], [episode], action[None], "sequential"
        )
        assert np.isfinite(observation).all()
        assert report.updates >= 1
    assert episode.shape.rung == Rung(2, 128)
    for number in range(2):
        assert np.mean(np.asarray(episode.run.live.params.blocks[number].project) != 0.0) > 0.9


def test_wider_rungs_cost_more() -> None:
    costs = [TRANSFORMER.flops(shape_of(Rung(2, width)))[1] for width in TRANSFORMER.widths]
    assert all(1.2 < later / one < 2.2 for one, later in pairwise(costs))
