"""All numbers of one dictionary of features: statistics, enrichment and significance, as columns of arrays.

Knows neither Arrow nor DuckDB. Block by block for what needs the ranking of the vocabulary; in one closed form for
what does not. Results go to a `Scratch` as they come, so that memory is the same for any number of features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int32

from ..catalogue.errors import WeightsError
from .checks import require_finite_rows
from .device import Options, block_limits, resolve_device
from .inputs import AnyArray, TokenIds
from .product import block_size, logit_blocks
from .ranking import QUANTILES, PackedSets, RowStatistics, SetScores, pack_sets
from .ranking_cpu import rank_rows
from .ranking_cuda import rank_rows_cuda
from .scratch import Columns, FeatureColumns, Scratch, SetColumns
from .significance import Universe, make_nulls, ranking_columns, write_direction_columns, write_q_columns

QUANTILE_COLUMNS = tuple(f"q{round(100 * level):02d}" for level in QUANTILES)
MOMENT_COLUMNS = ("mean", "std", "skewness", "kurtosis")

Progress = Callable[[int], None]


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
    device = resolve_device(options.device)
    ids = np.arange(W_U.shape[1]) if universe is None else np.flatnonzero(universe)
    tokens = W_U if len(ids) == W_U.shape[1] else W_U[:, torch.from_numpy(ids)].contiguous()
    positions = [np.searchsorted(ids, members[np.isin(members, ids)]).astype(np.int32) for members in sets]
    tokens, decoder = tokens.to(device), W_dec.to(device)
    n_kept = 0 if kept is None else kept.n_kept
    packed = pack_sets(positions[n_kept:], len(ids), complement=options.weight == 0.0)
    sizes = np.array([len(part) for part in positions], dtype=np.int64)
    every = Universe(tokens, positions, sizes, None if covariates is None else covariates[:, ids])

    def score_null(directions: Float32[torch.Tensor, "r d"]) -> Float64[np.ndarray, "s r"]:
        return _null_scores(directions.to(device), tokens, packed, options)

    # Said before anything is computed: an infinite row would spoil the covariance of all.
    require_finite_rows(W_dec, "W_dec", "feature")
    nulls = make_nulls(decoder, every, options, score_null, n_kept)
    enrichment = SetColumns(scratch, len(sets), W_dec.shape[0]) if kept is None else kept
    known = set(enrichment.matrices)
    computed = write_direction_columns(decoder, nulls, enrichment, n_kept)
    scored = every.of_sets(n_kept)
    feature, top = FeatureColumns(scratch, W_dec.shape[0]), FeatureColumns(scratch, W_dec.shape[0])
    for block in _ranked_blocks(decoder, tokens, packed, options, wants_statistics=True):
        _require_finite(block.statistics, block.rows.start)
        norms = decoder[block.rows].double().norm(dim=1).cpu().numpy()
        feature.write(_feature_columns(block.statistics, norms), block.rows.start)
        top.write(_token_columns(block, ids), block.rows.start)
        columns = ranking_columns(block.scores, norms > 0, scored, nulls, options)
        enrichment.write(columns, n_kept, block.rows.start)
        computed |= columns.keys()
        if progress:
            progress(block.rows.stop)
    enrichment.write_null(known - computed, n_kept)
    write_q_columns(enrichment, scratch)
    return StoredNumbers(
        feature, top, enrichment, nulls.columns, nulls.covariance.kind, nulls.nuisance, nulls.correlation
    )


class _Block(NamedTuple):
    """What ranking the vocabulary by a block of rows gave; the logits are reused by the next block."""

    rows: slice
    logits: Float32[torch.Tensor, "b v"]
    statistics: RowStatistics
    scores: SetScores


def _ranked_blocks(
    rows: Float32[torch.Tensor, "f d"],
    W_U: Float32[torch.Tensor, "d v"],
    packed: PackedSets,
    options: Options,
    wants_statistics: bool,
) -> Iterator[_Block]:
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
        yield _Block(slice(start, start + len(logits)), logits, statistics, scores)


def _null_scores(
    directions: Float32[torch.Tensor, "r d"],
    W_U: Float32[torch.Tensor, "d v"],
    packed: PackedSets,
    options: Options,
) -> Float64[np.ndarray, "s r"]:
    es = np.empty((packed.n_sets, len(directions)))
    for block in _ranked_blocks(directions, W_U, packed, options, wants_statistics=False):
        es[:, block.rows] = block.scores.es
    return es


def _token_columns(block: _Block, ids: TokenIds) -> Columns:
    columns: Columns = {}
    for name, positions in (("top", block.statistics.top), ("bottom", block.statistics.bottom)):
        chosen = torch.from_numpy(positions).long().to(block.logits.device)
        columns[f"{name}_tokens"] = ids[positions].astype(np.int32)
        columns[f"{name}_weights"] = block.logits.gather(1, chosen).cpu().numpy()
    return columns


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
