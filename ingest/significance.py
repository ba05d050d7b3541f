"""From scores to evidence: every z, p, q and normalised score of one dictionary, each against its own null.

The nulls are made first, from the decoder and the sets alone; then every block of features gets its columns by itself.
Only the q-values need a whole dictionary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64

from .device import Options
from .directions import (
    ROWS_AT_ONCE,
    Covariance,
    DirectionTest,
    adjusted_contrasts,
    decoder_covariance,
    nuisance_directions,
    null_correlation,
    set_contrasts,
    variance_inflation,
)
from .hypergeometric import log10_p_hits
from .inputs import AnyArray, TokenIds
from .multiplicity import log10_benjamini_hochberg, write_log10_q_of_all
from .random_directions import (
    NULL_QUANTILES,
    NullSummary,
    draw_directions,
    log10_p_es,
    normalised_scores,
    summarise_null,
)
from .ranking import SetScores
from .scratch import Columns, Scratch, SetColumns
from .smirnov import log10_p_ks

ScoreNull = Callable[[torch.Tensor], AnyArray]

_QUANTILE_COLUMNS = tuple(f"es_null_q{round(100 * level):02d}" for level in NULL_QUANTILES)


class Universe(NamedTuple):
    """The tokens that take part: their unembedding, the sets as positions among them, sizes, and covariates."""

    W_U: Float32[torch.Tensor, "d v"]
    positions: list[TokenIds]
    sizes: Int64[np.ndarray, "s"]
    covariates: Float64[np.ndarray, "nuisances v"] | None

    def of_sets(self, first: int) -> Universe:
        """Return the same tokens with the sets from `first` on."""
        return self._replace(positions=self.positions[first:], sizes=self.sizes[first:])


class Nulls(NamedTuple):
    """What a dictionary's sets are tested against, before any feature is ranked.

    Attributes:
        covariance: That of the random directions.
        contrasts: delta_s of every set.
        adjusted: Their parts orthogonal to the nuisance directions; None without covariates.
        nuisance: The nuisance directions, [k, d]; no rows without covariates.
        scores: Summary of the scores of the random directions; None without any.
        columns: Columns of `set_null`, each [s].
        correlation: Null correlation of the sets' z, [s, s].
    """

    covariance: Covariance
    contrasts: Float64[torch.Tensor, "s d"]
    adjusted: Float64[torch.Tensor, "s d"] | None
    nuisance: Float64[np.ndarray, "nuisances d"]
    scores: NullSummary | None
    columns: Columns
    correlation: Float64[np.ndarray, "s s"]

    def to(self, device: torch.device) -> Nulls:
        """Return the same with its tensors on a device."""
        held = self.covariance
        return self._replace(
            covariance=Covariance(
                held.sigma.to(device), held.precision.to(device), held.root.to(device), held.rank, held.kind
            ),
            contrasts=self.contrasts.to(device),
            adjusted=None if self.adjusted is None else self.adjusted.to(device),
        )


def make_nulls(
    W_dec: Float32[torch.Tensor, "f d"], universe: Universe, options: Options, score_null: ScoreNull, n_kept: int = 0
) -> Nulls:
    """Return the nulls of the sets from `n_kept` on; their correlation is that of all.

    Args:
        W_dec: Decoder rows.
        universe: The tokens and all sets.
        options: Null, number of random directions and seed.
        score_null: Gives the scores [s, r] of random directions [r, d] for the sets from `n_kept` on.
        n_kept: Sets whose numbers are known already.
    """
    covariance = decoder_covariance(W_dec, options.null)
    every = set_contrasts(universe.W_U, universe.positions)
    contrasts, sizes = every[n_kept:], universe.sizes[n_kept:]
    columns: Columns = {"vif": variance_inflation(universe.W_U, contrasts, sizes, covariance)}
    nuisance, adjusted = torch.empty(0, W_dec.shape[1], dtype=torch.float64), None
    if universe.covariates is not None:
        nuisance = nuisance_directions(universe.W_U, universe.covariates)
        adjusted = adjusted_contrasts(contrasts, nuisance, covariance)
    summary = None
    if options.directions:
        summary = summarise_null(score_null(draw_directions(covariance, options.directions, options.seed)))
        columns |= {"es_null_mean_pos": summary.mean_positive, "es_null_mean_neg": summary.mean_negative}
        columns |= {name: summary.quantiles[:, k] for k, name in enumerate(_QUANTILE_COLUMNS)}
    correlation = null_correlation(every, covariance)
    return Nulls(covariance, contrasts, adjusted, nuisance.cpu().numpy(), summary, columns, correlation)


def write_direction_columns(
    W_dec: Float32[torch.Tensor, "f d"], nulls: Nulls, columns: SetColumns, first_set: int, span: range
) -> set[str]:
    """Write what follows from the mean difference in closed form, and return the names of these columns.

    Random directions are the null of its p-values.

    Args:
        W_dec: All decoder rows.
        nulls: Of the sets from `first_set` on.
        columns: Where the results go, the first feature of `span` at 0.
        first_set: The first set to write.
        span: Features to compute, from a multiple of `ROWS_AT_ONCE` on.
    """
    written: set[str] = set()
    test = DirectionTest.of(nulls.contrasts, nulls.covariance)
    adjusted = None if nulls.adjusted is None else DirectionTest.of(nulls.adjusted, nulls.covariance)
    for start in range(span.start, span.stop, ROWS_AT_ONCE):
        rows = W_dec[start : min(start + ROWS_AT_ONCE, span.stop)]
        z, log10_p, mean_diff = test.scores(rows)
        part: Columns = {"mean_diff": mean_diff, "z": z, "log10_p": log10_p}
        if adjusted is not None:
            part["z_adj"], part["log10_p_adj"], _ = adjusted.scores(rows)
        live = (rows != 0).any(1).cpu().numpy()
        columns.write(_stored(part, live), first_set, start - span.start)
        written |= part.keys()
    return written


def ranking_columns(
    scores: SetScores, live: Bool[np.ndarray, "n"], universe: Universe, nulls: Nulls, options: Options
) -> Columns:
    """Return what follows from the ranks of a block of features.

    Random tokens are the null of `log10_p_ks` and `log10_p_top`, random directions that of `nes` and `log10_p_es`.

    Args:
        scores: What ranking gave for every set and feature of the block.
        live: False for a decoder row of zeros: it ranks nothing and gets NULLs.
        universe: The tokens, and the sets that were scored.
        nulls: Of the same sets.
        options: The weight of the score.
    """
    n_tokens = universe.W_U.shape[1]
    columns: Columns = {name: column for name, column in scores._asdict().items() if name != "near_tokens"}
    p_ks, p_top = np.full_like(scores.es, np.nan), np.empty_like(scores.es)
    for k, n in enumerate(universe.sizes.tolist()):
        if options.weight == 0.0:  # a weighted score is no Kolmogorov-Smirnov statistic
            p_ks[k] = log10_p_ks(scores.es[k], n, n_tokens)
        p_top[k] = log10_p_hits(scores.top_hits[k], scores.near_tokens[:, 0], n, n_tokens)
    columns |= {"log10_p_ks": p_ks, "log10_p_top": p_top}
    if nulls.scores is not None:
        columns["nes"] = normalised_scores(scores.es, nulls.scores)
        columns["log10_p_es"] = log10_p_es(scores.es, nulls.scores)
    return _stored(columns, live)


def write_q_columns(columns: SetColumns, scratch: Scratch) -> None:
    """Add q-values: of each set over its features, and of every pair, both of the p-values as they are stored."""
    log10_p = columns.matrix("log10_p", np.dtype(np.float32))
    log10_q = columns.matrix("log10_q", np.dtype(np.float32))
    for k in range(columns.n_sets):
        p = log10_p.piece(k, 0, columns.n_features).astype(np.float64)
        log10_q.write(k, 0, log10_benjamini_hochberg(p)[None])
    write_log10_q_of_all(log10_p, columns.matrix("log10_q_all", np.dtype(np.float32)), scratch)


def _stored(columns: Columns, live: Bool[np.ndarray, "f"]) -> Columns:
    """Return the columns as they are stored: float32, and NULL (NaN, -1) for rows that rank nothing."""
    stored: Columns = {}
    for name, values in columns.items():
        is_float = values.dtype.kind == "f"
        stored[name] = values.astype(np.float32) if is_float else values.copy()
        stored[name][:, ~live] = np.nan if is_float else -1
    return stored
