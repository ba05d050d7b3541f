"""What people said of features, joined: nothing that anybody wrote is lost, and nothing is there twice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from .merge_plan import Share
from .tables import EXPLANATION

if TYPE_CHECKING:
    import duckdb

_SAME = ("feature", "text", "method", "explainer", "score")


class _Tag(NamedTuple):
    sae_id: int
    feature: int
    label: str


def copy_explanations(connection: duckdb.DuckDBPyConnection, alias: str, share: Share) -> int:
    """Copy the explanations of a catalogue, but for those that the result has in the same words already.

    Args:
        connection: Of the result; the catalogue is attached to it.
        alias: Name of the catalogue in SQL.
        share: The ids of its SAEs in the result.

    Returns:
        How many were left out as those of an SAE that is another one in the result (`Share.unexplained`).
    """
    columns = ", ".join(f'x."{name}"' for name in EXPLANATION.column_names if name != "sae_id")
    same = " AND ".join(f"e.{name} IS NOT DISTINCT FROM x.{name}" for name in _SAME)
    new_ids = {old_id: new_id for old_id, new_id in share.saes.new.items() if old_id not in share.unexplained}
    connection.execute(
        f"INSERT INTO explanation BY NAME SELECT i.new_id AS sae_id, {columns} FROM {alias}.explanation x"
        " JOIN (SELECT unnest($old::SMALLINT[]) AS old_id, unnest($new::SMALLINT[]) AS new_id) i ON i.old_id = x.sae_id"
        f" WHERE NOT EXISTS (FROM explanation e WHERE e.sae_id = i.new_id AND {same}) ORDER BY ALL",
        {"old": list(new_ids), "new": list(new_ids.values())},
    )
    ((n_left,),) = connection.execute(
        f"SELECT count(*) FROM {alias}.explanation WHERE list_contains($sae_ids::SMALLINT[], sae_id)",
        {"sae_ids": share.unexplained},
    ).fetchall()
    return int(n_left)


def copy_tags(connection: duckdb.DuckDBPyConnection, sae_ids: Mapping[str, Mapping[int, int]]) -> None:
    """Copy the tags of catalogues; of one that several have, the note has the lines of all and the time is the first.

    Args:
        connection: Of the result; the catalogues are attached to it.
        sae_ids: For each catalogue, by its name in SQL, the ids of its SAEs in the result.
    """
    found: dict[_Tag, tuple[str | None, datetime | None]] = {}
    for alias, new_ids in sae_ids.items():
        rows = connection.execute(
            f"SELECT sae_id, feature, tag, note, created_at FROM {alias}.tag ORDER BY ALL"
        ).fetchall()
        for sae_id, feature, label, note, created_at in rows:
            if sae_id in new_ids:
                tag = _Tag(new_ids[sae_id], feature, label)
                there, since = found.get(tag, (None, None))
                times = [time for time in (since, created_at) if time is not None]
                found[tag] = joined_notes(there, note), min(times, default=None)
    columns = {
        "sae_ids": [tag.sae_id for tag in found],
        "features": [tag.feature for tag in found],
        "tags": [tag.label for tag in found],
        "notes": [note for note, _ in found.values()],
        "times": [time for _, time in found.values()],
    }
    connection.execute(
        "INSERT INTO tag SELECT unnest($sae_ids::SMALLINT[]), unnest($features::INTEGER[]), unnest($tags::VARCHAR[]),"
        " unnest($notes::VARCHAR[]), unnest($times::TIMESTAMP[])",
        columns,
    )


def joined_notes(first: str | None, other: str | None) -> str | None:
    """Return a note with the lines of both: all of the first, then what the other says besides."""
    if first is None or other is None:
        return other if first is None else first
    said = first.split("\n")
    return "\n".join([*said, *(line for line in other.split("\n") if line not in said)])
