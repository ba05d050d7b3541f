"""The commands, SQL and Python on pages of Markdown, to be run, or where that can't be, to be checked.

A block that is not run has a note on the line before it; one before the first block of a page is of all of them:

    <!-- needs the hub -->      weights are fetched
    <!-- other catalogue -->    asks a catalogue that the reader has made
    <!-- changes the demo -->   takes long, or other blocks would no longer print what they say

It is checked all the same: verbs, options, questions and their parameters are known, and SQL binds. A block that begins
with `# NAME` in a language of files (toml, text) is the contents of that file. In what a command prints, a line `…`
stands for any number of lines; a command that shows nothing is run for its exit code.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock

if TYPE_CHECKING:
    from featdex.catalogue.catalogue import Catalogue

NOT_RUN = ("needs the hub", "other catalogue", "changes the demo")
_NOTE = rf"<!-- (?P<note>{'|'.join(NOT_RUN)}) -->\n"
_BLOCK = re.compile(rf"^(?:{_NOTE})?```(?P<language>\w+)\n(?P<body>.*?)^```", re.DOTALL | re.MULTILINE)
_FILE_LANGUAGES = ("toml", "text")
_FILE = re.compile(r"# ([\w.-]+\.(?:toml|txt))\n")
_EXPORT = re.compile(r"^export (\w+)=([\w./-]+)$")
_SECONDS = 600
_NONE: Mapping[str, str] = MappingProxyType({})


class Block(NamedTuple):
    """A fenced block: its language, text, and the number of its first line."""

    language: str
    body: str
    is_run: bool
    line: int


class Command(NamedTuple):
    """A command of a `console` block, and what it prints."""

    line: str
    output: str
    is_run: bool


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = list(_BLOCK.finditer(text))
    head = text[: found[0].start()] if found else ""
    page_is_run = re.search(_NOTE, head) is None
    return [
        Block(
            match["language"],
            match["body"],
            page_is_run and not match["note"],
            text.count("\n", 0, match.start("body")) + 1,
        )
        for match in found
    ]


def commands(page: Path) -> list[Command]:
    """Return the commands of a page."""
    found = []
    for block in blocks(page):
        if block.language == "console":
            for part in re.split(r"^\$ ", block.body, flags=re.MULTILINE)[1:]:
                line, _, output = part.replace("\\\n", "").partition("\n")
                found.append(Command(line, output, block.is_run))
    return found


def statements(page: Path) -> list[tuple[str, bool]]:
    """Return the SQL statements of a page, and whether each is run."""
    return [
        (statement.strip(), block.is_run)
        for block in blocks(page)
        if block.language == "sql"
        for statement in re.sub(r"--[^\n]*", "", block.body).split(";")
        if statement.strip()
    ]


def scripts(page: Path) -> list[tuple[str, bool]]:
    """Return the blocks of Python of a page, and whether each is run."""
    return [(block.body, block.is_run) for block in blocks(page) if block.language == "python"]


def write_files(page: Path, folder: Path) -> None:
    """Write the files whose contents a page shows."""
    for block in blocks(page):
        named = _FILE.match(block.body)
        if block.language in _FILE_LANGUAGES and named:
            (folder / named[1]).write_text(block.body, encoding="utf-8")


def exports(page: Path) -> dict[str, str]:
    """Return the variables that a page has its reader export."""
    return dict(found for command in commands(page) for found in _EXPORT.findall(command.line))


def run(line: str, folder: Path, variables: Mapping[str, str] = _NONE) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell in a folder, on a terminal of 150 columns, with these variables of the environment."""
    featdex = Path(sys.executable).with_name("featdex")
    environment = os.environ | {"COLUMNS": "150", "PATH": f"{featdex.parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("FEATDEX_DB", None)
    environment |= variables
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def difference(found: str, shown: str) -> str | None:
    """Return the first line that a page shows and a command does not print, None where it prints what is shown.

    Words are compared; numbers may differ as much as another processor's rounding makes them.
    """
    lines = found.rstrip().splitlines()
    at_once = True
    for wanted in shown.rstrip().splitlines():
        if wanted.strip() == "…":
            at_once = False
            continue
        places = range(len(lines))[:1] if at_once else range(len(lines))
        place = next((index for index in places if _is_same(lines[index], wanted)), None)
        if place is None:
            return wanted
        lines, at_once = lines[place + 1 :], True
    return f"nothing, but it prints {lines[0]!r}" if lines and at_once else None


def _is_same(line: str, wanted: str) -> bool:
    left, right = line.split(), wanted.split()
    # The mean over a centred vocabulary is nothing but rounding.
    if right[:1] == ["mean"]:
        left, right = left[4:], right[4:]
    return len(left) == len(right) and all(map(_is_same_word, left, right))


def _is_same_word(word: str, wanted: str) -> bool:
    if word == wanted:
        return True
    try:
        return abs(float(word) - float(wanted)) <= max(0.02 * abs(float(wanted)), 0.11)
    except ValueError:
        return False


def fault_of_line(line: str) -> str | None:
    """Return what is wrong with a command that can't be run here, None where nothing is."""
    words = list(_words_of_command(line))
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words.pop(0)
    program, *arguments = words or [""]
    match program:
        case "featdex":
            return _fault_of_featdex(arguments)
        case "duckdb":
            return next(filter(None, (fault_of_sql(text) for text in arguments[1:] if not text.startswith("-"))), None)
        case "make":
            makefile = (Path(__file__).parent.parent / "Makefile").read_text(encoding="utf-8")
            return next((f"no target {name}" for name in arguments if f"\n{name}:" not in makefile), None)
        case "python":
            root = Path(__file__).parent.parent
            return next((f"no script {word}" for word in arguments[:1] if not (root / word).is_file()), None)
        case "pip" | "export" | "cd" | "git" | ".":
            return None
    return f"no command {program!r} is known"


def _words_of_command(line: str) -> Iterator[str]:
    """Yield the words of the first command of a line, up to a pipe or redirection."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>;&")
    lexer.whitespace_split = True
    for word in lexer:
        if word and not word.strip("|<>;&"):
            return
        yield word


def _fault_of_featdex(arguments: list[str]) -> str | None:
    import io
    from contextlib import redirect_stderr, redirect_stdout

    import typer
    from featdex.catalogue.cli import run as run_featdex

    given: list[tuple[str, dict[str, object]]] = []

    def note(command: object, context: typer.Context) -> int:
        given.append((str(context.info_name), dict(context.params)))
        return 0

    told = io.StringIO()
    with mock.patch.object(typer.core.TyperCommand, "invoke", note), redirect_stderr(told), redirect_stdout(told):
        code = run_featdex(arguments)
    if code:
        return told.getvalue().strip()
    for verb, parameters in given:
        name, text = parameters.get("name"), parameters.get("text")
        if verb in ("q", "ls", "export") and isinstance(name, str) and name != "parquet":
            return _fault_of_question(name, parameters.get("values"))
        if isinstance(text, str) and text != "-":
            return fault_of_sql(text)
    return None


def _fault_of_question(name: str, values: object) -> str | None:
    from featdex.catalogue.errors import FeatdexError

    try:
        known = [parameter.name for parameter in _empty_catalogue().question(name).parameters]
    except FeatdexError as fault:
        return str(fault)
    given = [
        str(value).partition("=")[0] for value in (values if isinstance(values, list | tuple) else []) if "=" in value
    ]
    return next((f"{name} has no parameter {key!r}" for key in given if key not in known), None)


def fault_of_sql(text: str) -> str | None:
    """Return what keeps SQL from binding in a catalogue, None where nothing does."""
    from featdex.catalogue.errors import FeatdexError

    catalogue = _empty_catalogue()
    for statement in filter(str.strip, text.split(";")):
        try:
            _ = catalogue.sql(statement).columns
        except FeatdexError as fault:
            return f"{fault}: {statement.strip()}"
    return None


@cache
def _empty_catalogue() -> Catalogue:
    import duckdb
    from featdex.catalogue.catalogue import Catalogue
    from featdex.catalogue.file import install_schema

    connection = duckdb.connect()
    install_schema(connection)
    return Catalogue("empty", connection)
