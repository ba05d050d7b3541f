"""p of the members among the most promoted tokens: a hypergeometric tail in log space."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float64, Int16, Integer
from scipy import special


def log10_p_hits(
    hits: Int16[np.ndarray, "k"], drawn: Int16[np.ndarray, "k"], n: int, n_tokens: int
) -> Float64[np.ndarray, "k"]:
    """Return log10 P(at least `hits` members among `drawn` random tokens) for a set of `n` of `n_tokens`."""
    log10_p = np.empty(len(hits))
    for size in np.unique(drawn):
        rows = drawn == size
        log10_p[rows] = _log10_tail(n, n_tokens, int(size))[hits[rows]]
    return log10_p


@lru_cache(maxsize=4096)
def _log10_tail(n: int, n_tokens: int, drawn: int) -> Float64[np.ndarray, "hits"]:
    """Return log10 P(at least h members) for h = 0 … drawn, -inf where h is impossible."""
    h = np.arange(drawn + 1)
    possible = (h <= n) & (drawn - h <= n_tokens - n)
    at = h[possible]
    whole = _log_choose(n_tokens, np.array([drawn]))
    log_mass = np.full(drawn + 1, -np.inf)
    log_mass[possible] = _log_choose(n, at) + _log_choose(n_tokens - n, drawn - at) - whole
    # Summed from the far end, small terms first.
    tail = np.logaddexp.accumulate(log_mass[::-1])[::-1] / np.log(10)
    return np.asarray(np.minimum(tail, 0.0))


def _log_choose(n: int, k: Integer[np.ndarray, "k"]) -> Float64[np.ndarray, "k"]:
    return np.asarray(special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1))
