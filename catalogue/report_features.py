"""The numbers of features in a report: a column a statistic for table and plots, and their cards in files of some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .file import translated
from .report_chunks import Array, ChunkWriter
from .report_plan import CARDS_IN_A_FILE, N_BINS, SHOWN_TOKENS, Plan, SaePart, dicts
from .report_sets import Leaders
from .tables import STATISTICS

if TYPE_CHECKING:
    from .catalogue import Catalogue

Floats = npt.NDArray[np.float32]

NO_TOKEN = 0xFFFFFFFF
NO_PERCENTILE = 0xFFFF
_HUNDREDTHS = 10_000


def fetch(catalogue: Catalogue, text: str, params: list[Any]) -> dict[str, Array]:
    """Return the columns of a query; NULL is NaN."""
    with translated():
        columns = catalogue.connection.execute(text, params).fetchnumpy()
    return {
        name: np.ma.filled(column.astype(np.float32), np.nan) if np.ma.isMaskedArray(column) else column
        for name, column in columns.items()
    }


def write_statistics(catalogue: Catalogue, plan: Plan, writer: ChunkWriter) -> dict[str, Floats]:
    """Write a column a statistic over all features, and `dead` (1, 0, NaN unknown), and return the statistics.

    Returns:
        By name, all features in the order of the plan; NaN for NULL.
    """
    names = [*STATISTICS, "dead"]
    values = {name: np.full(plan.n_features, np.nan, np.float32) for name in names}
    listed = ", ".join(f'"{name}"::FLOAT AS "{name}"' for name in names)
    for sae in plan.saes:
        found = fetch(catalogue, f"SELECT feature, {listed} FROM feature WHERE sae_id = ?", [sae.sae_id])
        for name in names:
            values[name][sae.start + found["feature"]] = found[name]
    for name, column in values.items():
        writer.write(f"stat/{name}", None, {"values": column})
    del values["dead"]
    return values


def write_cards(
    catalogue: Catalogue, plan: Plan, writer: ChunkWriter, statistics: Mapping[str, Floats], leaders: Leaders
) -> None:
    """Write the cards of all features, and the first tokens of each for the table.

    Args:
        catalogue: The catalogue.
        plan: What to write.
        writer: Where to.
        statistics: As `write_statistics` returns them.
        leaders: The sets each way of every feature.
    """
    shown = np.full((plan.n_features, 2 * SHOWN_TOKENS), NO_TOKEN, np.uint32)
    for index, sae in enumerate(plan.saes):
        part = slice(sae.start, sae.start + sae.n)
        token_ids, weights = _tokens(catalogue, sae, max(plan.options.top, SHOWN_TOKENS))
        shown[part] = _each_way(token_ids, SHOWN_TOKENS)
        mine = np.column_stack([statistics[name][part] for name in STATISTICS])
        arrays: dict[str, Array] = {
            "value": mine,
            "percentile": percentiles(mine),
            "histogram": _histograms(catalogue, sae),
            "token": _each_way(token_ids, plan.options.top),
            "weight": _each_way(weights, plan.options.top),
            "set": leaders.number[part],
            "z": leaders.z[part],
            "log10_q": leaders.log10_q[part],
            "z_adj": leaders.z_adj[part],
        }
        for k, first in enumerate(range(0, sae.n, CARDS_IN_A_FILE)):
            rows = slice(first, first + CARDS_IN_A_FILE)
            writer.write(f"card/{index}/{k}", None, {name: array[rows] for name, array in arrays.items()})
    writer.write("shown/up", None, {"token": shown[:, :SHOWN_TOKENS]})
    writer.write("shown/down", None, {"token": shown[:, SHOWN_TOKENS:]})


def write_notes(catalogue: Catalogue, plan: Plan, writer: ChunkWriter) -> list[int]:
    """Write labels, tags and explanations, a file an SAE that has any.

    Returns:
        The number of features with notes, by SAE.
    """
    counts = []
    for index, sae in enumerate(plan.saes):
        rows = dicts(
            catalogue,
            "WITH noted AS ("
            " SELECT feature, 'label' AS kind, label AS text, NULL AS more FROM feature"
            "  WHERE sae_id = $id AND label IS NOT NULL"
            " UNION ALL SELECT feature, 'tag', tag, note FROM tag WHERE sae_id = $id"
            " UNION ALL SELECT feature, 'explanation', text, concat_ws(', ', explainer, method) FROM explanation"
            "  WHERE sae_id = $id)"
            " FROM noted WHERE feature >= 0 AND feature < $n ORDER BY feature, kind DESC, text",
            {"id": sae.sae_id, "n": sae.n},
        )
        notes: dict[int, list[list[str]]] = {}
        for row in rows:
            notes.setdefault(row["feature"], []).append([row["kind"], row["text"] or "", row["more"] or ""])
        if notes:
            writer.write(f"note/{index}", [[feature, entries] for feature, entries in notes.items()])
        counts.append(len(notes))
    return counts


def write_vocabularies(catalogue: Catalogue, plan: Plan, writer: ChunkWriter) -> None:
    """Write the decoded text of all tokens, a file a model; what is no UTF-8 by itself has its raw spelling too."""
    for index, model in enumerate(plan.models):
        rows = dicts(
            catalogue,
            "SELECT token_id, str, CASE WHEN is_partial_utf8 THEN raw END AS raw FROM token WHERE model_id = $id"
            " ORDER BY token_id",
            {"id": model["model_id"]},
        )
        texts = [""] * (max((row["token_id"] for row in rows), default=-1) + 1)
        for row in rows:
            texts[row["token_id"]] = row["str"] or ""
        raw = {row["token_id"]: row["raw"] for row in rows if row["raw"] is not None}
        writer.write(f"token/{index}", {"text": texts, "raw": list(raw.items())})


def percentiles(values: Floats) -> npt.NDArray[np.uint16]:
    """Return, of each value, the share of its column below it, in hundredths of a per cent and rounded down.

    Args:
        values: Float32, features x statistics; NaN where there is none, which counts for nothing.
    """
    shares = np.full(values.shape, NO_PERCENTILE, np.uint16)
    for k, column in enumerate(values.T):
        there = ~np.isnan(column)
        ordered = np.sort(column[there])
        below = np.searchsorted(ordered, column[there], side="left")
        shares[there, k] = below * _HUNDREDTHS // max(len(ordered), 1)
    return shares


def _tokens(catalogue: Catalogue, sae: SaePart, n: int) -> tuple[npt.NDArray[np.uint32], Floats]:
    """Return ids and weights, features x 2 n: from the most promoted down, then from the most suppressed up."""
    ids = np.full((sae.n, 2 * n), NO_TOKEN, np.uint32)
    weights = np.full((sae.n, 2 * n), np.nan, np.float32)
    found = fetch(
        catalogue,
        "SELECT feature, rank, token_id, weight FROM feature_token WHERE sae_id = ? AND rank BETWEEN ? AND ?"
        " AND rank <> 0",
        [sae.sae_id, -n, n],
    )
    rank = found["rank"].astype(np.int64)
    place = np.where(rank > 0, rank - 1, n - rank - 1)
    ids[found["feature"], place] = found["token_id"]
    weights[found["feature"], place] = found["weight"]
    return ids, weights


def _each_way(values: Array, n: int) -> Array:
    """Keep the first `n` of either half of the columns."""
    half = values.shape[1] // 2
    return np.hstack([values[:, :n], values[:, half : half + n]])


def _histograms(catalogue: Catalogue, sae: SaePart) -> npt.NDArray[np.uint32]:
    counts = np.zeros((sae.n, N_BINS), np.uint32)
    found = fetch(
        catalogue,
        "SELECT feature, unnest(histogram) AS count, generate_subscripts(histogram, 1) - 1 AS bin"
        " FROM feature WHERE sae_id = ?",
        [sae.sae_id],
    )
    inside = found["bin"] < N_BINS
    counts[found["feature"][inside], found["bin"][inside]] = found["count"][inside]
    return counts
