"""Significance of a mean difference under random directions: closed form, no sort, no permutation.

Tokens are not exchangeable: on a real unembedding a random direction passes a random-token test for "leading space"
99.9 % of the time. So the null is a random direction with the decoder's covariance Sigma. The statistic of feature f
and set s is z = w . delta / sqrt(delta' Sigma delta), for the unit decoder row w; with w~ = Sigma^-1/2 w the ratio
z / |w~| is the cosine of w~ and a fixed vector, whose square is Beta(1/2, (d - 1)/2) for every elliptical direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64

from .beta_tail import log10_p_of_cosine
from .inputs import TokenIds

MIN_ROWS_PER_DIMENSION = 2
"""Fewer decoder rows than this times d can't give a covariance."""

_RELATIVE_RANK_TOLERANCE = 1e-10
_RELATIVE_VARIANCE_TOLERANCE = 1e-12
_NUISANCE_SHARE = 0.01
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Covariance:
    """Covariance `sigma` of random directions, its pseudo-inverse, its symmetric root, and its rank.

    `kind` is `"decoder"` or `"isotropic"` (I / d).
    """

    sigma: Float64[torch.Tensor, "d d"]
    precision: Float64[torch.Tensor, "d d"]
    root: Float64[torch.Tensor, "d d"]
    rank: int
    kind: str


def set_contrasts(W_U: Float32[torch.Tensor, "d v"], sets: list[TokenIds]) -> Float64[torch.Tensor, "s d"]:
    """Return delta_s: the mean unembedding column of each set's members minus that of all other tokens.

    Args:
        W_U: Unembedding over the universe of tokens.
        sets: Sorted positions of the members, neither none nor all.
    """
    d_model, n_tokens = W_U.shape
    sums = torch.zeros(len(sets), d_model, dtype=torch.float64, device=W_U.device)
    total = torch.zeros(d_model, dtype=torch.float64, device=W_U.device)
    membership = np.zeros((len(sets), n_tokens), dtype=bool)
    for row, ids in enumerate(sets):
        membership[row, ids] = True
    for start in range(0, n_tokens, _ROWS_AT_ONCE):
        columns = W_U[:, start : start + _ROWS_AT_ONCE].double()
        part = torch.from_numpy(membership[:, start : start + _ROWS_AT_ONCE]).to(W_U.device).double()
        sums += part @ columns.T
        total += columns.sum(1)
    sizes = torch.tensor([len(ids) for ids in sets], dtype=torch.float64, device=W_U.device)[:, None]
    return sums / sizes - (total - sums) / (n_tokens - sizes)


def decoder_covariance(W_dec: Float32[torch.Tensor, "f d"], kind: str = "decoder") -> Covariance:
    """Return Sigma = W' W / F over the unit-normalised rows, or I / d where `kind` or too few rows ask for it.

    Rows of zeros take no part. Sigma may be singular (all features in a subspace): then its pseudo-inverse and rank
    describe directions in that subspace.
    """
    d_model = W_dec.shape[1]
    gram = torch.zeros(d_model, d_model, dtype=torch.float64, device=W_dec.device)
    n_live = 0
    for start in range(0, W_dec.shape[0], _ROWS_AT_ONCE):
        unit, live = unit_rows(W_dec[start : start + _ROWS_AT_ONCE])
        gram += unit.T @ unit
        n_live += int(live.sum())
    if kind == "isotropic" or n_live < MIN_ROWS_PER_DIMENSION * d_model:
        identity = torch.eye(d_model, dtype=torch.float64, device=W_dec.device)
        return Covariance(identity / d_model, identity * d_model, identity / d_model**0.5, d_model, "isotropic")
    sigma = gram / n_live
    # On the CPU, so that the directions drawn with the root are the same on every device.
    values, vectors = torch.linalg.eigh(sigma.cpu())
    kept = values > _RELATIVE_RANK_TOLERANCE * values.max()
    inverse = torch.where(kept, 1 / values.clamp(min=torch.finfo(torch.float64).tiny), torch.zeros_like(values))
    precision = (vectors * inverse) @ vectors.T
    # The symmetric root does not depend on the signs and the order of the eigenvectors.
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    device = W_dec.device
    return Covariance(sigma, precision.to(device), root.to(device), int(kept.sum()), "decoder")


def unit_rows(
    W_dec: Float32[torch.Tensor, "f d"],
) -> tuple[Float64[torch.Tensor, "f d"], Bool[torch.Tensor, "f"]]:
    """Return the rows at unit length in float64, rows of zeros left at zero, and which rows are not zero."""
    rows = W_dec.double()
    norms = rows.norm(dim=1)
    live = norms > 0
    return rows / torch.where(live, norms, torch.ones_like(norms))[:, None], live


def direction_scores(
    W_dec: Float32[torch.Tensor, "f d"], contrasts: Float64[torch.Tensor, "s d"], covariance: Covariance
) -> tuple[Float64[np.ndarray, "s f"], Float64[np.ndarray, "s f"], Float64[np.ndarray, "s f"]]:
    """Return z, log10_p and mean_diff of every set and feature.

    z and log10_p are NaN for a decoder row of zeros and for a set whose contrast no random direction has any of.
    mean_diff is in logits: the raw decoder row times the contrast.
    """
    projected = contrasts @ covariance.sigma
    variance = (projected * contrasts).sum(1)
    # A NaN contrast (no adjusted part) is none as well.
    none = ~(variance > _RELATIVE_VARIANCE_TOLERANCE * covariance.sigma.diagonal().sum() * contrasts.square().sum(1))
    scale = torch.where(none, torch.full_like(variance, torch.nan), variance.sqrt())
    shape = (contrasts.shape[0], W_dec.shape[0])
    z, mean_diff, cosine = np.empty(shape), np.empty(shape), np.empty(shape)
    for start in range(0, W_dec.shape[0], _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        unit, live = unit_rows(W_dec[rows])
        whitened_norm = ((unit @ covariance.precision) * unit).sum(1).sqrt()
        scores = contrasts @ unit.T / scale[:, None]
        scores[:, ~live] = torch.nan
        z[:, rows] = scores.cpu().numpy()
        cosine[:, rows] = (scores / whitened_norm).cpu().numpy()
        mean_diff[:, rows] = (contrasts @ W_dec[rows].double().T).cpu().numpy()
    return z, log10_p_of_cosine(cosine, covariance.rank), mean_diff


def variance_inflation(
    W_U: Float32[torch.Tensor, "d v"],
    contrasts: Float64[torch.Tensor, "s d"],
    sizes: Int64[np.ndarray, "s"],
    covariance: Covariance,
) -> Float64[np.ndarray, "s"]:
    """Return delta' Sigma delta / (tr(Sigma C_U) (1/n + 1/m)) of each set: camera's variance inflation, exact.

    It says how much more the mean difference of this set varies over random directions than that of random tokens
    does; 1 for tokens that have nothing in common (Wu & Smyth 2012).
    """
    d_model, n_tokens = W_U.shape
    second = torch.zeros(d_model, d_model, dtype=torch.float64, device=W_U.device)
    total = torch.zeros(d_model, dtype=torch.float64, device=W_U.device)
    for start in range(0, n_tokens, _ROWS_AT_ONCE):
        columns = W_U[:, start : start + _ROWS_AT_ONCE].double()
        second += columns @ columns.T
        total += columns.sum(1)
    mean = total / n_tokens
    spread = ((second / n_tokens - torch.outer(mean, mean)) * covariance.sigma).sum()
    variance = ((contrasts @ covariance.sigma) * contrasts).sum(1).cpu().numpy()
    return np.asarray(variance / (float(spread) * (1 / sizes + 1 / (n_tokens - sizes))))


def adjusted_contrasts(
    contrasts: Float64[torch.Tensor, "s d"], nuisance: Float64[torch.Tensor, "k d"], covariance: Covariance
) -> Float64[torch.Tensor, "s d"]:
    """Return the part of each contrast that is Sigma-orthogonal to the nuisance directions.

    NaN where that part has under 1 % of the contrast's variance: such a set *is* a nuisance.
    """
    through = nuisance @ covariance.sigma
    # Least squares, so that nuisance directions that say the same twice do no harm.
    slopes = torch.linalg.pinv(through @ nuisance.T, hermitian=True) @ (through @ contrasts.T)
    rest = contrasts - slopes.T @ nuisance
    left = ((rest @ covariance.sigma) * rest).sum(1)
    whole = ((contrasts @ covariance.sigma) * contrasts).sum(1)
    return torch.where((left < _NUISANCE_SHARE * whole)[:, None], torch.full_like(rest, torch.nan), rest)


def nuisance_directions(
    W_U: Float32[torch.Tensor, "d v"], covariates: Float64[np.ndarray, "k v"]
) -> Float64[torch.Tensor, "k d"]:
    """Return the regression slopes of the unembedding columns on per-token covariates, one direction a covariate.

    Least squares with an intercept on all covariates together; they span the same space as slopes taken one by one.
    """
    centred = torch.from_numpy(covariates - covariates.mean(1, keepdims=True)).to(W_U.device)
    cross = torch.zeros(len(covariates), W_U.shape[0], dtype=torch.float64, device=W_U.device)
    for start in range(0, W_U.shape[1], _ROWS_AT_ONCE):
        cross += centred[:, start : start + _ROWS_AT_ONCE] @ W_U[:, start : start + _ROWS_AT_ONCE].double().T
    inverse: torch.Tensor = torch.linalg.pinv(centred @ centred.T, hermitian=True)
    return inverse @ cross
