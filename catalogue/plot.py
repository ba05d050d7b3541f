"""Pictures of a catalogue by name: what `featdex plot` and `Catalogue.plot` share.

Everything that needs matplotlib or plotly is imported from here, after `require_extra` has found them.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_common import narrate, replacing
from .errors import FeatdexError, UsageError, nearest
from .file import featdex_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from .catalogue import Catalogue
    from .plot_page import PlotlyJs
    from .plot_picture import Look, Picture

FIGURES = ("pdf", "svg", "png")
PAGE = "html"


def require_extra(form: str = FIGURES[0]) -> None:
    """Raise `FeatdexError` where matplotlib, or for a page plotly, is not installed."""
    wanted = ("matplotlib", "numpy") + (("plotly",) if form == PAGE else ())
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        raise FeatdexError(f"pictures need {missing[0]}, which is not installed; pip install 'featdex[plot]'")


def form_of(output: Path) -> str:
    """Return what a file is to be, by its ending.

    Raises:
        UsageError: It ends in none of pdf, svg, png and html, or is a folder.
    """
    form = output.suffix.removeprefix(".").lower()
    if form not in (*FIGURES, PAGE):
        raise UsageError(f"{output} does not end in .pdf, .svg, .png or .html")
    if output.is_dir():
        raise UsageError(f"{output} is a folder; name a file")
    return form


def kinds() -> dict[str, Callable[..., Picture]]:
    """Return what reads each kind of picture from a catalogue."""
    from .plot_heatmap import read_heatmap
    from .plot_manhattan import read_manhattan
    from .plot_percentiles import read_percentiles
    from .plot_sets import read_sets
    from .plot_skewness import read_skewness

    return {
        "skewness": read_skewness,
        "manhattan": read_manhattan,
        "sets": read_sets,
        "percentiles": read_percentiles,
        "heatmap": read_heatmap,
    }


def read_picture(catalogue: Catalogue, kind: str, *, for_page: bool = False, **parameters: Any) -> Picture:
    """Read the numbers of a picture.

    Raises:
        FeatdexError: An extra is missing; or see the kind's own function.
    """
    require_extra(PAGE if for_page else FIGURES[0])
    known = kinds()
    if kind not in known:
        raise UsageError(f"no picture {kind!r}{nearest(kind, known) or '; there are ' + ', '.join(known)}")
    try:
        return known[kind](catalogue, for_page=for_page, **parameters)
    except TypeError as error:
        # Python's own complaint about a missing or unknown argument names it.
        if f"read_{kind}()" not in str(error):
            raise
        raise UsageError(str(error).replace(f"read_{kind}()", kind)) from error


def figure_of(picture: Picture, look: Look) -> Figure:
    """Draw a picture with matplotlib."""
    from .plot_look import draw

    return draw(picture, look).figure


def write_picture(picture: Picture, output: Path, look: Look, plotlyjs: PlotlyJs) -> None:
    """Write a picture, and beside it `FILE.json`: what it shows and how it was made.

    Raises:
        FeatdexError: The file can't be written.
    """
    form, version = form_of(output), featdex_version()
    for note in picture.source.notes:
        narrate(note)
    if form == PAGE:
        _write_page(picture, output, look, plotlyjs, version)
    else:
        from .plot_look import draw, save

        drawing = draw(picture, look)
        with replacing(output) as stream:
            save(drawing, form, stream, look, version)
        if drawing.n_unplaced:
            narrate(f"no room for {drawing.n_unplaced} labels; a larger --size has more")
    with replacing(output.with_name(f"{output.name}.json")) as stream:
        stream.write(_sidecar(picture, version).encode("utf-8"))
    narrate(f"wrote {output}")


def _write_page(picture: Picture, output: Path, look: Look, plotlyjs: PlotlyJs, version: str) -> None:
    from .plot_page import SCRIPT_NAME, PlotlyJs, plotly_script, write_page

    if plotlyjs is PlotlyJs.BESIDE:
        with replacing(output.with_name(SCRIPT_NAME)) as stream:
            stream.write(plotly_script())
    with replacing(output) as stream:
        write_page(picture.page(), look.title, f"featdex {picture.source.kind}", stream, version, plotlyjs)


def _sidecar(picture: Picture, version: str) -> str:
    source = picture.source
    facts = {
        "kind": source.kind,
        "parameters": source.parameters,
        "saes": source.saes,
        "sql": source.sql,
        "notes": source.notes,
        "featdex": version,
    }
    return f"{json.dumps(facts, ensure_ascii=False, indent=2)}\n"
