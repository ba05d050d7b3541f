"""A dataset in an object store, read from here: its catalogue as a copy that is kept, its parquet where it lies.

DuckDB has no way of its own to an object store without an extension that is not in the wheel, and opens no catalogue
there: the small file is fetched once, and again whenever it has changed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .dataset_place import CATALOGUE, MARK, is_mark, shut_to
from .errors import CatalogueError, FeatdexError
from .store import Store

if TYPE_CHECKING:
    import duckdb


def copied_catalogue(store: Store) -> Path:
    """Return the catalogue of a dataset as a file here, fetched where it is not the one that was fetched last.

    Raises:
        CatalogueError: There is no dataset, or it has no catalogue yet.
        FeatdexError: The store can't be reached, or the cache not be written.
    """
    if not store.exists(MARK) or not is_mark(store.read(MARK)):
        raise CatalogueError(f"no dataset at {store}; make one with 'featdex ingest … --to' or 'featdex unpack'")
    if not store.exists(CATALOGUE):
        raise CatalogueError(f"the dataset {store} has no {CATALOGUE} yet; 'featdex --db {store} migrate' makes it")
    folder = _cache() / hashlib.sha256(store.where.encode()).hexdigest()[:24]
    copy = folder / store.version(CATALOGUE) / CATALOGUE
    if copy.is_file():
        return copy
    try:
        store.get(CATALOGUE, copy)
        _forget_others(folder, copy)
    except OSError as error:
        raise FeatdexError(f"cannot keep a copy of {store.place(CATALOGUE)} in {folder}: {error.strerror}") from error
    return copy


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "featdex" / "datasets"


def _forget_others(folder: Path, copy: Path) -> None:
    """Remove earlier copies; who reads one goes on."""
    for other in folder.iterdir():
        if other != copy.parent:
            (other / CATALOGUE).unlink(missing_ok=True)
            if not any(other.iterdir()):
                other.rmdir()


def connect_remote(where: str, config: Mapping[str, str]) -> duckdb.DuckDBPyConnection:
    """Open the catalogue of a dataset in an object store for reading; it reaches the files of that store only.

    Raises:
        CatalogueError: As `copied_catalogue`; or the copy is damaged.
    """
    import duckdb

    from .file_faults import one_line, open_fault
    from .store_duckdb import register

    store = Store(where)
    file = copied_catalogue(store)
    try:
        connection = duckdb.connect(str(file), read_only=True, config=dict(config))
    except duckdb.Error as error:
        raise open_fault(Path(store.place(CATALOGUE)), error, one_line(error), read_only=True) from error
    try:
        connection.execute("SET enable_progress_bar = false")
        register(connection, store)
        shut_to(connection, [f"{store.where.rstrip('/')}/"])
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection
