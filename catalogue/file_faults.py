"""What DuckDB says when a file can't be opened, read or written, as faults that say what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from .errors import CatalogueError, FeatdexError, LockedError, NotFoundError, QueryError, nearest
from .tables import FEATURE

REMEDY = "take another copy of it, or ingest into a new file"
_DAMAGE = re.compile(r"Corrupt|Could not read enough bytes|[Cc]hecksum|Failed to deserialize|Serialization Error")
_NO_ROOM = re.compile(r"No space left on device|File too large|[Qq]uota exceeded")
_NO_RIGHT = re.compile(r"Permission denied|Read-only file system|Operation not permitted")


def is_damage(error: BaseException) -> bool:
    """Whether DuckDB found bytes in the file that it did not write."""
    # A programming error is about the text of a query, whatever words are in it.
    return not isinstance(error, duckdb.ProgrammingError) and _DAMAGE.search(str(error)) is not None


def open_fault(path: Path, error: duckdb.Error, text: str, *, read_only: bool) -> FeatdexError:
    """Return what keeps a file from being opened; `text` is the error as one line."""
    whole = str(error)
    if "Could not set lock" in whole or "Conflicting lock" in whole:
        holder = re.search(r"held in (\S+)(?: \(PID (\d+)\))?", whole)
        who = f"process {holder[2]} ({Path(holder[1]).name})" if holder and holder[2] else "another process"
        return LockedError(f"{path} is held by {who}; close it there, or wait longer with --wait SECONDS")
    if "not a valid DuckDB database" in whole:
        return CatalogueError(f"{path} is not a DuckDB file; name a catalogue made by 'featdex ingest'")
    if "different configuration" in whole:
        return CatalogueError(f"this process has {path} open already; close that catalogue first")
    if "version number" in whole:
        return CatalogueError(f"{path} was written by another DuckDB storage version; upgrade duckdb to read it")
    if "replaying WAL" in whole:
        return CatalogueError(
            f"{path}.wal, the log of an interrupted write, is damaged or of another file; move it away to open {path}"
            f" without it ({text})"
        )
    if denied := _NO_RIGHT.search(whole):
        verb = "read" if read_only else "written"
        return CatalogueError(f"{path} can't be {verb}: {denied[0].lower()}; change its rights, or name another file")
    if is_damage(error):
        return CatalogueError(f"{path} is damaged: {text}; {REMEDY}")
    return CatalogueError(f"cannot open {path}: {text}")


def raise_if_full(path: Path, error: BaseException) -> None:
    """Raise `CatalogueError` where a write to `path` failed for want of room; else return."""
    if isinstance(error, duckdb.Error | OSError | QueryError) and (found := _NO_ROOM.search(str(error))):
        reason = found[0].lower()
        raise CatalogueError(
            f"cannot write {path}: {reason}; make room and run it again, what was there before is whole"
        ) from error


def one_line(error: BaseException) -> str:
    """Return an error's text as one line, without DuckDB's error-class prefix and its picture of the SQL."""
    text = re.split(r"\n\n(?:LINE \d|Stack Trace)", str(error))[0]
    text = " ".join(text.replace("\n\n", "; ").split())
    return re.sub(r"^([A-Z][A-Za-z/-]+ )*Error: ", "", text)


@contextmanager
def translated() -> Iterator[None]:
    """Turn every `duckdb.Error` raised inside into a `FeatdexError` of one line.

    The questions themselves complain of names that the catalogue does not hold (`queries/helpers/`): these become
    `NotFoundError`; what DuckDB can't read becomes `CatalogueError`, everything else `QueryError`.
    """
    try:
        yield
    except duckdb.Error as error:
        if from_store := re.search(r"^(?:[\w.]+\.)?FeatdexError: (.+)$", str(error), re.MULTILINE):
            # So DuckDB passes on what went wrong in a file system of Python's, as that of an object store is.
            raise FeatdexError(from_store[1]) from error
        text = one_line(error)
        if is_damage(error):
            raise CatalogueError(f"the catalogue is damaged: {text}; {REMEDY}") from error
        if isinstance(error, duckdb.InvalidInputException) and re.match(r"no (token|SAE|feature|role) ", text):
            raise NotFoundError(text) from error
        found = re.match(r'Could not find key "(\w+)" in struct; Candidate Entries: (.+)', text)
        if found and set(re.findall(r'"(\w+)"', found[2])) <= set(FEATURE.column_names):
            # So DuckDB says that a question about a statistic was asked of another name.
            advice = nearest(found[1], FEATURE.column_names)
            raise NotFoundError(f"no statistic {found[1]!r} among the columns of the table feature{advice}") from error
        raise QueryError(text) from error
    except RuntimeError as error:
        # So DuckDB reports Ctrl-C.
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise
