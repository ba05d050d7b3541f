"""The catalogue of a dataset: made from its manifest and parquet files, as often as one likes.

It holds the small tables itself and shows the large ones as views of exactly the files that the manifest names. Tags
and explanations, which only a catalogue has, are carried over from the one whose place it takes.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from .dataset_files import shared_path
from .dataset_fill import carry_notes, files_at_hand, fill_files, fill_rows, fill_shared, old_catalogue
from .dataset_manifest import Partition, generation_of
from .dataset_place import CATALOGUE, META_KEY
from .dataset_tables import COPIED, ENRICHMENT_TOP, OWN, SHARED, VIEWED
from .dataset_views import file_list, install_views
from .errors import CatalogueError, FeatdexError
from .file import install_facts, one_line, open_reader, translated
from .file_faults import raise_if_full
from .new_file import remove_abandoned, remove_scratch
from .questions import install_queries
from .schema import STORAGE_VERSION, sql_text
from .store import Store
from .store_duckdb import register
from .tables import TABLES

if TYPE_CHECKING:
    from .dataset import Dataset

_SORTED_ROWS = 4_000_000
"""Rows of enrichment_top that are sorted at once: 28 bytes each, in memory."""
_MEMORY = "1GB"


def publish(dataset: Dataset, narrate: Callable[[str], None]) -> None:
    """Make the catalogue of a dataset from what is there, and swap it in; readers of the old one go on.

    Args:
        dataset: The dataset. A place where none is yet stays as it is.
        narrate: Told in a line what was published.

    Raises:
        CatalogueError: A file of the dataset is damaged, or the old catalogue, whose tags would be lost.
        FeatdexError: It can't be written.
    """
    publish_with_notes(dataset, narrate, None)


def is_published(dataset: Dataset) -> bool:
    """Whether the catalogue of a dataset is there and shows what the manifest names, no more and no less."""
    files = [part.files[table.name] for part in dataset.partitions() for table in VIEWED]
    wanted = {(file.path, file.n_rows, file.n_bytes) for file in files}
    try:
        with closing(open_reader(dataset.store.where)) as connection, translated():
            return set(connection.execute("SELECT path, n_rows, n_bytes FROM dataset_file").fetchall()) == wanted
    except FeatdexError:
        return False


def publish_with_notes(
    dataset: Dataset, narrate: Callable[[str], None], notes: duckdb.DuckDBPyConnection | None
) -> None:
    """Publish a dataset with the tags and explanations of another catalogue besides its own."""
    partitions = dataset.partitions()
    if not partitions and not dataset.store.exists(shared_path(SHARED[0])):
        return
    store = dataset.store
    if store.local is not None:
        remove_abandoned(store.local / CATALOGUE, "new")
        store.remove_leftovers()
    with _workplace(store) as folder, old_catalogue(store, folder) as old:
        scratch = folder / f".{CATALOGUE}.{os.getpid()}.new"
        try:
            _build(dataset, partitions, scratch, folder, [old, notes])
            _swap(store, scratch)
        except OSError as error:
            raise_if_full(scratch, error)
            raise FeatdexError(f"cannot write {store.place(CATALOGUE)}: {error.strerror or error}") from error
        finally:
            remove_scratch(scratch)
            shutil.rmtree(scratch.with_name(f"{scratch.name}.tmp"), ignore_errors=True)
    _remove_old_files(store, partitions)
    narrate(f"{store.place(CATALOGUE)}: {len(partitions):,} SAEs")


def _log(file: Path) -> Path:
    return file.with_name(f"{file.name}.wal")


@contextmanager
def _workplace(store: Store) -> Iterator[Path]:
    """Give the folder in which the catalogue is made: beside its place, or a temporary one."""
    if store.local is not None:
        yield store.local
        return
    with tempfile.TemporaryDirectory(prefix="featdex-") as folder:
        yield Path(folder)


def _build(
    dataset: Dataset,
    partitions: list[Partition],
    scratch: Path,
    folder: Path,
    noted: Sequence[duckdb.DuckDBPyConnection | None],
) -> None:
    config: dict[str, str | bool | int | float | list[str]] = {
        "storage_compatibility_version": STORAGE_VERSION,
        "memory_limit": _MEMORY,
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    try:
        with closing(duckdb.connect(str(scratch), config=config)) as connection:
            register(connection, dataset.store)
            connection.execute("BEGIN")
            _install_tables(connection)
            fill_shared(connection, dataset.store)
            fill_rows(connection, partitions)
            fill_files(connection, partitions)
            _fill_copied(connection, dataset.store, partitions, folder)
            install_facts(connection, {META_KEY: json.dumps({"version": 1, "columns": dataset.columns})})
            for old in noted:
                carry_notes(connection, old, partitions)
            with _found_from(connection, dataset.store):
                install_views(connection, "" if dataset.store.local else dataset.store.where, dataset.columns)
                install_queries(connection, dataset=True)
            connection.execute("COMMIT")
            connection.execute("CHECKPOINT")
    except duckdb.Error as error:
        raise_if_full(scratch, error)
        raise CatalogueError(f"cannot make {dataset.store.place(CATALOGUE)}: {one_line(error)}") from error
    if _log(scratch).exists():
        raise CatalogueError(f"cannot write {scratch} to its end; make room and run it again")


@contextmanager
def _found_from(connection: duckdb.DuckDBPyConnection, store: Store) -> Iterator[None]:
    """Let DuckDB find the files of views, which it opens when it makes them, by their paths from the dataset."""
    if store.local is None:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="featdex-") as folder:
        # A list of paths between commas, and of patterns: the dataset's own name may be neither.
        link = Path(folder) / "dataset"
        link.symlink_to(store.local, target_is_directory=True)
        connection.execute(f"SET file_search_path = {sql_text(str(link))}")
        yield
        connection.execute("RESET file_search_path")


def _install_tables(connection: duckdb.DuckDBPyConnection) -> None:
    for table in (*TABLES, *OWN):
        if table not in VIEWED:
            for statement in table.ddl():
                connection.execute(statement)


def _fill_copied(
    connection: duckdb.DuckDBPyConnection, store: Store, partitions: list[Partition], folder: Path
) -> None:
    """Take the small tables of all partitions, sorted."""
    for table in COPIED if partitions else ():
        files = [partition.files[table.name].path for partition in partitions]
        with files_at_hand(store, files, folder) as root:
            columns = ", ".join(f'file."{name}"' for name in table.column_names if name != "sae_id")
            source = f"SELECT file.sae AS sae_id, {columns} FROM {file_list([f'{root}/{path}' for path in files])} file"
            if table is not ENRICHMENT_TOP:
                connection.execute(f"INSERT INTO {table.name} BY NAME {source}")
                continue
            for first, last in _runs_of_sets(partitions):
                connection.execute(
                    f"INSERT INTO {table.name} BY NAME {source} WHERE file.set_id BETWEEN {first} AND {last}"
                    " ORDER BY file.set_id, file.sae, file.z DESC, file.feature"
                )


def _runs_of_sets(partitions: list[Partition]) -> Iterator[tuple[int, int]]:
    """Yield first and last of runs of sets, each of about as many rows of enrichment_top as are sorted at once."""
    weights: dict[int, float] = {}
    for partition in partitions:
        for set_id in partition.set_ids:
            share = partition.files[ENRICHMENT_TOP.name].n_rows / len(partition.set_ids)
            weights[set_id] = weights.get(set_id, 0.0) + share
    first, n_rows = None, 0.0
    last = 0
    for last in sorted(weights):
        first = last if first is None else first
        n_rows += weights[last]
        if n_rows >= _SORTED_ROWS:
            yield first, last
            first, n_rows = None, 0.0
    if first is not None:
        yield first, last


def _swap(store: Store, scratch: Path) -> None:
    """Give the new catalogue its name."""
    if store.local is None:
        with store.writing(CATALOGUE) as target, scratch.open("rb") as source:
            shutil.copyfileobj(source, target, 1 << 22)
        return
    place = store.local / CATALOGUE
    descriptor = os.open(scratch, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    scratch.replace(place)
    # The log of the file that was here before would be taken for this one's.
    _log(place).unlink(missing_ok=True)


def _remove_old_files(store: Store, partitions: list[Partition]) -> None:
    """Remove files of SAEs that were written again: those of an earlier generation than the manifest names."""
    for partition in partitions:
        for file in partition.files.values():
            for generation in range(max(0, generation_of(file.path) - 1), generation_of(file.path)):
                store.remove(file.path.replace(f"part-{generation_of(file.path)}.", f"part-{generation}."))
