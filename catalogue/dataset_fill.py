"""What a dataset holds, put into the tables of a catalogue under way: shared tables, rows of the manifest, notes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from .dataset_files import read_shared
from .dataset_manifest import Partition
from .dataset_place import CATALOGUE, literal_path
from .dataset_tables import DATASET_FILE, SHARED, VIEWED
from .errors import CatalogueError
from .file import DEFAULT_WAIT_SECONDS, connect_reader, connect_writer, schema_version, translated
from .schema import Table
from .store import Store
from .tables import EXPLANATION, RUN, SAE

_READERS = 16
_NOTES = (("explanation", EXPLANATION.column_names), ("tag", ("sae_id", "feature", "tag")))
"""The tables that only a catalogue has, and what makes a row another one."""


@contextmanager
def old_catalogue(store: Store, folder: Path) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """Give the catalogue that is there, None without one: while it is open, nobody writes a tag that would be lost."""
    if not store.exists(CATALOGUE):
        yield None
        return
    file = (store.local or folder) / CATALOGUE
    if store.local is None:
        file.write_bytes(store.read(CATALOGUE))
    elif file.with_name(f"{file.name}.wal").exists():
        # Read-only, DuckDB leaves the log of an interrupted write where it is, and it would be lost with the file.
        with closing(connect_writer(file, wait=DEFAULT_WAIT_SECONDS)) as connection, translated():
            connection.execute("CHECKPOINT")
    try:
        connection = connect_reader(file, wait=DEFAULT_WAIT_SECONDS)
    except CatalogueError as fault:
        raise CatalogueError(
            f"{store.place(CATALOGUE)} can't be read ({fault}); remove it, with the tags in it, and run it again"
        ) from fault
    with closing(connection):
        schema_version(file, connection)
        yield connection


def fill_shared(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Take the shared tables, less what a kill has left of a model or set that did not come to be."""
    owners = {"token": ("model_id", "model")} | dict.fromkeys(
        ("token_set_member", "token_set_dropped"), ("set_id", "token_set")
    )
    for table in sorted(SHARED, key=lambda table: table.name in owners):
        key, owner = owners.get(table.name, ("", ""))
        # Rows that are looked up come out of a join in any order.
        condition = f" WHERE {key} IN (SELECT {key} FROM {owner}) ORDER BY ALL" if key else ""
        _insert(connection, table, read_shared(store, table), condition)


def fill_rows(connection: duckdb.DuckDBPyConnection, partitions: list[Partition]) -> None:
    """Insert what the manifest says of SAEs and their runs."""
    runs = [run for partition in partitions for run in partition.runs]
    for table, rows in ((SAE, [partition.sae for partition in partitions]), (RUN, runs)):
        if rows:
            names = ", ".join(f'"{name}"' for name in table.column_names)
            marks = ", ".join("?" for _ in table.column_names)
            values = [[row[name] for name in table.column_names] for row in rows]
            connection.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", values)


def fill_files(connection: duckdb.DuckDBPyConnection, partitions: list[Partition]) -> None:
    """Insert which files the views are of."""
    files = [
        {"sae_id": partition.sae_id, "table_name": name, "path": file.path}
        | {"n_rows": file.n_rows, "n_bytes": file.n_bytes}
        for partition in partitions
        for name, file in partition.files.items()
        if name in {table.name for table in VIEWED}
    ]
    if files:
        _insert(connection, DATASET_FILE, pa.Table.from_pylist(files))


@contextmanager
def files_at_hand(store: Store, paths: list[str], folder: Path) -> Iterator[str]:
    """Give the folder below which DuckDB reads these files; those of an object store are fetched for the time."""
    if store.local is not None:
        yield literal_path(str(store.local))
        return

    def fetch(path: str) -> None:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with store.reading(path) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 22)

    try:
        with ThreadPoolExecutor(_READERS) as readers:
            list(readers.map(fetch, paths))
        yield literal_path(str(folder))
    finally:
        for path in paths:
            (folder / path).unlink(missing_ok=True)


def carry_notes(
    connection: duckdb.DuckDBPyConnection, old: duckdb.DuckDBPyConnection | None, partitions: list[Partition]
) -> None:
    """Take over tags of SAEs that are there, and explanations of those whose Neuronpedia id and size are the same.

    Those that are there already stay as they are.
    """
    if old is None:
        return
    known = {partition.sae_id: partition.sae for partition in partitions}
    rows = old.execute("SELECT sae_id, slug, neuronpedia_id, d_sae FROM sae").fetchall()
    staying = {sae_id for sae_id, slug, _, _ in rows if sae_id in known and known[sae_id]["slug"] == slug}
    same = {
        sae_id
        for sae_id, _, neuronpedia_id, d_sae in rows
        if sae_id in staying
        and (neuronpedia_id, d_sae) == (known[sae_id].get("neuronpedia_id"), known[sae_id]["d_sae"])
    }
    for (name, keys), ids in zip(_NOTES, (same, staying), strict=True):
        notes: Any = old.sql(f"FROM {name}").to_arrow_table()
        connection.register("old_notes", notes)
        chosen = ", ".join(map(str, sorted(ids))) or "NULL"
        equal = " AND ".join(f'n."{key}" IS NOT DISTINCT FROM o."{key}"' for key in keys)
        connection.execute(
            f"INSERT INTO {name} BY NAME FROM old_notes o WHERE o.sae_id IN ({chosen})"
            f" AND NOT EXISTS (FROM {name} n WHERE {equal})"
        )
        connection.unregister("old_notes")


def _insert(connection: duckdb.DuckDBPyConnection, table: Table, rows: pa.Table, condition: str = "") -> None:
    connection.register("incoming_rows", rows)
    connection.execute(f"INSERT INTO {table.name} BY NAME FROM incoming_rows{condition}")
    connection.unregister("incoming_rows")
