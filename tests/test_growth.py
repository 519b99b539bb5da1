"""Edits of the architecture: the same function, moments carried, training that goes on."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlagent.history import record_of
from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.books import Books, RungFacts
from rlagent_envs.config import BASIC_KNOBS, KNOB_NAMES
from rlagent_envs.dynamics import Run
from rlagent_envs.episode import Episode, Start
from rlagent_envs.growth import grow, shrink
from rlagent_envs.models import MLP, Rung, ShapeClass
from rlagent_envs.models.mlp import Layers
from rlagent_envs.settings import DEFAULT, Settings
from rlagent_envs.tasks.task import Split, Task
from rlagent_envs.training import adamw
from rlagent_envs.training.bank import Bank, make_bank
from rlagent_envs.training.loop import Live

FEATURES, PADDED, OUTPUTS = 20, 32, 8
SMALL = Rung(1, 32)

LADDER = [Rung(depth, width) for depth in MLP.depths for width in MLP.widths]
EDITS = [
    (rung, larger)
    for rung in LADDER
    for larger in (MLP.wider(rung), MLP.deeper(rung))
    if larger is not None
]


def shape_of(rung: Rung) -> ShapeClass:
    return ShapeClass("mlp", rung, "classification", PADDED, OUTPUTS, 32)


def make_live(rung: Rung, seed: int = 0) -> Live:
    """A network as if it had been trained: no bias and no moment is zero, but for padding."""
    generator = np.random.default_rng(seed)
    params, state = MLP.init(generator, shape_of(rung), FEATURES)
    for layer in params:
        layer.bias[:] = 0.1 * generator.standard_normal(layer.bias.shape)

    def like(leaf: np.ndarray) -> np.ndarray:
        return generator.standard_normal(leaf.shape).astype(np.float32)

    adam = adamw.init(params, 0.9).replace(
        first=jax.tree.map(like, params),
        second=jax.tree.map(lambda leaf: np.square(like(leaf)), params),
        updates=np.int32(9),
        since=np.int32(4),
        anchor=np.float32(0.5),
    )
    for moment in (adam.first, adam.second):
        moment[0].kernel[FEATURES:] = 0.0  # what padding has
    return Live(params, state, adam)


def inputs(rows: int = 64) -> np.ndarray:
    x = np.random.default_rng(1).standard_normal((rows, PADDED)).astype(np.float32)
    x[:, FEATURES:] = 0.0
    return x


def forward(params: Layers, x: np.ndarray) -> np.ndarray:
    for layer in params[:-1]:
        x = np.maximum(x @ layer.kernel + layer.bias, 0.0)
    return x @ params[-1].kernel + params[-1].bias


def grown(rung: Rung, larger: Rung, live: Live) -> Live:
    return grow(np.random.default_rng(7), shape_of(rung), live, larger)


def assert_same_function(before: Layers, after: Layers) -> None:
    outputs = forward(before, inputs())
    change = np.abs(forward(after, inputs()) - outputs).max()
    assert change <= 1e-6 * np.abs(outputs).max()


def assert_bitwise_equal(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_ladder_has_24_edits() -> None:
    assert len(LADDER) == 16
    assert len(EDITS) == 24


@pytest.mark.parametrize(("rung", "larger"), EDITS, ids=lambda rung: str(rung))
def test_an_edit_keeps_the_outputs_and_has_the_shapes_of_its_rung(rung: Rung, larger: Rung) -> None:
    live = make_live(rung)
    after = grown(rung, larger, live)
    assert_same_function(live.params, after.params)
    native, _ = MLP.init(np.random.default_rng(0), shape_of(larger), FEATURES)
    for tree in (after.params, after.optimizer.first, after.optimizer.second):
        jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), tree, native)
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("rung", [SMALL, Rung(3, 64)])
def test_padded_inputs_stay_unheard(rung: Rung) -> None:
    larger = MLP.wider(rung)
    assert larger is not None
    after = grown(rung, larger, make_live(rung))
    assert not after.params[0].kernel[FEATURES:].any()
    assert not after.optimizer.first[0].kernel[FEATURES:].any()


@pytest.mark.parametrize(
    "path",
    [
        [Rung(2, 32), Rung(3, 32), Rung(4, 32), Rung(4, 64), Rung(4, 128), Rung(4, 256)],
        [Rung(1, 64), Rung(1, 128), Rung(1, 256), Rung(2, 256), Rung(3, 256), Rung(4, 256)],
        [Rung(1, 64), Rung(2, 64), Rung(2, 128), Rung(3, 128), Rung(3, 256), Rung(4, 256)],
    ],
)
def test_a_way_up_the_ladder_keeps_the_outputs(path: list[Rung]) -> None:
    rung, start = SMALL, make_live(SMALL)
    live = start
    for larger in path:
        live = grown(rung, larger, live)
        rung = larger
    assert_same_function(start.params, live.params)
    assert (len(live.params) - 1, live.params[0].kernel.shape[1]) == rung


def test_the_network_of_the_environment_computes_the_same_after_an_edit() -> None:
    live = make_live(Rung(2, 32))
    x, zero = jnp.asarray(inputs()), jnp.float32(0.0)
    before, _ = MLP.apply(shape_of(Rung(2, 32)), live.params, (), x, zero, None, None, None)
    for larger in (Rung(2, 64), Rung(3, 32)):
        wide = grown(Rung(2, 32), larger, live).params
        after, _ = MLP.apply(shape_of(larger), wide, (), x, zero, None, None, None)
        np.testing.assert_allclose(after, before, 1e-6, 1e-6 * float(np.abs(before).max()))


@pytest.mark.parametrize("rung", [SMALL, Rung(2, 64), Rung(3, 128)])
def test_widening_carries_weights_and_moments(rung: Rung) -> None:
    live = make_live(rung)
    larger = MLP.wider(rung)
    assert larger is not None
    after = grown(rung, larger, live)
    pairs = ((live.params, after.params), (live.optimizer.first, after.optimizer.first))
    for old, new in (*pairs, (live.optimizer.second, after.optimizer.second)):
        for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True):
            np.testing.assert_array_equal(b[tuple(slice(size) for size in a.shape)], a)
    moments = (live.optimizer.second, after.optimizer.first, after.optimizer.second)
    leaves = [jax.tree.leaves(moment) for moment in moments]
    for old, first, second in zip(*leaves, strict=True):
        is_new = np.ones(first.shape, bool)
        is_new[tuple(slice(size) for size in old.shape)] = False
        assert not first[is_new].any()
        np.testing.assert_allclose(second[is_new], old.mean(), 1e-5)
    for name in ("updates", "since", "anchor", "momentum"):
        assert getattr(after.optimizer, name) == getattr(live.optimizer, name)


def test_new_units_listen_but_are_not_heard() -> None:
    live = make_live(Rung(3, 32))
    after = grown(Rung(3, 32), Rung(3, 64), live)
    for layer in after.params[1:]:
        assert not layer.kernel[
            32:, : layer.kernel.shape[1] if layer is after.params[-1] else 32
        ].any()
    for number, layer in enumerate(after.params[:-1]):
        assert not layer.bias[32:].any()
        heard = FEATURES if number == 0 else 32
        incoming = layer.kernel[:heard, 32:]
        assert incoming.std() == pytest.approx(np.sqrt(2.0 / heard), rel=0.1)  # He's
        assert len(np.unique(incoming[0])) == 32  # no twins


@pytest.mark.parametrize("rung", [SMALL, Rung(3, 64)])
def test_deepening_carries_weights_and_moments(rung: Rung) -> None:
    live = make_live(rung)
    larger = MLP.deeper(rung)
    assert larger is not None
    after = grown(rung, larger, live)
    first, second = after.optimizer.first, after.optimizer.second
    for old, new in (
        (live.params, after.params),
        (live.optimizer.first, first),
        (live.optimizer.second, second),
    ):
        assert_bitwise_equal((*new[: rung.depth], new[-1]), old)
    np.testing.assert_array_equal(after.params[rung.depth].kernel, np.eye(rung.width))
    assert not after.params[rung.depth].bias.any()
    assert not first[rung.depth].kernel.any()
    assert not first[rung.depth].bias.any()
    mean = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(live.optimizer.second)]).mean()
    np.testing.assert_allclose(second[rung.depth].kernel, mean, 1e-5)
    np.testing.assert_allclose(second[rung.depth].bias, mean, 1e-5)


# --- in an episode


@pytest.fixture(scope="module")
def data() -> tuple[Task, Bank]:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((290, PADDED)).astype(np.float32)
    y = np.argmax(x @ generator.standard_normal((PADDED, OUTPUTS)), axis=1).astype(np.int32)
    parts = Split(x[:200], y[:200]), Split(x[200:], y[200:])
    task = Task("random", "classification", *parts, None, OUTPUTS, 32)
    return task, jax.device_put(make_bank(task, padded=False))


def begin(data: tuple[Task, Bank], budget: float = 240.0, decisions: int = 24) -> Episode:
    start = Start(3, Settings(1e-2, 1e-3, 0.1, 0.05, 0.9), SMALL, budget, decisions)
    return episodes.begin(*data, start, BASIC_KNOBS)


def action(**levels: int) -> np.ndarray:
    chosen = knobs.HOLD.copy()
    for name, level in levels.items():
        chosen[list(knobs.KNOBS).index(name)] = level
    return chosen


@pytest.mark.parametrize(
    ("level", "larger"), [(knobs.WIDER, Rung(1, 64)), (knobs.DEEPER, Rung(2, 32))]
)
def test_an_edit_leaves_all_books_but_the_rung(
    data: tuple[Task, Bank], level: int, larger: Rung
) -> None:
    _, bank = data
    (stepped,) = batch.step([bank], [begin(data)], knobs.HOLD[None], "sequential")
    before = stepped.episode
    after = episodes.edit(before, action(growth=level))
    assert (before.shape.rung, after.shape.rung) == (SMALL, larger)
    assert_bitwise_equal(after.run.books.changed(rung=0), before.run.books.changed(rung=0))
    assert tuple(after.run.books.rung[:2]) == larger
    assert (after.spent, after.decisions) == (before.spent, before.decisions)
    assert after.snapshot is before.snapshot
    assert after.snapshot_shape.rung == SMALL
    assert_same_function(jax.tree.map(np.asarray, before.run.live.params), after.run.live.params)


@pytest.mark.parametrize("level", [knobs.WIDER, knobs.DEEPER])
def test_training_goes_on_after_growth(data: tuple[Task, Bank], level: int) -> None:
    _, bank = data
    (stepped,) = batch.step([bank], [begin(data)], knobs.HOLD[None], "sequential")
    grown_params = episodes.edit(stepped.episode, action(growth=level)).run.live.params
    (later,) = batch.step([bank], [stepped.episode], action(growth=level)[None], "sequential")
    assert later.report.updates >= 3
    assert later.report.valid_loss < stepped.report.valid_loss
    assert np.isfinite(later.observation).all()
    for leaf in jax.tree.leaves(later.episode.run.live):
        assert np.isfinite(leaf).all()
    changed = jax.tree.map(
        lambda a, b: np.asarray(a) != b, later.episode.run.live.params, grown_params
    )
    for leaf in jax.tree.leaves(changed):
        assert leaf.mean() > 0.9  # new numbers too


def grow_anyway(episode: Episode) -> Episode:
    """Widens a run that has no budget to make use of it, which its mask would forbid."""
    rung = Rung(1, 64)
    shape = replace(episode.shape, rung=rung)
    live = grow(np.random.default_rng(0), episode.shape, episode.run.live, rung)
    books = episode.run.books.changed(rung=RungFacts.of(shape).pack())
    return replace(episode, shape=shape, run=Run(live, books))


def test_new_units_are_heard_after_one_update(data: tuple[Task, Bank]) -> None:
    _, bank = data
    # The budget affords one update of the wider rung.
    episode = grow_anyway(begin(data, 3.0, 1))
    live, measured = batch.advance_one(episode.shape, bank, episode.run, knobs.HOLD)
    assert int(measured.updates) == 1
    after = jax.tree.map(np.asarray, live.params)
    assert np.mean(after[1].kernel[32:] != 0.0) > 0.9
    assert np.isfinite(after[1].kernel).all()
    moment = np.asarray(live.optimizer.first[1].kernel)
    assert np.mean(moment[32:] != 0.0) > 0.9
    # Incoming weights have no gradient yet: nothing heard them.
    np.testing.assert_array_equal(np.asarray(live.optimizer.first[0].kernel)[:, 32:], 0.0)


def test_only_behind_relu_a_layer_is_put_in(data: tuple[Task, Bank]) -> None:
    """Behind the others the layer that is put in would not be the identity."""
    task, bank = data
    deeper = knobs.STARTS[knobs.GROWTH] + knobs.DEEPER
    for activation in range(4):
        settings = DEFAULT._replace(activation=float(activation))
        episode = episodes.begin(task, bank, Start(0, settings, SMALL, 600.0, 3), BASIC_KNOBS)
        mask = episodes.action_mask(episode)
        assert mask[deeper] == (activation == 0)
        assert mask[knobs.STARTS[knobs.GROWTH] + knobs.WIDER]


def test_a_layer_and_another_activation_are_not_put_in_at_once(data: tuple[Task, Bank]) -> None:
    """No mask can forbid the pair: the layer comes, and the activation stays."""
    task, bank = data
    start = Start(0, DEFAULT, SMALL, 600.0, 3)
    episode = episodes.begin(task, bank, start, (*BASIC_KNOBS, "activation"))
    both, deeper = action(growth=knobs.DEEPER, activation=2), action(growth=knobs.DEEPER)
    (stepped,) = batch.step([bank], [episode], both[None], "sequential")
    (alone,) = batch.step([bank], [episode], deeper[None], "sequential")
    assert stepped.episode.settings.activation == 0.0
    assert_bitwise_equal(stepped.episode.run, alone.episode.run)
    np.testing.assert_array_equal(stepped.observation, alone.observation)
    told = record_of(episode, both, stepped, None)["action"]
    assert (told["growth"], told["activation"]) == ("deeper", "hold")
    assert episodes.held(episode, both)[1] == ["activation"]
    assert episodes.held(episode, deeper)[1] == []
    for other in (action(growth=knobs.WIDER, activation=2), action(activation=2)):
        (stepped,) = batch.step([bank], [episode], other[None], "sequential")
        assert stepped.episode.settings.activation == 1.0


def test_no_layer_is_put_in_behind_the_activation_of_what_is_returned_to(
    data: tuple[Task, Bank],
) -> None:
    deeper = knobs.STARTS[knobs.GROWTH] + knobs.DEEPER
    episode = replace(begin(data, 600.0, 3), at_best=False)
    assert episodes.action_mask(episode)[deeper]
    entries = episode.run.books.entries()
    settings = Settings.unpack(entries.safe_settings)._replace(activation=1.0)
    books = Books.of(entries._replace(safe_settings=settings.pack()))
    smooth = replace(episode, run=episode.run.replace(books=books))
    assert not episodes.action_mask(smooth)[deeper]
    assert episodes.action_mask(replace(smooth, at_best=True))[deeper]  # there is no return


def test_a_return_and_growth_in_one_action_are_within_the_budget(data: tuple[Task, Bank]) -> None:
    wider = knobs.STARTS[knobs.GROWTH] + knobs.WIDER
    episode = replace(begin(data, 60.0, 3), at_best=False)
    assert episodes.action_mask(episode)[wider]
    snapshot = replace(episode.shape, rung=Rung(1, 128))  # from there it would be 256 units
    for rung in (Rung(1, 128), Rung(1, 256)):
        snapshot = replace(episode.shape, rung=rung)
        larger = replace(episode, snapshot_shape=snapshot)
        assert not episodes.action_mask(larger)[wider]
        assert episodes.action_mask(replace(larger, at_best=True))[wider]


# --- shrinking


@pytest.mark.parametrize("rung", [SMALL, Rung(3, 32), Rung(2, 64)])
def test_what_widening_added_goes_first(rung: Rung) -> None:
    """New units are not heard by anyone: without them the network is what it was, bit for bit."""
    before = make_live(rung)
    wider = MLP.wider(rung)
    assert wider is not None
    after = shrink(shape_of(wider), grown(rung, wider, before), rung)
    assert_bitwise_equal(after.params, before.params)
    assert_bitwise_equal(after.optimizer.first, before.optimizer.first)
    assert_bitwise_equal(after.optimizer.second, before.optimizer.second)


def test_the_least_used_units_go() -> None:
    """On average they change the outputs less than as many others would; measured, not bounded."""
    rung, narrow = Rung(2, 64), Rung(2, 32)
    changes = {"least": 0.0, "any": 0.0}
    for seed in range(5):
        live = make_live(rung, seed)
        generator = np.random.default_rng(seed)
        for layer in live.params[1:]:  # some units are heard more than others
            layer.kernel[:] *= np.exp(generator.standard_normal((64, 1)))
        outputs = forward(live.params, inputs())
        pruned = shrink(shape_of(rung), live, narrow).params
        chosen = np.sort(generator.permutation(64)[:32])
        first, second, last = live.params
        others = (
            type(first)(first.kernel[:, chosen], first.bias[chosen]),
            type(first)(second.kernel[chosen][:, chosen], second.bias[chosen]),
            type(first)(last.kernel[chosen], last.bias),
        )
        changes["least"] += np.abs(forward(pruned, inputs()) - outputs).mean()
        changes["any"] += np.abs(forward(others, inputs()) - outputs).mean()
    assert changes["least"] < 0.7 * changes["any"]


def test_a_run_that_shrinks_pays_less_and_goes_on(data: tuple[Task, Bank]) -> None:
    task, bank = data
    start = Start(0, DEFAULT._replace(learning_rate=0.01), Rung(1, 64), 60.0, 3)
    episode = episodes.begin(task, bank, start, KNOB_NAMES)
    mask = episodes.action_mask(episode)
    assert mask[knobs.STARTS[knobs.SHRINK] + knobs.NARROWER]
    (later,) = batch.step([bank], [episode], action(shrink=knobs.NARROWER)[None], "sequential")
    assert later.episode.shape.rung == SMALL
    assert later.report.updates > 20  # a third of a budget that is counted in updates of 64x1
    assert np.isfinite(later.report.valid_loss)
    # The narrowest rung can shrink no more; what grew and shrinks in one decision is the same rung.
    assert not episodes.action_mask(later.episode)[knobs.STARTS[knobs.SHRINK] + knobs.NARROWER]
    both = episodes.edit(episode, action(shrink=knobs.NARROWER, growth=knobs.WIDER))
    assert both.shape.rung == Rung(1, 64)


def test_shrinking_needs_the_knob(data: tuple[Task, Bank]) -> None:
    with pytest.raises(
        ValueError, match=r"^level 1 of shrink \(narrower\) is masked in this state$"
    ):
        episodes.edit(begin(data), action(shrink=knobs.NARROWER))


# --- errors


def test_shrinking_to_another_rung_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^rung 32x2 is not one level narrower than 128x2$"):
        shrink(shape_of(Rung(2, 128)), make_live(Rung(2, 128)), Rung(2, 32))
    with pytest.raises(ValueError, match=r"^width must be at most the present width 32, got 64$"):
        MLP.narrow(make_live(SMALL).params, 64)


def test_an_edit_of_more_than_one_level_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^rung 128x1 is not one level wider or deeper than 32x1$"
    ):
        grown(SMALL, Rung(1, 128), make_live(SMALL))
    with pytest.raises(ValueError, match=r"^rung 32x1 is not one level wider or deeper than 32x1$"):
        grown(SMALL, SMALL, make_live(SMALL))


def test_narrowing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^width must be at least the present width 32, got 16$"):
        MLP.widen(np.random.default_rng(0), make_live(SMALL).params, 16)


def test_a_rung_that_the_ladder_lacks_is_named_with_the_choices() -> None:
    with pytest.raises(
        ValueError,
        match=r"^mlp has no rung 48x5; widths are 32, 64, 128, 256 and depths 1, 2, 3, 4$",
    ):
        MLP.check(Rung(5, 48))


def test_the_ladder_ends() -> None:
    assert MLP.wider(Rung(1, 256)) is None
    assert MLP.deeper(Rung(4, 32)) is None
    assert MLP.narrower(Rung(4, 32)) is None
