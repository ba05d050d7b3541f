"""The files that a calibration wrote, and how their numbers are written on a page."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, str]

LABELS = {"20-res-demo": "SAE, layer 20", "29-mlp": "neurons, layer 29"}


class Results(NamedTuple):
    """The three files of a run."""

    summary: dict[str, Any]
    rates: list[Row]
    power: list[Row]


def read_results(folder: Path) -> Results:
    """Read summary.json, rates.csv and power.csv."""
    tables = []
    for name in ("rates.csv", "power.csv"):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            tables.append(list(csv.DictReader(file)))
    return Results(json.loads((folder / "summary.json").read_text(encoding="utf-8")), tables[0], tables[1])


def label(decoder: str) -> str:
    return LABELS.get(decoder.split("/")[-1], decoder)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def percent(value: str | float, digits: int = 1) -> str:
    return "" if value == "" else f"{100 * float(value):.{digits}f} %"


def number(value: str | float) -> str:
    """Write a rate as people do: .0498, 1.02e-3."""
    if value == "":
        return ""
    x = float(value)
    if x == 0 or x >= 0.01:
        return f"{x:.4f}".lstrip("0") if 0 < x < 1 else f"{x:g}"
    mantissa, exponent = f"{x:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"
