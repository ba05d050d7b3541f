"""The saved queries: `queries/**/*.sql`, read from the folder, one database object a file.

A file's header (its leading `--` lines) is its documentation: it becomes the comment of the view or
macro in the catalogue, and `featdex ls` shows it. No list of files is kept anywhere. Objects whose name
starts with an underscore are helpers of the others and are shown nowhere.
"""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .schema import sql_text

if TYPE_CHECKING:
    import duckdb

QUERY_FOLDER = Path(__file__).parent.parent / "queries"
_DATASET = "dataset"

_CREATE = re.compile(
    r"\s*CREATE OR REPLACE (?P<kind>VIEW|MACRO) (?P<name>\w+)\s*"
    r"(?:\((?P<parameters>.*?)\))?\s*AS(?P<table>\s+TABLE)?\b",
    re.DOTALL,
)


class SavedQuery(NamedTuple):
    """One query file: `kind` is what DuckDB calls it in `COMMENT ON`; `comment` ends with a macro's signature."""

    name: str
    kind: str
    sql: str
    comment: str

    def statements(self) -> list[str]:
        """Return the statement that creates the object and the one that comments it."""
        return [self.sql, f'COMMENT ON {self.kind} "{self.name}" IS {sql_text(self.comment)}']


def is_shipped(name: str) -> bool:
    """Whether featdex comes with a question of that name."""
    return name.isidentifier() and (QUERY_FOLDER / "questions" / f"{name}.sql").is_file()


def read_query(file: Path) -> SavedQuery:
    """Read one query file.

    Raises:
        ValueError: It has no header, or does not create exactly the object it is named after.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    n_header = next((index for index, line in enumerate(lines) if not line.startswith("--")), len(lines))
    header = "\n".join(line.removeprefix("--").removeprefix(" ") for line in lines[:n_header])
    sql = "\n".join(lines[n_header:])
    found = _CREATE.match(sql)
    if not header or not found or found["name"] != file.stem:
        raise ValueError(f"{file}: want a header of -- lines, then CREATE OR REPLACE VIEW or MACRO {file.stem}")
    if found["kind"] == "VIEW":
        return SavedQuery(file.stem, "VIEW", sql, header)
    parameters = ", ".join(part.strip() for part in (found["parameters"] or "").split(","))
    kind = "MACRO TABLE" if found["table"] else "MACRO"
    return SavedQuery(file.stem, kind, sql, f"{header}\n{file.stem}({parameters})")


def saved_queries(folder: Path = QUERY_FOLDER, *, dataset: bool = False) -> list[SavedQuery]:
    """Return every query below `folder`, each after the ones it mentions: views and macros bind when created.

    For the catalogue of a dataset, those in `dataset/` take the place of the ones of their names.
    """
    files = sorted(folder.glob("*/*.sql"), key=lambda file: (file.parent.name == _DATASET, file))
    queries = {query.name: query for query in map(read_query, files if dataset else filter(_is_common, files))}
    mentions = {
        name: [word for word in re.findall(r"\w+", query.sql) if word in queries and word != name]
        for name, query in queries.items()
    }
    return [queries[name] for name in TopologicalSorter(mentions).static_order()]


def _is_common(file: Path) -> bool:
    return file.parent.name != _DATASET


def install_queries(connection: duckdb.DuckDBPyConnection, *, dataset: bool = False) -> None:
    """Create, or replace, every view, question and helper in a catalogue that has its tables."""
    for query in saved_queries(dataset=dataset):
        for statement in query.statements():
            connection.execute(statement)
