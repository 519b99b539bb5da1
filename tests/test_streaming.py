"""Data beyond memory: streamed rows train the same as resident ones, bit for bit."""

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rlagent
from rlagent.apply import calibration
from rlagent.apply.request import Request, make_plan
from rlagent.apply.source import fingerprint, load_source
from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.episode import Start
from rlagent_envs.models import Rung
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks import from_arrays
from rlagent_envs.tasks.splits import with_fewer
from rlagent_envs.tasks.streamed import OnDisk
from rlagent_envs.tasks.task import Task
from rlagent_envs.training import feed
from rlagent_envs.training.bank import make_bank
from rlagent_envs.training.feed import Feed, Span, batch_rows, data_of
from rlagent_envs.training.loop import batch as batch_of

ROWS, FEATURES = 300, 6


@pytest.fixture
def files(tmp_path: Path) -> tuple[np.memmap, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 255, (ROWS, FEATURES), dtype=np.uint8)
    y = (x[:, 0].astype(int) + x[:, 1] > 255).astype(np.int64)
    np.save(tmp_path / "x.npy", x)
    return np.load(tmp_path / "x.npy", mmap_mode="r"), y


def both(files: tuple[np.memmap, np.ndarray]) -> tuple[Task, Task]:
    x, y = files
    return from_arrays(np.array(x), y), from_arrays(x, y, streamed=True)


def test_the_rows_are_those_of_data_in_memory(files: tuple[np.memmap, np.ndarray]) -> None:
    resident, streamed = both(files)
    assert streamed.streamed is not None
    numbers = np.array([5, 3, 5, 0, 100])
    np.testing.assert_array_equal(streamed.streamed.take(numbers), resident.train.x[numbers])
    for part in ("valid", "test"):
        for one, other in zip(getattr(streamed, part), getattr(resident, part), strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(streamed.train.y, resident.train.y)


def test_a_reader_draws_the_rows_that_the_program_draws(
    files: tuple[np.memmap, np.ndarray],
) -> None:
    resident, _ = both(files)
    bank = make_bank(resident, padded=False)
    start = Start(0, DEFAULT, Rung(1, 32), budget=16.0, decisions=1)
    shape = episodes.begin(resident, bank, start, ()).shape
    key = np.array([7, 4_000_000_000], np.uint32)
    size, total = resident.batch_size, len(resident.train.x)
    rows = batch_rows(key, Span(5, 3), size, total).reshape(3, size)
    for number in range(3):
        drawn = batch_of(shape, bank, jnp.int32(0), jnp.asarray(key), jnp.uint32(5 + number))
        np.testing.assert_array_equal(drawn[0], resident.train.x[rows[number]])
        np.testing.assert_array_equal(drawn[1], resident.train.y[rows[number]])


@pytest.mark.slow  # bits of programs as users have them; see conftest.py
def test_streamed_slices_equal_resident_ones_bit_for_bit(
    files: tuple[np.memmap, np.ndarray],
) -> None:
    ended = []
    for task in both(files):
        data = data_of(task)
        bank = data.rest if isinstance(data, Feed) else data
        start = Start(3, DEFAULT, Rung(1, 32), budget=60.0, decisions=4)
        episode = episodes.begin(task, bank, start, ("learning_rate", "growth"))
        for decision in range(3):
            action = np.array(knobs.HOLD)
            if decision == 1:  # another rung has slices of another length
                action[knobs.GROWTH] = knobs.WIDER
            (stepped,) = batch.step([data], [episode], action[None], "sequential")
            episode = stepped.episode
        ended.append((episode.run, stepped.report))
    for one, other in zip(*map(jax.tree.leaves, ended), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_was_read_ahead_for_another_run_is_not_used(
    files: tuple[np.memmap, np.ndarray],
) -> None:
    _, task = both(files)
    reader = Feed(task)
    keys = np.array([[1, 2], [3, 4]], np.uint32)
    reader.bank(keys[0], Span(0, 4))
    for key, first, updates in (
        (1, 4, 4),
        (1, 8, 3),
        (1, 11, 5),
        (1, 16, 9),
        (1, 9, 5),
        (0, 14, 5),
    ):
        key, span = keys[key], Span(first, updates)
        fresh = Feed(task)
        np.testing.assert_array_equal(reader.bank(key, span).train_x, fresh.bank(key, span).train_x)
    assert reader.bank(keys[0], Span(0, 9)).train_x.shape[1] == 16 * task.batch_size


@pytest.mark.slow  # bits of programs as users have them; see conftest.py
def test_tune_gives_the_same_run(files: tuple[np.memmap, np.ndarray], tmp_path: Path) -> None:
    x, y = files
    runs = [
        rlagent.tune(
            given, y, method="cosine", updates=48, decisions=3, streamed=streamed, out=tmp_path / n
        )
        for n, given, streamed in (("a", np.array(x), None), ("b", x, True))
    ]
    assert runs[0].summary["test_loss"] == runs[1].summary["test_loss"]
    assert runs[0].summary["valid_loss"] < 0.69


def test_room_is_asked_for_when_it_is_known_how_many_updates_there_is_time_for(
    files: tuple[np.memmap, np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A slice of all that a run without minutes would make has no room, one of 30 updates has."""
    x, y = files
    monkeypatch.setattr(feed, "MOST_BYTES", 4 * 32 * FEATURES * (32 + 32))
    affordable = "rlagent.apply.calibration.affordable_updates"
    options: dict[str, Any] = {"method": "constant", "rung": "32x1", "streamed": True}
    says = r"^the batches of two decisions, of {} updates of 32 examples each, would take"
    with pytest.raises(ValueError, match=says.format(400)):
        rlagent.tune(x, y, decisions=1, **options)
    for updates, refused in ((30, False), (31, True)):
        monkeypatch.setattr(affordable, lambda plan, task, started, updates=updates: updates)
        if not refused:
            run = rlagent.tune(x, y, decisions=1, minutes=9, **options, out=tmp_path / "run")
            assert (run.summary["budget"], run.summary["status"]) == (updates, "finished")
            continue
        with pytest.raises(ValueError, match=says.format(updates)):
            rlagent.tune(x, y, decisions=1, minutes=9, **options, out=tmp_path / "none")
        assert not (tmp_path / "none").exists()


def test_measuring_what_there_is_time_for_reads_a_few_batches_at_a_time(
    files: tuple[np.memmap, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, task = both(files)
    request = Request(method="constant", rung="32x1", minutes=1, decisions=1)
    plan = make_plan(request, task, ())
    assert (plan.updates, plan.decisions) == (400, 1)
    spans = []

    def counted(key: np.ndarray, span: Span, batch_size: int, total: int) -> np.ndarray:
        spans.append(span.updates)
        return batch_rows(key, span, batch_size, total)

    monkeypatch.setattr(feed, "batch_rows", counted)
    monkeypatch.setattr(calibration, "MEASURED_BYTES", 4 * 40 * 32 * FEATURES)
    assert calibration.affordable_updates(plan, task, time.monotonic()) > 1
    assert 32 < spans[0] <= 40  # of a slice of 40 some are the evaluation
    assert len(spans) > 3  # the first to compile, the second to be rid of what was read meanwhile
    assert max(spans) <= 40 + feed.SPARE
    monkeypatch.setattr(feed, "MOST_BYTES", 0)
    with pytest.raises(ValueError, match=r"^the batches of two decisions, of 40 updates of 32 exa"):
        calibration.affordable_updates(plan, task, time.monotonic())


def test_large_arrays_keep_few_rows_to_judge_by() -> None:
    parts = {"train": np.arange(10), "valid": np.arange(10, 30), "test": np.arange(30, 50)}
    fewer = with_fewer(parts, 8)
    assert [len(fewer[name]) for name in ("train", "valid", "test")] == [34, 8, 8]
    assert sorted(np.concatenate(list(fewer.values()))) == list(range(50))


def test_a_part_of_a_part_has_its_rows() -> None:
    stored = OnDisk(np.arange(20)[:, None]).only(np.array([3, 9, 4, 7])).only(np.array([2, 0]))
    assert stored.shape == (2, 1)
    np.testing.assert_array_equal(stored[np.array([1, 0, 1])][:, 0], [3, 4, 3])


def test_what_cannot_be_streamed_is_one_sentence(files: tuple[np.memmap, np.ndarray]) -> None:
    x, y = files
    with pytest.raises(ValueError, match=r"^streamed needs an array on disk, as np\.load"):
        from_arrays(np.array(x), y, streamed=True)
    with pytest.raises(ValueError, match=r"^streamed is for .*, but iris is a bundled task$"):
        rlagent.tune("iris", streamed=True)
    with pytest.raises(ValueError, match=r"^folds needs data that fit into memory, but those of"):
        rlagent.tune(x, y, streamed=True, folds=3, method="cosine")
    _, task = both(files)
    with pytest.raises(ValueError, match=r"^the rows of data are streamed: a bank has no room"):
        make_bank(task, padded=False)
    with pytest.raises(ValueError, match=r"^the rows of data are in memory"):
        Feed(replace(task, streamed=None))


# --- data of grain


def digits_of_grain(rows: int = ROWS) -> tuple[grain.MapDataset, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 255, (rows, 6, 6), dtype=np.uint8)
    y = (x[:, :3].mean((1, 2)) > x[:, 3:].mean((1, 2))).astype(np.int64)
    pairs = grain.MapDataset.range(rows).map(lambda row: {"image": x[row], "label": y[row]})
    return pairs, x, y


@pytest.mark.parametrize("how", ["data set", "batches", "loader"])
def test_data_of_grain_is_the_task_of_its_arrays(how: str) -> None:
    pairs, x, y = digits_of_grain()
    given = {
        "data set": pairs,
        "batches": pairs.batch(7).to_iter_dataset(),
        "loader": grain.DataLoader(
            data_source=pairs, sampler=grain.samplers.SequentialSampler(ROWS), worker_count=0
        ),
    }[how]
    task, name = load_source(given, None, Request(), {})
    assert fingerprint(task) == fingerprint(from_arrays(x, y))
    assert name == "data in memory"
    validated, _ = load_source(given, None, Request(), {"valid": digits_of_grain(40)[0]})
    assert fingerprint(validated) == fingerprint(
        from_arrays(x, y, x_valid=digits_of_grain(40)[1], y_valid=digits_of_grain(40)[2])
    )


@pytest.mark.slow  # bits of programs as users have them; see conftest.py
def test_streamed_examples_of_grain_train_as_their_array_does() -> None:
    pairs, x, y = digits_of_grain()
    task, _ = load_source(pairs, None, Request(streamed=True), {})
    assert task.streamed is not None
    resident = from_arrays(x, y)
    numbers = np.array([5, 3, 5, 0, 100])
    np.testing.assert_array_equal(task.streamed.take(numbers), resident.train.x[numbers])
    np.testing.assert_array_equal(task.valid.x, resident.valid.x)
    options: dict[str, Any] = {"updates": 24, "decisions": 3, "rung": "32x1", "method": "cosine"}
    found = [
        rlagent.tune(pairs, streamed=True, **options).history[-1]["valid_loss"],
        rlagent.tune(x, y, **options).history[-1]["valid_loss"],
    ]
    assert found[0] == found[1]


def test_texts_of_grain_are_texts() -> None:
    texts = [f"{'good' if row % 2 else 'bad'} film number {row}" for row in range(60)]
    pairs = grain.MapDataset.source([(text, row % 2) for row, text in enumerate(texts)])
    task, _ = load_source(pairs, None, Request(), {})
    assert fingerprint(task) == fingerprint(from_arrays(texts, np.arange(60) % 2))


def test_data_of_grain_that_cannot_be_used_is_named() -> None:
    pairs, _, y = digits_of_grain()
    for given, options, message in (
        (pairs.repeat(), {}, "x repeats without end; give it before repeat()"),
        (pairs.map(lambda pair: pair["image"]), {}, "an example must be a pair (x, y), or have"),
        (pairs.map(lambda pair: {"z": 1, "label": 1}), {}, "['label', 'z']"),
        (pairs.to_iter_dataset(), {"streamed": True}, "streamed needs a grain.MapDataset"),
        (grain.MapDataset.source([]), {}, "x has no examples"),
        (pairs.batch(7), {}, "x has targets of the shapes (6,) and (7,); give it before batch()"),
        (pairs, {"group": "a"}, "group is not for data of grain"),
        (
            pairs.map_with_index(lambda row, pair: (pair["image"][: 4 + row % 2], pair["label"])),
            {},
            "x has inputs of the shapes (4, 6) and (5, 6); all must be the same",
        ),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            load_source(given, None, Request(**options), {})
    with pytest.raises(ValueError, match=r"^the examples of grain hold their targets"):
        load_source(pairs, y, Request(), {})
