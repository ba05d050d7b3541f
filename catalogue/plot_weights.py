"""Two pictures of one feature and one token set: its logit weights, split by membership, and the running sum.

What they draw, the logit of every token, is not in a catalogue: `featdex.ingest` reads the weights again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .plot_labels import Labels
from .plot_look import BLACK, BLUE, GREY, PALE, RED, legend_above
from .plot_page import axis, layout, packed
from .plot_picture import Picture, Source
from .plot_text import drawn_name, drawn_token, page_name, page_token

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

N_BINS = 80
_AS_FAR = 1e-4


@dataclass(frozen=True)
class RankedTokens:
    """The universe of tokens in the order of a feature's logit weights, the largest first.

    `is_member` says which are in the set. `scores` are what the catalogue has of the pair: es, z, log10_q, peak_rank
    and lead_n. `weight` is the exponent of |logit| by which hits of the running sum are weighted, 0 for none.
    """

    logits: Array
    is_member: npt.NDArray[np.bool_]
    texts: list[str]
    scores: dict[str, float | None]
    weight: float = 0.0

    def running_sum(self) -> tuple[npt.NDArray[np.int64], Array]:
        """Return the running sum at the ends of tie groups, from 0 before the first token to 0 behind the last.

        The x of each is the number of tokens up to there: the extreme at x is the peak at 0-based rank x - 1.
        """
        ends = np.flatnonzero(np.append(self.logits[1:] != self.logits[:-1], True)) + 1
        hits = np.where(self.is_member, np.abs(self.logits) ** self.weight if self.weight else 1.0, 0.0)
        above = np.cumsum(hits) / hits.sum() - np.cumsum(~self.is_member) / (~self.is_member).sum()
        places = np.concatenate([[0], ends])
        return places, np.concatenate([[0.0], above[ends - 1]])


class _OfAFeature(Picture):
    """A picture of one feature and one set."""

    source: Source
    tokens: RankedTokens

    @property
    def _names(self) -> tuple[str, str]:
        return str(self.source.parameters["address"]), str(self.source.parameters["set_name"])

    def _facts(self) -> str:
        """Return the scores in a line."""
        scores = self.tokens.scores
        shown = [f"es = {scores['es']:.3f}" if scores["es"] is not None else ""]
        shown += [f"z = {scores['z']:.2f}"] if scores["z"] is not None else []
        shown += [f"log₁₀ q = {scores['log10_q']:.1f}"] if scores["log10_q"] is not None else []
        return ", ".join(filter(None, shown)).replace("-", "−")


@dataclass(frozen=True)
class LogitsPicture(_OfAFeature):
    """Histogram of the logit weights of a set's tokens and of all others, each as a share of its group."""

    source: Source
    tokens: RankedTokens
    is_log: bool
    n: int

    def bins(self) -> tuple[Array, Array, Array]:
        """Return the edges of equal bins, and the share of members and of others in each."""
        logits = self.tokens.logits
        low, high = float(logits.min()), float(logits.max())
        edges = np.linspace(low, high if high > low else low + 1.0, N_BINS + 1)
        members = np.histogram(logits[self.tokens.is_member], edges)[0]
        others = np.histogram(logits[~self.tokens.is_member], edges)[0]
        return edges, members / members.sum(), others / others.sum()

    def _leaders(self) -> list[int]:
        """Return the members to name: the first of the ranking, or the last where the feature suppresses the set."""
        members = np.flatnonzero(self.tokens.is_member)
        suppresses = (self.tokens.scores["z"] or 0.0) < 0
        return [int(k) for k in (members[::-1] if suppresses else members)[: self.n]]

    def draw(self, figure: Figure) -> list[Labels]:
        """Draw both histograms over one another, and below them a tick a member."""
        axes, ticks = figure.subplots(2, 1, sharex=True, height_ratios=[8, 1])
        edges, members, others = self.bins()
        address, set_name = self._names
        counts = int(self.tokens.is_member.sum()), int((~self.tokens.is_member).sum())
        axes.stairs(others, edges, fill=True, color=PALE, label=f"other tokens ({counts[1]:,})")
        axes.stairs(
            members, edges, fill=False, color=BLUE, linewidth=1.1, label=f"{drawn_name(set_name, 24)} ({counts[0]:,})"
        )
        if self.is_log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_ylabel("share of its tokens")
        _hits(ticks, self.tokens.logits[self.tokens.is_member])
        ticks.set_xlabel(f"logit weight of {drawn_name(address)}")
        legend_above(axes, self._facts())
        leaders = self._leaders()
        if not leaders:
            return []
        # Named above their bins.
        heights = np.maximum(members, others)
        places = np.clip(np.searchsorted(edges, self.tokens.logits[leaders], "right") - 1, 0, N_BINS - 1)
        at = np.column_stack([self.tokens.logits[leaders], heights[places]])
        middles = (edges[1:] + edges[:-1]) / 2
        ladder = [
            (x, h * k / 8) for x, h in zip(middles.tolist(), heights.tolist(), strict=True) for k in range(1, 9) if h
        ]
        names = [drawn_token(self.tokens.texts[k]) for k in leaders]
        return [Labels(axes, at, names, np.array(ladder))]

    def page(self) -> dict[str, Any]:
        """Return both histograms, and the tokens of the set as ticks that say what they are."""
        edges, members, others = self.bins()
        address, set_name = self._names
        middles = packed((edges[1:] + edges[:-1]) / 2)
        inside = np.flatnonzero(self.tokens.is_member)
        texts = [f"{page_token(self.tokens.texts[k])}, rank {k:,}" for k in inside]
        bar = {"type": "bar", "x": middles, "width": float(edges[1] - edges[0]), "opacity": 0.65}
        rug = {
            "type": "scattergl", "mode": "markers", "name": "its tokens", "x": packed(self.tokens.logits[inside]),
            "y": packed(np.zeros(len(inside))), "yaxis": "y2", "text": texts,
            "hovertemplate": "%{text}: %{x:.4g}<extra></extra>",
            "marker": {"symbol": "line-ns-open", "color": BLUE, "size": 14},
        }  # fmt: skip
        data = [
            {**bar, "y": packed(others), "name": "other tokens", "marker": {"color": "#999999"}},
            {**bar, "y": packed(members), "name": page_name(set_name), "marker": {"color": BLUE}},
            rug,
        ]
        up = axis("share of its tokens", domain=[0.14, 1], type="log" if self.is_log else "linear")
        ticks = axis("", domain=[0, 0.1], showticklabels=False, showgrid=False)
        across = axis(f"logit weight of {page_name(address)} ({page_name(self._facts())})", anchor="y2")
        return {"data": data, "layout": layout(xaxis=across, yaxis=up, yaxis2=ticks, barmode="overlay")}


@dataclass(frozen=True)
class RunningSumPicture(_OfAFeature):
    """The running sum of a set over the ranking, as GSEA draws it (Subramanian et al. 2005), unweighted by default."""

    source: Source
    tokens: RankedTokens

    def size(self, inches: float) -> tuple[float, float]:
        """Return width and height in inches."""
        return inches, 2.8 if inches < 5 else 3.6

    def peak(self) -> tuple[int, float]:
        """Return where the running sum is furthest from zero, and its value: the es.

        Where it goes as far up as down, up to rounding, the stored es says which.
        """
        places, values = self.tokens.running_sum()
        up, down = int(values.argmax()), int(values.argmin())
        best = up if values[up] >= -values[down] else down
        stored = self.tokens.scores["es"]
        if stored is not None and abs(values[up] + values[down]) < _AS_FAR:
            best = up if stored >= 0 else down
        return int(places[best]), float(values[best])

    def draw(self, figure: Figure) -> list[Labels]:
        """Draw the running sum with its peak, a tick a member, and the logit weights in their order."""
        top, ticks, below = figure.subplots(3, 1, sharex=True, height_ratios=[6, 1, 2.2])
        places, values = self.tokens.running_sum()
        at, es = self.peak()
        colour = BLUE if es >= 0 else RED
        address, set_name = self._names
        n = len(self.tokens.logits)
        top.plot(places, values, color=colour, linewidth=1.1)
        top.axhline(0, color=GREY, linewidth=0.6)
        top.vlines(at, 0, es, color=BLACK, linewidth=0.8, linestyle=(0, (3, 1.5)))
        top.plot([at], [es], marker="o", markersize=3.2, color=BLACK, linestyle="none")
        top.set_ylabel("running sum")
        top.margins(y=0.12)
        side = "right" if at > n / 2 else "left"
        top.annotate(
            f"es = {es:.3f}, rank {max(at - 1, 0):,}".replace("-", "−"),
            (at, es),
            xytext=(-5 if side == "right" else 5, 2 if es >= 0 else -2),
            textcoords="offset points",
            ha=side,
            va="bottom" if es >= 0 else "top",
            fontsize=7,
        )
        top.set_title(
            f"{drawn_name(set_name, 24)} ({int(self.tokens.is_member.sum()):,}) in {drawn_name(address)}",
            fontsize=7,
            loc="left",
        )
        _hits(ticks, np.flatnonzero(self.tokens.is_member) + 0.5)
        step = max(1, n // 4000)
        shown = np.unique(np.append(np.arange(0, n, step), n - 1))
        below.fill_between(shown + 0.5, self.tokens.logits[shown], color=PALE, linewidth=0)
        below.axhline(0, color=GREY, linewidth=0.6)
        below.set_ylabel("logit")
        below.set(xlabel="rank of the token", xlim=(0, n))
        below.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        below.xaxis.get_major_locator().set_params(nbins=5)
        figure.align_ylabels()
        return []

    def page(self) -> dict[str, Any]:
        """Return the running sum, the tokens of the set as ticks that say what they are, and the logit weights."""
        places, values = self.tokens.running_sum()
        at, es = self.peak()
        address, set_name = self._names
        inside = np.flatnonzero(self.tokens.is_member)
        texts = [f"{page_token(self.tokens.texts[k])}, {self.tokens.logits[k]:.4g}" for k in inside]
        colour = BLUE if es >= 0 else RED
        data: list[dict[str, Any]] = [
            {
                "type": "scattergl", "mode": "lines", "name": "running sum", "x": packed(places),
                "y": packed(values), "line": {"color": colour}, "hovertemplate": "rank %{x}: %{y:.4g}<extra></extra>",
            },
            {
                "type": "scatter", "mode": "markers+text", "name": "es", "x": [at], "y": [es],
                "text": [f"es = {es:.3f}"], "textposition": "middle right", "marker": {"color": "#000000", "size": 8},
                "hovertemplate": f"es = {es:.4f} at rank {max(at - 1, 0):,}<extra></extra>",
            },
            {
                "type": "scattergl", "mode": "markers", "name": page_name(set_name), "x": packed(inside),
                "y": packed(np.zeros(len(inside))), "yaxis": "y2", "text": texts,
                "hovertemplate": "%{text}, rank %{x}<extra></extra>",
                "marker": {"symbol": "line-ns-open", "color": BLUE, "size": 14},
            },
            {
                "type": "scattergl", "mode": "lines", "name": "logit weight", "y": packed(self.tokens.logits),
                "yaxis": "y3", "line": {"color": "#999999"}, "hovertemplate": "rank %{x}: %{y:.4g}<extra></extra>",
            },
        ]  # fmt: skip
        hits = axis("", domain=[0.3, 0.4], showticklabels=False, showgrid=False)
        ups = {
            "yaxis": axis("running sum", domain=[0.42, 1]),
            "yaxis2": hits,
            "yaxis3": axis("logit", domain=[0, 0.28]),
        }
        across = axis(f"rank of the token in {page_name(address)}", anchor="y3")
        return {"data": data, "layout": layout(xaxis=across, **ups)}


def _hits(axes: Axes, places: npt.NDArray[Any]) -> None:
    """Draw a tick a member."""
    axes.vlines(places, 0, 1, color=BLUE, linewidth=0.4, alpha=min(1.0, max(0.15, 150 / max(len(places), 1))))
    axes.set(ylim=(0, 1), yticks=[], ylabel="")
    axes.spines["left"].set_visible(False)
