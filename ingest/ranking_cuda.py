"""Ranking on a GPU: sort, statistics and scan of a block without a stop at the host, then one copy a column.

The scan is the Triton kernel; where that can't be built here, or hits are weighted, it is plain torch.
"""

from __future__ import annotations

import os
import warnings
from functools import lru_cache
from importlib.util import find_spec
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float32, Float64

from .ranking import PackedSets, RowStatistics, SetScores, empty_statistics
from .ranking_torch import (
    HeldSets,
    gathered_extremes,
    hold_sets,
    host_scores,
    host_statistics,
    near_tokens,
    row_statistics,
    scores_of_extremes,
    sort_rows,
)

_on_device: WeakKeyDictionary[PackedSets, dict[torch.device, tuple[HeldSets, torch.Tensor | None]]] = (
    WeakKeyDictionary()
)
"""Sets as copied to a device, so that every block of a dictionary finds them there."""


@lru_cache(maxsize=1)
def _triton_runs() -> bool:
    """Whether Triton is here and can build its launcher, which takes a C compiler and Python.h."""
    if find_spec("triton") is None:
        return False
    if os.environ.get("TRITON_INTERPRET") == "1":
        return True
    from triton.runtime import driver

    try:
        driver.active.get_current_target()
    # Triton has no error of its own for this: the compiler's absence and its failure differ, and by version.
    except Exception as error:
        warnings.warn(f"Triton does not run here, so sets are scanned by plain torch: {error}", stacklevel=2)
        return False
    return True


def _scans_by_triton(device: torch.device) -> bool:
    return (device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1") and _triton_runs()


def _held(sets: PackedSets, device: torch.device) -> tuple[HeldSets, torch.Tensor | None]:
    """Return the sets on the device, and their membership words where Triton reads them."""
    copies = _on_device.setdefault(sets, {})
    if device not in copies:
        words = None
        if sets.n_sets and _scans_by_triton(device):
            from .ranking_triton import membership_words

            words = torch.from_numpy(membership_words(sets)).to(device)
        copies[device] = hold_sets(sets, device), words
    return copies[device]


def rank_rows_cuda(
    logits: Float32[torch.Tensor, "n v"],
    token_scale: Float64[torch.Tensor, "v"],
    sets: PackedSets,
    *,
    weight: float = 0.0,
    wants_statistics: bool = True,
) -> tuple[RowStatistics, SetScores]:
    """Compute what `ranking_cpu.rank_rows` computes, on the device where `logits` lies; results come back as numpy.

    Needs about 56 bytes per logit of the block on the device, most of them for the sort, and 1.5 GB whatever the block.

    Args:
        logits: Finite logit weights, one feature a row, on a GPU (or on the CPU for Triton's interpreter).
        token_scale: `1 / |u_t|` on the same device, which turns logits into cosines up to the decoder norm.
        sets: Packed sets of positions in the `v` tokens, none of them flipped for a weighted score.
        weight: Exponent of |logit| by which hits are weighted; 0 is the unweighted score, 1 GSEA's.
        wants_statistics: False leaves the statistics out: what they hold is then undefined.
    """
    n_rows, n_tokens = logits.shape
    held, words = _held(sets, logits.device)
    ranked = sort_rows(logits)
    statistics = row_statistics(logits, token_scale, ranked) if wants_statistics else None
    near = near_tokens(ranked.descending)
    if words is None or weight:
        extremes = gathered_extremes(ranked, held, weight)
    else:
        from .ranking_triton import walked_extremes

        extremes = walked_extremes(ranked, held, words, near)
    scores = host_scores(scores_of_extremes(extremes, held, near, n_tokens, weight))
    return empty_statistics(n_rows, n_tokens) if statistics is None else host_statistics(statistics), scores
