"""Evidence of every kind, each against an oracle: nulls, normalised scores, hits, confounds, variance inflation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from featdex.ingest.compute import compute_numbers
from featdex.ingest.device import Options
from featdex.ingest.directions import (
    adjusted_contrasts,
    decoder_covariance,
    direction_scores,
    nuisance_directions,
    set_contrasts,
    variance_inflation,
)
from featdex.ingest.hypergeometric import log10_p_hits
from featdex.ingest.nuisance import token_covariates
from featdex.ingest.random_directions import draw_directions, log10_p_es, normalised_scores, summarise_null
from featdex.ingest.vocabulary import vocabulary_from_raw
from scipy import stats

Array = np.ndarray[Any, Any]
D_MODEL, N_TOKENS, N_FEATURES = 20, 400, 120


@pytest.fixture(scope="module")
def decoder() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    scale = torch.linspace(0.2, 3, D_MODEL)
    return torch.randn(N_FEATURES, D_MODEL, generator=generator) * scale


@pytest.fixture(scope="module")
def unembedding() -> torch.Tensor:
    return torch.randn(D_MODEL, N_TOKENS, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def sets() -> list[Array]:
    rng = np.random.default_rng(3)
    return [np.sort(rng.choice(N_TOKENS, n, replace=False)).astype(np.int32) for n in (6, 90, 310)]


def covariates() -> Array:
    rng = np.random.default_rng(4)
    return np.stack([np.log1p(np.arange(N_TOKENS)), rng.integers(0, 2, N_TOKENS).astype(float)])


def test_directions_have_the_decoders_covariance(decoder: torch.Tensor) -> None:
    covariance = decoder_covariance(decoder)
    draws = draw_directions(covariance, 60_000, seed=5).double()
    torch.testing.assert_close(draws.T @ draws / len(draws), covariance.sigma, rtol=0.1, atol=2e-3)


def test_directions_depend_on_the_seed_and_on_nothing_else(decoder: torch.Tensor) -> None:
    covariance = decoder_covariance(decoder)
    many = draw_directions(covariance, 700, seed=5)
    assert torch.equal(draw_directions(covariance, 300, seed=5), many[:300])
    assert not torch.equal(draw_directions(covariance, 300, seed=6), many[:300])
    assert len(torch.unique(many, dim=0)) == 700


@pytest.mark.parametrize(("block", "threads"), [(1, 1), (64, 2), (4096, 2)])
def test_null_columns_do_not_depend_on_blocks_or_threads(
    decoder: torch.Tensor, unembedding: torch.Tensor, sets: list[Array], block: int, threads: int
) -> None:
    def columns(options: Options) -> list[Array]:
        numbers = compute_numbers(decoder, unembedding, sets, options=options)
        return [numbers.enrichment["nes"], numbers.enrichment["log10_p_es"], *numbers.null.values()]

    expected = columns(Options(device="cpu", directions=600))
    found = columns(Options(device="cpu", directions=600, block=block, threads=threads))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_nes_and_p_es_by_hand(decoder: torch.Tensor, unembedding: torch.Tensor, sets: list[Array]) -> None:
    options = Options(device="cpu", directions=500, seed=9)
    numbers = compute_numbers(decoder, unembedding, sets, options=options)
    draws = draw_directions(decoder_covariance(decoder), 500, seed=9)
    logits = (draws @ unembedding).numpy()
    for k, ids in enumerate(sets):
        null = []
        for row in logits:
            rest = np.delete(row, ids)
            up = stats.ks_2samp(row[ids], rest, alternative="less", method="asymp").statistic
            down = stats.ks_2samp(row[ids], rest, alternative="greater", method="asymp").statistic
            null.append(up if up >= down - 1e-12 else -down)
        scores = np.array(null)
        assert numbers.null["es_null_mean_pos"][k] == pytest.approx(scores[scores > 0].mean(), rel=1e-5)
        assert numbers.null["es_null_mean_neg"][k] == pytest.approx(-scores[scores < 0].mean(), rel=1e-5)
        assert numbers.null["es_null_q95"][k] == pytest.approx(np.quantile(scores, 0.95), rel=1e-5)
        for feature in range(0, N_FEATURES, 17):
            es = float(numbers.enrichment["es"][k, feature])
            same = scores[scores > 0].mean() if es > 0 else -scores[scores < 0].mean()
            assert numbers.enrichment["nes"][k, feature] == pytest.approx(es / same, rel=1e-5)
            b = int((abs(scores) >= abs(es) - 1e-7).sum())
            assert 10 ** numbers.enrichment["log10_p_es"][k, feature] == pytest.approx((b + 1) / 501, rel=1e-5)


def test_p_es_is_never_zero_and_missing_stays_missing() -> None:
    null = summarise_null(np.array([[0.1, -0.2, 0.3]]))
    assert 10 ** log10_p_es(np.array([[0.9, -0.2, 0.0]]), null)[0] == pytest.approx([1 / 4, 3 / 4, 1])
    assert np.isnan(log10_p_es(np.array([[np.nan]]), null)).all()
    one_sided = summarise_null(np.array([[0.1, 0.3]]))
    assert normalised_scores(np.array([[0.4, -0.4, 0.0]]), one_sided)[0, [0, 2]].tolist() == [2.0, 0.0]
    assert np.isnan(normalised_scores(np.array([[-0.4]]), one_sided)).all()


@pytest.mark.parametrize(("n", "drawn"), [(1, 100), (7, 100), (300, 100), (49_000, 100), (60, 3), (5, 0)])
def test_p_of_hits_is_scipys_hypergeometric_tail(n: int, drawn: int) -> None:
    most = min(n, drawn)
    hits = np.arange(max(0, drawn - (50_257 - n)), most + 1).astype(np.int16)
    found = log10_p_hits(hits, np.full(len(hits), drawn, np.int16), n, 50_257)
    oracle = stats.hypergeom.logsf(hits - 1, 50_257, n, drawn) / np.log(10)
    assert found == pytest.approx(oracle, rel=1e-6, abs=1e-9)


def test_z_adj_is_z_of_the_residual_of_a_weighted_regression(
    decoder: torch.Tensor, unembedding: torch.Tensor, sets: list[Array]
) -> None:
    numbers = compute_numbers(decoder, unembedding, sets, covariates=covariates(), options=Options(device="cpu"))
    raw = decoder.double().numpy()
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    sigma = unit.T @ unit / len(unit)
    root = np.linalg.cholesky(sigma).T
    tokens = unembedding.double().numpy().T
    design = np.column_stack([np.ones(N_TOKENS), *covariates()])
    slopes = np.linalg.lstsq(design, tokens, rcond=None)[0][1:]
    assert numbers.nuisance == pytest.approx(slopes, rel=1e-6, abs=1e-9)
    for k, ids in enumerate(sets):
        delta = tokens[ids].mean(0) - np.delete(tokens, ids, axis=0).mean(0)
        # Sigma-orthogonal: the residual of root @ delta on root @ slopes.
        fit = np.linalg.lstsq(root @ slopes.T, root @ delta, rcond=None)[0]
        rest = delta - slopes.T @ fit
        expected = unit @ rest / np.sqrt(rest @ sigma @ rest)
        assert numbers.enrichment["z_adj"][k] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_a_set_that_is_a_nuisance_has_no_adjusted_z(decoder: torch.Tensor, unembedding: torch.Tensor) -> None:
    ids = np.arange(0, N_TOKENS, 3, dtype=np.int32)
    indicator = np.zeros((1, N_TOKENS))
    indicator[0, ids] = 1
    numbers = compute_numbers(decoder, unembedding, [ids], covariates=indicator, options=Options(device="cpu"))
    assert np.isnan(numbers.enrichment["z_adj"]).all()
    assert np.isnan(numbers.enrichment["log10_p_adj"]).all()
    assert np.isfinite(numbers.enrichment["z"]).all()


def test_adjusted_p_is_uniform_over_random_directions(
    decoder: torch.Tensor, unembedding: torch.Tensor, sets: list[Array]
) -> None:
    covariance = decoder_covariance(decoder)
    nuisance = nuisance_directions(unembedding, covariates())
    contrasts = adjusted_contrasts(set_contrasts(unembedding, sets), nuisance, covariance)
    _, log10_p, _ = direction_scores(draw_directions(covariance, 20_000, seed=1), contrasts, covariance)
    for row in log10_p:
        assert np.mean(row < np.log10(0.05)) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 20_000))
        assert np.mean(row < -3) == pytest.approx(1e-3, abs=4 * np.sqrt(1e-3 / 20_000))


def test_variance_inflation_is_a_ratio_of_two_variances(
    decoder: torch.Tensor, unembedding: torch.Tensor, sets: list[Array]
) -> None:
    covariance = decoder_covariance(decoder)
    sizes = np.array([len(ids) for ids in sets], dtype=np.int64)
    found = variance_inflation(unembedding, set_contrasts(unembedding, sets), sizes, covariance)
    directions = draw_directions(covariance, 20_000, seed=2).double().numpy()
    logits = directions @ unembedding.double().numpy()
    for k, ids in enumerate(sets):
        difference = logits[:, ids].mean(1) - np.delete(logits, ids, axis=1).mean(1)
        by_random_tokens = logits.var(1).mean() * (1 / len(ids) + 1 / (N_TOKENS - len(ids)))
        assert found[k] == pytest.approx(difference.var() / by_random_tokens, rel=0.05)


def test_weighted_scores_have_no_ks_p(decoder: torch.Tensor, unembedding: torch.Tensor, sets: list[Array]) -> None:
    weighted = compute_numbers(decoder, unembedding, sets, options=Options(device="cpu", weight=1.0, directions=50))
    plain = compute_numbers(decoder, unembedding, sets, options=Options(device="cpu", directions=50))
    assert np.isnan(weighted.enrichment["log10_p_ks"]).all()
    assert not np.allclose(weighted.enrichment["es"], plain.enrichment["es"])
    np.testing.assert_array_equal(weighted.enrichment["z"], plain.enrichment["z"])
    np.testing.assert_array_equal(weighted.enrichment["top_hits"], plain.enrichment["top_hits"])


def test_no_p_or_q_is_zero_nan_or_infinite(unembedding: torch.Tensor, sets: list[Array]) -> None:
    contrasts = set_contrasts(unembedding, sets).float()
    generator = torch.Generator().manual_seed(8)
    rows = torch.cat([torch.randn(100, D_MODEL, generator=generator), contrasts * 1e6, -contrasts])
    numbers = compute_numbers(rows, unembedding, sets, covariates=covariates(), options=Options(device="cpu"))
    for name, values in numbers.enrichment.items():
        if name.startswith("log10_"):
            assert np.isfinite(values).all(), name
            assert (values <= 0).all(), name


def test_token_covariates_are_frequency_space_and_capital() -> None:
    vocabulary = vocabulary_from_raw(["a", "ĠMary", "Mary", "Ġthe", "Ġ", "ÃĢ"], "byte_level", [])
    found = token_covariates(vocabulary)
    assert found[0] == pytest.approx(np.log([1, 2, 3, 4, 5, 6]))
    assert found[1].tolist() == [0, 1, 0, 1, 1, 0]
    assert found[2].tolist() == [0, 1, 1, 0, 0, 1]
