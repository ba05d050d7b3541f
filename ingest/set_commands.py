"""The commands that change the token sets of a catalogue: `sets add`, `sets check`, `sets rm`.

Importing this module loads no torch: `featdex --help` lists these commands too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..catalogue.cli_common import (
    FormatOption,
    db_path,
    emit_answer,
    example,
    narrate,
    no_type_check,
    wait_seconds,
)
from ..catalogue.errors import UsageError
from ..catalogue.formats import Answer

if TYPE_CHECKING:
    from .set_catalogue import Checked

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="A set file: .toml, .gmt, or .txt with a term a line.")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Only the vocabulary of this model of the catalogue; all by default.")
]

_COLUMNS = {
    "set_name": "VARCHAR",
    "status": "VARCHAR",
    "kind": "VARCHAR",
    "n_tokens": "INTEGER",
    "n_terms": "INTEGER",
    "n_dropped": "INTEGER",
    "nearest_set": "VARCHAR",
    "jaccard": "DOUBLE",
    "model": "VARCHAR",
}


def register(app: typer.Typer) -> None:
    """Add the commands to the verb `sets`."""
    sets = typer.Typer(rich_markup_mode=None)
    sets.command("add", epilog=example("featdex sets add my_sets.toml"))(add_command)
    sets.command("check", epilog=example("featdex sets check my_sets.toml --dropped"))(check_command)
    sets.command("collections", epilog=example("featdex sets collections"))(collections_command)
    sets.command("rm", epilog=example("featdex sets rm my_fruits"))(remove_command)
    app.add_typer(sets, name="sets")


def collections_command(form: FormatOption = None) -> None:
    """List the built-in collections, which 'featdex ingest --sets' takes by name; needs no catalogue."""
    from .token_sets import CORE, builtin_collections, core_names

    rows: list[tuple[object, ...]] = [
        (CORE, f"{len(core_names())} sets chosen from the collections below; the default.")
    ]
    rows += [(name, text.split(". ")[0].removesuffix(".") + ".") for name, text in builtin_collections().items()]
    emit_answer(Answer(["name", "description"], ["VARCHAR", "VARCHAR"], iter(rows), not rows), form)


@no_type_check
def check_command(
    context: typer.Context,
    file: FileArgument,
    model: ModelOption = None,
    dropped: Annotated[
        bool, typer.Option("--dropped", help="A row for each term that gave no token, with the reason, instead.")
    ] = False,
    form: FormatOption = None,
) -> None:
    """Show what the sets of a file are on the catalogue's vocabularies, and which sets they resemble; adds nothing."""
    from .set_catalogue import check_file
    from .set_file import read_set_file

    checked = check_file(db_path(context), read_set_file(file), model, keep_unusable=True, wait=wait_seconds(context))
    if dropped:
        _emit_dropped(checked, form)
    else:
        _emit_checked(checked, form)
    for item in checked:
        if not len(item.token_set.token_ids):
            narrate(f"{item.token_set.name} has no token of {item.model}: 'sets add' would refuse it")


@no_type_check
def add_command(
    context: typer.Context, file: FileArgument, model: ModelOption = None, form: FormatOption = None
) -> None:
    """Add the sets of a file to the catalogue, all or none; 'featdex ingest' then computes them.

    A set that is there with other members gets a new version; results of the old one stay under name@hash.
    """
    from .set_catalogue import add_sets, check_file
    from .set_file import read_set_file

    path = db_path(context)
    checked = check_file(path, read_set_file(file), model, wait=wait_seconds(context))
    add_sets(path, checked, wait=wait_seconds(context), narrate=narrate)
    _emit_checked(checked, form)
    changed = sum(item.status != "unchanged" for item in checked)
    narrate(f"{changed} new or changed, {len(checked) - changed} unchanged; 'featdex ingest' computes them")


@no_type_check
def remove_command(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Names of token sets.")] = None,
    collection: Annotated[str | None, typer.Option("--collection", help="All sets of this collection.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Remove the results that SAEs have of them, too.")] = False,
) -> None:
    """Remove token sets from the catalogue."""
    from .set_catalogue import remove_sets, sets_named

    path = db_path(context)
    found = sets_named(path, names or [], collection, wait_seconds(context))
    used = {name: slugs for name, slugs in found.items() if slugs}
    if used and not force:
        name, slugs = next(iter(used.items()))
        more = f", and {len(used) - 1} more sets have some" if len(used) > 1 else ""
        raise UsageError(f"{len(slugs)} SAEs have results of {name!r}{more}; --force removes these too")
    remove_sets(path, list(found), wait=wait_seconds(context), narrate=narrate)
    narrate(f"removed {', '.join(found) if len(found) <= 5 else f'{len(found)} token sets'}")


def _emit_checked(checked: list[Checked], form: FormatOption) -> None:
    rows: list[tuple[object, ...]] = [
        (
            item.token_set.name,
            item.status,
            item.token_set.kind,
            len(item.token_set.token_ids),
            item.token_set.n_terms,
            item.token_set.n_dropped,
            item.nearest_set,
            item.jaccard,
            item.model,
        )
        for item in checked
    ]
    emit_answer(Answer(list(_COLUMNS), list(_COLUMNS.values()), iter(rows), not rows), form)


def _emit_dropped(checked: list[Checked], form: FormatOption) -> None:
    rows = [
        (item.token_set.name, term, reason, item.model) for item in checked for term, reason in item.token_set.dropped
    ]
    names = ["set_name", "term", "reason", "model"]
    emit_answer(Answer(names, ["VARCHAR"] * len(names), iter(rows), not rows), form)
