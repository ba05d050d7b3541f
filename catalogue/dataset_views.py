"""The large tables of a dataset as views of its parquet files, in the catalogue that lies beside them.

In the file the paths are those from its folder, for a bare DuckDB shell that is started there. featdex reads with
the file system shut but for that folder, where DuckDB refuses such paths: it lays views of full paths over them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .dataset_place import literal_path
from .dataset_tables import VIEWED, file_columns
from .schema import Table, sql_text

if TYPE_CHECKING:
    import duckdb


def file_list(paths: list[str]) -> str:
    """Return, as SQL, the rows of these files of partitions, with `sae` for the id that their folder says."""
    names = ", ".join(map(sql_text, paths))
    # Without hive_types, no file is left out by its folder within a view: 17 s instead of .23 s on 1,200 SAEs.
    return f"read_parquet([{names}], hive_partitioning = true, hive_types = {{'sae': 'SMALLINT'}})"


def view_of(table: Table, paths: list[str], columns: str) -> str:
    """Return the query of a view: the columns of a table in their order, those that the files lack as NULL."""
    there = {column.name for column in file_columns(table, columns)} if paths else set()
    shown = []
    for column in table.columns:
        if column.name == "sae_id" and paths:
            shown.append("file.sae::SMALLINT AS sae_id")
        elif column.name in there:
            shown.append(f'file."{column.name}"')
        else:
            shown.append(f'NULL::{column.sql_type} AS "{column.name}"')
    return f"SELECT {', '.join(shown)}" + (f" FROM {file_list(paths)} file" if paths else " WHERE false")


def install_views(connection: duckdb.DuckDBPyConnection, root: str, columns: str, *, temporary: bool = False) -> None:
    """Create the views over the files that the table `dataset_file` names.

    Args:
        connection: Of a catalogue with `dataset_file`.
        root: What the paths begin with; "" for paths from the catalogue's own folder.
        columns: `full` or `core`.
        temporary: For this connection only, over those of the file.
    """
    prefix = f"{literal_path(root)}/" if root else ""
    for table in VIEWED:
        rows = connection.execute(
            "SELECT path FROM dataset_file WHERE table_name = ? ORDER BY sae_id", [table.name]
        ).fetchall()
        query = view_of(table, [f"{prefix}{path}" for (path,) in rows], columns)
        if temporary:
            connection.execute(f'CREATE TEMP VIEW "{table.name}" AS {query}')
            continue
        connection.execute(f'CREATE VIEW "{table.name}" AS {query}')
        connection.execute(f'COMMENT ON VIEW "{table.name}" IS {sql_text(table.comment)}')
        for column in table.columns:
            connection.execute(f'COMMENT ON COLUMN "{table.name}"."{column.name}" IS {sql_text(column.comment)}')
