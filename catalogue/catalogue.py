"""Asking a catalogue: saved questions by name, and SQL.

Questions are read from the file itself, not from this package, so a catalogue made by another version of
featdex, or one with macros of your own, answers with what it holds.
"""

from __future__ import annotations

import math
import operator
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import duckdb

from .dataset_place import catalogue_file, dataset_folder, remote_place, require_reading
from .errors import QueryError, UsageError, nearest
from .file import DEFAULT_WAIT_SECONDS, open_reader, translated
from .questions import is_shipped, saved_queries
from .schema import sql_text
from .tables import TABLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .plot_picture import Look


class Parameter(NamedTuple):
    """A parameter of a question: `default` is SQL text, None where a value must be given."""

    name: str
    default: str | None

    def __str__(self) -> str:
        return self.name if self.default is None else f"{self.name} := {self.default}"


class Question(NamedTuple):
    """A saved query of the catalogue: `title` is the first line of `comment`; a view has no parameters."""

    name: str
    parameters: tuple[Parameter, ...]
    title: str
    comment: str


def literal(value: object) -> str:
    """Return a Python value as SQL text: text, number, bool, None, or a list of these; numpy scalars as well.

    Raises:
        UsageError: The value is none of these.
    """
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value) if math.isfinite(value) else f"'{value}'::DOUBLE"
        case str():
            return sql_text(value)
        case list() | tuple():
            return f"[{', '.join(map(literal, value))}]"
    if hasattr(value, "item"):
        return literal(value.item())
    raise UsageError(f"a parameter can't be a {type(value).__name__}; use text, a number, a bool, None or a list")


_TABLES = {table.name for table in TABLES}

# Which features there are is the question's own to say.
_WHOLE_NUMBERS = {"n": ("a number of rows", 0), "feature": ("the index of a feature, from 0", -(2**63))}
_MOST = 2**63 - 1


def _require_whole_number(value: Any, key: str, what: str, least: int) -> None:
    """Raise `UsageError` unless a parameter that counts is left out, NULL, or something that counts."""
    # NumPy's integers have an index too.
    is_number = hasattr(value, "__index__") and not isinstance(value, bool)
    if value is not None and not (is_number and least <= operator.index(value) <= _MOST):
        raise UsageError(f"{key} is {what}, and can't be {value!r}")


class Catalogue:
    """A catalogue opened read-only. Close it before an ingest into the same file: nobody writes while somebody reads.

    Results are `duckdb.DuckDBPyRelation`: `.df()`, `.pl()`, `.to_arrow_table()`, `.fetchall()`.
    """

    def __init__(self, path: str | os.PathLike[str], connection: duckdb.DuckDBPyConnection) -> None:
        self.path = Path(path)
        self.connection = connection
        self._closed = False
        self._is_dataset = (remote_place(self.path) or dataset_folder(self.path)) is not None

    @property
    def file(self) -> Path:
        """The DuckDB file: `path`, or the one in it where that is a dataset (a copy, of one in an object store)."""
        remote = remote_place(self.path)
        if remote is None:
            return catalogue_file(self.path)
        from .dataset_remote import copied_catalogue
        from .store import Store

        return copied_catalogue(Store(remote))

    def query(self, name: str, /, **parameters: Any) -> duckdb.DuckDBPyRelation:
        """Ask a saved question, or read a view, by name.

        Args:
            name: A question, such as `enriched_for`; `questions()` lists them. Or a view, such as `features`.
            **parameters: Its parameters; those with a default may be left out.

        Raises:
            UsageError: No such question or parameter, or a required parameter is missing.
            QueryError, NotFoundError: The question's own complaint, where DuckDB finds it before it reads rows.
        """
        if parameters and is_shipped(name):
            for key, (what, least) in _WHOLE_NUMBERS.items():
                _require_whole_number(parameters.get(key), key, what, least)
        arguments = ", ".join(f"{_quoted(key)} := {literal(value)}" for key, value in parameters.items())
        try:
            return self._run(f"FROM {_quoted(name)}({arguments})")
        except duckdb.Error as error:
            fault = error
        if not parameters:
            try:
                return self._run(f"FROM {_quoted(name)}")
            except duckdb.Error as error:
                # Of a view that fails, what it says itself.
                fault = error if str(fault).startswith("Catalog Error: Table Function with name") else fault
        # Only now: DuckDB takes longer to list its functions than to answer most questions.
        self._check_call(name, parameters)
        with translated():
            raise fault

    def sql(self, text: str, params: list[Any] | dict[str, Any] | None = None) -> duckdb.DuckDBPyRelation:
        """Run SQL of your own. The connection can't write, and can't reach other files or the network.

        Args:
            text: One SELECT (or FROM, DESCRIBE, …).
            params: Values for `?` or `$name`.

        Raises:
            UsageError: The text holds no query.
            QueryError: DuckDB refuses it.
        """
        with translated():
            return self._run(text, params)

    def statements(self, text: str) -> list[str]:
        """Return the single statements of a text of SQL.

        Raises:
            QueryError: It is no SQL, or no Unicode text.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise QueryError(f"the SQL text is no Unicode text: {error.reason} at {error.start}") from error
        with translated():
            if self._is_dataset:
                require_reading(self.connection, text)
            return [statement.query for statement in self.connection.extract_statements(text)]

    def _run(self, text: str, params: list[Any] | dict[str, Any] | None = None) -> duckdb.DuckDBPyRelation:
        if self._is_dataset:
            require_reading(self.connection, text)
        relation = self.connection.sql(text, params=params)
        if relation is None:
            raise UsageError("the SQL text holds no query; write one, such as 'FROM features LIMIT 5'")
        return relation

    def questions(self) -> list[Question]:
        """Return the questions of this catalogue by name: its table macros, without the helpers (`_name`)."""
        with translated():
            rows = self.connection.sql(
                "SELECT function_name, parameters, coalesce(comment, '') FROM duckdb_functions()"
                " WHERE function_type = 'table_macro' AND NOT internal AND function_name NOT LIKE '\\_%' ESCAPE '\\'"
                " ORDER BY function_name"
            ).fetchall()
        return [_question(name, names, comment) for name, names, comment in rows]

    def views(self) -> list[Question]:
        """Return the views of this catalogue by name."""
        with translated():
            rows = self.connection.sql(
                "SELECT view_name, coalesce(comment, '') FROM duckdb_views()"
                " WHERE NOT internal AND NOT temporary ORDER BY view_name"
            ).fetchall()
        # The large tables of a dataset are views as well, and tables still.
        return [_question(name, [], comment) for name, comment in rows if name not in _TABLES]

    def question(self, name: str) -> Question:
        """Return the question or view of that name.

        Raises:
            UsageError: There is none.
        """
        known = {question.name: question for question in [*self.questions(), *self.views()]}
        if name not in known:
            if any(query.name == name for query in saved_queries()):
                raise UsageError(f"the catalogue has no question {name!r} yet; 'featdex migrate' installs it")
            raise UsageError(f"no question {name!r}{nearest(name, known) or '; featdex ls lists them'}")
        return known[name]

    def plot(self, kind: str, /, look: Look | None = None, **parameters: Any) -> Figure:
        """Draw a picture of the catalogue: `cat.plot("skewness", sae="*-mlp").savefig("skewness.pdf")`.

        Args:
            kind: `skewness`, `manhattan`, `sets`, `percentiles` or `heatmap`.
            look: Width, size, title and font; by default a column of a paper.
            **parameters: Those of `plot_KIND.read_KIND`, such as `set_name` or `sae`.

        Raises:
            UsageError, NotFoundError: No such picture, parameter, set or SAE.
            FeatdexError: Matplotlib is not installed.
        """
        from .plot import figure_of, read_picture
        from .plot_picture import Look

        return figure_of(read_picture(self, kind, **parameters), look or Look())

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._closed:
            return f"<Catalogue {self.path}: closed>"
        with translated():
            ((n_saes, n_features, n_sets),) = self.connection.sql(
                "SELECT (SELECT count(*) FROM sae), (SELECT count(*) FROM feature), (SELECT count(*) FROM token_set)"
            ).fetchall()
        return f"<Catalogue {self.path}: {n_saes:,} SAEs, {n_features:,} features, {n_sets:,} token sets>"

    def _check_call(self, name: str, values: dict[str, Any]) -> None:
        """Raise `UsageError` where a question was asked that is not there, or with the wrong parameters."""
        question = self.question(name)
        known = [parameter.name for parameter in question.parameters]
        for given in values:
            if given not in known:
                hint = nearest(given, known) or f"; it has {', '.join(known) or 'none'}"
                raise UsageError(f"{name} has no parameter {given!r}{hint}")
        missing = [one.name for one in question.parameters if one.default is None and one.name not in values]
        if missing:
            raise UsageError(f"{name} needs {', '.join(missing)}: {signature(question)}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def signature(question: Question) -> str:
    """Return `name(required, optional := default)`, or the bare name of a view."""
    if not question.parameters:
        return question.name
    return f"{question.name}({', '.join(map(str, question.parameters))})"


def _question(name: str, names: list[str], comment: str) -> Question:
    """Build a question; DuckDB knows the names of the parameters, the comment's last line their defaults."""
    *text, last = comment.splitlines() or [""]
    defaults: dict[str, str | None] = {}
    if names and last.startswith(f"{name}("):
        for part in last.removeprefix(f"{name}(").removesuffix(")").split(", "):
            parameter, _, default = part.partition(" := ")
            defaults[parameter] = default or None
        comment = "\n".join(text)
    # A macro that somebody made by hand tells no defaults: then DuckDB itself says what is missing.
    parameters = tuple(Parameter(parameter, defaults.get(parameter, "NULL")) for parameter in names)
    return Question(name, parameters, comment.split("\n", 1)[0], comment)


def connect(path: str | os.PathLike[str], wait: float = DEFAULT_WAIT_SECONDS) -> Catalogue:
    """Open a catalogue for reading.

    Args:
        path: The catalogue: a file made by `featdex ingest`, or the folder of a dataset.
        wait: Seconds to wait while an ingest writes to it.

    Raises:
        CatalogueError: The file is missing, damaged, foreign or newer than this featdex.
        LockedError: A writer still holds it after `wait` seconds.
    """
    return Catalogue(path, open_reader(path, wait=wait))
