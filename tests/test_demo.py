"""The demo's catalogue, computed from the real SmolLM2-135M, against numbers recomputed from its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from featdex.catalogue.catalogue import Catalogue, connect
from featdex.catalogue.doctor import examine
from featdex.ingest.demo import demo_gguf
from featdex.ingest.model_gguf import read_gguf
from featdex.ingest.product import logit_blocks
from gguf import GGUFReader
from gguf.quants import dequantize
from scipy import stats

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def demo(demo_folder: Path) -> Catalogue:
    return connect(demo_folder / "demo.duckdb")


@pytest.fixture(scope="module")
def tensors(demo_folder: Path) -> dict[str, Array]:
    """The weights straight from the GGUF file, in float64."""
    wanted = ("token_embd.weight", "output_norm.weight", "blk.29.ffn_down.weight", "blk.23.ffn_down.weight")
    reader = GGUFReader(str(demo_gguf()))
    return {
        part.name: dequantize(part.data, part.tensor_type).astype(np.float64)
        for part in reader.tensors
        if part.name in wanted
    }


@pytest.fixture(scope="module")
def unembedding(tensors: dict[str, Array]) -> Array:
    folded = tensors["token_embd.weight"] * tensors["output_norm.weight"]
    return np.asarray((folded - folded.mean(0)).T)


def test_it_holds_the_sae_and_ten_layers_of_neurons(demo: Catalogue) -> None:
    rows = demo.sql("SELECT sae, d_sae, n_features, n_sets FROM coverage ORDER BY sae").fetchall()
    assert [row[0] for row in rows] == [f"smollm2-135m/{layer}" for layer in _expected_layers()]
    assert sum(row[2] for row in rows) == 19_968
    assert all(row[1] == row[2] for row in rows)
    assert {row[3] for row in rows} == {demo.sql("SELECT count(*) FROM token_set").fetchall()[0][0]}
    assert rows[0][3] >= 60


def _expected_layers() -> list[str]:
    return sorted(["20-res-demo", *(f"{layer}-mlp" for layer in range(20, 30))])


def test_girls_names_lead_to_the_woman_and_she_neurons(demo: Catalogue) -> None:
    rows = demo.query("enriched_for", set_name="girls_names", min_kurtosis=8).to_arrow_table().to_pylist()
    first, second = rows[:2]
    assert (first["sae"], first["feature"]) == ("smollm2-135m/29-mlp", 573)
    assert first["z"] == pytest.approx(7.77, abs=0.01)
    assert first["kurtosis"] == pytest.approx(9.88, abs=0.01)
    assert first["top_tokens"][:3] == [" woman", " women", "woman"]
    assert first["log10_q"] < -10
    assert (second["sae"], second["feature"]) == ("smollm2-135m/29-mlp", 1135)
    assert second["z"] == pytest.approx(3.67, abs=0.01)
    assert second["top_tokens"][:2] == [" her", " she"]
    assert all(row["q"] > 0.05 for row in rows[2:])


def test_without_the_filter_the_names_neurons_follow(demo: Catalogue) -> None:
    rows = demo.query("enriched_for", set_name="girls_names", n=10).to_arrow_table().to_pylist()
    found = [(row["sae"], row["feature"]) for row in rows]
    assert ("smollm2-135m/26-mlp", 1262) in found
    assert ("smollm2-135m/29-mlp", 1197) in found
    names = demo.query("tokens_of", sae="smollm2-135m/29-mlp", feature=1197, n=20).to_arrow_table().to_pylist()
    assert {" Emily", " Abigail"} <= {row["token"] for row in names if row["rank"] > 0}


@pytest.mark.parametrize(
    ("feature", "set_name"),
    [(1237, "suffix_ing"), (3128, "all_digits"), (3566, "pos_JJS"), (1919, "pos_JJR")],
)
def test_readable_features_of_the_sae_are_found_by_their_sets(demo: Catalogue, feature: int, set_name: str) -> None:
    rows = demo.query("sets_of", sae="*/20-res-demo", feature=feature, max_q=0.05).to_arrow_table().to_pylist()
    assert set_name in {row["set_name"] for row in rows if row["z"] > 0}


def test_no_feature_of_the_sae_is_significant_for_girls_names(demo: Catalogue) -> None:
    rows = demo.query("enriched_for", set_name="girls_names", sae="*/20-res-demo", n=1).to_arrow_table().to_pylist()
    assert rows[0]["z"] == pytest.approx(3.5, abs=0.1)
    assert rows[0]["q"] > 0.05


@pytest.mark.parametrize("layer", [23, 29])
def test_statistics_of_real_features_equal_scipy(
    demo: Catalogue, tensors: dict[str, Array], unembedding: Array, layer: int
) -> None:
    features = np.random.default_rng(layer).choice(1536, 40, replace=False)
    logits = tensors[f"blk.{layer}.ffn_down.weight"].T[features] @ unembedding
    rows = demo.sql("FROM features WHERE sae = $sae", {"sae": f"smollm2-135m/{layer}-mlp"}).to_arrow_table()
    found = rows.sort_by("feature").take(features)
    assert found["skewness"].to_pylist() == pytest.approx(stats.skew(logits, axis=1), rel=1e-5, abs=1e-6)
    assert found["kurtosis"].to_pylist() == pytest.approx(stats.kurtosis(logits, axis=1, fisher=False), rel=1e-5)
    assert found["std"].to_pylist() == pytest.approx(logits.std(1), rel=1e-5)


def test_every_score_of_real_features_equals_ks_2samp(demo: Catalogue, tensors: dict[str, Array]) -> None:
    """On the float32 logits themselves: in float64 a token may change places with its neighbour."""
    model = read_gguf(demo_gguf())
    decoder = torch.from_numpy(tensors["blk.29.ffn_down.weight"].T.astype(np.float32).copy())
    features = np.random.default_rng(0).choice(1536, 5, replace=False).tolist()
    _, logits = next(logit_blocks(decoder, model.W_U, 1536))
    members = demo.sql("SELECT set_id, list(token_id) FROM token_set_member GROUP BY set_id").fetchall()
    for feature in features:
        values = logits[feature].numpy()
        scores = dict(
            demo.sql(
                "SELECT set_id, es FROM enrichments WHERE sae = 'smollm2-135m/29-mlp' AND feature = $feature",
                {"feature": feature},
            ).fetchall()
        )
        assert len(scores) == len(members)
        for set_id, ids in members:
            oracle = stats.ks_2samp(values[ids], np.delete(values, ids), method="asymp")
            assert scores[set_id] == pytest.approx(-oracle.statistic_sign * oracle.statistic, abs=1e-6)


def test_the_doctor_finds_nothing(demo: Catalogue) -> None:
    assert [finding for finding in examine(demo.connection) if not finding.ok] == []


def test_every_set_says_what_it_is_and_where_it_comes_from(demo: Catalogue) -> None:
    rows = demo.sql("SELECT name FROM token_set WHERE description = '' OR source = '' OR definition = ''").fetchall()
    assert rows == []
