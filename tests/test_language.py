"""Language modelling from a text to its continuation, against entropies that are known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from sklearn import metrics

import rlagent
from rlagent.apply import scores
from rlagent.apply.ensembles.ensemble import Ensemble
from rlagent.apply.generation import generate
from rlagent.apply.model_file import load_model
from rlagent.apply.request import Request, make_plan
from rlagent.apply.result import Result
from rlagent.baselines import runs
from rlagent.cli import main
from rlagent_envs.episode import Start
from rlagent_envs.models import Rung
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks import Preprocessing, load_task
from rlagent_envs.tasks.characters import (
    CharacterInput,
    CharacterTarget,
    characters_of,
    numbers_of,
)
from rlagent_envs.tasks.language import from_text, windows
from rlagent_envs.tasks.procedural_common import CONTEXT
from rlagent_envs.tasks.procedural_language import (
    WRITERS,
    Automaton,
    brackets,
    sample_language_task,
    write,
)
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import (
    PADDED_CLASSES,
    PADDED_TRAIN_ROWS,
    baseline_loss,
    make_bank,
)

LENGTH = 8
ALPHABET = "abcdefg"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- characters


def test_characters_have_numbers() -> None:
    characters = characters_of("hello 😀")
    assert characters == " ehlo😀"
    assert numbers_of("hole?😀", characters).tolist() == [3, 5, 4, 2, 0, 6]
    inputs = CharacterInput(characters=characters, length=5)
    x = inputs.transform(["hole?", "😀", ""])
    assert x.dtype == np.float32
    assert x.tolist() == [[4, 6, 5, 3, 1], [7, 0, 0, 0, 0], [0] * 5]
    assert inputs.vocabularies == (8,)
    assert (inputs.features, inputs.input_shape, inputs.continuous) == (5, (5,), [False] * 5)
    target = CharacterTarget(characters=characters, length=5)
    y = target.encode(["hole?", "     "], "test")
    assert y.tolist() == [[3, 5, 4, 2, 0], [1] * 5]
    assert "".join(target.decode(y[0])) == "hole\ufffd"
    assert (target.outputs, target.target_shape) == (7, (5,))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("hole", "the input must be a list of texts"),
        ([], "the input must be a list of texts"),
        ([3], "the input must be a list of texts"),
        (["holeho"], "a text of the input has 6 characters, at most 5 fit"),
    ],
)
def test_what_is_no_window_is_named(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        CharacterInput(characters="eho", length=5).transform(given)


def test_targets_have_a_character_for_each_place() -> None:
    with pytest.raises(ValueError, match=r"^a text of y has 3 characters, it must have 5$"):
        CharacterTarget(characters="eho", length=5).encode(["hohoh", "hoh"], "test")


def test_windows_come_with_what_follows_them() -> None:
    split = windows("abcdefgabc", ALPHABET, 4, 3)
    assert (str(split.x.dtype), str(split.y.dtype)) == ("float32", "int32")
    assert split.x.tolist() == [[2, 3, 4, 5], [5, 6, 7, 8]]
    assert split.y.tolist() == [[2, 3, 4, 5], [5, 6, 7, 1]]


# --- tasks


def test_a_text_is_divided_in_order() -> None:
    text = "".join(np.random.default_rng(0).choice(list("xyz"), 1000)) + "?" * 50
    task = from_text(text, length=LENGTH, name="noise", seed=3)
    stored = task.preprocessing
    assert stored is not None
    assert stored.classes == ("\ufffd", "x", "y", "z")
    ends = (945, 998)  # 90 and 95 % of 1050
    parts = {"train": text[:945], "valid": text[945:998], "test": text[998:]}
    found: dict[str, list[str]] = {}
    for part in parts:
        split = getattr(task, part)
        letters = np.array(["", "\ufffd", "x", "y", "z"])
        found[part] = ["".join(row) for row in letters[split.x.astype(int)]]
        follows = ["".join(row) for row in stored.decode_target(split.y)]
        whole = parts[part].replace("?", "\ufffd")
        for window, following in zip(found[part], follows, strict=True):
            assert window + following[-1] in whole
            assert window[1:] == following[:-1]
    assert len(found["train"]) == ends[0] - LENGTH  # at every place, for the text is short
    starts = [parts["valid"][first : first + LENGTH] for first in range(0, 53 - LENGTH, LENGTH)]
    assert sorted(found["valid"]) == sorted(starts)
    assert found["valid"] != starts  # in random order, because episodes look at the first ones
    assert found["test"][0] == parts["test"][:LENGTH].replace("?", "\ufffd")
    assert (task.family, task.batch_size, task.outputs) == ("transformer", 32, 4)
    assert (task.input_shape, task.vocabularies, task.target_shape) == ((8,), (5,), (8,))
    assert not task.attackable
    again = from_text(text, length=LENGTH, name="noise", seed=3)
    np.testing.assert_array_equal(again.valid.x, task.valid.x)


def test_windows_of_a_long_text_do_not_overlap() -> None:
    text = "ab" * 400_000
    task = from_text(text, length=LENGTH)
    assert len(task.train.x) == 720_000 // LENGTH - 1
    assert len(from_text(text).train.x) == (720_000 - 65) // 11 + 1  # 720,000 / 65,536 < 11


def test_a_second_text_validates(tmp_path: Path) -> None:
    Path("one.txt").write_text("abc" * 50, encoding="utf-8-sig")
    Path("two.txt").write_text("cba?" * 25, encoding="utf-8")
    task = load_task("one.txt", valid="two.txt")
    assert (task.name, task.test, len(task.train.x), len(task.valid.x)) == ("one", None, 86, 1)
    assert task.valid.x[0, :4].tolist() == [4, 3, 2, 1]
    assert task.valid.y[0, :4].tolist() == [2, 1, 0, 3]


def test_series_of_ucr_are_no_text() -> None:
    Path("a_TRAIN.txt").write_text("1 0.5 2e-3\n2 -1 3\n")
    with pytest.raises(ValueError, match=r"^a_TRAIN.txt holds time series, and no text; they are"):
        load_task("a_TRAIN.txt")
    Path("sums.txt").write_text("1 2 3\n" * 400)
    assert load_task("sums.txt").name == "sums"


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"\xff\xfe", {}, "a.txt is not a text file in UTF-8"),
        (b"", {}, "a.txt is empty"),
        (
            b"ab" * 600,
            {},
            "the valid part of a has 60 characters, a window and the character behind it need 65",
        ),
        (b"a" * 2000, {}, "the train part of a has only one character, 'a'"),
        (b"ab" * 999, {"target": "y"}, "target is for tables, but a.txt is a text"),
        (
            b"ab" * 999,
            {"kind": "regression"},
            "kind is for data whose targets may be of several kinds, but a.txt is a text",
        ),
        (b"ab" * 999, {"valid": "b.csv"}, "b.csv must be a .txt file, as the training data"),
    ],
)
def test_a_text_that_cannot_be_used_is_named(
    content: bytes, options: dict[str, Any], message: str
) -> None:
    Path("a.txt").write_bytes(content)
    Path("b.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{message}$"):
        load_task("a.txt", **options)


def test_the_preprocessing_survives_json() -> None:
    stored = from_text("the 😀 sat\n" * 30, length=LENGTH).preprocessing
    assert stored is not None
    assert Preprocessing.from_json(json.loads(json.dumps(stored.to_json()))) == stored
    wrong = stored.to_json()
    wrong["inputs"]["characters"] = "ba"
    with pytest.raises(
        ValueError,
        match=r"^the preprocessing cannot be read: its characters are not in their order$",
    ):
        Preprocessing.from_json(wrong)


# --- scores


def test_bits_are_nats_by_another_unit() -> None:
    generator = np.random.default_rng(0)
    p = generator.dirichlet(np.ones(5), (7, 3))
    y = generator.integers(0, 5, (7, 3))
    bits = scores.compute("bits_per_character", "classification", y, p)
    nats = metrics.log_loss(y.reshape(-1), p.reshape(-1, 5), labels=range(5))
    assert bits == pytest.approx(nats / np.log(2))
    assert scores.compute("accuracy", "classification", y, p) == np.mean(p.argmax(axis=2) == y)


def test_a_text_is_judged_by_bits() -> None:
    task = from_text("abcdefg" * 60, length=LENGTH)
    assert make_plan(Request(), task, ()).score == "bits_per_character"
    assert make_plan(Request(score="accuracy"), task, ()).score == "accuracy"
    assert make_plan(Request(), load_task("iris"), ()).score == "accuracy"


# --- training


def tuned(task: Task, folder: str, **options: Any) -> Result:
    given: dict[str, Any] = {
        "method": "cosine",
        "rung": "64x1",
        "updates": 240,
        "decisions": 6,
        "learning_rate": 1e-2,
        "out": folder,
    }
    return rlagent.tune(task, **given | options)


@pytest.fixture(scope="module")
def counting() -> Task:
    """A text in which every character but the first of a window is certain."""
    return from_text(ALPHABET * 100, length=LENGTH, name="counting")


@pytest.fixture(scope="module")
def counted(counting: Task, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return tuned(counting, str(tmp_path_factory.mktemp("run") / "counted"))


def test_the_bits_of_a_markov_chain_are_its_entropy(tmp_path: Path) -> None:
    chances = np.array([[0.9, 0.1, 0.0], [0.0, 0.5, 0.5], [0.3, 0.1, 0.6]])
    generator = np.random.default_rng(0)
    states = [0]
    for _ in range(40_000):
        states.append(int(generator.choice(3, p=chances[states[-1]])))
    task = from_text("".join("abc"[state] for state in states), length=LENGTH, name="chain")
    result = tuned(task, str(tmp_path / "run"), updates=300)
    stationary = np.linalg.matrix_power(chances, 200)[0]
    logs = np.log2(np.where(chances > 0, chances, 1.0))
    entropy = -(stationary[:, None] * chances * logs).sum()
    assert task.test is not None
    before, after = task.test.x.astype(int) - 2, task.test.y - 1
    oracle = -logs[before, after].mean()  # of these very characters
    assert oracle == pytest.approx(entropy, abs=0.04)
    assert oracle - 0.005 < result.summary["test_score"] < oracle + 0.03
    right = np.mean(chances.argmax(axis=1)[before] == after)
    assert result.summary["test_accuracy"] == pytest.approx(right, abs=0.03)
    assert result.summary["test_score"] == pytest.approx(result.summary["test_loss"] / np.log(2))
    assert result.summary["baseline_loss"] / np.log(2) == pytest.approx(
        -np.log2(stationary)[task.valid.y - 1].mean(), abs=0.01
    )


def test_what_was_learned_is_continued(counted: Result) -> None:
    assert counted.summary["score_name"] == "bits_per_character"
    assert counted.summary["test_score"] < 0.3
    for prompt in ("c", "abc", ALPHABET * 3):
        following = (ALPHABET * 6).split(prompt[-1], 1)[1][:20]
        assert counted.generate(prompt, 20, temperature=0.0) == following
    again = rlagent.load_run(counted.run_dir)
    assert again.generate("ab", 5, temperature=0) == "cdefg"
    assert again.generate("a?", 30, 50.0, seed=1) == counted.generate("a?", 30, 50.0, seed=1)
    wild = {counted.generate("a", 30, temperature=50.0, seed=seed) for seed in range(3)}
    assert len(wild) == 3
    assert set("".join(wild)) == set(ALPHABET)  # and never the unknown one


def test_a_draw_follows_the_probabilities(counted: Result) -> None:
    x = counted.model.transform(["aceg"])
    p = counted.model.values(counted.model.raw(x))[0, 3, 1:]
    p = p**0.5 / (p**0.5).sum()  # at a temperature of 2
    drawn = [counted.generate("aceg", 1, 2.0, seed) for seed in range(400)]
    shares = np.array([drawn.count(letter) for letter in ALPHABET]) / 400
    assert np.abs(shares - p).max() < 4 * 0.5 / 20


def test_windows_are_predicted_and_scored(counted: Result) -> None:
    texts = ["cdefgabc", "abcdefga"]
    follow = ["defgabcd", "bcdefgab"]
    assert ["".join(row) for row in counted.predict(texts)] == follow
    assert counted.predict_proba(texts).shape == (2, 8, 8)
    assert counted.score(texts, follow, "accuracy") == 1.0
    assert counted.score(texts, ["defgabcd", "bcdefgaa"], "accuracy") == 15 / 16
    short = counted.predict(["cde"])  # what is behind a text does not matter to it
    assert "".join(short[0, :3]) == "def"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("", 5), "give a prompt of at least one character"),
        (("a", 0), "characters must be at least 1, got 0"),
        (("a", 5, -1.0), "temperature must be at least 0, got -1"),
        (("a", 5, float("nan")), "temperature must be at least 0, got nan"),
    ],
)
def test_a_continuation_that_makes_no_sense_is_named(
    given: tuple[Any, ...], message: str, counted: Result
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        generate(counted.model, *given)


@pytest.mark.parametrize("kind", ["bagging", "boosting"])
def test_texts_have_ensembles(kind: str, counting: Task, counted: Result, tmp_path: Path) -> None:
    result = tuned(counting, str(tmp_path / "run"), ensemble=kind, members=2, updates=160)
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert isinstance(model, Ensemble)
    assert model.target_shape == (LENGTH,)
    test = counting.test
    assert test is not None
    outputs = [one.raw(test.x).astype(np.float64) for one in model.members]
    if kind == "boosting":
        raw = sum(weight * one for weight, one in zip(model.weights, outputs, strict=True))
    else:
        shares = [np.exp(one) / np.exp(one).sum(axis=-1, keepdims=True) for one in outputs]
        raw = np.log(sum(w * one for w, one in zip(model.weights, shares, strict=True)))
    p = np.exp(raw) / np.exp(raw).sum(axis=-1, keepdims=True)
    nats = -np.log(np.take_along_axis(p, test.y[..., None], axis=-1)).mean()
    assert result.summary["test_loss"] == pytest.approx(nats, rel=1e-4)
    assert result.summary["test_score"] == pytest.approx(nats / np.log(2), rel=1e-4)
    told = result.summary["ensemble"]
    assert result.summary["valid_loss"] <= told["single"]["valid_loss"] + 1e-6
    assert 0.0 <= told["disagreement"]["test"] <= 1.0
    confidence, right = p.max(axis=-1).reshape(-1), (p.argmax(axis=-1) == test.y).reshape(-1)
    bins = np.ceil(confidence * 15)
    gaps = [abs((right - confidence)[bins == one].sum()) for one in np.unique(bins)]
    assert told["calibration_error"]["test"]["ensemble"] == pytest.approx(
        sum(gaps) / test.y.size, abs=1e-4
    )
    assert result.generate("ab", 5, temperature=0.0) == "cdefg"


def test_what_several_networks_cannot_do_is_named(counting: Task) -> None:
    with pytest.raises(
        ValueError,
        match=r"^folds has no meaning for counting: its windows overlap, so that a fold would "
        r"validate on characters that it trains on$",
    ):
        make_plan(Request(folds=3), counting, ())
    large = from_text("".join(map(chr, range(33, 127))) * 1000)
    assert large.train.y.size * large.outputs > 2**26 > counting.train.y.size * 8
    with pytest.raises(ValueError, match=r"^boosting keeps what networks say of every target"):
        make_plan(Request(ensemble="boosting"), large, ())
    assert make_plan(Request(ensemble="bagging"), large, ()).members == 5


def test_baselines_are_judged_by_all_targets(counting: Task) -> None:
    bank = jax.device_put(make_bank(counting, padded=False))
    start = Start(1, DEFAULT._replace(learning_rate=1e-2), Rung(1, 64), 40.0, 2, "cosine")
    (finished,) = runs.play(counting, bank, [start])
    ((score, accuracy),) = runs.judge_on_test(counting, [finished.episode])
    test = counting.test
    assert test is not None
    from rlagent.apply.driver import best_model

    model = best_model(counting, finished.episode)
    raw = model.raw(test.x)
    assert accuracy == pytest.approx(np.mean(raw.argmax(axis=-1) == test.y), abs=1e-6)
    shares = np.bincount(counting.train.y.reshape(-1), minlength=8)[1:] / counting.train.y.size
    baseline = -np.log(shares[test.y - 1]).mean()
    assert score == pytest.approx(np.log(model.loss(test, raw) / baseline + 0.05), abs=1e-4)


# --- the command line


def test_the_command_line_continues_a_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    Path("counting.txt").write_text(ALPHABET * 300, encoding="utf-8")
    options = ["--method", "cosine", "--rung", "64x1", "--learning-rate", "0.01", "--out", "run"]
    assert main(["tune", "counting.txt", *options, "--updates", "60", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "bits_per_character" in said
    assert "accuracy" in said
    assert "next: rlagent predict run PROMPT.txt --characters 200" in said
    Path("prompt.txt").write_text("efgab", encoding="utf-8")
    predict = ["predict", "run", "prompt.txt", "--characters", "9", "--temperature", "0"]
    assert main(predict) == 0
    assert capsys.readouterr().out == "cdefgabcd\n"
    assert main([*predict, "--out", "made.txt", "--seed", "3"]) == 0
    assert Path("made.txt").read_text(encoding="utf-8") == "cdefgabcd"
    assert main(["predict", "run", "prompt.csv"]) == 2
    assert capsys.readouterr().err == "rlagent: there is no file prompt.csv\n"


def test_other_models_continue_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    result = rlagent.tune("iris", method="constant", updates=8, decisions=1, out="run")
    with pytest.raises(ValueError, match=r"^the model of iris does not continue texts$"):
        result.generate("a")
    Path("x.csv").write_text("a\n1\n", encoding="utf-8")
    assert main(["predict", "run", "x.csv", "--temperature", "1"]) == 2
    said = "rlagent: temperature is for models of text, but run is of iris\n"
    assert capsys.readouterr().err == said


def test_tinyshakespeare_is_as_customary(shared_data: Path) -> None:
    task = load_task(shared_data / "tinyshakespeare.txt")
    assert (task.outputs, task.vocabularies) == (66, (67,))
    assert (len(task.train.x), len(task.valid.x)) == (62_737, 871)
    assert task.test is not None
    assert not (task.test.y == 0).any()
    assert replace(task, test=None).attackable is False


# --- random texts


def test_a_seed_is_a_text_bit_for_bit() -> None:
    for seed in (0, 7):
        first, again = sample_language_task(seed), sample_language_task(seed)
        more = sample_language_task(seed, test_rows=30)
        assert (first.test, first.context) == (None, again.context)
        assert more.test is not None
        assert more.test.x.shape == (30, 64)
        for other in (again, more):
            for part in ("train", "valid"):
                for a, b in zip(getattr(first, part), getattr(other, part), strict=True):
                    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(sample_language_task(1).valid.y[:64], first.valid.y[:64])


def test_random_texts_fit_few_programs_and_can_be_learned() -> None:
    learned = 0
    for seed in range(20):
        task = sample_language_task(seed)
        assert (task.input_shape, task.vocabularies, task.target_shape) == ((64,), (17,), (64,))
        assert task.family == "transformer"
        assert len(task.context) == CONTEXT
        assert np.isfinite(task.context).all()
        assert task.train.x.min() >= 2
        assert task.train.y.min() >= 1  # no unknown character
        np.testing.assert_array_equal(task.train.x[:, 1:] - 1, task.train.y[:, :-1])
        bank = make_bank(task, padded=True)
        assert bank.train_x.shape == (1, PADDED_TRAIN_ROWS, 64)
        assert bank.classes.sum() == task.outputs <= PADDED_CLASSES
        pairs = np.ones((18, PADDED_CLASSES))
        np.add.at(pairs, (task.train.x.astype(int), task.train.y), 1.0)
        chances = pairs / pairs.sum(axis=1, keepdims=True)
        loss = -np.log(chances[task.valid.x.astype(int), task.valid.y]).mean()
        learned += loss < 0.95 * baseline_loss(task)
    assert learned >= 12  # by what follows each character alone; others depend on more


@pytest.mark.parametrize("source", sorted(WRITERS))
def test_an_automaton_writes_as_its_chances_say(source: str) -> None:
    for seed in range(5):
        generator = np.random.default_rng(seed)
        writer = WRITERS[source](generator, 6)
        states, count = writer.chances.shape
        assert count == 6
        np.testing.assert_allclose(writer.chances.sum(axis=1), 1.0)
        assert writer.following.min() >= 0
        assert writer.following.max() < states
    text = write(
        Automaton(np.array([[0.7, 0.3], [0.1, 0.9]]), np.array([[0, 1]] * 2)),
        np.random.default_rng(0),
        60_000,
        0.0,
    )
    for before, share in ((0, 0.3), (1, 0.9)):
        assert text[1:][text[:-1] == before].mean() == pytest.approx(share, abs=0.02)


def test_brackets_are_closed_as_they_were_opened() -> None:
    for seed in range(5):
        writer = brackets(np.random.default_rng(seed), 9)
        kinds = int((writer.chances[0] == 0).sum())  # with nothing open nothing can be closed
        assert kinds >= 1
        stack: list[int] = []
        before = 0  # brackets closed that were open when the text began
        for character in write(writer, np.random.default_rng(0), 900, 0.0).tolist():
            if character < kinds:
                stack.append(character)
            elif character < 2 * kinds and stack:
                assert stack.pop() == character - kinds
            elif character < 2 * kinds:
                before += 1
        assert before <= 5
