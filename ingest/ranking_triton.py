"""A Triton kernel that walks the rankings of a block for all sets at once.

A thread owns a set or two, and a program of one warp 32 or 64 sets of a row: all threads meet the same rank at the
same time, read the same word of memberships (bit b of word w of a token: it is in set 32 w + b) and take their own bit.
So a running sum grows by one addition a rank; nothing is scanned across threads, put in shared memory or sorted again.
Ranks and words come from L1 and L2 (a word of every token is 4 V bytes), those of UNROLL ranks are in flight together,
and some thousands of rows fill a GPU.

A scan across the ranks (the cumulated hits of a block of ranks, set by set) was the other choice: it loads better, but
pays some ten shuffles a (rank, set). Gathering ranks by member costs a random access and a sort instead, for members
only: it would win where sets hold under a hundredth of the tokens.

Cost: compiled for sm_90 the loop has 50 instructions a rank and 64 sets (60 where sums take 64 bits), on 64 registers.
24,576 rows x 50,257 ranks x 128 sets (100 are padded to 128) are 1.2e11 of them: .14 s at one a cycle on the 528
schedulers of an H200 at 1.7 GHz, and .2 s as most are integer ones that take two. This is an estimate, not measured.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import no_type_check

import numpy as np
import torch
import triton
import triton.language as tl
from jaxtyping import Int32, Int64

from .ranking import PackedSets
from .ranking_torch import Extremes, HeldSets, SortedRows

_WORD = 32
_UNROLL = 8
_NARROW_TOKENS = 92_000
"""Up to here n m <= V^2 / 4 fits 32 bits, also after the up to UNROLL steps of -n past the last rank."""


@triton.jit
@no_type_check
def _count_members(steps, words, column, shift, start, stop, n_words, SETS: tl.constexpr):
    """Members of every set among the ranks from `start` to before `stop`."""
    count = tl.zeros([SETS], tl.int32)
    for p in range(start, stop):
        token = tl.load(steps + p) >> 1
        count += (tl.load(words + token * n_words + column) >> shift) & 1
    return count


# Nothing is gained by compiling again for counts that are 1 or multiples of 16, such as the rows of a last block.
@triton.jit(do_not_specialize=["n_rows", "n_sets", "n_tokens", "n_steps", "n_words"])
@no_type_check
def _walk(
    steps,
    words,
    sizes,
    near,
    out,
    n_rows,
    n_sets,
    n_tokens,
    n_steps,
    n_words,
    SETS: tl.constexpr,
    UNROLL: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Walk one row for SETS sets. With j members up to rank p the running sum is j V - (p + 1) n, in 1 / (n m).

    It counts at the ends of tie groups only. `area` adds up, over tie groups, their size times the members up to and
    before their end: from it follow the members' midranks.
    """
    n_groups = (n_sets + SETS - 1) // SETS
    row = (tl.program_id(0) // n_groups).to(tl.int64)
    sets = (tl.program_id(0) % n_groups) * SETS + tl.arange(0, SETS)
    column, shift = sets // 32, sets % 32
    steps += row * n_steps
    n = tl.load(sizes + sets, mask=sets < n_sets, other=1).to(tl.int32)
    total = tl.zeros([SETS], tl.int64 if WIDE else tl.int32)
    highest, lowest = total - 1, total
    highest_rank = tl.zeros([SETS], tl.int32)
    lowest_rank = highest_rank - 1
    area = tl.zeros([SETS], tl.int64)
    j = tl.zeros([SETS], tl.int32)
    j_before = j
    rank_before = tl.full([], -1, tl.int32)
    for start in range(0, n_steps, UNROLL):
        for place in tl.static_range(UNROLL):
            p = start + place
            step = tl.load(steps + p)
            ends = step & 1
            hit = (tl.load(words + (step >> 1) * n_words + column) >> shift) & 1
            total += hit * n_tokens - n
            j += hit
            # Products instead of choices keep this one 32-bit multiplication with a 64-bit sum.
            size = (p - rank_before) * ends
            area += (j + j_before).to(tl.int64) * size
            rank_before += size
            rises = (total > highest) & (ends != 0)
            falls = (total < lowest) & (ends != 0)
            highest = tl.where(rises, total, highest)
            highest_rank = tl.where(rises, p, highest_rank)
            lowest = tl.where(falls, total, lowest)
            lowest_rank = tl.where(falls, p, lowest_rank)
            j_before = tl.where(ends != 0, j, j_before)
    top, bottom = tl.load(near + 2 * row).to(tl.int32), tl.load(near + 2 * row + 1).to(tl.int32)
    top_hits = _count_members(steps, words, column, shift, 0, top, n_words, SETS)
    bottom_hits = _count_members(steps, words, column, shift, n_tokens - bottom, n_tokens, n_words, SETS)
    live = sets < n_sets
    out += sets.to(tl.int64) * n_rows + row
    plane = n_sets.to(tl.int64) * n_rows
    tl.store(out, highest.to(tl.int64), mask=live)
    tl.store(out + plane, highest_rank.to(tl.int64), mask=live)
    tl.store(out + 2 * plane, -lowest.to(tl.int64), mask=live)
    tl.store(out + 3 * plane, lowest_rank.to(tl.int64), mask=live)
    tl.store(out + 4 * plane, area, mask=live)
    tl.store(out + 5 * plane, top_hits.to(tl.int64), mask=live)
    tl.store(out + 6 * plane, bottom_hits.to(tl.int64), mask=live)


def _steps(ranked: SortedRows) -> Int32[torch.Tensor, "n steps"]:
    """Twice the token at every rank, plus 1 where the rank ends a tie group; whole loops long.

    The token after the last one, which is in no set, fills the end, where no group ends.
    """
    descending, order = ranked
    n_rows, n_tokens = order.shape
    length = -(-n_tokens // _UNROLL) * _UNROLL
    steps = torch.full((n_rows, length), 2 * n_tokens, dtype=torch.int32, device=order.device)
    steps[:, :n_tokens] = order
    steps[:, :n_tokens] *= 2
    steps[:, : n_tokens - 1] += descending[:, 1:] != descending[:, :-1]
    steps[:, n_tokens - 1] += 1
    return steps


def membership_words(sets: PackedSets) -> Int32[np.ndarray, "tokens words"]:
    """Bit masks of the sets (as held) that each token is in, with one more token at the end that is in none.

    Has as many words as whole programs read.
    """
    at_once = sets_at_once(sets.n_sets)
    n_words = -(-sets.n_sets // at_once) * (at_once // _WORD)
    words = np.zeros((sets.n_tokens + 1, n_words), np.uint32)
    for k in range(sets.n_sets):
        members = sets.members[sets.offsets[k] : sets.offsets[k + 1]]
        words[members, k // _WORD] |= np.uint32(1 << k % _WORD)
    return words.view(np.int32)


def sets_at_once(n_sets: int) -> int:
    """Sets of one program: two to a thread, whose walks overlap, where there are more than threads in a warp."""
    return _WORD if n_sets <= _WORD else 2 * _WORD


def walked_extremes(
    ranked: SortedRows,
    held: HeldSets,
    words: Int32[torch.Tensor, "tokens words"],
    near: Int64[torch.Tensor, "n 2"],
) -> Extremes:
    """Compute what `ranking_torch.gathered_extremes` computes for unweighted hits.

    Args:
        ranked: Contiguous rankings of finite values.
        held: The sets, at least one.
        words: What `membership_words` gives, on the device.
        near: What `ranking_torch.near_tokens` gives.
    """
    (n_rows, n_tokens), n_sets = ranked.order.shape, len(held.sizes)
    device = ranked.order.device
    steps = _steps(ranked)
    out = torch.empty((7, n_sets, n_rows), dtype=torch.int64, device=device)
    at_once = sets_at_once(n_sets)
    # A launch goes to the current device, whatever device its tensors are on.
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        _walk[(n_rows * -(-n_sets // at_once),)](
            steps,
            words,
            held.sizes,
            near,
            out,
            n_rows,
            n_sets,
            n_tokens,
            steps.shape[1],
            words.shape[1],
            SETS=at_once,
            UNROLL=_UNROLL,
            WIDE=n_tokens > _NARROW_TOKENS,
            num_warps=1,
        )
    highest, highest_rank, lowest, lowest_rank, area, top_hits, bottom_hits = out
    n = held.sizes
    return Extremes(
        highest=highest,
        highest_rank=highest_rank,
        highest_members=(highest + (highest_rank + 1) * n) // n_tokens,
        lowest=lowest,
        lowest_rank=lowest_rank,
        lowest_members=((lowest_rank + 1) * n - lowest) // n_tokens,
        # Sum by parts of (first + last) over the members.
        midranks=2 * n * n_tokens - n - area,
        top_hits=top_hits,
        bottom_hits=bottom_hits,
    )
