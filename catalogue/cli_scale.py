"""The verbs for what outgrows one file: pack, unpack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_common import example, narrate

DatasetArgument = Annotated[
    str, typer.Argument(metavar="DATASET", help="The dataset: a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX.")
]


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command(epilog=example("featdex pack gemma-scope/ gemma-scope.duckdb"))(pack)
    app.command(epilog=example("featdex unpack gpt2.duckdb gpt2/ --columns core"))(unpack)


def pack(
    dataset: DatasetArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The catalogue file to make.")],
) -> None:
    """Make one ordinary catalogue file of a dataset: whole, or not at all."""
    from .dataset_pack import pack as run

    run(dataset, file, narrate)


def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The catalogue file.")],
    dataset: DatasetArgument,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns of enrichment: full, or core, which are es, z, log10_p and log10_q. [full]"),
    ] = None,
) -> None:
    """Make a dataset, parquet files an SAE each, of a catalogue file. The same command goes on after a kill."""
    from .dataset_pack import unpack as run

    run(file, dataset, narrate, columns)
