"""The verb `plot`: pictures of a catalogue, for papers and for looking.

`featdex.ingest` adds those that need the weights. Importing this module loads neither matplotlib nor plotly.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_common import SaeOption, VerbGroup, catalogue_of, example
from .errors import UsageError
from .given_path import given_path
from .plot_picture import Font, Look, Width

if TYPE_CHECKING:
    from .plot_picture import Picture

OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="The file: .pdf, .svg or .png, or .html, a page to look at.")
]
WidthOption = Annotated[
    Width | None, typer.Option("--width", help="column (3.25 in, the default) or page (6.75 in), as in two columns.")
]
SizeOption = Annotated[
    str | None, typer.Option("--size", metavar="WxH", help="Width and height in inches instead, such as 3.25x2.")
]
TitleOption = Annotated[str | None, typer.Option("--title", help="A title; by default none, for papers have captions.")]
FontOption = Annotated[
    Font | None, typer.Option("--font", help="sans (DejaVu Sans, the default) or serif (STIX, which goes with Times).")
]
PlotlyOption = Annotated[
    str | None,
    typer.Option(
        "--plotlyjs", metavar="inline|beside", help="Of a page: plotly.js inside it, or in a file beside it, shared."
    ),
]
QOption = Annotated[float, typer.Option("--q", min=0, max=1, help="The q below which a feature is called.")]


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    plot = typer.Typer(
        cls=VerbGroup,
        help="Draw a picture: pdf, svg or png for a paper, html to look at.",
        epilog=example("featdex plot skewness -o skewness.pdf"),
        rich_markup_mode=None,
    )
    plot.command(epilog=example("featdex plot skewness --sae '*-mlp' -o skewness.pdf"))(skewness)
    plot.command(epilog=example("featdex plot manhattan girls_names --width page -o girls.pdf"))(manhattan)
    plot.command(epilog=example("featdex plot sets girls_names boys_names -o names.pdf"))(sets)
    plot.command(epilog=example("featdex plot percentiles kurtosis --sae '*-mlp' -o kurtosis.pdf"))(percentiles)
    plot.command(epilog=example("featdex plot heatmap --collection names -o names.pdf"))(heatmap)
    app.add_typer(plot, name="plot")


def skewness(
    context: typer.Context,
    output: OutputOption,
    sae: SaeOption = None,
    width: WidthOption = None,
    size: SizeOption = None,
    title: TitleOption = None,
    font: FontOption = None,
    plotlyjs: PlotlyOption = None,
) -> None:
    """Skewness against kurtosis of every feature, coloured by standard deviation."""
    outside = Outside(output, width, size, title, font, plotlyjs)
    _plot(context, outside, "skewness", sae=sae)


def manhattan(
    context: typer.Context,
    set_name: Annotated[str, typer.Argument(metavar="SET", help="Name of a token set.")],
    output: OutputOption,
    sae: SaeOption = None,
    y: Annotated[str, typer.Option("--y", metavar="p|z", help="-log10 p, or z.")] = "p",
    q: QOption = 0.05,
    n: Annotated[int, typer.Option("-n", min=0, help="Number of leaders to name.")] = 6,
    width: WidthOption = None,
    size: SizeOption = None,
    title: TitleOption = None,
    font: FontOption = None,
    plotlyjs: PlotlyOption = None,
) -> None:
    """Every feature by SAE and layer, its p or z of a token set upwards, with the threshold of q."""
    outside = Outside(output, width, size, title, font, plotlyjs)
    _plot(context, outside, "manhattan", set_name=set_name, sae=sae, q=q, y=_one_of(y, "--y", "p", "z"), n=n)


def sets(
    context: typer.Context,
    set_a: Annotated[str, typer.Argument(metavar="A", help="The token set along the x axis.")],
    set_b: Annotated[str, typer.Argument(metavar="B", help="The token set along the y axis.")],
    output: OutputOption,
    sae: SaeOption = None,
    score: Annotated[str, typer.Option("--score", metavar="z|es", help="What both axes show.")] = "z",
    q: QOption = 0.05,
    n: Annotated[int, typer.Option("-n", min=0, help="Number of outliers to name.")] = 10,
    width: WidthOption = None,
    size: SizeOption = None,
    title: TitleOption = None,
    font: FontOption = None,
    plotlyjs: PlotlyOption = None,
) -> None:
    """One token set against another, a point a feature, those far from the diagonal named."""
    outside = Outside(output, width, size, title, font, plotlyjs)
    score = _one_of(score, "--score", "z", "es")
    _plot(context, outside, "sets", set_a=set_a, set_b=set_b, sae=sae, score=score, q=q, n=n)


def percentiles(
    context: typer.Context,
    statistic: Annotated[str, typer.Argument(metavar="STATISTIC", help="A number of features, such as kurtosis.")],
    output: OutputOption,
    sae: SaeOption = None,
    scale: Annotated[
        str, typer.Option("--scale", metavar="auto|linear|log", help="auto: log where values spread widely.")
    ] = "auto",
    width: WidthOption = None,
    size: SizeOption = None,
    title: TitleOption = None,
    font: FontOption = None,
    plotlyjs: PlotlyOption = None,
) -> None:
    """Percentiles of a statistic by layer."""
    outside = Outside(output, width, size, title, font, plotlyjs)
    scale = _one_of(scale, "--scale", "auto", "linear", "log")
    _plot(context, outside, "percentiles", statistic=statistic, sae=sae, scale=scale)


def heatmap(
    context: typer.Context,
    output: OutputOption,
    names: Annotated[list[str] | None, typer.Argument(metavar="[SET]...", help="Names of token sets.")] = None,
    collection: Annotated[str | None, typer.Option("--collection", help="All sets of a collection instead.")] = None,
    sae: SaeOption = None,
    value: Annotated[
        str,
        typer.Option(
            "--value", metavar="share|count|best", help="Of features with q < .05, or the z of the best feature."
        ),
    ] = "share",
    direction: Annotated[
        str, typer.Option("--direction", metavar="promoted|suppressed|either", help="Which features.")
    ] = "either",
    n: Annotated[int, typer.Option("-n", min=1, help="Largest number of sets of a collection.")] = 40,
    width: WidthOption = None,
    size: SizeOption = None,
    title: TitleOption = None,
    font: FontOption = None,
    plotlyjs: PlotlyOption = None,
) -> None:
    """Token sets against layers, sets of one pattern side by side."""
    outside = Outside(output, width, size, title, font, plotlyjs)
    value = _one_of(value, "--value", "share", "count", "best")
    direction = _one_of(direction, "--direction", "promoted", "suppressed", "either")
    _plot(
        context, outside, "heatmap", sets=names, collection=collection, sae=sae, value=value, direction=direction, n=n
    )


class Outside:
    """The options that every picture has: where it goes, and how it looks."""

    def __init__(
        self,
        output: Path,
        width: Width | None,
        size: str | None,
        title: str | None,
        font: Font | None,
        plotlyjs: str | None,
    ) -> None:
        """Check them before anything is read.

        Raises:
            UsageError: An option that makes no sense, or does not go with the kind of file.
            FeatdexError: What draws such a file is not installed.
        """
        from .plot import PAGE, form_of, require_extra

        self.output = output = given_path(output)
        self.is_page = form_of(output) == PAGE
        if self.is_page and (width or size or font):
            raise UsageError("--width, --size and --font are for pdf, svg and png; a page fills its window")
        if plotlyjs and not self.is_page:
            raise UsageError("--plotlyjs is for html")
        if width and size:
            raise UsageError("--width and --size name the width both; give one")
        self._plotlyjs = _one_of(plotlyjs or "inline", "--plotlyjs", "inline", "beside")
        self._look = Look(width or Width.COLUMN, None if size is None else parse_size(size), title, font or Font.SANS)
        require_extra(form_of(output))

    def write(self, picture: Picture) -> None:
        """Write the picture and its sidecar.

        Raises:
            FeatdexError: It can't be written.
        """
        from .plot import write_picture
        from .plot_page import PlotlyJs

        write_picture(picture, self.output, self._look, PlotlyJs(self._plotlyjs))


def parse_size(text: str) -> tuple[float, float]:
    """Return the inches that `3.25x2` names.

    Raises:
        UsageError: It is no size, under an inch or over 40.
    """
    found = re.fullmatch(r"\s*(\d{1,3}(?:\.\d{1,4})?)\s*[x×]\s*(\d{1,3}(?:\.\d{1,4})?)\s*", text)
    size = (float(found[1]), float(found[2])) if found else (0.0, 0.0)
    if min(size) < 1.5 or max(size) > 40:
        raise UsageError(f"can't take {text!r} as a size; write inches like 3.25x2.5, from 1.5 to 40")
    return size


def _one_of(text: str, option: str, *known: str) -> str:
    if text not in known:
        raise UsageError(f"{option} is {' or '.join(known)}, not {text!r}")
    return text


def _plot(context: Any, outside: Outside, kind: str, **parameters: Any) -> None:
    from .plot import read_picture

    with catalogue_of(context) as catalogue:
        picture = read_picture(catalogue, kind, for_page=outside.is_page, **parameters)
    outside.write(picture)
