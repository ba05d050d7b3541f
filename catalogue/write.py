"""Writing: one SAE, whole, in one short transaction.

A kill at any moment leaves whole SAEs and nothing else. Ids are given out inside the transaction,
so that two ingests into one file can't collide.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from .errors import CatalogueError
from .file import DEFAULT_WAIT_SECONDS, open_reader, translated, writing

Row = Mapping[str, Any]

SIGNIFICANCE = 0.05
"""The q below which `set_summary` counts a feature."""


@dataclass(frozen=True)
class SaeRows:
    """All rows of one SAE, ready to write. Column names are those of the tables; ids are left out.

    `token_sets` has one row a set; `members` has columns `set_index` (its row there) and `token_id`;
    `enrichment` and `set_null` come set by set in that order, every set with all features ascending.
    """

    model: Row
    tokens: pa.Table
    sae: Row
    token_sets: pa.Table
    members: pa.Table
    feature: pa.Table
    feature_token: pa.Table
    enrichment: pa.Table
    set_null: pa.Table
    run: Row


@dataclass(frozen=True)
class LedgerEntry:
    """What the ledger says of one SAE: its newest finished run."""

    slug: str
    params: dict[str, Any]
    params_sha256: str


def ledger(path: str | os.PathLike[str], *, wait: float = DEFAULT_WAIT_SECONDS) -> dict[str, LedgerEntry]:
    """Return the newest run of every SAE in the catalogue, by slug."""
    connection = open_reader(path, wait=wait)
    try:
        rows = connection.execute(
            "SELECT s.slug, arg_max(r.params, r.run_id), arg_max(r.params_sha256, r.run_id)"
            " FROM run r JOIN sae s USING (sae_id) GROUP BY s.slug"
        ).fetchall()
    finally:
        connection.close()
    return {slug: LedgerEntry(slug, json.loads(params), digest) for slug, params, digest in rows}


def write_sae(
    path: str | os.PathLike[str],
    rows: SaeRows,
    *,
    wait: float = DEFAULT_WAIT_SECONDS,
    narrate: Callable[[str], None] | None = None,
) -> int:
    """Replace everything the catalogue holds of one SAE by `rows`, in one transaction; return its sae_id.

    Raises:
        CatalogueError: The catalogue holds another model of the same name.
        LockedError: Another process holds the file for longer than `wait` seconds.
    """
    with writing(path, wait=wait, narrate=narrate) as connection, translated():
        model_id = _model_id(connection, rows)
        sae_id = _sae_id(connection, rows, model_id)
        set_ids = _set_ids(connection, rows, model_id, sae_id)
        for table in ("feature", "feature_token", "enrichment", "set_null", "set_summary", "run"):
            connection.execute(f"DELETE FROM {table} WHERE sae_id = ?", [sae_id])
        _insert(connection, "feature", rows.feature, sae_id=sae_id)
        _insert(connection, "feature_token", rows.feature_token, sae_id=sae_id)
        _insert_by_set(connection, "enrichment", rows.enrichment, set_ids, sae_id)
        _insert_by_set(connection, "set_null", rows.set_null, set_ids, sae_id)
        _summarise(connection, sae_id)
        _insert_row(connection, "run", {**rows.run, "run_id": _next_id(connection, "run", "run_id"), "sae_id": sae_id})
    return sae_id


def _next_id(connection: duckdb.DuckDBPyConnection, table: str, column: str) -> int:
    row = connection.execute(f"SELECT coalesce(max({column}), 0) + 1 FROM {table}").fetchall()
    return int(row[0][0])


def _insert_row(connection: duckdb.DuckDBPyConnection, table: str, row: Row) -> None:
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join("?" for _ in row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table, **constants: int) -> None:
    literals = "".join(f', {int(value)} AS "{name}"' for name, value in constants.items())
    connection.register("incoming_rows", rows)
    connection.execute(f"INSERT INTO {table} BY NAME SELECT *{literals} FROM incoming_rows")
    connection.unregister("incoming_rows")


def _insert_by_set(
    connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table, set_ids: list[int], sae_id: int
) -> None:
    if not set_ids:
        return
    per_set, rest = divmod(rows.num_rows, len(set_ids))
    if rest:
        raise CatalogueError(f"{table}: {rows.num_rows} rows are not the same number for each of {len(set_ids)} sets")
    # Sorted by set_id, whatever order the sets were computed in: the table's physical order makes queries fast.
    order = sorted(range(len(set_ids)), key=set_ids.__getitem__)
    parts = [
        rows.slice(index * per_set, per_set).append_column(
            "set_id", pa.repeat(pa.scalar(set_ids[index], pa.int16()), per_set)
        )
        for index in order
    ]
    _insert(connection, table, pa.concat_tables(parts), sae_id=sae_id)


def require_same_model(connection: duckdb.DuckDBPyConnection, model: Row) -> int | None:
    """Return the id of the model of that name, None where there is none yet.

    Raises:
        CatalogueError: The catalogue holds other weights or another tokenizer under that name.
    """
    found = connection.execute(
        "SELECT model_id, unembed_sha256, tokenizer_sha256 FROM model WHERE name = ?", [model["name"]]
    ).fetchall()
    if not found:
        return None
    if found[0][1:] != (model["unembed_sha256"], model["tokenizer_sha256"]):
        raise CatalogueError(
            f"the catalogue holds a model {model['name']!r} with other weights; "
            "give this one another --model-name or file"
        )
    return int(found[0][0])


def _model_id(connection: duckdb.DuckDBPyConnection, rows: SaeRows) -> int:
    model_id = require_same_model(connection, rows.model)
    if model_id is None:
        model_id = _next_id(connection, "model", "model_id")
        _insert_row(connection, "model", {**rows.model, "model_id": model_id})
        _insert(connection, "token", rows.tokens, model_id=model_id)
    return model_id


def _sae_id(connection: duckdb.DuckDBPyConnection, rows: SaeRows, model_id: int) -> int:
    found = connection.execute("SELECT sae_id FROM sae WHERE slug = ?", [rows.sae["slug"]]).fetchall()
    sae_id = int(found[0][0]) if found else _next_id(connection, "sae", "sae_id")
    # The id stays when the weights change, and with it the user's tags.
    connection.execute("DELETE FROM sae WHERE sae_id = ?", [sae_id])
    _insert_row(connection, "sae", {**rows.sae, "sae_id": sae_id, "model_id": model_id})
    return sae_id


def _set_ids(connection: duckdb.DuckDBPyConnection, rows: SaeRows, model_id: int, sae_id: int) -> list[int]:
    """Return the id of every incoming set, adding the new ones.

    A set whose members changed is a new set: the old one, with the rows that other SAEs have of it,
    goes on as `name@hash`; it is removed where no other SAE has it.
    """
    ids = []
    new = []
    next_id = _next_id(connection, "token_set", "set_id")
    for index, row in enumerate(rows.token_sets.to_pylist()):
        set_id = _matching_set(connection, row, model_id, sae_id)
        if set_id is None:
            set_id = next_id
            next_id += 1
            new.append(index)
            _insert_row(connection, "token_set", {**row, "set_id": set_id, "model_id": model_id})
        ids.append(set_id)
    if new:
        connection.register("incoming_members", rows.members)
        mapping = pa.table({"set_index": new, "set_id": [ids[index] for index in new]})
        connection.register("incoming_ids", mapping)
        connection.execute(
            "INSERT INTO token_set_member BY NAME SELECT i.set_id, m.token_id FROM incoming_members m"
            " JOIN incoming_ids i USING (set_index) ORDER BY ALL"
        )
        connection.unregister("incoming_members")
        connection.unregister("incoming_ids")
    return ids


def _versioned(name: str, members_sha256: str) -> str:
    return f"{name}@{members_sha256[:8]}"


def _matching_set(connection: duckdb.DuckDBPyConnection, row: Row, model_id: int, sae_id: int) -> int | None:
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


def _retire(connection: duckdb.DuckDBPyConnection, set_id: int, old_name: str, sae_id: int) -> None:
    used = connection.execute(
        "SELECT count(*) FROM enrichment WHERE set_id = ? AND sae_id <> ?", [set_id, sae_id]
    ).fetchall()
    if used[0][0]:
        connection.execute("UPDATE token_set SET name = ? WHERE set_id = ?", [old_name, set_id])
    else:
        connection.execute("DELETE FROM token_set_member WHERE set_id = ?", [set_id])
        connection.execute("DELETE FROM token_set WHERE set_id = ?", [set_id])


def _summarise(connection: duckdb.DuckDBPyConnection, sae_id: int) -> None:
    connection.execute(
        "INSERT INTO set_summary BY NAME SELECT sae_id, set_id,"
        " count(*) FILTER (z > 0 AND log10_q < log10($q)) AS n_promoted,"
        " count(*) FILTER (z < 0 AND log10_q < log10($q)) AS n_suppressed,"
        " arg_max(feature, z) AS best_promoted, max(z) AS best_promoted_z,"
        " arg_min(feature, z) AS best_suppressed, min(z) AS best_suppressed_z"
        " FROM enrichment WHERE sae_id = $sae GROUP BY sae_id, set_id ORDER BY set_id",
        {"q": SIGNIFICANCE, "sae": sae_id},
    )
