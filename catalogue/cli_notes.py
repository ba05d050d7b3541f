"""The verbs that keep what people say of features: tag, tags, import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_common import (
    AddressArgument,
    FormatOption,
    SaeOption,
    VerbGroup,
    catalogue_of,
    db_path,
    emit,
    example,
    narrate,
    wait_seconds,
)
from .display import some_of
from .errors import NotFoundError, UsageError


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command(epilog=example("featdex tag 29-mlp/573 names --note 'girls and saints'"))(tag)
    app.command(epilog=example("featdex tags --sae '*29*'"))(tags)
    group = typer.Typer(
        cls=VerbGroup,
        help="Take into the catalogue what others made.",
        epilog=example("featdex import explanations batch-0.jsonl.gz"),
        rich_markup_mode=None,
    )
    group.callback()(_no_options)
    group.command("explanations", epilog=example("featdex import explanations batch-0.jsonl.gz --sae 29-mlp"))(
        import_explanations
    )
    app.add_typer(group, name="import")


def _no_options() -> None:
    """A group needs a callback to stay one where it has a single command."""


def tag(
    context: typer.Context,
    address: AddressArgument,
    label: Annotated[str, typer.Argument(metavar="TAG", help="A short label.")],
    note: Annotated[str | None, typer.Option(help="Free text to keep with it.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the tag off instead.")] = False,
) -> None:
    """Tag a feature, in the catalogue itself.

    Tags stay when an SAE is computed again, also from other weights, and when token sets change. A feature that has the
    tag already gets the new note.
    """
    from .notes import add_tag, remove_tag

    path, wait = db_path(context), wait_seconds(context)
    if remove:
        if note is not None:
            raise UsageError("--remove takes the note off with the tag; leave out --note")
        narrate(f"removed {label} from {remove_tag(path, address, label, wait=wait, narrate=narrate)}")
        return
    narrate(f"wrote {label} to {add_tag(path, address, label, note, wait=wait, narrate=narrate)}")


def tags(
    context: typer.Context,
    label: Annotated[str | None, typer.Argument(metavar="[TAG]", help="Only features with this tag, or GLOB.")] = None,
    sae: SaeOption = None,
    form: FormatOption = None,
) -> None:
    """List the tagged features with their notes; the view tags has them for SQL."""
    with catalogue_of(context) as catalogue:
        relation = catalogue.sql(
            "SELECT s.slug AS sae, g.feature, g.tag, g.note, g.created_at FROM tag g JOIN sae s USING (sae_id)"
            " WHERE g.sae_id IN (FROM _sae_ids($sae)) AND ($label IS NULL OR g.tag = $label OR g.tag GLOB $label)"
            " ORDER BY s.layer NULLS LAST, s.slug, g.feature, g.tag",
            {"sae": sae, "label": label},
        )
        if not emit(relation, form):
            which = "no feature is tagged" if label is None else f"no feature is tagged {label!r}"
            raise NotFoundError(f"{which}; 'featdex tag SAE/FEATURE TAG' does it")


def import_explanations(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Neuronpedia's export: .jsonl or .jsonl.gz.")],
    sae: Annotated[
        str | None, typer.Option("--sae", help="The SAE they are of; by default those of the file's Neuronpedia ids.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Forget first what these SAEs have of explanations.")
    ] = False,
) -> None:
    """Import explanations of features from files that Neuronpedia exports, all of them or none.

    They are joined by Neuronpedia id, and refused where a feature is not one of its SAE. An explanation of the same
    feature, method and model is replaced, so files may be imported again. 'featdex q explained_as WORDS' searches them.
    """
    from .explanations import import_explanations as run

    done = run(db_path(context), files, sae=sae, replace=replace, wait=wait_seconds(context), narrate=narrate)
    for slug, n_rows in done.n_rows.items():
        narrate(f"wrote {n_rows:,} explanations of {slug}")
    if done.n_replaced:
        narrate(f"{done.n_replaced:,} earlier ones were replaced")
    if done.n_empty:
        narrate(f"{done.n_empty:,} lines without a description were left out")
    if done.others:
        others = some_of(list(done.others))
        narrate(f"{sum(done.others.values()):,} lines were left out: the catalogue has no SAE of {others}")
