"""`rlagent score`: a run judged by a file or a folder that holds the targets."""

import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, log_loss, r2_score, root_mean_squared_error

import rlagent
from rlagent.cli import main
from rlagent_envs.tasks import Preprocessing, load_task
from rlagent_envs.tasks.labelled import read_labelled

SMALL: dict[str, Any] = {"method": "constant", "updates": 12, "decisions": 2}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "")


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What the command prints as JSON."""
    capsys.readouterr()
    assert main(["score", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def sentence(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command says that fails."""
    capsys.readouterr()
    assert main(["score", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("rlagent: ").rstrip("\n")


def stored_of(path: str, **options: Any) -> Preprocessing:
    """The preprocessing of a task."""
    stored = load_task(path, **options).preprocessing
    assert stored is not None
    return stored


def table(rows: int, seed: int, labels: tuple[Any, Any] = ("no", "yes")) -> pd.DataFrame:
    """A number, a category and a class that both decide."""
    generator = np.random.default_rng(seed)
    size, colour = generator.normal(size=rows), generator.choice(["red", "blue"], rows)
    kind = np.where(size + (colour == "red") > 0.5, labels[1], labels[0])
    return pd.DataFrame({"size": size, "colour": colour, "kind": kind, "price": 3 * size + 20})


def write_tables(target: str) -> dict[str, Any]:
    for name, seed in (("train", 0), ("test", 1)):
        table(80, seed).drop(columns={"kind": "price", "price": "kind"}[target]).to_csv(
            f"{name}.csv", index=False
        )
    return {"x": "train.csv", "test": "test.csv", "target": target}


def write_reviews() -> dict[str, Any]:
    for name, seed in (("train", 0), ("test", 1)):
        generator = np.random.default_rng(seed)
        good = generator.integers(2, size=60)
        words = [["a dull film of {}", "a fine film of {}"][one] for one in good]
        text = [one.format(number) for number, one in enumerate(words)]
        pd.DataFrame({"text": text, "label": good}).to_json(
            f"{name}.jsonl", orient="records", lines=True
        )
    return {"x": "train.jsonl", "test": "test.jsonl", "target": "label"}


def write_arrays() -> dict[str, Any]:
    for name, seed in (("train", 0), ("test", 1)):
        x = np.random.default_rng(seed).normal(size=(60, 4)).astype(np.float32)
        np.savez(f"{name}.npz", x=x, y=(x[:, 0] > 0).astype(int))
    return {"x": "train.npz", "test": "test.npz"}


def write_npy() -> dict[str, Any]:
    for name, seed in (("train", 0), ("test", 1)):
        x = np.random.default_rng(seed).normal(size=(60, 4)).astype(np.float32)
        np.save(f"x_{name}.npy", x)
        np.save(f"y_{name}.npy", x[:, 0] * 5)
    return {"x": "x_train.npy", "score_by": "x_test.npy"}


def write_series() -> dict[str, Any]:
    for name, seed in (("TRAIN", 0), ("TEST", 1)):
        x = np.random.default_rng(seed).normal(size=(40, 6))
        lines = ["\t".join([str(1 + (row[0] > 0)), *map(str, row)]) for row in x]
        Path(f"Waves_{name}.tsv").write_text("\n".join(lines))
    return {"x": "Waves_TRAIN.tsv", "score_by": "Waves_TEST.tsv"}


def write_images() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    for part, count in (("train", 14), ("test", 9)):
        for label in ("dark", "light"):
            folder = Path("photos", part, label)
            folder.mkdir(parents=True)
            for number in range(count):
                values = generator.integers(0, 160 if label == "dark" else 255, (8, 10))
                Image.fromarray(values.astype(np.uint8)).save(folder / f"{number}.png")
    return {"x": "photos", "score_by": "photos/test"}


def write_sound() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    for part, count in (("a", 8), ("b", 5)):
        for label, scale in (("loud", 9000), ("soft", 900)):
            folder = Path(part, label)
            folder.mkdir(parents=True)
            for number in range(count):
                with wave.open(str(folder / f"{number}.wav"), "wb") as file:
                    file.setnchannels(1)
                    file.setsampwidth(2)
                    file.setframerate(8000)
                    samples = generator.normal(size=1600) * scale / 3
                    file.writeframes(samples.astype("<i2").tobytes())
    return {"x": "a", "test": "b"}


def write_text() -> dict[str, Any]:
    words = np.array(["a fox ", "the dog ", "sleeps. ", "runs! "])
    for name, seed in (("train", 0), ("test", 1)):
        text = "".join(np.random.default_rng(seed).choice(words, 400))
        Path(f"{name}.txt").write_text(text + "?" * (name == "test"))
    return {"x": "train.txt", "test": "test.txt"}


def write_masks() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 5)):
        for name in ("images", "masks"):
            Path("shapes", part, name).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros((12, 12), np.uint8)
            top, left = generator.integers(0, 7, 2)
            mask[top : top + 5, left : left + 5] = 2
            image = (generator.integers(0, 60, mask.shape) + 90 * mask).astype(np.uint8)
            Image.fromarray(mask).save(f"shapes/{part}/masks/{number}.png")
            Image.fromarray(image).save(f"shapes/{part}/images/{number}.png")
    return {"x": "shapes", "score_by": "shapes/test", "image_size": 8}


def boxed(generator: np.random.Generator) -> tuple[Image.Image, list[int]]:
    """An image of 24 x 20 pixels, and the x, y, width and height of a bright box in it."""
    image = generator.integers(0, 60, (20, 24)).astype(np.uint8)
    (x, y), (wide, high) = generator.integers(0, 10, 2), generator.integers(6, 10, 2)
    image[y : y + high, x : x + wide] += 150
    return Image.fromarray(image), [int(x), int(y), int(wide), int(high)]


def write_boxes() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 6)):
        for name in ("images", "labels"):
            Path("scenes", part, name).mkdir(parents=True)
        for number in range(count):
            image, (x, y, wide, high) = boxed(generator)
            image.save(f"scenes/{part}/images/{number}.png")
            shares = (x + wide / 2) / 24, (y + high / 2) / 20, wide / 24, high / 20
            label = f"scenes/{part}/labels/{number}.txt"
            Path(label).write_text("0 " + " ".join(map(str, shares)))
    return {"x": "scenes", "score_by": "scenes/test", "image_size": 16}


def write_coco(name: str = "car") -> dict[str, Any]:
    generator = np.random.default_rng(0)
    for part, count in (("train", 12), ("valid", 4), ("test", 6)):
        Path("cars", part).mkdir(parents=True, exist_ok=True)
        images, annotations = [], []
        for number in range(count):
            image, bbox = boxed(generator)
            image.save(f"cars/{part}/{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "width": 24, "height": 20})
            annotations.append({"id": number, "image_id": number, "category_id": 4, "bbox": bbox})
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 4, "name": name}],
        }
        Path(f"cars/{part}/_annotations.coco.json").write_text(json.dumps(content))
    return {"x": "cars", "score_by": "cars/test/_annotations.coco.json", "image_size": 16}


def write_ratings() -> dict[str, Any]:
    for name, seed in (("train", 0), ("test", 1)):
        generator = np.random.default_rng(seed)
        user, item = generator.integers(12, size=(2, 300))
        frame = pd.DataFrame({"who": user, "what": item, "stars": (user + item) / 4})
        frame.to_csv(f"{name}.csv", index=False)
    names = {"user": "who", "item": "what", "target": "stars"}
    return {"x": "train.csv", "test": "test.csv", **names, "score": "ndcg_10"}


FORMS: dict[str, Callable[[], dict[str, Any]]] = {
    "classes of a table": lambda: write_tables("kind"),
    "numbers of a table": lambda: write_tables("price"),
    "ratings": write_ratings,
    "texts": write_reviews,
    "arrays": write_arrays,
    "arrays of .npy": write_npy,
    "series": write_series,
    "images": write_images,
    "sound": write_sound,
    "characters": write_text,
    "masks": write_masks,
    "boxes": write_boxes,
    "boxes of COCO": write_coco,
}


# Runs of the others are judged by the same code: what differs is how their data is read.
RUNS = ("classes of a table", "numbers of a table", "images", "boxes", "characters")


@pytest.mark.parametrize("form", [form for form in FORMS if form not in RUNS])
def test_what_is_read_is_what_a_run_tests_on(form: str) -> None:
    options = FORMS[form]()
    source, file = options.pop("x"), options.pop("score_by", options.get("test"))
    options.pop("score", None)
    task = load_task(source, **options)
    assert task.test is not None
    assert task.preprocessing is not None
    for place in {file, source} if Path(source).is_dir() and "test" not in options else {file}:
        read = read_labelled(place, task.preprocessing, target=options.get("target"))
        np.testing.assert_array_equal(task.preprocessing.transform(read.x), task.test.x)
        encoded = task.preprocessing.encode_target(read.y, "test")
        np.testing.assert_array_equal(encoded, task.test.y)
        assert read.notes == ()


@pytest.mark.parametrize("form", RUNS)
def test_test_rows_get_the_score_that_the_summary_told(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = FORMS[form]()
    file = options.pop("score_by", options.get("test"))
    summary = rlagent.tune(**SMALL, **options, out="run").summary
    assert summary["test_score"] is not None
    found = told(capsys, "run", file)
    names = [name for name in summary if name.startswith("test_")] + ["score_name"]
    assert {name: found[name] for name in names} == {name: summary[name] for name in names}
    assert found["notes"] == []
    if (whole := Path(options["x"])).is_dir() and "test" not in options:  # it tells its parts
        assert told(capsys, "run", str(whole)) == found | {"data": str(whole)}


def test_a_folder_of_a_training_and_a_test_file(capsys: pytest.CaptureFixture[str]) -> None:
    write_tables("kind")
    Path("data").mkdir()
    for name in ("train.csv", "test.csv"):
        Path(name).rename(f"data/{name}")
    summary = rlagent.tune("data", target="kind", out="run", **SMALL).summary
    found = told(capsys, "run", "data")
    assert (found["test_score"], found["test_rows"]) == (summary["test_score"], 80)
    assert found["notes"] == []


def test_the_score_is_scikit_learn_s_of_the_written_predictions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rlagent.tune(**write_tables("kind"), out="run", **SMALL)
    assert main(["predict", "run", "test.csv", "--out", "said.parquet"]) == 0
    said, known = pd.read_parquet("said.parquet"), pd.read_csv("test.csv")["kind"]
    shares = said[["probability_no", "probability_yes"]]
    found = told(capsys, "run", "test.csv")
    assert found["score_name"] == "accuracy"
    assert found["test_score"] == accuracy_score(known, said["prediction"])
    assert 0.3 < found["test_score"] < 1.0
    assert found["test_loss"] == pytest.approx(log_loss(known, shares), rel=1e-6)
    other = told(capsys, "run", "test.csv", "--score", "log_loss")
    assert other["test_score"] == pytest.approx(log_loss(known, shares), rel=1e-6)


def test_scores_of_numbers_are_in_their_units(capsys: pytest.CaptureFixture[str]) -> None:
    rlagent.tune(**write_tables("price"), out="run", **SMALL)
    assert main(["predict", "run", "test.csv", "--out", "said.parquet"]) == 0
    said, known = pd.read_parquet("said.parquet")["prediction"], pd.read_csv("test.csv")["price"]
    found = told(capsys, "run", "test.csv")
    assert found["test_score"] == pytest.approx(r2_score(known, said), rel=1e-5)
    other = told(capsys, "run", "test.csv", "--score", "rmse")
    assert other["test_score"] == pytest.approx(root_mean_squared_error(known, said), rel=1e-5)


def test_a_forecast_is_judged_by_all_rows_with_a_window_before_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    generator = np.random.default_rng(0)
    days = pd.date_range("2020-01-01", periods=100)
    y = np.sin(np.arange(100) / 3) + generator.normal(size=100) / 9
    frame = pd.DataFrame({"day": days, "y": y, "x": generator.normal(size=100)})
    frame.to_csv("all.csv", index=False)
    series: dict[str, Any] = {"target": "y", "time": "day", "window": 4, "horizon": 3}
    summary = rlagent.tune("all.csv", **series, out="run", **SMALL).summary
    first = 100 - summary["test_rows"]
    frame[first - 3 - 3 :].sample(frac=1, random_state=0).to_csv("last.csv", index=False)
    found = told(capsys, "run", "last.csv")
    assert found["test_rows"] == summary["test_rows"]
    assert found["test_score"] == pytest.approx(summary["test_score"], rel=1e-6)
    # One forecast after the other, each by the rows that end before it.
    said = []
    for row in range(first, 100):
        frame[: row - 2].to_csv("past.csv", index=False)
        assert main(["predict", "run", "past.csv", "--out", "said.csv"]) == 0
        said.append(pd.read_csv("said.csv")["prediction"].iloc[-1])
        if row == first + 2:
            break
    frame[first - 3 - 3 : first + 3].to_csv("few.csv", index=False)
    few = told(capsys, "run", "few.csv", "--score", "mae")
    assert few["test_score"] == pytest.approx(np.abs(said - y[first : first + 3]).mean(), rel=1e-5)


def test_a_split_column_tells_which_rows_are_judged(capsys: pytest.CaptureFixture[str]) -> None:
    frame = table(120, 0).drop(columns="price")
    frame["use"] = ["train", "dev", "test", "train"] * 30
    frame.to_csv("all.csv", index=False)
    options: dict[str, Any] = {"target": "kind", "split_column": "use"}
    summary = rlagent.tune("all.csv", **options, out="run", **SMALL).summary
    found = told(capsys, "run", "all.csv")
    assert (found["test_score"], found["test_rows"]) == (summary["test_score"], 30)
    frame[frame["use"] != "test"].to_csv("some.csv", index=False)
    message = sentence(capsys, "run", "some.csv")
    assert message == "some.csv tells the parts train, valid, but has no test rows"
    frame.drop(columns="use").to_csv("none.csv", index=False)
    assert told(capsys, "run", "none.csv")["test_rows"] == 120


def test_labels_have_the_types_of_training() -> None:
    """Truth in memory is text in a .csv file, and numbers that are texts stay so."""
    frame = table(80, 0, labels=(False, True)).drop(columns="price")
    stored = Preprocessing.fit(frame.drop(columns="kind"), frame["kind"], "classification")
    frame.to_csv("truth.csv", index=False)
    frame.to_parquet("truth.parquet")
    for file in ("truth.csv", "truth.parquet"):
        read = read_labelled(file, stored, target="kind")
        np.testing.assert_array_equal(stored.encode_target(read.y), frame["kind"].astype(int))
    frame = table(80, 0, labels=("None", "7")).drop(columns="price")
    frame.loc[:9, "kind"] = "x"
    frame.to_csv("mixed.csv", index=False)
    stored = stored_of("mixed.csv", target="kind")
    assert stored.classes == ("7", "None", "x")
    read = read_labelled("mixed.csv", stored, target="kind")
    np.testing.assert_array_equal(read.y, frame["kind"])
    frame[frame["kind"] == "7"].to_csv("sevens.csv", index=False)
    assert set(read_labelled("sevens.csv", stored, target="kind").y) == {"7"}


def test_a_target_of_data_in_memory_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    frame = table(80, 0)
    x, y = frame[["size", "colour"]], frame["kind"]
    rlagent.tune(x, y, out="run", **SMALL)
    frame.to_csv("all.csv", index=False)
    message = sentence(capsys, "run", "all.csv")
    assert message == "name the target column of all.csv; it has: size, colour, kind, price"
    result = rlagent.load_run("run")
    found = told(capsys, "run", "all.csv", "--target", "kind")
    assert found["test_score"] == result.score(x, y)


def test_what_cannot_be_judged_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    rlagent.tune(**write_tables("kind"), out="run", **SMALL)
    known = pd.read_csv("test.csv")
    known.drop(columns="kind").to_csv("without.csv", index=False)
    assert sentence(capsys, "run", "without.csv") == (
        "without.csv has no column 'kind' for the target; it has: size, colour"
    )
    known.assign(kind=["maybe", *known["kind"][1:]]).to_csv("other.csv", index=False)
    assert sentence(capsys, "run", "other.csv") == (
        "other.csv: the test part has classes that the train part lacks: 'maybe'"
    )
    known.assign(kind=["", *known["kind"][1:]]).to_csv("empty.csv", index=False)
    assert "is empty in 1 of 80 rows, the first is row 1" in sentence(capsys, "run", "empty.csv")
    assert "there are: accuracy, " in sentence(capsys, "run", "test.csv", "--score", "r2")
    assert sentence(capsys, "run", "test.csv", "--skip-bad").startswith("skip_bad is for images")
    note = "the run has learned from train.csv: of new rows this says too much"
    assert told(capsys, "run", "train.csv")["notes"] == [note]
    assert main(["score", "run", "train.csv"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("accuracy 0.")
    assert first.endswith(" on 80 labelled rows")
    assert second == f"  {note}"


def test_folders_without_targets_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    write_images()
    rlagent.tune("photos", out="run", **SMALL)
    single = "photos/test/dark/0.png"
    assert sentence(capsys, "run", single) == (
        f"{single} is a single file, whose target nothing tells: give a folder"
    )
    assert sentence(capsys, "run", "photos/test/dark") == (
        "photos/test/dark holds no folders, one for each class"
    )
    Path("photos/test/dark").rename("photos/test/grey")
    assert sentence(capsys, "run", "photos/test") == (
        "photos/test: the test part has classes that the train part lacks: 'grey'"
    )
    Path("photos/test/grey").rename("photos/test/dark")
    Path(single).write_bytes(b"damaged")
    assert single in sentence(capsys, "run", "photos")
    found = told(capsys, "run", "photos", "--skip-bad")
    assert found["test_rows"] == 17
    assert found["notes"] == [f"1 of 18 files cannot be read and are left out: {single}"]


def test_boxes_of_other_names_are_refused() -> None:
    file = write_coco("bus")["score_by"]
    stored = stored_of("cars", image_size=16)
    assert read_labelled(file, stored).y.shape == (6, 1, 5)
    write_coco("car")
    with pytest.raises(ValueError, match=r"^cars/test/_.* calls the category 4 'car', the "):
        read_labelled(file, stored)


def test_series_of_several_lengths_have_their_labels() -> None:
    header = "@univariate true\n@classLabel true a b\n@data\n"
    Path("Waves_TRAIN.ts").write_text(header + "1,2,3,4:a\n5,6:b\n" * 10)
    Path("later.ts").write_text(header + "1:b\n1,2,3,4,5,6:a\n")
    stored = stored_of("Waves_TRAIN.ts")
    read = read_labelled("later.ts", stored)
    assert read.y.tolist() == ["b", "a"]
    # The mean of what was trained on, behind the end of the first; it is cut from the second.
    rows = stored.transform(read.x)
    np.testing.assert_allclose(rows, stored.transform([[[1], [3.5], [3.5], [3.5]], *read.x[1:]]))


def test_a_table_beside_images_tells_their_classes() -> None:
    generator = np.random.default_rng(0)
    for folder in ("photos", "later"):
        Path(folder, "files").mkdir(parents=True)
        rows = ["id,kind"]
        for number in range(12):
            values = generator.integers(0, 255, (8, 8)).astype(np.uint8)
            Image.fromarray(values).save(Path(folder, "files", f"{folder}_{number}.png"))
            rows.append(f"{folder}_{number},{'abc'[number % 3]}")
        Path(folder, "table.csv").write_text("\n".join(rows))
    stored = stored_of("photos", target="kind")
    read = read_labelled("later", stored, target="kind")
    assert {file.stem: label for file, label in zip(read.x, read.y, strict=True)} == {
        f"later_{number}": "abc"[number % 3] for number in range(12)
    }
    assert not read.tests


def test_what_users_take_cannot_be_judged_by_a_file() -> None:
    write_ratings()
    stored = stored_of("train.csv", user="who", item="what", kind="ranking")
    with pytest.raises(
        ValueError, match=r"^a ranking of .* not in test.csv alone, so it cannot be"
    ):
        read_labelled("test.csv", stored)
