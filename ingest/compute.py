"""All numbers of one dictionary of features: statistics, enrichment and significance, as columns of arrays.

Knows neither Arrow nor DuckDB. Block by block for what needs the ranking of the vocabulary; in one closed form for
what does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int32

from ..catalogue.errors import WeightsError
from .device import Options, block_limits, resolve_device
from .inputs import AnyArray, TokenIds
from .product import block_size, logit_blocks
from .ranking import (
    QUANTILES,
    TOP_TOKENS,
    PackedSets,
    RowStatistics,
    SetScores,
    empty_scores,
    empty_statistics,
    pack_sets,
)
from .ranking_cpu import rank_rows
from .ranking_cuda import rank_rows_cuda
from .significance import Columns, Universe, enrichment_columns

QUANTILE_COLUMNS = tuple(f"q{round(100 * level):02d}" for level in QUANTILES)
MOMENT_COLUMNS = ("mean", "std", "skewness", "kurtosis")

Progress = Callable[[int], None]


class Numbers(NamedTuple):
    """What one dictionary of `f` features gives for `s` sets.

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
    """Compute every statistic of every feature, and every set's enrichment in every feature.

    Args:
        W_dec: Decoder in the residual stream, rows with their own norms.
        W_U: Processed unembedding, one column a token.
        sets: Sorted token ids of each set.
        universe: Tokens that take part; all by default. Members outside it are left out.
        covariates: What z_adj holds fixed, a value a token (see `nuisance.token_covariates`); without it z_adj is NULL.
        options: Device, memory, null and weight.
        progress: Told the number of features done after each block.

    Raises:
        WeightsError: The logits overflow float32.
        UsageError: The device is not here.
    """
    device = resolve_device(options.device)
    ids = np.arange(W_U.shape[1]) if universe is None else np.flatnonzero(universe)
    tokens = W_U if len(ids) == W_U.shape[1] else W_U[:, torch.from_numpy(ids)].contiguous()
    positions = [np.searchsorted(ids, members[np.isin(members, ids)]).astype(np.int32) for members in sets]
    tokens, decoder = tokens.to(device), W_dec.to(device)
    packed = pack_sets(positions, len(ids), complement=options.weight == 0.0)
    ranked = _rank_dictionary(decoder, tokens, packed, options, progress)
    norms = decoder.double().norm(dim=1).cpu().numpy()
    place = Universe(tokens, positions, packed.sizes, None if covariates is None else covariates[:, ids])

    def score_null(directions: Float32[torch.Tensor, "r d"]) -> Float64[np.ndarray, "s r"]:
        return _null_scores(directions.to(device), tokens, packed, options)

    evidence = enrichment_columns(decoder, place, ranked.scores, norms > 0, options, score_null)
    return Numbers(
        feature=_feature_columns(ranked.statistics, norms),
        top_tokens=ids[ranked.statistics.top].astype(np.int32),
        top_weights=ranked.top_weights,
        bottom_tokens=ids[ranked.statistics.bottom].astype(np.int32),
        bottom_weights=ranked.bottom_weights,
        enrichment=evidence.enrichment,
        null=evidence.null,
        sigma_kind=evidence.sigma_kind,
        nuisance=evidence.nuisance,
    )


class _Ranked(NamedTuple):
    statistics: RowStatistics
    scores: SetScores
    top_weights: Float32[np.ndarray, "f k"]
    bottom_weights: Float32[np.ndarray, "f k"]


def _ranked_blocks(
    rows: Float32[torch.Tensor, "f d"],
    W_U: Float32[torch.Tensor, "d v"],
    packed: PackedSets,
    options: Options,
    wants_statistics: bool,
) -> Iterator[tuple[slice, Float32[torch.Tensor, "b v"], RowStatistics, SetScores]]:
    """Rank the vocabulary by every row, a block at a time, on the device where W_U lies."""
    n_rows, n_tokens = rows.shape[0], W_U.shape[1]
    limits = block_limits(W_U.device, options.memory)
    block = block_size(n_rows, n_tokens, limits.memory, limits.bytes_per_logit, options.block, limits.features)
    scale = 1.0 / W_U.double().norm(dim=0)
    # A token at the origin has no direction: its cosine is 0.
    scale = torch.where(torch.isfinite(scale), scale, torch.zeros_like(scale))
    for start, logits in logit_blocks(rows, W_U, block):
        if W_U.device.type == "cpu":
            statistics, scores = rank_rows(
                logits.numpy(),
                scale.numpy(),
                packed,
                weight=options.weight,
                threads=options.threads,
                wants_statistics=wants_statistics,
            )
        else:
            statistics, scores = rank_rows_cuda(
                logits, scale, packed, weight=options.weight, wants_statistics=wants_statistics
            )
        yield slice(start, start + len(logits)), logits, statistics, scores


def _rank_dictionary(
    W_dec: Float32[torch.Tensor, "f d"],
    W_U: Float32[torch.Tensor, "d v"],
    packed: PackedSets,
    options: Options,
    progress: Progress | None,
) -> _Ranked:
    n_features, n_tokens = W_dec.shape[0], W_U.shape[1]
    kept = (n_features, min(TOP_TOKENS, n_tokens))
    results = _Ranked(
        empty_statistics(n_features, n_tokens),
        empty_scores(packed.n_sets, n_features),
        np.empty(kept, np.float32),
        np.empty(kept, np.float32),
    )
    for rows, logits, statistics, scores in _ranked_blocks(W_dec, W_U, packed, options, wants_statistics=True):
        for whole, part in zip(results.statistics, statistics, strict=True):
            whole[rows] = part
        for whole, part in zip(results.scores[:-1], scores[:-1], strict=True):
            whole[:, rows] = part
        results.scores.near_tokens[rows] = scores.near_tokens
        for whole, columns in ((results.top_weights, statistics.top), (results.bottom_weights, statistics.bottom)):
            chosen = torch.from_numpy(columns).long().to(logits.device)
            whole[rows] = logits.gather(1, chosen).cpu().numpy()
        _require_finite(statistics, rows.start)
        if progress:
            progress(rows.stop)
    return results


def _null_scores(
    directions: Float32[torch.Tensor, "r d"],
    W_U: Float32[torch.Tensor, "d v"],
    packed: PackedSets,
    options: Options,
) -> Float64[np.ndarray, "s r"]:
    es = np.empty((packed.n_sets, len(directions)))
    for rows, _, _, scores in _ranked_blocks(directions, W_U, packed, options, wants_statistics=False):
        es[:, rows] = scores.es
    return es


def _require_finite(statistics: RowStatistics, start: int) -> None:
    broken = ~(np.isfinite(statistics.extremes).all(1) & np.isfinite(statistics.moments[:, :2]).all(1))
    if broken.any():
        feature = start + int(np.flatnonzero(broken)[0])
        raise WeightsError(f"the logit weights of feature {feature} overflow float32; scale the decoder down")


def _feature_columns(statistics: RowStatistics, norms: Float64[np.ndarray, "f"]) -> Columns:
    moments = statistics.moments
    cosines = statistics.cos_moments.copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines[:, :2] /= norms[:, None]
        bimodality = (moments[:, 2] ** 2 + 1) / moments[:, 3]
    cosines[norms == 0] = np.nan
    values: dict[str, AnyArray] = {name: moments[:, k] for k, name in enumerate(MOMENT_COLUMNS)}
    values |= {"min": statistics.extremes[:, 0], "max": statistics.extremes[:, 1]}
    values |= {name: statistics.quantiles[:, k] for k, name in enumerate(QUANTILE_COLUMNS)}
    values["bimodality"] = bimodality
    values |= {f"cos_{name}": cosines[:, k] for k, name in enumerate(MOMENT_COLUMNS)}
    columns: Columns = {name: column.astype(np.float32) for name, column in values.items()}
    columns["histogram"] = statistics.histogram
    columns["dec_norm"] = norms.astype(np.float32)
    return columns
