"""The null of the enrichment score itself: the same random directions for all features of a dictionary.

The score has no closed form under random directions, so `R` of them are drawn from N(0, Sigma) and scored as features
are. Draws come from counter-based blocks on the CPU: the same on every device, block size and thread count.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64

from .directions import Covariance

NULL_QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)
_DRAWS_AT_ONCE = 256


def draw_directions(covariance: Covariance, n: int, seed: int) -> Float32[torch.Tensor, "n d"]:
    """Return `n` directions from N(0, Sigma), on the CPU; the first k of them do not depend on `n`."""
    d_model = covariance.sigma.shape[0]
    root = covariance.root.cpu().numpy()
    blocks = [
        np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, block])).standard_normal(
            (_DRAWS_AT_ONCE, d_model)
        )
        for block in range(-(-n // _DRAWS_AT_ONCE))
    ]
    draws = np.concatenate([*blocks, np.empty((0, d_model))])[:n] @ root
    return torch.from_numpy(draws.astype(np.float32))


class NullSummary(NamedTuple):
    """What is kept of each set's null scores: mean of the positive ones, mean |es| of the negative ones, quantiles.

    NaN where no direction has that sign. `magnitudes` are all |es|, ascending.
    """

    mean_positive: Float64[np.ndarray, "s"]
    mean_negative: Float64[np.ndarray, "s"]
    quantiles: Float64[np.ndarray, "s 5"]
    magnitudes: Float64[np.ndarray, "s r"]


def summarise_null(es_null: Float64[np.ndarray, "s r"]) -> NullSummary:
    """Summarise the null scores of each set."""
    positive, negative = np.maximum(es_null, 0.0), np.maximum(-es_null, 0.0)
    with np.errstate(invalid="ignore"):
        return NullSummary(
            mean_positive=positive.sum(1) / (positive > 0).sum(1),
            mean_negative=negative.sum(1) / (negative > 0).sum(1),
            quantiles=np.quantile(es_null, NULL_QUANTILES, axis=1).T,
            magnitudes=np.sort(np.abs(es_null), axis=1),
        )


def normalised_scores(es: Float64[np.ndarray, "s f"], null: NullSummary) -> Float64[np.ndarray, "s f"]:
    """Return nes = es / mean |es| of the null scores of the same sign; 0 for es 0, NaN where the null has no such."""
    scale = np.where(es > 0, null.mean_positive[:, None], null.mean_negative[:, None])
    return np.asarray(np.where(es == 0, 0.0, es / scale))


def log10_p_es(es: Float64[np.ndarray, "s f"], null: NullSummary) -> Float64[np.ndarray, "s f"]:
    """Return log10((b + 1) / (R + 1)), b of the R null scores being at least as large in magnitude.

    Never p = 0 (Phipson & Smyth 2010). NaN stays NaN.
    """
    n_null = null.magnitudes.shape[1]
    p = np.empty_like(es)
    for k in range(len(es)):
        p[k] = (n_null - np.searchsorted(null.magnitudes[k], np.abs(es[k]), side="left") + 1) / (n_null + 1)
    return np.where(np.isnan(es), np.nan, np.log10(p))
