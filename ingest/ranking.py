"""What ranking the vocabulary gives: the types shared by the CPU kernel, the torch path and the Triton kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int16, Int32, Int64

from .inputs import TokenIds

TOP_TOKENS = 20
"""Tokens kept from either end of a feature's ranking."""

NEAR_TOKENS = 100
"""Tokens at either end of a ranking among which members of a set are counted."""

HISTOGRAM_BINS = 50
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class RowStatistics(NamedTuple):
    """Statistics of the rows of a block; `n` rows over `V` tokens.

    `moments` has columns mean, std, skewness, kurtosis; a constant row has NaN in the last two. `cos_moments` are
    those of `logits * token_scale`: mean and std still want dividing by the decoder norm. `quantiles` follow QUANTILES.
    `extremes` are min, max. Top and bottom hold token positions, most promoted and most suppressed first.
    """

    moments: Float64[np.ndarray, "n 4"]
    cos_moments: Float64[np.ndarray, "n 4"]
    quantiles: Float64[np.ndarray, "n 7"]
    extremes: Float64[np.ndarray, "n 2"]
    histogram: Int32[np.ndarray, "n bins"]
    top: Int32[np.ndarray, "n k"]
    bottom: Int32[np.ndarray, "n k"]


class SetScores(NamedTuple):
    """Scores of every set in every row: arrays of shape [n_sets, n_rows], signed by design section 1.

    `es` in [-1, 1]; `es_opposed` in [0, 1]; `peak_rank`, `lead_n` the leading edge; `auroc` with midranks.
    `top_hits` and `bottom_hits` are members among the NEAR_TOKENS first and last ranks, where a tie group that is only
    partly among them does not count; `near_tokens` [n_rows, 2] says how many tokens did count.
    """

    es: Float64[np.ndarray, "s n"]
    es_opposed: Float64[np.ndarray, "s n"]
    peak_rank: Int32[np.ndarray, "s n"]
    lead_n: Int32[np.ndarray, "s n"]
    auroc: Float64[np.ndarray, "s n"]
    top_hits: Int16[np.ndarray, "s n"]
    bottom_hits: Int16[np.ndarray, "s n"]
    near_tokens: Int16[np.ndarray, "n 2"]


@dataclass(frozen=True, eq=False)
class PackedSets:
    """Token sets as one array of members: set `k` owns `members[offsets[k]:offsets[k + 1]]`.

    A set of more than half of the tokens may be held as its complement (`flipped[k]` is 1): es(S^c) = -es(S).
    `sizes` are those of the sets as given, and so are `holders`: token `t` is in the sets
    `holders[holder_offsets[t]:holder_offsets[t + 1]]`.
    """

    members: Int32[np.ndarray, "total"]
    offsets: Int64[np.ndarray, "bounds"]
    sizes: Int64[np.ndarray, "s"]
    flipped: Int32[np.ndarray, "s"]
    holders: Int32[np.ndarray, "memberships"]
    holder_offsets: Int64[np.ndarray, "token_bounds"]
    n_tokens: int

    @property
    def n_sets(self) -> int:
        """Number of sets."""
        return len(self.sizes)


def pack_sets(sets: list[TokenIds], n_tokens: int, *, complement: bool = True) -> PackedSets:
    """Pack sets of token positions below `n_tokens`; each must be sorted, unique and neither empty nor everything.

    Args:
        sets: Positions of the members of each set.
        n_tokens: Tokens of the universe.
        complement: Hold sets of over half of the tokens as their complement, which a weighted score does not allow.
    """
    parts, flipped = [], []
    for ids in sets:
        flip = complement and 2 * len(ids) > n_tokens
        parts.append(np.setdiff1d(np.arange(n_tokens), ids, assume_unique=True) if flip else ids)
        flipped.append(flip)
    sizes = np.array([len(ids) for ids in sets], dtype=np.int64)
    tokens = np.concatenate([*sets, np.empty(0, np.int64)]).astype(np.int64)
    owners = np.repeat(np.arange(len(sets), dtype=np.int32), sizes)
    return PackedSets(
        members=np.concatenate([*parts, np.empty(0, np.int32)]).astype(np.int32),
        offsets=_bounds(np.array([len(part) for part in parts], dtype=np.int64)),
        sizes=sizes,
        flipped=np.array(flipped, dtype=np.int32),
        holders=owners[np.argsort(tokens, kind="stable")],
        holder_offsets=_bounds(np.bincount(tokens, minlength=n_tokens)),
        n_tokens=n_tokens,
    )


def _bounds(lengths: Int64[np.ndarray, "parts"]) -> Int64[np.ndarray, "bounds"]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def empty_statistics(n_rows: int, n_tokens: int) -> RowStatistics:
    """Return uninitialised statistics of `n_rows` rows, to be filled."""
    kept = min(TOP_TOKENS, n_tokens)
    return RowStatistics(
        moments=np.empty((n_rows, 4)),
        cos_moments=np.empty((n_rows, 4)),
        quantiles=np.empty((n_rows, len(QUANTILES))),
        extremes=np.empty((n_rows, 2)),
        histogram=np.empty((n_rows, HISTOGRAM_BINS), np.int32),
        top=np.empty((n_rows, kept), np.int32),
        bottom=np.empty((n_rows, kept), np.int32),
    )


def empty_scores(n_sets: int, n_rows: int) -> SetScores:
    """Return scores to be filled: hits are zero, the rest uninitialised."""
    shape = (n_sets, n_rows)
    return SetScores(
        es=np.empty(shape),
        es_opposed=np.empty(shape),
        peak_rank=np.empty(shape, np.int32),
        lead_n=np.empty(shape, np.int32),
        auroc=np.empty(shape),
        top_hits=np.zeros(shape, np.int16),
        bottom_hits=np.zeros(shape, np.int16),
        near_tokens=np.zeros((n_rows, 2), np.int16),
    )
