"""Copying what a merge takes from one catalogue, with the ids of the result: DuckDB to DuckDB, an SAE at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from .merge_plan import Ids, Share
from .schema import Table
from .tables import (
    ENRICHMENT,
    FEATURE,
    FEATURE_TOKEN,
    MODEL,
    RUN,
    SAE,
    SET_CORRELATION,
    SET_NULL,
    SET_SUMMARY,
    TOKEN,
    TOKEN_SET,
    TOKEN_SET_DROPPED,
    TOKEN_SET_MEMBER,
)

if TYPE_CHECKING:
    import duckdb

_SHARED = (MODEL, TOKEN, TOKEN_SET, TOKEN_SET_MEMBER, TOKEN_SET_DROPPED, SAE, RUN)
_KINDS = {"model_id": "models", "set_id": "sets", "other_id": "sets", "sae_id": "saes", "run_id": "runs"}


def copy_share(connection: duckdb.DuckDBPyConnection, alias: str, share: Share, set_names: Mapping[int, str]) -> None:
    """Copy the rows of a share: first the tables that SAEs have in common, then each SAE, a transaction each.

    Args:
        connection: Of the result; the catalogue is attached to it.
        alias: Name of the catalogue in SQL.
        share: What to copy, with its ids.
        set_names: Names of token sets by their ids in the result.
    """
    connection.execute("BEGIN")
    for kind in ("models", "sets", "saes", "runs"):
        _lay_out_ids(connection, kind, getattr(share, kind), set_names if kind == "sets" else {})
    for table in _SHARED:
        # The first id of a row is its own, or of what it belongs to.
        owner = next(name for name in table.column_names if name in _KINDS)
        _copy_mapped(connection, alias, table, f"ids_{owner}.is_own")
    connection.execute("COMMIT")
    for sae_id in share.saes.own:
        of_sae = f"t.sae_id = {int(sae_id)}"
        connection.execute("BEGIN")
        for table in (FEATURE, FEATURE_TOKEN):
            _copy_as_it_lies(connection, alias, table, share, of_sae)
        for first, last in _ascending_runs(share.sets.new):
            _copy_as_it_lies(connection, alias, ENRICHMENT, share, f"{of_sae} AND t.set_id BETWEEN {first} AND {last}")
        for table in (SET_NULL, SET_CORRELATION, SET_SUMMARY):
            _copy_mapped(connection, alias, table, of_sae)
        connection.execute("COMMIT")


def _lay_out_ids(connection: duckdb.DuckDBPyConnection, kind: str, ids: Ids, names: Mapping[int, str]) -> None:
    """Make a temporary table of the ids of one kind."""
    own = set(ids.own)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {kind}_of_share AS SELECT unnest($old::INTEGER[]) AS old_id,"
        " unnest($new::INTEGER[]) AS new_id, unnest($own::BOOLEAN[]) AS is_own, unnest($names::VARCHAR[]) AS name",
        {
            "old": list(ids.new),
            "new": list(ids.new.values()),
            "own": [old_id in own for old_id in ids.new],
            "names": [names.get(new_id) for new_id in ids.new.values()],
        },
    )


def _copy_mapped(connection: duckdb.DuckDBPyConnection, alias: str, table: Table, condition: str) -> None:
    """Copy rows of a small table, in the order of their new ids."""
    columns = []
    joins = []
    for name in table.column_names:
        value = f't."{name}"'
        if name in _KINDS:
            joins.append(f"JOIN {_KINDS[name]}_of_share ids_{name} ON ids_{name}.old_id = {value}")
            value = f"ids_{name}.new_id"
        elif table is TOKEN_SET and name == "name":
            value = "ids_set_id.name"
        columns.append(f'{value} AS "{name}"')
    connection.execute(
        f"INSERT INTO {table.name} BY NAME SELECT {', '.join(columns)} FROM {alias}.{table.name} t {' '.join(joins)}"
        f" WHERE {condition} ORDER BY ALL"
    )


def _copy_as_it_lies(
    connection: duckdb.DuckDBPyConnection, alias: str, table: Table, share: Share, condition: str
) -> None:
    """Copy rows of a big table in their stored order, without a sort or a join."""
    new_ids = {"sae_id": share.saes.new, "set_id": share.sets.new}
    columns = [
        f'({_by_id(new_ids[name])})[t."{name}"] AS "{name}"' if name in new_ids else f't."{name}"'
        for name in table.column_names
    ]
    connection.execute(
        f"INSERT INTO {table.name} BY NAME SELECT {', '.join(columns)} FROM {alias}.{table.name} t WHERE {condition}"
    )


def _by_id(new_ids: Mapping[int, int]) -> str:
    """Return a SQL list that has the new id of each old one in its place."""
    places = (str(new_ids.get(old_id, "NULL")) for old_id in range(1, max(new_ids, default=0) + 1))
    return f"[{', '.join(places)}]::SMALLINT[]"


def _ascending_runs(new_ids: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Yield ranges of old ids, first and last, that cut the sets where their order changes, in the order of new ids.

    Rows that lie sorted by their old ids are sorted by the new ones when they are taken range by range.
    """
    old_ids = sorted(new_ids)
    place = {old_id: index for index, old_id in enumerate(old_ids)}
    first = last = None
    for old_id in sorted(new_ids, key=new_ids.__getitem__):
        if last is not None and place[old_id] == place[last] + 1:
            last = old_id
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = old_id
    if first is not None and last is not None:
        yield first, last
