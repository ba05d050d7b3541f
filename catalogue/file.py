"""Opening a catalogue file: one writer, many readers, and one clear line when that can't be.

DuckDB lets nobody read while a writer holds the file, so writers open, run one transaction and close.
This is the boundary where `duckdb.Error` becomes `FeatdexError`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import duckdb

from .errors import CatalogueError, FeatdexError, LockedError, NotFoundError, QueryError
from .questions import install_queries
from .schema import SCHEMA_VERSION, STORAGE_VERSION
from .tables import TABLES

DEFAULT_WAIT_SECONDS = 10.0

# Nothing is ever downloaded or loaded from outside: parquet, json and icu lie in the wheel.
_BASE_CONFIG = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
# DuckDB would keep what it writes in memory, up to most of the machine's; beside an ingest that has to stay small.
_WRITER_CONFIG = _BASE_CONFIG | {"memory_limit": "256MB"}
_READER_CONFIG = _BASE_CONFIG | {"enable_external_access": "false", "lock_configuration": "true"}


def featdex_version() -> str:
    """Return the installed version of featdex, or `"unknown"` in a bare source tree."""
    try:
        return version("featdex")
    except PackageNotFoundError:
        return "unknown"


def one_line(error: BaseException) -> str:
    """Return an error's text as one line, without DuckDB's error-class prefix and its picture of the SQL."""
    text = re.split(r"\n\n(?:LINE \d|Stack Trace)", str(error))[0]
    text = " ".join(text.replace("\n\n", "; ").split())
    return re.sub(r"^([A-Z][A-Za-z/-]+ )*Error: ", "", text)


@contextmanager
def translated() -> Iterator[None]:
    """Turn every `duckdb.Error` raised inside into a `FeatdexError` of one line.

    The questions themselves complain of names that the catalogue does not hold (`queries/helpers/`): these become
    `NotFoundError`, everything else `QueryError`.
    """
    try:
        yield
    except duckdb.Error as error:
        text = one_line(error)
        if isinstance(error, duckdb.InvalidInputException) and re.match(r"no (token set|SAE|feature) ", text):
            raise NotFoundError(text) from error
        raise QueryError(text) from error
    except RuntimeError as error:
        # So DuckDB reports Ctrl-C.
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


def _open_error(path: Path, error: duckdb.Error) -> FeatdexError:
    text = str(error)
    if "Could not set lock" in text or "Conflicting lock" in text:
        holder = re.search(r"held in (\S+)(?: \(PID (\d+)\))?", text)
        who = f"process {holder[2]} ({Path(holder[1]).name})" if holder and holder[2] else "another process"
        return LockedError(f"{path} is held by {who}; close it there, or wait longer with --wait SECONDS")
    if "not a valid DuckDB database" in text:
        return CatalogueError(f"{path} is not a DuckDB file; name a catalogue made by 'featdex ingest'")
    if "different configuration" in text:
        return CatalogueError(f"this process has {path} open already; close that catalogue first")
    if "version number" in text:
        return CatalogueError(f"{path} was written by another DuckDB storage version; upgrade duckdb to read it")
    return CatalogueError(f"cannot open {path}: {one_line(error)}")


def _connect(
    path: Path, *, read_only: bool, wait: float, narrate: Callable[[str], None] | None
) -> duckdb.DuckDBPyConnection:
    config = _READER_CONFIG if read_only else _WRITER_CONFIG
    deadline = time.monotonic() + wait
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only, config=dict(config))
        except duckdb.Error as error:
            fault = _open_error(path, error)
            if not isinstance(fault, LockedError) or time.monotonic() >= deadline:
                raise fault from error
            if narrate:
                narrate(f"waiting: {fault}")
                narrate = None
            time.sleep(0.1)


def _check(path: Path, connection: duckdb.DuckDBPyConnection, *, writes: bool = False) -> None:
    try:
        rows = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        found = int(rows["schema_version"])
    except (duckdb.Error, KeyError, ValueError) as error:
        raise CatalogueError(f"{path} is a DuckDB file but no featdex catalogue; name another file") from error
    if found > SCHEMA_VERSION:
        made_by = rows.get("created_by", "a newer featdex")
        raise CatalogueError(
            f"{path} has schema {found} (made by {made_by}), this featdex reads {SCHEMA_VERSION}; upgrade featdex"
        )
    if writes and found < SCHEMA_VERSION:
        raise CatalogueError(
            f"{path} has schema {found}, this featdex writes {SCHEMA_VERSION};"
            " it can still be read, but ingest into a new file"
        )


def _existing(path: Path) -> Path:
    if not path.exists():
        raise CatalogueError(f"no catalogue at {path}; make one with 'featdex ingest' or name it with --db FILE")
    if path.is_dir():
        raise CatalogueError(f"{path} is a folder, not a catalogue; name a .duckdb file with --db FILE")
    return path


def open_reader(path: str | os.PathLike[str], *, wait: float = DEFAULT_WAIT_SECONDS) -> duckdb.DuckDBPyConnection:
    """Open a catalogue read-only, without file-system or network access, its configuration locked.

    Args:
        path: The catalogue.
        wait: Seconds to wait for a writer to let go.

    Raises:
        CatalogueError: The file is missing, damaged, foreign or newer than this featdex.
        LockedError: A writer still holds it after `wait` seconds.
    """
    file = _existing(Path(path))
    connection = _connect(file, read_only=True, wait=wait, narrate=None)
    try:
        _check(file, connection)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def writing(
    path: str | os.PathLike[str],
    *,
    wait: float = DEFAULT_WAIT_SECONDS,
    narrate: Callable[[str], None] | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Hold a catalogue for one transaction: committed at the end of the block, rolled back on any error.

    Args:
        path: An existing catalogue (see `create`).
        wait: Seconds to wait for other processes to let go.
        narrate: Told once, in one line, when it has to wait.

    Raises:
        CatalogueError, LockedError: As `open_reader`.
    """
    file = _existing(Path(path))
    connection = _connect(file, read_only=False, wait=wait, narrate=narrate)
    try:
        _check(file, connection, writes=True)
        connection.execute("BEGIN")
        try:
            yield connection
            with translated():
                connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    finally:
        connection.close()


def create(path: str | os.PathLike[str]) -> None:
    """Make an empty catalogue at `path` unless a file is there: built beside it, then moved into place.

    Raises:
        CatalogueError: The folder is missing or can't be written.
    """
    file = Path(path)
    if file.exists():
        return
    scratch = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        connection = duckdb.connect(
            str(scratch), config=dict(_BASE_CONFIG, storage_compatibility_version=STORAGE_VERSION)
        )
        try:
            install_schema(connection)
        finally:
            connection.close()
        # A stale write-ahead log beside a fresh file would make every open fail.
        file.with_name(file.name + ".wal").unlink(missing_ok=True)
        scratch.replace(file)
    except (duckdb.Error, OSError) as error:
        raise CatalogueError(f"cannot create {file}: {one_line(error)}") from error
    finally:
        scratch.unlink(missing_ok=True)


def require_writable_folder(path: str | os.PathLike[str]) -> None:
    """Raise `CatalogueError` unless a catalogue could be made at `path`."""
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise CatalogueError(f"cannot create {path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise CatalogueError(f"cannot create {path}: the folder {folder} is read-only")


def install_schema(connection: duckdb.DuckDBPyConnection) -> None:
    """Create every table, view and question in an empty database, in one transaction."""
    connection.execute("BEGIN")
    for table in TABLES:
        for statement in table.ddl():
            connection.execute(statement)
    facts = {
        "schema_version": str(SCHEMA_VERSION),
        "created_by": f"featdex {featdex_version()}",
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for key, value in facts.items():
        connection.execute("INSERT INTO meta VALUES (?, ?)", [key, value])
    install_queries(connection)
    connection.execute("COMMIT")
