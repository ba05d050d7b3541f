"""The same numbers wherever and however a dictionary is cut: several devices, and runs of features by themselves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from featdex.catalogue.errors import UsageError, WeightsError
from featdex.ingest import compute
from featdex.ingest.blocks import Place
from featdex.ingest.compute import Numbers, compute_numbers, stored_numbers
from featdex.ingest.device import Options, resolve_devices
from featdex.ingest.feature_columns import SPAN_STEP, Results, lay_ground, nulls_of, write_features
from featdex.ingest.product import full_float32
from featdex.ingest.ranking import PackedSets
from featdex.ingest.ranking_cuda import rank_rows_cuda
from featdex.ingest.scratch import FeatureColumns, Scratch, SetColumns
from featdex.ingest.significance import write_q_columns

Array = np.ndarray[Any, Any]
D_MODEL, N_TOKENS, N_FEATURES = 24, 700, 2 * SPAN_STEP + 300
OPTIONS = Options(device="cpu", directions=300, block=256)


@pytest.fixture(scope="module")
def weights() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    decoder = torch.randn(N_FEATURES, D_MODEL, generator=generator)
    decoder[SPAN_STEP + 7] = 0
    return decoder, torch.randn(D_MODEL, N_TOKENS, generator=generator)


@pytest.fixture(scope="module")
def sets() -> list[Array]:
    rng = np.random.default_rng(5)
    return [np.sort(rng.choice(N_TOKENS, n, replace=False)).astype(np.int32) for n in (3, 60, 500)]


@pytest.fixture(scope="module")
def covariates() -> Array:
    return np.random.default_rng(6).normal(size=(2, N_TOKENS))


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 2)
    yield
    torch.set_num_threads(before)


def rank_by_torch(self: Place, logits: torch.Tensor, packed: PackedSets, options: Options, wants: bool) -> Any:
    return rank_rows_cuda(logits, self.scale, packed, weight=options.weight, wants_statistics=wants)


def assert_same(left: Numbers, right: Numbers) -> None:
    for one, other in ((left.feature, right.feature), (left.enrichment, right.enrichment), (left.null, right.null)):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    for name in ("top_tokens", "top_weights", "bottom_tokens", "bottom_weights", "correlation"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


def test_several_devices_share_the_blocks_and_give_the_same(
    weights: tuple[torch.Tensor, torch.Tensor], sets: list[Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    used = set()

    def rank(self: Place, *arguments: Any) -> Any:
        used.add(threading.current_thread())
        return rank_by_torch(self, *arguments)

    monkeypatch.setattr(Place, "rank", rank)
    expected = compute_numbers(*weights, sets, options=OPTIONS)
    assert used == {threading.main_thread()}
    monkeypatch.setattr(compute, "resolve_devices", lambda name: [torch.device("cpu")] * 3)
    seen: list[int] = []
    assert_same(compute_numbers(*weights, sets, options=OPTIONS, progress=seen.append), expected)
    assert len(used) > 2
    assert seen == sorted(seen)
    assert seen[-1] == N_FEATURES


def test_a_fault_on_one_device_ends_all(
    weights: tuple[torch.Tensor, torch.Tensor], sets: list[Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked = []

    def rank(self: Place, logits: torch.Tensor, packed: PackedSets, options: Options, wants: bool) -> Any:
        ranked.append(len(logits))
        if wants and len(ranked) > 4:
            raise WeightsError("worn out")
        return rank_by_torch(self, logits, packed, options, wants)

    monkeypatch.setattr(Place, "rank", rank)
    monkeypatch.setattr(compute, "resolve_devices", lambda name: [torch.device("cpu")] * 2)
    precision = torch.get_float32_matmul_precision()
    with pytest.raises(WeightsError, match="worn out"):
        compute_numbers(*weights, sets, options=OPTIONS)
    assert len(ranked) < 2 + N_FEATURES // 256
    assert torch.get_float32_matmul_precision() == precision


@pytest.mark.usefixtures("one_thread")
def test_runs_of_features_give_what_the_whole_gives(
    weights: tuple[torch.Tensor, torch.Tensor], sets: list[Array], covariates: Array
) -> None:
    """Each run with nulls that came from elsewhere, other blocks, another number of threads, and in any order."""
    torch.set_num_threads(2)
    expected = compute_numbers(*weights, sets, covariates=covariates, options=OPTIONS)
    torch.set_num_threads(1)
    whole = Results(
        FeatureColumns(Scratch(), N_FEATURES),
        FeatureColumns(Scratch(), N_FEATURES),
        SetColumns(Scratch(), len(sets), N_FEATURES),
    )
    options = Options(device="cpu", directions=300, block=512)
    for start in (2 * SPAN_STEP, 0, SPAN_STEP):
        span = range(start, min(start + SPAN_STEP, N_FEATURES))
        ground = lay_ground(
            weights[1], sets, [torch.device("cpu")], universe=None, covariates=covariates, options=options
        )
        nulls = nulls_of(ground, weights[0]).to(torch.device("cpu"))
        part = Results(
            FeatureColumns(Scratch(), len(span)),
            FeatureColumns(Scratch(), len(span)),
            SetColumns(Scratch(), len(sets), len(span)),
        )
        write_features(ground, nulls, weights[0], span, part)
        whole.feature.write(part.feature.read(0, len(span)), start)
        whole.tokens.write(part.tokens.read(0, len(span)), start)
        whole.enrichment.write(part.enrichment.arrays(), 0, start)
    write_q_columns(whole.enrichment, Scratch())
    assert_same(stored_numbers(whole, nulls).arrays(), expected)


def test_full_precision_is_put_back() -> None:
    before = torch.get_float32_matmul_precision()
    with full_float32():
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_float32_matmul_precision() == before


def test_all_gpus_are_asked_for_by_name() -> None:
    assert [device.type for device in resolve_devices("cpu")] == ["cpu"]
    if torch.cuda.is_available():
        assert len(resolve_devices("cuda:all")) == torch.cuda.device_count()
    else:
        with pytest.raises(UsageError, match="no cuda:all here"):
            resolve_devices("cuda:all")
