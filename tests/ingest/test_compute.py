"""All numbers of a dictionary together: block sizes, zero rows, the universe, ties, and independent recomputation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from featdex.catalogue.errors import UsageError, WeightsError
from featdex.ingest.compute import Numbers, compute_numbers
from featdex.ingest.device import Options, resolve_device
from featdex.ingest.product import block_size, logit_blocks, tile_size
from scipy import stats

Array = np.ndarray[Any, Any]
D_MODEL, N_TOKENS, N_FEATURES = 24, 900, 700


@pytest.fixture(scope="module")
def weights() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    decoder = torch.randn(N_FEATURES, D_MODEL, generator=generator)
    unembedding = torch.randn(D_MODEL, N_TOKENS, generator=generator)
    unembedding[:, 40:60] = unembedding[:, 5:6]
    return decoder, unembedding


@pytest.fixture(scope="module")
def sets() -> list[Array]:
    rng = np.random.default_rng(3)
    chosen = [np.sort(rng.choice(N_TOKENS, n, replace=False)).astype(np.int32) for n in (4, 80, 600)]
    # Half of the tokens that share one unembedding row: ties within and without.
    return [*chosen, np.arange(50, 70, dtype=np.int32)]


def assert_equal_numbers(left: Numbers, right: Numbers) -> None:
    for one, other in ((left.feature, right.feature), (left.enrichment, right.enrichment)):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    np.testing.assert_array_equal(left.top_tokens, right.top_tokens)
    np.testing.assert_array_equal(left.bottom_weights, right.bottom_weights)


@pytest.mark.parametrize("block", [1, 64, 300, 4096])
def test_same_numbers_for_any_block_size_and_thread_count(
    weights: tuple[torch.Tensor, torch.Tensor],
    sets: list[Array],
    block: int,
) -> None:
    expected = compute_numbers(*weights, sets, options=Options(device="cpu"))
    options = Options(device="cpu", block=block, threads=1 + block % 2)
    assert_equal_numbers(compute_numbers(*weights, sets, options=options), expected)


def test_es_of_equal_unembedding_rows_ties_as_in_scipy(
    weights: tuple[torch.Tensor, torch.Tensor], sets: list[Array]
) -> None:
    numbers = compute_numbers(*weights, sets, options=Options(device="cpu"))
    exact = (weights[0].double() @ weights[1].double()).numpy()
    exact[:, 40:60] = exact[:, 5:6]
    for k, ids in enumerate(sets):
        for row in range(0, N_FEATURES, 70):
            oracle = stats.ks_2samp(exact[row, ids], np.delete(exact[row], ids), method="asymp")
            assert abs(numbers.enrichment["es"][k, row]) == pytest.approx(oracle.statistic, abs=1e-6)


def test_statistics_against_float64_weights(weights: tuple[torch.Tensor, torch.Tensor]) -> None:
    numbers = compute_numbers(*weights, [], options=Options(device="cpu"))
    decoder, unembedding = (part.double().numpy() for part in weights)
    logits = decoder @ unembedding
    cosines = logits / np.linalg.norm(decoder, axis=1)[:, None] / np.linalg.norm(unembedding, axis=0)
    for prefix, values in (("", logits), ("cos_", cosines)):
        skewness, kurtosis = stats.skew(values, axis=1), stats.kurtosis(values, axis=1, fisher=False)
        assert numbers.feature[f"{prefix}std"] == pytest.approx(values.std(1), rel=1e-5)
        assert numbers.feature[f"{prefix}mean"] == pytest.approx(values.mean(1), abs=1e-5)
        assert numbers.feature[f"{prefix}skewness"] == pytest.approx(skewness, rel=1e-5, abs=1e-5)
        assert numbers.feature[f"{prefix}kurtosis"] == pytest.approx(kurtosis, rel=1e-5)
    assert numbers.feature["dec_norm"] == pytest.approx(np.linalg.norm(decoder, axis=1), rel=1e-6)
    expected = (stats.skew(logits, axis=1) ** 2 + 1) / stats.kurtosis(logits, axis=1, fisher=False)
    assert numbers.feature["bimodality"] == pytest.approx(expected, rel=1e-5)
    assert numbers.top_weights[:, 0] == pytest.approx(logits.max(1), rel=1e-5)
    assert (logits[np.arange(N_FEATURES), numbers.bottom_tokens[:, 0]] == logits.min(1)).mean() > 0.99


def test_a_zero_decoder_row_is_null_and_changes_nothing_else(
    weights: tuple[torch.Tensor, torch.Tensor], sets: list[Array]
) -> None:
    decoder, unembedding = weights
    with_zero = torch.cat([decoder[:300], torch.zeros(1, D_MODEL), decoder[300:]])
    expected = compute_numbers(decoder, unembedding, sets, options=Options(device="cpu"))
    numbers = compute_numbers(with_zero, unembedding, sets, options=Options(device="cpu"))
    for name, values in numbers.enrichment.items():
        null = np.isnan(values[:, 300]) if values.dtype.kind == "f" else values[:, 300] == -1
        assert null.all(), name
    assert np.isnan(numbers.feature["kurtosis"][300])
    assert numbers.feature["dec_norm"][300] == 0
    rest = np.delete(numbers.enrichment["log10_q_all"], 300, axis=1)
    assert rest == pytest.approx(expected.enrichment["log10_q_all"], rel=1e-5)


def test_tokens_outside_the_universe_take_no_part(
    weights: tuple[torch.Tensor, torch.Tensor], sets: list[Array]
) -> None:
    decoder, unembedding = weights
    expected = compute_numbers(decoder, unembedding, sets, options=Options(device="cpu"))
    padded = torch.cat([torch.full((D_MODEL, 30), 9.0), unembedding], dim=1)
    universe = np.arange(padded.shape[1]) >= 30
    shifted = [(ids + 30).astype(np.int32) for ids in sets]
    shifted[0] = np.concatenate([np.arange(3, dtype=np.int32), shifted[0]])
    numbers = compute_numbers(decoder, padded, shifted, universe=universe, options=Options(device="cpu"))
    assert_equal_numbers(numbers._replace(top_tokens=numbers.top_tokens - 30), expected)


def test_logits_that_overflow_are_refused(weights: tuple[torch.Tensor, torch.Tensor]) -> None:
    decoder = weights[0].clone()
    decoder[9] *= 1e38
    with pytest.raises(WeightsError, match="feature 9 overflow"):
        compute_numbers(decoder, weights[1] * 100, [], options=Options(device="cpu"))


def test_progress_counts_every_feature_once(weights: tuple[torch.Tensor, torch.Tensor]) -> None:
    seen: list[int] = []
    compute_numbers(*weights, [], options=Options(device="cpu", block=256), progress=seen.append)
    assert seen == [256, 512, 700]


def test_blocks_fit_the_memory_and_are_whole_tiles() -> None:
    assert block_size(100_000, 50_257, 1 << 30, 4) == 1024
    assert block_size(100_000, 50_257, 120_000_000, 4) == 512
    assert block_size(100_000, 256_000, 1, 4) == tile_size(100_000)
    assert block_size(3, 50_257, 1 << 30, 4) == 4
    assert block_size(1000, 50_257, 1 << 30, 4, block=257) == 512


def test_blocks_cover_every_feature_in_order(weights: tuple[torch.Tensor, torch.Tensor]) -> None:
    parts = [(start, block.clone()) for start, block in logit_blocks(*weights, 256)]
    assert [start for start, _ in parts] == [0, 256, 512]
    whole = torch.cat([block for _, block in parts])
    torch.testing.assert_close(whole, weights[0] @ weights[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "hint"), [("gpu", "use auto"), ("cuda:99", "--device cpu"), ("cuda:x", "use auto")])
def test_an_unknown_device_says_what_to_use(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        resolve_device(name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_numbers_as_the_cpu(weights: tuple[torch.Tensor, torch.Tensor], sets: list[Array]) -> None:
    options = Options(device="cpu")
    expected = compute_numbers(*weights, sets, options=options)
    found = compute_numbers(*weights, sets, options=replace(options, device="cuda"))
    for name in ("es", "auroc", "z", "log10_p", "log10_p_ks"):
        np.testing.assert_allclose(found.enrichment[name], expected.enrichment[name], rtol=1e-4, atol=2e-3)
