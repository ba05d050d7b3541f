"""What the calibration scores with: a decoder, an unembedding and token sets, and the functions of an ingest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from featdex.ingest.directions import (
    Covariance,
    adjusted_contrasts,
    decoder_covariance,
    nuisance_directions,
    set_contrasts,
    variance_inflation,
)
from featdex.ingest.hypergeometric import log10_p_hits
from featdex.ingest.inputs import TokenIds
from featdex.ingest.product import logit_blocks, tile_size
from featdex.ingest.ranking import PackedSets, pack_sets
from featdex.ingest.ranking_cpu import rank_rows
from featdex.ingest.smirnov import log10_p_ks
from jaxtyping import Float32, Float64, Int16

FRESH_SEED = 20_240_311
"""Seed of the directions that are scored; an ingest's null has seed 0."""


@dataclass(frozen=True)
class Material:
    """A decoder, an unembedding and token sets, with what their closed forms need."""

    name: str
    W_dec: Float32[torch.Tensor, "f d"]
    W_U: Float32[torch.Tensor, "d v"]
    names: list[str]
    positions: list[TokenIds]
    packed: PackedSets
    covariance: Covariance
    contrasts: Float64[torch.Tensor, "s d"]
    nuisance: Float64[torch.Tensor, "k d"]

    @property
    def sizes(self) -> list[int]:
        """Tokens in each set."""
        return [len(ids) for ids in self.positions]

    def vif(self) -> Float64[np.ndarray, "s"]:
        """Return the variance inflation of each set."""
        return variance_inflation(self.W_U, self.contrasts, self.packed.sizes, self.covariance)

    def adjusted(self, covariance: Covariance | None = None) -> Float64[torch.Tensor, "s d"]:
        """Return the contrasts less their nuisance part."""
        return adjusted_contrasts(self.contrasts, self.nuisance, covariance or self.covariance)

    def nuisance_share(self) -> Float64[np.ndarray, "s"]:
        """Return how much of each contrast's variance the nuisance directions explain."""
        through = self.nuisance @ self.covariance.sigma
        shared = through @ self.contrasts.T
        explained = (shared * (torch.linalg.pinv(through @ self.nuisance.T, hermitian=True) @ shared)).sum(0)
        return np.asarray((explained / ((self.contrasts @ self.covariance.sigma) * self.contrasts).sum(1)).numpy())


def prepare(
    name: str,
    W_dec: Float32[torch.Tensor, "f d"],
    W_U: Float32[torch.Tensor, "d v"],
    sets: Mapping[str, TokenIds],
    covariates: Float64[np.ndarray, "k v"],
) -> Material:
    """Compute what depends on the decoder and the sets only."""
    positions = [ids.astype(np.int32) for ids in sets.values()]
    return Material(
        name=name,
        W_dec=W_dec,
        W_U=W_U,
        names=list(sets),
        positions=positions,
        packed=pack_sets(positions, W_U.shape[1]),
        covariance=decoder_covariance(W_dec),
        contrasts=set_contrasts(W_U, positions),
        nuisance=nuisance_directions(W_U, covariates),
    )


class Ranked(NamedTuple):
    """Scores of sets in rows, and how many tokens were counted at the top of each row."""

    es: Float64[np.ndarray, "s r"]
    top_hits: Int16[np.ndarray, "s r"]
    near: Int16[np.ndarray, "r"]


def rank(
    rows: Float32[torch.Tensor, "r d"], W_U: Float32[torch.Tensor, "d v"], packed: PackedSets, wants_hits: bool = True
) -> Ranked:
    """Rank the vocabulary by every row and score every set in it, as an ingest does.

    `wants_hits` False leaves the hits at zero, which is faster.
    """
    n_rows = len(rows)
    ranked = Ranked(
        np.empty((packed.n_sets, n_rows)),
        np.zeros((packed.n_sets, n_rows), np.int16),
        np.zeros(n_rows, np.int16),
    )
    ones = np.ones(W_U.shape[1])  # turns logits into cosines, which nobody reads here
    for start, logits in logit_blocks(rows, W_U, 4 * tile_size(n_rows)):
        _, scores = rank_rows(logits.numpy(), ones, packed, wants_statistics=wants_hits)
        block = slice(start, start + len(logits))
        ranked.es[:, block] = scores.es
        ranked.top_hits[:, block] = scores.top_hits
        ranked.near[block] = scores.near_tokens[:, 0]
    return ranked


def ranking_p(
    ranked: Ranked, sizes: list[int], n_tokens: int
) -> tuple[Float64[np.ndarray, "s r"], Float64[np.ndarray, "s r"]]:
    """Return log10_p_ks and log10_p_top, both against random tokens."""
    p_ks, p_top = np.empty_like(ranked.es), np.empty_like(ranked.es)
    for k, n in enumerate(sizes):
        p_ks[k] = log10_p_ks(ranked.es[k], n, n_tokens)
        p_top[k] = log10_p_hits(ranked.top_hits[k], ranked.near, n, n_tokens)
    return p_ks, p_top
