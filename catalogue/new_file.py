"""Giving a new file its name: once it is whole, and never in the place of another."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb

from .errors import LockedError
from .file_faults import one_line, open_fault


def publish_new(scratch: Path, file: Path) -> bool:
    """Give a new catalogue its name; return False where another file has taken it meanwhile."""
    try:
        # Unlike a rename, a second name never takes the place of a file.
        os.link(scratch, file)
    except FileExistsError:
        return False
    except OSError:
        # Not every file system has links.
        if file.exists():
            return False
        scratch.replace(file)
    # The log of a file that was here before would be taken for this one's.
    file.with_name(f"{file.name}.wal").unlink(missing_ok=True)
    return True


def remove_abandoned(file: Path, ending: str) -> None:
    """Remove what killed processes left of new files of this name, under `.NAME.PID.ENDING`; not what one works on."""
    name = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in file.name)
    for left in [*file.parent.glob(f".{name}.*.{ending}"), *file.parent.glob(f"..{name}.*.{ending}")]:
        if _is_abandoned(left):
            remove_scratch(left)


def remove_scratch(scratch: Path) -> None:
    """Remove a file under a hidden name, and its log."""
    for left in (scratch, scratch.with_name(f"{scratch.name}.wal")):
        left.unlink(missing_ok=True)


def _is_abandoned(left: Path) -> bool:
    try:
        duckdb.connect(str(left), config={"autoload_known_extensions": "false"}).close()
    except duckdb.Error as error:
        return not isinstance(open_fault(left, error, one_line(error), read_only=False), LockedError)
    return True
