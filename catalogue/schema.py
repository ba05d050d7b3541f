"""What a table of a catalogue is; `tables.py` holds them as data, and DDL, comments and docs come from there.

Big tables carry no key and no index: on 17.7 M rows a primary key on `enrichment` trebles the load
time and the file and speeds up no query. Order and uniqueness come from the writer; `doctor` proves them.
"""

from __future__ import annotations

from typing import NamedTuple

SCHEMA_VERSION = 3
STORAGE_VERSION = "v1.2.0"
"""Every DuckDB shell from 1.2 on reads this storage format; DuckDB 2's own default none of the 1.x reads."""

RETIRED = "@[0-9a-f]{8}$"
"""How the name of an earlier definition of a set ends."""


class Column(NamedTuple):
    """A column: `comment` gives meaning, unit and, for a p- or q-value, the null it is against."""

    name: str
    sql_type: str
    comment: str


class Table(NamedTuple):
    """A table: `constraint` is SQL appended to the column list; `order` is the physical row order."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    constraint: str = ""
    order: tuple[str, ...] = ()

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns in their stored order."""
        return tuple(column.name for column in self.columns)

    def ddl(self) -> list[str]:
        """Return the `CREATE TABLE` statement and one `COMMENT ON` statement per table and column."""
        body = [f'"{column.name}" {column.sql_type}' for column in self.columns]
        if self.constraint:
            body.append(self.constraint)
        statements = [f'CREATE TABLE "{self.name}" ({", ".join(body)})']
        statements.append(f'COMMENT ON TABLE "{self.name}" IS {sql_text(self.comment)}')
        statements += [
            f'COMMENT ON COLUMN "{self.name}"."{column.name}" IS {sql_text(column.comment)}' for column in self.columns
        ]
        return statements


def sql_text(text: str) -> str:
    """Return `text` as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
