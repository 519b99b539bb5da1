"""Files that predicted boxes are written to."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlagent.apply.boxes import class_names
from rlagent.storage import write_atomically
from rlagent_envs.tasks.box_folders import label_lines
from rlagent_envs.tasks.box_target import BoxTarget, padded
from rlagent_envs.tasks.class_names import TEXT
from rlagent_envs.tasks.coco import Id, read_coco, source_of
from rlagent_envs.tasks.files import read_features
from rlagent_envs.tasks.image_folders import readable_images
from rlagent_envs.tasks.image_input import ImageInput
from rlagent_envs.tasks.mask_folders import IMAGES
from rlagent_envs.tasks.pictures import size_of

if TYPE_CHECKING:
    from rlagent.apply.model import Predictor
    from rlagent_envs.tasks.preprocessing import Preprocessing

JSON = ".json"


def write_boxes(
    model: Predictor, target: BoxTarget, file: Path, out: Path | None, *, skip_bad: bool
) -> None:
    """Writes boxes for the images of a .npz file, a folder, or a .json file of COCO.

    Into a .npz file an array `prediction` `[rows, most, 6]`, in which rows of -1 stand for nothing;
    into a .json file what COCO's programs take for results, in pixels of the images as they came;
    into a folder .txt files as `read_labels` reads them, with the confidence behind.

    Args:
        model: that finds them.
        target: what its outputs mean.
        file: which images.
        out: where to.
        skip_bad: leave out images that cannot be read.

    Raises:
        ValueError: if there is no such form, or an image cannot be used.
    """
    stored = model.preprocessing
    assert stored is not None
    out = check_out("boxes", out, ".npz", JSON)
    images, ids = _images(file, stored, skip_bad=skip_bad)
    made = model.labels(model.values(model.raw(model.transform(images)))).tolist()
    paths = images if isinstance(images, list) else []
    names = {int(label): name for label, name in class_names(stored).items()}
    if out.suffix.lower() == JSON:
        records = _records(made, target, names, paths, ids)
        write_atomically(out, (json.dumps(records, ensure_ascii=False) + "\n").encode())
    elif out.suffix:
        named = {"class_number": list(names), "class_name": list(names.values())} if names else {}
        write_arrays_of(out, paths, prediction=padded(made, 6), **named)
    else:
        _write_labels(out, file_names(paths, len(made)), made, target, names)


def check_out(what: str, out: Path | None, *suffixes: str) -> Path:
    """Where to; ValueError if that is no folder, and no file of one of the suffixes."""
    forms = f"a {' or '.join(suffixes)} file or a folder"
    if out is None:
        raise ValueError(f"{what} go into a file: give --out, {forms}")
    if out.suffix.lower() not in ("", *suffixes) or (not out.suffix and out.is_file()):
        raise ValueError(f"{what} go into {forms}, got {out}")
    return out


def file_names(paths: Sequence[Path], rows: int) -> list[str]:
    """Those of the files of a folder, without ending; ValueError if two images have one name."""
    names = [path.stem for path in paths] or [f"{number:05d}" for number in range(rows)]
    if len(set(names)) < len(names):
        raise ValueError("two images have one name: give a .npz file")
    return names


def write_arrays_of(out: Path, paths: Sequence[Path], **arrays: Any) -> None:
    """A .npz file of arrays, with the names of images where they are files."""
    if paths:
        arrays["name"] = [path.name for path in paths]
    packed = io.BytesIO()
    made = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(packed, allow_pickle=False, **made)
    write_atomically(out, packed.getvalue())


def _images(file: Path, stored: Preprocessing, *, skip_bad: bool) -> tuple[Any, dict[Path, Id]]:
    """Images as `transform` takes them, and the ids that COCO knows them by."""
    if file.suffix.lower() == JSON and isinstance(stored.inputs, ImageInput):
        source = source_of(file)
        ids = {source.path_of(one): one.id for one in read_coco(file).images}
        return readable_images(list(ids)) if skip_bad else list(ids), ids
    inside = file / IMAGES
    return read_features(inside if inside.is_dir() else file, stored, skip_bad=skip_bad), {}


def _records(
    made: Sequence[np.ndarray],
    target: BoxTarget,
    names: dict[int, str],
    paths: Sequence[Path],
    ids: dict[Path, Id],
) -> list[dict[str, Any]]:
    """COCO's results: an object for each box, which says in which image it is."""
    records = []
    for row, boxes in enumerate(made):
        height, width = size_of(paths[row]) if paths else target.shape
        image: dict[str, Any] = {} if paths else {"image_id": row}
        if paths:
            known = {"image_id": ids[paths[row]]} if paths[row] in ids else {}
            image = known | {"file_name": paths[row].name}
        scale = np.array([width, height] * 2) / np.array(target.shape[::-1] * 2)
        for label, *edges, score in boxes.tolist():
            x0, y0, x1, y1 = (np.array(edges) * scale).tolist()
            name = {"category": names[int(label)]} if names else {}
            bbox = [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)]
            records.append(
                image
                | {"category_id": int(label)}
                | name
                | {"bbox": bbox, "score": round(score, 6)}
            )
    return records


def _write_labels(
    out: Path,
    stems: Sequence[str],
    made: Sequence[np.ndarray],
    target: BoxTarget,
    names: dict[int, str],
) -> None:
    """A .txt file for each image, and the names of the classes in the line of their number."""
    out.mkdir(parents=True, exist_ok=True)
    height, width = target.shape
    for stem, found in zip(stems, made, strict=True):
        write_atomically(out / f"{stem}.txt", label_lines(found, (height, width)).encode())
    if names:
        lines = [f"{names.get(number, number)}\n" for number in range(max(names) + 1)]
        write_atomically(out / TEXT, "".join(lines).encode())
