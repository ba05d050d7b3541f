"""The command that checks a catalogue against the weights: `spot-check`, which `doctor --spot-check` runs too.

Importing this module loads no torch: `featdex --help` lists the command.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ..catalogue.cli_care import SPOT_CHECK, print_finding
from ..catalogue.cli_common import db_path, example, narrate, no_type_check, wait_seconds
from ..catalogue.errors import CatalogueError
from .choices import PickleOption


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(SPOT_CHECK, epilog=example("featdex --db demo.duckdb spot-check 5"))(spot_check_command)


@no_type_check
def spot_check_command(
    context: typer.Context,
    n: Annotated[int, typer.Argument(metavar="N", min=1, help="Number of random features.")],
    seed: Annotated[int | None, typer.Option("--seed", help="Choose the same features again.")] = None,
    allow_pickle: PickleOption = False,
) -> None:
    """Compute random features again from the weights, and compare: statistics, tokens, es, auroc and z of every set.

    The weights are read from where the ledger says they came from. Exit code 1 where something differs, or can't be
    checked.
    """
    from .spot_check import choose_spots, spot_check

    path, wait = db_path(context), wait_seconds(context)
    spots = choose_spots(path, n, seed, wait)
    narrate(f"computing {len(spots)} features again")
    n_faults = 0
    for finding in spot_check(path, spots, allow_pickle=allow_pickle, wait=wait):
        n_faults += not finding.ok
        print_finding(finding)
    if n_faults:
        raise CatalogueError(
            f"{n_faults} SAEs differ from their weights or could not be checked;"
            " 'featdex ingest … --force' computes an SAE again"
        )
