"""Sound, time series and tables ordered by time: what is read, what is refused, what is told."""

import csv
import io
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.io import wavfile

import rlagent
from rlagent.apply.request import Request, make_plan
from rlagent.cli import main
from rlagent_envs import knobs
from rlagent_envs.tasks import Preprocessing, Task, from_arrays, load_task, read_features
from rlagent_envs.tasks.audio_input import AudioInput
from rlagent_envs.tasks.series_input import SeriesInput
from rlagent_envs.tasks.spectra import BANDS, log_mel, mel_filters, steps_of
from rlagent_envs.tasks.wav import Recording, read_wav, resampled
from rlagent_envs.tasks.window_input import WindowInput, fill, ordered

DATA = Path(__file__).parents[2] / "shared" / "data"
RATE = 8000


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tone(frequency: float, seconds: float = 0.3, rate: int = RATE) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * frequency * time)


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, np.round(samples * 32767).astype(np.int16))
    return path


def tones_folder(folder: Path, files: int = 10) -> Path:
    """Two classes that differ by how high they are, in noise."""
    generator = np.random.default_rng(0)
    for name, frequency in (("low", 400.0), ("high", 1500.0)):
        for number in range(files):
            sound = tone(frequency * generator.uniform(0.9, 1.1), generator.uniform(0.25, 0.35))
            noise = 0.02 * generator.standard_normal(len(sound))
            write_wav(folder / name / f"{number}.wav", sound + noise)
    return folder


def sentence(call: Any) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def stored_again(task: Task) -> Preprocessing:
    assert task.preprocessing is not None
    again = Preprocessing.from_json(task.preprocessing.to_json())
    assert again == task.preprocessing
    return again


# --- sound


def test_a_wav_file_is_read_whatever_its_encoding() -> None:
    expected = tone(440.0)
    whole = np.round(expected * (2**23 - 1)).astype(np.int32)
    with wave.open("24.wav", "wb") as file:
        file.setparams((1, 3, RATE, 0, "NONE", ""))
        file.writeframes(b"".join(int(one).to_bytes(3, "little", signed=True) for one in whole))
    wavfile.write("8.wav", RATE, np.round(expected * 127 + 128).astype(np.uint8))
    wavfile.write("16.wav", RATE, np.round(expected * 32767).astype(np.int16))
    wavfile.write("32.wav", RATE, np.round(expected * (2**31 - 1)).astype(np.int32))
    wavfile.write("float.wav", RATE, expected.astype(np.float32))
    both = np.stack([expected + 0.1, expected - 0.1], axis=1).astype(np.float32)
    wavfile.write("stereo.wav", RATE, both)
    for name in ("8", "16", "24", "32", "float", "stereo"):
        read = read_wav(Path(f"{name}.wav"))
        assert (read.rate, str(read.samples.dtype)) == (RATE, "float32")
        np.testing.assert_allclose(read.samples, expected, atol=0.02 if name == "8" else 1e-4)


@pytest.mark.parametrize("frequency", [200.0, 700.0, 1900.0, 3500.0])
def test_a_pure_tone_is_loudest_in_its_band(frequency: float) -> None:
    spectrum = log_mel(tone(frequency).astype(np.float32), RATE, 20)
    top = 1127.0 * np.log(1.0 + 4000.0 / 700.0)  # natural logarithms: the same scale
    mel = 1127.0 * np.log(1.0 + frequency / 700.0)
    band = mel / top * (BANDS + 1) - 1.0  # band b is highest at (b + 1) of BANDS + 1 parts
    assert np.all(np.abs(np.argmax(spectrum, axis=1) - band) <= 0.75)
    assert spectrum.max() == pytest.approx(0.0, abs=1e-3)
    assert spectrum.min() >= -80.0


def test_a_spectrum_is_that_of_a_plain_sum() -> None:
    samples = np.random.default_rng(0).standard_normal(200).astype(np.float32)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(200) / 200)
    filters = mel_filters(RATE, 512)
    angles = 2 * np.pi * np.outer(np.arange(257), np.arange(200)) / 512
    waves = (np.exp(-1j * angles) * (samples * window)).sum(axis=1)
    power = filters @ np.abs(waves) ** 2
    expected = 10 * np.log10(power / power.max())
    np.testing.assert_allclose(log_mel(samples, RATE, 1)[0], expected, atol=1e-3)


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 16000])
def test_every_band_hears_something(rate: int) -> None:
    window = round(0.025 * rate)
    filters = mel_filters(rate, 1 << (2 * window - 1).bit_length())
    assert filters.sum(axis=1).min() > 0.5
    assert filters.max() <= 1.0


def test_sound_is_cut_and_padded_around_its_middle() -> None:
    loud = tone(1000.0, 0.1).astype(np.float32)
    steps = steps_of(4000, RATE)
    inside = np.flatnonzero(log_mel(loud, RATE, steps).max(axis=1) > -30)
    assert abs(inside.mean() - (steps - 1) / 2) < 1
    assert len(inside) < 14
    middle = np.concatenate([np.zeros(2000), loud, np.zeros(2000)]).astype(np.float32)
    assert log_mel(middle, RATE, 6).max(axis=1).min() > -10
    silent = log_mel(np.zeros(500, np.float32), RATE, 4)
    np.testing.assert_array_equal(silent, np.full((4, BANDS), -80.0, np.float32))


def test_another_rate_is_the_same_sound() -> None:
    at_44 = Recording(44_100, tone(600.0, rate=44_100).astype(np.float32))
    made = resampled(at_44, RATE)
    inside = slice(100, -100)
    assert len(made) == len(tone(600.0))
    np.testing.assert_allclose(made[inside], tone(600.0)[inside], atol=0.01)


def test_a_folder_of_classes_is_a_task() -> None:
    folder = tones_folder(Path("tones"))
    write_wav(folder / "low" / "0.wav", tone(400.0, rate=16_000), 16_000)
    (folder / ".hidden").mkdir()
    (folder / "low" / "notes.txt").write_text("not sound")
    task = load_task(folder)
    assert (task.name, task.kind, task.form, task.family) == (
        "tones",
        "classification",
        "sequence",
        "sequence",
    )
    assert len(task.train.x) + len(task.valid.x) + len(task.test.x if task.test else ()) == 20
    stored = stored_again(task)
    assert isinstance(stored.inputs, AudioInput)
    assert stored.inputs.rate == RATE  # of most of them
    assert task.notes == (
        f"recordings resampled to {RATE} Hz: 1 of 20",
        "files with other endings in the folders, which do not count: 1 .txt",
    )
    assert 25 <= stored.inputs.steps <= 34
    assert stored.classes == ("high", "low")
    files = read_features(folder / "low", stored)
    assert isinstance(files, list)
    made = stored.transform(files)
    known = {
        row.tobytes() for part in (task.train, task.valid, task.test) if part for row in part.x
    }
    assert {row.tobytes() for row in made} <= known
    np.testing.assert_array_equal(stored.transform([str(files[3])]), made[3:4])


def test_parts_may_be_folders() -> None:
    for part in ("train", "val", "test"):
        tones_folder(Path("set", part), files=2 if part == "train" else 1)
    task = load_task("set")
    assert [len(part.x) for part in (task.train, task.valid, task.test) if part] == [4, 2, 2]
    Path("set", "more").mkdir()
    assert sentence(lambda: load_task("set")) == (
        "set has the folder more beside train; there may be: train, valid, val, validation, dev, "
        "test, training, testing"
    )


def test_a_damaged_file_is_named_and_left_out_only_if_asked_for() -> None:
    folder = tones_folder(Path("tones"), files=5)
    whole = (folder / "high" / "1.wav").read_bytes()
    for content, reason in (
        (b"RIFF", "is not a readable .wav file: "),
        (b"", "is not a readable .wav file: "),
        (whole[: len(whole) // 2], "is cut short"),
        (whole[:44], "is cut short"),
    ):
        (folder / "high" / "1.wav").write_bytes(content)
        message = sentence(lambda: load_task(folder))
        assert message.startswith(f"tones/high/1.wav {reason}")
        assert message.endswith("; leave such files out by --skip-bad")
        task = load_task(folder, skip_bad=True)
        assert task.notes == ("1 of 10 files cannot be read and are left out: tones/high/1.wav",)
        assert sum(len(part.x) for part in (task.train, task.valid, task.test) if part) == 9


def test_folders_that_are_no_set_are_refused() -> None:
    Path("empty").mkdir()
    assert sentence(lambda: load_task("empty")) == "empty holds no folders, one for each class"
    folder = tones_folder(Path("tones"), files=3)
    (folder / "none").mkdir()
    assert sentence(lambda: load_task(folder)) == (
        "the folder tones/none of a class holds no .wav file"
    )
    write_wav(folder / "none" / "1.wav", tone(100.0))
    assert sentence(lambda: load_task(folder)) == (
        "the class 'none' of tones has a single file; it needs two at least, one to train on and "
        "one to validate on"
    )
    assert sentence(lambda: load_task(folder, target="y")) == (
        "tones holds no table that names its files, so there is no column 'y'"
    )
    for name in ("1", "2"):
        Path(folder, "none", f"{name}.wav").write_bytes(b"RIFF")
    assert sentence(lambda: load_task(folder, skip_bad=True)) == (
        "no file of the class 'none' can be read"
    )


def test_sound_is_tuned_and_predicted_from_raw_files(capsys: pytest.CaptureFixture[str]) -> None:
    tones_folder(Path("tones"), files=15)
    command = "tune tones --method cosine --rung 16x1 --updates 60 --decisions 2 --batch-size 16"
    assert main([*command.split(), "--learning-rate", "0.01", "--out", "run", "--quiet"]) == 0
    assert "rlagent predict run FILE.wav" in capsys.readouterr().out
    assert rlagent.load_run("run").summary["test_score"] > 0.8  # the majority: 0.5
    write_wav(Path("new", "a.wav"), tone(420.0, 0.5))
    write_wav(Path("new", "more", "b.wav"), tone(1450.0, 0.2, 16_000), 16_000)
    assert main(["predict", "run", "new"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["file"], row["prediction"]) for row in rows] == [
        ("new/a.wav", "low"),
        ("new/more/b.wav", "high"),
    ]
    assert main(["predict", "run", "new/a.wav"]) == 0
    (alone,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert alone == rows[0]
    assert rlagent.load_run("run").predict(["new/a.wav"]).tolist() == ["low"]
    Path("new", "c.wav").write_bytes(b"RIFF")
    assert main(["predict", "run", "new"]) == 2
    assert capsys.readouterr().err.startswith("rlagent: new/c.wav is not a readable .wav file")
    assert main(["predict", "run", "new", "--skip-bad"]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 3
    assert told.err == "1 of 3 files cannot be read and are left out: new/c.wav\n"
    Path("table.csv").write_text("a,b\n1,2\n")
    assert main(["predict", "run", "table.csv"]) == 2
    assert capsys.readouterr().err == (
        "rlagent: table.csv must be a .wav file, as the training data\n"
    )


# --- series of the archives


def write_ts(
    path: str,
    x: Sequence[np.ndarray] | np.ndarray,
    labels: list[str],
    header: str = "@classLabel true",
) -> Path:
    lines = ["# a set", "@problemName Test", "@timeStamps false", header, "@data"]
    for row, label in zip(x, labels, strict=True):
        channels = [",".join("?" if np.isnan(v) else repr(float(v)) for v in one) for one in row.T]
        lines.append(":".join([*channels, label]))
    Path(path).write_text("\n".join(lines) + "\n")
    return Path(path)


def test_series_of_the_archives_are_read_with_their_test_part() -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((24, 10, 2))
    labels = ["up", "down", "up"] * 8
    write_ts("Set_TRAIN.ts", x[:16], labels[:16])
    write_ts("Set_TEST.ts", x[16:], labels[16:])
    task = load_task("Set_TRAIN.ts")
    assert (task.name, task.input_shape, task.family) == ("Set", (10, 2), "sequence")
    assert task.test is not None
    by_hand = from_arrays(x[:16], labels[:16], x_test=x[16:], y_test=labels[16:], form="sequence")
    np.testing.assert_array_equal(task.train.x, by_hand.train.x)
    np.testing.assert_array_equal(task.test.x, by_hand.test.x if by_hand.test else 0)
    np.testing.assert_array_equal(task.test.y, by_hand.test.y if by_hand.test else 0)
    stored = stored_again(task)
    read = read_features("Set_TEST.ts", stored)
    np.testing.assert_array_equal(stored.transform(read), task.test.x)
    alone = write_ts("Alone.ts", x, ["1.5"] * 12 + ["2.25"] * 12, "@targetLabel true")
    assert load_task(alone).kind == "regression"


def test_gaps_in_series_are_straight_lines() -> None:
    x = np.array([[np.nan, 1.0, np.nan, np.nan, 4.0, np.nan]]).T[None].repeat(12, axis=0)
    x = x + np.arange(12)[:, None, None]
    task = load_task(write_ts("gaps.ts", x, ["1", "2"] * 6))
    assert task.preprocessing is not None
    expected = (
        np.array([1.0, 1.0, 2.0, 3.0, 4.0, 4.0])[None, :, None] + np.arange(12)[:, None, None]
    )
    made = task.preprocessing.transform(read_features("gaps.ts", task.preprocessing))
    np.testing.assert_allclose(made, task.preprocessing.transform(expected))
    assert task.preprocessing.classes == (1, 2)


def test_tables_without_a_header_are_series_with_the_label_first() -> None:
    x = np.random.default_rng(0).standard_normal((20, 9))
    rows = [[1 + number % 2, *row] for number, row in enumerate(x)]
    text = "\n".join("\t".join(map(str, row)) for row in rows)
    Path("Set_TRAIN.tsv").write_text(text)
    task = load_task("Set_TRAIN.tsv")
    assert (task.name, task.kind, task.input_shape) == ("Set", "classification", (9, 1))
    stored = stored_again(task)
    Path("without.tsv").write_text("\n".join("\t".join(map(str, row)) for row in x))
    for name in ("Set_TRAIN.tsv", "without.tsv"):
        np.testing.assert_array_equal(read_features(name, stored), x[:, :, None])


def uneven(rows: int = 24, channels: int = 2) -> tuple[list[np.ndarray], list[str]]:
    """Series of 4 to 9 steps, and the class of each: which one the first channel rises in."""
    generator = np.random.default_rng(0)
    x = [3 + generator.standard_normal((4 + number % 6, channels)) for number in range(rows)]
    labels = ["up" if number % 2 else "down" for number in range(rows)]
    for one, label in zip(x, labels, strict=True):
        one[:, 0] += (1 if label == "up" else -1) * 2.0
    return x, labels


def plain_inputs(
    train: list[np.ndarray], given: list[np.ndarray], steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """What is learned of series, by lists, and the mean of each channel."""
    channels = train[0].shape[1]
    means = [
        sum(float(v) for one in train for v in one[:, place]) / sum(map(len, train))
        for place in range(channels)
    ]

    def filled(one: np.ndarray) -> list[list[float]]:
        rows: list[list[float]] = one[:steps].tolist()
        return rows + [means] * (steps - len(rows))

    every = np.array([filled(one) for one in train])
    scale = np.sqrt(((every - means) ** 2).mean(axis=(0, 1)))
    return (np.array([filled(one) for one in given]) - means) / scale, np.array(means)


def test_series_of_several_lengths_get_that_of_the_longest_to_train_on() -> None:
    x, labels = uneven()
    test = [np.full((12, 2), 5.0), np.full((2, 2), 1.0)]
    write_ts("Set_TRAIN.ts", x, labels)
    write_ts("Set_VALID.ts", x[:6], labels[:6])
    write_ts("Set_TEST.ts", test, ["up", "down"])
    task = load_task("Set_TRAIN.ts", valid="Set_VALID.ts")
    assert (task.name, task.input_shape, task.family) == ("Set", (9, 2), "sequence")
    assert task.notes == (
        "series of 2 to 12 steps all get 9, as many as the longest to train on has: shorter ones "
        "are filled up behind by the mean of each channel, 1 longer ones are cut at their end",
    )
    assert task.test is not None
    expected, means = plain_inputs(x, [*x, *test], 9)
    np.testing.assert_allclose(task.train.x.reshape(-1, 9, 2), expected[:-2], atol=1e-6)
    np.testing.assert_allclose(task.test.x.reshape(-1, 9, 2), expected[-2:], atol=1e-6)
    np.testing.assert_allclose(task.train.x.reshape(-1, 9, 2)[0, 4:], 0.0, atol=1e-6)
    stored = stored_again(task)
    assert isinstance(stored.inputs, SeriesInput)
    np.testing.assert_allclose(stored.inputs.fill, means)
    np.testing.assert_array_equal(
        stored.transform(read_features("Set_TEST.ts", stored)), task.test.x
    )
    np.testing.assert_array_equal(stored.transform(np.stack([test[0]])), task.test.x[:1])
    assert sentence(lambda: stored.transform([np.zeros((4, 3))])) == (
        "series 0 is of shape (4, 3) and float64, expected numbers [steps, 2]"
    )
    assert sentence(lambda: stored.transform(pd.DataFrame({"a": [1.0]}))) == (
        "the input must be series, as in training, not a table"
    )


def test_series_that_are_drawn_to_train_alone_tell_the_length() -> None:
    """The longest one, with values far from the others, decides only where it trains."""
    x, labels = uneven()
    x[5] = np.full((30, 2), 1000.0)
    seen = set()
    for seed in range(6):
        task = load_task(write_ts("set.ts", x, labels), seed=seed)
        assert task.preprocessing is not None
        inputs = task.preprocessing.inputs
        assert isinstance(inputs, SeriesInput)
        in_training = inputs.fill[1] > 100
        assert inputs.steps == (30 if in_training else 9)
        assert len(task.train.x) == 14
        seen.add(in_training)
    assert seen == {True, False}


def write_tsv(path: str, x: list[np.ndarray], width: int, labels: list[int] | None = None) -> Path:
    lines = []
    for number, one in enumerate(x):
        cells = [repr(float(v)) for v in one[:, 0]] + ["NaN"] * (width - len(one))
        lines.append("\t".join(cells if labels is None else [str(labels[number]), *cells]))
    Path(path).write_text("\n".join(lines))
    return Path(path)


def test_lines_of_tsv_that_end_in_gaps_are_shorter_series() -> None:
    x, _ = uneven(channels=1)
    y = [1 + number % 2 for number in range(24)]
    x[3][2] = np.nan  # a gap inside stays one
    write_tsv("Set_TRAIN.tsv", x, 11, y)
    write_tsv("valid.tsv", x[:6], 11, y[:6])
    task = load_task("Set_TRAIN.tsv", valid="valid.tsv")
    x[3][2] = (x[3][1] + x[3][3]) / 2
    expected, _ = plain_inputs(x, x, 9)
    np.testing.assert_allclose(task.train.x, expected[..., 0], atol=1e-6)
    stored = stored_again(task)
    for file in (write_tsv("plain.tsv", x, 11), write_tsv("labelled.tsv", x, 11, y)):
        np.testing.assert_allclose(stored.transform(read_features(file, stored)), task.train.x)
    for width, labels in ((9, None), (9, y), (12, y)):
        cells = width + (labels is not None)
        file = write_tsv("other.tsv", x, width, labels)
        assert sentence(lambda file=file: read_features(file, stored)) == (
            f"other.tsv has {cells} cells in a line, expected 11, or 12 with the label first; end "
            f"shorter series in NaN"
        )


def test_a_model_of_series_of_one_length_refuses_others() -> None:
    x = np.random.default_rng(0).standard_normal((12, 6, 1))
    task = load_task(write_ts("even.ts", x, ["1", "2"] * 6))
    assert task.preprocessing is not None
    inputs = task.preprocessing
    write_ts("uneven.ts", [x[0], x[1][:4]], ["1", "2"])
    assert sentence(lambda: read_features("uneven.ts", inputs)) == (
        "uneven.ts has series of 4 to 6 steps, but those trained on have 6 each"
    )
    gap = [x[0], x[1][:5]]
    np.testing.assert_allclose(
        np.asarray(read_features(write_tsv("gap.tsv", gap, 6), inputs)),
        np.stack([x[0], np.concatenate([x[1][:5], x[1][4:5]])]),
    )


def test_series_of_several_lengths_are_tuned_and_predicted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    x, labels = uneven(60)
    write_ts("Set_TRAIN.ts", x, labels)
    command = "tune Set_TRAIN.ts --method cosine --rung 16x1 --updates 60 --decisions 2"
    assert main([*command.split(), "--batch-size", "16", "--out", "run"]) == 0
    told = "".join(capsys.readouterr())
    assert "series of 4 to 9 steps all get 9, as many as the longest to train on has" in told
    assert "rlagent predict run FILE.ts" in told
    write_ts("new.ts", [x[1], x[0], np.repeat(x[1], 3, axis=0)], ["up"] * 3)
    assert main(["predict", "run", "new.ts"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["prediction"] for row in rows] == ["up", "down", "up"]
    assert rlagent.load_run("run").predict([x[1], x[0]]).tolist() == ["up", "down"]
    Path("new.tsv").write_text("1\t2\n")
    assert main(["predict", "run", "new.tsv"]) == 2
    assert capsys.readouterr().err == (
        "rlagent: new.tsv must be a .ts file, as the training data\n"
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.ts", "@classLabel true\n@data\n", "a.ts holds no series: there must be lines below"),
        (
            "a.ts",
            "@classLabel true\n@data\n1,2:3,4:a\n1,2:b\n",
            "line 4 of a.ts has 1 channels, but those before have 2; all must be the same",
        ),
        (
            "a.ts",
            "@classLabel true\n@data\n1,2:1,2,3:a\n",
            "line 3 of a.ts has channels of different lengths, [2, 3]",
        ),
        (
            "a.ts",
            "@classLabel true\n@data\n1,x:a\n",
            "line 3 of a.ts has 'x' where a number should be",
        ),
        ("a.ts", "@classLabel true\n@data\n?,?:a\n", "line 3 of a.ts has a channel without values"),
        ("a.ts", "@classLabel true\n@data\n1,inf:a\n", "line 3 of a.ts has infinite values"),
        ("a.ts", "@classLabel false\n@data\n1,2\n", "a.ts has no labels to learn"),
        (
            "a.ts",
            "@timeStamps true\n@data\n(0,1)\n",
            "a.ts has a time for each value, which is not",
        ),
        (
            "a.tsv",
            "1\t2\t3\n2\t3\n",
            "line 2 of a.tsv has 2 cells, but those before have 3; end shorter series in NaN",
        ),
        ("a.tsv", "1\t2\t3\n2\tNaN\tNaN\n", "line 2 of a.tsv has a channel without values"),
    ],
)
def test_series_that_cannot_be_used_are_named(name: str, text: str, message: str) -> None:
    Path(name).write_text(text)
    assert sentence(lambda: load_task(name)).startswith(message)


# --- tables ordered by time


def wavy(rows: int = 200) -> pd.DataFrame:
    """Days in no order, a wave with noise, the number of the row, and words."""
    generator = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "date": pd.date_range("2024-01-31", periods=rows).strftime("%Y-%m-%d"),
            "y": np.sin(np.arange(rows) / 4) + 0.05 * generator.standard_normal(rows),
            "row": np.arange(rows, dtype=float),
            "word": np.where(np.arange(rows) % 2, "odd", "even"),
        }
    )
    return table.sample(frac=1.0, random_state=0)


@pytest.mark.parametrize(("horizon", "window"), [(1, None), (3, 7)])
def test_windows_are_in_order_and_end_before_the_targets_of_later_parts(
    horizon: int, window: int | None
) -> None:
    table = wavy()
    table.to_csv("wavy.csv", index=False)
    task = load_task("wavy.csv", target="row", time="date", horizon=horizon, window=window)
    steps = window or 32
    assert (task.name, task.kind, task.input_shape) == ("wavy", "regression", (steps, 2))
    stored = stored_again(task)
    assert isinstance(stored.inputs, WindowInput)
    assert stored.inputs.columns == ("y", "row")
    mean, scale = (
        np.array(one)[1] for one in (stored.inputs.values.mean, stored.inputs.values.scale)
    )
    parts = [part for part in (task.train, task.valid, task.test) if part]
    seen = [np.round(part.x.reshape(-1, steps, 2)[..., 1] * scale + mean) for part in parts]
    targets = [np.round(stored.decode_target(part.y)) for part in parts]
    for rows, target in zip(seen, targets, strict=True):
        assert np.all(np.diff(rows, axis=1) == 1)
        np.testing.assert_array_equal(rows[:, -1] + horizon, target)
    for earlier, later in ((0, 1), (1, 2)):
        assert max(seen[earlier].max(), targets[earlier].max()) < targets[later].min()
    together = np.sort(np.concatenate(targets))
    np.testing.assert_array_equal(together, np.arange(steps - 1 + horizon, 200))
    assert [len(part.x) / len(together) for part in parts] == pytest.approx(
        [0.6, 0.2, 0.2], abs=0.01
    )


def test_a_forecast_has_no_augmentation() -> None:
    """It would move and mask the last steps, from which the target goes on."""
    wavy(200)[["date", "y"]].to_csv("wavy.csv", index=False)
    task = load_task("wavy.csv", time="date", target="y", horizon=2)
    assert not knobs.meaningful("augmentation", task)
    assert knobs.meaningful("dropout", task)
    with pytest.raises(ValueError, match=r"^augmentation has no meaning for forecasts$"):
        make_plan(Request(settings={"augmentation": 0.5}), task, ())


def test_a_forecast_is_for_the_rows_after_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    table = wavy(420)
    table[["date", "y"]].to_csv("wavy.csv", index=False)
    command = (
        "tune wavy.csv --target y --time date --horizon 3 --window 16 --family mlp --rung 32x1"
    )
    command += " --method cosine --learning-rate 0.01 --updates 150 --decisions 2 --quiet --out run"
    assert main(command.split()) == 0
    assert "rlagent predict run FILE.csv" in capsys.readouterr().out
    result = rlagent.load_run("run")
    assert result.summary["test_score"] > 0.8  # the mean: 0
    assert main(["predict", "run", "wavy.csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["rows_ahead"] for row in rows] == ["1", "2", "3"]
    made = np.array([float(row["prediction"]) for row in rows])
    np.testing.assert_allclose(made, np.sin((419 + np.arange(1, 4)) / 4), atol=0.4)
    np.testing.assert_allclose(result.predict(table), made, rtol=1e-6)
    last = table.sort_values("date").tail(17)
    np.testing.assert_allclose(result.predict(last), made[1:], rtol=1e-6)
    assert sentence(lambda: result.predict(last.tail(15))) == (
        "the input has 15 rows, but a forecast needs the last 16"
    )
    assert sentence(lambda: result.predict(last.drop(columns="y"))) == (
        "the input lacks the column 'y'"
    )
    folds = ["tune", "wavy.csv", "--target", "y", "--time", "date", "--folds", "3"]
    assert main(folds) == 2
    assert capsys.readouterr().err == (
        "rlagent: folds has no meaning for wavy, whose rows are ordered by time\n"
    )


def test_a_table_in_memory_is_the_same_task() -> None:
    from rlagent.apply.request import Request
    from rlagent.apply.source import load_source

    table = wavy(60)
    table.to_csv("wavy.csv", index=False)
    request = Request(target="y", time="date", window=5)
    in_memory, _ = load_source(table, None, request, {})
    from_file, _ = load_source("wavy.csv", None, request, {})
    np.testing.assert_allclose(in_memory.train.x, from_file.train.x, rtol=1e-6)
    np.testing.assert_allclose(in_memory.valid.y, from_file.valid.y, rtol=1e-6)
    message = "time is for a DataFrame alone: the target is one of its columns, and its latest rows"
    assert sentence(lambda: load_source(table[["row"]], table["y"], request, {})).startswith(
        message
    )


def test_gaps_are_what_was_there_before_and_at_the_beginning_medians() -> None:
    values = np.array([[np.nan, 1.0], [2.0, np.nan], [np.nan, np.nan], [4.0, 5.0]])
    expected = [[9.0, 1.0], [2.0, 1.0], [2.0, 1.0], [4.0, 5.0]]
    np.testing.assert_array_equal(fill(values, np.array([9.0, 8.0])), expected)
    table = wavy(100)
    table.loc[table["row"] == 50, "y"] = np.nan
    table.loc[table["row"] == 80, "y"] = np.nan
    table.to_csv("gaps.csv", index=False)
    task = load_task("gaps.csv", target="y", time="date", window=4)
    assert sum(len(part.y) for part in (task.train, task.valid, task.test) if part) == 94


@pytest.mark.parametrize(
    ("times", "order"),
    [
        (["3", "10", "2.5"], [2, 0, 1]),
        (["2024-02-01", "2023-12-31", "2024-01-15"], [1, 2, 0]),
        (["2024-02-01 10:00", "2024-02-01 09:30", "2024-02-01 09:45"], [1, 2, 0]),
        (["31/12/2023", "01/02/2024", "15/01/2024"], [0, 2, 1]),
    ],
)
def test_rows_are_ordered_by_numbers_and_by_times(times: list[str], order: list[int]) -> None:
    table = pd.DataFrame({"t": times})
    assert ordered(table, "t").index.tolist() == order


def test_times_that_cannot_be_used_are_named() -> None:
    def of(times: list[Any]) -> str:
        table = pd.DataFrame({"t": times}, index=range(1, len(times) + 1))
        return sentence(lambda: ordered(table, "t"))

    assert of(["2024-01-01", None]) == "column 't' has no time in row 2"
    assert of(["2024-01-01", "soon"]) == (
        "column 't' has 'soon', which is no time like the others, in row 2"
    )
    assert of(["01/02/2024", "31/12/2023"]).startswith("column 't' has '31/12/2023', which is no")
    assert of(["soon", "later"]).startswith("column 't' has 'soon', which is not read as a time")
    assert of(["1", "2", "1.0"]) == (
        "column 't' has '1.0' more than once; a series has one row for each time"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time": "date"}, "name the target column of wavy; it has: date, y, row, word"),
        ({"time": "date", "target": "z"}, "wavy has no column 'z' for the target; it has: date, y"),
        (
            {"time": "when", "target": "y"},
            "there is no column 'when' for the time; there are: date",
        ),
        ({"time": "y", "target": "y"}, "column 'y' cannot be both the target and the time"),
        (
            {"time": "date", "target": "word"},
            "a forecast needs a target of numbers, but column 'word' has others",
        ),
        (
            {"time": "date", "target": "y", "kind": "classification"},
            "a forecast is a regression, so wavy cannot be for classification",
        ),
        (
            {"time": "date", "target": "y", "window": 80},
            "wavy has 60 rows, too few for windows of 80 and a horizon of 1",
        ),
        ({"time": "date", "target": "y", "horizon": 0}, "horizon must be a whole number from 1 up"),
        (
            {"time": "date", "target": "y", "split_column": "word"},
            "split_column is for tables, but wavy is a time series",
        ),
        (
            {"target": "y", "horizon": 2},
            "horizon is for time series, which need the option time, but wavy.csv is a table",
        ),
        ({"target": "y", "form": "image"}, "form is for arrays, but wavy.csv is a table"),
    ],
)
def test_what_makes_no_forecast_is_one_sentence(options: dict[str, Any], message: str) -> None:
    wavy(60).to_csv("wavy.csv", index=False)
    assert sentence(lambda: load_task("wavy.csv", **options)).startswith(message)


def test_spoken_digits_are_sequences_if_asked_for() -> None:
    path = DATA / "fsdd.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    assert load_task(path).form == "image"
    task = load_task(path, form="sequence")
    assert (task.input_shape, task.family, task.outputs) == ((63, 32), "sequence", 10)
    np.testing.assert_allclose(task.train.x.reshape(-1, 32).std(axis=0), 1.0, atol=1e-3)
