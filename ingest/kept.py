"""What a catalogue has of a dictionary already: its sets, and the results that need not be computed again."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..catalogue.file import DEFAULT_WAIT_SECONDS, open_reader
from ..catalogue.stored import StoredSet, enrichment_of, nulls_of, sets_of_model, sets_of_sae
from .inputs import TokenSet
from .scratch import Columns, Scratch, SetColumns


class Kept(NamedTuple):
    """Sets whose results stay: `columns` holds them before room for those to come; `null` has a row a set."""

    sets: list[TokenSet]
    columns: SetColumns
    null: pa.Table


def token_set_of(stored: StoredSet) -> TokenSet:
    """Return a set of a catalogue as a set to compute."""
    row = stored.row
    return TokenSet(
        name=row["name"],
        collection=row["collection"],
        kind=row["kind"],
        definition=row["definition"],
        description=row["description"],
        source=row["source"],
        token_ids=stored.token_ids,
        n_terms=row["n_terms"],
        n_dropped=row["n_dropped"],
        licence=row["licence"] or "",
        version=row["version"] or "",
        dropped=tuple(stored.dropped),
    )


def model_sets(path: str | os.PathLike[str], model: str, wait: float = DEFAULT_WAIT_SECONDS) -> list[TokenSet]:
    """Return the current token sets that the catalogue holds for a model, tested or not."""
    connection = open_reader(path, wait=wait)
    try:
        return [token_set_of(stored) for stored in sets_of_model(connection, model)]
    finally:
        connection.close()


def carried_sets(
    path: str | os.PathLike[str], slug: str, requested: Collection[str], wait: float = DEFAULT_WAIT_SECONDS
) -> list[TokenSet]:
    """Return the sets that an SAE has results of and that are not among the requested names.

    An earlier definition (name@hash) of a requested set is left behind: the new one takes its place.
    """
    connection = open_reader(path, wait=wait)
    try:
        stored = sets_of_sae(connection, slug)
    finally:
        connection.close()
    return [token_set_of(item) for item in stored if item.row["name"].split("@")[0] not in requested]


def load_kept(
    path: str | os.PathLike[str],
    slug: str,
    wanted: Collection[tuple[str, str]],
    n_new: int,
    n_features: int,
    scratch: Scratch,
    wait: float = DEFAULT_WAIT_SECONDS,
) -> Kept:
    """Read an SAE's results of the sets of these names and members' hashes, with room for `n_new` more behind."""
    connection = open_reader(path, wait=wait)
    try:
        tested = sets_of_sae(connection, slug)
        stored = [item for item in tested if (item.row["name"], item.row["members_sha256"]) in wanted]
        columns = SetColumns(scratch, len(stored) + n_new, n_features, n_kept=len(stored))
        for index, item in enumerate(stored):
            table = enrichment_of(connection, slug, item.set_id)
            columns.write(_columns(table), index, 0)
        null = nulls_of(connection, slug, [item.set_id for item in stored])
    finally:
        connection.close()
    return Kept([token_set_of(item) for item in stored], columns, null)


def _columns(rows: pa.Table) -> Columns:
    """Return one set's rows as columns of shape [1, features], NULL as NaN or -1."""
    columns: Columns = {}
    for name in rows.column_names:
        if name != "feature":
            column = rows.column(name).combine_chunks()
            missing = np.nan if pa.types.is_floating(column.type) else -1
            columns[name] = column.fill_null(missing).to_numpy(zero_copy_only=False)[None]
    return columns
