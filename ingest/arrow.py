"""From computed columns to Arrow tables in the shape of the catalogue's tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from .compute import Numbers
from .inputs import AnyArray, FeatureDictionary, TokenSet, Vocabulary
from .significance import Columns

DEAD_BELOW_LOG10_DENSITY = -9.0
"""A feature that fires on less than one token in 10^9 is dead (Bloom & Lin 2024)."""


def arrow_column(values: AnyArray) -> pa.Array:
    """Return a flat numpy column as Arrow: NaN and negative int32 become NULL, rows of a matrix become lists."""
    if values.ndim == 2:
        offsets = np.arange(values.shape[0] + 1, dtype=np.int32) * values.shape[1]
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(values).ravel()))
    null = np.isnan(values) if values.dtype.kind == "f" else values < 0
    return pa.array(values, mask=null)


def feature_table(numbers: Numbers, dictionary: FeatureDictionary | None = None) -> pa.Table:
    """Return table `feature` without its sae_id: a row a feature, with what the dictionary knows of each."""
    n_features = len(numbers.feature["mean"])
    columns = {"feature": pa.array(np.arange(n_features, dtype=np.int32))}
    columns |= {name: arrow_column(values) for name, values in numbers.feature.items()}
    if dictionary is not None:
        density = dictionary.log10_density
        known = {"enc_dec_cos": dictionary.enc_dec_cos, "b_enc": dictionary.b_enc, "log10_density": density}
        columns |= {name: arrow_column(values) for name, values in known.items() if values is not None}
        if density is not None:
            columns["dead"] = pa.array(density < DEAD_BELOW_LOG10_DENSITY, mask=np.isnan(density))
    return pa.table(columns)


def feature_token_table(numbers: Numbers) -> pa.Table:
    """Return table `feature_token` without its sae_id, sorted by feature and rank.

    A decoder row of zeros ranks nothing and has no rows.
    """
    live = np.flatnonzero(numbers.feature["dec_norm"] > 0)
    kept = numbers.top_tokens.shape[1]
    ranks = np.concatenate([np.arange(-1, -kept - 1, -1)[::-1], np.arange(1, kept + 1)]).astype(np.int16)
    tokens = np.concatenate([numbers.bottom_tokens[live, ::-1], numbers.top_tokens[live]], axis=1)
    weights = np.concatenate([numbers.bottom_weights[live, ::-1], numbers.top_weights[live]], axis=1)
    return pa.table(
        {
            "feature": np.repeat(live.astype(np.int32), 2 * kept),
            "rank": np.tile(ranks, len(live)),
            "token_id": tokens.ravel(),
            "weight": weights.ravel(),
        }
    )


def enrichment_table(columns: Columns) -> pa.Table:
    """Return table `enrichment` without its ids: set by set, all features ascending."""
    n_sets, n_features = columns["es"].shape
    feature = pa.array(np.tile(np.arange(n_features, dtype=np.int32), n_sets))
    return pa.table({"feature": feature} | {name: arrow_column(values.ravel()) for name, values in columns.items()})


def token_table(vocabulary: Vocabulary) -> pa.Table:
    """Return table `token` without its model_id."""
    return pa.table(
        {
            "token_id": np.arange(len(vocabulary), dtype=np.int32),
            "str": pa.array([_storable(text) for text in vocabulary.text], pa.string()),
            "raw": pa.array([_storable(raw) for raw in vocabulary.raw], pa.string()),
            "is_special": vocabulary.is_special,
            "is_partial_utf8": vocabulary.is_partial_utf8,
        }
    )


def _storable(text: str) -> str:
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


def set_null_table(numbers: Numbers, seed: int, directions: int) -> pa.Table:
    """Return table `set_null` without its ids, in the order of the sets."""
    n_sets = len(numbers.null["vif"])
    columns = {name: arrow_column(values.astype(np.float32)) for name, values in numbers.null.items()}
    columns["sigma_kind"] = pa.array([numbers.sigma_kind] * n_sets, pa.string())
    columns["R"] = pa.array([directions] * n_sets, pa.int32())
    columns["seed"] = pa.array([seed] * n_sets, pa.int64())
    return pa.table(columns)
