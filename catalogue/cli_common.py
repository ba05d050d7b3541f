"""What all commands share, those of `featdex.ingest` too: the catalogue they were given, narration, output.

Data goes to stdout, narration to stderr. Commands raise `FeatdexError`; `cli.main` makes it a line and an exit code.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, TypeVar

import typer
from typer.core import TyperGroup

from .display import printable
from .errors import FeatdexError, UsageError
from .formats import LISTS, Answer, Format, inert_json, read, write, write_parquet
from .given_path import given_path

if TYPE_CHECKING:
    import duckdb

    from .catalogue import Catalogue

FormatOption = Annotated[
    Format | None,
    typer.Option("--format", "-f", help="Output format; by default a table on a terminal, csv in a pipe."),
]
AddressArgument = Annotated[
    str, typer.Argument(metavar="SAE/FEATURE", help="Slug of the SAE, a GLOB, or any part that only one slug has.")
]
SaeOption = Annotated[str | None, typer.Option("--sae", help="Only SAEs whose slug or release matches this GLOB.")]


Command = TypeVar("Command", bound=Callable[..., None])


def no_type_check(command: Command) -> Command:
    """Keep run-time type checkers off a command: what typer passes as context is no `typer.Context`."""
    return command


class VerbGroup(TyperGroup):
    """A verb with verbs of its own, to which other packages may add theirs."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a verb; those of other packages are loaded once one is asked for that is none of ours."""
        if cmd_name not in self.commands:
            _load_others(ctx)
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all verbs."""
        _load_others(ctx)
        return super().list_commands(ctx)


def _load_others(context: Any) -> None:
    load = getattr(getattr(context.parent, "command", None), "load_others", None)
    if load is not None:
        load()


@dataclass(frozen=True)
class Settings:
    """The options before the verb."""

    db: Path | None
    wait: float


def example(line: str) -> str:
    """Return the epilog of a command: an example that runs."""
    return f"\b\nExample:\n  {line}"


def db_path(context: typer.Context) -> Path:
    """Return the catalogue named by `--db` or FEATDEX_DB.

    Raises:
        UsageError: Neither was given, or no file can be called so.
    """
    settings = context.find_object(Settings)
    if settings is None or settings.db is None:
        raise UsageError("no catalogue named; give --db FILE, or set FEATDEX_DB")
    return given_path(settings.db)


def wait_seconds(context: typer.Context) -> float:
    """Return how long to wait for another process to let go of the catalogue."""
    settings = context.find_object(Settings)
    return 0.0 if settings is None else settings.wait


@contextmanager
def catalogue_of(context: typer.Context) -> Iterator[Catalogue]:
    """Open the catalogue of this call for reading; Ctrl-C ends its queries."""
    from .catalogue import connect
    from .interrupts import interruptible

    with connect(db_path(context), wait_seconds(context)) as catalogue, interruptible(catalogue.connection):
        yield catalogue


def narrate(text: str) -> None:
    """Print a line for people on stderr, whatever it may hold."""
    print(printable(text), file=sys.stderr, flush=True)


def terminal_width() -> int | None:
    """Return the width of the terminal on stdout, None where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def emit(relation: duckdb.DuckDBPyRelation, form: Format | None) -> bool:
    """Write the answer of a query to stdout, by default as a table on a terminal and as csv in a pipe.

    Returns:
        Whether there were rows. Without any, people (table, md) get no output at all, programs a header.

    Raises:
        UsageError: Parquet was asked for on a terminal.
        QueryError, NotFoundError: The query fails.
    """
    if form in LISTS:
        from .lists import write_list

        sys.stdout.flush()
        return write_list(relation, form, sys.stdout.buffer, narrate=narrate) > 0
    if form is not Format.PARQUET:
        return emit_answer(read(relation), form)
    if sys.stdout.isatty():
        raise UsageError("parquet is no text: redirect it (> FILE), or use 'featdex export … -o FILE'")
    sys.stdout.flush()
    write_parquet(relation, sys.stdout.buffer)
    return True


def emit_answer(answer: Answer, form: Format | None) -> bool:
    """Write an answer to stdout; see `emit`."""
    form = form or (Format.TABLE if sys.stdout.isatty() else Format.CSV)
    if form is Format.PARQUET or form in LISTS:
        raise UsageError(f"only answers to questions and SQL can be {form.value}")
    if not (answer.is_empty and form in (Format.TABLE, Format.MD)):
        sys.stdout.flush()
        write(answer, form, sys.stdout.buffer, width=terminal_width())
        sys.stdout.buffer.flush()
    return not answer.is_empty


def print_json(value: Any) -> None:
    """Print one value as JSON on stdout."""
    import json

    print(inert_json(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2)))


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` only when the block ends well.

    Raises:
        FeatdexError: The folder is missing or can't be written.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with scratch.open("w+b") as stream:
            yield stream
        scratch.replace(path)
    except OSError as error:
        raise FeatdexError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        scratch.unlink(missing_ok=True)
