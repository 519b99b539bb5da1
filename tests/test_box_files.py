"""Boxes in people's own files: COCO's and YOLO's forms, names of classes, kinds, predictions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import rlagent
from rlagent.cli import main
from rlagent_envs.tasks import Preprocessing, from_arrays, load_task
from rlagent_envs.tasks.box_target import BoxTarget
from rlagent_envs.tasks.task import Task

SIDE = 16
SMALL = ["--rung", "8x1", "--method", "constant", "--decisions", "1"]
UNREADABLE = "holds no annotations as COCO has them"
NAMES = {3: "bright", 7: "dark", 40: "never there"}
Coco = dict[str, Any]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "")


def squares(rows: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A bright box of class 3 and a dark one of class 7, one above the other; first is nothing."""
    generator = np.random.default_rng(seed)
    x = np.full((rows, SIDE, SIDE), 128, np.uint8)
    boxes = np.full((rows, 2, 5), -1.0)
    for row in range(1, rows):
        for place, (label, light) in enumerate(((3, 240), (7, 10))):
            high, wide = generator.integers(3, 7, 2)
            top = place * 8 + generator.integers(0, 8 - high + 1)
            left = generator.integers(0, SIDE - wide + 1)
            x[row, top : top + high, left : left + wide] = light
            boxes[row, place] = label, left, top, left + wide, top + high
    return x, boxes


def write_coco(file: str, images: str, rows: int = 30, seed: int = 0, larger: bool = False) -> Coco:
    """The squares as COCO has them, or twice as high and thrice as wide; ids do not go in order."""
    x, boxes = squares(rows, seed)
    down, right = (2, 3) if larger else (1, 1)
    made: Coco = {"info": {"year": 2024}, "images": [], "annotations": []}
    made["categories"] = [{"id": id_, "name": name} for id_, name in NAMES.items()]
    Path(images).mkdir(parents=True, exist_ok=True)
    for row, (image, objects) in enumerate(zip(x, boxes, strict=True)):
        name, number = f"{row:03d}.png", 900 - 7 * row
        Image.fromarray(image.repeat(down, 0).repeat(right, 1)).save(Path(images, name))
        size = {"width": SIDE * right, "height": SIDE * down}
        made["images"].append({"id": number, "file_name": name, "license": 1} | size)
        for label, x0, y0, x1, y1 in (objects[objects[:, 0] >= 0] * 1.0).tolist():
            bbox = [right * x0, down * y0, right * (x1 - x0), down * (y1 - y0)]
            one = {"id": 1, "image_id": number, "category_id": int(label), "bbox": bbox}
            made["annotations"].append(one | {"iscrowd": 0, "area": 1.0, "segmentation": []})
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(json.dumps(made))
    return made


def write_yolo(images: str, labels: str, rows: int = 30, seed: int = 0) -> None:
    x, boxes = squares(rows, seed)
    for folder in (images, labels):
        Path(folder).mkdir(parents=True, exist_ok=True)
    for row, (image, objects) in enumerate(zip(x, boxes, strict=True)):
        Image.fromarray(image).save(Path(images, f"{row:03d}.png"))
        lines = [
            f"{label:g} {(x0 + x1) / 32} {(y0 + y1) / 32} {(x1 - x0) / 16} {(y1 - y0) / 16}\n"
            for label, x0, y0, x1, y1 in objects[objects[:, 0] >= 0]
        ]
        Path(labels, f"{row:03d}.txt").write_text("".join(lines))


def target_of(task: Task) -> BoxTarget:
    assert task.preprocessing is not None
    assert isinstance(task.preprocessing.target, BoxTarget)
    return task.preprocessing.target


def same(task: Task, other: Task) -> None:
    for part in ("train", "valid", "test"):
        if (own := getattr(task, part)) is None:
            assert getattr(other, part) is None
            continue
        for a, b in zip(own, getattr(other, part), strict=True):
            np.testing.assert_array_equal(a, b)


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence in which a command is refused; nothing is left behind."""
    before = sorted(Path().rglob("*"))
    assert main([*words.split(), "--out", "left"]) == 2
    assert sorted(Path().rglob("*")) == before
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err.removeprefix("rlagent: ").rstrip("\n")


# --- COCO


@pytest.mark.parametrize(
    ("file", "images"),
    [
        ("scenes/annotations/instances_train2017.json", "scenes/train2017"),
        ("scenes/annotations/instances_default.json", "scenes/images"),
        ("scenes/annotations/instances_train.json", "scenes/images/train"),
        ("scenes/instances.json", "scenes"),
        ("scenes/_annotations.coco.json", "scenes"),
    ],
)
def test_annotations_of_coco_are_a_task(file: str, images: str) -> None:
    write_coco(file, images)
    task = load_task("scenes")
    same(task, from_arrays(*squares()))
    assert (task.name, task.notes) == ("scenes", ())
    target = target_of(task)
    assert (target.classes, target.names) == ((3, 7), ("bright", "dark"))
    stored = task.preprocessing
    assert stored is not None
    assert Preprocessing.from_json(json.loads(json.dumps(stored.to_json()))) == stored


@pytest.mark.parametrize(
    "file_of", ["annotations/instances_{}2017.json", "{}2017/_annotations.coco.json"]
)
def test_parts_are_those_that_names_tell(file_of: str) -> None:
    robo = "_anno" in file_of
    for part, rows in (("train", 20), ("val", 6), ("test", 5)):
        part = part if robo else f"{part}2017"
        file = f"scenes/{part}/_annotations.coco.json" if robo else (
            f"scenes/annotations/instances_{part}.json"
        )  # fmt: skip
        write_coco(file, f"scenes/{part}", rows, seed=rows)
    task = load_task("scenes")
    parts = {rows: squares(rows, seed=rows) for rows in (20, 6, 5)}
    given: dict[str, Any] = dict(
        zip(("x_valid", "y_valid", "x_test", "y_test"), (*parts[6], *parts[5]), strict=True)
    )
    same(task, from_arrays(*parts[20], **given))
    write_coco("more/_annotations.coco.json", "more", 9)
    write_coco("alone/_annotations.coco.json", "alone", 20)
    assert len(load_task("alone", valid="more").valid.x) == 9


@pytest.mark.parametrize(
    ("file_of", "images_of"),
    [
        ("annotations/{}.json", "{}"),
        ("annotations/{}.json", "images/{}"),
        ("annotations/boats_{}.json", "images/{}"),
        ("annotations/{}_annotations.json", "{}/images"),
        ("annotations/instances_{}.json", "{}/images"),
        ("annotations/instances_{}.json", "{}2017"),
        ("{}.json", "{}"),
        ("{}/annotations.json", "{}/images"),
        ("{}/labels.json", "{}/data"),
        ("{}/_annotations.coco.json", "{}"),
    ],
)
def test_parts_of_coco_are_told_by_files_or_folders(file_of: str, images_of: str) -> None:
    """Images are called the same in each part, so that those of another would be seen."""
    for part, rows in (("Train", 20), ("Valid", 6), ("Test", 5)):
        write_coco(f"scenes/{file_of.format(part)}", f"scenes/{images_of.format(part)}", rows, rows)
    Path("scenes/notes.json").write_text('{"images": [], "annotations": []}')  # of nothing
    (x, y), (x_valid, y_valid), (x_test, y_test) = (squares(rows, rows) for rows in (20, 6, 5))
    given: dict[str, Any] = {"x_test": x_test, "y_test": y_test}
    same(load_task("scenes"), from_arrays(x, y, x_valid=x_valid, y_valid=y_valid, **given))


@pytest.mark.parametrize(
    ("file", "images"),
    [
        ("result.json", "images"),
        ("labels.json", "data"),
        ("annotations/annotations.json", "images"),
        ("boats.json", "."),
    ],
)
def test_a_single_file_of_annotations_may_have_any_name(file: str, images: str) -> None:
    write_coco(f"scenes/{file}", f"scenes/{images}")
    same(load_task("scenes"), from_arrays(*squares()))


def test_several_files_of_annotations_have_to_tell_their_parts() -> None:
    write_coco("scenes/annotations/one.json", "scenes/images", 6)
    write_coco("scenes/annotations/two.json", "scenes/images", 6)
    with pytest.raises(ValueError, match=r"^scenes/annotations/one.json does not tell its part: "):
        load_task("scenes")
    write_coco("more/train/one.json", "more/train", 6)
    write_coco("more/train/two.json", "more/train", 6)
    with pytest.raises(ValueError, match=r"^more/train has several files of .*: one.json, two.js"):
        load_task("more")


def test_boxes_follow_the_size_of_images() -> None:
    """Stretched on disk and brought back, they are what they were."""
    write_coco("large/instances.json", "large", larger=True)
    x, boxes = squares()
    task = load_task("large", image_size=SIDE)
    np.testing.assert_array_equal(task.train.y, from_arrays(x, boxes).train.y)


def test_crowds_are_left_out_and_boxes_cut_at_the_edges() -> None:
    made = write_coco("scenes/instances.json", "scenes")
    _, boxes = squares()
    one = made["annotations"][0]  # of image 1
    for bbox, crowd in (
        ([0, 0, 4, 4], 1),
        ([-3, 12, 6, 9.5], 0),  # reaches out to the left and below
        ([20, 2, 4, 4], 0),  # is outside
        ([2, 2, -2, -2], 0),
        ([12, 4, 4.25, 4], 0),  # by less than a pixel
    ):
        made["annotations"].append(one | {"bbox": bbox, "iscrowd": crowd})
    Path("scenes/instances.json").write_text(json.dumps(made))
    expected = [one[one[:, 0] >= 0] for one in boxes]
    expected[1] = np.array([*expected[1], [3, 0, 12, 3, 16], [3, 12, 4, 16, 8]])
    x, _ = squares()
    task, plain = load_task("scenes"), from_arrays(x, expected)
    same(task, plain)
    assert task.notes == (
        *plain.notes,
        "1 boxes of scenes/instances.json are of crowds and are left out",
        "2 boxes of scenes/instances.json have no area in their images and are left out",
        "1 boxes of scenes/instances.json reach beyond their images and are cut there",
    )


def test_images_that_are_missing_or_damaged_are_left_out_if_asked() -> None:
    write_coco("scenes/instances.json", "scenes")
    Path("scenes/004.png").unlink()
    Path("scenes/005.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"^the annotations name the image scenes/004.png, which "):
        load_task("scenes")
    task = load_task("scenes", skip_bad=True)
    rows = [len(split.x) for split in (task.train, task.valid, task.test) if split is not None]
    assert sum(rows) == 28
    assert task.notes == (
        "2 of 30 files cannot be read and are left out: scenes/004.png, scenes/005.png",
    )


def first(what: str, **change: Any) -> Callable[[Coco], Any]:
    return lambda made: made[what][0].update(change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (first("images", file_name="../x.png"), "has the file_name '../x.png', which leads out of"),
        (first("images", file_name="/x.png"), "has the file_name '/x.png', which leads out of"),
        (first("images", id=893), "has two images of the id 893"),
        (first("categories", id=7), "has two categories of the id 7"),
        (first("annotations", image_id=5), "has no image 5, of its annotation 0"),
        (first("annotations", category_id=8), "has no category 8, of its annotation 0"),
        (first("annotations", category_id=-1), f"{UNREADABLE}: annotations.0.category_id: Input"),
        (
            first("annotations", bbox=[1, 2, 3]),
            f"{UNREADABLE}: annotations.0.bbox.3: Field required",
        ),
        (
            first("annotations", bbox=[1, 2, 3, np.nan]),
            f"{UNREADABLE}: annotations.0.bbox.3: Input",
        ),
        (lambda made: made["images"].clear(), f"{UNREADABLE}: images: List"),
        (lambda made: made.pop("images"), f"{UNREADABLE}: images: Field"),
        (lambda made: made["annotations"].clear(), "tells no object, so there is nothing to find"),
    ],
)
def test_annotations_that_cannot_be_used_are_named(
    change: Callable[[Coco], Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = write_coco("scenes/instances.json", "scenes", 6)
    change(made)
    Path("scenes/instances.json").write_text(json.dumps(made))
    assert refused("tune scenes", capsys).startswith(f"scenes/instances.json {message}")


def test_folders_of_annotations_that_cannot_be_used_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = write_coco("a/annotations/instances_train.json", "a/train", 6)
    Path("a/annotations/instances_mine.json").write_text("{}")
    said = refused("tune a", capsys)
    assert said.startswith("a/annotations/instances_mine.json does not tell its part: of several ")
    Path("a/annotations/instances_mine.json").rename("a/annotations/instances_train2017.json")
    assert refused("tune a", capsys) == "a has two files of annotations for the train part"
    Path("a/annotations/instances_train2017.json").write_text("[" * 100_000)
    Path("a/annotations/instances_train.json").unlink()
    assert "has them: Invalid JSON: recursion limit" in refused("tune a", capsys)
    Path("a/annotations/instances_train2017.json").rename("a/annotations/instances_val.json")
    made["categories"][0]["name"] = "other"
    Path("a/annotations/instances_train.json").write_text(json.dumps(made))
    write_coco("a/annotations/instances_val.json", "a/val", 6)
    said = "a/annotations/instances_val.json calls the category 3 'bright', another file 'other'"
    assert refused("tune a", capsys) == said
    made["images"][2] |= {"height": 20}
    Path("a/annotations/instances_train.json").write_text(json.dumps(made))
    Path("a/annotations/instances_val.json").unlink()
    assert refused("tune a", capsys) == (
        "a/train/002.png has 16 x 16 pixels, but its annotations are for 20 x 16; leave such files "
        "out by --skip-bad"
    )


# --- YOLO


def test_folders_of_parts_may_be_inside() -> None:
    for part, rows in (("train2017", 20), ("val2017", 6)):
        write_yolo(f"scenes/images/{part}", f"scenes/labels/{part}", rows, seed=rows)
    Path("scenes/images/test2017").mkdir()  # without labels it is no part
    x_valid, y_valid = squares(6, seed=6)
    given: dict[str, Any] = {"x_valid": x_valid, "y_valid": y_valid}
    same(load_task("scenes"), from_arrays(*squares(20, seed=20), **given))
    write_yolo("scenes/images/train", "scenes/labels/train", 3)
    with pytest.raises(ValueError, match=r"^scenes/labels has two folders for the train part"):
        load_task("scenes")


def test_labels_may_be_beside_their_images() -> None:
    for part, rows in (("train", 20), ("valid", 6), ("test", 5)):
        write_yolo(f"scenes/{part}", f"scenes/{part}", rows, seed=rows)
    (x, y), (x_valid, y_valid), (x_test, y_test) = (squares(rows, rows) for rows in (20, 6, 5))
    given: dict[str, Any] = {"x_test": x_test, "y_test": y_test}
    same(load_task("scenes"), from_arrays(x, y, x_valid=x_valid, y_valid=y_valid, **given))
    write_yolo("flat", "flat")
    Path("flat/classes.txt").write_text("\n\n\nbright\n\n\n\ndark\n")
    task = load_task("flat")
    same(task, from_arrays(*squares()))
    assert target_of(task).names == ("bright", "dark")
    for one in Path("flat").glob("*.txt"):
        one.write_text("a caption of the image\n")
    with pytest.raises(ValueError, match=r"^flat holds no folders, one for each class$"):
        load_task("flat")


def test_bad_files_of_a_folder_with_labels_are_left_out_if_asked() -> None:
    write_yolo("scenes/images", "scenes/labels")
    assert load_task("scenes", skip_bad=True).notes == load_task("scenes").notes
    Path("scenes/labels/003.txt").write_text("0 0.5 0.5 0.1\n")
    Path("scenes/images/005.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"^scenes/images/005.png is not .* out by --skip-bad$"):
        load_task("scenes")
    Path("scenes/images/005.png").unlink()
    Path("scenes/labels/005.txt").unlink()
    with pytest.raises(ValueError, match=r"^line 1 of scenes/labels/003.txt .* by --skip-bad$"):
        load_task("scenes")
    task = load_task("scenes", skip_bad=True)
    assert task.notes[0] == ("1 of 29 files cannot be read and are left out: scenes/images/003.png")
    assert sum(len(one.x) for one in (task.train, task.valid, task.test) if one is not None) == 28


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("data.yaml", "nc: 8\nnames: [a, b, c, no, d, e, f, 'g h']\n", ("no", "g h")),
        ("data.yml", "path: ..\nnames:\n  3: bright\n  7: 12\n", ("bright", "12")),
        ("dataset.yaml", 'names: {"3": &x yes, "7": *x}\n', ("yes", "yes")),
        ("classes.txt", "\n\n\nbright\n\n\n\ndark\n\n", ("bright", "dark")),
        ("labels/classes.txt", "a\nb\nc\nd\ne\nf\ng\nh\r\n", ("d", "h")),
        ("data.yaml", "train: images\n", ()),
    ],
)
def test_classes_have_the_names_of_the_files_beside(
    file: str, text: str, names: tuple[str, ...]
) -> None:
    write_yolo("scenes/images", "scenes/labels")
    Path("scenes", file).write_text(text)
    target = target_of(load_task("scenes"))
    assert (target.classes, target.names) == ((3, 7), names)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("data.yaml", "names: [a", "scenes/data.yaml is not a readable YAML file"),
        ("data.yaml", "[" * 5000, "scenes/data.yaml is not a readable YAML file"),
        ("data.yaml", "names: [a, [b]]", "names of scenes/data.yaml must be a list of names, or a"),
        ("data.yaml", "names: {x: a}", "names of scenes/data.yaml must be a list of names, or a"),
        ("data.yaml", "names: a", "names of scenes/data.yaml must be a list of names, or a name"),
        ("data.yaml", "names: []", "names of scenes/data.yaml must be a list of names, or a name"),
        ("data.yaml", "names: [a, b, c, d]", "scenes/labels has objects of the class 7, but "),
    ],
)
def test_names_that_cannot_be_used_are_named(
    file: str, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_yolo("scenes/images", "scenes/labels", 6)
    Path("scenes", file).write_text(text)
    assert refused("tune scenes", capsys).startswith(message)


def test_reading_names_runs_no_code() -> None:
    write_yolo("scenes/images", "scenes/labels")
    mischief = '!!python/object/apply:os.mkdir ["made"]'
    Path("scenes/data.yaml").write_text(f"names: [a, b, c, d, e, f, g, {mischief}]\n")
    with pytest.raises(ValueError, match=r"^names of scenes/data.yaml must be a list of names"):
        load_task("scenes")
    assert not Path("made").exists()


# --- kinds


def test_the_kind_says_what_a_folder_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    """One has images, labels, masks and annotations of COCO, one a class that is called masks."""
    write_yolo("both/images", "both/labels")
    Path("both/masks").mkdir()
    for path in Path("both/images").iterdir():
        number = int(path.stem) % 2
        Image.fromarray(np.full((SIDE, SIDE), number, np.uint8)).save(Path("both/masks", path.name))
    for kind, family in ((None, "segmentation"), ("segmentation",) * 2, ("detection",) * 2):
        assert load_task("both", kind=kind).family == family
    for name in ("masks", "no masks"):
        Path("worn", name).mkdir(parents=True)
        for path in Path("both/images").iterdir():
            (Path("worn", name) / path.name).write_bytes(path.read_bytes())
    assert target_of_classes(load_task("worn", kind="classification")) == ("masks", "no masks")
    for command, message in (
        ("worn --kind detection", "kind is detection, but worn holds no boxes: it needs the"),
        ("worn/masks --kind segmentation", "kind is segmentation, but worn/masks holds no masks"),
        ("worn --kind regression", "kind is regression, but worn is a folder; there are for it: "),
        ("worn --kind boxes", "kind must be classification, regression, segmentation or detection"),
    ):
        assert refused(f"tune {command}", capsys).startswith(message)


def target_of_classes(task: Task) -> tuple[Any, ...] | None:
    assert task.preprocessing is not None
    return task.preprocessing.classes


def test_the_kind_says_what_arrays_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Images of 8 x 5 pixels, with numbers that could be a mask as well as 8 boxes."""
    x = np.random.default_rng(0).integers(0, 255, (20, 8, 5)).astype(np.uint8)
    y = np.full((20, 8, 5), -1)
    y[:, :2] = [[0, 0, 0, 2, 3], [1, 2, 4, 5, 7]]
    for kind, family in ((None, "segmentation"), ("segmentation",) * 2, ("detection",) * 2):
        np.savez("both.npz", x=x, y=y)
        assert load_task("both.npz", kind=kind).family == family
    assert from_arrays(x, y.tolist(), kind="detection").family == "detection"
    np.savez("flat.npz", x=x, y=np.arange(20) % 2)
    Path("t.csv").write_text("a,b\n" + "1,0\n2,1\n" * 10)
    for command, message in (
        (
            "both.npz --kind classification",
            "kind is classification, but y has masks, which are for segmentation",
        ),
        ("flat.npz --kind detection", "kind is detection, but y has one value for each row"),
        ("flat.npz --kind segmentation", "kind is segmentation, but y has one value for each row"),
        (
            "t.csv --target b --kind detection",
            "kind is detection, but y has one value for each row",
        ),
        (
            "t.csv --target b --time a --kind detection",
            "a forecast is a regression, so t cannot be for detection",
        ),
    ):
        assert refused(f"tune {command}", capsys) == message
    with pytest.raises(ValueError, match=r"^y must be boxes \[rows, most, 5\], got shape \(20, 4"):
        from_arrays(x, y[:, :4, :4], kind="detection")


# --- runs


def test_predictions_name_classes_and_images(capsys: pytest.CaptureFixture[str]) -> None:
    """The images are larger than the network sees them, by another factor each way."""
    write_coco("scenes/annotations/instances_train.json", "scenes/train", larger=True)
    new = write_coco("scenes/annotations/instances_new.json", "scenes/new", 6, larger=True, seed=1)
    Path("scenes/annotations/instances_new.json").rename("scenes/instances_new.json")
    options = ["--image-size", "16", "--updates", "60", "--learning-rate", "0.01"]
    assert main(["tune", "scenes", *SMALL, *options, "--out", "run"]) == 0
    told = capsys.readouterr()
    assert "scenes: detection, 18 rows to train" in told.err
    assert " objects, 2 classes, the largest bright 50 %, the smallest dark 50 %" in told.err
    assert "rlagent predict run FOLDER --out boxes.json" in told.out
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["class_names"] == {"3": "bright", "7": "dark"}

    assert main(["predict", "run", "scenes/instances_new.json", "--out", "boxes.json"]) == 0
    paths = sorted(Path("scenes/new").iterdir())
    found = rlagent.load_run("run").predict(paths)
    expected = [
        {
            "image_id": new["images"][row]["id"],
            "file_name": path.name,
            "category_id": int(label),
            "category": NAMES[int(label)],
            "bbox": pytest.approx([3 * x0, 2 * y0, 3 * (x1 - x0), 2 * (y1 - y0)], abs=0.01),
            "score": pytest.approx(score, abs=1e-6),
        }
        for row, path in enumerate(paths)
        for label, x0, y0, x1, y1, score in found[row]
    ]
    assert expected
    assert json.loads(Path("boxes.json").read_text()) == expected

    assert main(["predict", "run", "scenes/new", "--out", "same.json"]) == 0
    of_folder = json.loads(Path("same.json").read_text())
    for one in expected:
        one.pop("image_id")
    assert of_folder == expected
    assert main(["predict", "run", "scenes/new", "--out", "boxes.npz"]) == 0
    with np.load("boxes.npz") as made:
        assert made["class_number"].tolist() == [3, 7]
        assert made["class_name"].tolist() == ["bright", "dark"]
    assert main(["predict", "run", "scenes/new", "--out", "labels"]) == 0
    lines = Path("labels/classes.txt").read_text().splitlines()
    assert (lines[3], lines[7], lines[0], len(lines)) == ("bright", "dark", "0", 8)
    assert len(list(Path("labels").iterdir())) == 7

    Path("scenes/new/002.png").unlink()
    capsys.readouterr()
    for file, message in (
        ("scenes/instances_new.json", "scenes/new/002.png is not a readable image"),
        ("none.json", "there is no file none.json"),
    ):
        assert main(["predict", "run", file, "--out", "left.json"]) == 2
        assert capsys.readouterr().err.startswith(f"rlagent: {message}")
    assert not Path("left.json").exists()
    again = ["predict", "run", "scenes/instances_new.json", "--skip-bad", "--out", "some.json"]
    assert main(again) == 0
    some = json.loads(Path("some.json").read_text())
    assert {one["file_name"] for one in some} <= {path.name for path in paths} - {"002.png"}


def test_boxes_are_cross_validated(capsys: pytest.CaptureFixture[str]) -> None:
    x, boxes = squares(40)
    task = from_arrays(x, boxes)
    result = rlagent.tune(
        task, method="constant", rung="8x1", updates=8, decisions=1, folds=2, out="run"
    )
    told = result.summary["cross_validation"]
    assert (told["folds"], told["rows"]) == (2, [16, 16])
    assert result.summary["score_name"] == "map_50"
    assert result.summary["valid_score"] == pytest.approx(np.mean(told["valid_score"]["values"]))
    assert len(result.predict(x)) == 40
