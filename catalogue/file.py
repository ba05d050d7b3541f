"""Opening a catalogue file: one writer, many readers, and one clear line when that can't be.

DuckDB lets nobody read while a writer holds the file, so writers open, run one transaction and close.
This is the boundary where `duckdb.Error` becomes `FeatdexError` (`file_faults`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from .dataset_place import catalogue_file, dataset_folder, lay_views, refuse_writing, remote_place, shut, unreadable
from .errors import CatalogueError, LockedError, QueryError
from .file_faults import REMEDY, is_damage, open_fault, raise_if_full
from .file_faults import one_line as one_line
from .file_faults import translated as translated
from .given_path import given_path
from .new_file import publish_new
from .older import bridge
from .own_version import featdex_version as featdex_version
from .questions import install_queries
from .schema import SCHEMA_VERSION, STORAGE_VERSION
from .tables import TABLES

Narrate = Callable[[str], None]

DEFAULT_WAIT_SECONDS = 10.0

# Nothing is ever downloaded or loaded from outside: parquet, json and icu lie in the wheel.
_BASE_CONFIG = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
# DuckDB would keep what it writes in memory, up to most of the machine's; beside an ingest that has to stay small.
_WRITER_CONFIG = _BASE_CONFIG | {"memory_limit": "256MB"}
# Whoever made the file may have put anything into its views and macros: they reach nothing but the file.
_READER_CONFIG = _BASE_CONFIG | {"enable_external_access": "false"}


def patiently(
    path: Path,
    attempt: Callable[[], duckdb.DuckDBPyConnection],
    *,
    read_only: bool,
    wait: float,
    narrate: Narrate | None,
) -> duckdb.DuckDBPyConnection:
    """Open a file by `attempt`, again and again until whoever holds it lets go or `wait` seconds are over."""
    deadline = time.monotonic() + wait
    while True:
        try:
            return attempt()
        except duckdb.Error as error:
            fault = open_fault(path, error, one_line(error), read_only=read_only)
            if not isinstance(fault, LockedError) or time.monotonic() >= deadline:
                raise fault from error
            if narrate:
                narrate(f"waiting: {fault}")
                narrate = None
            time.sleep(0.1)


def _connect(
    path: Path, config: Mapping[str, str], *, read_only: bool, wait: float, narrate: Narrate | None
) -> duckdb.DuckDBPyConnection:
    folder = dataset_folder(path)

    def attempt() -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(str(path), read_only=read_only, config=dict(config))
        return _quiet(connection, folder, locked=read_only)

    return patiently(path, attempt, read_only=read_only, wait=wait, narrate=narrate)


def _quiet(connection: duckdb.DuckDBPyConnection, folder: Path | None, *, locked: bool) -> duckdb.DuckDBPyConnection:
    """Keep DuckDB's progress bar from stdout, which is for data; then lock the configuration of a reader."""
    # Within a process, DuckDB gives one database to all that open a file alike.
    if connection.execute("SELECT current_setting('lock_configuration')").fetchall()[0][0]:
        return connection
    connection.execute("SET enable_progress_bar = false")
    if locked:
        if folder is not None:
            shut(connection, folder)
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


def existing(path: Path) -> Path:
    """Return the file of a catalogue that is there, a dataset's in its folder.

    Raises:
        CatalogueError: Nothing is there, or no file.
    """
    path = catalogue_file(given_path(path))
    if not path.exists():
        raise CatalogueError(f"no catalogue at {path}; make one with 'featdex ingest' or name it with --db FILE")
    if path.is_dir():
        raise CatalogueError(f"{path} is a folder, not a catalogue; name a .duckdb file with --db FILE")
    if not path.stat().st_size:
        raise CatalogueError(f"{path} is empty, not a catalogue; delete it, or name another file with --db FILE")
    return path


def connect_reader(
    path: Path, *, wait: float, narrate: Narrate | None = None, memory: str | None = None
) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file as `open_reader` does, whatever it holds."""
    remote = remote_place(path)
    if remote is not None:
        from .dataset_remote import connect_remote

        return connect_remote(remote, _BASE_CONFIG | ({"memory_limit": memory} if memory else {}))
    file = existing(path)
    # A dataset's folder is opened to a reader before all else is shut.
    config = _READER_CONFIG if dataset_folder(file) is None else _BASE_CONFIG
    config = config | ({"memory_limit": memory} if memory else {})
    return _connect(file, config, read_only=True, wait=wait, narrate=narrate)


def connect_writer(path: Path, *, wait: float, narrate: Narrate | None = None) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file as `writing` does, whatever it holds, and without a transaction."""
    return _connect(existing(path), _WRITER_CONFIG, read_only=False, wait=wait, narrate=narrate)


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
        version = schema_version(file, connection)
        folder = dataset_folder(given_path(file))
        root = remote_place(file) or (None if folder is None else str(folder.absolute()))
        try:
            with translated():
                lay_views(connection, file, root, version)
        except QueryError as fault:
            raise unreadable(root, fault) from fault
        if version < SCHEMA_VERSION:
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
    narrate: Narrate | None = None,
    notes: bool = False,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Hold a catalogue for one transaction: committed at the end of the block, rolled back on any error.

    Args:
        path: An existing catalogue (see `create`).
        wait: Seconds to wait for other processes to let go.
        narrate: Told once, in one line, when it has to wait.
        notes: Only tags and explanations are written, which may be done in a dataset too.

    Raises:
        UsageError: It is a dataset, and more than notes are to be written.
        CatalogueError: As `open_reader`; or the schema is older, the file or its folder can't be written, or the disk
            is full.
        LockedError: As `open_reader`.
    """
    if not notes or remote_place(path):
        refuse_writing(Path(path))
    file = existing(Path(path))
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


def connect_new(path: Path) -> duckdb.DuckDBPyConnection:
    """Make a DuckDB file of the storage format of catalogues, and open it for writing."""
    config = _WRITER_CONFIG | {"storage_compatibility_version": STORAGE_VERSION}
    return _quiet(duckdb.connect(str(path), config=dict(config)), None, locked=False)


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
        connection = connect_new(scratch)
        try:
            install_schema(connection)
            connection.execute("CHECKPOINT")
            # While the connection has the file locked: nobody opens it before all is done.
            publish_new(scratch, file)
        finally:
            connection.close()
    except (duckdb.Error, OSError) as error:
        raise CatalogueError(f"cannot create {file}: {one_line(error)}") from error
    finally:
        scratch.unlink(missing_ok=True)
        scratch.with_name(f"{scratch.name}.wal").unlink(missing_ok=True)


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
    install_facts(connection, {})
    install_queries(connection)
    connection.execute("COMMIT")


def install_facts(connection: duckdb.DuckDBPyConnection, more: Mapping[str, str]) -> None:
    """Write into a new catalogue which schema it has, and what made it when; and whatever else is told."""
    facts = {
        "schema_version": str(SCHEMA_VERSION),
        "created_by": f"featdex {featdex_version()}",
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }
    for key, value in facts.items():
        connection.execute("INSERT INTO meta VALUES (?, ?)", [key, value])
