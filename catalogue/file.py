"""Opening a catalogue file: one writer, many readers, and one clear line when that can't be.

DuckDB lets nobody read while a writer holds the file, so writers open, run one transaction and close.
This is the boundary where `duckdb.Error` becomes `FeatdexError`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from .errors import CatalogueError, LockedError, NotFoundError, QueryError, nearest
from .file_faults import REMEDY, is_damage, open_fault, raise_if_full
from .given_path import given_path
from .older import bridge
from .questions import install_queries
from .schema import SCHEMA_VERSION, STORAGE_VERSION
from .tables import FEATURE, TABLES

DEFAULT_WAIT_SECONDS = 10.0

# Nothing is ever downloaded or loaded from outside: parquet, json and icu lie in the wheel.
_BASE_CONFIG = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
# DuckDB would keep what it writes in memory, up to most of the machine's; beside an ingest that has to stay small.
_WRITER_CONFIG = _BASE_CONFIG | {"memory_limit": "256MB"}
# Whoever made the file may have put anything into its views and macros: they reach nothing but the file.
_READER_CONFIG = _BASE_CONFIG | {"enable_external_access": "false"}


def featdex_version() -> str:
    """Return the installed version of featdex, or `"unknown"` in a bare source tree."""
    # Slow to import, and of no use to a shell that completes a word.
    from importlib.metadata import PackageNotFoundError, version

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
    `NotFoundError`; what DuckDB can't read becomes `CatalogueError`, everything else `QueryError`.
    """
    try:
        yield
    except duckdb.Error as error:
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


def _connect(
    path: Path, config: Mapping[str, str], *, read_only: bool, wait: float, narrate: Callable[[str], None] | None
) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + wait
    while True:
        try:
            return _quiet(duckdb.connect(str(path), read_only=read_only, config=dict(config)), locked=read_only)
        except duckdb.Error as error:
            fault = open_fault(path, error, one_line(error), read_only=read_only)
            if not isinstance(fault, LockedError) or time.monotonic() >= deadline:
                raise fault from error
            if narrate:
                narrate(f"waiting: {fault}")
                narrate = None
            time.sleep(0.1)


def _quiet(connection: duckdb.DuckDBPyConnection, *, locked: bool) -> duckdb.DuckDBPyConnection:
    """Keep DuckDB's progress bar from stdout, which is for data; then lock the configuration of a reader."""
    connection.execute("SET enable_progress_bar = false")
    if locked:
        connection.execute("SET lock_configuration = true")
    return connection


def schema_version(path: Path, connection: duckdb.DuckDBPyConnection) -> int:
    """Return the schema version of an open catalogue.

    Raises:
        CatalogueError: It is no catalogue, damaged, or newer than this featdex.
    """
    try:
        rows = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        found = int(rows["schema_version"])
    except (duckdb.Error, KeyError, ValueError) as error:
        if is_damage(error):
            raise CatalogueError(f"{path} is damaged: {one_line(error)}; {REMEDY}") from error
        raise CatalogueError(f"{path} is a DuckDB file but no featdex catalogue; name another file") from error
    if found > SCHEMA_VERSION:
        made_by = rows.get("created_by", "a newer featdex")
        raise CatalogueError(
            f"{path} has schema {found} (made by {made_by}), this featdex reads {SCHEMA_VERSION}; upgrade featdex"
        )
    return found


def _existing(path: Path) -> Path:
    path = given_path(path)
    if not path.exists():
        raise CatalogueError(f"no catalogue at {path}; make one with 'featdex ingest' or name it with --db FILE")
    if path.is_dir():
        raise CatalogueError(f"{path} is a folder, not a catalogue; name a .duckdb file with --db FILE")
    if not path.stat().st_size:
        raise CatalogueError(f"{path} is empty, not a catalogue; delete it, or name another file with --db FILE")
    return path


def connect_reader(
    path: Path, *, wait: float, narrate: Callable[[str], None] | None = None, memory: str | None = None
) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file as `open_reader` does, whatever it holds."""
    config = _READER_CONFIG | ({"memory_limit": memory} if memory else {})
    return _connect(_existing(path), config, read_only=True, wait=wait, narrate=narrate)


def connect_writer(
    path: Path, *, wait: float, narrate: Callable[[str], None] | None = None
) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file as `writing` does, whatever it holds, and without a transaction."""
    return _connect(_existing(path), _WRITER_CONFIG, read_only=False, wait=wait, narrate=narrate)


def open_reader(
    path: str | os.PathLike[str], *, wait: float = DEFAULT_WAIT_SECONDS, memory: str | None = None
) -> duckdb.DuckDBPyConnection:
    """Open a catalogue read-only, without file-system or network access, its configuration locked.

    A catalogue of an older schema is read as far as it goes: what it has not is empty.

    Args:
        path: The catalogue.
        wait: Seconds to wait for a writer to let go.
        memory: What DuckDB may take, such as "1GB"; by default most of the machine's.

    Raises:
        CatalogueError: The file is missing, damaged, foreign or newer than this featdex.
        LockedError: A writer still holds it after `wait` seconds.
    """
    file = Path(path)
    connection = connect_reader(file, wait=wait, memory=memory)
    try:
        if schema_version(file, connection) < SCHEMA_VERSION:
            bridge(connection)
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
        CatalogueError: As `open_reader`; or the schema is older, the file or its folder can't be written, or the disk
            is full.
        LockedError: As `open_reader`.
    """
    file = _existing(Path(path))
    folder = file.absolute().parent
    if not os.access(folder, os.W_OK):
        raise CatalogueError(
            f"{file} can't be written: the folder {folder}, which takes the log of a write, is read-only"
        )
    connection = connect_writer(file, wait=wait, narrate=narrate)
    try:
        found = schema_version(file, connection)
        if found < SCHEMA_VERSION:
            raise CatalogueError(
                f"{file} has schema {found}, this featdex writes {SCHEMA_VERSION}; 'featdex migrate' brings it up to"
                " date and keeps a copy"
            )
        connection.execute("BEGIN")
        try:
            yield connection
            with translated():
                connection.execute("COMMIT")
        except BaseException as error:
            # A commit that failed has left no transaction.
            with suppress(duckdb.Error):
                connection.execute("ROLLBACK")
            raise_if_full(file, error)
            raise
    finally:
        connection.close()


def create(path: str | os.PathLike[str]) -> None:
    """Make an empty catalogue at `path` unless a file is there: built beside it, then given its name.

    Of two processes that do so at once, both go on with the catalogue of one.

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
            connection.execute("CHECKPOINT")
            # While the connection has the file locked: nobody opens it before all is done.
            _publish(scratch, file)
        finally:
            connection.close()
    except (duckdb.Error, OSError) as error:
        raise CatalogueError(f"cannot create {file}: {one_line(error)}") from error
    finally:
        scratch.unlink(missing_ok=True)
        scratch.with_name(f"{scratch.name}.wal").unlink(missing_ok=True)


def _publish(scratch: Path, file: Path) -> None:
    """Give a new catalogue its name, unless another has taken it meanwhile."""
    try:
        # Unlike a rename, a second name never takes the place of a file.
        os.link(scratch, file)
    except FileExistsError:
        return
    except OSError:
        # Not every file system has links.
        if file.exists():
            return
        scratch.replace(file)
    # The log of a file that was here before would be taken for this one's.
    file.with_name(f"{file.name}.wal").unlink(missing_ok=True)


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
