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
from scipy import sparse

from .beta_tail import log10_p_of_cosine
from .inputs import TokenIds

MIN_ROWS_PER_DIMENSION = 2
"""Fewer decoder rows than this times d can't give a covariance."""

_RELATIVE_RANK_TOLERANCE = 1e-10
_RELATIVE_VARIANCE_TOLERANCE = 1e-12
_NUISANCE_SHARE = 0.01
ROWS_AT_ONCE = 1024
"""Decoder rows in one product: always as many, so that the numbers do not depend on the blocks of a ranking."""

_TOKENS_AT_ONCE = 8192


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
    members = np.concatenate([np.empty(0, np.int64), *sets])
    bounds = np.concatenate([[0], np.cumsum([len(ids) for ids in sets], dtype=np.int64)])
    # Sparse: on average a token is in a dozen of the sets.
    held = sparse.csr_array((np.ones(len(members)), members, bounds), shape=(len(sets), n_tokens)).tocsc()
    sums, total = np.zeros((len(sets), d_model)), np.zeros(d_model)
    for start in range(0, n_tokens, _TOKENS_AT_ONCE):
        columns = W_U[:, start : start + _TOKENS_AT_ONCE].double().T.cpu().numpy()
        sums += held[:, start : start + len(columns)] @ columns
        total += columns.sum(0)
    sizes = np.diff(bounds)[:, None]
    return torch.from_numpy(sums / sizes - (total - sums) / (n_tokens - sizes)).to(W_U.device)


def decoder_covariance(W_dec: Float32[torch.Tensor, "f d"], kind: str = "decoder") -> Covariance:
    """Return Sigma = W' W / F over the unit-normalised rows, or I / d where `kind` or too few rows ask for it.

    Rows of zeros take no part. Sigma may be singular (all features in a subspace): then its pseudo-inverse and rank
    describe directions in that subspace.
    """
    d_model = W_dec.shape[1]
    gram = torch.zeros(d_model, d_model, dtype=torch.float64, device=W_dec.device)
    n_live = 0
    for start in range(0, W_dec.shape[0], ROWS_AT_ONCE):
        unit, live = unit_rows(W_dec[start : start + ROWS_AT_ONCE])
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


@dataclass(frozen=True)
class DirectionTest:
    """The test of the mean difference of some sets under random directions, ready for any rows.

    `scale` [s] is the standard deviation of each contrast over the random directions, NaN where they have none of it.
    """

    contrasts: Float64[torch.Tensor, "s d"]
    scale: Float64[torch.Tensor, "s"]
    covariance: Covariance

    @classmethod
    def of(cls, contrasts: Float64[torch.Tensor, "s d"], covariance: Covariance) -> DirectionTest:
        """Prepare the test of these contrasts."""
        variance = ((contrasts @ covariance.sigma) * contrasts).sum(1)
        # A NaN contrast (no adjusted part) is none as well.
        floor = _RELATIVE_VARIANCE_TOLERANCE * covariance.sigma.diagonal().sum() * contrasts.square().sum(1)
        none = ~(variance > floor)
        return cls(contrasts, torch.where(none, torch.full_like(variance, torch.nan), variance.sqrt()), covariance)

    def scores(
        self, W_dec: Float32[torch.Tensor, "f d"]
    ) -> tuple[Float64[np.ndarray, "s f"], Float64[np.ndarray, "s f"], Float64[np.ndarray, "s f"]]:
        """Return z, log10_p and mean_diff of every set in these rows; see `direction_scores`."""
        unit, live = unit_rows(W_dec)
        whitened_norm = ((unit @ self.covariance.precision) * unit).sum(1).sqrt()
        z = self.contrasts @ unit.T / self.scale[:, None]
        z[:, ~live] = torch.nan
        log10_p = log10_p_of_cosine((z / whitened_norm).cpu().numpy(), self.covariance.rank)
        return z.cpu().numpy(), log10_p, (self.contrasts @ W_dec.double().T).cpu().numpy()


def direction_scores(
    W_dec: Float32[torch.Tensor, "f d"], contrasts: Float64[torch.Tensor, "s d"], covariance: Covariance
) -> tuple[Float64[np.ndarray, "s f"], Float64[np.ndarray, "s f"], Float64[np.ndarray, "s f"]]:
    """Return z, log10_p and mean_diff of every set and feature.

    z and log10_p are NaN for a decoder row of zeros and for a set whose contrast no random direction has any of.
    mean_diff is in logits: the raw decoder row times the contrast.
    """
    test = DirectionTest.of(contrasts, covariance)
    parts = [test.scores(W_dec[start : start + ROWS_AT_ONCE]) for start in range(0, W_dec.shape[0], ROWS_AT_ONCE)]
    if not parts:
        empty = np.empty((contrasts.shape[0], 0))
        return empty, empty, empty
    z, log10_p, mean_diff = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
    return z, log10_p, mean_diff


def null_correlation(contrasts: Float64[torch.Tensor, "s d"], covariance: Covariance) -> Float64[np.ndarray, "s s"]:
    """Return how the z of two sets go together over random directions: delta_A' Sigma delta_B, normalised.

    1 for two sets that say the same; NaN beside a set whose contrast no random direction has any of. The z of B given
    A follows from it: (z_B - r z_A) / sqrt(1 - r^2).
    """
    test = DirectionTest.of(contrasts, covariance)
    scaled = contrasts / test.scale[:, None]
    correlation = (scaled @ covariance.sigma @ scaled.T).cpu().numpy()
    return np.asarray(np.clip((correlation + correlation.T) / 2, -1.0, 1.0))


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
    for start in range(0, n_tokens, _TOKENS_AT_ONCE):
        columns = W_U[:, start : start + _TOKENS_AT_ONCE].double()
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
    for start in range(0, W_U.shape[1], _TOKENS_AT_ONCE):
        cross += centred[:, start : start + _TOKENS_AT_ONCE] @ W_U[:, start : start + _TOKENS_AT_ONCE].double().T
    inverse: torch.Tensor = torch.linalg.pinv(centred @ centred.T, hermitian=True)
    return inverse @ cross
