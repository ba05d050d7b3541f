"""A dataset as one ordinary catalogue file, and a file as a dataset."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, overload

import duckdb
import pyarrow as pa

from .dataset import Dataset, Registered
from .dataset_catalogue import publish_with_notes
from .dataset_files import shared_path, write_file
from .dataset_fill import carry_notes, files_at_hand, fill_rows, fill_shared, old_catalogue
from .dataset_manifest import Partition
from .dataset_partition import write_with_runs
from .dataset_place import remote_place
from .dataset_tables import ENRICHMENT_CUT, ENRICHMENT_TOP, PARTITIONED, SHARED, arrow_schema, file_columns
from .dataset_views import file_list
from .errors import CatalogueError, FeatdexError, UsageError
from .file import create, one_line, open_reader, require_writable_folder, translated
from .file_faults import raise_if_full
from .given_path import given_path
from .new_file import publish_new, remove_abandoned, remove_scratch
from .schema import Table
from .stored import correlation_of, enrichment_of, nulls_of
from .tables import FEATURE, FEATURE_TOKEN, MODEL, RUN, SAE, TOKEN_SET
from .write import SaeRows

Narrate = Callable[[str], None]

_MEMORY = "1GB"
_FEATURES_AT_ONCE = 16_384


def pack(where: str | os.PathLike[str], path: str | os.PathLike[str], narrate: Narrate) -> None:
    """Make one catalogue file of a dataset, as an ingest into it would have: whole, or not at all.

    Args:
        where: The dataset: a folder, s3://… or gs://….
        path: The file to make.
        narrate: Told in a line of every SAE.

    Raises:
        UsageError: Something is at `path`.
        CatalogueError: There is no dataset, or a file of it is missing, damaged or has other rows than its manifest
            says.
        FeatdexError: The file can't be written.
    """
    dataset = Dataset.open(where)
    if remote := remote_place(path):
        raise UsageError(f"{remote} is in an object store; name a file of this machine to make")
    if re.search(r"[*?\[]", os.fspath(path)):
        raise UsageError(f"{path} has characters that DuckDB takes for a pattern; give the file another name")
    file = given_path(path)
    if file.exists() or file.is_symlink():
        raise UsageError(f"{file} is there already; name a file to make")
    require_writable_folder(file)
    remove_abandoned(file, "new")
    scratch = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        create(scratch)
        with closing(duckdb.connect(str(scratch), config={"memory_limit": _MEMORY})) as connection:
            _fill(dataset, connection, narrate)
            connection.execute("CHECKPOINT")
            _require_no_log(scratch)
            if not publish_new(scratch, file):
                raise UsageError(f"{file} is there meanwhile; name another file")
    except (duckdb.Error, OSError, FeatdexError) as error:
        raise_if_full(file, error)
        if isinstance(error, FeatdexError):
            raise
        raise CatalogueError(f"cannot make {file}: {one_line(error)}") from error
    finally:
        remove_scratch(scratch)
    narrate(f"{file}: {len(dataset.partitions()):,} SAEs, {file.stat().st_size:,} bytes")


def _require_no_log(scratch: Path) -> None:
    log = scratch.with_name(f"{scratch.name}.wal")
    if log.exists() and log.stat().st_size:
        raise CatalogueError(f"cannot write {scratch} to its end; make room and run it again")


def _fill(dataset: Dataset, connection: duckdb.DuckDBPyConnection, narrate: Narrate) -> None:
    """Fill an empty catalogue, an SAE in a transaction as an ingest does."""
    partitions = dataset.partitions()
    connection.execute("BEGIN")
    fill_shared(connection, dataset.store)
    fill_rows(connection, partitions)
    with tempfile.TemporaryDirectory(prefix="featdex-") as folder:
        with old_catalogue(dataset.store, Path(folder)) as old:
            carry_notes(connection, old, partitions)
        connection.execute("COMMIT")
        for number, partition in enumerate(partitions, 1):
            _fill_sae(dataset, partition, connection, Path(folder))
            narrate(f"{number}/{len(partitions)} {partition.sae['slug']}")


def _fill_sae(dataset: Dataset, partition: Partition, connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    tables = [table for table in PARTITIONED if table not in (ENRICHMENT_TOP, ENRICHMENT_CUT)]
    files = [partition.files[table.name] for table in tables]
    with files_at_hand(dataset.store, [file.path for file in files], folder) as root:
        connection.execute("BEGIN")
        for table, file in zip(tables, files, strict=True):
            columns = ", ".join(f'file."{column.name}"' for column in file_columns(table, dataset.columns))
            found = connection.execute(
                f"INSERT INTO {table.name} BY NAME SELECT {partition.sae_id} AS sae_id, {columns}"
                f" FROM {file_list([f'{root}/{file.path}'])} file"
            ).fetchall()
            if found[0][0] != file.n_rows:
                raise CatalogueError(
                    f"{dataset.store.place(file.path)} has {found[0][0]:,} rows and the manifest says {file.n_rows:,};"
                    f" ingest {partition.sae['slug']} again"
                )
        connection.execute("COMMIT")


def unpack(
    path: str | os.PathLike[str], where: str | os.PathLike[str], narrate: Narrate, columns: str | None = None
) -> None:
    """Make a dataset of a catalogue; after a kill, SAEs that are there with the same run are skipped.

    Args:
        path: The catalogue. Another dataset will do.
        where: The dataset: a folder, s3://… or gs://….
        narrate: Told in a line of every SAE.
        columns: `full` or `core`; by default those of the dataset that is there, else all.

    Raises:
        UsageError: Something else is at `where`, or a dataset of other sets or SAEs.
        CatalogueError: The catalogue is damaged, or lacks rows of an SAE.
        FeatdexError: The dataset can't be written.
    """
    with closing(open_reader(given_path(path), memory=_MEMORY)) as connection, translated():
        dataset = Dataset.open_or_create(where, columns)
        known = {partition.sae_id: partition for partition in dataset.partitions()}
        saes = _rows(connection, SAE, "ORDER BY sae_id")
        _require_same(dataset, known, connection, saes, path)
        _keep_shared(dataset, connection)
        n_skipped = 0
        for number, sae in enumerate(saes, 1):
            runs = _rows(connection, RUN, f"WHERE sae_id = {int(sae['sae_id'])} ORDER BY run_id")
            before = known.get(sae["sae_id"])
            if before is not None and (before.sae, before.runs) == (_plain(sae), [_plain(run) for run in runs]):
                n_skipped += 1
                continue
            _unpack_sae(dataset, connection, sae, runs)
            narrate(f"{number}/{len(saes)} {sae['slug']}")
        if n_skipped:
            narrate(f"{n_skipped:,} of {len(saes):,} SAEs were there")
        publish_with_notes(dataset, narrate, connection)


def _rows(connection: duckdb.DuckDBPyConnection, table: Table, condition: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(f"FROM {table.name} {condition}").to_arrow_table().to_pylist()
    return rows


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as a manifest file has it."""
    return {key: value if isinstance(value, str | int | float | None) else str(value) for key, value in row.items()}


def _require_same(
    dataset: Dataset,
    known: dict[int, Partition],
    connection: duckdb.DuckDBPyConnection,
    saes: list[dict[str, Any]],
    path: str | os.PathLike[str],
) -> None:
    """Raise `UsageError` where an id of the dataset means something else in the catalogue."""
    ids = {sae["slug"]: sae["sae_id"] for sae in saes}
    slugs = {sae["sae_id"]: sae["slug"] for sae in saes}
    for partition in known.values():
        slug = partition.sae["slug"]
        if ids.get(slug, partition.sae_id) != partition.sae_id or slugs.get(partition.sae_id, slug) != slug:
            raise UsageError(f"{dataset.store} has other SAEs than {path}, such as {slug}; name another folder")
    for table, columns in ((MODEL, ("model_id", "name", "unembed_sha256")), (TOKEN_SET, ("set_id", "members_sha256"))):
        names = ", ".join(columns)
        there = {tuple(row.values()) for row in dataset.shared(table).select(columns).to_pylist()}
        given = set(connection.execute(f"SELECT {names} FROM {table.name}").fetchall())
        # What nobody has results of yet may be written over.
        if known and there - given:
            raise UsageError(f"{dataset.store} has other rows of {table.name} than {path}; name another folder")


def _keep_shared(dataset: Dataset, connection: duckdb.DuckDBPyConnection) -> None:
    dataset.begin()
    # The sets last: members of a set that is not there yet are nobody's.
    for table in sorted(SHARED, key=lambda table: table in (MODEL, TOKEN_SET)):
        rows = connection.sql(f"FROM {table.name}").to_arrow_table()
        write_file(dataset.store, shared_path(table), rows.cast(arrow_schema(table)))


class _Parts(Sequence[pa.Table]):
    """Tables of which each is read when its turn comes."""

    def __init__(self, n: int, read: Callable[[int], pa.Table]) -> None:
        self._n, self._read = n, read

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> pa.Table: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[pa.Table]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self._read(place) for place in range(self._n)[index]]
        if not 0 <= index < self._n:
            raise IndexError(index)
        return self._read(index)


def _unpack_sae(
    dataset: Dataset, connection: duckdb.DuckDBPyConnection, sae: dict[str, Any], runs: list[dict[str, Any]]
) -> None:
    sae_id, slug, d_sae = int(sae["sae_id"]), str(sae["slug"]), int(sae["d_sae"])
    set_ids = [
        int(set_id)
        for (set_id,) in connection.execute(
            "SELECT set_id FROM set_null WHERE sae_id = ? ORDER BY set_id", [sae_id]
        ).fetchall()
    ]
    counted = connection.execute("SELECT count(*) FROM enrichment WHERE sae_id = ?", [sae_id]).fetchall()
    if counted[0][0] != len(set_ids) * d_sae:
        raise CatalogueError(f"{slug} has not one row for each of its features and sets; see 'featdex doctor'")

    def features(table: Table) -> _Parts:
        columns = ", ".join(f'"{name}"' for name in table.column_names if name != "sae_id")
        order = ", ".join(name for name in table.order if name != "sae_id")

        def read(index: int) -> pa.Table:
            first = index * _FEATURES_AT_ONCE
            return connection.sql(
                f"SELECT {columns} FROM {table.name} WHERE sae_id = {sae_id} AND feature >= {first}"
                f" AND feature < {first + _FEATURES_AT_ONCE} ORDER BY {order}"
            ).to_arrow_table()

        return _Parts(-(-d_sae // _FEATURES_AT_ONCE), read)

    rows = SaeRows(
        model={},
        tokens=pa.table({}),
        sae={name: value for name, value in sae.items() if name not in ("sae_id", "model_id")},
        token_sets=pa.table({"set_id": set_ids}),
        members=pa.table({}),
        dropped=pa.table({}),
        feature=features(FEATURE),
        feature_token=features(FEATURE_TOKEN),
        enrichment=_Parts(len(set_ids), lambda index: enrichment_of(connection, slug, set_ids[index])),
        set_null=nulls_of(connection, slug, set_ids),
        correlation=correlation_of(connection, slug, set_ids),
        run={},
    )
    write_with_runs(dataset, sae_id, Registered(int(sae["model_id"]), set_ids), rows, runs)
