"""From scores to evidence: every z, p, q and normalised score of one dictionary, each against its own null."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64

from .device import Options
from .directions import (
    Covariance,
    adjusted_contrasts,
    decoder_covariance,
    direction_scores,
    nuisance_directions,
    set_contrasts,
    variance_inflation,
)
from .hypergeometric import log10_p_hits
from .inputs import AnyArray, TokenIds
from .multiplicity import log10_benjamini_hochberg
from .random_directions import NULL_QUANTILES, draw_directions, log10_p_es, normalised_scores, summarise_null
from .ranking import SetScores
from .smirnov import log10_p_ks

Columns = dict[str, AnyArray]
ScoreNull = Callable[[torch.Tensor], AnyArray]

_QUANTILE_COLUMNS = tuple(f"es_null_q{round(100 * level):02d}" for level in NULL_QUANTILES)


class Universe(NamedTuple):
    """The tokens that take part: their unembedding, the sets as positions among them, sizes, and covariates."""

    W_U: Float32[torch.Tensor, "d v"]
    positions: list[TokenIds]
    sizes: Int64[np.ndarray, "s"]
    covariates: Float64[np.ndarray, "nuisances v"] | None


class Evidence(NamedTuple):
    """Columns of `enrichment` [s, f] and of `set_null` [s], the kind of covariance, and the nuisance directions."""

    enrichment: Columns
    null: Columns
    sigma_kind: str
    nuisance: Float64[np.ndarray, "nuisances d"]


def enrichment_columns(
    W_dec: Float32[torch.Tensor, "f d"],
    universe: Universe,
    scores: SetScores,
    live: Bool[np.ndarray, "f"],
    options: Options,
    score_null: ScoreNull,
) -> Evidence:
    """Add z, p, q and normalised scores to the scores of a ranking.

    Args:
        W_dec: Decoder rows.
        universe: The tokens and sets.
        scores: What ranking gave for every set and feature.
        live: False for a decoder row of zeros: it ranks nothing and gets NULLs.
        options: Null, number of random directions, seed and weight.
        score_null: Gives the scores [s, r] of random directions [r, d].
    """
    covariance = decoder_covariance(W_dec, options.null)
    contrasts = set_contrasts(universe.W_U, universe.positions)
    columns = _ranking_columns(scores, universe, options)
    columns |= _direction_columns(W_dec, contrasts, covariance)
    null: Columns = {"vif": variance_inflation(universe.W_U, contrasts, universe.sizes, covariance)}
    nuisance = torch.empty(0, W_dec.shape[1], dtype=torch.float64)
    if universe.covariates is not None:
        nuisance = nuisance_directions(universe.W_U, universe.covariates)
        adjusted = adjusted_contrasts(contrasts, nuisance, covariance)
        columns["z_adj"], columns["log10_p_adj"], _ = direction_scores(W_dec, adjusted, covariance)
    if options.directions:
        more, of_null = _null_columns(scores.es, covariance, options, score_null)
        columns |= more
        null |= of_null
    return Evidence(_stored(columns, live), null, covariance.kind, nuisance.cpu().numpy())


def _ranking_columns(scores: SetScores, universe: Universe, options: Options) -> Columns:
    """Return what follows from ranks alone; random tokens are the null of its p-values."""
    n_tokens = universe.W_U.shape[1]
    columns: Columns = {name: column for name, column in scores._asdict().items() if name != "near_tokens"}
    p_ks, p_top = np.full_like(scores.es, np.nan), np.empty_like(scores.es)
    for k, n in enumerate(universe.sizes.tolist()):
        if options.weight == 0.0:  # a weighted score is no Kolmogorov-Smirnov statistic
            p_ks[k] = log10_p_ks(scores.es[k], n, n_tokens)
        p_top[k] = log10_p_hits(scores.top_hits[k], scores.near_tokens[:, 0], n, n_tokens)
    return columns | {"log10_p_ks": p_ks, "log10_p_top": p_top}


def _direction_columns(
    W_dec: Float32[torch.Tensor, "f d"], contrasts: Float64[torch.Tensor, "s d"], covariance: Covariance
) -> Columns:
    """Return what follows from the mean difference in closed form; random directions are the null."""
    z, log10_p, mean_diff = direction_scores(W_dec, contrasts, covariance)
    log10_q = np.array([log10_benjamini_hochberg(row) for row in log10_p]).reshape(log10_p.shape)
    log10_q_all = log10_benjamini_hochberg(log10_p.ravel()).reshape(log10_p.shape)
    return {"mean_diff": mean_diff, "z": z, "log10_p": log10_p, "log10_q": log10_q, "log10_q_all": log10_q_all}


def _null_columns(
    es: Float64[np.ndarray, "s f"], covariance: Covariance, options: Options, score_null: ScoreNull
) -> tuple[Columns, Columns]:
    """Return what follows from scoring random directions as features are: columns of `enrichment` and `set_null`."""
    es_null = score_null(draw_directions(covariance, options.directions, options.seed))
    summary = summarise_null(es_null)
    of_null: Columns = {"es_null_mean_pos": summary.mean_positive, "es_null_mean_neg": summary.mean_negative}
    of_null |= {name: summary.quantiles[:, k] for k, name in enumerate(_QUANTILE_COLUMNS)}
    return {"nes": normalised_scores(es, summary), "log10_p_es": log10_p_es(es, es_null)}, of_null


def _stored(columns: Columns, live: Bool[np.ndarray, "f"]) -> Columns:
    """Return the columns as they are stored: float32, and NULL (NaN, -1) for rows that rank nothing."""
    stored: Columns = {}
    for name, values in columns.items():
        is_float = values.dtype.kind == "f"
        stored[name] = values.astype(np.float32) if is_float else values.copy()
        stored[name][:, ~live] = np.nan if is_float else -1
    return stored
