"""Percentiles of a statistic by layer: how the features of a model change with depth, not only their mean."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.transforms import offset_copy

from .errors import NotFoundError, UsageError
from .plot_data import Array, Sae, chosen_saes, read_columns, require_statistic
from .plot_look import BLACK, BLUE, GREY, log_axis
from .plot_page import axis, layout, packed
from .plot_picture import Picture, Source
from .plot_text import drawn_name, page_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .catalogue import Catalogue
    from .plot_labels import Labels

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
MOST_SERIES = 6
_LOG_FROM = 8.0
"""Where all values are positive and the largest is so many times the smallest, the axis is logarithmic."""

_NAME_POINTS = 6.0
_BANDS = ((0, 6, "#D9E8F2"), (1, 5, "#A8CBE3"), (2, 4, "#6AA5CE"))
SQL = """\
SELECT f.sae_id, unnest($levels) AS level, unnest(quantile_cont(f."{statistic}"::DOUBLE, $levels)) AS value
FROM feature f
WHERE f.sae_id IN (FROM _sae_ids($sae)) AND f."{statistic}" IS NOT NULL
GROUP BY f.sae_id
ORDER BY f.sae_id, level
"""


class Scale(StrEnum):
    """Scale of the values: auto is logarithmic where they spread over more than a decade and a half."""

    AUTO = "auto"
    LINEAR = "linear"
    LOG = "log"


@dataclass(frozen=True)
class Series:
    """SAEs of one kind and place, by layer; `values` is [n layers, percentiles]."""

    name: str
    layers: list[int]
    values: Array


@dataclass(frozen=True)
class PercentilesPicture(Picture):
    """A panel a series of SAEs."""

    source: Source
    series: list[Series]
    is_log: bool

    def size(self, inches: float) -> tuple[float, float]:
        """Return width and height in inches."""
        return inches, 0.9 + (1.5 if inches < 5 else 1.9) * len(self.series)

    def draw(self, figure: Figure) -> list[Labels]:
        """Draw the percentiles as bands around the median, named at the right end."""
        panels = figure.subplots(len(self.series), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        for axes, series in zip(panels, self.series, strict=True):
            self._panel(axes, series)
        panels[-1].set_xlabel("layer")
        return []

    def _panel(self, axes: Axes, series: Series) -> None:
        layers, values = series.layers, series.values
        for low, high, colour in _BANDS:
            axes.fill_between(layers, values[:, low], values[:, high], color=colour, linewidth=0, zorder=1)
        for k, level in enumerate(PERCENTILES):
            is_median = level == 50
            axes.plot(
                layers,
                values[:, k],
                color=BLACK if is_median else BLUE,
                linewidth=1.4 if is_median else 0.5,
                marker="o",
                markersize=2.6 if is_median else 1.4,
                zorder=2,
            )
        if self.is_log:
            axes.set_yscale("log")
            log_axis(axes.yaxis, float(values.min()), float(values.max()))
        axes.set_ylabel(drawn_name(self.source.parameters["statistic"]))
        axes.set_title(drawn_name(series.name, 48), loc="left", fontsize=7)
        axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
        self._name(axes, series)

    def _name(self, axes: Axes, series: Series) -> None:
        """Write the percentiles behind the last layer, moved apart where they would cover each other."""
        figure = axes.get_figure(root=True)
        assert figure is not None
        last, values = series.layers[-1], series.values[-1]
        # Asked for, the limits are brought up to date.
        axes.get_ylim()
        heights = axes.transAxes.inverted().transform(axes.transData.transform([(0.0, v) for v in values.tolist()]))[
            :, 1
        ]
        gap = _NAME_POINTS * 1.15 / 72 / max(0.2, 0.62 * figure.get_figheight() / len(self.series))
        beside = offset_copy(axes.get_xaxis_transform(), figure, x=9, units="points")
        for level, value, height in zip(PERCENTILES, values.tolist(), spread_out(heights, gap), strict=True):
            axes.annotate(
                f"{level} %",
                (last, value),
                xytext=(last, height),
                textcoords=beside,
                va="center",
                fontsize=_NAME_POINTS,
                arrowprops={
                    "arrowstyle": "-",
                    "linewidth": 0.4,
                    "color": GREY,
                    "shrinkA": 0,
                    "shrinkB": 2,
                    "relpos": (0, 0.5),
                },
                annotation_clip=False,
            )

    def page(self) -> dict[str, Any]:
        """Return lines, a percentile each, of which the legend can hide any."""
        data: list[dict[str, Any]] = []
        dashes = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
        colours = ("#B8D4E8", "#7FB2D6", "#3F8CC0", "#0072B2", "#3F8CC0", "#7FB2D6", "#B8D4E8")
        for series, dash in zip(self.series, dashes, strict=False):
            for k, level in enumerate(PERCENTILES):
                line = {"color": colours[k], "dash": dash, "width": 3 if level == 50 else 1.5}
                data.append(
                    {
                        "type": "scatter",
                        "mode": "lines+markers",
                        "name": page_name(f"{series.name} {level} %" if len(self.series) > 1 else f"{level} %"),
                        "x": packed(np.array(series.layers)),
                        "y": packed(series.values[:, k]),
                        "line": line,
                        "hovertemplate": "%{fullData.name}<br>layer %{x}: %{y:.4g}<extra></extra>",
                    }
                )
        up = axis(page_name(self.source.parameters["statistic"]), type="log" if self.is_log else "linear")
        return {"data": data, "layout": layout(xaxis=axis("layer"), yaxis=up)}


def spread_out(heights: Array, gap: float) -> list[float]:
    """Return ascending heights, in fractions of the axes, moved as little as keeps them `gap` apart and on the axes.

    The least squares of an isotonic regression, by pooling neighbours that violate the order.
    """
    pools: list[list[float]] = []
    for k, height in enumerate(heights.tolist()):
        pools.append([height - k * gap, 1])
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            mean, n = pools.pop()
            other, m = pools.pop()
            pools.append([(mean * n + other * m) / (n + m), n + m])
    low = 0.6 * gap
    high = max(low, 1 - (len(heights) - 1) * gap)
    even = [min(max(mean, low), high) for mean, n in pools for _ in range(int(n))]
    return [height + k * gap for k, height in enumerate(even)]


def _series(saes: list[Sae], values: dict[int, Array]) -> list[Series]:
    """Return the SAEs as lines over the layers: those of one model, kind, release and site, but no two of a layer."""
    groups: dict[tuple[str, ...], list[Sae]] = {}
    for sae in saes:
        key: tuple[str, ...] = (sae.model, sae.kind, sae.release or "", sae.site or "")
        layers = [other.layer for other in groups.get(key, [])]
        # Two of one layer, such as two widths, are two lines.
        if sae.layer in layers:
            key = (*key, sae.slug)
        groups.setdefault(key, []).append(sae)
    found = []
    for members in groups.values():
        first = members[0]
        release = first.release if first.release and first.release != first.kind else first.model
        name = first.slug if len(members) == 1 else f"{release} {first.kind} {first.site or ''}".strip()
        known = [int(sae.layer) for sae in members if sae.layer is not None]
        found.append(Series(name, known, np.array([values[sae.sae_id] for sae in members])))
    return found


def read_percentiles(
    catalogue: Catalogue,
    *,
    for_page: bool = False,
    statistic: str,
    sae: str | None = None,
    scale: Scale | str = Scale.AUTO,
) -> PercentilesPicture:
    """Read the picture `percentiles`.

    Args:
        catalogue: The catalogue.
        for_page: Makes no difference here.
        statistic: A column of table `feature`, such as `kurtosis`.
        sae: GLOB on slug or release; all SAEs by default.
        scale: `auto`, `linear` or `log`.

    Raises:
        NotFoundError: No such SAE, or none with a layer and this statistic.
        UsageError: No such statistic, more series of SAEs than a figure has room for, or a logarithm of what has none.
    """
    sql = SQL.format(statistic=require_statistic(statistic))
    chosen = chosen_saes(catalogue, sae)
    levels = [level / 100 for level in PERCENTILES]
    columns = read_columns(catalogue, sql, {"sae": sae, "levels": levels})
    found = columns["value"].reshape(-1, len(PERCENTILES))
    values = dict(zip(columns["sae_id"][:: len(PERCENTILES)].tolist(), found, strict=True))
    saes = [item for item in chosen if item.sae_id in values and item.layer is not None]
    if not saes:
        raise NotFoundError(f"none of these SAEs has a layer and a {statistic}")
    series = _series(saes, values)
    if len(series) > MOST_SERIES:
        raise UsageError(f"{len(series)} series of SAEs; choose {MOST_SERIES} at most with --sae, such as '*-mlp'")
    shown = np.concatenate([item.values for item in series])
    if scale == Scale.LOG and shown.min() <= 0:
        raise UsageError(f"{statistic} is not above 0 everywhere, so it has no logarithm; use --scale linear")
    spreads = shown.min() > 0 and shown.max() / shown.min() >= _LOG_FROM
    source = Source(
        "percentiles", {"statistic": statistic, "sae": sae, "scale": str(scale)}, [item.slug for item in saes], sql
    )
    if len(saes) < len(chosen):
        source.notes.append(f"{len(chosen) - len(saes)} SAEs without a layer or a {statistic} are left out")
    return PercentilesPicture(source, series, scale == Scale.LOG or (scale == Scale.AUTO and bool(spreads)))
