"""How much token sets share: what tells a new set from one that is there already under another name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .inputs import TokenSet

MIN_JACCARD = 0.5
"""Two sets that share so much of their union tell the same story."""


class Overlap(NamedTuple):
    """Two sets, the number of tokens that both hold, and its share of those that either holds."""

    first: str
    second: str
    n_shared: int
    jaccard: float


def overlaps(sets: Sequence[TokenSet], min_jaccard: float = MIN_JACCARD) -> list[Overlap]:
    """Return the pairs of sets whose Jaccard index is `min_jaccard` or more, the closest first, ties in given order.

    `first` comes before `second` in `sets`. Sets that share nothing make no pair, whatever the threshold.
    """
    # Loaded here: it takes a quarter of a second.
    from scipy.sparse import csr_array

    sizes = np.array([len(found.token_ids) for found in sets], dtype=np.int64)
    if sizes.sum() == 0:
        return []
    ids = np.concatenate([found.token_ids for found in sets])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    held = csr_array((np.ones(len(ids), dtype=np.int32), ids, starts), shape=(len(sets), int(ids.max()) + 1))
    shared = (held @ held.T).tocoo()
    upper = shared.row < shared.col
    first, second, n_shared = shared.row[upper], shared.col[upper], shared.data[upper].astype(np.int64)
    jaccard = n_shared / (sizes[first] + sizes[second] - n_shared)
    close = np.flatnonzero(jaccard >= min_jaccard)
    order = close[np.lexsort((second[close], first[close], -jaccard[close]))]
    return [
        Overlap(sets[first[pair]].name, sets[second[pair]].name, int(n_shared[pair]), float(jaccard[pair]))
        for pair in order.tolist()
    ]
