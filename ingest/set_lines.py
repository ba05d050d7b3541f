"""Set files with a line for each set or term: `.gmt`, the gene-set format of GSEA, and plain text.

Blank lines and lines that start with `#` say nothing. Spaces at the end of a term are dropped, because nobody sees
them; spaces at its start are a part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..catalogue.errors import TokenSetError
from .set_definition import SetDefinition, check_name, distinct_terms, read_text, shown_path

_SOURCE = "user"


def read_gmt(path: Path) -> list[SetDefinition]:
    """Return the sets of a `.gmt` file: name TAB description TAB term TAB term ..., a set a line.

    Casing is `any`, space `either`. Empty columns hold no term. Raises TokenSetError, which says the line, for a line
    without a term, a bad name, a name twice; and as `read_text` does.
    """
    shown, lines = shown_path(path), list(_lines(path))
    check_name(shown, "file's name", path.stem, "rename it, because the collection is named after it")
    line_of: dict[str, int] = {}
    definitions: list[SetDefinition] = []
    for number, line in lines:
        where = f"{shown} line {number}"
        name, *columns = line.split("\t")
        terms = distinct_terms(term for column in columns[1:] if (term := column.rstrip()))
        if not terms:
            raise TokenSetError(f"{where} needs a name, a description and terms, with a tab between each two; add them")
        check_name(where, "name", name, "rename the set")
        if name in line_of:
            raise TokenSetError(f"{where}: line {line_of[name]} has a set {name!r} already; rename one")
        line_of[name] = number
        definitions.append(
            SetDefinition(
                name=name,
                collection=path.stem,
                kind="list",
                description=" ".join(columns[0].split()),
                source=_SOURCE,
                origin=path.name,
                terms=terms,
            )
        )
    if not definitions:
        raise TokenSetError(f"{shown} holds no sets; write name, description and terms with tabs between, a set a line")
    return definitions


def read_plain(path: Path) -> list[SetDefinition]:
    """Return the one set of a plain text file, a term a line, named after the file.

    Casing is `any`, space `either`. Raises TokenSetError for a file whose name can't name a set, and as `read_terms`
    does.
    """
    terms = read_terms(path)
    check_name(shown_path(path), "file's name", path.stem, "rename it, because the set is named after it")
    return [
        SetDefinition(
            name=path.stem,
            collection=path.stem,
            kind="list",
            description=f"The terms of {path.name}.",
            source=_SOURCE,
            origin=path.name,
            terms=terms,
        )
    ]


def read_terms(path: Path) -> tuple[str, ...]:
    """Return the distinct terms of a plain text file, a term a line.

    Raises TokenSetError for a file without terms, and as `read_text` does.
    """
    terms = distinct_terms(line.rstrip() for _, line in _lines(path))
    if not terms:
        raise TokenSetError(f"{shown_path(path)} holds no terms; write a term a line")
    return terms


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip() and not line.startswith("#"):
            yield number, line
