"""Skewness against kurtosis of every feature, coloured by standard deviation.

The figure of Bloom & Lin, "Understanding SAE Features with the Logit Lens" (2024): what stands apart on the right are
features that promote a few tokens far above all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm

from .errors import NotFoundError
from .plot_data import Columns, chosen_saes, hover_texts, read_columns
from .plot_look import GREY, legend_above, log_axis, point_area
from .plot_page import axis, layout, packed
from .plot_picture import Picture, Source

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .catalogue import Catalogue
    from .plot_labels import Labels

GAUSSIAN_KURTOSIS = 3.0
SQL = """\
SELECT f.sae_id, f.feature, f.skewness, f.kurtosis, f.std
FROM feature f
WHERE f.sae_id IN (FROM _sae_ids($sae)) AND f.skewness IS NOT NULL AND f.kurtosis IS NOT NULL
ORDER BY f.sae_id, f.feature
"""


@dataclass(frozen=True)
class SkewnessPicture(Picture):
    """A point a feature; `columns` are sae_id, feature, skewness, kurtosis, std. `hover` is empty for a figure."""

    source: Source
    columns: Columns
    hover: list[str]

    def size(self, inches: float) -> tuple[float, float]:
        """Return width and height in inches."""
        return inches, 2.5 if inches < 5 else 3.6

    def _shades(self) -> tuple[float, float]:
        """Return the standard deviations at the ends of the colours: all but the outermost hundredths."""
        low, high = np.quantile(self.columns["std"], [0.01, 0.99])
        return float(low), float(high) if high > low else float(low) * (1 + 1e-6)

    def draw(self, figure: Figure) -> list[Labels]:
        """Draw all points, in an order that favours no SAE, and the edge that no distribution can cross."""
        axes = figure.subplots()
        skewness, kurtosis, std = (self.columns[name] for name in ("skewness", "kurtosis", "std"))
        order = np.random.default_rng(0).permutation(len(skewness))
        low, high = self._shades()
        drawn = axes.scatter(
            skewness[order],
            kurtosis[order],
            c=std[order],
            s=point_area(len(order)),
            norm=LogNorm(low, high),
            cmap="viridis",
            linewidths=0,
            rasterized=True,
            zorder=2,
        )
        axes.set_yscale("log")
        log_axis(axes.yaxis, float(kurtosis.min()), float(kurtosis.max()))
        limits = axes.get_xlim(), axes.get_ylim()
        edge = np.linspace(*limits[0], 400)
        axes.plot(edge, edge**2 + 1, color=GREY, linewidth=0.7, zorder=1, label="kurtosis = skewness² + 1")
        axes.axhline(GAUSSIAN_KURTOSIS, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1, label="Gaussian")
        axes.axvline(0, color="#E5E5E5", linewidth=0.6, zorder=0)
        axes.set(xlim=limits[0], ylim=limits[1], xlabel="skewness", ylabel="kurtosis")
        legend_above(axes)
        bar = figure.colorbar(drawn, ax=axes, extend="both", pad=0.02, aspect=30, label="std of the logit weights")
        log_axis(bar.ax.yaxis, low, high)
        bar.outline.set_linewidth(0.5)
        return []

    def page(self) -> dict[str, Any]:
        """Return a scatter plot whose points say which feature they are."""
        low, high = self._shades()
        marker = {
            "color": packed(self.columns["std"]),
            "colorscale": "Viridis",
            "cmin": low,
            "cmax": high,
            "size": 5 if len(self.hover) < 50_000 else 3,
            "colorbar": {"title": {"text": "std", "side": "right"}},
        }
        points = {
            "type": "scattergl",
            "mode": "markers",
            "x": packed(self.columns["skewness"]),
            "y": packed(self.columns["kurtosis"]),
            "marker": marker,
            "text": self.hover,
            "hovertemplate": "%{text}<br>skewness %{x:.4g}, kurtosis %{y:.4g}, std %{marker.color:.4g}<extra></extra>",
        }
        axes = {"xaxis": axis("skewness"), "yaxis": axis("kurtosis (log scale; a Gaussian has 3)", type="log")}
        return {"data": [points], "layout": layout(**axes)}


def read_skewness(catalogue: Catalogue, *, for_page: bool = False, sae: str | None = None) -> SkewnessPicture:
    """Read the picture `skewness`.

    Args:
        catalogue: The catalogue.
        for_page: Read what only a page shows, too.
        sae: GLOB on slug or release; all SAEs by default.

    Raises:
        NotFoundError: No such SAE, or no feature with these statistics.
    """
    saes = chosen_saes(catalogue, sae)
    columns = read_columns(catalogue, SQL, {"sae": sae})
    n = len(columns["feature"])
    if not n:
        raise NotFoundError("none of these features has a skewness; see 'featdex doctor'")
    source = Source("skewness", {"sae": sae}, [item.slug for item in saes], SQL)
    left_out = sum(item.d_sae for item in saes) - n
    if left_out:
        source.notes.append(f"{left_out:,} features without a skewness, such as decoder rows of zeros, are left out")
    return SkewnessPicture(source, columns, hover_texts(catalogue, saes, columns, source.notes) if for_page else [])
