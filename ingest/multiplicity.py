"""Benjamini-Hochberg q-values in log space: log q_(i) = min over k >= i of log p_(k) + log M - log k."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64


def log10_benjamini_hochberg(log10_p: Float64[np.ndarray, "tests"]) -> Float64[np.ndarray, "tests"]:
    """Return log10 of the Benjamini-Hochberg q-values of one family of tests; NaN is no test and stays NaN.

    Source: Benjamini & Hochberg 1995, step-up, as adjusted p-values; never above q = 1.
    """
    q = np.full_like(log10_p, np.nan)
    tested = np.flatnonzero(~np.isnan(log10_p))
    order = tested[np.argsort(log10_p[tested], kind="stable")]
    rank = np.arange(1, len(order) + 1)
    scaled = log10_p[order] + np.log10(max(len(order), 1)) - np.log10(rank)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 0.0)
    return q
