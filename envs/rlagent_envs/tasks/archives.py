"""Data in .zip and .tar archives: unpacked for as long as it is read, and never elsewhere."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from rlagent_envs.tasks.data_files import innermost
from rlagent_envs.tasks.part_folders import OF_MACOS

COMPRESSED = (".gz", ".bz2", ".xz")  # an archive behind .tar
SUFFIXES = (".zip", ".tar", ".tgz", *COMPRESSED)
ENCRYPTED = 0x1  # a flag of a member of .zip
DAMAGES = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, RuntimeError)


class Member(NamedTuple):
    """A file in an archive."""

    name: str
    open: Callable[[], IO[bytes]]


class Unpacked(NamedTuple):
    """The content of an archive, for as long as it is there."""

    archive: Path
    folder: Path  # that it is unpacked into
    inside: Path  # the data: where all is in one folder, that is the one

    def told(self, text: str) -> str:
        """A sentence on the unpacked files, by what they are called in the archive."""
        return text.replace(str(self.folder), str(self.archive))


@contextmanager
def unpacked(path: Path) -> Iterator[Unpacked]:
    """The content of an archive in a temporary folder, which is removed at the end.

    Raises:
        ValueError: if it is damaged, encrypted or compressed in an unknown way, or has a member
            that is a link or would lie outside of the folder; nothing is unpacked then.
    """
    with tempfile.TemporaryDirectory(prefix="rlagent-") as temporary:
        folder = Path(temporary) / _stem(path)
        folder.mkdir()
        try:
            with _opened(path) as archive:
                for member in list(_members(path, archive)):  # all are looked at before
                    target = folder / member.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with member.open() as source, target.open("wb") as file:
                        shutil.copyfileobj(source, file)
        except NotImplementedError:
            raise ValueError(
                f"{path} is compressed by a method that is not supported; use deflate, as is usual"
            ) from None
        except DAMAGES as error:
            if isinstance(error, OSError) and error.errno:  # gzip's own has none
                raise ValueError(f"cannot unpack {path}: {error.strerror}") from None
            raise ValueError(f"{path} is not a readable archive, it may be damaged") from None
        yield Unpacked(path, folder, innermost(folder))


def member_names(path: Path) -> list[str]:
    """Names of the files in an archive; ValueError as `unpacked`."""
    try:
        with _opened(path) as archive:
            return [member.name for member in _members(path, archive)]
    except DAMAGES:
        raise ValueError(f"{path} is not a readable archive, it may be damaged") from None


def _opened(path: Path) -> zipfile.ZipFile | tarfile.TarFile:
    if path.suffix.lower() == ".zip":
        return zipfile.ZipFile(path)
    alone = path.suffix.lower() in COMPRESSED and ".tar" not in map(str.lower, path.suffixes)
    if alone and not tarfile.is_tarfile(path):
        raise ValueError(f"{path} is no archive, or it is damaged; unpack a single file before")
    return tarfile.open(path)


def _members(path: Path, archive: zipfile.ZipFile | tarfile.TarFile) -> Iterator[Member]:
    """The files, but those that macOS adds; ValueError for what could end up somewhere else."""
    if isinstance(archive, zipfile.ZipFile):
        for entry in archive.infolist():
            _refuse_climbing(path, entry.filename)
            if entry.flag_bits & ENCRYPTED:
                raise ValueError(f"{path} is encrypted; unpack it by its password before")
            if not entry.is_dir() and not entry.filename.startswith(f"{OF_MACOS}/"):
                yield Member(entry.filename, partial(archive.open, entry))
        return
    for item in archive:
        _refuse_climbing(path, item.name)
        if item.isfile():
            yield Member(item.name, partial(_file_in, archive, item))
        elif not item.isdir():
            raise ValueError(f"{path} has the member {item.name!r}, which is a link or a device")


def _file_in(archive: tarfile.TarFile, item: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(item)
    assert file is not None  # it is a file
    return file


def _refuse_climbing(path: Path, name: str) -> None:
    """Raises ValueError for a path that leaves the folder, by the rules of any system."""
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or not parts[0] or ":" in parts[0] or "\0" in name:
        raise ValueError(f"{path} has the member {name!r}, whose path leads out of the archive")


def _stem(path: Path) -> str:
    """`photos` of photos.tar.gz."""
    return path.stem.removesuffix(".tar") or "archive"
