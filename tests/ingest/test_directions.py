"""z, its p and mean differences against numpy, scipy and 20,000 random directions."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from featdex.ingest.beta_tail import log10_p_of_cosine
from featdex.ingest.directions import decoder_covariance, direction_scores, set_contrasts
from scipy import stats

Array = np.ndarray[Any, Any]
D_MODEL, N_TOKENS = 48, 700


def skewed_cloud(rng: np.random.Generator, n_rows: int, width: int) -> torch.Tensor:
    """Rows with strong common directions, as decoders and unembeddings have."""
    mixing = rng.standard_normal((width, width)) * rng.exponential(1, width)
    return torch.from_numpy((rng.standard_normal((n_rows, width)) @ mixing).astype(np.float32))


@pytest.fixture(scope="module")
def decoder() -> torch.Tensor:
    return skewed_cloud(np.random.default_rng(1), 600, D_MODEL)


@pytest.fixture(scope="module")
def unembedding() -> torch.Tensor:
    return skewed_cloud(np.random.default_rng(2), N_TOKENS, D_MODEL).T.contiguous()


@pytest.fixture(scope="module")
def sets() -> list[Array]:
    rng = np.random.default_rng(3)
    return [np.sort(rng.choice(N_TOKENS, n, replace=False)).astype(np.int32) for n in (5, 60, 650)]


def oracle_contrast(unembedding: torch.Tensor, ids: Array) -> Array:
    tokens = unembedding.numpy().T.astype(np.float64)
    return np.asarray(tokens[ids].mean(0) - np.delete(tokens, ids, axis=0).mean(0))


def test_contrasts_are_differences_of_means(unembedding: torch.Tensor, sets: list[Array]) -> None:
    expected = np.stack([oracle_contrast(unembedding, ids) for ids in sets])
    assert set_contrasts(unembedding, sets).numpy() == pytest.approx(expected, abs=1e-10)


def test_z_p_and_mean_difference_by_hand(decoder: torch.Tensor, unembedding: torch.Tensor, sets: list[Array]) -> None:
    covariance = decoder_covariance(decoder)
    z, log10_p, mean_diff = direction_scores(decoder, set_contrasts(unembedding, sets), covariance)
    raw = decoder.numpy().astype(np.float64)
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    sigma = sum(np.outer(row, row) for row in unit) / len(unit)
    logits = raw @ unembedding.numpy().astype(np.float64)
    for k, ids in enumerate(sets):
        delta = oracle_contrast(unembedding, ids)
        expected = unit @ delta / np.sqrt(delta @ sigma @ delta)
        assert z[k] == pytest.approx(expected, rel=1e-8)
        difference = logits[:, ids].mean(1) - np.delete(logits, ids, axis=1).mean(1)
        assert mean_diff[k] == pytest.approx(difference, rel=1e-6, abs=1e-8)
        root = np.linalg.cholesky(sigma)
        whitened = np.linalg.solve(root, unit.T).T
        axis = root.T @ delta
        cosine = whitened @ axis / np.linalg.norm(whitened, axis=1) / np.linalg.norm(axis)
        tail = stats.beta.logsf(cosine**2, 0.5, (D_MODEL - 1) / 2) / np.log(10)
        assert log10_p[k] == pytest.approx(tail, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", ["decoder", "isotropic"])
def test_p_is_uniform_over_random_directions(
    decoder: torch.Tensor, unembedding: torch.Tensor, sets: list[Array], kind: str
) -> None:
    covariance = decoder_covariance(decoder, kind)
    rng = np.random.default_rng(4)
    root = np.linalg.cholesky(covariance.sigma.numpy())
    directions = torch.from_numpy((rng.standard_normal((20_000, D_MODEL)) @ root.T).astype(np.float32))
    z, log10_p, _ = direction_scores(directions, set_contrasts(unembedding, sets), covariance)
    for k in range(len(sets)):
        # Binomial bands of four standard errors around the nominal rates.
        assert np.mean(log10_p[k] < np.log10(0.05)) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 20_000))
        assert np.mean(log10_p[k] < -3) == pytest.approx(1e-3, abs=4 * np.sqrt(1e-3 / 20_000))
        assert stats.kstest(10 ** log10_p[k], "uniform").pvalue > 1e-4
        assert np.mean(z[k] > 0) == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 20_000))


def test_p_does_not_depend_on_the_length_of_a_row_and_its_sign_only_flips_z(
    decoder: torch.Tensor, unembedding: torch.Tensor, sets: list[Array]
) -> None:
    covariance = decoder_covariance(decoder)
    contrasts = set_contrasts(unembedding, sets)
    z, log10_p, mean_diff = direction_scores(decoder, contrasts, covariance)
    flipped = direction_scores(decoder * -8, contrasts, covariance)
    assert flipped[0] == pytest.approx(-z, rel=1e-12)
    assert flipped[1] == pytest.approx(log10_p, rel=1e-10)
    assert flipped[2] == pytest.approx(-8 * mean_diff, rel=1e-12)


def test_too_few_rows_give_an_isotropic_covariance(decoder: torch.Tensor) -> None:
    covariance = decoder_covariance(decoder[: 2 * D_MODEL - 1])
    assert covariance.kind == "isotropic"
    assert covariance.sigma.diagonal().sum().item() == pytest.approx(1)


def test_a_zero_row_has_no_z(decoder: torch.Tensor, unembedding: torch.Tensor, sets: list[Array]) -> None:
    with_zero = decoder.clone()
    with_zero[7] = 0
    z, log10_p, _ = direction_scores(with_zero, set_contrasts(unembedding, sets), decoder_covariance(with_zero))
    assert np.isnan(z[:, 7]).all()
    assert np.isnan(log10_p[:, 7]).all()
    assert np.isfinite(np.delete(z, 7, axis=1)).all()


def test_decoder_in_a_subspace_is_tested_in_that_subspace(unembedding: torch.Tensor, sets: list[Array]) -> None:
    rng = np.random.default_rng(5)
    basis = np.linalg.qr(rng.standard_normal((D_MODEL, 10)))[0]
    rows = torch.from_numpy((rng.standard_normal((400, 10)) @ basis.T).astype(np.float32))
    covariance = decoder_covariance(rows)
    assert covariance.rank == 10
    _, log10_p, _ = direction_scores(rows, set_contrasts(unembedding, sets), covariance)
    assert np.mean(log10_p < np.log10(0.05)) == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize("dimension", [3, 48, 576, 4096])
def test_beta_tail_against_fifty_digits(dimension: int) -> None:
    cosines = np.array([1e-9, 0.001, 0.05, 0.3, 0.7, 0.95, 0.999, 1 - 1e-9])
    found = log10_p_of_cosine(cosines, dimension)
    with mpmath.workdps(50):
        for cosine, log10_p in zip(cosines, found, strict=True):
            y = 1 - mpmath.mpf(float(cosine)) ** 2
            exact = mpmath.betainc(mpmath.mpf(dimension - 1) / 2, 0.5, 0, y, regularized=True)
            assert log10_p == pytest.approx(float(mpmath.log10(exact)), rel=1e-9, abs=1e-9)


def test_p_is_never_zero() -> None:
    assert np.isfinite(log10_p_of_cosine(np.array([1.0, -1.0, 1 + 1e-12]), 4096)).all()
    assert log10_p_of_cosine(np.array([0.0]), 10).tolist() == [0.0]
