"""Where a dataset is read: its folder, or the catalogue in it, opened so that nothing but the folder is reached.

Imports neither pyarrow nor what writes a dataset: readers, and shells that complete a word, come through here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CatalogueError, QueryError, UsageError
from .schema import SCHEMA_VERSION, sql_text

if TYPE_CHECKING:
    import duckdb

CATALOGUE = "catalogue.duckdb"
MARK = "featdex.json"
KIND = "featdex_dataset"
META_KEY = "dataset"

# A path that has lost its second slash, as every `Path` of such a place has.
_REMOTE = re.compile(r"(s3|gs):/+(?=[^/])")
_FILES = re.compile(r"(\w+)/sae=\d{4,5}/part-\d{1,9}\.parquet")
_WRITES = re.compile(r"\b(copy|export|attach)\b", re.IGNORECASE)
_WRITING_STATEMENTS = ("COPY", "EXPORT", "ATTACH", "COPY_DATABASE", "DROP")


def literal_path(path: str) -> str:
    """Return a path in which DuckDB takes no character for a pattern."""
    return re.sub(r"([\[*?])", r"[\1]", path)


def remote_place(path: str | os.PathLike[str]) -> str | None:
    """Return the place in an object store that a path names, by a dataset or its catalogue; None for any other."""
    text = os.fspath(path)
    if not _REMOTE.match(text):
        return None
    return _REMOTE.sub(r"\1://", text, count=1).removesuffix(f"/{CATALOGUE}").rstrip("/")


def dataset_place(path: Path) -> str | None:
    """Return the dataset that a path names, as one types it; None where it names none."""
    folder = dataset_folder(path)
    return remote_place(path) or (None if folder is None else str(folder))


def dataset_folder(path: Path) -> Path | None:
    """Return the folder of the dataset that a path names, by itself or by its catalogue; None where it names none."""
    folder = path if path.is_dir() else path.parent if path.name == CATALOGUE else None
    return folder if folder is not None and _is_marked(folder) else None


def _is_marked(folder: Path) -> bool:
    try:
        return is_mark((folder / MARK).read_bytes())
    except OSError:
        return False


def is_mark(content: bytes) -> bool:
    """Whether a file called `featdex.json` says that it lies in a dataset; one of an export says something else."""
    try:
        return KIND in json.loads(content)
    except (ValueError, TypeError, RecursionError):
        return False


def catalogue_file(path: Path) -> Path:
    """Return the DuckDB file of what a path names: the one in it, of a dataset, else itself.

    Raises:
        CatalogueError: It is a dataset that has none yet.
    """
    folder = dataset_folder(path)
    if folder is None:
        return path
    if not (folder / CATALOGUE).exists():
        raise CatalogueError(f"the dataset {path} has no {CATALOGUE} yet; 'featdex --db {path} migrate' makes it")
    return folder / CATALOGUE


def refuse_writing(path: Path) -> None:
    """Raise `UsageError` where a path names a dataset: results are not written through its catalogue."""
    folder = remote_place(path) or dataset_folder(path)
    if folder is not None:
        raise UsageError(
            f"{folder} is a dataset, whose SAEs and sets lie in parquet files: 'featdex ingest … --to {folder}' adds to"
            " it, and 'featdex pack' makes an ordinary catalogue of it"
        )


def shut(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Let a reader reach the folder of its dataset, and no other file."""
    # Whoever made the catalogue may have put anything into its views and macros.
    shut_to(connection, {f"{folder.absolute()}/", f"{literal_path(str(folder.absolute()))}/"})


def shut_to(connection: duckdb.DuckDBPyConnection, places: Collection[str]) -> None:
    """Let a reader reach what begins with one of these, and no other file."""
    connection.execute(f"SET allowed_directories = [{', '.join(map(sql_text, sorted(places)))}]")
    connection.execute("SET parquet_metadata_cache = true")
    connection.execute("SET enable_external_access = false")


def is_dataset(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether an open catalogue is that of a dataset."""
    return bool(connection.execute("SELECT 1 FROM meta WHERE key = ?", [META_KEY]).fetchall())


def columns_of_dataset(connection: duckdb.DuckDBPyConnection) -> str:
    """Return which columns the open catalogue of a dataset has; `full` for any other catalogue."""
    found = connection.execute("SELECT value FROM meta WHERE key = ?", [META_KEY]).fetchall()
    try:
        return "core" if found and json.loads(found[0][0])["columns"] == "core" else "full"
    except (ValueError, KeyError, TypeError):
        return "full"


def lay_views(connection: duckdb.DuckDBPyConnection, file: Path, root: str | None, version: int) -> None:
    """Show the large tables of a dataset from wherever it is now; nothing for any other catalogue.

    Args:
        connection: A reader of its catalogue.
        file: The catalogue, as faults name it.
        root: The dataset: its folder, or its place in an object store; None where it was not found.
        version: Schema of the catalogue.

    Raises:
        CatalogueError: It was published by an older featdex, has lost its folder, or names files outside it.
    """
    if not is_dataset(connection):
        return
    if root is None:
        raise CatalogueError(f"{file} is the catalogue of a dataset, and can't be read away from it; open its folder")
    if version < SCHEMA_VERSION:
        raise CatalogueError(f"{file} was made by an older featdex; 'featdex --db {root} migrate' makes it again")
    from .dataset_views import install_views

    for table, path in connection.execute("SELECT table_name, path FROM dataset_file").fetchall():
        found = _FILES.fullmatch(path)
        if not found or found[1] != table:
            raise CatalogueError(f"{file} names {path!r}, which is no file of a dataset; take another copy of it")
    install_views(connection, root, columns_of_dataset(connection), temporary=True)


def unreadable(root: str | None, fault: QueryError) -> CatalogueError:
    """Return what to say where a file of a dataset can't be read."""
    return CatalogueError(
        f"a file of the dataset {root} can't be read ({fault}); take it from a copy, or compute that SAE again:"
        f" 'featdex ingest … --to {root}'"
    )


def require_reading(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Raise `QueryError` where SQL would write: a dataset's folder, unlike a file opened read-only, could be."""
    for statement in connection.extract_statements(text):
        kind = statement.type.name
        if kind in _WRITING_STATEMENTS or (kind not in ("SELECT", "SET") and _WRITES.search(statement.query)):
            raise QueryError(
                f"a catalogue is read-only: no {kind.replace('_', ' ')} here; 'featdex export' writes files"
            )
