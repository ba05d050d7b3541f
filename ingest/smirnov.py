"""p of the enrichment score against random tokens: a two-sample Kolmogorov-Smirnov tail that never underflows.

Smirnov's one-sample sum at the real effective size en = n m / V (log-linear between the whole numbers around it), and
an exact count for small sets, are within .005 decades of the exact lattice recursion for p >= 1e-14 at V >= 32,000.
The p depends on the size of a set only, so each size gets one table of log10 p, read by a monotone cubic.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import no_type_check

import numpy as np
from jaxtyping import Float64
from numba import njit, prange
from scipy import interpolate, special, stats

_BODY_Z = 1.6
_BODY_POINTS = 40
_TAIL_POINTS = 240
_CLIFF_POINTS = 60
_TWO_SIDED_BELOW = 0.03
"""Below this the two-sided p equals twice the one-sided one to five digits."""

_EXACT_UP_TO = 32
"""Sets so small that the one-sample sum is off by over .005 decades near es = 1 are counted exactly."""

_KOLMOGOROV_FROM = 1000
"""From this effective size on Vrbik's corrected Kolmogorov limit is within .0004 decades of the exact body."""


@njit(cache=True)
@no_type_check
def _log_one_sided(n, d, log_factorial):
    """log of Smirnov's P(D+ >= d) at n points: d * sum over k of C(n, k) (d + k/n)^(k-1) (1 - d - k/n)^(n-k).

    All terms are positive and have one peak, so the sum runs outwards from it until terms no longer count.
    """
    last = int(np.floor(n * (1.0 - d)))
    low, high = 0, last
    while high - low > 2:
        left = low + (high - low) // 3
        right = high - (high - low) // 3
        if _log_term(n, d, left, log_factorial) < _log_term(n, d, right, log_factorial):
            low = left + 1
        else:
            high = right
    peak = low
    for k in range(low, high + 1):
        if _log_term(n, d, k, log_factorial) > _log_term(n, d, peak, log_factorial):
            peak = k
    top = _log_term(n, d, peak, log_factorial)
    total = 1.0
    for step in (-1, 1):
        k = peak + step
        while 0 <= k <= last:
            relative = _log_term(n, d, k, log_factorial) - top
            if relative < -40.0:
                break
            total += np.exp(relative)
            k += step
    return np.log(d) + top + np.log(total)


@njit(cache=True, parallel=True)
@no_type_check
def _log_one_sided_all(n, d, log_factorial):
    out = np.empty(len(d))
    for i in prange(len(d)):
        out[i] = _log_one_sided(n, d[i], log_factorial)
    return out


@njit(cache=True)
@no_type_check
def _log_term(n, d, k, log_factorial):
    rest = 1.0 - d - k / n
    tail = 0.0
    if k < n:
        if rest <= 0.0:
            return -np.inf
        tail = (n - k) * np.log(rest)
    choose = log_factorial[n] - log_factorial[k] - log_factorial[n - k]
    return choose + (k - 1) * np.log(d + k / n) + tail


def _log_tail(effective: float, d: Float64[np.ndarray, "k"]) -> Float64[np.ndarray, "k"]:
    """log of twice the one-sided P(D+ >= d) at a real effective size, log-linear between its whole neighbours."""
    below = max(int(np.floor(effective)), 1)
    share = max(effective - below, 0.0)
    log_factorial = special.gammaln(np.arange(below + 2) + 1.0)
    low = _log_one_sided_all(below, d, log_factorial)
    if share == 0.0:
        return np.asarray(low + np.log(2.0))
    high = _log_one_sided_all(below + 1, d, log_factorial)
    return np.asarray((1 - share) * low + share * high + np.log(2.0))


def _log_body(effective: float, d: Float64[np.ndarray, "k"]) -> Float64[np.ndarray, "k"]:
    """log of the two-sided P(D >= d) where it is not small."""
    whole = max(round(effective), 1)
    scaled = d * np.sqrt(effective / whole)
    with np.errstate(divide="ignore"):
        if whole < _KOLMOGOROV_FROM:
            return np.asarray(np.log(stats.kstwo.sf(scaled, whole)))
        z = scaled * np.sqrt(whole)
        return np.asarray(np.log(special.kolmogorov(z + 1 / (6 * np.sqrt(whole)) + (z - 1) / (4 * whole))))


def _log_exact_tail(n: int, n_tokens: int, d: float) -> float:
    """log of twice the exact P(D+ >= d) of a small set, by counting lattice paths in whole numbers.

    A path of n hits and m misses that rises to the line falls below it again by a miss, at hit level j from its
    last point at or above it, (c_j misses, j hits). Counting the first such fall gives each path once.
    """
    m = n_tokens - n
    falls: list[tuple[int, int, int]] = []
    crossing = 0
    for j in range(1, n + 1):
        c = int(np.floor(m * (j / n - d) + 1e-7))
        if c < 0:
            continue
        first = math.comb(c + j, j)
        for i, c_i, first_i in falls:
            if c > c_i:
                first -= first_i * math.comb(c - c_i - 1 + j - i, j - i)
        falls.append((j, c, first))
        crossing += first * math.comb(m - c - 1 + n - j, n - j)
    return math.log(2 * crossing) - math.log(math.comb(n_tokens, n))


@lru_cache(maxsize=4096)
def _table(n: int, n_tokens: int) -> interpolate.PchipInterpolator:
    """Monotone cubic of log10 p over the square root of the score, for sets of n of n_tokens tokens."""
    misses = n_tokens - n
    effective = n * misses / n_tokens
    body = np.linspace(0.0, _BODY_Z, _BODY_POINTS + 1)[1:] / np.sqrt(effective)
    tail = np.linspace(np.sqrt(min(body[-1], 1.0)), 1.0, _TAIL_POINTS + 2)[1:-1] ** 2
    # Near d = 1 the p falls over a cliff, so points gather there.
    cliff = 1 - np.geomspace(1.0, misses, _CLIFF_POINTS)[:-1] / misses
    d = np.unique(np.concatenate([body, tail[tail > body[-1]], cliff[cliff > body[-1]]]))
    d = d[d < 1]
    if n <= _EXACT_UP_TO:
        d = np.unique(1 - np.floor((1 - d) * misses + 0.5) / misses)
        d = d[(d > 0) & (d < 1)]
        far = np.array([_log_exact_tail(n, n_tokens, value) for value in d])
    else:
        far = _log_tail(effective, d)
    near = far < np.log(_TWO_SIDED_BELOW)
    log_p = np.where(near, far, 0.0)
    log_p[~near] = _log_body(effective, d[~near])
    floor = min(_log_smallest(n, n_tokens), float(log_p[-1]))
    points = np.concatenate([[0.0], d, [1.0]])
    values = np.concatenate([[0.0], np.minimum(np.minimum.accumulate(log_p), 0.0), [floor]]) / np.log(10)
    return interpolate.PchipInterpolator(np.sqrt(points), values)


def _log_smallest(n: int, n_tokens: int) -> float:
    """log of the smallest two-sided p of the exact test: all members at one end, 2 / C(n_tokens, n)."""
    n_sets = special.gammaln(n_tokens + 1) - special.gammaln(n + 1) - special.gammaln(n_tokens - n + 1)
    return min(float(np.log(2.0) - n_sets), 0.0)


def log10_p_ks(es: Float64[np.ndarray, "k"], n: int, n_tokens: int) -> Float64[np.ndarray, "k"]:
    """Return log10 of the two-sided p of |es| for random sets of `n` of `n_tokens` tokens.

    Finite everywhere: the smallest p of the exact test, 2 / C(n_tokens, n), is the floor. NaN stays NaN.
    Sources: Smirnov 1944 (one-sample sum); Hodges 1958 (lattice paths) for up to 32 tokens; for p > .03 Simard &
    L'Ecuyer 2011 (scipy's kstwo) or Vrbik 2018 (corrected limit).
    """
    smaller = min(n, n_tokens - n)
    floor = _log_smallest(smaller, n_tokens) / np.log(10)
    return np.asarray(np.clip(_table(smaller, n_tokens)(np.sqrt(np.abs(es))), floor, 0.0))
