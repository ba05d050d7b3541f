"""Ranking the vocabulary by every row of a decoder, a block of rows at a time, on one device or on several at once.

A block's numbers do not depend on where it is computed or on which blocks there are: devices of one kind share the
blocks of a dictionary as they come free.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float32, Float64

from .device import Options, block_limits
from .product import block_size, full_float32, logits_from
from .ranking import PackedSets, RowStatistics, SetScores
from .ranking_cpu import rank_rows
from .ranking_cuda import rank_rows_cuda

_STOP_SECONDS = 5.0


class Place(NamedTuple):
    """A device with what all rows are ranked against: the unembedding of the universe, and 1 / |u_t| of its tokens."""

    W_U: Float32[torch.Tensor, "d v"]
    scale: Float64[torch.Tensor, "v"]

    @classmethod
    def on(cls, device: torch.device, W_U: Float32[torch.Tensor, "d v"]) -> Place:
        """Bring the unembedding to a device."""
        held = W_U.to(device)
        scale = 1.0 / held.double().norm(dim=0)
        # A token at the origin has no direction: its cosine is 0.
        return cls(held, torch.where(torch.isfinite(scale), scale, torch.zeros_like(scale)))

    def rank(
        self, logits: Float32[torch.Tensor, "b v"], packed: PackedSets, options: Options, wants_statistics: bool
    ) -> tuple[RowStatistics, SetScores]:
        """Rank the vocabulary by each row of logits, which lie on this device."""
        weight = options.weight
        if self.W_U.device.type != "cpu":
            return rank_rows_cuda(logits, self.scale, packed, weight=weight, wants_statistics=wants_statistics)
        return rank_rows(
            logits.numpy(),
            self.scale.numpy(),
            packed,
            weight=weight,
            threads=options.threads,
            wants_statistics=wants_statistics,
        )


class Block(NamedTuple):
    """What ranking the vocabulary by a block of rows gave; the logits are reused by the next block of their device."""

    rows: range
    logits: Float32[torch.Tensor, "b v"]
    statistics: RowStatistics
    scores: SetScores


Take = Callable[[Block], None]


def rank_blocks(
    rows: Float32[torch.Tensor, "f d"],
    span: range,
    places: Sequence[Place],
    packed: PackedSets,
    options: Options,
    take: Take,
    *,
    wants_statistics: bool,
) -> None:
    """Rank the vocabulary by every row of `span`, and hand every block over: in order, where there is one place.

    Args:
        rows: All rows, on any device.
        span: Which of them, from a multiple of the tile on.
        places: Where to rank; what one of them takes next is not decided beforehand.
        packed: The sets to score.
        options: Memory, block, threads and weight.
        take: Given every block; with several places from their threads, and blocks in any order.
        wants_statistics: False leaves the statistics undefined.
    """
    limits = [block_limits(place.W_U.device, options.memory) for place in places]
    block = min(
        block_size(rows.shape[0], places[0].W_U.shape[1], one.memory, one.bytes_per_logit, options.block, one.features)
        for one in limits
    )
    starts = iter(range(span.start, span.stop, block))

    def work(place: Place, stop: threading.Event) -> None:
        for start, logits in logits_from(rows, place.W_U, block, _until(stop, starts), span.stop):
            statistics, scores = place.rank(logits, packed, options, wants_statistics)
            take(Block(range(start, start + len(logits)), logits, statistics, scores))

    if len(places) == 1:
        work(places[0], threading.Event())
    else:
        with full_float32():  # It belongs to the process: the threads find it set, and leave it so.
            _all_at_work(places, work)


def _until(stop: threading.Event, starts: Iterator[int]) -> Iterator[int]:
    while not stop.is_set():
        start = next(starts, None)
        if start is None:
            return
        yield start


def _all_at_work(places: Sequence[Place], work: Callable[[Place, threading.Event], None]) -> None:
    """Run `work` in a thread a place; the first fault, or Ctrl-C, ends all of them."""
    stop = threading.Event()
    faults: list[BaseException] = []

    def run(place: Place) -> None:
        try:
            work(place, stop)
        except BaseException as error:
            faults.append(error)
            stop.set()

    # Daemons: a second Ctrl-C leaves without them.
    threads = [threading.Thread(target=run, args=(place,), name="device", daemon=True) for place in places]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        stop.set()
        for thread in threads:
            thread.join(_STOP_SECONDS)
        raise
    if faults:
        raise faults[0]
