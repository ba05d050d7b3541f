"""The pictures that read one row of the weights again: `plot logits` and `plot running-sum`.

Importing this module loads no torch: `featdex --help` lists these commands too.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..catalogue.cli_common import AddressArgument, db_path, example, narrate, no_type_check, wait_seconds
from ..catalogue.cli_plot import (
    FontOption,
    OutputOption,
    Outside,
    PlotlyOption,
    SizeOption,
    TitleOption,
    WidthOption,
)
from .choices import PickleOption

SetOption = Annotated[str, typer.Option("--set", help="Name of a token set.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the verb `plot`."""
    plot = typer.Typer(rich_markup_mode=None)
    plot.command("logits", epilog=example("featdex plot logits 29-mlp/573 --set girls_names -o logits.pdf"))(
        logits_command
    )
    plot.command("running-sum", epilog=example("featdex plot running-sum 29-mlp/573 --set girls_names -o sum.pdf"))(
        running_sum_command
    )
    app.add_typer(plot, name="plot")


@no_type_check
def logits_command(
    context: typer.Context,
    address: AddressArgument,
    set_name: SetOption,
    output: OutputOption,
    log: Annotated[bool, typer.Option("--log", help="A logarithmic axis of shares, for the tails.")] = False,
    n: Annotated[int, typer.Option("-n", min=0, help="Number of the set's tokens to name.")] = 5,
    allow_pickle: PickleOption = False,
    width: WidthOption = None,
    size: SizeOption = None,
    title: TitleOption = None,
    font: FontOption = None,
    plotlyjs: PlotlyOption = None,
) -> None:
    """The logit weights of a feature, tokens of a set apart from all others; reads the weights again."""
    outside = Outside(output, width, size, title, font, plotlyjs)
    tokens, source = _read(context, "logits", address, set_name, allow_pickle, log=log, n=n)
    from ..catalogue.plot_weights import LogitsPicture

    outside.write(LogitsPicture(source, tokens, log, n))


@no_type_check
def running_sum_command(
    context: typer.Context,
    address: AddressArgument,
    set_name: SetOption,
    output: OutputOption,
    allow_pickle: PickleOption = False,
    width: WidthOption = None,
    size: SizeOption = None,
    title: TitleOption = None,
    font: FontOption = None,
    plotlyjs: PlotlyOption = None,
) -> None:
    """The running sum behind the es of a feature and set, as GSEA draws it; reads the weights again."""
    outside = Outside(output, width, size, title, font, plotlyjs)
    tokens, source = _read(context, "running-sum", address, set_name, allow_pickle)
    from ..catalogue.plot_weights import RunningSumPicture

    outside.write(RunningSumPicture(source, tokens))


def _read(context: Any, kind: str, address: str, set_name: str, allow_pickle: bool, **more: Any) -> tuple[Any, Any]:
    """Return the `RankedTokens` of a feature and set, and the `Source` of a picture of them."""
    path, wait = db_path(context), wait_seconds(context)
    narrate("reading the weights")
    from ..catalogue.plot_picture import Source
    from ..catalogue.plot_weights import RankedTokens
    from .feature_row import SCORES_SQL, read_feature_row

    row = read_feature_row(path, address, set_name, allow_pickle=allow_pickle, wait=wait)
    parameters = {"sae": row.slug, "feature": row.feature, "set_name": set_name, **more}
    parameters["address"] = f"{row.slug}/{row.feature}"
    tokens = RankedTokens(row.logits, row.is_member, row.texts, row.scores, row.weight)
    return tokens, Source(kind, parameters, [row.slug], SCORES_SQL)
