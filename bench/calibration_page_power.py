"""The generated parts of docs/significance.md about planted features."""

from __future__ import annotations

from collections.abc import Callable

from calibration_results import Results, Row, percent, table

METHODS = {
    "z": "`z`",
    "z_adj": "`z_adj`",
    "z_in_sample": "`z`, Sigma from the same 2,000",
    "es": "`es`, R = 2,000",
    "es_many": "`es`, R = 20,000",
    "score": "published score",
    "top": "`log10_p_top`",
    "top_directions": "`top_hits`, R = 20,000",
}
SHOWN_STRENGTHS = ("0.1", "0.15", "0.2", "0.3", "0.4")


def chosen(results: Results, planting: str, method: str, strength: str) -> list[Row]:
    """Return a row a set."""
    wanted = (planting, method, strength)
    return [row for row in results.power if (row["planting"], row["method"], row["strength"]) == wanted]


def mean_of(rows: list[Row], column: str) -> float:
    return sum(float(row[column]) for row in rows) / len(rows)


def _power_of(results: Results, planting: str) -> str:
    rows = []
    for method, name in METHODS.items():
        cells = [name]
        false = []
        for strength in SHOWN_STRENGTHS:
            found = chosen(results, planting, method, strength)
            if found:
                powers = [float(row["power"]) for row in found]
                cells.append(f"{sum(powers) / len(powers):.2f} ({min(powers):.2f}–{max(powers):.2f})")
                false += [float(row["fdr"]) for row in found]
        rows.append([*cells, f"{sum(false) / len(false):.3f}", f"{max(false):.3f}"])
    return table(["method", *(f"s = {s}" for s in SHOWN_STRENGTHS), "mean FDR", "largest FDR of a set"], rows)


def _prediction(results: Results) -> str:
    rows = []
    for row in results.power:
        if row["planting"] == "prediction" and row["method"] == "z" and row["strength"] in ("0.3", "0.5", "0.8"):
            cells = [
                f"`{row['set']}`",
                row["strength"],
                f"{float(row['mean_z']):.1f}",
                f"{float(row['mean_hits']):.0f}",
            ]
            for method in ("z", "es_many", "top", "top_directions"):
                same = next(r for r in chosen(results, "prediction", method, row["strength"]) if r["set"] == row["set"])
                cells.append(f"{float(same['power']):.2f} ({float(same['fdr']):.2f})")
            rows.append(cells)
    names = [METHODS[method] for method in ("z", "es_many", "top", "top_directions")]
    return table(["set", "s", "mean z", "members in the top 100", *(f"{name}: power (FDR)" for name in names)], rows)


def _confound(results: Results) -> str:
    shares = {row["set"]: row["nuisance_share"] for row in reversed(results.rates)}
    rows = []
    for row in results.power:
        if row["planting"] == "frequency" and row["method"] == "z" and row["strength"] in ("0.2", "0.3", "0.4"):
            same = next(r for r in chosen(results, "frequency", "z_adj", row["strength"]) if r["set"] == row["set"])
            cells = [f"`{row['set']}`", percent(shares[row["set"]], 0), row["strength"], f"{float(row['mean_z']):.1f}"]
            rows.append([*cells, percent(row["power"], 0), percent(same["power"], 0)])
    header = ["set", "nuisance share", "strength of frequency", "mean z", "called by `z`", "called by `z_adj`"]
    return table(header, rows)


def _bulk_example(results: Results) -> str:
    row = next(row for row in chosen(results, "conditional", "z", "0.3") if row["set"] == "girls_names")
    z, hits = float(row["mean_z"]), float(row["mean_hits"])
    return f"`girls_names` planted at s = .3 has a mean z of {z:.1f} and {hits:.1f} of its {row['n']} members"


PARTS: dict[str, Callable[[Results], str]] = {
    "power_conditional": lambda results: _power_of(results, "conditional"),
    "power_mean": lambda results: _power_of(results, "mean"),
    "prediction": _prediction,
    "confound": _confound,
    "bulk_example": _bulk_example,
}
