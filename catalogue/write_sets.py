"""Writing token sets: versions of a set are kept apart by the hash of their members, and never mixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa

from .errors import CatalogueError

Row = Mapping[str, Any]

_LARGEST_SET_ID = 32_767


def next_id(connection: duckdb.DuckDBPyConnection, table: str, column: str) -> int:
    """Return the smallest id above those in use."""
    row = connection.execute(f"SELECT coalesce(max({column}), 0) + 1 FROM {table}").fetchall()
    return int(row[0][0])


def insert_row(connection: duckdb.DuckDBPyConnection, table: str, row: Row) -> None:
    """Insert one row by the names of its columns."""
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join("?" for _ in row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))


def set_ids_of(
    connection: duckdb.DuckDBPyConnection,
    token_sets: pa.Table,
    members: pa.Table,
    dropped: pa.Table,
    model_id: int,
    sae_id: int | None = None,
) -> list[int]:
    """Return the id of every incoming set, adding the new ones with their members and dropped terms.

    A set whose members changed is a new set: the old one, with the rows that SAEs other than `sae_id` have of it, goes
    on as `name@hash`; it is removed where no other SAE has it.
    """
    ids = []
    new = []
    free = next_id(connection, "token_set", "set_id")
    for index, row in enumerate(token_sets.to_pylist()):
        set_id = _matching_set(connection, row, model_id, sae_id)
        if set_id is None:
            if free > _LARGEST_SET_ID:
                raise CatalogueError(f"a catalogue holds {_LARGEST_SET_ID:,} token sets at most; use another file")
            set_id = free
            free += 1
            new.append(index)
            insert_row(connection, "token_set", {**row, "set_id": set_id, "model_id": model_id})
        ids.append(set_id)
    if new:
        mapping = pa.table({"set_index": pa.array(new, pa.int32()), "set_id": [ids[index] for index in new]})
        connection.register("incoming_ids", mapping)
        for table, rows in (("token_set_member", members), ("token_set_dropped", dropped)):
            connection.register("incoming_rows", rows)
            connection.execute(
                f"INSERT INTO {table} BY NAME SELECT i.set_id, m.* EXCLUDE (set_index) FROM incoming_rows m"
                " JOIN incoming_ids i USING (set_index) ORDER BY ALL"
            )
            connection.unregister("incoming_rows")
        connection.unregister("incoming_ids")
    return ids


def _versioned(name: str, members_sha256: str) -> str:
    return f"{name}@{members_sha256[:8]}"


def _matching_set(connection: duckdb.DuckDBPyConnection, row: Row, model_id: int, sae_id: int | None) -> int | None:
    name, digest = row["name"], row["members_sha256"]
    known = connection.execute(
        "SELECT name, set_id, members_sha256 FROM token_set WHERE model_id = ? AND name IN (?, ?)",
        [model_id, name, _versioned(name, digest)],
    ).fetchall()
    by_name = {found: (int(set_id), old) for found, set_id, old in known}
    if name in by_name and by_name[name][1] == digest:
        return by_name[name][0]
    if name in by_name:
        _retire(connection, by_name[name][0], _versioned(name, by_name[name][1]), sae_id)
    kept = by_name.get(_versioned(name, digest))
    if kept is None:
        return None
    connection.execute("UPDATE token_set SET name = ? WHERE set_id = ?", [name, kept[0]])
    return kept[0]


def _retire(connection: duckdb.DuckDBPyConnection, set_id: int, old_name: str, sae_id: int | None) -> None:
    used = connection.execute(
        "SELECT count(*) FROM set_null WHERE set_id = ? AND sae_id IS DISTINCT FROM ?", [set_id, sae_id]
    ).fetchall()
    if used[0][0]:
        connection.execute("UPDATE token_set SET name = ? WHERE set_id = ?", [old_name, set_id])
    else:
        delete_set(connection, set_id)


def delete_set(connection: duckdb.DuckDBPyConnection, set_id: int) -> None:
    """Delete a token set that no SAE has rows of, with its members and dropped terms."""
    for table in ("token_set_member", "token_set_dropped", "token_set"):
        connection.execute(f"DELETE FROM {table} WHERE set_id = ?", [set_id])
