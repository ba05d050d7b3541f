"""All numbers of one dictionary of features: statistics, enrichment and significance, as columns of arrays.

Knows neither Arrow nor DuckDB. Block by block for what needs the ranking of the vocabulary; in one closed form for
what does not. Results go to a `Scratch` as they come, so that memory is the same for any number of features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int32

from .checks import require_finite_rows
from .device import Options, resolve_devices
from .feature_columns import Progress, Results, lay_ground, nulls_of, write_features
from .inputs import TokenIds
from .scratch import Columns, FeatureColumns, Scratch, SetColumns
from .significance import Nulls, write_q_columns


class Numbers(NamedTuple):
    """What one dictionary of `f` features gives for `s` sets, as arrays.

    Attributes:
        feature: Columns of table `feature`, each of shape [f] (histogram [f, 50]); NaN stands for NULL.
        top_tokens: Token ids, most promoted first, [f, k] with k = min(20, tokens).
        top_weights: Their logit weights.
        bottom_tokens: Token ids, most suppressed first.
        bottom_weights: Their logit weights.
        enrichment: Columns of table `enrichment`, each of shape [s, f]; NaN and -1 (integers) stand for NULL.
        null: Columns of table `set_null`, each of shape [s]; NaN stands for NULL.
        sigma_kind: Covariance of the null directions: decoder or isotropic.
        nuisance: Nuisance directions that z_adj holds fixed, [k, d_model]; no rows without covariates.
        correlation: Null correlation of the sets' z, [s, s].
    """

    feature: Columns
    top_tokens: Int32[np.ndarray, "f k"]
    top_weights: Float32[np.ndarray, "f k"]
    bottom_tokens: Int32[np.ndarray, "f k"]
    bottom_weights: Float32[np.ndarray, "f k"]
    enrichment: Columns
    null: Columns
    sigma_kind: str
    nuisance: Float64[np.ndarray, "nuisances d"]
    correlation: Float64[np.ndarray, "s s"]


class StoredNumbers(NamedTuple):
    """The same while it lies in a `Scratch`.

    `tokens` holds the four columns of tokens and weights of `Numbers` by their names there.
    """

    feature: FeatureColumns
    tokens: FeatureColumns
    enrichment: SetColumns
    null: Columns
    sigma_kind: str
    nuisance: Float64[np.ndarray, "nuisances d"]
    correlation: Float64[np.ndarray, "s s"]

    def arrays(self) -> Numbers:
        """Return everything in memory."""
        n_features = self.feature.n_features
        tokens = self.tokens.read(0, n_features)
        return Numbers(
            feature=self.feature.read(0, n_features),
            enrichment=self.enrichment.arrays(),
            null=self.null,
            sigma_kind=self.sigma_kind,
            nuisance=self.nuisance,
            correlation=self.correlation,
            **tokens,
        )


def compute_numbers(
    W_dec: Float32[torch.Tensor, "f d"],
    W_U: Float32[torch.Tensor, "d v"],
    sets: Sequence[TokenIds],
    *,
    universe: Bool[np.ndarray, "v"] | None = None,
    covariates: Float64[np.ndarray, "nuisances v"] | None = None,
    options: Options = Options(),
    progress: Progress | None = None,
) -> Numbers:
    """Compute every statistic of every feature, and every set's enrichment in every feature, as arrays in memory.

    Args and errors are those of `compute_into`.
    """
    stored = compute_into(
        Scratch(), W_dec, W_U, sets, universe=universe, covariates=covariates, options=options, progress=progress
    )
    return stored.arrays()


def compute_into(
    scratch: Scratch,
    W_dec: Float32[torch.Tensor, "f d"],
    W_U: Float32[torch.Tensor, "d v"],
    sets: Sequence[TokenIds],
    *,
    universe: Bool[np.ndarray, "v"] | None = None,
    covariates: Float64[np.ndarray, "nuisances v"] | None = None,
    options: Options = Options(),
    progress: Progress | None = None,
    kept: SetColumns | None = None,
) -> StoredNumbers:
    """Compute every statistic of every feature, and every set's enrichment in every feature.

    Args:
        scratch: Where the results go, block by block: on disk, memory does not grow with the features.
        W_dec: Decoder in the residual stream, rows with their own norms.
        W_U: Processed unembedding, one column a token.
        sets: Sorted token ids of each set.
        universe: Tokens that take part; all by default. Members outside it are left out.
        covariates: What z_adj holds fixed, a value a token (see `nuisance.token_covariates`); without it z_adj is NULL.
        options: Device, memory, null and weight.
        progress: Told the number of features done after each block.
        kept: Known columns of the first sets, which are not computed again; the results go behind them. Only the
            q-values of all pairs change.

    Raises:
        WeightsError: The logits overflow float32.
        UsageError: The device is not here.
    """
    ground = lay_ground(
        W_U,
        sets,
        resolve_devices(options.device),
        universe=universe,
        covariates=covariates,
        options=options,
        n_kept=0 if kept is None else kept.n_kept,
    )
    # Said before anything is computed: an infinite row would spoil the covariance of all.
    require_finite_rows(W_dec, "W_dec", "feature")
    decoder, n_features = W_dec.to(ground.universe.W_U.device), W_dec.shape[0]
    nulls = nulls_of(ground, decoder)
    enrichment = SetColumns(scratch, len(sets), n_features) if kept is None else kept
    results = Results(FeatureColumns(scratch, n_features), FeatureColumns(scratch, n_features), enrichment)
    write_features(ground, nulls, decoder, range(n_features), results, progress)
    write_q_columns(enrichment, scratch)
    return stored_numbers(results, nulls)


def stored_numbers(results: Results, nulls: Nulls) -> StoredNumbers:
    """Return the numbers of a whole dictionary, q-values included, with its nulls."""
    return StoredNumbers(*results, nulls.columns, nulls.covariance.kind, nulls.nuisance, nulls.correlation)
