"""The same numbers as `ranking_cpu.py` in plain torch, on any device: a GPU's fallback, and the kernels' reference.

Whole blocks are sorted at once and every set is scored by gathering its members' ranks. Integers are exact, so every
path gives equal scores for equal logits. What the Triton path shares with it (sort, statistics, the step from extremes
to scores) lies here too; all of it stays on the device.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64

from .ranking import (
    HISTOGRAM_BINS,
    NEAR_TOKENS,
    QUANTILES,
    TOP_TOKENS,
    PackedSets,
    RowStatistics,
    SetScores,
)

_ELEMENTS_AT_ONCE = 1 << 24
"""Logits of which float64 and int64 copies exist at a time, so that these do not grow with the block."""


class SortedRows(NamedTuple):
    """The values of every row, largest first, and the token at every rank; equal values keep the order of tokens."""

    descending: Float32[torch.Tensor, "n v"]
    order: Int64[torch.Tensor, "n v"]


class HeldSets(NamedTuple):
    """Packed sets on a device. `sizes` [s, 1] are those of the sets as held, `flipped` [s, 1] marks complements."""

    members: tuple[torch.Tensor, ...]
    sizes: Int64[torch.Tensor, "s 1"]
    flipped: Bool[torch.Tensor, "s 1"]


class Extremes(NamedTuple):
    """Where the running sum of each set, as held, is highest and lowest in each row, and its sums; all [s, n].

    `highest` and `lowest` (with its sign turned) are at least 0, in units of 1 / (n m); fractions where hits are
    weighted. `*_rank` is the last rank they include, -1 for none; `*_members` the members up to there. `midranks` is
    twice the sum of the members' midranks. Ends of the ranking: see `SetScores`.
    """

    highest: torch.Tensor
    highest_rank: Int64[torch.Tensor, "s n"]
    highest_members: Int64[torch.Tensor, "s n"]
    lowest: torch.Tensor
    lowest_rank: Int64[torch.Tensor, "s n"]
    lowest_members: Int64[torch.Tensor, "s n"]
    midranks: Int64[torch.Tensor, "s n"]
    top_hits: Int64[torch.Tensor, "s n"]
    bottom_hits: Int64[torch.Tensor, "s n"]


def sort_rows(logits: Float32[torch.Tensor, "n v"]) -> SortedRows:
    """Rank the tokens of every row."""
    # Adding zero turns -0.0 into 0.0, so that the two tie.
    return SortedRows(*(logits + 0.0).sort(dim=1, descending=True, stable=True))


def hold_sets(sets: PackedSets, device: torch.device) -> HeldSets:
    """Copy packed sets to a device."""
    members = torch.from_numpy(sets.members).long().to(device)
    sizes = np.diff(sets.offsets)
    return HeldSets(
        torch.split(members, sizes.tolist()),
        torch.from_numpy(sizes).to(device)[:, None],
        torch.from_numpy(sets.flipped).bool().to(device)[:, None],
    )


def near_tokens(descending: Float32[torch.Tensor, "n v"]) -> Int64[torch.Tensor, "n 2"]:
    """Tokens at the top and at the bottom whose whole tie group is among the NEAR_TOKENS there."""
    n_rows, n_tokens = descending.shape
    if n_tokens <= NEAR_TOKENS:
        return torch.full((n_rows, 2), n_tokens, device=descending.device)
    sides = descending[:, : NEAR_TOKENS + 1], descending[:, -NEAR_TOKENS - 1 :].flip(1)
    counts = torch.arange(1, NEAR_TOKENS + 1, device=descending.device)
    return torch.stack([((side[:, 1:] != side[:, :-1]) * counts).amax(1) for side in sides], 1)


def _moments(values: Float64[torch.Tensor, "n v"]) -> Float64[torch.Tensor, "n 4"]:
    mean = values.mean(1, keepdim=True)
    deviation = values - mean
    square = deviation.square()
    variance = square.mean(1)
    std = variance.sqrt()
    skewness = deviation.mul_(square).mean(1) / (variance * std)
    kurtosis = square.square_().mean(1) / variance.square()
    # 0 / 0 of a constant row is already NaN.
    return torch.stack([mean[:, 0], std, skewness, kurtosis], 1)


def _quantiles(descending: Float32[torch.Tensor, "n v"]) -> Float64[torch.Tensor, "n 7"]:
    last = descending.shape[1] - 1
    columns = []
    for level in QUANTILES:
        place = level * last
        below = int(place)
        low, high = (descending[:, last - rank].double() for rank in (below, min(below + 1, last)))
        columns.append(low + (high - low) * (place - below))
    return torch.stack(columns, 1)


def _histogram(descending: Float32[torch.Tensor, "n v"]) -> Int64[torch.Tensor, "n bins"]:
    low, high = descending[:, -1:].double(), descending[:, :1].double()
    steps = torch.arange(1, HISTOGRAM_BINS, dtype=torch.float64, device=descending.device)
    exact = low + (high - low) * steps / HISTOGRAM_BINS
    # A float32 is below a float64 edge where it is below the next float32 up: no float64 copy of the block.
    edges = exact.float()
    edges = torch.where(edges.double() < exact, torch.nextafter(edges, torch.full_like(edges, torch.inf)), edges)
    inner = torch.searchsorted(descending.flip(1), edges)
    ends = torch.full_like(inner[:, :1], descending.shape[1])
    return torch.diff(torch.cat([torch.zeros_like(ends), inner, ends], 1), dim=1)


def row_statistics(
    logits: Float32[torch.Tensor, "n v"], token_scale: Float64[torch.Tensor, "v"], ranked: SortedRows
) -> tuple[torch.Tensor, ...]:
    """Return the columns of `RowStatistics`, on the device."""
    descending, order = ranked
    parts = torch.split(logits, _rows_at_once(logits.shape[1]))
    return (
        torch.cat([_moments(part.double()) for part in parts]),
        torch.cat([_moments(part * token_scale) for part in parts]),
        _quantiles(descending),
        torch.stack([descending[:, -1], descending[:, 0]], 1).double(),
        _histogram(descending).int(),
        order[:, :TOP_TOKENS].int(),
        order[:, -TOP_TOKENS:].flip(1).int(),
    )


def _rows_at_once(n_tokens: int) -> int:
    return max(_ELEMENTS_AT_ONCE // n_tokens, 1)


class _Places(NamedTuple):
    """Rank of every token; by rank, the value and the first and last rank of its tie group."""

    ranks: Int64[torch.Tensor, "n v"]
    descending: Float32[torch.Tensor, "n v"]
    first: Int64[torch.Tensor, "n v"]
    last: Int64[torch.Tensor, "n v"]


def _places(ranked: SortedRows) -> _Places:
    descending, order = ranked
    n_tokens = order.shape[1]
    place = torch.arange(n_tokens, device=order.device).expand(order.shape)
    differs = descending[:, 1:] != descending[:, :-1]
    edge = torch.ones_like(differs[:, :1])
    starts = torch.where(torch.cat([edge, differs], 1), place, torch.zeros_like(place))
    ends = torch.where(torch.cat([differs, edge], 1), place, torch.full_like(place, n_tokens - 1))
    return _Places(
        ranks=torch.empty_like(order).scatter_(1, order, place),
        descending=descending,
        first=starts.cummax(1).values,
        last=ends.flip(1).cummin(1).values.flip(1),
    )


def _set_extremes(places: _Places, members: Int64[torch.Tensor, "k"], weight: float) -> tuple[torch.Tensor, ...]:
    """Return the columns of `Extremes` of one set in every row (see `set_kernels.score_set`)."""
    n_tokens, n = places.ranks.shape[1], len(members)
    ranks = places.ranks[:, members].sort(1).values
    start, end = places.first.gather(1, ranks), places.last.gather(1, ranks)
    j = torch.arange(n, device=ranks.device)
    if weight == 0.0:
        above = (j + 1) * n_tokens - (end + 1) * n
        below = start * n - j * n_tokens
    else:
        hit = places.descending.gather(1, ranks).double().abs() ** weight
        share = hit.cumsum(1) / hit.sum(1, keepdim=True)
        above = share - (end - j).double() / (n_tokens - n)
        below = (start - j).double() / (n_tokens - n) - (share - hit / hit.sum(1, keepdim=True))
    # argmax gives the first of several maxima, as the kernels do.
    top, bottom = above.argmax(1, keepdim=True), below.argmax(1, keepdim=True)
    near = min(NEAR_TOKENS, n_tokens)
    return (
        above.gather(1, top)[:, 0].clamp(min=0),
        end.gather(1, top)[:, 0],
        top[:, 0] + 1,
        below.gather(1, bottom)[:, 0].clamp(min=0),
        start.gather(1, bottom)[:, 0] - 1,
        bottom[:, 0],
        (start + end).sum(1),
        (end < near).sum(1),
        (start >= n_tokens - near).sum(1),
    )


def gathered_extremes(ranked: SortedRows, held: HeldSets, weight: float) -> Extremes:
    """Walk the members of every set in rank order, some rows at a time."""
    n_rows, n_tokens = ranked.order.shape
    shape = (len(held.members), n_rows)
    values = torch.float64 if weight else torch.int64
    dtypes = [values if name in ("highest", "lowest") else torch.int64 for name in Extremes._fields]
    whole = Extremes(*(torch.empty(shape, dtype=dtype, device=ranked.order.device) for dtype in dtypes))
    at_once = _rows_at_once(n_tokens)
    for start in range(0, n_rows, at_once):
        rows = slice(start, start + at_once)
        places = _places(SortedRows(ranked.descending[rows], ranked.order[rows]))
        for k, members in enumerate(held.members):
            for column, part in zip(whole, _set_extremes(places, members, weight), strict=True):
                column[k, rows] = part
    return whole


def scores_of_extremes(
    extremes: Extremes, held: HeldSets, near: Int64[torch.Tensor, "n 2"], n_tokens: int, weight: float
) -> tuple[torch.Tensor, ...]:
    """Return the columns of `SetScores`, on the device (see `set_kernels.write_score`).

    Args:
        extremes: Those of the sets as held.
        held: The sets.
        near: What `near_tokens` gives.
        n_tokens: Tokens of the universe.
        weight: Exponent that weights the hits; where it is not 0 the extremes are fractions.
    """
    n, flipped = held.sizes, held.flipped
    m = n_tokens - n
    unit = torch.ones_like(n) if weight else n * m
    up, down = extremes.highest, extremes.lowest
    up_rank, down_rank = extremes.highest_rank, extremes.lowest_rank
    up_lead, down_lead = extremes.highest_members, n - extremes.lowest_members
    # The peak of S lies where its complement's running sum has its trough.
    lead_of_complement = m - (up_rank + 1 - up_lead)
    up_lead = torch.where(flipped, down_rank + 1 - extremes.lowest_members, up_lead)
    down_lead = torch.where(flipped, lead_of_complement, down_lead)
    up, down = torch.where(flipped, down, up), torch.where(flipped, up, down)
    up_rank, down_rank = torch.where(flipped, down_rank, up_rank), torch.where(flipped, up_rank, down_rank)
    # Mann-Whitney: members below each member are n (n - 1) / 2 in all.
    auroc = (2 * n * (n_tokens - 1) - extremes.midranks - n * (n - 1)).double() / (2 * n * m)
    promotes = up >= down
    return (
        torch.where(promotes, up, -down).double() / unit,
        torch.where(promotes, down, up).double() / unit,
        torch.where(promotes, up_rank, down_rank).int(),
        torch.where(promotes, up_lead, down_lead).int(),
        torch.where(flipped, 1 - auroc, auroc),
        torch.where(flipped, near[:, 0] - extremes.top_hits, extremes.top_hits).short(),
        torch.where(flipped, near[:, 1] - extremes.bottom_hits, extremes.bottom_hits).short(),
        near.short(),
    )


def host_statistics(columns: tuple[torch.Tensor, ...]) -> RowStatistics:
    """Copy the columns of `row_statistics` to the host."""
    return RowStatistics(*(column.cpu().numpy() for column in columns))


def host_scores(columns: tuple[torch.Tensor, ...]) -> SetScores:
    """Copy the columns of `scores_of_extremes` to the host."""
    return SetScores(*(column.cpu().numpy() for column in columns))


def rank_rows_torch(
    logits: Float32[torch.Tensor, "n v"],
    token_scale: Float64[torch.Tensor, "v"],
    sets: PackedSets,
    *,
    weight: float = 0.0,
) -> tuple[RowStatistics, SetScores]:
    """Compute what `ranking_cpu.rank_rows` computes, on the device where `logits` lies; results come back as numpy.

    Needs about 56 bytes per logit of the block on the device, most of them for the sort.
    """
    held = hold_sets(sets, logits.device)
    ranked = sort_rows(logits)
    statistics = row_statistics(logits, token_scale, ranked)
    extremes = gathered_extremes(ranked, held, weight)
    scores = scores_of_extremes(extremes, held, near_tokens(ranked.descending), logits.shape[1], weight)
    return host_statistics(statistics), host_scores(scores)
