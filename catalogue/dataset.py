"""The layout of a dataset: a catalogue as parquet files, one partition an SAE, for what outgrows one file.

    featdex.json                          what this folder is, and which columns `enrichment` has
    manifest/sae=0517.json                one SAE that is there whole: its row, its run, its files; written last
    enrichment/sae=0517/part-0.parquet    and feature, feature_token, set_correlation, … likewise
    model.parquet, token.parquet, …       the tables that all SAEs share
    catalogue.duckdb                      made from all of these: what readers open

Nothing outside `manifest/` says that an SAE is there: what a kill has left of one is written over by the next run.
An SAE that is written again gets new files; the old ones go when a catalogue that does without them is published.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import NamedTuple

import duckdb
import pyarrow as pa

from .dataset_catalogue import is_published as is_published
from .dataset_catalogue import publish as publish
from .dataset_files import read_shared, shared_path, write_file
from .dataset_manifest import File, Partition, read_manifests
from .dataset_partition import write_partition as write_partition
from .dataset_place import CATALOGUE as CATALOGUE
from .dataset_place import KIND, MARK
from .dataset_tables import COLUMNS, PARTITIONED, SHARED, arrow_schema
from .errors import CatalogueError, UsageError
from .file import featdex_version, translated
from .schema import Table
from .store import Store
from .tables import MODEL, SET_NULL, TOKEN, TOKEN_SET, TOKEN_SET_DROPPED, TOKEN_SET_MEMBER
from .write import LedgerEntry, Row, require_same_model
from .write_sets import insert_row, next_id, set_ids_of

_RESERVED = "ids.json"
"""The ids that ingests have given out, by slug: an SAE under way has one before it has a manifest file."""

_LOCK = ".ids.lock"
_UNDER_WAY = -1
"""An SAE that has no id yet."""


class Registered(NamedTuple):
    """The ids that a model and its token sets have in a dataset, the sets in the order given."""

    model_id: int
    set_ids: list[int]


class Dataset:
    """A dataset in a store. Can be pickled: other processes write partitions of it."""

    def __init__(self, store: Store, columns: str, *, is_begun: bool) -> None:
        self.store = store
        self.columns = columns
        self._is_begun = is_begun

    @classmethod
    def open(cls, where: str | os.PathLike[str]) -> Dataset:
        """Open a dataset that is there.

        Raises:
            CatalogueError: There is none, or it is damaged or newer than this featdex.
        """
        store = Store(where)
        columns = _columns_of(store)
        if columns is None:
            raise CatalogueError(f"no dataset at {store}; make one with 'featdex ingest … --to' or 'featdex unpack'")
        return cls(store, columns, is_begun=True)

    @classmethod
    def open_or_create(cls, where: str | os.PathLike[str], columns: str | None = None) -> Dataset:
        """Open a dataset, or the place where one is to be: nothing is made before there is something to write.

        Args:
            where: A folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX.
            columns: `full` or `core`: which columns enrichment has. By default those of the dataset that is there,
                else all.

        Raises:
            UsageError: The dataset that is there has other columns; something else is there; or nobody can write there.
            CatalogueError: It is damaged or newer than this featdex.
        """
        if columns is not None and columns not in COLUMNS:
            raise UsageError(f"no columns {columns!r}; a dataset has {' or '.join(COLUMNS)}")
        store = Store(where)
        _require_plain_place(store)
        there = _columns_of(store)
        if there is None:
            _require_free(store)
            return cls(store, columns or COLUMNS[0], is_begun=False)
        if columns not in (None, there):
            raise UsageError(f"the dataset {store} has {there} columns; leave out --columns {columns}, or name another")
        return cls(store, there, is_begun=True)

    def begin(self) -> None:
        """Say what this place is, unless it is said already."""
        if not self._is_begun and not self.store.exists(MARK):
            facts = {KIND: 1, "columns": self.columns, "versions": {"featdex": featdex_version()}}
            self.store.write(MARK, (json.dumps(facts, indent=1) + "\n").encode())
        self._is_begun = True

    def partitions(self) -> list[Partition]:
        """Return the SAEs that are there whole, by their ids."""
        return read_manifests(self.store)

    def shared(self, table: Table) -> pa.Table:
        """Return a table that all SAEs share; empty where it is not there yet."""
        return read_shared(self.store, table)

    def sae_ids(self) -> dict[str, int]:
        """Return the ids of the SAEs that are there whole, by slug."""
        return {partition.sae["slug"]: partition.sae_id for partition in self.partitions()}

    def ledger(self, partitions: list[Partition] | None = None) -> dict[str, LedgerEntry]:
        """Return the newest run of every SAE that is there whole, by slug, as `write.ledger` does of a file.

        `partitions` are what is there, where that was read already.
        """
        sets = {
            row["set_id"]: (row["name"], row["members_sha256"])
            for row in read_shared(self.store, TOKEN_SET).to_pylist()
        }
        entries = {}
        for partition in self.partitions() if partitions is None else partitions:
            if not partition.runs:
                continue
            run = max(partition.runs, key=lambda run: run["run_id"] or 0)
            tested = dict(sets[set_id] for set_id in partition.set_ids if set_id in sets)
            slug = partition.sae["slug"]
            entries[slug] = LedgerEntry(slug, json.loads(run["params"]), run["params_sha256"], tested)
        return entries

    def require_same_model(self, model: Row) -> None:
        """Raise `CatalogueError` where the dataset has another model of that name."""
        with closing(duckdb.connect()) as connection, translated():
            connection.execute(MODEL.ddl()[0])
            connection.register("stored_rows", read_shared(self.store, MODEL))
            connection.execute("INSERT INTO model BY NAME FROM stored_rows")
            require_same_model(connection, model)

    def register(
        self, model: Row, tokens: pa.Table, token_sets: pa.Table, members: pa.Table, dropped: pa.Table
    ) -> Registered:
        """Give ids to a model and its sets as a catalogue file does, and keep those that are new.

        In an object store one process at a time may do so. The arguments are those of `SaeRows`.

        Raises:
            CatalogueError: The dataset holds another model of that name, or its shared tables are damaged.
        """
        self.begin()
        with self._alone(), closing(duckdb.connect()) as connection, translated():
            self._load_sets(connection)
            model_id = require_same_model(connection, model)
            if model_id is None:
                model_id = next_id(connection, "model", "model_id")
                insert_row(connection, "model", {**model, "model_id": model_id})
                self._add_tokens(connection, tokens, model_id)
                self._keep(connection, "model", "model_id")
            before = connection.execute("FROM token_set ORDER BY set_id").fetchall()
            set_ids = set_ids_of(connection, token_sets, members, dropped, model_id)
            if connection.execute("FROM token_set ORDER BY set_id").fetchall() != before:
                # The sets last: members of a set that is not there yet are nobody's.
                self._keep(connection, "token_set_member", "set_id, token_id")
                self._keep(connection, "token_set_dropped", "set_id, term, reason")
                self._keep(connection, "token_set", "set_id")
        return Registered(model_id, set_ids)

    def reserve(self, slug: str, known: Mapping[str, int]) -> int:
        """Return the id of an SAE, which no other gets: its own, or the next one.

        Args:
            slug: The SAE.
            known: Ids of the SAEs that are there.
        """
        self.begin()
        with self._alone():
            ids = dict(known)
            if self.store.exists(_RESERVED):
                ids |= self._reserved()
            if slug not in ids:
                ids[slug] = max(ids.values(), default=0) + 1
                self.store.write(_RESERVED, json.dumps(ids).encode())
        return ids[slug]

    def _reserved(self) -> dict[str, int]:
        try:
            return {str(slug): int(sae_id) for slug, sae_id in json.loads(self.store.read(_RESERVED)).items()}
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise CatalogueError(f"{self.store.place(_RESERVED)} is damaged; remove it while no ingest runs") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from giving out ids meanwhile; in an object store, where nothing can, hope for none."""
        if self.store.local is None or sys.platform == "win32":
            yield
            return
        import fcntl

        with (self.store.local / _LOCK).open("ab") as stream:
            # Given back when the file is closed, whatever becomes of this process.
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def damaged(self, partitions: list[Partition]) -> set[str]:
        """Return the slugs of those SAEs of which a file is missing or has other bytes than its manifest says."""
        broken = set()
        for partition in partitions:
            for file in partition.files.values():
                if self.store.local is not None and not self._is_whole(file):
                    broken.add(str(partition.sae["slug"]))
        return broken

    def _is_whole(self, file: File) -> bool:
        return self.store.exists(file.path) and self.store.size(file.path) == file.n_bytes

    def _load_sets(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Fill a database with what ids depend on."""
        for table in (MODEL, TOKEN_SET, TOKEN_SET_MEMBER, TOKEN_SET_DROPPED, SET_NULL):
            connection.execute(table.ddl()[0])
        owned = " WHERE set_id IN (SELECT set_id FROM token_set)"
        for table in (MODEL, TOKEN_SET, TOKEN_SET_MEMBER, TOKEN_SET_DROPPED):
            connection.register("stored_rows", read_shared(self.store, table))
            condition = "" if table in (MODEL, TOKEN_SET) else owned
            connection.execute(f"INSERT INTO {table.name} BY NAME FROM stored_rows{condition}")
            connection.unregister("stored_rows")
        pairs = [(partition.sae_id, set_id) for partition in self.partitions() for set_id in partition.set_ids]
        # Another ingest may have been given ids for SAEs that are not there yet: no set goes, but for a new name.
        found = connection.execute("SELECT set_id FROM token_set").fetchall()
        pairs += [(_UNDER_WAY, set_id) for (set_id,) in found]
        tested = pa.table({"sae_id": [pair[0] for pair in pairs], "set_id": [pair[1] for pair in pairs]})
        if pairs:
            connection.register("tested_sets", tested)
            connection.execute("INSERT INTO set_null BY NAME FROM tested_sets")

    def _add_tokens(self, connection: duckdb.DuckDBPyConnection, tokens: pa.Table, model_id: int) -> None:
        """Add the vocabulary of a new model: before the model itself, without which it is nobody's."""
        connection.execute(TOKEN.ddl()[0])
        connection.register("stored_rows", read_shared(self.store, TOKEN))
        connection.register("incoming_rows", tokens)
        connection.execute(f"INSERT INTO token BY NAME FROM stored_rows WHERE model_id < {model_id}")
        connection.execute(f"INSERT INTO token BY NAME SELECT {model_id} AS model_id, * FROM incoming_rows")
        self._keep(connection, "token", "model_id, token_id")

    def _keep(self, connection: duckdb.DuckDBPyConnection, name: str, order: str) -> None:
        table = next(table for table in SHARED if table.name == name)
        rows = connection.sql(f"FROM {name} ORDER BY {order}").to_arrow_table()
        write_file(self.store, shared_path(table), rows.cast(arrow_schema(table)))


def _columns_of(store: Store) -> str | None:
    """Return which columns the dataset at a place has, None where there is no dataset.

    Raises:
        CatalogueError: What is there is damaged, of a newer featdex, or something else.
    """
    if not store.exists(MARK):
        return None
    try:
        facts = json.loads(store.read(MARK))
        version, columns = facts[KIND], facts["columns"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CatalogueError(f"{store.place(MARK)} is not that of a dataset; name another folder") from error
    if version != 1 or columns not in COLUMNS:
        raise CatalogueError(f"{store} is a dataset of a newer featdex; upgrade featdex")
    return str(columns)


def _require_free(store: Store) -> None:
    """Raise `UsageError` unless nothing is at a place, and it can be written."""
    if store.local is not None:
        if store.local.exists() and not store.local.is_dir():
            raise UsageError(f"{store} is a file; a dataset is a folder")
        root = next(folder for folder in (store.local, *store.local.parents) if folder.exists())
        if not root.is_dir() or not os.access(root, os.W_OK):
            raise UsageError(f"{store} can't be made: {root} {'is read-only' if root.is_dir() else 'is a file'}")
    if store.local is None:
        there = store.files()
    else:
        there = sorted(entry.name for entry in store.local.iterdir()) if store.local.exists() else []
    if there:
        raise UsageError(f"{store} holds {there[0]!r}, which is no part of a dataset; name another folder")


def _require_plain_place(store: Store) -> None:
    """Raise `UsageError` where a folder above looks like a partition, which engines would take for a column."""
    names = {"sae", *(column.name for table in PARTITIONED for column in table.columns)}
    for part in re.split(r"[/\\]", store.where):
        if part.partition("=")[0] in names and "=" in part:
            raise UsageError(
                f"{store} is below {part!r}, which readers of parquet take for a column; name another folder"
            )
