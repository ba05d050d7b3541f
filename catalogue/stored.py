"""What a catalogue holds of token sets and their results: what an ingest goes on from."""

from __future__ import annotations

from typing import Any, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .file import translated
from .schema import RETIRED, Table
from .tables import ENRICHMENT, SET_NULL


class StoredSet(NamedTuple):
    """A token set of a catalogue: its row without its ids, its members ascending, and its dropped terms."""

    set_id: int
    row: dict[str, Any]
    token_ids: npt.NDArray[np.int32]
    dropped: list[tuple[str, str]]


class StoredTokens(NamedTuple):
    """The columns of table `token` of one model, by token id."""

    raw: tuple[str, ...]
    text: tuple[str, ...]
    is_special: tuple[bool, ...]
    is_partial_utf8: tuple[bool, ...]


def model_names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the names of the models, in the order in which they came."""
    return [name for (name,) in connection.execute("SELECT name FROM model ORDER BY model_id").fetchall()]


def tokens_of_model(connection: duckdb.DuckDBPyConnection, model: str) -> StoredTokens:
    """Return the vocabulary of a model."""
    with translated():
        rows = connection.execute(
            "SELECT t.raw, t.str, t.is_special, t.is_partial_utf8 FROM token t JOIN model m USING (model_id)"
            " WHERE m.name = ? ORDER BY t.token_id",
            [model],
        ).fetchall()
    return StoredTokens(*zip(*rows, strict=True)) if rows else StoredTokens((), (), (), ())


def sets_of_model(connection: duckdb.DuckDBPyConnection, model: str) -> list[StoredSet]:
    """Return the token sets of a model by the order of their ids, without earlier definitions."""
    return _sets(
        connection,
        "FROM token_set WHERE model_id IN (SELECT model_id FROM model WHERE name = $owner)"
        f" AND NOT regexp_matches(name, '{RETIRED}') ORDER BY set_id",
        {"owner": model},
    )


def sets_of_sae(connection: duckdb.DuckDBPyConnection, slug: str) -> list[StoredSet]:
    """Return the token sets that an SAE has results of, by the order of their ids, earlier definitions included."""
    return _sets(
        connection,
        "FROM token_set WHERE set_id IN (SELECT n.set_id FROM set_null n JOIN sae s USING (sae_id)"
        " WHERE s.slug = $owner) ORDER BY set_id",
        {"owner": slug},
    )


def _sets(connection: duckdb.DuckDBPyConnection, query: str, values: dict[str, Any]) -> list[StoredSet]:
    with translated():
        rows = connection.sql(query, params=values).to_arrow_table().to_pylist()
        return [_set(connection, row) for row in rows]


def _set(connection: duckdb.DuckDBPyConnection, row: dict[str, Any]) -> StoredSet:
    set_id = row.pop("set_id")
    row.pop("model_id")
    members = connection.execute(
        "SELECT token_id FROM token_set_member WHERE set_id = ? ORDER BY token_id", [set_id]
    ).fetchnumpy()["token_id"]
    dropped = connection.execute(
        "SELECT term, reason FROM token_set_dropped WHERE set_id = ? ORDER BY ALL", [set_id]
    ).fetchall()
    return StoredSet(set_id, row, np.ascontiguousarray(members, dtype=np.int32), dropped)


def _without_ids(table: Table) -> str:
    return ", ".join(f'"{name}"' for name in table.column_names if name not in ("sae_id", "set_id"))


def enrichment_of(connection: duckdb.DuckDBPyConnection, slug: str, set_id: int) -> pa.Table:
    """Return the rows of one SAE and set, features ascending, without their ids."""
    with translated():
        return connection.sql(
            f"SELECT {_without_ids(ENRICHMENT)} FROM enrichment e"
            " WHERE e.sae_id = (SELECT sae_id FROM sae WHERE slug = $slug)"
            " AND e.set_id = $set_id ORDER BY e.feature",
            params={"slug": slug, "set_id": set_id},
        ).to_arrow_table()


def nulls_of(connection: duckdb.DuckDBPyConnection, slug: str, set_ids: list[int]) -> pa.Table:
    """Return the rows of `set_null` of one SAE for these sets, in their order, without their ids."""
    with translated():
        return connection.sql(
            f"SELECT {_without_ids(SET_NULL)} FROM set_null n"
            " WHERE n.sae_id = (SELECT sae_id FROM sae WHERE slug = $slug)"
            " AND n.set_id IN (SELECT unnest($set_ids)) ORDER BY list_position($set_ids, n.set_id)",
            params={"slug": slug, "set_ids": set_ids},
        ).to_arrow_table()


def correlation_of(connection: duckdb.DuckDBPyConnection, slug: str, set_ids: list[int]) -> pa.Table:
    """Return the null correlations of these sets in one SAE: `set_index` and `other_index` (their places), and `r`."""
    with translated():
        return connection.sql(
            "SELECT (list_position($set_ids, c.set_id) - 1)::INTEGER AS set_index,"
            " (list_position($set_ids, c.other_id) - 1)::INTEGER AS other_index, c.r FROM set_correlation c"
            " WHERE c.sae_id = (SELECT sae_id FROM sae WHERE slug = $slug)"
            " AND list_contains($set_ids, c.set_id) AND list_contains($set_ids, c.other_id)",
            params={"slug": slug, "set_ids": set_ids},
        ).to_arrow_table()
