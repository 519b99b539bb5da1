"""The family of texts against XLA's convolution, plain NumPy and a plain Optax loop; tuning."""

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from sklearn.metrics import f1_score

import rlagent
from rlagent.apply.model import Model
from rlagent.apply.model_file import load_model
from rlagent.apply.request import Request, make_plan
from rlagent.apply.wording import task_in_words
from rlagent.cli import main
from rlagent_envs import batch, draws, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.books import RungFacts
from rlagent_envs.config import BASIC_KNOBS, KNOB_NAMES
from rlagent_envs.episode import Episode, Start
from rlagent_envs.forms import UNKNOWN
from rlagent_envs.growth import grow, shrink
from rlagent_envs.models import TEXT, Rung, ShapeClass
from rlagent_envs.models.text import Layers
from rlagent_envs.settings import DEFAULT, Settings
from rlagent_envs.tasks import from_arrays
from rlagent_envs.tasks.task import Task
from rlagent_envs.training import adamw, loop
from rlagent_envs.training.augmentation import HIDDEN, augment
from rlagent_envs.training.bank import Bank, make_bank
from rlagent_envs.training.loop import Live

SMALL = Rung(1, 16)
LENGTH, TOKENS = 12, 40
BATCH_SIZE = 32
CHEAP: dict[str, Any] = {"rung": "16x1", "batch_size": BATCH_SIZE, "decisions": 5}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


FILLING = ["the", "a", "film", "plot", "it", "was", "is", "so", ",", "and", "with"]


def reviews(rows: int = 600, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Good and bad words, which "not" turns round: what a bag of words alone cannot tell."""
    generator = np.random.default_rng(seed)
    texts, y = [], generator.choice(["bad", "good"], rows, p=[0.4, 0.6])
    for label in y:
        words = generator.choice(FILLING, generator.integers(4, 9)).tolist()
        turned = generator.random() < 0.5
        good = (label == "good") != turned
        word = generator.choice(["fine", "great", "lovely"] if good else ["dull", "poor", "awful"])
        place = int(generator.integers(len(words) + 1))
        words[place:place] = ["not", word] if turned else [word]
        texts.append(" ".join(words))
    return texts, y


@pytest.fixture(scope="module")
def data() -> tuple[Task, Bank]:
    task = from_arrays(*reviews(400), name="reviews", batch_size=BATCH_SIZE)
    return task, jax.device_put(make_bank(task, padded=False))


def begin(
    data: tuple[Task, Bank],
    settings: Settings = DEFAULT,
    open_knobs: tuple[str, ...] = (),
    rung: Rung = SMALL,
) -> Episode:
    task, bank = data
    return episodes.begin(task, bank, Start(5, settings, rung, 60.0, 3), open_knobs)


def shape_of(rung: Rung) -> ShapeClass:
    kind = "classification"
    return ShapeClass(
        "text", rung, kind, LENGTH, 3, 4, input_shape=(LENGTH,), vocabularies=(TOKENS,)
    )


def make_params(shape: ShapeClass, seed: int = 0) -> Layers:
    """As if it had been trained: nothing is at the value that it began with."""
    generator = np.random.default_rng(seed)
    params, _ = TEXT.init(generator, shape, shape.features)
    return jax.tree.map(
        lambda leaf: leaf + 0.1 * generator.standard_normal(leaf.shape).astype(np.float32), params
    )


def texts(rows: int = 7, seed: int = 1) -> np.ndarray:
    """Tokens of texts of different lengths, the first two without any and with a single one."""
    generator = np.random.default_rng(seed)
    x = generator.integers(1, TOKENS, (rows, LENGTH)).astype(np.float32)
    lengths = np.array([0, 1, *generator.integers(2, LENGTH + 1, rows - 2)])
    return np.where(np.arange(LENGTH) < lengths[:, None], x, 0.0).astype(np.float32)


# --- another implementation: one text at a time, as long as it is


def plain_text(params: Layers, row: np.ndarray, activation: Any = jax.nn.relu) -> np.ndarray:
    """The outputs for the tokens of one text, in NumPy but for the activation."""
    tokens = row[row > 0].astype(int)
    kernel = np.asarray(params.last.kernel, np.float64)
    if not len(tokens):
        return np.asarray(params.last.bias)

    def convolved(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        made = np.zeros((len(x), weights.shape[2]))
        for place in range(len(x)):
            for number, neighbour in enumerate((place - 1, place, place + 1)):
                if 0 <= neighbour < len(x):
                    made[place] += x[neighbour] @ weights[number]
        return made

    x = np.asarray(params.embedding, np.float64)[tokens]
    for block in params.blocks:
        inner = np.asarray(activation(convolved(x, block.first) + np.asarray(block.bias)))
        x = x + convolved(inner, block.second)
    return x.max(axis=0) @ kernel[0] + x.mean(axis=0) @ kernel[1] + np.asarray(params.last.bias)


def plain_network(params: Layers, x: np.ndarray, activation: Any = jax.nn.relu) -> np.ndarray:
    return np.stack([plain_text(params, row, activation) for row in x])


@partial(jax.jit, static_argnums=0)
def forward(shape: ShapeClass, params: Layers, x: jax.Array, *rest: Any) -> jax.Array:
    return TEXT.apply(shape, params, (), x, *rest)[0]


def outputs_of(shape: ShapeClass, params: Layers, x: np.ndarray) -> np.ndarray:
    return np.asarray(forward(shape, params, jnp.asarray(x), jnp.float32(0.0), None, None, None))


# --- networks


@pytest.mark.parametrize("rung", [SMALL, Rung(4, 16), Rung(2, 32), Rung(1, 128)], ids=str)
def test_a_rung_is_a_plain_network(rung: Rung) -> None:
    shape = shape_of(rung)
    params, x = make_params(shape), texts()
    expected = plain_network(params, x)
    np.testing.assert_allclose(
        outputs_of(shape, params, x), expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max()
    )


def test_what_is_behind_the_end_does_not_matter() -> None:
    shape = shape_of(Rung(2, 16))
    params, x = make_params(shape), texts()
    longer = np.concatenate([x, np.zeros((len(x), 5), np.float32)], axis=1)
    as_long = replace(shape, features=LENGTH + 5, input_shape=(LENGTH + 5,))
    np.testing.assert_allclose(
        outputs_of(as_long, params, longer), outputs_of(shape, params, x), rtol=1e-5, atol=1e-6
    )


def test_unknown_words_say_nothing_at_the_start() -> None:
    shape = shape_of(SMALL)
    params, _ = TEXT.init(np.random.default_rng(0), shape, LENGTH)
    x = np.full((1, LENGTH), float(UNKNOWN), np.float32)
    np.testing.assert_array_equal(outputs_of(shape, params, x), np.zeros((1, 3)))
    assert params.embedding[UNKNOWN + 1 :].all()


def test_operations_are_counted_one_by_one() -> None:
    for rung in (SMALL, Rung(3, 32)):
        shape = shape_of(rung)
        params = make_params(shape)
        kernels = [kernel for block in params.blocks for kernel in (block.first, block.second)]
        count = LENGTH * sum(kernel.size for kernel in kernels) + params.last.kernel.size
        looked_up = LENGTH * rung.width
        moved = 16 * params.embedding.size / shape.batch_size  # by AdamW
        assert TEXT.flops(shape) == pytest.approx((2.0 * count, 6.0 * count + looked_up + moved))
    every = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    assert RungFacts.of(shape).weights == sum(leaf.size for leaf in every)


def test_training_is_a_plain_loop_of_optax(data: tuple[Task, Bank]) -> None:
    _, bank = data
    rate, decay = 3e-3, 1e-2
    settings = DEFAULT._replace(learning_rate=rate, weight_decay=decay, activation=1.0)
    episode = begin(data, settings, rung=Rung(2, 16))
    params = episode.run.live.params
    live, measured = batch.advance_one(episode.shape, bank, episode.run, knobs.HOLD)
    optimizer = optax.adamw(rate, weight_decay=decay)
    key = jnp.asarray(episode.run.books.key)

    def convolved(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x, kernel, (1,), [(1, 1)], dimension_numbers=("NWC", "WIO", "NWC")
        )

    def plain(params: Layers, x: jax.Array) -> jax.Array:
        real = (x > 0).astype(jnp.float32)[..., None]
        tokens = jax.nn.one_hot(x.astype(jnp.int32), len(params.embedding))
        vectors = tokens @ params.embedding * real
        for block in params.blocks:
            inner = jax.nn.gelu(convolved(vectors, block.first) + block.bias[None, None])
            vectors += convolved(inner * real, block.second) * real
        largest = jnp.max(vectors - 1e6 * (1.0 - real), axis=1)
        mean = vectors.sum(axis=1) / real.sum(axis=1)
        kernel = params.last.kernel
        return largest @ kernel[0] + mean @ kernel[1] + params.last.bias[None]

    @jax.jit
    def update(params: Any, state: Any, number: jax.Array) -> Any:
        x, y = loop.batch(episode.shape, bank, jnp.int32(0), key, number)

        def loss(params: Any) -> jax.Array:
            outputs = plain(params, x)
            return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()

        changes, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, changes), state

    state = optimizer.init(params)
    assert int(measured.updates) >= 10
    for number in range(int(measured.updates)):
        params, state = update(params, state, jnp.uint32(number))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-2, atol=1e-3), live.params, params
    )
    assert not np.asarray(live.params.embedding)[0].any()  # no token never becomes one


def test_dropout_keeps_the_mean_of_a_linear_network() -> None:
    """Without what blocks add and without the largest values the network is linear."""
    shape = shape_of(SMALL)
    params = make_params(shape)
    blocks = tuple(block._replace(second=0.0 * block.second) for block in params.blocks)
    kernel = np.stack([np.zeros((16, 3), np.float32), np.ones((16, 3), np.float32)])
    params = params._replace(blocks=blocks, last=params.last._replace(kernel=kernel))
    x = np.repeat(texts()[2:3], 4000, axis=0)
    whole = outputs_of(shape, params, x[:1])
    rest = (jnp.uint32(3), None, None)
    dropped = np.asarray(forward(shape, params, jnp.asarray(x), jnp.float32(0.3), *rest))[:, 0]
    assert len(np.unique(dropped)) > 3900  # vectors are thinned, too, not only what is pooled
    assert dropped.mean() == pytest.approx(whole[0, 0], abs=4 * float(dropped.std()) / 4000**0.5)
    kept = forward(shape, params, jnp.asarray(x), jnp.float32(0.0), *rest)
    np.testing.assert_allclose(kept[:1], whole, rtol=1e-5)


def test_blocks_are_skipped_in_proportion_to_their_depth() -> None:
    shape, rows, share = shape_of(Rung(2, 16)), 4000, 0.5
    params = make_params(shape)
    x = np.repeat(texts()[3:4], rows, axis=0)
    skipped = np.asarray(
        forward(
            shape,
            params,
            jnp.asarray(x),
            jnp.float32(0.0),
            jnp.uint32(3),
            None,
            jnp.float32(share),
        )
    )
    total = 0
    for first, second, probability in (
        (True, True, 0.375),
        (True, False, 0.375),
        (False, True, 0.125),
        (False, False, 0.125),
    ):
        blocks = tuple(
            block._replace(second=block.second * np.float32(factor))
            for block, factor in zip(params.blocks, (first / 0.75, second / 0.5), strict=True)
        )
        expected = plain_network(params._replace(blocks=blocks), x[:1])
        same = np.all(np.abs(skipped - expected) < 1e-4, axis=1)
        deviation = np.sqrt(probability * (1 - probability) / rows)
        assert abs(same.mean() - probability) < 4 * deviation
        total += int(same.sum())
    assert total == rows


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
    shape = shape_of(SMALL)
    live = make_live(shape)
    x = texts()
    before = plain_network(live.params, x)
    for number, step in enumerate(way):
        rung = TEXT.wider(shape.rung) if step == "w" else TEXT.deeper(shape.rung)
        assert rung is not None
        live = grow(np.random.default_rng(number), shape, live, rung)
        shape = replace(shape, rung=rung)
        native, _ = TEXT.init(np.random.default_rng(0), shape, shape.features)
        state = live.optimizer
        for tree in (live.params, live.average, state.first, state.second):
            jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), tree, native)
            assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {np.dtype(np.float32)}
        for params in (live.params, live.average):
            after = plain_network(params, x)
            assert np.abs(after - before).max() <= 1e-6 * np.abs(before).max()
    assert shape.rung == Rung(4, 128)


@pytest.mark.parametrize("rung", [SMALL, Rung(3, 32)])
def test_narrowing_undoes_widening(rung: Rung) -> None:
    """New channels are not heard by anyone, so that they go first."""
    shape = shape_of(rung)
    live = make_live(shape)
    wider = TEXT.wider(rung)
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
    with pytest.raises(ValueError, match=r"^width must be at most the present width 16, got 32$"):
        TEXT.narrow(make_params(shape_of(SMALL)), 32)


def test_narrowing_finds_the_channels_that_nobody_hears() -> None:
    shape = shape_of(Rung(2, 16))
    live, generator = make_live(shape), np.random.default_rng(4)
    wide = grow(np.random.default_rng(1), shape, live, Rung(2, 32)).params
    stream, *inside = (generator.permutation(32) for _ in range(3))
    blocks = tuple(
        block._replace(
            first=block.first[:, stream][:, :, own],
            bias=block.bias[own],
            second=block.second[:, own][:, :, stream],
        )
        for block, own in zip(wide.blocks, inside, strict=True)
    )
    last = wide.last._replace(kernel=wide.last.kernel[:, stream])
    mixed = Layers(wide.embedding[:, stream], blocks, last)
    narrowed = TEXT.narrow(mixed, 16)(mixed)
    expected = plain_network(live.params, texts())
    for params in (mixed, narrowed):
        np.testing.assert_allclose(plain_network(params, texts()), expected, rtol=1e-4, atol=1e-5)


def test_an_edit_knows_what_is_new() -> None:
    shape = shape_of(Rung(2, 16))
    live = make_live(shape)
    for rung in (Rung(2, 32), Rung(3, 16)):
        grown = grow(np.random.default_rng(0), shape, live, rung)
        old = (slice(None), slice(16), slice(16))
        for before, after in zip(live.params.blocks, grown.params.blocks[:2], strict=True):
            for name in ("first", "second"):
                np.testing.assert_array_equal(getattr(after, name)[old], getattr(before, name))
        kernel = grown.optimizer.first.blocks[-1].second.copy()
        if rung.depth == 2:
            kernel[old] = 0.0
        assert not kernel.any()  # of what is new, no first moment
        assert all((leaf > 0).all() for leaf in jax.tree.leaves(grown.optimizer.second))
        if rung.width == 32:
            new = grown.params.embedding[:, 16:]
            assert not new[: UNKNOWN + 1].any()
            assert np.std(new[UNKNOWN + 1 :]) == pytest.approx(0.1, rel=0.1)
            assert np.std(grown.params.blocks[0].first[:, :16, 16:]) > 0.05
    with pytest.raises(ValueError, match=r"^width must be at least the present width 16, got 8$"):
        TEXT.widen(None, live.params, 8)


# --- levers


def test_hidden_tokens_are_unknown_and_padding_stays() -> None:
    shape = shape_of(SMALL)
    x = jnp.asarray(texts(3000))

    def hidden(magnitude: float) -> np.ndarray:
        start = draws.stream(jnp.array([1, 2], jnp.uint32), jnp.uint32(3), 4)
        return np.asarray(
            jax.jit(augment, static_argnums=3)(
                x, jnp.float32(magnitude), start, shape, jnp.int32(LENGTH)
            )
        )

    np.testing.assert_array_equal(hidden(0.0), x)
    given = np.asarray(x)
    for magnitude in (0.5, 1.0):
        made = hidden(magnitude)
        assert not made[given == 0].any()
        changed = made != given
        assert (made[changed] == UNKNOWN).all()
        words = given > UNKNOWN
        share, count = changed[words].mean(), words.sum()
        expected = HIDDEN * magnitude
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / count)


def test_levers_of_texts_learn_in_one_program(data: tuple[Task, Bank]) -> None:
    task, bank = data
    settings = DEFAULT._replace(learning_rate=1e-2, augmentation=0.2)
    start = Start(5, settings, SMALL, 160.0, 4)
    episode = episodes.begin(task, bank, start, KNOB_NAMES)
    assert "augmentation" in episode.shape.levers
    assert not {"mixing", "adversarial", "robust"} & set(episode.shape.levers)
    generator = np.random.default_rng(0)
    reports: list[Any] = []
    while not reports or not reports[-1].terminated:
        action = generator.integers(knobs.LEVELS)
        action[0] = knobs.HOLD[0]
        action[knobs.GROWTH] = action[knobs.RESTORE] = 0
        action, _ = knobs.held(action, episodes.action_mask(episode))
        (stepped,) = batch.step([bank], [episode], action[None], "sequential")
        episode, _, report = stepped
        reports.append(report)
    assert reports[-1].best_score < -0.1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(episode.run.live))


@pytest.mark.parametrize("level", [knobs.WIDER, knobs.DEEPER])
def test_growth_is_paid_for_and_trains_on(data: tuple[Task, Bank], level: int) -> None:
    episode = begin(data, DEFAULT._replace(learning_rate=1e-2), BASIC_KNOBS)
    action = knobs.HOLD.copy()
    action[knobs.GROWTH] = level
    ((episode, observation, report),) = batch.step([data[1]], [episode], action[None], "sequential")
    facts, books = RungFacts.of(episode.shape), episode.run.books
    billed = report.updates * facts.update_flops + int(books.pieces) * facts.piece_flops
    assert report.spent * float(books.base_flops) == pytest.approx(billed, rel=1e-4)
    assert np.isfinite(observation).all()
    new = np.asarray(episode.run.live.params.blocks[-1].second)
    assert np.mean(new != 0.0) > 0.5


# --- tuning


def test_texts_are_tuned_saved_and_predicted(tmp_path: Path) -> None:
    x, y = reviews(900)
    options = CHEAP | {"learning_rate": 1e-2, "updates": 200, "method": "cosine"}
    result = rlagent.tune(x[:800], y[:800], **options, score="macro_f1", out=tmp_path / "run")
    unseen, told = x[800:], y[800:]
    majority = max(np.mean(told == "good"), np.mean(told == "bad"))
    predicted = result.predict(unseen)
    assert np.mean(predicted == told) > majority + 0.25
    assert f1_score(told, predicted, average="macro") > 0.9
    assert result.summary["score_name"] == "macro_f1"
    assert 0.9 < result.summary["test_score"] <= 1.0
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert isinstance(model, Model)
    assert (model.family, model.vocabularies) == ("text", (2 + len(FILLING) + 7,))
    raw = model.raw(model.transform(unseen))
    expected = plain_network(model.params, model.transform(unseen))
    np.testing.assert_allclose(raw, expected, rtol=1e-3, atol=1e-3)
    # Words that training lacked change nothing, wherever they stand; so does upper case.
    odd = ["", None, "GREAT", "great xyzzy", "xyzzy"]
    shares = model.values(model.raw(model.transform(odd)))
    np.testing.assert_array_equal(shares[0], shares[1])
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-6)
    assert model.labels(shares)[2] == "good"
    np.testing.assert_array_equal(
        result.predict(pd.DataFrame({"text": odd})), rlagent.load_run(tmp_path / "run").predict(odd)
    )


class Stop(KeyboardInterrupt):
    """Ctrl-C at a moment of our choice."""


def stop_at_2(record: dict[str, Any]) -> None:
    if record["decision"] == 2:
        raise Stop


def write(path: str, texts: list[str], **columns: Any) -> None:
    pd.DataFrame({"text": texts} | columns).to_csv(path, index=False)


def read(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def test_the_command_line_tunes_texts(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = reviews(500)
    write("reviews.csv", x[:400], mood=y[:400])
    write("new.csv", [*x[400:], "", "never seen"])
    options = ["--target", "mood", "--learning-rate", "0.01", "--updates", "150"]
    options += ["--rung", "16x1", "--decisions", "5", "--batch-size", "32", "--method", "cosine"]
    assert main(["tune", "reviews.csv", *options, "--out", "run"]) == 0
    assert "next: rlagent predict run FILE.csv" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        rlagent.tune(
            "reviews.csv",
            target="mood",
            learning_rate=0.01,
            updates=150,
            **CHEAP,
            method="cosine",
            out="broken",
            callback=stop_at_2,
        )
    assert main(["tune", "--resume", "broken", "--quiet"]) == 0
    for name in ("model.safetensors", "history.jsonl"):
        assert (Path("run") / name).read_bytes() == (Path("broken") / name).read_bytes()
    options += ["--ensemble", "snapshot", "--members", "2", "--out", "several", "--json"]
    capsys.readouterr()
    assert main(["tune", "reviews.csv", *options]) == 0
    assert json.loads(capsys.readouterr().out)["ensemble"]["kind"] == "snapshot"
    for run in ("run", "several"):
        assert main(["predict", run, "new.csv", "--out", "out.csv"]) == 0
        rows = read("out.csv")
        assert len(rows) == 102
        assert np.mean([row["prediction"] for row in rows[:100]] == y[400:]) > 0.85
        assert sum(float(rows[100][f"probability_{mood}"]) for mood in ("bad", "good")) == (
            pytest.approx(1.0, abs=1e-5)
        )


def test_a_quantity_is_told_from_texts() -> None:
    x, _ = reviews(500)
    value = {"fine": 1.0, "great": 3.0, "lovely": 2.0, "dull": -1.0, "poor": -2.0, "awful": -3.0}
    y = 10.0 + np.array([sum(value.get(word, 0.0) for word in text.split()) for text in x])
    task = from_arrays(x, y + 0.01 * np.arange(500) / 500, batch_size=BATCH_SIZE)
    assert (task.kind, task.outputs) == ("regression", 1)
    options = CHEAP | {"learning_rate": 1e-2, "updates": 150, "method": "cosine"}
    result = rlagent.tune(task, **{k: v for k, v in options.items() if k != "batch_size"})
    assert result.summary["test_score"] > 0.9  # R^2
    assert result.predict(["a great film"])[0] == pytest.approx(13.0, abs=1.0)


def test_a_run_of_texts_starts_where_it_should(data: tuple[Task, Bank]) -> None:
    about = "at most 12 tokens of 20 that there are, 2 classes, the largest good "
    assert about in task_in_words(data[0])
    plan = make_plan(Request(), data[0], ())
    assert (plan.width, plan.depth) == (32, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--family", "mlp"],
            "mlp reads table or image or sequence, but reviews is of the form tokens; there are "
            "for it: text, transformer",
        ),
        (["--set", "mixup=0.2"], "mixup has no meaning for inputs of the form tokens"),
        (
            ["--set", "adversarial_epsilon=0.1"],
            "adversarial_epsilon has no meaning for reviews, which has no continuous inputs that "
            "an attack could move",
        ),
        (["--set", "huber_delta=2"], "huber_delta has no meaning for classification"),
        (
            ["--rung", "8x1"],
            "text has no rung 8x1; widths are 16, 32, 64, 128 and depths 1, 2, 3, 4",
        ),
        (["--vocabulary", "2"], "vocabulary must be from 3 to 16777216 tokens, got 2"),
        (["--vocabulary", "0"], "vocabulary must be a whole number from 1 up, got 0"),
        (
            ["--score", "f1"],
            "unknown score 'f1' for classification; there are: accuracy, balanced_accuracy, "
            "macro_f1, log_loss",
        ),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = reviews(100)
    write("reviews.csv", x, mood=y)
    assert main(["tune", "reviews.csv", "--target", "mood", *options, "--method", "constant"]) == 2
    assert capsys.readouterr().err == f"rlagent: {message}\n"
