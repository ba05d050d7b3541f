"""The figures of docs/significance.md, from the files that the run wrote; the same bytes for the same files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from calibration_rates import Binomial
from calibration_results import Results, Row, label
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito's palette; every series has a marker or a dash of its own besides, for print.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#666666",
)
COLUMN_STYLES: dict[str, dict[str, Any]] = {
    "log10_p": {"color": BLUE, "marker": "o", "linestyle": "-"},
    "log10_p_adj": {"color": SKY, "marker": "s", "linestyle": "--"},
    "log10_p_es": {"color": GREEN, "marker": "^", "linestyle": "-."},
    "log10_p_ks": {"color": RED, "marker": "D", "linestyle": ":"},
    "log10_p_top": {"color": PURPLE, "marker": "v", "linestyle": (0, (5, 1, 1, 1, 1, 1))},
}
METHOD_STYLES: dict[str, tuple[str, dict[str, Any]]] = {
    "z": ("z (log10_q)", {"color": BLUE, "marker": "o", "linestyle": "-"}),
    "z_adj": ("z_adj", {"color": SKY, "marker": "s", "linestyle": "--"}),
    "es": ("es, R = 2,000", {"color": GREY, "marker": "x", "linestyle": ":"}),
    "es_many": ("es, R = 20,000", {"color": GREEN, "marker": "^", "linestyle": "-."}),
    "score": ("published score, random-token p", {"color": RED, "marker": "D", "linestyle": ":"}),
    "top": ("log10_p_top", {"color": PURPLE, "marker": "v", "linestyle": (0, (5, 1, 1, 1, 1, 1))}),
    "top_directions": ("top hits, R = 20,000", {"color": ORANGE, "marker": "P", "linestyle": "-"}),
}
LEVELS = ("0.05", "0.001", "0.0001")
RATE_LIMITS = {"0.05": (0.6, 1.4), "0.001": (0, 3), "0.0001": (0, 4)}
NAMED_POINTS = {
    "starts_with_space": (-70, -13),
    "girls_names": (-55, -2),
    "she_pronouns": (7, -4),
    "non_ascii": (7, -6),
}
"""Sets that are named in the figure, and where the name stands, in points from the mark."""

HALO: dict[str, Any] = {"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5}
SETTINGS: Any = {
    "svg.hashsalt": "featdex",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.markersize": 4,
}


@contextmanager
def figure(path: Path, size: tuple[float, float], rows: int, columns: int) -> Iterator[tuple[Figure, list[Axes]]]:
    """Give a figure and its axes row by row, and write it as SVG without date or host."""
    with mpl.rc_context(SETTINGS):
        drawing = Figure(figsize=size, layout="constrained")
        axes = drawing.subplots(rows, columns, squeeze=False, sharey=True)
        yield drawing, list(axes.ravel())
        drawing.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def draw_figures(results: Results, folder: Path) -> None:
    """Draw all figures into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_random_tokens(results, folder / "random-tokens.svg")
    draw_rates(results, folder / "rates.svg")
    draw_tail(results, folder / "tail.svg")
    draw_lengths(results, folder / "lengths.svg")
    draw_power(results, folder / "power.svg", "conditional", ("z", "es", "es_many", "score", "top"), 5)
    draw_power(results, folder / "prediction.svg", "prediction", ("z", "es_many", "top", "top_directions"), 4)
    draw_power(results, folder / "confound.svg", "frequency", ("z", "z_adj"), 4)
    draw_false_discoveries(results, folder / "fdr.svg")


def _decoders(results: Results) -> list[dict[str, Any]]:
    return list(results.summary["decoders"])


def _of(results: Results, decoder: str) -> list[Row]:
    return [row for row in results.rates if row["decoder"] == decoder]


def draw_random_tokens(results: Results, path: Path) -> None:
    """Rate at .05 of the random-token test and of z, against the variance inflation of each set."""
    decoders = _decoders(results)
    with figure(path, (8.4, 3.6), 1, len(decoders)) as (drawing, axes):
        for ax, decoder in zip(axes, decoders, strict=True):
            rows = _of(results, decoder["decoder"])
            vif = [float(row["vif"]) for row in rows]
            for column, name in (
                ("log10_p_ks", "random tokens (log10_p_ks)"),
                ("log10_p", "random directions (log10_p)"),
            ):
                style = {**COLUMN_STYLES[column], "linestyle": "none"}
                ax.plot(vif, [float(row[f"{column}_0.05"]) for row in rows], label=name, alpha=0.8, **style)
            for row in rows:
                if row["set"] in NAMED_POINTS:
                    at = (float(row["vif"]), float(row["log10_p_ks_0.05"]))
                    ax.annotate(
                        row["set"],
                        at,
                        xytext=NAMED_POINTS[row["set"]],
                        textcoords="offset points",
                        fontsize=7.5,
                        bbox=HALO,
                    )
            ax.axhline(0.05, color="black", linewidth=0.8)
            ax.annotate("nominal .05", (0.02, 0.08), xycoords=("axes fraction", "data"), fontsize=7.5)
            ax.set(
                xscale="log",
                xlabel="variance inflation of the set",
                title=label(decoder["decoder"]),
                ylim=(-0.02, 1.05),
            )
        axes[0].set_ylabel("random directions with p < .05")
        drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


def draw_rates(results: Results, path: Path) -> None:
    """Distribution over the sets of each rate, for the columns whose null is random directions."""
    decoders = _decoders(results)
    with figure(path, (8.4, 3.6), 1, len(LEVELS)) as (drawing, axes):
        for ax, level in zip(axes, LEVELS, strict=True):
            n, nominal = decoders[0]["directions"], float(level)
            counts = np.arange(int(RATE_LIMITS[level][1] * n * nominal) + 2)
            laws: tuple[tuple[int, str, dict[str, Any]], ...] = (
                (0, "chance alone", {"color": "black", "linewidth": 2.6}),
                (decoders[0]["null_directions"], "chance alone, R = 2,000", {"color": "#aaaaaa", "linewidth": 2.6}),
            )
            for n_null, name, style in laws:
                law = Binomial(n, nominal, n_null)
                expected = [law.at_most(float(count)) for count in counts]
                ax.step(counts / n / nominal, expected, where="post", label=name, **style)
            for decoder, width in zip(decoders, (1.6, 0.9), strict=False):
                for column in ("log10_p", "log10_p_adj", "log10_p_es"):
                    rows = _of(results, decoder["decoder"])
                    rates = [float(row[f"{column}_{level}"]) for row in rows if row[f"{column}_{level}"]]
                    share = np.arange(1, len(rates) + 1) / len(rates)
                    dash = {key: COLUMN_STYLES[column][key] for key in ("color", "linestyle")}
                    name = f"{column}, {label(decoder['decoder']).split(',')[0]}"
                    ax.step(np.sort(rates) / nominal, share, where="post", linewidth=width, label=name, **dash)
            ax.axvline(1, color="black", linewidth=0.7)
            ax.set(title=f"at {level}", xlabel="false positive rate / nominal", xlim=RATE_LIMITS[level])
        axes[0].set_ylabel("share of sets at or below")
        drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)


def draw_tail(results: Results, path: Path) -> None:
    """Observed against nominal rate of every p column, all sets together."""
    decoders = _decoders(results)
    with figure(path, (8.4, 4.0), 1, len(decoders)) as (drawing, axes):
        for ax, decoder in zip(axes, decoders, strict=True):
            for column, style in COLUMN_STYLES.items():
                observed = np.array(decoder["columns"][column]["tail"])
                nominal = np.arange(len(observed)) / 10
                seen = observed > 0
                ax.plot(nominal[seen], -np.log10(observed[seen]), label=column, markevery=5, **style)
            ax.plot([0, 5], [0, 5], color="black", linewidth=0.8)
            ax.set(xlabel="nominal: -log10 p", title=label(decoder["decoder"]), xlim=(0, 5), ylim=(0, 5.4))
        axes[0].set_ylabel("observed: -log10 share of directions")
        axes[0].annotate("as promised", (3.3, 4.3), fontsize=7.5)
        drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)


def draw_lengths(results: Results, path: Path) -> None:
    """Distribution of the length of whitened unit rows, fresh and real."""
    decoders = _decoders(results)
    with figure(path, (8.4, 3.2), 1, len(decoders)) as (drawing, axes):
        for ax, decoder in zip(axes, decoders, strict=True):
            for kind, name, color, dash in (
                ("fresh", "random directions", GREY, "--"),
                ("real", "the decoder's own rows", BLUE, "-"),
            ):
                lengths = decoder["lengths"][kind]
                ax.plot(lengths, np.linspace(0, 1, len(lengths)), label=name, color=color, linestyle=dash)
            ax.axvline(1, color="black", linewidth=0.7)
            ax.set(xlabel="length of the whitened row / sqrt(d)", title=label(decoder["decoder"]))
        axes[0].set_ylabel("share of rows below")
        drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


def draw_power(results: Results, path: Path, planting: str, methods: Sequence[str], columns: int) -> None:
    """Share of planted features called at q < .05, a panel a set."""
    sets = list(dict.fromkeys(row["set"] for row in results.power if row["planting"] == planting))
    n_rows = -(-len(sets) // columns)
    with figure(path, (8.4, 0.7 + 2.2 * n_rows), n_rows, columns) as (drawing, axes):
        for ax, name in zip(axes, sets, strict=False):
            chosen = [row for row in results.power if row["planting"] == planting and row["set"] == name]
            for method in methods:
                rows = [row for row in chosen if row["method"] == method]
                text, style = METHOD_STYLES[method]
                ax.plot([float(r["strength"]) for r in rows], [float(r["power"]) for r in rows], label=text, **style)
            ax.set_title(f"{name}\nn = {int(chosen[0]['n']):,}", fontsize=8.5)
            ax.set(ylim=(-0.04, 1.06), xlim=(0, None))
        for ax in axes[len(sets) :]:
            ax.set_visible(False)
        drawing.supxlabel("strength s: cosine with the planted direction in whitened space", fontsize=9)
        drawing.supylabel("called at q < .05", fontsize=9)
        drawing.legend(
            *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=min(len(methods), 5), fontsize=8
        )


def draw_false_discoveries(results: Results, path: Path) -> None:
    """Realised false discovery rate of every method and set at s = .3."""
    with figure(path, (8.4, 3.0), 1, 1) as (_, axes):
        ax = axes[0]
        methods = list(METHOD_STYLES)
        for k, method in enumerate(methods):
            rows = [
                row
                for row in results.power
                if (row["planting"], row["method"], row["strength"]) == ("conditional", method, "0.3")
            ]
            spread = np.linspace(-0.25, 0.25, len(rows)) if len(rows) > 1 else [0.0] * len(rows)
            style = {**METHOD_STYLES[method][1], "linestyle": "none", "markersize": 5}
            ax.plot([float(row["fdr"]) for row in rows], k + np.asarray(spread), alpha=0.8, **style)
        ax.axvline(0.05, color="black", linewidth=0.8)
        ax.annotate("nominal .05", (0.06, 3.5), fontsize=7.5)
        ax.set_yticks(range(len(methods)), [METHOD_STYLES[method][0] for method in methods])
        ax.invert_yaxis()
        ax.set(xlim=(-0.02, 1.02), xlabel="share of false features among those called (a mark a set, s = .3)")
