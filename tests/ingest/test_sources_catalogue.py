"""Sources of every kind in one catalogue: their rows against logit weights in plain numpy, and their names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from featdex.catalogue.catalogue import connect
from featdex.catalogue.doctor import examine
from featdex.ingest.device import Options
from featdex.ingest.inputs import LanguageModel, Recipe, TokenSet
from featdex.ingest.jobs import jobs_for
from featdex.ingest.pipeline import Outcome, ingest
from featdex.ingest.rows import Origin
from featdex.ingest.vocabulary import vocabulary_from_raw
from safetensors.torch import load_file, save_file

D_MODEL, D_HEADS, D_MLP, D_SAE, N_TOKENS = 12, 20, 30, 40, 150
OPTIONS = Options(device="cpu", directions=20)


def weights(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


W_U, W_O, W_OUT = (weights(n, m, seed=n) for n, m in ((D_MODEL, N_TOKENS), (D_HEADS, D_MODEL), (D_MLP, D_MODEL)))


@pytest.fixture
def model() -> LanguageModel:
    raw = ["<|end|>"] + [("Ġ" if i % 2 else "") + f"tok{i}" for i in range(1, N_TOKENS)]
    return LanguageModel(
        name="tiny",
        n_layers=2,
        W_U=W_U,
        vocabulary=vocabulary_from_raw(raw, "byte_level", [0]),
        recipe=Recipe(fold_ln=True, center_d_model=False, center_unembed=True),
        mlp_out=lambda layer: W_OUT,
        attn_out=lambda layer: W_O,
    )


@pytest.fixture
def sets() -> list[TokenSet]:
    ids = np.arange(3, 40, dtype=np.int32)
    return [TokenSet("low", "made", "list", "low ids", "Tokens of low ids.", "test", ids)]


class Silent:
    """A reporter that tells nobody."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **named: None


def save_sae(folder: Path, width: int, architecture: str = "standard", **metadata: Any) -> None:
    folder.mkdir(parents=True)
    d_out = {"d_out": D_MODEL} if "transcoder" in architecture else {}
    shapes = {"W_enc": (width, D_SAE), "W_dec": (D_SAE, d_out.get("d_out", width)), "b_enc": (D_SAE,)}
    shapes["b_dec"] = (shapes["W_dec"][1],)
    save_file({name: weights(*shape, seed=width) for name, shape in shapes.items()}, folder / "sae_weights.safetensors")
    config = {"architecture": architecture, "d_in": width, "d_sae": D_SAE, "dtype": "float32"} | d_out
    config |= {"apply_b_dec_to_input": not d_out, "normalize_activations": "none", "reshape_activations": "none"}
    (folder / "cfg.json").write_text(json.dumps(config | {"metadata": {"sae_lens_version": "6.54.12"} | metadata}))


def run(path: Path, model: LanguageModel, sets: list[TokenSet], source: Path, **chosen: Any) -> Outcome:
    known: dict[str, Any] = {"layers": None, "sae": None, "slug": None, "origin": Origin(str(source), "tiny")}
    jobs = jobs_for(str(source), model, **(known | chosen))
    reporter: Any = Silent()
    return ingest(path, model, jobs, sets, options=OPTIONS, reporter=reporter, narrate=lambda line: None)


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with connect(path) as catalogue:
        return catalogue.sql(sql).fetchall()


def test_every_kind_of_source_in_one_catalogue(tmp_path: Path, model: LanguageModel, sets: list[TokenSet]) -> None:
    path, folder = tmp_path / "c.duckdb", tmp_path / "saes"
    save_sae(folder / "z", D_HEADS, hook_name="blocks.1.attn.hook_z", neuronpedia_id="tiny/1-att-x")
    save_sae(folder / "post", D_MLP, hook_name="blocks.0.mlp.hook_post")
    hooks = {"hook_name": "blocks.0.ln2.hook_normalized", "hook_name_out": "blocks.0.hook_mlp_out"}
    save_sae(folder / "tc", 9, "transcoder", **hooks, neuronpedia_id="tiny/0-transcoder-x")
    assert run(path, model, sets, folder).written == 3
    save_file({"probe": weights(D_MODEL, seed=1), "steer": weights(30, D_MODEL, seed=2)}, tmp_path / "d.safetensors")
    assert run(path, model, sets, tmp_path / "d.safetensors", layers=[1]).written == 1

    found = {
        slug: row
        for slug, *row in rows(
            path, "SELECT slug, kind, layer, site, to_resid, d_in, d_sae, release, sae_name FROM sae"
        )
    }
    assert found == {
        "tiny/1-att-z-saes-z": ["sae", 1, "attn_z", "W_O", D_HEADS, D_SAE, "saes", "z"],
        "tiny/0-mlp-post-saes-post": ["sae", 0, "mlp_post", "W_out", D_MLP, D_SAE, "saes", "post"],
        "tiny/0-transcoder-saes-tc": ["transcoder", 0, "mlp_out", "identity", 9, D_SAE, "saes", "tc"],
        "tiny/1-directions-d": ["directions", 1, "other", "identity", D_MODEL, 31, "d", "d.safetensors"],
    }
    decoders = {
        name: load_file(folder / name / "sae_weights.safetensors")["W_dec"].double().numpy()
        for name in ("z", "post", "tc")
    }
    decoders["z"] = decoders["z"] @ W_O.double().numpy()
    decoders["post"] = decoders["post"] @ W_OUT.double().numpy()
    decoders["d.safetensors"] = np.concatenate([weights(1, D_MODEL, seed=1), weights(30, D_MODEL, seed=2)])
    for name, decoder in decoders.items():
        logits = decoder @ W_U.double().numpy()
        expected = np.stack([logits.mean(1), logits.std(1), logits.max(1), np.linalg.norm(decoder, axis=1)], axis=1)
        query = "SELECT f.mean, f.std, f.max, f.dec_norm FROM feature f JOIN sae USING (sae_id)"
        stored = rows(path, f"{query} WHERE sae_name = '{name}' ORDER BY feature")
        np.testing.assert_allclose(np.array(stored), expected, rtol=1e-4, atol=1e-5)
    with connect(path) as catalogue:
        assert [finding for finding in examine(catalogue.connection) if not finding.ok] == []


def test_names_and_pages(tmp_path: Path, model: LanguageModel, sets: list[TokenSet]) -> None:
    path = tmp_path / "c.duckdb"
    save_file({"probe": weights(D_MODEL, seed=1), "steer": weights(30, D_MODEL, seed=2)}, tmp_path / "d.safetensors")
    run(path, model, sets, tmp_path / "d.safetensors")
    hooks = {"hook_name": "blocks.0.ln2.hook_normalized", "hook_name_out": "blocks.0.hook_mlp_out"}
    save_sae(tmp_path / "tc", 9, "transcoder", **hooks, neuronpedia_id="tiny/0-transcoder-x")
    run(path, model, sets, tmp_path / "tc")
    names = rows(path, "SELECT label, url FROM features WHERE sae = 'tiny/directions-d' ORDER BY feature")
    assert names == [("probe", None), *((f"steer/{row}", None) for row in range(30))]
    pages = rows(path, "SELECT label, url FROM features WHERE sae = 'tiny/0-transcoder-tc' AND feature = 7")
    assert pages == [(None, "https://www.neuronpedia.org/tiny/0-transcoder-x/7")]


def test_what_the_ledger_says_finds_each_again(tmp_path: Path, model: LanguageModel, sets: list[TokenSet]) -> None:
    path = tmp_path / "c.duckdb"
    for name in ("layer_1", "layer_[x]"):
        save_sae(tmp_path / "saes" / name, D_HEADS, hook_name="blocks.1.attn.hook_z")
    np.save(tmp_path / "d.npy", weights(30, D_MODEL, seed=3).numpy())
    run(path, model, sets, tmp_path / "saes")
    run(path, model, sets, tmp_path / "d.npy", layers=[1])
    origins = [Origin(**json.loads(params)["origin"]) for (params,) in rows(path, "SELECT params FROM run")]
    assert sorted(str(origin.sae) for origin in origins) == ["None", "layer_1", "layer_[x]"]
    for origin in origins:
        layers = None if origin.layer is None else [origin.layer]
        again = run(path, model, sets, Path(origin.source), layers=layers, sae=origin.sae, origin=origin)
        assert again == Outcome(0, 1)
