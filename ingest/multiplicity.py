"""Benjamini-Hochberg q-values in log space: log q_(i) = min over k >= i of log p_(k) + log M - log k."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from .scratch import Matrix, Scratch

_TESTS_AT_ONCE = 1 << 18


def log10_benjamini_hochberg(log10_p: Float64[np.ndarray, "tests"]) -> Float64[np.ndarray, "tests"]:
    """Return log10 of the Benjamini-Hochberg q-values of one family of tests; NaN is no test and stays NaN.

    Source: Benjamini & Hochberg 1995, step-up, as adjusted p-values; never above q = 1.
    """
    q = np.full_like(log10_p, np.nan)
    tested = np.flatnonzero(~np.isnan(log10_p))
    order = tested[np.argsort(log10_p[tested], kind="stable")]
    q[order] = _step_up(log10_p[order], len(order), len(order), 0.0)
    return q


def _step_up(
    ascending: Float64[np.ndarray, "part"], last_rank: int, n_tests: int, smallest_above: float
) -> Float64[np.ndarray, "part"]:
    """Return log10 q of a run of sorted log10 p that ends at `last_rank` of `n_tests`; what is above it is done."""
    rank = np.arange(last_rank - len(ascending) + 1, last_rank + 1)
    scaled = ascending + np.log10(max(n_tests, 1)) - np.log10(rank)
    return np.asarray(np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], smallest_above))


def write_log10_q_of_all(log10_p: Matrix, log10_q: Matrix, scratch: Scratch, at_once: int = _TESTS_AT_ONCE) -> None:
    """Write the q-values of all entries of a matrix as one family, in memory that does not grow with the matrix.

    Every row is sorted by itself; then the rows' shares of one range of p after another, the largest first, are sorted
    together. The same numbers as `log10_benjamini_hochberg` of the whole.

    Args:
        log10_p: Tests, NaN where there is none.
        log10_q: Where the q-values go, of the same shape.
        scratch: Room for two more matrices.
        at_once: Tests to hold in memory, more only where so many are equal.
    """
    n_rows, n_columns = log10_p.shape
    ordered, stepped = (scratch.matrix(log10_p.shape, log10_p.dtype) for _ in range(2))
    n_tested = []
    for row in range(n_rows):
        values = np.sort(log10_p.piece(row, 0, n_columns))
        n_tested.append(n_columns - int(np.isnan(values).sum()))
        ordered.write(row, 0, values[None])
    below, smallest = sum(n_tested), 0.0
    for spans in reversed(_parts(ordered, n_tested, at_once)):
        pieces = [ordered.piece(row, *span) for row, span in enumerate(spans)]
        values = np.concatenate([*pieces, np.empty(0, log10_p.dtype)]).astype(np.float64)
        order = np.argsort(values, kind="stable")
        q = np.empty(len(values))
        q[order] = _step_up(values[order], below, sum(n_tested), smallest)
        below, smallest = below - len(values), float(q[order[0]]) if len(values) else smallest
        start = 0
        for row, (first, last) in enumerate(spans):
            stepped.write(row, first, q[None, start : start + last - first])
            start += last - first
    for row in range(n_rows):
        values = np.full(n_columns, np.nan)
        order = np.argsort(log10_p.piece(row, 0, n_columns), kind="stable")[: n_tested[row]]
        values[order] = stepped.piece(row, 0, n_tested[row])
        log10_q.write(row, 0, values[None])


def _parts(ordered: Matrix, n_tested: list[int], at_once: int) -> list[list[tuple[int, int]]]:
    """Cut every sorted row at the same values of p: of each part, of about `at_once` tests in all, a span a row."""
    n_parts = max(-(-sum(n_tested) // at_once), 1)
    stride = max(sum(n_tested) // (64 * n_parts), 1)
    rows = range(len(n_tested)) if n_parts > 1 else range(0)
    sample = np.sort(np.concatenate([np.empty(0), *(ordered.piece(row, 0, n_tested[row])[::stride] for row in rows)]))
    # Equal p stay in one part, for their q is one.
    edges = np.unique(sample[np.arange(1, n_parts) * len(sample) // n_parts]) if len(sample) else sample
    spans = []
    for row, n in enumerate(n_tested):
        inner = np.searchsorted(ordered.piece(row, 0, n), edges, side="left").tolist() if len(edges) else []
        spans.append(list(pairwise([0, *inner, n])))
    return [list(part) for part in zip(*spans, strict=True)]
