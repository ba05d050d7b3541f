"""The file itself: everything documented, and readable by older DuckDB."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from featdex.catalogue.file import open_reader
from featdex.catalogue.questions import saved_queries
from featdex.catalogue.schema import STORAGE_VERSION
from featdex.catalogue.tables import TABLES


@pytest.fixture(scope="module")
def connection(small: Path) -> duckdb.DuckDBPyConnection:
    return open_reader(small)


def test_every_table_and_column_has_a_comment(connection: duckdb.DuckDBPyConnection) -> None:
    tables = connection.sql("SELECT table_name, comment FROM duckdb_tables()").fetchall()
    columns = connection.sql(
        "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
    ).fetchall()
    names = {table.name for table in TABLES}
    assert {name for name, comment in tables if comment} == names
    assert [column for *column, comment in columns if column[0] in names and not comment] == []


def test_every_view_and_macro_has_a_comment(connection: duckdb.DuckDBPyConnection) -> None:
    views = connection.sql("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal").fetchall()
    macros = connection.sql("SELECT function_name, comment FROM duckdb_functions() WHERE NOT internal").fetchall()
    assert {name for name, comment in views + macros if comment} == {query.name for query in saved_queries()}


def test_the_storage_version_is_the_old_one(connection: duckdb.DuckDBPyConnection) -> None:
    ((tags,),) = connection.sql("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchall()
    assert tags["storage_version"].startswith(STORAGE_VERSION)


def test_column_names_are_unique_within_a_table() -> None:
    for table in TABLES:
        assert len(set(table.column_names)) == len(table.columns)
        assert set(table.order) <= set(table.column_names)
