"""Catalogues of older schemas: what they lack, so that readers ask them what they ask any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .tables import TABLES

if TYPE_CHECKING:
    import duckdb


def missing_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """Return the columns that the file lacks, by table; all of them for a table that is not there."""
    rows = connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal"
        " AND database_name = current_database() AND schema_name = 'main'"
    ).fetchall()
    there = set(rows)
    lacking = {table.name: [name for name in table.column_names if (table.name, name) not in there] for table in TABLES}
    return {table: columns for table, columns in lacking.items() if columns}


def bridge(connection: duckdb.DuckDBPyConnection) -> None:
    """Give a read-only connection what its file lacks: empty tables, and columns of NULL, none of it in the file.

    Temporary views hide the tables of the file that lack a column.
    """
    ((database,),) = connection.execute("SELECT current_database()").fetchall()
    quoted = database.replace('"', '""')
    missing = missing_columns(connection)
    for table in TABLES:
        if table.name not in missing:
            continue
        if len(missing[table.name]) == len(table.columns):
            columns = ", ".join(f'"{column.name}" {column.sql_type}' for column in table.columns)
            connection.execute(f'CREATE TEMP TABLE "{table.name}" ({columns})')
            continue
        columns = ", ".join(
            f'NULL::{column.sql_type} AS "{column.name}"' if column.name in missing[table.name] else f'"{column.name}"'
            for column in table.columns
        )
        connection.execute(f'CREATE TEMP VIEW "{table.name}" AS SELECT {columns} FROM "{quoted}".main."{table.name}"')
