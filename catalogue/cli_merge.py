"""The verb that joins catalogues: merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_common import example, narrate, wait_seconds
from .display import some_of


def register(app: typer.Typer) -> None:
    """Add the verb of this module."""
    app.command(epilog=example("featdex merge demo.duckdb more.duckdb -o all.duckdb"))(merge)


def merge(
    context: typer.Context,
    catalogues: Annotated[list[Path], typer.Argument(metavar="CATALOGUE...", help="The catalogues to join.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The new catalogue.")],
    keep_first: Annotated[
        bool, typer.Option("--keep-first", help="Take an SAE that they differ in from the first that has it.")
    ] = False,
) -> None:
    """Join catalogues, of several machines or days, in a new one; they stay as they are, and may be read meanwhile.

    The same model is one, and the same run of an SAE is taken once; other weights or results under one name are
    refused, before anything is written. Of token sets of one name and other members, the last one named keeps it, the
    others go on as NAME@HASH. Tags and explanations join.
    """
    from .merge import merge as join

    done = join(catalogues, output, keep_first=keep_first, wait=wait_seconds(context), narrate=narrate)
    if done.left_out:
        narrate(f"left out, never tested and defined otherwise in a later catalogue: {some_of(done.left_out)}")
    narrate(f"wrote {output}: {done.n_saes:,} SAEs, {done.n_models} models, {done.n_sets:,} token sets")
