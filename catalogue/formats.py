"""Answers as text and files, for programs: every value exactly; `display` has the formats for people.

Text is made of plain Python values: the import of pyarrow would take longer than most questions.
"""

from __future__ import annotations

import csv
import json
import math
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import date, time
from decimal import Decimal
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from .display import aligned_lines, latex_lines, markdown_lines, printable
from .errors import FeatdexError

if TYPE_CHECKING:
    import duckdb


BYTE_ORDER_MARK = "\ufeff"
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class Format(StrEnum):
    """Output formats of the command line.

    csv and tsv are exact, for programs. A spreadsheet computes the text of a cell that begins like a formula, so for
    these there is `spreadsheet`: csv in which such text has an apostrophe before it. The last four are no tables but
    what other tools take: see `lists`.
    """

    TABLE = "table"
    CSV = "csv"
    TSV = "tsv"
    JSON = "json"
    JSONL = "jsonl"
    MD = "md"
    LATEX = "latex"
    SPREADSHEET = "spreadsheet"
    PARQUET = "parquet"
    RNK = "rnk"
    GMT = "gmt"
    NEURONPEDIA = "neuronpedia"
    STEERING = "steering"


LISTS = (Format.RNK, Format.GMT, Format.NEURONPEDIA, Format.STEERING)
"""The formats of `lists`."""


class Answer(NamedTuple):
    """The answer to a query. `types` are DuckDB's names; `rows` comes from DuckDB as it is read, once."""

    names: list[str]
    types: list[str]
    rows: Iterator[tuple[Any, ...]]
    is_empty: bool

    def dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries."""
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]


def read(relation: duckdb.DuckDBPyRelation) -> Answer:
    """Start a query and return its answer; columns of the same name are numbered apart.

    Raises:
        QueryError, NotFoundError: DuckDB, or the question itself, finds a fault, now or while the rows are read.
    """
    from .file import translated

    with translated():
        relation = relation.project("*")
        names, types = relation.columns, [str(kind) for kind in relation.types]
        columns = (_as_python(name, kind) for name, kind in zip(names, types, strict=True))
        rows = _translated_rows(relation.project(", ".join(columns)).iter_rows())
    first = list(zip(range(1), rows, strict=False))
    return Answer(names, types, chain((row for _, row in first), rows), not first)


def _as_python(name: str, kind: str) -> str:
    """Return the SQL of a column whose values Python can hold without loss or surprise."""
    quoted = '"' + name.replace('"', '""') + '"'
    if kind == "FLOAT":
        # By way of the shortest decimal: .9 stays 0.9 and does not become 0.8999999761581421.
        return f"{quoted}::VARCHAR::DOUBLE AS {quoted}"
    if kind == "FLOAT[]":
        return f"{quoted}::VARCHAR[]::DOUBLE[] AS {quoted}"
    # DuckDB's own conversion wants pytz.
    return f"{quoted}::VARCHAR AS {quoted}" if kind == "TIMESTAMP WITH TIME ZONE" else quoted


def _translated_rows(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    from .file import translated

    with translated():
        yield from rows


def write(answer: Answer, form: Format, stream: BinaryIO, *, width: int | None = None) -> None:
    """Write an answer as text (UTF-8) to a binary stream.

    Args:
        answer: What to write; its rows are used up.
        form: Any format but parquet, for which see `write_parquet`, and those of `lists.write_list`.
        stream: Where to.
        width: Columns of the terminal that shows it, None where none does: longer lines of `Format.TABLE` lose the ends
            of lists, links and text, and control characters of csv and tsv are spelled out, for they could steer it.
    """
    match form:
        case Format.TABLE:
            lines = aligned_lines(answer.names, answer.types, answer.rows, width)
        case Format.MD:
            lines = markdown_lines(answer.names, answer.types, answer.rows)
        case Format.LATEX:
            lines = latex_lines(answer.names, answer.types, answer.rows)
        case Format.CSV | Format.TSV | Format.SPREADSHEET:
            lines = _delimited_lines(answer, form)
            if width is not None:
                lines = map(printable, lines)
        case Format.JSONL:
            lines = _json_lines(answer)
        case Format.JSON:
            lines = _json_array(answer)
        case Format.PARQUET:
            raise ValueError("parquet is no text")
        case _:
            raise ValueError(f"{form} is no table")
    for line in lines:
        stream.write(f"{line}\n".encode())


def write_parquet(relation: duckdb.DuckDBPyRelation, stream: BinaryIO) -> int:
    """Write the rows of a relation as parquet, with their exact types; return their number.

    Raises:
        FeatdexError: Parquet can't hold one of the types.
        QueryError, NotFoundError: As `read`.
    """
    import pyarrow as pa
    from pyarrow import parquet

    from .file import translated

    with translated():
        table = relation.project("*").to_arrow_table()
    try:
        parquet.write_table(table, stream)
    except pa.ArrowException as error:
        raise FeatdexError(f"can't write this as parquet: {' '.join(str(error).split())}; cast the column") from error
    return int(table.num_rows)


class _LastLine:
    """A file for `csv.writer`, which hands over one whole record a call."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text


def _delimited_lines(answer: Answer, form: Format) -> Iterator[str]:
    """Yield RFC 4180 records: quotes where needed, NULL as an empty field, lists as JSON."""
    last = _LastLine()
    # The writer quotes the characters of its own line end; records are then ended by a plain newline.
    writer = csv.writer(last, delimiter="\t" if form is Format.TSV else ",", lineterminator="\r\n")
    for_spreadsheet = form is Format.SPREADSHEET
    # Excel takes a file for UTF-8 only by this mark.
    mark = BYTE_ORDER_MARK if for_spreadsheet else ""
    for row in chain([answer.names], answer.rows):
        writer.writerow(_as_text(_field(value)) if for_spreadsheet else _field(value) for value in row)
        yield mark + last.text.removesuffix("\r\n")
        mark = ""


def _as_text(field: Any) -> Any:
    """Return a field that no spreadsheet takes for a formula, whatever spaces it skips."""
    is_formula = isinstance(field, str) and (field.lstrip(" \xa0").startswith(_FORMULA))
    return f"'{field}" if is_formula else field


def _field(value: Any) -> Any:
    match value:
        case bool():
            return str(value).lower()
        case list() | dict():
            return json.dumps(_exact(value), ensure_ascii=False)
        case date() | time() | bytes():
            return _exact(value)
    return value


def _exact(value: Any) -> Any:
    """Return a value that JSON can hold; NaN and infinities, which it can't, become null."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case dict():
            return {str(key): _exact(item) for key, item in value.items()}
        case list() | tuple():
            return [_exact(item) for item in value]
        case date() | time():
            return value.isoformat()
        case bytes():
            return value.hex()
    return str(value)


def _json_lines(answer: Answer) -> Iterator[str]:
    for row in answer.rows:
        record = dict(zip(answer.names, map(_exact, row), strict=True))
        yield inert_json(json.dumps(record, ensure_ascii=False, allow_nan=False))


def inert_json(text: str) -> str:
    r"""Return JSON with the characters that could steer a terminal as `\u` escapes: the same values when read."""
    return text if text.isprintable() else "".join(map(_inert_character, text))


def _inert_character(character: str) -> str:
    # A newline in JSON is never part of a value.
    if character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    return json.dumps(character)[1:-1]


def _json_array(answer: Answer) -> Iterator[str]:
    yield "["
    held = ""
    for line in _json_lines(answer):
        if held:
            yield f"{held},"
        held = line
    if held:
        yield held
    yield "]"
