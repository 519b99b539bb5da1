"""Free text in tables and lists: which columns hold it, and how words become numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from rlagent_envs.tasks import Preprocessing, from_arrays, load_task, read_features
from rlagent_envs.tasks.texts import TextInput, read_texts, words_of

WORDS = ["sun", "rain", "wind", "snow", "fog", "hail", "storm", "cloud", "frost", "heat"]


def sentences(rows: int = 60, seed: int = 0) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, generator.integers(2, 9))) for _ in range(rows)]


def labels(rows: int = 60) -> np.ndarray:
    return np.arange(rows) % 2


def fitted(texts: Any) -> Preprocessing:
    return Preprocessing.fit(texts, labels(len(texts)), "classification")


def text_input(texts: Any) -> TextInput:
    inputs = fitted(texts).inputs
    assert isinstance(inputs, TextInput)
    return inputs


# --- words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop, it's 3.5!", ["don't", "stop", ",", "it's", "3", ".", "5", "!"]),
        ("wo n't\tdo\n'quoted'", ["wo", "n't", "do", "'", "quoted", "'"]),
        ("Käse_3 ÜBER café", ["käse_3", "über", "café"]),
        ("I\u2019m (not) here…", ["i\u2019m", "(", "not", ")", "here", "…"]),
        ("天気がいい iPhone手机", ["天", "気", "が", "い", "い", "iphone", "手", "机"]),
        ("  ", []),
    ],
)
def test_words_are_runs_of_letters_and_signs_stand_alone(text: str, words: list[str]) -> None:
    assert list(words_of(text)) == words


def test_the_vocabulary_is_that_of_scikit_learn() -> None:
    texts = [f"{text}!" if len(text) % 3 else f"{text}, {text} it's" for text in sentences(80)]
    counter = CountVectorizer(token_pattern=r"\w+(?:'\w+)*|[^\w\s]").fit(texts)
    counts = np.asarray(counter.transform(texts).sum(axis=0))[0]
    by_count = sorted(
        counter.vocabulary_, key=lambda word: (-counts[counter.vocabulary_[word]], word)
    )
    assert list(text_input(texts).words) == by_count


def test_a_text_is_the_numbers_of_its_words() -> None:
    inputs = text_input(["b a", "b a b", "b c", "d"] * 10)
    assert inputs.words == ("b", "a", "c", "d")
    assert (inputs.length, inputs.vocabularies, inputs.input_shape) == (4, (6,), (4,))
    made = inputs.transform(["A b new c d", "d", "", None, float("nan"), "!"])
    assert made.dtype == np.float32
    expected = [[3, 2, 1, 4], [5, 0, 0, 0], [0] * 4, [0] * 4, [0] * 4, [1, 0, 0, 0]]
    np.testing.assert_array_equal(made, expected)
    assert inputs.continuous == [False] * 4


def test_rare_words_are_unknown_where_there_are_many_texts() -> None:
    few = [f"the same {number}" for number in range(999)]
    assert len(text_input(few).words) == 2 + 999
    many = text_input([*few, "the same 7"])
    assert many.words == ("same", "the", "7")
    np.testing.assert_array_equal(many.transform(["the 7 8"]), [[3, 4, 1, 0]])
    # Where all words are such, they are all that there is.
    assert len(text_input([f"a{number}" for number in range(1000)]).words) == 1000


def test_the_most_frequent_words_have_a_number() -> None:
    texts = [" ".join(f"w{word}" for word in range(row, row + 100)) for row in range(0, 9900, 33)]
    inputs = text_input(texts)
    assert inputs.vocabularies == (8000,)
    counts = CountVectorizer().fit_transform(texts).sum(axis=0)
    assert len(inputs.words) < counts.size
    assert inputs.length == 100


@pytest.mark.parametrize("most", [3, 5, 11])
def test_a_vocabulary_may_be_smaller_or_larger(most: int) -> None:
    whole = text_input(sentences())
    for given in (sentences(), table(size=[1.5, 2.5] * 30)):
        task = from_arrays(given, labels(), x_valid=given, y_valid=labels(), vocabulary=most)
        assert task.vocabularies == (most,)
        known = np.where(whole.transform(sentences()) < most, whole.transform(sentences()), 1)
        np.testing.assert_array_equal(task.train.x[:, : whole.length], known)
    larger = [" ".join(f"w{word}" for word in range(row, row + 100)) for row in range(0, 9900, 33)]
    task = from_arrays(larger, labels(300), vocabulary=30_000)
    assert task.vocabularies[0] > 8000


def test_a_vocabulary_is_for_texts(tmp_path: Path) -> None:
    numbers = pd.DataFrame({"size": np.arange(60.0)})
    for given in (numbers, np.eye(60)):
        with pytest.raises(ValueError, match=r"^vocabulary is for texts, but there is no column"):
            from_arrays(given, labels(), vocabulary=100)
    with pytest.raises(ValueError, match=r"^vocabulary must be from 3 to 16777216 tokens, got 2$"):
        from_arrays(sentences(), labels(), vocabulary=2)
    path = tmp_path / "a.npz"
    np.savez(path, x=np.eye(60), y=labels())
    with pytest.raises(ValueError, match=r"^vocabulary is for texts in tables, but .*a.npz is a"):
        load_task(path, vocabulary=100)


@pytest.mark.parametrize(
    ("lengths", "length"),
    [([3] * 100, 4), ([4] * 95 + [50] * 5, 8), ([4] * 96 + [50] * 4, 4), ([900] * 40, 128)],
)
def test_most_texts_are_read_to_their_end(lengths: list[int], length: int) -> None:
    assert text_input(["a " * count for count in lengths]).length == length


# --- which tables hold texts


def table(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"text": sentences()} | columns)


def test_a_column_of_free_text_may_have_columns_beside_it_that_never_vary() -> None:
    given = table(year=2020, nothing=None)
    inputs = text_input(given)
    assert inputs.columns == ("text",)
    np.testing.assert_array_equal(
        inputs.transform(given[["text"]]), text_input(sentences()).transform(sentences())
    )


def test_columns_of_free_text_are_joined_in_their_order() -> None:
    inputs = text_input(table(body=sentences(seed=1)))
    assert inputs.columns == ("text", "body")
    given = pd.DataFrame({"body": ["Sun sun", None, "snow"], "text": ["RAIN", "fog", np.nan]})
    as_one = text_input([f"{a} {b}" for a, b in zip(sentences(), sentences(seed=1), strict=True)])
    assert inputs.words == as_one.words
    np.testing.assert_array_equal(
        inputs.transform(given), as_one.transform(["rain sun sun", "fog", "snow"])
    )
    with pytest.raises(ValueError, match=r"^the input lacks the column 'body'$"):
        inputs.transform(given[["text"]])
    with pytest.raises(ValueError, match=r"^the input must be a table, as in training, not an arr"):
        inputs.transform(["rain"])


def test_repeated_texts_are_free_text_where_there_is_nothing_else() -> None:
    repeated = [f"turn {word} {number % 3} on" for number in range(200) for word in WORDS]
    assert text_input(pd.DataFrame({"command": repeated})).columns == ("command",)
    beside = pd.DataFrame({"command": repeated, "size": np.arange(2000.0)})
    assert fitted(beside).inputs.kind == "table"
    few = [f"{word} city" for word in WORDS] * 30
    assert fitted(pd.DataFrame({"town": few})).inputs.kind == "table"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            pd.DataFrame({"id": [f"user-{number}" for number in range(60)]}),
            "column 'id' has 60 different texts in 60 rows; identifiers cannot be used, so drop it"
            ": --drop id, in Python drop='id'",
        ),
        (
            pd.DataFrame({"at": [f"2020-01-02 10:00:{n:02}" for n in range(60)], "a": [0, 1] * 30}),
            "column 'at' has 60 different texts in 60 rows; identifiers cannot be used, so drop it"
            ": --drop at, in Python drop='at'",
        ),
        (["", None] * 30, "column 'text' has no words in the training rows"),
    ],
)
def test_what_is_no_text_is_named(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match="column") as caught:
        fitted(given)
    assert str(caught.value) == message


def test_texts_without_spaces_between_words_are_texts() -> None:
    assert (
        text_input(pd.DataFrame({"t": [f"天気が{number}いい" for number in range(60)]})).length == 8
    )


# --- texts in memory


@pytest.mark.parametrize(
    "given",
    [
        sentences(),
        tuple(sentences()),
        np.array(sentences()),
        pd.Series(sentences(), dtype="string"),
    ],
    ids=["list", "tuple", "array", "series"],
)
def test_texts_in_memory_are_a_task(given: Any) -> None:
    task = from_arrays(given, labels())
    assert (task.form, task.family, task.attackable) == ("tokens", "text", False)
    assert (len(task.train.y), len(task.valid.y)) == (36, 12)
    assert task.preprocessing is not None
    as_table = from_arrays(pd.DataFrame({"text": sentences()}), labels())
    for part, other in ((task.train, as_table.train), (task.valid, as_table.valid)):
        np.testing.assert_array_equal(part.x, other.x)
        np.testing.assert_array_equal(part.y, other.y)
    assert task.preprocessing == as_table.preprocessing


def test_a_series_keeps_its_name_and_parts_are_read_alike() -> None:
    series = pd.Series([*sentences(), None], name="review", index=np.arange(61) * 7)
    y = [*labels(), 1]
    task = from_arrays(series, y, x_valid=["sun", "moon", None], y_valid=[0, 1, 1])
    assert task.preprocessing is not None
    assert isinstance(task.preprocessing.inputs, TextInput)
    assert task.preprocessing.inputs.columns == ("review",)
    numbers = {word: place for place, word in enumerate(task.preprocessing.inputs.words, 2)}
    by_label = sorted(zip(task.valid.y.tolist(), task.valid.x[:, 0].tolist(), strict=True))
    assert by_label == [(0, numbers["sun"]), (1, 0), (1, 1)]
    assert not task.train.x[60].any()


@pytest.mark.parametrize("given", [[1, 2], ["a", 2], "ab", [["a"], ["b"]], [None, None], 3])
def test_what_is_not_texts_is_not_read_as_such(given: Any) -> None:
    assert read_texts(given) is None


def test_other_things_to_predict_for_are_refused() -> None:
    inputs = text_input(sentences())
    for given in (np.eye(4), [1, 2], "sun"):
        with pytest.raises(
            ValueError, match=r"^the input must be texts, or a table, not an array$"
        ):
            inputs.transform(given)


# --- files


def test_preprocessing_of_texts_is_stored_and_checked() -> None:
    preprocessing = fitted(sentences())
    stored = json.loads(json.dumps(preprocessing.to_json()))
    again = Preprocessing.from_json(stored)
    assert again == preprocessing
    assert again.transform(sentences()).tobytes() == preprocessing.transform(sentences()).tobytes()
    for change, message in (
        ({"words": ["sun", "sun"]}, "its words are not all different"),
        ({"columns": []}, "inputs.text.columns: Tuple should have at least 1"),
        ({"length": 0}, "inputs.text.length: Input should be greater than or equal to 1"),
    ):
        damaged = stored | {"inputs": stored["inputs"] | change}
        with pytest.raises(ValueError, match=r"^the preprocessing cannot be read: ") as caught:
            Preprocessing.from_json(damaged)
        assert message in str(caught.value)


def test_a_file_of_texts_is_a_task(tmp_path: Path) -> None:
    path = tmp_path / "weather.csv"
    given = table(label=np.where(labels(), "good", "bad"), split=["train", "train", "dev"] * 20)
    given.loc[3, "text"] = 'hail, "storm"'
    given.to_csv(path, index=False)
    task = load_task(path, target="label")
    assert (task.form, len(task.train.y), len(task.valid.y)) == ("tokens", 40, 20)
    assert task.preprocessing is not None
    assert isinstance(task.preprocessing.inputs, TextInput)
    unseen = pd.DataFrame({"more": [1, 2], "text": ["Sun, and rain", ""]})
    unseen.to_csv(path, index=False)
    made = task.preprocessing.transform(read_features(path, task.preprocessing))
    numbers = {word: place for place, word in enumerate(task.preprocessing.inputs.words, 2)}
    expected = [numbers["sun"], numbers[","], 1, numbers["rain"]]
    np.testing.assert_array_equal(made[0, :4], expected)
    assert not made[0, 4:].any()
    assert not made[1].any()
    np.savez(tmp_path / "new.npz", x=np.array(["Sun, and rain", ""]))
    from_arrays_file = read_features(tmp_path / "new.npz", task.preprocessing)
    np.testing.assert_array_equal(task.preprocessing.transform(from_arrays_file), made)
    unseen[["more"]].to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"lacks the column 'text'$"):
        read_features(path, task.preprocessing)
