"""Ranking on the CPU: every row sorted once, every set scored in it, rows in parallel over the cores.

The method: radix-sort the bits of a row; scatter the ranks of a set's members into a V-bit set; walk its words.
`ranking_torch.py` says the same in plain torch, and the tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Float64
from numba import get_num_threads, njit, prange, set_num_threads

from .ranking import (
    NEAR_TOKENS,
    QUANTILES,
    PackedSets,
    RowStatistics,
    SetScores,
    empty_scores,
    empty_statistics,
)
from .row_kernels import DIGIT_VALUES, descending_keys, histogram, moments, quantile, radix_argsort, tie_groups
from .set_kernels import count_hits, score_set, score_set_weighted, write_score

_QUANTILES = np.array(QUANTILES)


@njit
@no_type_check
def _write_statistics(values, order, scale, ones, row, statistics):
    out, cosines, quantiles, levels, extremes, counts, top, bottom = statistics
    moments(values, ones, out[row])
    moments(values, scale, cosines[row])
    last = len(values) - 1
    for q in range(len(levels)):
        quantiles[row, q] = quantile(values, order, levels[q])
    extremes[row, 0] = values[order[last]]
    extremes[row, 1] = values[order[0]]
    histogram(values, order, counts[row])
    for p in range(top.shape[1]):
        top[row, p] = order[p]
        bottom[row, p] = order[last - p]


@njit
@no_type_check
def _write_scores(values, order, sorted_keys, scratch, sets, power, row, scores):
    ranks, first, last, words, tied_words, raw, raw_weighted = scratch
    members, offsets, flipped = sets
    results, peaks, leads = scores
    n_tokens = len(values)
    for p in range(n_tokens):
        ranks[order[p]] = p
    tie_groups(sorted_keys, first, last, tied_words)
    for k in range(len(flipped)):
        part = members[offsets[k] : offsets[k + 1]]
        n = len(part)
        if power == 0.0:
            score_set(part, ranks, words, tied_words, first, last, n_tokens, raw)
            unit = np.float64(n) * np.float64(n_tokens - n)
            write_score(raw, unit, n, flipped[k] != 0, n_tokens, results, peaks, leads, k, row)
        else:
            score_set_weighted(
                part, ranks, words, tied_words, first, last, order, values, power, n_tokens, raw_weighted
            )
            write_score(raw_weighted, 1.0, n, False, n_tokens, results, peaks, leads, k, row)


@no_type_check
def _compiled(sources):
    """Return the kernel over a block. `sources` is in its closure, and so in the key under which numba caches it.

    Without that, numba would not notice a change in the kernels it calls from other files.
    """

    @njit(cache=True, parallel=True)
    def rank_block(logits, scale, sets, holders, power, n_threads, wants_statistics, statistics, scores, hits):
        assert len(sources) > 0
        n_rows, n_tokens = logits.shape
        ones = np.ones(n_tokens, np.float64)
        near = min(NEAR_TOKENS, n_tokens)
        for thread in prange(n_threads):
            keys = np.empty(n_tokens, np.uint32)
            sorted_keys = np.empty(n_tokens, np.uint32)
            spare = np.empty(n_tokens, np.int32)
            order = np.empty(n_tokens, np.int32)
            counts = np.empty((3, DIGIT_VALUES), np.int32)
            ranks = np.empty(n_tokens, np.int32)
            first = np.empty(n_tokens, np.int32)
            last = np.empty(n_tokens, np.int32)
            words = np.zeros((n_tokens + 63) >> 6, np.uint64)
            tied_words = np.empty(len(words), np.uint8)
            scratch = (ranks, first, last, words, tied_words, np.empty(7, np.int64), np.empty(7, np.float64))
            for row in range(thread, n_rows, n_threads):
                values = logits[row]
                descending_keys(values, keys)
                radix_argsort(keys, spare, sorted_keys, order, counts)
                if wants_statistics:
                    _write_statistics(values, order, scale, ones, row, statistics)
                if len(sets[2]) > 0:
                    _write_scores(values, order, sorted_keys, scratch, sets, power, row, scores)
                if wants_statistics and len(sets[2]) > 0:
                    count_hits(order, first, last, holders, near, row, hits)

    return rank_block


_KERNEL_FILES = [Path(__file__).parent / name for name in ("row_kernels.py", "set_kernels.py")]
_rank_block = _compiled(sha256(b"".join(file.read_bytes() for file in _KERNEL_FILES)).hexdigest())


@contextmanager
def _threads(wanted: int | None) -> Iterator[int]:
    available = get_num_threads()
    chosen = min(wanted or available, available)
    set_num_threads(chosen)
    try:
        yield chosen
    finally:
        set_num_threads(available)


def rank_rows(
    logits: Float32[np.ndarray, "n v"],
    token_scale: Float64[np.ndarray, "v"],
    sets: PackedSets,
    *,
    weight: float = 0.0,
    threads: int | None = None,
    wants_statistics: bool = True,
) -> tuple[RowStatistics, SetScores]:
    """Compute the statistics of every row and the scores of every set in every row.

    Args:
        logits: Finite logit weights, one feature a row.
        token_scale: `1 / |u_t|`, which turns logits into cosines up to the decoder norm.
        sets: Packed sets of positions in the `v` tokens, none of them flipped for a weighted score.
        weight: Exponent of |logit| by which hits are weighted; 0 is the unweighted score, 1 GSEA's. A set whose
            members all weigh nothing has es NaN.
        threads: CPU threads; all by default. The results do not depend on it.
        wants_statistics: False leaves the statistics and the hits out: what they hold is then undefined.
    """
    n_rows, n_tokens = logits.shape
    statistics = empty_statistics(n_rows, n_tokens)
    scores = empty_scores(sets.n_sets, n_rows)
    results = np.empty((3, sets.n_sets, n_rows))
    with _threads(threads) as n_threads:
        _rank_block(
            np.ascontiguousarray(logits),
            token_scale,
            (sets.members, sets.offsets, sets.flipped),
            (sets.holder_offsets, sets.holders),
            weight,
            n_threads,
            wants_statistics,
            (*statistics[:3], _QUANTILES, *statistics[3:]),
            (results, scores.peak_rank, scores.lead_n),
            (scores.top_hits, scores.bottom_hits, scores.near_tokens),
        )
    return statistics, scores._replace(es=results[0], es_opposed=results[1], auroc=results[2])
