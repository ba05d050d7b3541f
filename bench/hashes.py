"""Two catalogues held against each other, column by column, in the order in which their rows lie."""

from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

_TIMED = {"run": ("seconds", "finished_at"), "meta": ("value",)}
"""Columns that say when, and how long; all others must be equal."""


def table_hashes(catalogue: Path) -> dict[str, dict[str, str]]:
    """Return a SHA-256 of every column of every table, over its rows in the order in which they lie."""
    with duckdb.connect(str(catalogue), read_only=True) as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()]
        return {name: _column_hashes(connection, name) for name in names}


def _column_hashes(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, str]:
    relation = connection.sql(f"SELECT * FROM {name}")
    columns = [column for column in relation.columns if column not in _TIMED.get(name, ())]
    # One digest for each kind of byte: a reader may cut the rows anywhere, and no hash is to depend on that.
    digests: dict[str, dict[int, hashlib._Hash]] = {column: {} for column in columns}
    n_rows = 0
    for batch in connection.sql(f"SELECT * FROM {name}").to_arrow_reader(1 << 18):
        n_rows += batch.num_rows
        for column in columns:
            for kind, part in enumerate(_parts(batch.column(column))):
                digests[column].setdefault(kind, hashlib.sha256()).update(part)
    return {"rows": str(n_rows)} | {
        column: "".join(digest.hexdigest() for digest in kinds.values()) for column, kinds in digests.items()
    }


def _parts(values: pa.Array) -> list[bytes]:
    """Return the bytes that stand for an array: which are NULL, and the others, whatever parts they come in."""
    null = values.is_null().to_numpy(zero_copy_only=False)
    present = values.drop_null()
    if pa.types.is_list(present.type):
        sizes = present.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
        return [null.tobytes(), sizes.tobytes(), *_parts(present.flatten())]
    if pa.types.is_primitive(present.type) and not pa.types.is_boolean(present.type):
        return [null.tobytes(), present.to_numpy(zero_copy_only=False).tobytes()]
    return [null.tobytes(), b"".join(f"{len(str(item))}:{item}".encode() for item in present.to_pylist())]


def differences(one: dict[str, dict[str, str]], other: dict[str, dict[str, str]]) -> list[str]:
    """Return the columns, as table.column, whose hashes differ."""
    names = {(name, column) for hashes in (one, other) for name, columns in hashes.items() for column in columns}
    return sorted(
        f"{name}.{column}" for name, column in names if one.get(name, {}).get(column) != other.get(name, {}).get(column)
    )


def doctor_faults(catalogue: Path) -> list[str]:
    """Return what the doctor finds wrong with a catalogue."""
    from featdex.catalogue.catalogue import connect
    from featdex.catalogue.doctor import examine

    with connect(catalogue) as opened:
        return [f"{item.check}: {item.detail}" for item in examine(opened.connection) if not item.ok]
