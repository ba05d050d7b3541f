"""An order of rows in which alike ones are neighbours: average linkage, in plain numpy for a few hundred."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Merge:
    """Two clusters that became one: their rows, and the mean distance between the rows of either."""

    left: list[int]
    right: list[int]
    height: float


def distances(values: Array) -> Array:
    """Return the Euclidean distance of every two rows, [n, n]."""
    squares = (values**2).sum(1)
    square = squares[:, None] + squares[None, :] - 2 * values @ values.T
    np.fill_diagonal(square, 0.0)
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))


def average_linkage(distance: Array) -> list[Merge]:
    """Return the n - 1 merges of agglomerative clustering by mean distance (UPGMA, Sokal & Michener 1958).

    The rows of a merge are in an order to draw them in: of the four ways to put the clusters side by side, that with
    the nearest rows at the seam.
    """
    between = distance.astype(float).copy()
    np.fill_diagonal(between, np.inf)
    clusters = {row: [row] for row in range(len(distance))}
    merges = []
    while len(clusters) > 1:
        first, second = divmod(int(between.argmin()), len(between))
        a, b = clusters[first], clusters.pop(second)
        left, right = _joined(a, b, distance)
        merges.append(Merge(left, right, float(between[first, second])))
        mean = (len(a) * between[first] + len(b) * between[second]) / (len(a) + len(b))
        between[first], between[:, first] = mean, mean
        between[second], between[:, second] = np.inf, np.inf
        between[first, first] = np.inf
        clusters[first] = [*left, *right]
    return merges


def _joined(a: list[int], b: list[int], distance: Array) -> tuple[list[int], list[int]]:
    ways = [(a, b), (a[::-1], b), (a, b[::-1]), (a[::-1], b[::-1])]
    return min(ways, key=lambda way: float(distance[way[0][-1], way[1][0]]))


def clustered_order(values: Array) -> list[int]:
    """Return the rows of a table in an order in which alike ones are neighbours."""
    if len(values) < 3:
        return list(range(len(values)))
    last = average_linkage(distances(values))[-1]
    order = [*last.left, *last.right]
    # Either end could be first: the one with the larger values.
    return order if values[order[0]].sum() >= values[order[-1]].sum() else order[::-1]
