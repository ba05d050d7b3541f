"""The part of `store` that writes on a disk: files that are there whole or not at all, after a power cut too."""

from __future__ import annotations

import errno
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import FeatdexError

_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{32}\.part")
_ADVICE = {
    errno.ENOSPC: "make room and run it again, what was there before is whole",
    errno.EDQUOT: "make room and run it again, what was there before is whole",
    errno.EFBIG: "name a place that takes files of this size",
    errno.EACCES: "change its rights, or name another folder",
    errno.EPERM: "change its rights, or name another folder",
    errno.EROFS: "name a folder that can be written",
    errno.ENOTDIR: "name a folder",
    errno.EEXIST: "name a folder",
    errno.EISDIR: "name another file",
}


@contextmanager
def beside(file: Path) -> Iterator[BinaryIO]:
    """Give a stream for a file that takes its place when the block ends well, after it has reached the disk."""
    _make_folder(file.parent)
    scratch = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
    try:
        with scratch.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(file)
        _sync(file.parent)
    finally:
        scratch.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can do so."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def files(root: Path, below: str) -> Iterator[str]:
    """Yield the paths, from `root`, of all files below one of its folders; no hidden ones, in no order."""

    def fail(error: OSError) -> None:
        # Another process may take a folder away meanwhile.
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise error

    for folder, folders, names in os.walk(root / below, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        within = Path(folder).relative_to(root).as_posix()
        yield from (name if within == "." else f"{within}/{name}" for name in names if not name.startswith("."))


def remove_leftovers(root: Path, older_than: float) -> int:
    """Remove what killed writers left anywhere below `root`, if untouched for some seconds; return the number."""
    n_removed = 0
    for folder, _, names in os.walk(root):
        for name in filter(_LEFTOVER.fullmatch, names):
            file = Path(folder, name)
            with suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime >= older_than:
                    file.unlink()
                    n_removed += 1
    return n_removed


def probe(root: Path) -> None:
    """Raise `OSError` unless files can be made in a folder, or the folder itself; leave nothing."""
    folder = root
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    scratch = folder / f".probe.{uuid.uuid4().hex}.part"
    try:
        scratch.write_bytes(b"probe")
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


def fault(place: str, error: OSError) -> FeatdexError:
    """Return what the disk refused, as one line that says what to do."""
    if isinstance(error, FileNotFoundError):
        return FeatdexError(f"{place}: there is no such file")
    advice = _ADVICE.get(error.errno or 0)
    reason = error.strerror or " ".join(str(error).split())
    return FeatdexError(f"{place}: {reason}{f'; {advice}' if advice else ''}")
