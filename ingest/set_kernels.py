"""Compiled kernels that score one set of tokens in one ranking of the vocabulary.

Ranks of the members are scattered into a V-bit set, whose words are then walked in order: a pair costs O(n + V / 64).
The unweighted score adds up no floating-point number: D+ and D- are compared as integers.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


@intrinsic
@no_type_check
def _lowest_bit(typing_context, word):
    """Index of the lowest set bit of a non-zero uint64."""

    def codegen(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), codegen


@njit(cache=True)
@no_type_check
def score_set(members, ranks, words, tied_words, first, last, n_tokens, out):
    """Running-sum extremes of one set of `n`, as integers over n * m, into `out`.

    With j members before rank p the sum after p is a = (j + 1) V - (p + 1) n, and before it -(p n - j V); so without
    ties both follow from a. Ties: the sum is read only at the ends of a group, so p is its last or its first rank.
    out = highest, j and rank there, lowest (negated), j and rank there, twice the sum of midranks.
    """
    n = len(members)
    for i in range(n):
        rank = ranks[members[i]]
        words[rank >> 6] |= np.uint64(1) << np.uint64(rank & 63)
    highest, highest_j, highest_rank = -1, 0, 0
    lowest, lowest_j, lowest_rank = -1, 0, 0
    midranks = 0
    j = 0
    for w in range(len(words)):
        word = words[w]
        if word == 0:
            continue
        words[w] = 0
        tied = tied_words[w] != 0
        while word != 0:
            p = (w << 6) + np.int64(_lowest_bit(word))
            word &= word - np.uint64(1)
            start, end = p, p
            if tied:
                start, end = np.int64(first[p]), np.int64(last[p])
            midranks += start + end
            above = (j + 1) * n_tokens - (end + 1) * n
            below = start * n - j * n_tokens
            if above > highest:
                highest, highest_j, highest_rank = above, j, end
            if below > lowest:
                lowest, lowest_j, lowest_rank = below, j, start
            j += 1
    out[0], out[1], out[2] = highest, highest_j, highest_rank
    out[3], out[4], out[5] = lowest, lowest_j, lowest_rank
    out[6] = midranks


@njit(cache=True, error_model="numpy")
@no_type_check
def score_set_weighted(members, ranks, words, tied_words, first, last, order, values, power, n_tokens, out):
    """Running-sum extremes of one set with hits weighted by |value|^power (GSEA), into `out` as `score_set` does.

    Here out holds fractions, not integers: hits add their share of the set's total weight, misses 1 / m.
    """
    n = len(members)
    m = n_tokens - n
    total = 0.0
    for i in range(n):
        total += np.abs(np.float64(values[members[i]])) ** power
        rank = ranks[members[i]]
        words[rank >> 6] |= np.uint64(1) << np.uint64(rank & 63)
    highest, highest_j, highest_rank = -1.0, 0, 0
    lowest, lowest_j, lowest_rank = -1.0, 0, 0
    midranks = 0
    hit = 0.0
    j = 0
    for w in range(len(words)):
        word = words[w]
        words[w] = 0
        while word != 0:
            p = (w << 6) + np.int64(_lowest_bit(word))
            word &= word - np.uint64(1)
            start, end = p, p
            if tied_words[w] != 0:
                start, end = np.int64(first[p]), np.int64(last[p])
            midranks += start + end
            below = (start - j) / m - hit / total
            hit += np.abs(np.float64(values[order[p]])) ** power
            above = hit / total - (end - j) / m
            if above > highest:
                highest, highest_j, highest_rank = above, j, end
            if below > lowest:
                lowest, lowest_j, lowest_rank = below, j, start
            j += 1
    nothing = 0.0 if total > 0.0 else np.nan
    out[0], out[1], out[2] = max(highest, 0.0) + nothing, highest_j, highest_rank
    out[3], out[4], out[5] = max(lowest, 0.0) + nothing, lowest_j, lowest_rank
    out[6] = midranks


@njit(cache=True)
@no_type_check
def write_score(raw, unit, n, flipped, n_tokens, results, peaks, leads, k, row):
    """Turn the extremes of one (perhaps complemented) set of `n`, multiples of 1 / unit, into scores at [k, row]."""
    m = n_tokens - n
    up, down = raw[0], raw[3]
    up_rank, up_lead = raw[2], raw[1] + 1
    down_rank, down_lead = raw[5] - 1, n - raw[4]
    # Mann-Whitney: members below each member are n (n - 1) / 2 in all.
    wins = 2 * n * (n_tokens - 1) - raw[6] - n * (n - 1)
    auroc = wins / (2.0 * n * m)
    if flipped:
        # The peak of S lies where its complement's running sum has its trough, between two neighbours in rank.
        up, down = raw[3], raw[0]
        up_rank, up_lead = raw[5] - 1, raw[5] - raw[4]
        down_rank, down_lead = raw[2], m - (raw[2] - raw[1])
        auroc = 1.0 - auroc
    if up >= down:
        results[0, k, row] = up / unit
        results[1, k, row] = down / unit
        peaks[k, row] = up_rank
        leads[k, row] = up_lead
    else:
        results[0, k, row] = -(down / unit)
        results[1, k, row] = up / unit
        peaks[k, row] = down_rank
        leads[k, row] = down_lead
    results[2, k, row] = auroc


@njit(cache=True)
@no_type_check
def count_hits(order, first, last, holders, near, row, hits):
    """Count every set's members among the `near` first and last ranks; tie groups that stick out do not count.

    `holders` are offsets and sets: those of token t are sets[offsets[t]:offsets[t + 1]]. `hits` are the counts at the
    top, at the bottom, and of the tokens at either end that did count.
    """
    holder_offsets, holder_sets = holders
    top_hits, bottom_hits, counted = hits
    n_tokens = len(order)
    counted[row, 0] = 0
    counted[row, 1] = 0
    for p in range(near):
        if last[p] < near:
            counted[row, 0] += 1
            for slot in range(holder_offsets[order[p]], holder_offsets[order[p] + 1]):
                top_hits[holder_sets[slot], row] += 1
        other = n_tokens - 1 - p
        if first[other] >= n_tokens - near:
            counted[row, 1] += 1
            for slot in range(holder_offsets[order[other]], holder_offsets[order[other] + 1]):
                bottom_hits[holder_sets[slot], row] += 1
