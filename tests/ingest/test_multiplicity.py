"""Benjamini-Hochberg against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from featdex.ingest.multiplicity import log10_benjamini_hochberg
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
