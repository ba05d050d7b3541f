"""From computed columns to Arrow tables in the shape of the catalogue's tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64

from .inputs import AnyArray, FeatureDictionary, TokenSet, Vocabulary
from .scratch import Columns

DEAD_BELOW_LOG10_DENSITY = -9.0
"""A feature that fires on less than one token in 10^9 is dead (Bloom & Lin 2024)."""


def arrow_column(values: AnyArray) -> pa.Array:
    """Return a flat numpy column as Arrow: NaN and negative int32 become NULL, rows of a matrix become lists."""
    if values.ndim == 2:
        offsets = np.arange(values.shape[0] + 1, dtype=np.int32) * values.shape[1]
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(values).ravel()))
    null = np.isnan(values) if values.dtype.kind == "f" else values < 0
    return pa.array(values, mask=null)


def feature_table(columns: Columns, first: int = 0, dictionary: FeatureDictionary | None = None) -> pa.Table:
    """Return rows of table `feature` without their sae_id, from feature `first` on.

    Args:
        columns: Computed columns of these features.
        first: Index of the first of them.
        dictionary: What its source knows of each feature is added.
    """
    rows = slice(first, first + len(columns["mean"]))
    table = {"feature": pa.array(np.arange(rows.start, rows.stop, dtype=np.int32))}
    table |= {name: arrow_column(values) for name, values in columns.items()}
    if dictionary is not None:
        density = dictionary.log10_density
        known = {"enc_dec_cos": dictionary.enc_dec_cos, "b_enc": dictionary.b_enc, "log10_density": density}
        table |= {name: arrow_column(values[rows]) for name, values in known.items() if values is not None}
        if density is not None:
            table["dead"] = pa.array(density[rows] < DEAD_BELOW_LOG10_DENSITY, mask=np.isnan(density[rows]))
        if dictionary.names is not None:
            table["label"] = pa.array([storable(name) or None for name in dictionary.names[rows]], pa.string())
    return pa.table(table)


def feature_token_table(tokens: Columns, live: Bool[np.ndarray, "n"], first: int = 0) -> pa.Table:
    """Return rows of table `feature_token` without their sae_id, sorted by feature and rank.

    Args:
        tokens: The four columns of tokens and weights of `compute.Numbers`.
        live: False for a decoder row of zeros: it ranks nothing and has no rows.
        first: Index of the first feature.
    """
    kept = tokens["top_tokens"].shape[1]
    ranks = np.concatenate([np.arange(-1, -kept - 1, -1)[::-1], np.arange(1, kept + 1)]).astype(np.int16)
    both = [
        np.concatenate([tokens[f"bottom_{what}"][live, ::-1], tokens[f"top_{what}"][live]], axis=1).ravel()
        for what in ("tokens", "weights")
    ]
    rows = np.flatnonzero(live).astype(np.int32) + np.int32(first)
    return pa.table(
        {
            "feature": np.repeat(rows, 2 * kept),
            "rank": np.tile(ranks, len(rows)),
            "token_id": both[0],
            "weight": both[1],
        }
    )


def enrichment_table(columns: Columns) -> pa.Table:
    """Return the rows of table `enrichment` of one set without their ids: all features ascending.

    Args:
        columns: Columns of shape [f]; or [s, f], for the rows of several sets, one set after the other.
    """
    shape = np.atleast_2d(columns["es"]).shape
    feature = pa.array(np.tile(np.arange(shape[1], dtype=np.int32), shape[0]))
    return pa.table({"feature": feature} | {name: arrow_column(values.ravel()) for name, values in columns.items()})


def correlation_table(correlation: Float64[np.ndarray, "s s"]) -> pa.Table:
    """Return the null correlations of the sets as `set_index`, `other_index` and `r`; NaN and the diagonal left out."""
    kept = np.isfinite(correlation) & ~np.eye(len(correlation), dtype=bool)
    index, other = np.nonzero(kept)
    return pa.table(
        {
            "set_index": index.astype(np.int32),
            "other_index": other.astype(np.int32),
            "r": correlation[kept].astype(np.float32),
        }
    )


def token_table(vocabulary: Vocabulary) -> pa.Table:
    """Return table `token` without its model_id."""
    return pa.table(
        {
            "token_id": np.arange(len(vocabulary), dtype=np.int32),
            "str": pa.array([storable(text) for text in vocabulary.text], pa.string()),
            "raw": pa.array([storable(raw) for raw in vocabulary.raw], pa.string()),
            "is_special": vocabulary.is_special,
            "is_partial_utf8": vocabulary.is_partial_utf8,
        }
    )


def storable(text: str) -> str:
    """Return text as UTF-8 can hold it."""
    # A lone surrogate can't be UTF-8, which is what Arrow and DuckDB hold.
    return text.encode("utf-8", "replace").decode("utf-8")


def token_set_table(sets: Sequence[TokenSet]) -> pa.Table:
    """Return table `token_set` without its ids, in the order given."""
    return pa.table(
        {
            "name": pa.array([item.name for item in sets], pa.string()),
            "collection": pa.array([item.collection for item in sets], pa.string()),
            "kind": pa.array([item.kind for item in sets], pa.string()),
            "definition": pa.array([item.definition for item in sets], pa.string()),
            "description": pa.array([item.description for item in sets], pa.string()),
            "source": pa.array([item.source for item in sets], pa.string()),
            "licence": pa.array([item.licence or None for item in sets], pa.string()),
            "version": pa.array([item.version or None for item in sets], pa.string()),
            "n_terms": pa.array([item.n_terms for item in sets], pa.int32()),
            "n_tokens": pa.array([len(item.token_ids) for item in sets], pa.int32()),
            "n_dropped": pa.array([item.n_dropped for item in sets], pa.int32()),
            "members_sha256": pa.array([item.members_sha256 for item in sets], pa.string()),
        }
    )


def member_table(sets: Sequence[TokenSet]) -> pa.Table:
    """Return the members of the sets: `set_index` is the row in `token_set_table`."""
    sizes = [len(item.token_ids) for item in sets]
    ids = np.concatenate([*(item.token_ids for item in sets), np.empty(0, np.int32)]).astype(np.int32)
    return pa.table({"set_index": np.repeat(np.arange(len(sets), dtype=np.int32), sizes), "token_id": ids})


def set_null_table(null: Columns, sigma_kind: str, seed: int, directions: int) -> pa.Table:
    """Return table `set_null` without its ids, in the order of the sets."""
    n_sets = len(null["vif"])
    columns = {name: arrow_column(values.astype(np.float32)) for name, values in null.items()}
    columns["sigma_kind"] = pa.array([sigma_kind] * n_sets, pa.string())
    columns["R"] = pa.array([directions] * n_sets, pa.int32())
    columns["seed"] = pa.array([seed] * n_sets, pa.int64())
    return pa.table(columns)


def dropped_table(sets: Sequence[TokenSet]) -> pa.Table:
    """Return the terms of the sets that gave no member: `set_index` is the row in `token_set_table`."""
    rows = [(index, term, reason) for index, item in enumerate(sets) for term, reason in item.dropped]
    index, terms, reasons = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "set_index": pa.array(index, pa.int32()),
            "term": pa.array([storable(term) for term in terms], pa.string()),
            "reason": pa.array(reasons, pa.string()),
        }
    )
