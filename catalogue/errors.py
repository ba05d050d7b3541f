"""Every fault a user can meet, as one line and one exit code.

`FeatdexError` is the only base class; the command line prints its message and leaves with its
`exit_code`. Messages say what is wrong and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum

from .display import printable


class ExitCode(IntEnum):
    """Exit codes of the `featdex` command."""

    OK = 0
    FAULT = 1
    USAGE = 2
    NOT_FOUND = 3
    LOCKED = 4


class FeatdexError(Exception):
    """A fault with a one-line message that says what is wrong and what to do.

    Messages quote files and names, which may hold anything: what would break the line or steer a terminal is escaped.
    """

    exit_code = ExitCode.FAULT

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class UsageError(FeatdexError):
    """The request itself is wrong: an unknown option value, a malformed argument."""

    exit_code = ExitCode.USAGE


class NotFoundError(FeatdexError):
    """A name that the catalogue, a folder or a directory does not hold."""

    exit_code = ExitCode.NOT_FOUND


class LockedError(FeatdexError):
    """Another process holds the catalogue."""

    exit_code = ExitCode.LOCKED


class CatalogueError(FeatdexError):
    """The file is missing, damaged, foreign or of another schema version."""


class QueryError(FeatdexError):
    """SQL that DuckDB refuses."""


class WeightsError(FeatdexError):
    """Weights that can't be used: wrong shape, NaN, unknown format."""


class TokenSetError(FeatdexError):
    """A token set that can't be used: empty, duplicate, malformed."""


def nearest(name: str, known: Iterable[str], limit: int = 3) -> str:
    """Return `"; did you mean a, b?"` for the known names closest to `name`, or `""` where none is close."""
    by_folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=limit, cutoff=0.5)
    return f"; did you mean {', '.join(by_folded[match] for match in close)}?" if close else ""
