"""Paths as people type them: some can't be looked up at all, and `Path.exists` raises for these."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import UsageError


def given_path(text: str | os.PathLike[str]) -> Path:
    """Return the path that a user named, with `~` as a home folder, whether anything is there or not.

    Raises:
        UsageError: No file can be looked up by that name: it is too long, in a folder that may not be read, or in the
            home of a user that is not known.
    """
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:
        shown = os.fspath(text)
        reason = error.strerror if isinstance(error, OSError) else "there is no such user"
        raise UsageError(
            f"can't look for {shown if len(shown) <= 80 else f'{shown[:79]}…'}: {reason}; name another file"
        ) from error
    return path
