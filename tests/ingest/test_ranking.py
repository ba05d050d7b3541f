"""The CPU kernel and the torch path against scipy, brute force, the reference fixture and each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from featdex.ingest.ranking import QUANTILES, RowStatistics, SetScores, pack_sets
from featdex.ingest.ranking_cpu import rank_rows
from featdex.ingest.ranking_torch import rank_rows_torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

FIXTURE = Path(__file__).parent.parent / "data" / "fixture_small"
Array = np.ndarray[Any, Any]


def random_sets(rng: np.random.Generator, sizes: list[int], n_tokens: int) -> list[Array]:
    return [np.sort(rng.choice(n_tokens, n, replace=False)).astype(np.int32) for n in sizes]


def rank(logits: Array, sets: list[Array], scale: Array | None = None) -> tuple[RowStatistics, SetScores]:
    n_tokens = logits.shape[1]
    weights = np.ones(n_tokens) if scale is None else scale
    return rank_rows(logits.astype(np.float32), weights, pack_sets(sets, n_tokens))


def logits_with_ties(rng: np.random.Generator, n_rows: int, n_tokens: int, levels: float) -> Array:
    values = rng.standard_normal((n_rows, n_tokens)) + rng.exponential(0.3, (n_rows, n_tokens))
    return (np.round(values * levels) / levels if levels else values).astype(np.float32)


def brute_force(values: Array, members: Array) -> tuple[float, int, int]:
    """Running sum over distinct values from the top: (es, peak_rank, lead_n), by counting."""
    inside = np.zeros(len(values), dtype=bool)
    inside[members] = True
    n, m = int(inside.sum()), int((~inside).sum())
    levels = np.unique(values)[::-1]
    running = [int((values[inside] >= level).sum()) * m - int((values[~inside] >= level).sum()) * n for level in levels]
    up, down = max(0, *running), max(0, *(-value for value in running))
    if up >= down:
        level = levels[running.index(up)]
        return up / (n * m), int((values >= level).sum()) - 1, int((values[inside] >= level).sum())
    level = levels[running.index(-down)]
    return -down / (n * m), int((values >= level).sum()) - 1, int((values[inside] < level).sum())


@pytest.mark.parametrize("levels", [0, 2, 20])
def test_es_is_the_signed_ks_statistic(levels: float) -> None:
    rng = np.random.default_rng(5)
    logits = logits_with_ties(rng, 6, 3001, levels)
    sets = random_sets(rng, [3, 40, 1500, 1501, 2900], 3001)
    _, scores = rank(logits, sets)
    for k, ids in enumerate(sets):
        rest = np.setdiff1d(np.arange(3001), ids)
        for row, values in enumerate(logits):
            oracle = stats.ks_2samp(values[ids], values[rest], method="asymp")
            assert abs(scores.es[k, row]) == pytest.approx(oracle.statistic, abs=1e-12)
            # scipy's sign is that of F1 - F2: members with larger values have the smaller CDF.
            assert np.sign(scores.es[k, row]) == -oracle.statistic_sign


@pytest.mark.parametrize("levels", [0, 2])
def test_peak_rank_and_leading_edge_match_a_count(levels: float) -> None:
    rng = np.random.default_rng(6)
    logits = logits_with_ties(rng, 12, 200, levels)
    sets = random_sets(rng, [1, 2, 30, 100, 101, 170, 199], 200)
    _, scores = rank(logits, sets)
    for k, ids in enumerate(sets):
        for row, values in enumerate(logits):
            es, peak, lead = brute_force(values, ids)
            assert (scores.peak_rank[k, row], scores.lead_n[k, row]) == (peak, lead)
            assert scores.es[k, row] == pytest.approx(es, abs=1e-12)


@pytest.mark.parametrize("levels", [0, 3])
def test_auroc_is_mann_whitney_with_midranks(levels: float) -> None:
    rng = np.random.default_rng(7)
    logits = logits_with_ties(rng, 4, 500, levels)
    sets = random_sets(rng, [5, 250, 400], 500)
    _, scores = rank(logits, sets)
    for k, ids in enumerate(sets):
        rest = np.setdiff1d(np.arange(500), ids)
        for row, values in enumerate(logits):
            u = stats.mannwhitneyu(values[ids].astype(float), values[rest].astype(float)).statistic
            assert scores.auroc[k, row] == pytest.approx(u / (len(ids) * len(rest)), abs=1e-12)


def test_es_opposed_is_the_one_sided_statistic_of_the_other_side() -> None:
    rng = np.random.default_rng(8)
    logits = logits_with_ties(rng, 5, 400, 0)
    sets = random_sets(rng, [20, 300], 400)
    _, scores = rank(logits, sets)
    for k, ids in enumerate(sets):
        rest = np.setdiff1d(np.arange(400), ids)
        for row, values in enumerate(logits):
            sides = [
                stats.ks_2samp(values[ids], values[rest], alternative=side, method="asymp").statistic
                for side in ("less", "greater")
            ]
            assert scores.es_opposed[k, row] == pytest.approx(min(sides), abs=1e-12)


def test_moments_and_quantiles_equal_scipy_and_numpy() -> None:
    rng = np.random.default_rng(9)
    logits = logits_with_ties(rng, 8, 5003, 0) * np.float32(3.0) + np.float32(0.5)
    scale = rng.uniform(0.2, 3, 5003)
    statistics, _ = rank(logits, [], scale)
    exact = logits.astype(np.float64)
    for moments, values in ((statistics.moments, exact), (statistics.cos_moments, exact * scale)):
        assert moments[:, 0] == pytest.approx(values.mean(1), rel=1e-12)
        assert moments[:, 1] == pytest.approx(values.std(1), rel=1e-12)
        assert moments[:, 2] == pytest.approx(stats.skew(values, axis=1), rel=1e-9)
        assert moments[:, 3] == pytest.approx(stats.kurtosis(values, axis=1, fisher=False), rel=1e-9)
    assert statistics.quantiles == pytest.approx(np.quantile(exact, QUANTILES, axis=1).T, rel=1e-12)
    assert statistics.extremes[:, 0].tolist() == exact.min(1).tolist()
    assert statistics.extremes[:, 1].tolist() == exact.max(1).tolist()


@pytest.mark.parametrize("levels", [0, 1])
def test_histogram_equals_numpy(levels: float) -> None:
    rng = np.random.default_rng(10)
    logits = logits_with_ties(rng, 5, 2000, levels)
    statistics, _ = rank(logits, [])
    for counts, values in zip(statistics.histogram, logits.astype(np.float64), strict=True):
        assert counts.tolist() == np.histogram(values, 50)[0].tolist()


def test_top_and_bottom_tokens_are_a_stable_sort() -> None:
    logits = logits_with_ties(np.random.default_rng(11), 4, 300, 3)
    statistics, _ = rank(logits, [])
    for row, values in enumerate(logits):
        order = np.argsort(-values, kind="stable")
        assert statistics.top[row].tolist() == order[:20].tolist()
        assert statistics.bottom[row].tolist() == order[::-1][:20].tolist()


def test_reference_fixture() -> None:
    facts = json.loads(FIXTURE.with_suffix(".json").read_text())
    arrays = np.load(FIXTURE.with_suffix(".npz"))
    sets = [np.array(facts["sets"][name], dtype=np.int32) for name in facts["names"]]
    _, scores = rank(arrays["X"], sets)
    assert pytest.approx(arrays["ref_es_p0"], abs=1e-12) == scores.es.T
    assert pytest.approx(arrays["auroc"], abs=1e-12) == scores.auroc.T
    up, down = arrays["ref_dplus_p0"], -arrays["ref_dminus_p0"]
    assert pytest.approx(np.minimum(up, down), abs=1e-12) == scores.es_opposed.T
    assert scores.peak_rank.T.tolist() == arrays["ref_peak_p0"].astype(int).tolist()
    assert abs(scores.es.T) == pytest.approx(arrays["saelens_es"], abs=1e-6)
    assert pytest.approx(arrays["gseapy_p0_es"], abs=1e-12) == scores.es.T


def assert_same(left: tuple[RowStatistics, SetScores], right: tuple[RowStatistics, SetScores]) -> None:
    for name in (*RowStatistics._fields, *SetScores._fields):
        one, other = (side[0] if name in RowStatistics._fields else side[1] for side in (left, right))
        a, b = getattr(one, name), getattr(other, name)
        if a.dtype.kind == "i":
            np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11, err_msg=name)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_tokens=st.integers(2, 200), levels=st.sampled_from([0, 1, 4]))
def test_torch_path_and_kernel_agree(seed: int, n_tokens: int, levels: float) -> None:
    rng = np.random.default_rng(seed)
    logits = logits_with_ties(rng, 5, n_tokens, levels)
    sizes = sorted({1, max(n_tokens // 2, 1), n_tokens - 1})
    packed = pack_sets(random_sets(rng, sizes, n_tokens), n_tokens)
    scale = rng.uniform(0.1, 2, n_tokens)
    # A constant row has no third moment: both give NaN, but rounding may leave one of them a variance of 1e-33.
    logits[0, 0] += 1
    torch_path = rank_rows_torch(torch.from_numpy(logits), torch.from_numpy(scale), packed)
    assert_same(rank_rows(logits, scale, packed), torch_path)
    whole = pack_sets(random_sets(rng, sizes, n_tokens), n_tokens, complement=False)
    weighted = rank_rows(logits, scale, whole, weight=1.5)
    torch_weighted = rank_rows_torch(torch.from_numpy(logits), torch.from_numpy(scale), whole, weight=1.5)
    np.testing.assert_allclose(weighted[1].es, torch_weighted[1].es, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_tokens=st.integers(3, 150), levels=st.sampled_from([0, 2]))
def test_symmetries(seed: int, n_tokens: int, levels: float) -> None:
    """Reversed logits flip the sign, the complement flips the sign, relabelled tokens change nothing."""
    rng = np.random.default_rng(seed)
    logits = logits_with_ties(rng, 3, n_tokens, levels)
    ids = random_sets(rng, [int(rng.integers(1, n_tokens))], n_tokens)[0]
    _, scores = rank(logits, [ids])
    tied = np.isclose(abs(scores.es), scores.es_opposed, atol=1e-14)
    _, reversed_scores = rank(-logits, [ids])
    assert np.where(tied, abs(reversed_scores.es), -reversed_scores.es) == pytest.approx(
        np.where(tied, abs(scores.es), scores.es), abs=1e-14
    )
    assert reversed_scores.auroc == pytest.approx(1 - scores.auroc, abs=1e-14)
    _, complement = rank(logits, [np.setdiff1d(np.arange(n_tokens), ids).astype(np.int32)])
    assert np.where(tied, abs(complement.es), -complement.es) == pytest.approx(
        np.where(tied, abs(scores.es), scores.es), abs=1e-14
    )
    place = rng.permutation(n_tokens)
    relabelled = np.empty_like(logits)
    relabelled[:, place] = logits
    _, moved = rank(relabelled, [np.sort(place[ids]).astype(np.int32)])
    for name in scores._fields:
        np.testing.assert_array_equal(getattr(moved, name), getattr(scores, name), err_msg=name)


@pytest.mark.parametrize("levels", [0, 5])
def test_hits_are_members_among_the_hundred_first_and_last(levels: float) -> None:
    rng = np.random.default_rng(13)
    logits = logits_with_ties(rng, 6, 1500, levels)
    sets = random_sets(rng, [10, 400, 1200], 1500)
    _, scores = rank(logits, sets)
    for row, values in enumerate(logits):
        # Whole tie groups only: a token counts where at most 100 tokens are as high.
        top = np.array([(values >= value).sum() <= 100 for value in values])
        bottom = np.array([(values <= value).sum() <= 100 for value in values])
        assert scores.near_tokens[row].tolist() == [top.sum(), bottom.sum()]
        for k, ids in enumerate(sets):
            assert (scores.top_hits[k, row], scores.bottom_hits[k, row]) == (top[ids].sum(), bottom[ids].sum())


@pytest.mark.parametrize("levels", [0, 4])
def test_weighted_score_is_a_running_sum(levels: float) -> None:
    rng = np.random.default_rng(14)
    logits = logits_with_ties(rng, 6, 700, levels)
    sets = random_sets(rng, [3, 60, 500], 700)
    packed = pack_sets(sets, 700, complement=False)
    _, scores = rank_rows(logits, np.ones(700), packed, weight=1.0)
    for k, ids in enumerate(sets):
        inside = np.zeros(700, dtype=bool)
        inside[ids] = True
        for row, values in enumerate(logits.astype(np.float64)):
            order = np.argsort(-values, kind="stable")
            steps = np.where(inside[order], abs(values[order]) / abs(values[ids]).sum(), -1 / (700 - len(ids)))
            ends = np.append(values[order][1:] != values[order][:-1], True)
            running = np.cumsum(steps)[ends]
            up, down = max(running.max(), 0), max(-running.min(), 0)
            assert scores.es[k, row] == pytest.approx(up if up >= down else -down, abs=1e-12)


def test_weighted_score_equals_gseapy() -> None:
    facts = json.loads(FIXTURE.with_suffix(".json").read_text())
    arrays = np.load(FIXTURE.with_suffix(".npz"))
    sets = [np.array(facts["sets"][name], dtype=np.int32) for name in facts["names"]]
    packed = pack_sets(sets, facts["V"], complement=False)
    _, scores = rank_rows(arrays["X"], np.ones(facts["V"]), packed, weight=1.0)
    assert pytest.approx(arrays["ref_es_p1"], abs=1e-12) == scores.es.T
    assert pytest.approx(arrays["gseapy_p1_es"], abs=1e-6) == scores.es.T
    assert pytest.approx(arrays["decoupler_es"], abs=1e-6) == scores.es.T
    assert scores.peak_rank.T.tolist() == arrays["ref_peak_p1"].astype(int).tolist()


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(12)
    logits = logits_with_ties(rng, 9, 1000, 0)
    packed = pack_sets(random_sets(rng, [10, 700], 1000), 1000)
    one = rank_rows(logits, np.ones(1000), packed, threads=1)
    many = rank_rows(logits, np.ones(1000), packed, threads=2)
    for left, right in zip((*one[0], *one[1]), (*many[0], *many[1]), strict=True):
        np.testing.assert_array_equal(left, right)


def test_negative_zero_ties_with_zero() -> None:
    logits = np.array([[0.0, -0.0, 0.0, -0.0]], dtype=np.float32)
    _, scores = rank(logits, [np.array([1, 3], dtype=np.int32)])
    assert scores.es.tolist() == [[0.0]]
    assert scores.auroc.tolist() == [[0.5]]


def test_a_set_on_top_has_es_one_and_its_mirror_minus_one() -> None:
    logits = np.arange(100, dtype=np.float32)[None]
    _, scores = rank(logits, [np.arange(90, 100, dtype=np.int32), np.arange(10, dtype=np.int32)])
    assert scores.es[:, 0].tolist() == [1.0, -1.0]
    assert scores.peak_rank[:, 0].tolist() == [9, 89]
    assert scores.lead_n[:, 0].tolist() == [10, 10]
