"""Every architecture that sae_lens saves: transcoders of four kinds, and what its trainers leave behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from featdex.catalogue.errors import WeightsError
from featdex.ingest.inputs import LanguageModel, Recipe, Vocabulary
from featdex.ingest.loading import guarded_loading
from featdex.ingest.sae_sources import read_sae_folder
from safetensors.torch import load_file, save_file

D_MODEL, D_IN, D_SAE = 16, 24, 40


def language_model(d_model: int = D_MODEL) -> LanguageModel:
    flags = np.zeros(3, dtype=np.bool_)
    return LanguageModel(
        name="tiny",
        n_layers=4,
        W_U=torch.zeros(d_model, 3),
        vocabulary=Vocabulary(raw=("a", "b", "c"), text=("a", "b", "c"), is_special=flags, is_partial_utf8=flags),
        recipe=Recipe(fold_ln=True, center_d_model=False, center_unembed=True),
        mlp_out=lambda layer: torch.zeros(1, d_model),
    )


def randomise(sae: Any) -> None:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))


def save_transcoder(folder: Path, kind: str, **metadata: Any) -> Path:
    with guarded_loading():
        import sae_lens

        known = {"hook_name": "blocks.2.ln2.hook_normalized", "hook_name_out": "blocks.2.hook_mlp_out"}
        config = getattr(sae_lens, f"{kind}Config")(
            d_in=D_IN,
            d_sae=D_SAE,
            d_out=D_MODEL,
            apply_b_dec_to_input=False,
            metadata=sae_lens.saes.sae.SAEMetadata(**(known | metadata)),
        )
        transcoder = getattr(sae_lens, kind)(config)
        randomise(transcoder)
        transcoder.save_model(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [
        ("Transcoder", "transcoder"),
        ("SkipTranscoder", "skip_transcoder"),
        ("JumpReLUTranscoder", "jumprelu_transcoder"),
        ("JumpReLUSkipTranscoder", "jumprelu_skip_transcoder"),
    ],
)
def test_transcoders_live_where_they_write(kind: str, architecture: str, tmp_path: Path) -> None:
    folder = save_transcoder(tmp_path / "tc", kind, neuronpedia_id="tiny/2-transcoder-x")
    read = read_sae_folder(folder, language_model())
    assert (read.kind, read.architecture, read.to_resid) == ("transcoder", architecture, "identity")
    assert (read.layer, read.site, read.hook_name) == (2, "mlp_out", "blocks.2.hook_mlp_out")
    assert (read.d_in, read.d_sae, read.slug) == (D_IN, D_SAE, "tiny/2-transcoder-tc")
    assert read.neuronpedia_id == "tiny/2-transcoder-x"
    stored = load_file(folder / "sae_weights.safetensors")
    assert torch.equal(read.W_dec, stored["W_dec"])
    assert read.b_enc is not None
    assert np.array_equal(read.b_enc, stored["b_enc"].numpy())


def test_the_layer_of_a_transcoder_is_that_of_its_output(tmp_path: Path) -> None:
    folder = save_transcoder(tmp_path / "tc", "Transcoder", hook_name_out="blocks.3.mlp.hook_out")
    read = read_sae_folder(folder, language_model())
    assert (read.layer, read.slug) == (3, "tiny/3-transcoder-tc")


def test_a_transcoder_that_does_not_say_where_it_writes(tmp_path: Path) -> None:
    folder = save_transcoder(tmp_path / "tc", "Transcoder", hook_name_out=None)
    with pytest.raises(WeightsError, match=r"add metadata\.hook_name_out to its cfg\.json"):
        read_sae_folder(folder, language_model())


def test_a_transcoder_of_another_width(tmp_path: Path) -> None:
    folder = save_transcoder(tmp_path / "tc", "SkipTranscoder", model_name="another")
    with pytest.raises(WeightsError, match=r"writes vectors of d_out 16, .* is 24 \(tiny\); .* on \(another\) with"):
        read_sae_folder(folder, language_model(D_IN))


@pytest.mark.parametrize(
    ("kind", "settings", "architecture"),
    [
        ("Standard", {}, "standard"),
        ("Gated", {}, "gated"),
        ("JumpReLU", {}, "jumprelu"),
        ("TopK", {"k": 4}, "topk"),
        ("AbsTopK", {"k": 4}, "abstopk"),
        ("BatchTopK", {"k": 4}, "jumprelu"),
        ("MatryoshkaBatchTopK", {"k": 4, "matryoshka_widths": [10, D_SAE]}, "jumprelu"),
    ],
)
def test_what_a_trainer_saves_for_inference(
    kind: str, settings: dict[str, Any], architecture: str, tmp_path: Path
) -> None:
    """Training folds norms or thresholds in as it saves; the decoder is the stored one all the same."""
    with guarded_loading():
        import sae_lens

        metadata = sae_lens.saes.sae.SAEMetadata(hook_name="blocks.1.hook_resid_post", model_name="tiny-model")
        config = getattr(sae_lens, f"{kind}TrainingSAEConfig")(d_in=D_MODEL, d_sae=D_SAE, metadata=metadata, **settings)
        sae = getattr(sae_lens, f"{kind}TrainingSAE")(config)
        randomise(sae)
        sae.save_inference_model(tmp_path / "sae")
    # A trainer leaves its own state beside the weights.
    torch.save({"n_training_steps": 10}, tmp_path / "sae" / "trainer_state.pt")
    save_file({"sparsity": torch.full((D_SAE,), -2.0)}, tmp_path / "sae" / "sparsity.safetensors")
    read = read_sae_folder(tmp_path / "sae", language_model())
    stored = load_file(tmp_path / "sae" / "sae_weights.safetensors")["W_dec"]
    assert torch.equal(read.W_dec, stored)
    assert (read.architecture, read.layer, read.kind) == (architecture, 1, "sae")
    assert read.log10_density is not None
    assert np.array_equal(read.log10_density, np.full(D_SAE, -2, np.float32))


def test_densities_by_their_older_name_and_densities_that_are_none(tmp_path: Path) -> None:
    with guarded_loading():
        import sae_lens

        metadata = sae_lens.saes.sae.SAEMetadata(hook_name="blocks.1.hook_resid_post")
        sae_lens.StandardSAE(sae_lens.StandardSAEConfig(d_in=D_MODEL, d_sae=D_SAE, metadata=metadata)).save_model(
            tmp_path / "sae"
        )
    densities = torch.linspace(-8, 0, D_SAE)
    save_file({"log_feature_sparsity": densities}, tmp_path / "sae" / "log_feature_sparsity.safetensors")
    read = read_sae_folder(tmp_path / "sae", language_model()).log10_density
    assert read is not None
    assert np.array_equal(read, densities.numpy())
    densities[3] = -torch.inf  # never fired
    save_file({"sparsity": densities}, tmp_path / "sae" / "sparsity.safetensors")
    read = read_sae_folder(tmp_path / "sae", language_model()).log10_density
    assert read is not None
    assert (read[3], read[4]) == (-10, densities[4])
    shares = torch.linspace(0, 0.5, D_SAE)
    save_file({"sparsity": shares}, tmp_path / "sae" / "sparsity.safetensors")
    with pytest.raises(WeightsError, match=r"frequency of feature 1 is 0\.01282, which is no log10 of a share"):
        read_sae_folder(tmp_path / "sae", language_model())


@pytest.mark.parametrize(
    ("metadata", "l0", "neuronpedia_id"),
    [
        ({"l0": 12.5, "neuronpedia_id": "gpt2-small/1-x"}, 12.5, "gpt2-small/1-x"),
        ({"l0": float("nan"), "neuronpedia_id": "no page"}, None, None),
        ({"l0": float("inf"), "neuronpedia_id": "a/b/c"}, None, None),
        ({"l0": 10**400, "neuronpedia_id": "gpt2-small/1-x\n"}, None, None),
        ({"l0": True, "neuronpedia_id": ["gpt2-small/1-x"]}, None, None),
        ({"l0": "12", "neuronpedia_id": 7}, None, None),
    ],
)
def test_facts_that_are_none_become_null(
    metadata: dict[str, Any], l0: float | None, neuronpedia_id: str | None, tmp_path: Path
) -> None:
    folder = save_transcoder(tmp_path / "tc", "Transcoder")
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"] |= metadata
    (folder / "cfg.json").write_text(json.dumps(config))
    read = read_sae_folder(folder, language_model())
    assert (read.l0, read.neuronpedia_id) == (l0, neuronpedia_id)


def test_infinite_biases_become_null(tmp_path: Path) -> None:
    folder = save_transcoder(tmp_path / "tc", "Transcoder")
    tensors = load_file(folder / "sae_weights.safetensors")
    tensors["b_enc"][5] = -torch.inf
    save_file(tensors, folder / "sae_weights.safetensors")
    b_enc = read_sae_folder(folder, language_model()).b_enc
    assert b_enc is not None
    assert np.flatnonzero(np.isnan(b_enc)).tolist() == [5]
    assert np.array_equal(b_enc[6:], tensors["b_enc"][6:].numpy())


def test_texts_of_a_configuration_do_not_steer_a_terminal(tmp_path: Path) -> None:
    folder = save_transcoder(tmp_path / "tc", "Transcoder", hook_name_out="blocks.1.\x1b[31m\n" + "x" * 9999)
    with pytest.raises(WeightsError, match=r"is on blocks\.1\.\?\[31m\?x+…: no linear map") as caught:
        read_sae_folder(folder, language_model())
    assert len(str(caught.value)) < 400
    folder = save_transcoder(tmp_path / "wide", "Transcoder", model_name="\n\x1b[2J" + "x" * 9999)
    with pytest.raises(WeightsError, match=r"trained on \(\?\?\[2Jx+…\) with --model") as caught:
        read_sae_folder(folder, language_model(D_IN))
    assert len(str(caught.value)) < 400


def test_an_empty_dictionary_is_refused(tmp_path: Path) -> None:
    folder = save_transcoder(tmp_path / "tc", "Transcoder")
    tensors = load_file(folder / "sae_weights.safetensors")
    empty = {"W_enc": tensors["W_enc"][:, :0], "W_dec": tensors["W_dec"][:0], "b_enc": tensors["b_enc"][:0]}
    save_file(tensors | {name: value.clone() for name, value in empty.items()}, folder / "sae_weights.safetensors")
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | {"d_sae": 0}))
    with pytest.raises(WeightsError, match="there are no features in it"):
        read_sae_folder(folder, language_model())
