"""How figures look and how they are written: for a paper of two columns, the same bytes for the same catalogue.

Sizes are those of the printed page, text is 8 pt (numbers on axes 7), and fonts are embedded as TrueType. The colours
are Okabe and Ito's and matplotlib's viridis and cividis, which all readers can tell apart; what colour says, shape or
position says too. Nothing here touches pyplot or leaves a setting behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from .display import printable
from .plot_labels import Labels, place_labels
from .plot_picture import Look, Picture
from .plot_text import FONTS, drawn_title

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
"""Okabe and Ito's palette."""
GREY, PALE = "#666666", "#BBBBBB"

PIXELS_PER_INCH = 600
"""Of PNG files, and of points that are drawn as pixels inside PDF and SVG."""

_CHARACTERS_PER_INCH = 15
_INCHES_BESIDE = 0.5
_INCHES_OF_A_CHARACTER = 0.056
_INCHES_OF_A_HANDLE = 0.36
_SETTINGS: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "axes.labelpad": 2.0,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.02,
    "figure.titlesize": 8,
    "font.size": 8,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.5,
    "legend.borderaxespad": 0.2,
    "legend.borderpad": 0.2,
    "legend.columnspacing": 1.2,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.handletextpad": 0.4,
    "legend.labelspacing": 0.3,
    "lines.linewidth": 1.0,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "featdex",
    "text.parse_math": False,
    "xtick.labelsize": 7,
    "xtick.major.pad": 2.0,
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 7,
    "ytick.major.pad": 2.0,
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.6,
}


@dataclass(frozen=True)
class Drawing:
    """A figure, and how many labels it has no room for."""

    figure: Figure
    n_unplaced: int


@contextmanager
def settings(look: Look) -> Iterator[None]:
    """Draw by these settings inside the block, whatever the user's own matplotlibrc says."""
    with matplotlib.style.context(["default", {**_SETTINGS, "font.family": list(FONTS[look.font])}]):
        yield


def draw(picture: Picture, look: Look) -> Drawing:
    """Draw a picture: its axes, the title, then the labels, which need to know where everything else is."""
    with settings(look):
        size = look.size or picture.size(look.inches)
        figure = Figure(figsize=size, dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        labels = picture.draw(figure)
        if look.title:
            figure.suptitle(drawn_title(look.title, int(size[0] * _CHARACTERS_PER_INCH)))
        figure.draw_without_rendering()
        # The axes stay where the labels found them.
        figure.set_layout_engine("none")
        return Drawing(figure, sum(map(place_labels, labels)))


def save(drawing: Drawing, form: str, stream: BinaryIO, look: Look, version: str) -> None:
    """Write a figure as `pdf`, `svg` or `png`: the same bytes each time, no date in it."""
    creator = f"featdex {version}"
    metadata: dict[str, dict[str, str | None]] = {
        "pdf": {"Creator": creator, "Producer": None, "CreationDate": None},
        "svg": {"Creator": creator, "Date": None},
        "png": {"Software": creator},
    }
    if look.title:
        metadata[form]["Title"] = printable(look.title)
    with settings(look):
        drawing.figure.savefig(stream, format=form, dpi=PIXELS_PER_INCH, metadata=metadata[form])


def log_axis(axis: Axis, low: float, high: float) -> None:
    """Number a logarithmic axis in plain digits: 3, 10, 30."""
    decades = high / low
    subs = (1.0, 2.0, 5.0) if decades < 50 else (1.0, 3.0) if decades < 3000 else (1.0,)
    axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def legend_above(axes: Axes, title: str | None = None) -> None:
    """Put the legend on top of the axes, where it hides nothing, in as many columns as the figure has room for."""
    figure = axes.get_figure(root=True)
    handles, names = axes.get_legend_handles_labels()
    if figure is None or not names:
        return
    room = figure.get_figwidth() - _INCHES_BESIDE
    widths = [len(name) * _INCHES_OF_A_CHARACTER + _INCHES_OF_A_HANDLE for name in names]
    columns = len(names) if sum(widths) <= room else max(1, min(len(names), int(room / max(widths))))
    legend = axes.legend(
        handles, names, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, title=title, markerscale=1.8
    )
    legend.get_title().set_fontsize(7)
    legend.set_alignment("left")


def point_area(n_points: int) -> float:
    """Return the area of a mark (pt^2) that keeps both a few hundred and 300,000 points apart."""
    return float(min(9.0, max(0.8, 300.0 / max(n_points, 1) ** 0.5)))


__all__ = ["Drawing", "Labels", "draw", "legend_above", "log_axis", "point_area", "save", "settings"]
