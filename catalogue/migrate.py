"""Bringing a catalogue of an older schema up to date, with the old one kept beside it.

The work is done on a copy, in one transaction; then the old file gets a second name, and the copy takes its first one
in a single step. So a kill, a full disk or an error at any moment leaves the old catalogue or the new one, whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import duckdb

from .dataset import Dataset, publish
from .dataset_place import dataset_folder, remote_place
from .errors import CatalogueError
from .file import (
    DEFAULT_WAIT_SECONDS,
    connect_reader,
    connect_writer,
    featdex_version,
    require_writable_folder,
    schema_version,
    translated,
    writing,
)
from .file_faults import raise_if_full
from .given_path import given_path
from .older import missing_columns
from .questions import install_queries
from .schema import SCHEMA_VERSION, Table
from .tables import TABLES


class Migrated(NamedTuple):
    """From which schema a catalogue was brought up to date, and where it is kept as it was."""

    version: int
    kept: Path


def migrate(
    path: str | os.PathLike[str],
    *,
    wait: float = DEFAULT_WAIT_SECONDS,
    narrate: Callable[[str], None] | None = None,
) -> Migrated | None:
    """Bring a catalogue to the schema of this featdex; the old one is kept as FILE.v1, by its schema.

    Of a catalogue that has this schema only the views and questions are installed again, and None is returned. The
    catalogue of a dataset is made again from its files.

    Args:
        path: The catalogue.
        wait: Seconds to wait for writers to let go. Readers may go on, on the old one.
        narrate: Told when it has to wait.

    Raises:
        CatalogueError: It is damaged, foreign or newer; the copy can't be written, or its name is taken.
        LockedError: Another process holds it for longer than `wait` seconds.
    """
    file = Path(path)
    dataset = remote_place(file) or dataset_folder(given_path(file))
    if dataset is not None:
        publish(Dataset.open(dataset), narrate or (lambda _: None))
        return None
    require_writable_folder(file)
    with closing(connect_reader(file, wait=wait, narrate=narrate)) as connection:
        version = schema_version(file, connection)
        is_current = version == SCHEMA_VERSION and not missing_columns(connection)
    if is_current:
        with writing(file, wait=wait, narrate=narrate) as connection, translated():
            install_queries(connection)
        return None
    _fold_log(file, wait, narrate)
    kept = file.with_name(f"{file.name}.v{version}")
    scratch = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        with _held(file, wait, narrate) as source:
            _copy(source, scratch)
            _upgrade(scratch, version)
            _swap(file, source, scratch, kept)
    except OSError as error:
        raise_if_full(file, error)
        raise CatalogueError(f"cannot migrate {file}: {error.strerror or error}") from error
    finally:
        for left in (scratch, _log(scratch)):
            left.unlink(missing_ok=True)
    return Migrated(version, kept)


def _fold_log(file: Path, wait: float, narrate: Callable[[str], None] | None) -> None:
    """Take what the log of an interrupted write holds into the file."""
    if _log(file).exists():
        with closing(connect_writer(file, wait=wait, narrate=narrate)) as connection, translated():
            connection.execute("CHECKPOINT")


def _log(file: Path) -> Path:
    return file.with_name(f"{file.name}.wal")


@contextmanager
def _held(file: Path, wait: float, narrate: Callable[[str], None] | None) -> Iterator[BinaryIO]:
    """Keep writers off the file, and give its bytes."""
    # Closing any handle of the file ends this process's lock on it, so the handle is closed after the connection.
    with file.open("rb") as source, closing(connect_reader(file, wait=wait, narrate=narrate)):
        if _log(file).exists():
            raise CatalogueError(f"{file} was written to just now; run it again")
        yield source


def _copy(source: BinaryIO, scratch: Path) -> None:
    with scratch.open("xb") as target:
        shutil.copyfileobj(source, target, 1 << 22)
        target.flush()
        os.fsync(target.fileno())


def _upgrade(scratch: Path, version: int) -> None:
    """Bring the copy up to date in one transaction."""
    connection = connect_writer(scratch, wait=0.0)
    try:
        with translated():
            connection.execute("BEGIN")
            missing = missing_columns(connection)
            for table in TABLES:
                if table.name in missing:
                    _rebuild(connection, table, is_new=len(missing[table.name]) == len(table.columns))
                for comment in table.ddl()[1:]:
                    connection.execute(comment)
            install_queries(connection)
            stamp = f"featdex {featdex_version()}, {datetime.now(UTC).isoformat(timespec='seconds')}"
            connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", [str(SCHEMA_VERSION)])
            connection.execute("INSERT INTO meta VALUES (?, ?)", [f"migrated_from_{version}", stamp])
            connection.execute("COMMIT")
            connection.execute("CHECKPOINT")
    except BaseException as error:
        raise_if_full(scratch, error)
        raise
    finally:
        connection.close()
    if _log(scratch).exists():
        raise CatalogueError(f"cannot write {scratch} to its end; make room and run it again")


def _rebuild(connection: duckdb.DuckDBPyConnection, table: Table, *, is_new: bool) -> None:
    """Make a table as it is in a new catalogue, with the rows it has; new columns are NULL."""
    create = table.ddl()[0]
    if is_new:
        connection.execute(create)
        return
    # A column added to a table would come last, and its keys would stay as they were.
    connection.execute(f'CREATE TEMP TABLE held AS FROM "{table.name}"')
    connection.execute(f'DROP TABLE "{table.name}"')
    connection.execute(create)
    connection.execute(f'INSERT INTO "{table.name}" BY NAME FROM held')
    connection.execute("DROP TABLE held")


def _swap(file: Path, source: BinaryIO, scratch: Path, kept: Path) -> None:
    """Give the old file its second name, and its first one to the new file."""
    if not os.path.samestat(os.fstat(source.fileno()), file.stat()):
        raise CatalogueError(f"another file took the place of {file} meanwhile; run it again")
    # Killed between the two steps, an earlier migration has left the file under both names.
    if not (kept.exists() and kept.samefile(file)):
        if kept.exists():
            raise CatalogueError(f"{kept} is there already; move it away, for the old catalogue is to be kept there")
        _second_name(file, source, kept)
    scratch.replace(file)


def _second_name(file: Path, source: BinaryIO, kept: Path) -> None:
    try:
        os.link(file, kept)
    except OSError:
        # Not every file system has links.
        part = kept.with_name(f".{kept.name}.{os.getpid()}.part")
        try:
            source.seek(0)
            _copy(source, part)
            part.rename(kept)
        finally:
            part.unlink(missing_ok=True)
