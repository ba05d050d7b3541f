"""Benjamini-Hochberg against statsmodels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from featdex.ingest.multiplicity import log10_benjamini_hochberg, write_log10_q_of_all
from featdex.ingest.scratch import Scratch
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests


@given(st.lists(st.floats(-290, 0), min_size=1, max_size=60))
def test_equals_statsmodels(log10_p: list[float]) -> None:
    q = multipletests(10.0 ** np.array(log10_p), method="fdr_bh")[1]
    assert log10_benjamini_hochberg(np.array(log10_p)) == pytest.approx(np.log10(q), abs=1e-9)


def test_missing_tests_take_no_part() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.5])
    q = 10 ** log10_benjamini_hochberg(np.log10(p))
    assert np.isnan(q[1])
    assert q[[0, 2, 3]] == pytest.approx(multipletests(p[[0, 2, 3]], method="fdr_bh")[1])


def test_far_below_the_smallest_float() -> None:
    assert log10_benjamini_hochberg(np.array([-5000.0, -1.0])) == pytest.approx([-5000 + np.log10(2), -1.0])


@given(seed=st.integers(0, 10**6), at_once=st.integers(1, 40), rows=st.integers(0, 5), columns=st.integers(1, 30))
def test_all_pairs_in_parts_equal_statsmodels(seed: int, at_once: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    # Few distinct values, so that equal ones would fall into different parts; some tests are missing.
    log10_p = -np.round(rng.exponential(2, (rows, columns)) * 4) / 4
    log10_p[rng.random((rows, columns)) < 0.2] = np.nan
    scratch = Scratch()
    given_p, found = (scratch.matrix((rows, columns), np.float64) for _ in range(2))
    given_p.write(0, 0, log10_p)
    write_log10_q_of_all(given_p, found, scratch, at_once)
    q, tested = found.read(0, rows), ~np.isnan(log10_p)
    assert np.isnan(q[~tested]).all()
    if tested.any():
        expected = multipletests(10 ** log10_p[tested], method="fdr_bh")[1]
        assert q[tested] == pytest.approx(np.log10(expected), abs=1e-9)


def test_all_pairs_on_disk_are_those_in_memory(tmp_path: Path) -> None:
    log10_p = -np.random.default_rng(1).exponential(3, (7, 5000)).astype(np.float32)
    with Scratch(tmp_path) as scratch:
        given_p, found = (scratch.matrix(log10_p.shape, np.float32) for _ in range(2))
        given_p.write(0, 0, log10_p)
        write_log10_q_of_all(given_p, found, scratch, at_once=3000)
        q = found.read(0, 7)
    whole = log10_benjamini_hochberg(log10_p.astype(np.float64).ravel()).reshape(log10_p.shape)
    np.testing.assert_array_equal(q, whole.astype(np.float32))
