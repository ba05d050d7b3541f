"""SQL at a prompt, with the guards of `featdex sql`: the catalogue is all that it reaches, and nothing is written."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from .cli_common import emit, narrate
from .cli_read import list_questions
from .errors import FeatdexError, UsageError
from .file import translated
from .formats import Format

if TYPE_CHECKING:
    from .catalogue import Catalogue

ROWS_SHOWN = 200
"""Rows of an answer at the prompt; a program that reads the output gets them all."""

_HELP = """\
SQL ends with ; and may take several lines. Ctrl-C drops what is typed, or stops a query.
.ls [NAME]       the questions and views, or one of them explained
.format FORMAT   table, csv, tsv, json, jsonl, md, latex
.exit            leave; so does Ctrl-D"""

# What a semicolon may stand in without ending a statement.
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/""", re.DOTALL)


def is_complete(text: str) -> bool:
    """Whether the text ends with a semicolon that ends a statement."""
    left = _QUOTED.sub(" ", text)
    return left.rstrip().endswith(";") and not re.search(r"""['"]|\$\w*\$|/\*""", left)


def run_shell(catalogue: Catalogue, form: Format | None) -> None:
    """Answer statements from stdin until it ends.

    At a terminal a fault is a line, and the next statement is asked for; else it ends the shell.

    Raises:
        FeatdexError: A statement of a script fails, or its last one does not end.
    """
    is_prompted = sys.stdin.isatty() and sys.stdout.isatty()
    if is_prompted:
        # Editing and history of lines, where Python was built with them.
        with suppress(ImportError):
            import readline  # noqa: F401
        narrate(f"{catalogue.path}, read-only; .help for help")
    session = _Session(catalogue, form, is_prompted)
    for text in _statements(is_prompted):
        if not is_prompted:
            session.answer(text)
            continue
        try:
            session.answer(text)
        except FeatdexError as fault:
            narrate(f"featdex: {fault}")
        except KeyboardInterrupt:
            narrate("stopped")


def _statements(is_prompted: bool) -> Iterator[str]:
    """Yield the dot commands and the texts of whole statements; `.exit` ends them."""
    text = ""
    while True:
        try:
            line = input(("     ...> " if text else "featdex> ") if is_prompted else "")
        except EOFError:
            break
        except KeyboardInterrupt:
            narrate("")
            text = ""
            continue
        if not text and line.strip() in (".exit", ".quit"):
            return
        if not text and line.lstrip().startswith("."):
            yield line.strip()
            continue
        text = f"{text}\n{line}" if text else line
        if not text.strip():
            text = ""
        elif is_complete(text):
            yield text
            text = ""
    if text.strip():
        yield text


class _Session:
    """What the shell keeps between statements: the format of its answers."""

    def __init__(self, catalogue: Catalogue, form: Format | None, is_prompted: bool) -> None:
        self._catalogue, self._form, self._is_prompted = catalogue, form, is_prompted

    def answer(self, text: str) -> None:
        """Do what a dot command says, or print the answers to the statements of a text."""
        if text.startswith("."):
            self._command(*text.split(maxsplit=1))
            return
        connection = self._catalogue.connection
        for statement in self._catalogue.statements(text):
            with translated():
                relation = connection.sql(statement)
            if relation is None:
                continue
            is_cut = self._is_prompted and self._form in (None, Format.TABLE)
            with translated():
                shown = relation.limit(ROWS_SHOWN) if is_cut else relation
                n_more = len(relation.limit(1, offset=ROWS_SHOWN).fetchall()) if is_cut else 0
            if not emit(shown, self._form):
                narrate("no rows")
            if n_more:
                narrate(f"the first {ROWS_SHOWN} rows; LIMIT and OFFSET give others, .format csv all")

    def _command(self, command: str, argument: str = "") -> None:
        match command:
            case ".help":
                print(_HELP)
            case ".ls":
                list_questions(self._catalogue, argument or None, self._form)
            case ".format":
                if argument not in list(Format) or argument == Format.PARQUET:
                    raise UsageError(f"no format {argument!r}; .help lists them")
                self._form = Format(argument)
            case _:
                raise UsageError(f"no command {command!r}; .help lists them")
