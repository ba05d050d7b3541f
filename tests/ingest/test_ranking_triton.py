"""The Triton kernel against the CPU kernel and plain torch, and a GPU's numbers against the CPU's.

Triton decides when it is imported whether it interprets or compiles. So the kernel's tests run compiled here where
there is a GPU, and interpreted in a process of their own everywhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from featdex.ingest import ranking_cuda
from featdex.ingest.compute import compute_numbers
from featdex.ingest.device import Options
from featdex.ingest.ranking import PackedSets, RowStatistics, SetScores, pack_sets
from featdex.ingest.ranking_cpu import rank_rows
from featdex.ingest.ranking_cuda import rank_rows_cuda
from featdex.ingest.ranking_torch import rank_rows_torch

Array = np.ndarray[Any, Any]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
GPU = torch.cuda.is_available() and not INTERPRETED
DEVICE = "cuda" if GPU else "cpu"

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
runs_kernel = pytest.mark.skipif(
    not (INTERPRETED or GPU), reason="no GPU: test_kernel_in_the_interpreter runs this in a process of its own"
)
needs_gpu = pytest.mark.skipif(not GPU, reason="needs a CUDA device")


def random_sets(rng: np.random.Generator, sizes: list[int], n_tokens: int) -> list[Array]:
    return [np.sort(rng.choice(n_tokens, n, replace=False)).astype(np.int32) for n in sizes]


def random_logits(rng: np.random.Generator, n_rows: int, n_tokens: int, levels: float) -> Array:
    """Skewed values, rounded to that many levels a unit; 0 leaves them as they are."""
    values = rng.standard_normal((n_rows, n_tokens)) + rng.exponential(0.3, (n_rows, n_tokens))
    return (np.round(values * levels) / levels if levels else values).astype(np.float32)


def by_triton(logits: Array, scale: Array, sets: PackedSets) -> tuple[RowStatistics, SetScores]:
    return rank_rows_cuda(torch.from_numpy(logits).to(DEVICE), torch.from_numpy(scale).to(DEVICE), sets)


def assert_same(one: tuple[RowStatistics, SetScores], other: tuple[RowStatistics, SetScores]) -> None:
    names = (*RowStatistics._fields, *SetScores._fields)
    for name, a, b in zip(names, (*one[0], *one[1]), (*other[0], *other[1]), strict=True):
        assert a.dtype == b.dtype, name
        if a.dtype.kind == "i":
            np.testing.assert_array_equal(a, b, err_msg=name)
        elif name in SetScores._fields:
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12, err_msg=name)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10, err_msg=name)


def assert_equals_references(logits: Array, sets: list[Array], *, complement: bool = True) -> None:
    n_tokens = logits.shape[1]
    packed = pack_sets(sets, n_tokens, complement=complement)
    scale = np.linspace(0.5, 2, n_tokens)
    found = by_triton(logits, scale, packed)
    assert_same(found, rank_rows(logits, scale, packed))
    assert_same(found, rank_rows_torch(torch.from_numpy(logits), torch.from_numpy(scale), packed))


@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter")
@needs_triton
def test_kernel_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-k", "kernel", "-p", "no:cacheprovider", __file__]
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@runs_kernel
@needs_triton
def test_kernel_is_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("plain torch scanned the sets")

    monkeypatch.setattr(ranking_cuda, "gathered_extremes", refuse)
    rng = np.random.default_rng(1)
    by_triton(random_logits(rng, 1, 9, 0), np.ones(9), pack_sets(random_sets(rng, [3], 9), 9))


@runs_kernel
@needs_triton
@pytest.mark.parametrize(
    ("n_tokens", "levels"), [(2, 0), (2, 1), (7, 1), (8, 0), (99, 4), (100, 0), (101, 4), (203, 1)]
)
def test_kernel_equals_references_at_any_length(n_tokens: int, levels: float) -> None:
    rng = np.random.default_rng(n_tokens)
    logits = random_logits(rng, 2, n_tokens, levels)
    # Exact references of the moments of a constant row differ by rounding.
    logits[:, 0] += 1
    sizes = [1, max(n_tokens // 2, 1), (n_tokens + 1) // 2, n_tokens - 1]
    assert_equals_references(logits, random_sets(rng, sizes, n_tokens))


@runs_kernel
@needs_triton
@pytest.mark.parametrize(("n_sets", "levels"), [(31, 0), (32, 2), (33, 5), (65, 0)])
def test_kernel_equals_references_for_any_number_of_sets(n_sets: int, levels: float) -> None:
    rng = np.random.default_rng(n_sets)
    sizes = rng.integers(1, 49, n_sets).tolist()
    logits = random_logits(rng, 2 if n_sets == 33 else 1, 50, levels)
    assert_equals_references(logits, random_sets(rng, sizes, 50))


@runs_kernel
@needs_triton
def test_kernel_scores_large_sets_held_whole() -> None:
    rng = np.random.default_rng(4)
    logits = random_logits(rng, 2, 150, 3)
    assert_equals_references(logits, random_sets(rng, [100, 149], 150), complement=False)


@runs_kernel
@needs_triton
def test_kernel_takes_the_first_of_equal_peaks() -> None:
    """Members at every other rank: the running sum reaches its peak, or its trough, again and again."""
    logits = -np.arange(64, dtype=np.float32)[None]
    even, odd = np.arange(0, 64, 2, dtype=np.int32), np.arange(1, 64, 2, dtype=np.int32)
    assert_equals_references(logits, [even, odd])
    logits = np.zeros((1, 64), np.float32)
    logits[0, 0] = 1
    assert_equals_references(logits, [even, odd, even[:3]])


@runs_kernel
@needs_triton
def test_kernel_gives_zero_where_all_tokens_tie() -> None:
    sets = pack_sets([np.arange(4, dtype=np.int32), np.arange(40, dtype=np.int32)], 50)
    logits = np.zeros((1, 50), np.float32)
    found, expected = by_triton(logits, np.ones(50), sets)[1], rank_rows(logits, np.ones(50), sets)[1]
    for name in SetScores._fields:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert found.es.tolist() == [[0.0], [0.0]]


@runs_kernel
@needs_triton
def test_kernel_sums_in_64_bits_where_32_would_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    from featdex.ingest import ranking_triton

    rng = np.random.default_rng(6)
    if GPU:
        # V^2 / 4 is over 2^31 from 92,682 tokens on.
        logits = random_logits(rng, 2, 200_003, 0)
        return assert_equals_references(logits, random_sets(rng, [1, 100_000, 200_000], 200_003))
    monkeypatch.setattr(ranking_triton, "_NARROW_TOKENS", 1)
    assert_equals_references(random_logits(rng, 2, 120, 3), random_sets(rng, [1, 60, 119], 120))


@runs_kernel
@needs_triton
def test_kernel_leaves_statistics_out_when_asked() -> None:
    rng = np.random.default_rng(7)
    logits = random_logits(rng, 3, 60, 2)
    packed = pack_sets(random_sets(rng, [5, 50], 60), 60)
    on_device = torch.from_numpy(logits).to(DEVICE), torch.ones(60, dtype=torch.float64, device=DEVICE)
    _, without = rank_rows_cuda(*on_device, packed, wants_statistics=False)
    _, scores = rank_rows_cuda(*on_device, packed)
    for one, other in zip(without, scores, strict=True):
        np.testing.assert_array_equal(one, other)


def test_fallback_without_triton_is_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking_cuda, "_triton_runs", lambda: False)
    rng = np.random.default_rng(8)
    sets = random_sets(rng, [1, 40, 120], 130)
    assert_equals_references(random_logits(rng, 4, 130, 3), sets)


@needs_triton
@pytest.mark.skipif(INTERPRETED or GPU, reason="Triton runs here")
def test_fallback_says_why_triton_does_not_run() -> None:
    ranking_cuda._triton_runs.cache_clear()
    with pytest.warns(UserWarning, match="scanned by plain torch"):
        assert not ranking_cuda._triton_runs()
    ranking_cuda._triton_runs.cache_clear()


def test_fallback_scores_weighted_hits() -> None:
    rng = np.random.default_rng(8)
    logits = random_logits(rng, 4, 130, 0)
    packed = pack_sets(random_sets(rng, [1, 40, 120], 130), 130, complement=False)
    on_device = torch.from_numpy(logits).to(DEVICE), torch.ones(130, dtype=torch.float64, device=DEVICE)
    _, found = rank_rows_cuda(*on_device, packed, weight=1.0)
    _, expected = rank_rows(logits, np.ones(130), packed, weight=1.0)
    for name in ("es", "es_opposed", "auroc", "top_hits", "bottom_hits"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-12, err_msg=name)


def test_statistics_need_no_sets() -> None:
    logits = random_logits(np.random.default_rng(9), 2, 40, 0)
    found, scores = by_triton(logits, np.ones(40), pack_sets([], 40))
    assert scores.es.shape == (0, 2)
    expected, _ = rank_rows(logits, np.ones(40), pack_sets([], 40))
    assert_same((found, scores), (expected, scores))


def test_computing_imports_no_triton() -> None:
    code = "import sys, featdex.ingest.compute; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


@needs_gpu
def test_gpu_kernel_equals_references_on_a_whole_vocabulary() -> None:
    rng = np.random.default_rng(10)
    sizes = [1, 20, 500, 25_128, 25_129, 50_256, *rng.integers(1, 3000, 94).tolist()]
    assert_equals_references(random_logits(rng, 16, 50_257, 0), random_sets(rng, sizes, 50_257))
    assert_equals_references(random_logits(rng, 16, 50_257, 50), random_sets(rng, sizes, 50_257))


@needs_gpu
def test_gpu_gives_the_cpus_numbers() -> None:
    """Products may differ in the last bit, and so swap neighbours; nothing else may differ."""
    generator, rng = torch.Generator().manual_seed(11), np.random.default_rng(11)
    decoder, unembedding = torch.randn(700, 64, generator=generator), torch.randn(64, 5003, generator=generator)
    sets = random_sets(rng, [3, 80, 900, 4000], 5003)
    expected = compute_numbers(decoder, unembedding, sets, options=Options(device="cpu", directions=300))
    found = compute_numbers(decoder, unembedding, sets, options=Options(device="cuda", directions=300))
    close = np.abs(found.enrichment["es"] - expected.enrichment["es"]) <= 1e-6
    assert close.mean() >= 0.999
    np.testing.assert_allclose(found.enrichment["es"], expected.enrichment["es"], atol=2 / 3000)
    for name in ("auroc", "z", "log10_p"):
        np.testing.assert_allclose(
            found.enrichment[name], expected.enrichment[name], rtol=1e-4, atol=1e-4, err_msg=name
        )
    for name in ("mean", "std", "skewness", "kurtosis", "cos_kurtosis", "q50"):
        np.testing.assert_allclose(found.feature[name], expected.feature[name], rtol=1e-4, atol=1e-4, err_msg=name)
    assert (found.top_tokens == expected.top_tokens).mean() >= 0.999
