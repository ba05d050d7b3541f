"""Folders that featdex writes: whole or not at all, and never in the place of what is not its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import FeatdexError


def files_in(folder: Path) -> set[str]:
    """Return the files below a folder, as paths from there with slashes."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give a new folder that takes the place of `folder`, whatever is there, only when the block ends well.

    Raises:
        FeatdexError: The disk is full, or the folder can't be written.
    """
    place = folder.absolute()
    scratch = place.with_name(f".{place.name}.{os.getpid()}.part")
    old = place.with_name(f".{place.name}.{os.getpid()}.old")
    try:
        scratch.mkdir()
        yield scratch
        if place.exists():
            place.rename(old)
        scratch.rename(place)
    except OSError as error:
        raise FeatdexError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        # Ctrl-C may come between the two steps of the swap as well.
        if old.exists() and not place.exists():
            old.rename(place)
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
