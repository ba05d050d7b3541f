"""p of the score under random tokens against an exact lattice recursion and scipy."""

from __future__ import annotations

import json
from math import comb, log10
from pathlib import Path
from typing import no_type_check

import numpy as np
import pytest
from featdex.ingest.smirnov import log10_p_ks
from numba import njit
from scipy import stats

FIXTURE = Path(__file__).parent.parent / "data" / "fixture_small"


@njit
@no_type_check
def lattice_p(n, m, threshold):
    """Exact P(max |hits m - misses n| >= threshold) over all orders of n hits, m misses: absorbed mass."""
    mass = np.zeros(n + 2)
    mass[0] = 1.0
    absorbed = 0.0
    for i in range(n + m):
        after = np.zeros(n + 2)
        for j in range(min(n, i) + 1):
            hit = (n - j) / (n + m - i)
            after[j + 1] += mass[j] * hit
            after[j] += mass[j] * (1.0 - hit)
        for j in range(n + 1):
            if abs(j * m - (i + 1 - j) * n) >= threshold:
                absorbed += after[j]
                after[j] = 0.0
        mass = after
    return absorbed


@pytest.mark.parametrize("n", [5, 10, 33, 50, 300])
def test_within_5_millidecades_of_the_lattice_recursion(n: int) -> None:
    m = 32_768 - n
    rng = np.random.default_rng(n)
    checked = 0
    for z in (0.4, 0.8, 1.2, 1.35, 1.7, 2.4, 3.3, 4.0):
        d = min(z / np.sqrt(n * m / (n + m)), 0.999)
        hits = int(rng.integers(int(np.ceil(n * d)), n + 1))
        misses = int(max(hits / n - d, 0) * m)
        threshold = hits * m - misses * n
        exact = lattice_p(n, m, threshold)
        if exact < 1e-14:
            continue
        found = log10_p_ks(np.array([threshold / (n * m)]), n, n + m)[0]
        assert found == pytest.approx(log10(exact), abs=0.005)
        checked += 1
    assert checked >= 5


def test_reference_fixture() -> None:
    facts = json.loads(FIXTURE.with_suffix(".json").read_text())
    arrays = np.load(FIXTURE.with_suffix(".npz"))
    for k, name in enumerate(facts["names"]):
        found = log10_p_ks(arrays["ref_es_p0"][:, k], len(facts["sets"][name]), facts["V"])
        exact = np.log10(arrays["latticeDP_two_sided_p"][:, k])
        # 5,000 tokens: the effective size is coarser than in a real vocabulary.
        assert found == pytest.approx(exact, abs=0.05)


def test_agrees_with_scipys_exact_two_sample_test() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(40_000)
    for n, shift in ((12, 0.9), (80, 0.5)):
        members, rest = values[:n] + shift, values[n:]
        exact = stats.ks_2samp(members, rest, method="exact")
        found = log10_p_ks(np.array([exact.statistic]), n, 40_000)[0]
        assert found == pytest.approx(log10(exact.pvalue), abs=0.005)


@pytest.mark.parametrize("n", [1, 2, 7, 32, 33, 500, 20_000])
def test_finite_decreasing_and_even_over_the_whole_range(n: int) -> None:
    d = np.linspace(0, 1, 500)
    found = log10_p_ks(d, n, 50_257)
    assert np.isfinite(found).all()
    assert (found <= 0).all()
    assert (np.diff(found) <= 1e-12).all()
    assert (log10_p_ks(-d, n, 50_257) == found).all()
    assert (log10_p_ks(d, 50_257 - n, 50_257) == found).all()


@pytest.mark.parametrize("n", [2, 7, 20])
def test_the_smallest_p_is_all_members_at_one_end(n: int) -> None:
    assert log10_p_ks(np.array([1.0]), n, 5000)[0] == pytest.approx(log10(2) - log10(comb(5000, n)), abs=1e-6)
