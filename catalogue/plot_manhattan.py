"""One token set over all features, SAE after SAE: which promote or suppress it, and from where on that counts.

Named after the plots of genome-wide association, which face the same question: very many tests along an axis whose
order means something.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import NotFoundError
from .plot_data import (
    Array,
    Columns,
    Sae,
    axis_names,
    chosen_saes,
    hover_texts,
    label_texts,
    read_columns,
    require_set,
)
from .plot_labels import Labels
from .plot_look import BLACK, BLUE, PALE, RED, legend_above, point_area
from .plot_page import axis, layout, packed
from .plot_picture import Picture, Source
from .plot_text import drawn_name, page_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .catalogue import Catalogue

POINTS_SQL = """\
SELECT e.sae_id, e.feature, e.z, -e.log10_p AS p, coalesce(e.log10_q < log10($q), false) AS called
FROM enrichment e
WHERE e.set_id IN (FROM _set_ids($set_name)) AND e.sae_id IN (FROM _sae_ids($sae)) AND e.log10_p IS NOT NULL
ORDER BY e.sae_id, e.feature
"""
# Benjamini-Hochberg calls k of F tests: p of the last is at most k q / F, and p of the next is above (k + 1) q / F.
LINES_SQL = """\
SELECT
    e.sae_id,
    -log10($q * greatest(count(*) FILTER (e.log10_q < log10($q)), 1) / count(*)) AS p,
    min(abs(e.z)) FILTER (e.log10_q < log10($q))::DOUBLE AS z
FROM enrichment e
WHERE e.set_id IN (FROM _set_ids($set_name)) AND e.sae_id IN (FROM _sae_ids($sae)) AND e.log10_p IS NOT NULL
GROUP BY e.sae_id
ORDER BY e.sae_id
"""


class Height(StrEnum):
    """What is on the y axis: -log10 p, whatever the direction, or z, up where the set is promoted."""

    P = "p"
    Z = "z"


_TITLES = {Height.P: "−log₁₀ p", Height.Z: "z"}


@dataclass(frozen=True)
class ManhattanPicture(Picture):
    """A point a feature; `columns` are sae_id, feature, z, p (-log10), called, rank, and x, its place.

    `starts` are the places of the SAEs' first features and the end; `lines` hold sae_id, p and z of the threshold.
    """

    source: Source
    saes: list[Sae]
    starts: list[int]
    columns: Columns
    lines: Columns
    height: Height
    leaders: list[int]
    names: list[str]
    hover: list[str]

    def _heights(self) -> Array:
        return np.asarray(self.columns[self.height.value], dtype=float)

    def _groups(self) -> list[tuple[str, Any, dict[str, Any]]]:
        """Return label, members and style of what is not called, promoted and suppressed."""
        called, z = self.columns["called"], self.columns["z"]
        return [
            ("", ~called, {"color": PALE, "marker": "o"}),
            ("promotes", called & (z > 0), {"color": BLUE, "marker": "^"}),
            ("suppresses", called & (z < 0), {"color": RED, "marker": "v"}),
        ]

    def segments(self) -> list[tuple[float, float, float]]:
        """Return start, end and height of the threshold in every SAE; one above and one below zero for z."""
        found: list[tuple[float, float, float]] = []
        places = {sae.sae_id: k for k, sae in enumerate(self.saes)}
        for sae_id, value in zip(self.lines["sae_id"].tolist(), self.lines[self.height.value].tolist(), strict=True):
            first, last = self.starts[places[sae_id]], self.starts[places[sae_id] + 1]
            signs = [1] if self.height is Height.P else [1, -1]
            found += [(first, last, sign * value) for sign in signs if value == value]
        return found

    def draw(self, figure: Figure) -> list[Labels]:
        """Draw points, thresholds and the names of the SAEs."""
        axes = figure.subplots()
        x, y = self.columns["x"], self._heights()
        for label, members, style in self._groups():
            axes.scatter(
                x[members],
                y[members],
                s=point_area(len(x)) * (1.0 if not label else 1.6),
                label=label if label and members.any() else None,
                linewidths=0,
                rasterized=True,
                zorder=2,
                **style,
            )
        segments = self.segments()
        if segments:
            starts, ends, heights = zip(*segments, strict=True)
            label = f"q = {self.source.parameters['q']:g}"
            axes.hlines(
                heights, starts, ends, color=BLACK, linewidth=0.8, linestyle=(0, (3, 1.5)), label=label, zorder=3
            )
        self._number(axes)
        low, high = float(y.min()), float(y.max())
        room = 0.12 * (high - low or 1.0)
        axes.set_ylim(0 if self.height is Height.P else low - room, high + room)
        name = drawn_name(self.source.parameters["set_name"])
        axes.set_ylabel(f"{_TITLES[self.height]} of {name}")
        legend_above(axes)
        at = np.column_stack([x, y])
        along = [(start + (end - start) * k / 40, h) for start, end, h in segments for k in range(41)]
        return [Labels(axes, at[self.leaders], self.names, np.array([*map(tuple, at.tolist()), *along]))]

    def _number(self, axes: Axes) -> None:
        names, what = axis_names(self.saes)
        starts = np.array(self.starts)
        centres = (starts[:-1] + starts[1:]) / 2
        for k in range(1, len(self.saes), 2):
            axes.axvspan(starts[k], starts[k + 1], color="#F2F2F2", linewidth=0, zorder=0)
        axes.set_xlim(0, starts[-1])
        axes.tick_params(axis="x", length=0)
        axes.set_xticks(*thinned(centres, names, axes.get_figure(root=True).get_figwidth()))  # type: ignore[union-attr]
        if max(map(len, names)) > 4:
            axes.tick_params(axis="x", rotation=90)
        axes.set_xlabel(f"features, by {what}")

    def page(self) -> dict[str, Any]:
        """Return a scatter plot whose points say which feature they are."""
        x, y = self.columns["x"], self._heights()
        data: list[dict[str, Any]] = []
        for label, members, style in self._groups():
            symbol = {"o": "circle", "^": "triangle-up", "v": "triangle-down"}[style["marker"]]
            data.append(
                {
                    "type": "scattergl",
                    "mode": "markers",
                    "name": label or "not called",
                    "x": packed(x[members]),
                    "y": packed(y[members]),
                    "marker": {"color": style["color"], "symbol": symbol, "size": 6 if label else 4},
                    "text": [self.hover[k] for k in np.flatnonzero(members)],
                    "customdata": packed(self.columns["z"][members]),
                    "hovertemplate": "%{text}<br>"
                    + _TITLES[self.height]
                    + " %{y:.4g}, z %{customdata:.4g}<extra></extra>",
                }
            )
        lines = [{"type": "line", "x0": a, "x1": b, "y0": h, "y1": h, "line": {"dash": "dash", "width": 1}}
                 for a, b, h in self.segments()]  # fmt: skip
        names, what = axis_names(self.saes)
        centres = ((np.array(self.starts)[:-1] + np.array(self.starts)[1:]) / 2).tolist()
        across = axis(f"features, by {what}", tickvals=centres, ticktext=[*map(page_name, names)], showgrid=False)
        up = axis(f"{_TITLES[self.height]} of {page_name(self.source.parameters['set_name'])}")
        return {"data": data, "layout": layout(xaxis=across, yaxis=up, shapes=lines)}


def thinned(places: Array, names: list[str], inches: float) -> tuple[list[float], list[str]]:
    """Return the places and names of ticks, with only every k-th where all would run into each other."""
    across = 0.11 if max(map(len, names)) > 4 else 0.055 * (max(map(len, names)) + 1.5)
    step = max(1, int(np.ceil(len(names) * across / (0.82 * inches))))
    return places[::step].tolist(), names[::step]


def read_manhattan(
    catalogue: Catalogue,
    *,
    for_page: bool = False,
    set_name: str,
    sae: str | None = None,
    q: float = 0.05,
    y: Height | str = Height.P,
    n: int = 6,
) -> ManhattanPicture:
    """Read the picture `manhattan`.

    Args:
        catalogue: The catalogue.
        for_page: Read what only a page shows, too.
        set_name: The token set.
        sae: GLOB on slug or release; all SAEs by default.
        q: Where the threshold is.
        y: `p` or `z`.
        n: How many leaders get a name.

    Raises:
        NotFoundError: No such set or SAE, or no results of the set in them.
    """
    require_set(catalogue, set_name)
    values = {"set_name": set_name, "sae": sae, "q": q}
    columns = read_columns(catalogue, POINTS_SQL, values)
    present = set(columns["sae_id"].tolist())
    chosen = chosen_saes(catalogue, sae)
    saes = [item for item in chosen if item.sae_id in present]
    if not saes:
        raise NotFoundError(f"no SAE of these has results of {set_name!r}; featdex ingest computes them")
    starts = np.concatenate([[0], np.cumsum([item.d_sae for item in saes])])
    start_of = {item.sae_id: int(start) for item, start in zip(saes, starts, strict=False)}
    columns["x"] = np.array([start_of[k] for k in columns["sae_id"].tolist()]) + columns["feature"]
    columns["rank"] = np.where(columns["z"] < 0, -1, 1)
    height = Height(y)
    leaders = np.argsort(-np.abs(columns[height.value]), kind="stable")[:n].tolist()
    source = Source("manhattan", {**values, "y": height.value, "n": n}, [item.slug for item in saes],
                    f"{POINTS_SQL};\n{LINES_SQL}")  # fmt: skip
    if len(saes) < len(chosen):
        source.notes.append(f"{len(chosen) - len(saes)} SAEs have no results of this set and are left out")
    return ManhattanPicture(
        source=source,
        saes=saes,
        starts=starts.tolist(),
        columns=columns,
        lines=read_columns(catalogue, LINES_SQL, values),
        height=height,
        leaders=leaders,
        names=label_texts(catalogue, saes, columns, leaders),
        hover=hover_texts(catalogue, saes, columns, source.notes) if for_page else [],
    )
