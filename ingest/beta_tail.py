"""How far out a cosine is for a random direction: a Beta tail in log space, exact and never 0.

The squared cosine of a fixed vector and a random direction in d dimensions is Beta(1/2, (d - 1)/2), so
p = I_y(a, 1/2) with y = 1 - c^2 and a = (d - 1)/2. It depends on d only, and millions of cosines share one table.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float64
from scipy import interpolate, special

_NODES = 16_384
_LAST_NODE = 18.5
"""atanh of the largest cosine below 1 is 18.37."""


def log10_p_of_cosine(cosine: Float64[np.ndarray, "..."], dimension: int) -> Float64[np.ndarray, "..."]:
    """Return log10 P(|C| >= |cosine|) for the cosine C of a fixed vector and a random direction in `dimension`.

    By a cubic Hermite table in atanh |cosine|, in which log p is nearly linear: within 1e-9 decades. Never -inf:
    |cosine| = 1 is taken as the largest number below it. NaN stays NaN.
    """
    if dimension < 2:
        return np.where(np.isnan(cosine), np.nan, 0.0)
    place = np.arctanh(np.minimum(np.abs(cosine), 1 - np.finfo(np.float64).epsneg))
    return np.asarray(np.minimum(_table(dimension)(place), 0.0))


@lru_cache(maxsize=64)
def _table(dimension: int) -> interpolate.CubicHermiteSpline:
    """Return log10 p over t = atanh(c), with its exact slope: dp/dt = -2 sech(t)^(d - 1) / B(1/2, a)."""
    t = np.linspace(0.0, _LAST_NODE, _NODES)
    a = (dimension - 1) / 2
    log_sech = np.log(2.0) - t - np.log1p(np.exp(-2 * t))
    log_p = _exact_log_p(a, 2 * log_sech)
    slope = -2 * np.exp(2 * a * log_sech - special.betaln(0.5, a) - log_p)
    return interpolate.CubicHermiteSpline(t, log_p / np.log(10), slope / np.log(10))


def _exact_log_p(a: float, log_y: Float64[np.ndarray, "k"]) -> Float64[np.ndarray, "k"]:
    """Return log I_y(a, 1/2); where it underflows by its series (DLMF 8.17.8), whose terms are positive."""
    y = np.exp(log_y)
    # Either form of the incomplete beta loses digits where its argument is near 1.
    p = np.where(y > 0.5, special.betaincc(0.5, a, -np.expm1(log_y)), special.betainc(a, 0.5, y))
    with np.errstate(divide="ignore"):
        log_p = np.log(p)
    deep = p < 1e-280
    tail = y[deep]
    series = special.hyp2f1(a + 0.5, 1.0, a + 1.0, tail)
    log_p[deep] = a * log_y[deep] + 0.5 * np.log1p(-tail) + np.log(series) - np.log(a) - special.betaln(a, 0.5)
    return np.asarray(log_p)
