"""The verbs that look after a catalogue, or sit in one: doctor, migrate, shell."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_common import FormatOption, catalogue_of, db_path, example, narrate, wait_seconds
from .dataset_place import dataset_place
from .display import printable, some_of
from .errors import CatalogueError, UsageError

if TYPE_CHECKING:
    from .findings import Finding

SPOT_CHECK = "spot-check"
"""The verb, of another package, that computes features again."""

_MEMORY = "1GB"
"""Doctor's: DuckDB would keep what it reads, up to most of the machine's memory."""


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command(epilog=example("featdex doctor"))(doctor)
    app.command(epilog=example("featdex --db demo.duckdb migrate"))(migrate)
    app.command(epilog=example("featdex shell"))(shell)


def doctor(
    context: typer.Context,
    spot_check: Annotated[
        int, typer.Option("--spot-check", min=0, metavar="N", help="Compute N random features again from the weights.")
    ] = 0,
) -> None:
    """Check that the catalogue is whole: no missing, double, unsorted or impossible rows, hashes and q-values right.

    A line a check, and for every SAE that is at fault the command that computes it again. Exit code 1 on a fault.
    """
    n_faults = 0
    slugs: set[str] = set()
    from .doctor import examine, rebuild_commands
    from .file import open_reader
    from .interrupts import interruptible

    opened = closing(open_reader(db_path(context), wait=wait_seconds(context), memory=_MEMORY))
    with opened as connection, interruptible(connection):
        for finding in examine(connection):
            n_faults += not finding.ok
            slugs |= finding.slugs
            print_finding(finding)
        commands = rebuild_commands(connection, slugs)
    dataset = dataset_place(db_path(context))
    for command in commands:
        print(printable(f"rebuild  featdex {_into(dataset, db_path(context), command)}"))
    differing = _spot_check(context, spot_check) if spot_check else None
    if n_faults:
        raise CatalogueError(f"{n_faults} of the checks failed; {_remedy(sorted(slugs), dataset)}")
    if differing is not None:
        raise differing


def print_finding(finding: Finding) -> None:
    """Print the outcome of one check as a line."""
    print(printable(f"{'ok   ' if finding.ok else 'FAULT'}  {finding.check}: {finding.detail}"), flush=True)


def _into(dataset: str | None, path: Path, command: str) -> str:
    return f"{command} --to {shlex.quote(dataset)}" if dataset else f"--db {shlex.quote(str(path))} {command}"


def _remedy(slugs: list[str], dataset: str | None) -> str:
    if not slugs and dataset:
        return "where a line above does not say what to do, take another copy of the dataset"
    if not slugs:
        return "no SAE computed again would mend that: take another copy of the file, or ingest into a new one"
    return f"would rebuild {some_of(slugs)}: 'featdex ingest … --force' as above"


def _spot_check(context: Any, n_features: int) -> CatalogueError | None:
    """Run the verb of `featdex.ingest` that has the weights; return its fault."""
    group = context.parent.command
    command = group.get_command(context.parent, SPOT_CHECK)
    if command is None:
        raise UsageError("--spot-check computes features again; pip install 'featdex[ingest]'")
    with command.make_context(SPOT_CHECK, [str(n_features)], parent=context.parent) as inner:
        try:
            command.invoke(inner)
        except CatalogueError as fault:
            return fault
    return None


def migrate(context: typer.Context) -> None:
    """Bring a catalogue of an older featdex up to date; the old one is kept beside it (FILE.v1, by its schema).

    The old catalogue stays as it is until the new one is whole. One that is up to date gets this featdex's views and
    questions.
    """
    from .migrate import migrate as bring_up_to_date
    from .schema import SCHEMA_VERSION

    path = db_path(context)
    done = bring_up_to_date(path, wait=wait_seconds(context), narrate=narrate)
    if done is None:
        place = dataset_place(path) or path
        narrate(f"{place} has schema {SCHEMA_VERSION} already; its views and questions are this featdex's now")
    else:
        narrate(
            f"{path} has schema {SCHEMA_VERSION} now, {done.kept} is as it was with schema {done.version};"
            " 'featdex doctor' names what to ingest again"
        )


def shell(context: typer.Context, form: FormatOption = None) -> None:
    """Ask SQL at a prompt, read-only, of a catalogue that whoever made it: it reaches no other file.

    A statement ends with a semicolon. .ls lists the questions, .help the other commands.
    """
    from .shell import run_shell

    with catalogue_of(context) as catalogue:
        run_shell(catalogue, form)
