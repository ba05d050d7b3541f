"""Writing: one SAE, whole, in one short transaction.

A kill at any moment leaves whole SAEs and nothing else. Ids are given out inside the transaction,
so that two ingests into one file can't collide.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import duckdb
import pyarrow as pa

from .errors import CatalogueError
from .file import DEFAULT_WAIT_SECONDS, open_reader, translated, writing
from .write_sets import insert_row, next_id, set_ids_of

Row = Mapping[str, Any]

SIGNIFICANCE = 0.05
"""The q below which `set_summary` counts a feature."""

SUMMARY = (
    f"count(*) FILTER (z > 0 AND log10_q < log10({SIGNIFICANCE})) AS n_promoted,"
    f" count(*) FILTER (z < 0 AND log10_q < log10({SIGNIFICANCE})) AS n_suppressed,"
    " arg_max(feature, z) AS best_promoted, max(z) AS best_promoted_z,"
    " arg_min(feature, z) AS best_suppressed, min(z) AS best_suppressed_z"
)
"""The columns of `set_summary` over the rows of one SAE and set, in SQL."""


@dataclass(frozen=True)
class SaeRows:
    """All rows of one SAE, ready to write. Column names are those of the tables; ids are left out.

    `token_sets` and `set_null` have one row a set; `members` has columns `set_index` (its row there) and `token_id`,
    `dropped` has `set_index`, `term` and `reason`, `correlation` has `set_index`, `other_index` and `r`.
    The big tables come in parts, each read when its turn comes: `enrichment` in one part a set, all features ascending;
    `feature` and `feature_token` in any number, or None to keep what is there.
    """

    model: Row
    tokens: pa.Table
    sae: Row
    token_sets: pa.Table
    members: pa.Table
    dropped: pa.Table
    feature: Sequence[pa.Table] | None
    feature_token: Sequence[pa.Table] | None
    enrichment: Sequence[pa.Table]
    set_null: pa.Table
    correlation: pa.Table
    run: Row


@dataclass(frozen=True)
class LedgerEntry:
    """What the ledger says of one SAE: its newest finished run, and the sets it is tested against.

    `sets` holds the members' hash of each set by name.
    """

    slug: str
    params: dict[str, Any]
    params_sha256: str
    sets: dict[str, str]


def ledger(path: str | os.PathLike[str], *, wait: float = DEFAULT_WAIT_SECONDS) -> dict[str, LedgerEntry]:
    """Return the newest run of every SAE in the catalogue, by slug."""
    connection = open_reader(path, wait=wait)
    try:
        rows = connection.execute(
            "SELECT s.slug, arg_max(r.params, r.run_id), arg_max(r.params_sha256, r.run_id)"
            " FROM run r JOIN sae s USING (sae_id) GROUP BY s.slug"
        ).fetchall()
        tested = connection.execute(
            "SELECT s.slug, t.name, t.members_sha256 FROM set_null n"
            " JOIN sae s USING (sae_id) JOIN token_set t USING (set_id)"
        ).fetchall()
    finally:
        connection.close()
    sets: dict[str, dict[str, str]] = {slug: {} for slug, _, _ in rows}
    for slug, name, digest in tested:
        sets.setdefault(slug, {})[name] = digest
    return {slug: LedgerEntry(slug, json.loads(params), digest, sets[slug]) for slug, params, digest in rows}


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
        set_ids = set_ids_of(connection, rows.token_sets, rows.members, rows.dropped, model_id, sae_id)
        connection.execute("DELETE FROM run WHERE sae_id = ?", [sae_id])
        for table, parts in (("feature", rows.feature), ("feature_token", rows.feature_token)):
            if parts is not None:
                connection.execute(f"DELETE FROM {table} WHERE sae_id = ?", [sae_id])
                _insert_parts(connection, table, parts, sae_id=sae_id)
        replace_enrichment(connection, sae_id, set_ids, rows.enrichment, rows.set_null, rows.correlation)
        insert_row(connection, "run", {**rows.run, "run_id": next_id(connection, "run", "run_id"), "sae_id": sae_id})
    return sae_id


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table | pa.RecordBatchReader, **constants: int
) -> None:
    literals = "".join(f', {int(value)} AS "{name}"' for name, value in constants.items())
    connection.register("incoming_rows", rows)
    connection.execute(f"INSERT INTO {table} BY NAME SELECT *{literals} FROM incoming_rows")
    connection.unregister("incoming_rows")


def _insert_parts(
    connection: duckdb.DuckDBPyConnection, table: str, parts: Iterable[pa.Table], **constants: int
) -> None:
    """Insert tables of one schema, each made when its turn comes."""
    remaining = iter(parts)
    first = next(remaining, None)
    if first is not None:
        batches = (batch for part in chain([first], remaining) for batch in part.to_batches())
        _insert(connection, table, pa.RecordBatchReader.from_batches(first.schema, batches), **constants)


def replace_enrichment(
    connection: duckdb.DuckDBPyConnection,
    sae_id: int,
    set_ids: list[int],
    enrichment: Sequence[pa.Table],
    set_null: pa.Table,
    correlation: pa.Table,
) -> None:
    """Replace the rows that an SAE has of sets, in the transaction of the connection.

    Args:
        connection: Of `file.writing`.
        sae_id: The SAE.
        set_ids: The set of each part of `enrichment` and of each row of `set_null`.
        enrichment: One part a set, all features ascending, as many for each.
        set_null: One row a set.
        correlation: Columns `set_index`, `other_index` (places in `set_ids`) and `r`.

    Raises:
        CatalogueError: The parts do not fit the sets.
    """
    for table in ("enrichment", "set_null", "set_correlation", "set_summary"):
        connection.execute(f"DELETE FROM {table} WHERE sae_id = ?", [sae_id])
    if (len(enrichment), set_null.num_rows) != (len(set_ids), len(set_ids)):
        raise CatalogueError(
            f"enrichment of {len(enrichment)} and nulls of {set_null.num_rows} sets do not fit {len(set_ids)} sets"
        )
    # Sorted by set_id, whatever order the sets were computed in: the table's physical order makes queries fast.
    order = sorted(range(len(set_ids)), key=set_ids.__getitem__)
    _insert_parts(connection, "enrichment", _enrichment_parts(enrichment, set_ids, order), sae_id=sae_id)
    ids = pa.array(set_ids, pa.int16())
    nulls = set_null.append_column("set_id", ids).take(pa.array(order, pa.int64()))
    _insert(connection, "set_null", nulls, sae_id=sae_id)
    pairs = pa.table(
        {
            "set_id": ids.take(correlation.column("set_index").combine_chunks()),
            "other_id": ids.take(correlation.column("other_index").combine_chunks()),
            "r": correlation.column("r"),
        }
    ).sort_by([("set_id", "ascending"), ("other_id", "ascending")])
    _insert(connection, "set_correlation", pairs, sae_id=sae_id)
    _summarise(connection, sae_id)


def _enrichment_parts(enrichment: Sequence[pa.Table], set_ids: list[int], order: list[int]) -> Iterator[pa.Table]:
    n_rows = None
    for index in order:
        part = enrichment[index]
        if n_rows not in (None, part.num_rows):
            raise CatalogueError(f"enrichment has {part.num_rows} rows of one set and {n_rows} of another")
        n_rows = part.num_rows
        yield part.append_column("set_id", pa.repeat(pa.scalar(set_ids[index], pa.int16()), n_rows))


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
        model_id = next_id(connection, "model", "model_id")
        insert_row(connection, "model", {**rows.model, "model_id": model_id})
        _insert(connection, "token", rows.tokens, model_id=model_id)
    return model_id


def _sae_id(connection: duckdb.DuckDBPyConnection, rows: SaeRows, model_id: int) -> int:
    found = connection.execute(
        "SELECT sae_id, neuronpedia_id, d_sae FROM sae WHERE slug = ?", [rows.sae["slug"]]
    ).fetchall()
    sae_id = int(found[0][0]) if found else next_id(connection, "sae", "sae_id")
    # The id stays when the weights change, and with it the user's tags. Explanations are of what Neuronpedia calls by
    # its id: they stay with that id, and go where it, or the number of features, is another.
    if found and found[0][1:] != (rows.sae.get("neuronpedia_id"), rows.sae["d_sae"]):
        connection.execute("DELETE FROM explanation WHERE sae_id = ?", [sae_id])
    connection.execute("DELETE FROM sae WHERE sae_id = ?", [sae_id])
    insert_row(connection, "sae", {**rows.sae, "sae_id": sae_id, "model_id": model_id})
    return sae_id


def _summarise(connection: duckdb.DuckDBPyConnection, sae_id: int) -> None:
    connection.execute(
        f"INSERT INTO set_summary BY NAME SELECT sae_id, set_id, {SUMMARY}"
        " FROM enrichment WHERE sae_id = $sae GROUP BY sae_id, set_id ORDER BY set_id",
        {"sae": sae_id},
    )
