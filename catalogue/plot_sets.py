"""One token set against another: what a feature that promotes girls' names does to boys'."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import NotFoundError, UsageError
from .plot_data import Array, Columns, chosen_saes, hover_texts, label_texts, read_columns, require_set
from .plot_labels import Labels
from .plot_look import BLUE, GREEN, GREY, PALE, RED, legend_above, point_area
from .plot_page import axis, layout, packed
from .plot_picture import Picture, Source
from .plot_text import drawn_name, page_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .catalogue import Catalogue

SQL = """\
SELECT
    a.sae_id, a.feature,
    a.z AS z_a, b.z AS z_b, a.es AS es_a, b.es AS es_b,
    coalesce(a.log10_q < log10($q), false) AS called_a,
    coalesce(b.log10_q < log10($q), false) AS called_b
FROM enrichment a
JOIN enrichment b ON b.sae_id = a.sae_id AND b.feature = a.feature
WHERE a.set_id IN (FROM _set_ids($set_a)) AND b.set_id IN (FROM _set_ids($set_b))
    AND a.sae_id IN (FROM _sae_ids($sae)) AND a.z IS NOT NULL AND b.z IS NOT NULL
ORDER BY a.sae_id, a.feature
"""


class Score(StrEnum):
    """What both axes show."""

    Z = "z"
    ES = "es"


@dataclass(frozen=True)
class SetsPicture(Picture):
    """A point a feature; `columns` are sae_id, feature, z_a, z_b, es_a, es_b, called_a, called_b, rank."""

    source: Source
    columns: Columns
    score: Score
    leaders: list[int]
    names: list[str]
    hover: list[str]

    def size(self, inches: float) -> tuple[float, float]:
        """Return width and height in inches: of a page, not all, so that it leaves room for the caption beside."""
        return (inches, inches + 0.15) if inches < 5 else (inches, 5.2)

    def xy(self) -> tuple[Array, Array]:
        """Return the score for the first and the second set."""
        return (
            np.asarray(self.columns[f"{self.score.value}_a"], dtype=float),
            np.asarray(self.columns[f"{self.score.value}_b"], dtype=float),
        )

    def _groups(self) -> list[tuple[str, Any, dict[str, Any]]]:
        a, b = self.columns["called_a"], self.columns["called_b"]
        first, second = (self.source.parameters[name] for name in ("set_a", "set_b"))
        return [
            ("neither", ~a & ~b, {"color": PALE, "marker": "o"}),
            (f"only {first}", a & ~b, {"color": BLUE, "marker": "s"}),
            (f"only {second}", b & ~a, {"color": RED, "marker": "D"}),
            ("both", a & b, {"color": GREEN, "marker": "o"}),
        ]

    def _limits(self) -> tuple[float, float]:
        x, y = self.xy()
        low, high = min(x.min(), y.min(), 0.0), max(x.max(), y.max(), 0.0)
        room = 0.06 * (high - low or 1.0)
        return float(low - room), float(high + room)

    def draw(self, figure: Figure) -> list[Labels]:
        """Draw all points on equal axes, and the diagonal, on which a feature tells nothing between the sets."""
        axes = figure.subplots()
        x, y = self.xy()
        for label, members, style in self._groups():
            if members.any():
                axes.scatter(
                    x[members],
                    y[members],
                    s=point_area(len(x)) * 1.3,
                    label=drawn_name(label, 24),
                    linewidths=0,
                    rasterized=True,
                    zorder=2,
                    **style,
                )
        limits = self._limits()
        axes.plot(limits, limits, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
        axes.axhline(0, color="#DDDDDD", linewidth=0.6, zorder=0)
        axes.axvline(0, color="#DDDDDD", linewidth=0.6, zorder=0)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.yaxis.set_major_locator(axes.xaxis.get_major_locator())
        first, second = (drawn_name(self.source.parameters[name]) for name in ("set_a", "set_b"))
        axes.set(xlabel=f"{self.score} of {first}", ylabel=f"{self.score} of {second}")
        legend_above(axes, f"q < {self.source.parameters['q']:g} for")
        at = np.column_stack([x, y])
        return [Labels(axes, at[self.leaders], self.names, at)]

    def page(self) -> dict[str, Any]:
        """Return a scatter plot whose points say which feature they are."""
        x, y = self.xy()
        symbols = {"o": "circle", "s": "square", "D": "diamond"}
        data: list[dict[str, Any]] = [
            {
                "type": "scattergl",
                "mode": "markers",
                "name": page_name(f"{label}, q < {self.source.parameters['q']:g}"),
                "x": packed(x[members]),
                "y": packed(y[members]),
                "marker": {"color": style["color"], "symbol": symbols[style["marker"]], "size": 5},
                "text": [self.hover[k] for k in np.flatnonzero(members)],
                "hovertemplate": "%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
            }
            for label, members, style in self._groups()
        ]
        low, high = self._limits()
        diagonal = {"type": "line", "x0": low, "x1": high, "y0": low, "y1": high, "line": {"dash": "dash", "width": 1}}
        first, second = (page_name(self.source.parameters[name]) for name in ("set_a", "set_b"))
        across = axis(f"{self.score} of {first}", range=[low, high], constrain="domain")
        up = axis(f"{self.score} of {second}", range=[low, high], scaleanchor="x")
        return {"data": data, "layout": layout(xaxis=across, yaxis=up, shapes=[diagonal])}


def outliers(x: Array, y: Array, n: int) -> list[int]:
    """Return `n` points to name: in turn the furthest below the diagonal, above it, along it, and back along it."""
    orders = [np.argsort(-key, kind="stable") for key in (x - y, y - x, x + y, -x - y)]
    found = list(dict.fromkeys(int(index) for ranked in zip(*orders, strict=True) for index in ranked))
    return found[:n]


def read_sets(
    catalogue: Catalogue,
    *,
    for_page: bool = False,
    set_a: str,
    set_b: str,
    sae: str | None = None,
    score: Score | str = Score.Z,
    q: float = 0.05,
    n: int = 10,
) -> SetsPicture:
    """Read the picture `sets`.

    Args:
        catalogue: The catalogue.
        for_page: Read what only a page shows, too.
        set_a: The set along the x axis.
        set_b: The set along the y axis.
        sae: GLOB on slug or release; all SAEs by default.
        score: `z` or `es`.
        q: Below it a feature counts as one of a set.
        n: How many outliers get a name.

    Raises:
        NotFoundError: No such set or SAE, or no feature has results of both.
        UsageError: The sets are the same one.
    """
    if set_a == set_b:
        raise UsageError(f"{set_a!r} against itself is the diagonal; name two sets")
    for name in (set_a, set_b):
        require_set(catalogue, name)
    values = {"set_a": set_a, "set_b": set_b, "sae": sae, "q": q}
    columns = read_columns(catalogue, SQL, values)
    if not len(columns["feature"]):
        raise NotFoundError(f"no feature of these SAEs has results of both {set_a!r} and {set_b!r}")
    present = set(columns["sae_id"].tolist())
    saes = [item for item in chosen_saes(catalogue, sae) if item.sae_id in present]
    score = Score(score)
    x, y = (columns[f"{score}_{end}"].astype(float) for end in "ab")
    columns["rank"] = np.where(np.where(np.abs(x) >= np.abs(y), x, y) < 0, -1, 1)
    leaders = outliers(x, y, n)
    source = Source("sets", {**values, "score": score.value, "n": n}, [item.slug for item in saes], SQL)
    return SetsPicture(
        source=source,
        columns=columns,
        score=score,
        leaders=leaders,
        names=label_texts(catalogue, saes, columns, leaders),
        hover=hover_texts(catalogue, saes, columns, source.notes) if for_page else [],
    )
