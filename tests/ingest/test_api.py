"""The Python functions, as a notebook calls them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import featdex
import numpy as np
import pytest
import torch
from featdex.catalogue.errors import TokenSetError, UsageError, WeightsError
from scipy import stats
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

Pair = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def arrays() -> Pair:
    rng = np.random.default_rng(1)
    return rng.standard_normal((60, 16)).astype(np.float32), rng.standard_normal((16, 300)).astype(np.float32)


def test_feature_statistics_has_a_row_a_feature(arrays: Pair) -> None:
    table = featdex.feature_statistics(*arrays)
    logits = arrays[0].astype(float) @ arrays[1].astype(float)
    assert table.num_rows == 60
    assert table["kurtosis"].to_pylist() == pytest.approx(stats.kurtosis(logits, axis=1, fisher=False), rel=1e-5)
    assert table["top_token_ids"][7].as_py() == np.argsort(-logits[7])[:20].tolist()
    assert len(table["histogram"][0].as_py()) == 50


def test_enrichment_has_a_row_a_set_and_feature(arrays: Pair) -> None:
    table = featdex.enrichment(*arrays, {"low": range(10), "some": [250, 3, 250, 77]})
    assert table.num_rows == 120
    assert table["set_name"].to_pylist() == ["low"] * 60 + ["some"] * 60
    assert set(table["n_tokens"].to_pylist()) == {10, 3}
    logits = arrays[0] @ arrays[1]
    oracle = stats.ks_2samp(logits[5, :10], logits[5, 10:], method="asymp").statistic
    assert abs(table["es"][5].as_py()) == pytest.approx(oracle, abs=1e-6)


def test_torch_numpy_and_half_precision_are_taken(arrays: Pair) -> None:
    expected = featdex.enrichment(*arrays, {"low": range(10)})
    decoder, unembedding = (torch.from_numpy(array).requires_grad_() for array in arrays)
    assert featdex.enrichment(decoder, unembedding, {"low": torch.arange(10)}).equals(expected)
    decoder, unembedding = decoder.bfloat16(), unembedding.bfloat16()
    wide = featdex.enrichment(decoder.detach().double().numpy(), unembedding.detach().double(), {"low": range(10)})
    assert featdex.enrichment(decoder, unembedding, {"low": range(10)}).equals(wide)


def test_columns_of_zeros_take_no_part(arrays: Pair) -> None:
    decoder, unembedding = arrays
    padded = np.concatenate([unembedding, np.zeros((16, 50), np.float32)], axis=1)
    sets = {"low": np.arange(10)}
    assert featdex.enrichment(decoder, padded, sets).equals(featdex.enrichment(decoder, unembedding, sets))


def test_bad_input_is_one_line(arrays: Pair) -> None:
    decoder, unembedding = arrays
    broken = decoder.copy()
    broken[3, 2] = np.nan
    cases: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (WeightsError, "transposed", lambda: featdex.feature_statistics(decoder, unembedding.T)),
        (WeightsError, "first at feature 3", lambda: featdex.feature_statistics(broken, unembedding)),
        (WeightsError, "must be a matrix", lambda: featdex.feature_statistics(decoder[0], unembedding)),
        (WeightsError, "must hold floats", lambda: featdex.feature_statistics(decoder.astype(int), unembedding)),
        (TokenSetError, "nothing", lambda: featdex.enrichment(decoder, unembedding, {"nothing": []})),
        (TokenSetError, "far", lambda: featdex.enrichment(decoder, unembedding, {"far": [300]})),
        (UsageError, "no tokenizer", lambda: featdex.token_sets("/nowhere")),
    ]
    for kind, words, call in cases:
        with pytest.raises(kind, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_token_sets_takes_a_tokenizer_and_its_folder(tmp_path: Path) -> None:
    words = ["Mary", " Mary", " Anna", " Emily", " Susan", " Linda", " John", "7", "8", "9", "1", "2", "x", "(", " ("]
    vocabulary = {word.replace(" ", "Ġ"): token_id for token_id, word in enumerate(words)}
    bare = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare)  # type: ignore[no-untyped-call]
    sets = featdex.token_sets(tokenizer, collections=["names", "shape"])
    assert sets["girls_names"].tolist() == [1, 2, 3, 4, 5]
    assert sets["digits_1"].tolist() == [7, 8, 9, 10, 11]
    tokenizer.save_pretrained(tmp_path)
    again = featdex.token_sets(tmp_path, collections=["names", "shape"])
    assert {name: ids.tolist() for name, ids in again.items()} == {name: ids.tolist() for name, ids in sets.items()}
