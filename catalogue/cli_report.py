"""The verb that makes a site of a catalogue: report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from .cli_common import catalogue_of, example, narrate
from .given_path import given_path

_MB = 1_000_000


def register(app: typer.Typer) -> None:
    """Add the verb of this module."""
    app.command(epilog=example("featdex report out --sets names"))(report)


def report(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write; a report that is there is replaced.")],
    sae: Annotated[str | None, typer.Option("--sae", help="Only SAEs whose slug or release matches this GLOB.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--sets", metavar="GLOB", help="Only token sets whose name or collection matches; several with commas."
        ),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", min=1, max=20, help="Tokens and sets each way on the card of a feature.")
    ] = 10,
) -> None:
    """Write a site to browse: FOLDER/index.html opens from disk in any browser, without server or network.

    It has a table of all features with filters, plots, a card for every feature and a page for every token set. Fewer
    SAEs (--sae), sets (--sets) or entries on a card (--top) make it smaller.
    """
    from .report import write_report
    from .report_folder import require_place
    from .report_plan import Options, make_plan

    out = given_path(out)
    require_place(out)
    started = time.monotonic()
    with catalogue_of(context) as catalogue:
        globs = tuple(word for text in sets or () for word in text.split(",") if word)
        plan = make_plan(catalogue, Options(sae, globs, top))
        narrate(
            f"{plan.n_features:,} features of {len(plan.saes):,} SAEs x {len(plan.sets):,} token sets:"
            f" about {_megabytes(plan.estimated_bytes())}"
        )
        written = write_report(catalogue, out, plan)
    seconds = time.monotonic() - started
    narrate(f"{_megabytes(written.n_bytes)} in {seconds:.1f} s; open {out / 'index.html'} in a browser")


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / _MB:,.1f} MB" if n_bytes < 10 * _MB else f"{n_bytes / _MB:,.0f} MB"
