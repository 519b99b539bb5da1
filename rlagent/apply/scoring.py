"""How good the model of a run is on a file or a folder that holds the targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlagent.apply import run_folder
from rlagent.apply.result import load_run
from rlagent.apply.scores import judge_split, told_too
from rlagent_envs.tasks.box_target import BoxTarget, read_boxes
from rlagent_envs.tasks.labelled import read_labelled
from rlagent_envs.tasks.task import Split


def score_file(
    folder: Path,
    path: Path,
    *,
    target: str | None = None,
    name: str | None = None,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """Loss and scores on data that the run has not seen, as its summary has those of test rows.

    Args:
        folder: of a run.
        path: a file or folder of the form of the data that it was trained on, with targets.
        target: the column of the targets in a table; that of the run where None. Of a .npy file
            the file of them; the one beside it where None.
        name: of the score; that of the run where None.
        skip_bad: leave out files of a folder that cannot be read.

    Returns:
        `test_loss`, `test_score`, `score_name` and `test_rows`, where an example has many classes
        also `test_accuracy`; and `notes`, sentences on what was read. None for what is not finite.

    Raises:
        ValueError: if there is no such run or score, or the data does not suit it, lacks the
            targets, or has classes that training did not have.
    """
    result = load_run(folder)
    model, stored = result.model, result.model.preprocessing
    if stored is None:
        raise ValueError(f"the run {folder} has no preprocessing, so it cannot read files")
    chosen = result.score_named(name)
    asked = run_folder.read_run(folder)["request"]
    of_arrays = str(asked["source"]).endswith(".npy")  # whose target is a file beside it
    column = None if of_arrays else asked["target"]
    rows = read_labelled(
        path,
        stored,
        target=target or column,
        split_column=asked["split_column"],
        skip_bad=skip_bad,
    )
    x = model.transform(rows.x)
    try:
        y = stored.encode_target(rows.y, "test")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if len(x) != len(y):
        raise ValueError(f"{path} has {len(x)} rows but {len(y)} targets")
    boxes = read_boxes(rows.y) if isinstance(stored.target, BoxTarget) else None
    also = told_too(chosen, model)
    split = Split(x, y)
    loss, score, *more = judge_split(model, split, boxes, model.raw(x), chosen, *also)
    notes = list(rows.notes)
    if not rows.tests and str(path.resolve()) == asked["source"]:
        notes.append(f"the run has learned from {path}: of new rows this says too much")
    return {
        "run_dir": str(folder),
        "data": str(path),
        "test_rows": len(x),
        "test_loss": loss,
        "test_score": score,
        "score_name": chosen,
        **{f"test_{one}": value for one, value in zip(also, more, strict=True)},
        "notes": notes,
    }
