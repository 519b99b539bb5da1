"""Tasks from folders of .wav files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rlagent_envs.tasks import folders
from rlagent_envs.tasks.audio_input import AudioInput, spectra
from rlagent_envs.tasks.file_rows import are_streamed, digest_of, streamed_parts
from rlagent_envs.tasks.listed_files import labelled_files, on_tables
from rlagent_envs.tasks.loading import rows_to_train, task_of_parts
from rlagent_envs.tasks.options import Options
from rlagent_envs.tasks.parts_apart import PARTS_APART
from rlagent_envs.tasks.spectra import BANDS, steps_of
from rlagent_envs.tasks.wav import SUFFIX, Recording, read_wav

if TYPE_CHECKING:
    from rlagent_envs.tasks.task import Task

HIGHEST_RATE = 16_000  # samples per second; most of speech lies below half of it
MOST_STEPS = 1000  # 10 s
LONGEST = 95  # percentile of the lengths: few recordings are cut
FILES_AT_ONCE = 256  # read at a time: what is kept of them is much smaller


class Facts(NamedTuple):
    """What is known of a recording that is not kept."""

    rate: int  # samples per second
    samples: int
    digest: bytes  # of its samples


def load_audio_folder(folder: Path, options: Options) -> Task:
    """Makes a task of a folder: the class of a recording is the folder that it is in.

    Recordings are resampled to the most frequent rate of those to train on, at most 16 kHz, and
    become log-mel spectra of the length that 95 % of them do not exceed, at most 10 s.

    Args:
        folder: see `labelled_files`.
        options: `target`, `skip_bad`, `streamed`, `valid`, `test`, batch size and seed are looked
            at.

    Raises:
        ValueError: naming the file or folder that cannot be used.
    """
    options.allow(f"{folder} is a folder of sound", "skip_bad", *PARTS_APART, "streamed", "target")
    parts_of = partial(labelled_files, suffixes=(SUFFIX,), target=options.target)
    parts = folders.with_apart(parts_of(folder), folder, options, parts_of)
    every = [path for part in parts.values() for path in part.files]
    facts = folders.read_each(every, _facts, skip_bad=bool(options.skip_bad))
    parts = {name: folders.kept(part, facts) for name, part in parts.items()}
    if "valid" not in parts:
        folders.check_counts(parts["train"], folder)
    options = replace(options, kind="classification", form="sequence")
    labels = {name: np.array(part.labels) for name, part in parts.items()}
    train = [parts["train"].files[row] for row in rows_to_train(labels, options)]
    rate, steps = _format([facts[path] for path in train])
    given: dict[str, tuple[Any, np.ndarray]]
    if are_streamed(options, len(facts) * steps * BANDS):
        read = partial(_read_spectrum, facts=facts, rate=rate, steps=steps)
        digests = {path: one.rate.to_bytes(4, "big") + one.digest for path, one in facts.items()}
        given = {**streamed_parts(parts, read, (steps, BANDS), np.float32, digests)}
    else:
        given = {
            name: (_read_spectra(part.files, rate, steps), labels[name])
            for name, part in parts.items()
        }
    notes = folders.skipped(every, facts)
    others = sum(one.rate != rate for one in facts.values())
    if others:
        notes += (f"recordings resampled to {rate} Hz: {others} of {len(facts)}",)
    notes += folders.on_others((folder, *options.parts_apart.values()), (SUFFIX,))
    notes += folders.on_alike(folder)
    notes += on_tables(folder, (SUFFIX,), options.target)
    task = task_of_parts(given, folder.resolve().name, options, notes=notes)
    assert task.preprocessing is not None
    inputs = partial(AudioInput, rate=rate, steps=steps)
    return replace(task, preprocessing=task.preprocessing.made_by(inputs))


def holds_audio(folder: Path) -> bool:
    """Whether there is a .wav file in a folder or its folders."""
    return bool(folders.files_below(folder, (SUFFIX,)))


def audio_files(path: Path) -> list[Path]:
    """The .wav file, or those of a folder and its folders; ValueError if there is none."""
    files = folders.files_below(path, (SUFFIX,)) if path.is_dir() else [path]
    if not files:
        told = folders.instead(path, (SUFFIX,))
        raise ValueError(f"the folder {path} holds no {SUFFIX} file{told}")
    return files


def readable_audio(files: Sequence[Path]) -> list[Path]:
    """Those of some files that can be read; ValueError if there is none."""
    return list(folders.read_each(files, _facts, skip_bad=True))


def _facts(path: Path) -> Facts:
    """Of a file, all of which is read to see that it can be."""
    return _facts_of(read_wav(path))


def _facts_of(recording: Recording) -> Facts:
    return Facts(recording.rate, len(recording.samples), digest_of(recording.samples))


def _format(facts: Collection[Facts]) -> tuple[int, int]:
    """The rate and the steps that all recordings are brought to."""
    counts = Counter(one.rate for one in facts)
    # The higher one of two that are as frequent, so that the order of the files does not matter.
    frequent = max(counts, key=lambda rate: (counts[rate], rate))
    rate = min(frequent, HIGHEST_RATE)
    lengths = [one.samples * rate // one.rate for one in facts]
    longest = int(np.percentile(lengths, LONGEST))
    return rate, min(steps_of(longest, rate), MOST_STEPS)


def _read_spectra(files: list[Path], rate: int, steps: int) -> np.ndarray:
    """A few files at a time, because their sound would be gigabytes."""
    pieces = []
    for first in range(0, len(files), FILES_AT_ONCE):
        recordings: list[Recording] = [read_wav(path) for path in files[first:][:FILES_AT_ONCE]]
        pieces.append(spectra(recordings, rate, steps))
    return np.concatenate(pieces)


def _read_spectrum(path: Path, facts: Mapping[Path, Facts], rate: int, steps: int) -> np.ndarray:
    """Of a file that is as it was; for threads."""
    recording = read_wav(path)
    if _facts_of(recording) != facts[path]:
        raise ValueError(f"{path} has changed since it was first read")
    return spectra([recording], rate, steps)[0]
