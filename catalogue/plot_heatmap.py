"""Token sets against layers: where in a model a set is promoted or suppressed, sets of one pattern side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import NotFoundError, UsageError
from .formats import read
from .plot_cluster import clustered_order
from .plot_data import Array, Sae, axis_names, chosen_saes, read_columns, require_set, short_names
from .plot_look import BLUE, RED
from .plot_manhattan import thinned
from .plot_page import axis, layout
from .plot_picture import Picture, Source
from .plot_text import drawn_name, page_name
from .schema import RETIRED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .catalogue import Catalogue
    from .plot_labels import Labels

SQL = f"""\
SELECT
    t.name AS set_name, y.sae_id, s.d_sae,
    y.n_promoted, y.n_suppressed, y.best_promoted_z, y.best_suppressed_z
FROM set_summary y
JOIN token_set t ON t.set_id = y.set_id
JOIN sae s ON s.sae_id = y.sae_id
WHERE y.sae_id IN (FROM _sae_ids($sae))
    AND ($collection IS NULL OR t.collection = $collection)
    AND ($sets IS NULL OR list_contains($sets, t.name))
    AND ($sets IS NOT NULL OR NOT regexp_matches(t.name, '{RETIRED}'))
ORDER BY t.name, y.sae_id
"""
_ROW_INCHES = 0.125
_MOST_INCHES = 9.0


class Value(StrEnum):
    """What the colours show: the share or count of features with q < .05, or the z of the best one."""

    SHARE = "share"
    COUNT = "count"
    BEST = "best"


class Direction(StrEnum):
    """Features that promote the set, that suppress it, or both."""

    PROMOTED = "promoted"
    SUPPRESSED = "suppressed"
    EITHER = "either"


@dataclass(frozen=True)
class HeatmapPicture(Picture):
    """Rows are sets in the order of a clustering, columns SAEs by layer; NaN where a set was not computed."""

    source: Source
    sets: list[str]
    saes: list[Sae]
    values: Array
    value: Value
    direction: Direction

    def size(self, inches: float) -> tuple[float, float]:
        """Return width and height in inches: a line of text a set, as far as a page goes."""
        return inches, min(_MOST_INCHES, 0.85 + _ROW_INCHES * max(len(self.sets), 8))

    def _title(self) -> str:
        if self.value is Value.BEST:
            which = {"promoted": "largest z", "suppressed": "smallest z", "either": "z furthest from 0"}
            return which[self.direction]
        which = {"promoted": "that promote, q < .05", "suppressed": "that suppress, q < .05", "either": "with q < .05"}
        return f"{'share' if self.value is Value.SHARE else 'number'} of features {which[self.direction]}"

    def _range(self) -> tuple[float, float]:
        low, high = float(np.nanmin(self.values)), float(np.nanmax(self.values))
        if self.value is Value.BEST and self.direction is Direction.EITHER:
            return -max(-low, high), max(-low, high)
        return (low if self.value is Value.BEST else 0.0), high if high > 0 or self.value is Value.BEST else 1.0

    def draw(self, figure: Figure) -> list[Labels]:
        """Draw the map with a name a row; smaller names where the page is full."""
        from matplotlib.colors import LinearSegmentedColormap

        axes = figure.subplots()
        low, high = self._range()
        is_signed = self.value is Value.BEST and self.direction is Direction.EITHER
        colours: Any = LinearSegmentedColormap.from_list("signed", [RED, "#FFFFFF", BLUE]) if is_signed else "cividis"
        edges = np.arange(len(self.saes) + 1) - 0.5, np.arange(len(self.sets) + 1) - 0.5
        drawn = axes.pcolormesh(*edges, np.ma.masked_invalid(self.values), cmap=colours, vmin=low, vmax=high)
        axes.set_facecolor("#E5E5E5")
        axes.invert_yaxis()
        row_points = 72 * (figure.get_figheight() - 0.85) / max(len(self.sets), 8)
        size = float(np.clip(0.85 * row_points, 3.0, 7.0))
        axes.set_yticks(range(len(self.sets)), [drawn_name(name, 28) for name in self.sets], fontsize=size)
        names, what = axis_names(self.saes)
        axes.set_xticks(*thinned(np.arange(len(names), dtype=float), names, 0.6 * figure.get_figwidth()))
        axes.tick_params(length=0)
        if max(map(len, names)) > 4:
            axes.tick_params(axis="x", rotation=90)
        axes.set_xlabel(what)
        for spine in axes.spines.values():
            spine.set_visible(False)
        bar = figure.colorbar(
            drawn,
            ax=axes,
            location="top",
            pad=0.01,
            aspect=25 if figure.get_figwidth() < 5 else 55,
            label=self._title(),
        )
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=2, width=0.5)
        return []

    def page(self) -> dict[str, Any]:
        """Return a heat map."""
        low, high = self._range()
        is_signed = self.value is Value.BEST and self.direction is Direction.EITHER
        cells = [[None if value != value else float(f"{value:.6g}") for value in row] for row in self.values.tolist()]
        table = {
            "type": "heatmap",
            "x": [page_name(name) for name in short_names(self.saes)],
            "y": [page_name(name) for name in self.sets],
            "z": cells,
            "zmin": low,
            "zmax": high,
            "colorscale": [[0, RED], [0.5, "#FFFFFF"], [1, BLUE]] if is_signed else "Cividis",
            "colorbar": {"title": {"text": page_name(self._title()), "side": "right"}},
            "hovertemplate": "%{y}, %{x}<br>%{z:.4g}<extra></extra>",
        }
        across = axis("SAE", type="category")
        up = axis("", type="category", autorange="reversed", automargin=True, dtick=1)
        return {"data": [table], "layout": layout(xaxis=across, yaxis=up)}


def _cells(columns: dict[str, Any], value: Value, direction: Direction) -> Array:
    if value is Value.BEST:
        up, down = columns["best_promoted_z"].astype(float), columns["best_suppressed_z"].astype(float)
        either = np.where(np.abs(down) > np.abs(up), down, up)
        return np.asarray({Direction.PROMOTED: up, Direction.SUPPRESSED: down, Direction.EITHER: either}[direction])
    up, down = columns["n_promoted"].astype(float), columns["n_suppressed"].astype(float)
    count = {Direction.PROMOTED: up, Direction.SUPPRESSED: down, Direction.EITHER: up + down}[direction]
    return np.asarray(count / columns["d_sae"] if value is Value.SHARE else count)


def read_heatmap(
    catalogue: Catalogue,
    *,
    for_page: bool = False,
    sets: Sequence[str] | None = None,
    collection: str | None = None,
    sae: str | None = None,
    value: Value | str = Value.SHARE,
    direction: Direction | str = Direction.EITHER,
    n: int = 40,
) -> HeatmapPicture:
    """Read the picture `heatmap`.

    Args:
        catalogue: The catalogue.
        for_page: Makes no difference here.
        sets: Names of sets.
        collection: All sets of a collection instead.
        sae: GLOB on slug or release; all SAEs by default.
        value: `share`, `count` or `best`.
        direction: `promoted`, `suppressed` or `either`.
        n: How many sets of a collection at most: those with the largest values.

    Raises:
        NotFoundError: No such set, collection or SAE, or no results of them.
        UsageError: Neither sets nor a collection are named, or both.
    """
    if bool(sets) == (collection is not None):
        raise UsageError("name token sets, or a --collection, one of the two")
    for name in sets or ():
        require_set(catalogue, name)
    chosen = chosen_saes(catalogue, sae)
    parameters = {"sets": list(sets) if sets else None, "collection": collection, "sae": sae}
    columns = read_columns(catalogue, SQL, parameters)
    if not len(columns["sae_id"]):
        raise NotFoundError(_nothing(catalogue, collection))
    value, direction = Value(value), Direction(direction)
    present = set(columns["sae_id"].tolist())
    saes = [item for item in chosen if item.sae_id in present]
    names = list(dict.fromkeys(columns["set_name"].tolist()))
    table = np.full((len(names), len(saes)), np.nan)
    rows = {name: k for k, name in enumerate(names)}
    places = {item.sae_id: k for k, item in enumerate(saes)}
    index = [rows[name] for name in columns["set_name"]], [places[k] for k in columns["sae_id"].tolist()]
    table[index] = _cells(columns, value, direction)
    source = Source(
        "heatmap",
        {**parameters, "value": value.value, "direction": direction.value, "n": n},
        [item.slug for item in saes],
        SQL,
    )
    filled = np.nan_to_num(table)
    if collection is not None and len(names) > n:
        kept = sorted(np.argsort(-np.abs(filled).max(1), kind="stable")[:n].tolist())
        source.notes.append(f"of {len(names)} sets those {n} with the largest values are shown; -n shows more")
        names, table, filled = [names[k] for k in kept], table[kept], filled[kept]
    order = clustered_order(filled)
    return HeatmapPicture(source, [names[k] for k in order], saes, table[order], value, direction)


def _nothing(catalogue: Catalogue, collection: str | None) -> str:
    if collection is None:
        return "no SAE of these has results of these sets; featdex ingest computes them"
    known = read(catalogue.sql("SELECT DISTINCT collection FROM token_set WHERE collection IS NOT NULL ORDER BY ALL"))
    names = ", ".join(name for (name,) in known.rows)
    return f"no results of a collection {collection!r} in these SAEs; there are {names or 'none'}"
