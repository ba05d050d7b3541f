"""Hugging Face models: folders, an offline hub, and tiny random ones of seven families through TransformerLens."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from featdex.catalogue.errors import NotFoundError, WeightsError
from featdex.ingest import model_families, model_hub
from featdex.ingest.loading import guarded_loading
from featdex.ingest.model_gguf import read_gguf
from featdex.ingest.model_hub import read_hub

ATTENTION_OUTPUT = r"attn\.c_proj\.weight|o_proj\.weight|attention\.dense\.weight|out_proj\.weight"
N_ROWS, D_MODEL, D_MLP, N_LAYERS = 40, 16, 24, 2
TOKENS = ["<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz", "Ġ", "Ġa", "Ġb", "ĠMary"]
REVISION = "0123456789abcdef0123456789abcdef01234567"

# family: (transformers' model class, layer norm, vocabulary centred, name of the MLP's output weights)
FAMILIES = {
    "gpt2": ("GPT2", True, True, "transformer.h.{}.mlp.c_proj.weight"),
    "llama": ("Llama", False, True, "model.layers.{}.mlp.down_proj.weight"),
    # TransformerLens leaves models that soft-cap their logits uncentred
    "gemma2": ("Gemma2", False, False, "model.layers.{}.mlp.down_proj.weight"),
    "gemma3": ("Gemma3", False, True, "model.layers.{}.mlp.down_proj.weight"),
    "neox": ("GPTNeoX", True, True, "gpt_neox.layers.{}.mlp.dense_4h_to_h.weight"),
    "qwen2": ("Qwen2", False, True, "model.layers.{}.mlp.down_proj.weight"),
    # one that `model_families` does not name
    "neo": ("GPTNeo", True, True, "transformer.h.{}.mlp.c_proj.weight"),
}


def tiny_model(family: str) -> Any:
    import transformers

    prefix = FAMILIES[family][0]
    sizes: dict[str, Any]
    if family == "gpt2":
        sizes = {"n_embd": D_MODEL, "n_layer": N_LAYERS, "n_head": 2, "n_inner": D_MLP, "n_positions": 32}
    elif family == "neo":
        sizes = {"hidden_size": D_MODEL, "intermediate_size": D_MLP, "num_layers": N_LAYERS, "num_heads": 2}
        sizes |= {"attention_types": [[["global", "local"], 1]], "max_position_embeddings": 32}
    else:
        sizes = {"hidden_size": D_MODEL, "intermediate_size": D_MLP, "num_hidden_layers": N_LAYERS}
        sizes |= {"num_attention_heads": 2, "max_position_embeddings": 32}
    if family not in ("gpt2", "neox", "neo"):
        sizes |= {"num_key_value_heads": 2}
    if family in ("gemma2", "gemma3"):
        sizes |= {"head_dim": 8}
    config_name = "Gemma3TextConfig" if family == "gemma3" else f"{prefix}Config"
    class_name = "GPT2LMHeadModel" if family == "gpt2" else f"{prefix}ForCausalLM"
    model = getattr(transformers, class_name)(getattr(transformers, config_name)(vocab_size=N_ROWS, **sizes))
    generator = torch.Generator().manual_seed(len(family))
    with torch.no_grad():
        for parameter in model.parameters():
            centre = 0.6 if parameter.ndim == 1 else 0.0
            parameter.copy_(centre + 0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def save_tokenizer(folder: Path, tokens: list[str]) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    merges = [("Ġ", "a"), ("Ġ", "b")]
    backend = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    make: Any = PreTrainedTokenizerFast  # untyped
    make(tokenizer_object=backend, bos_token=tokens[0], eos_token=tokens[0], unk_token=tokens[0]).save_pretrained(
        folder
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a family to the folder of its tiny model, made once."""
    root = tmp_path_factory.mktemp("models")

    def folder_of(family: str) -> Path:
        folder = root / family
        if not folder.exists():
            with guarded_loading():
                tiny_model(family).save_pretrained(folder)
                save_tokenizer(folder, TOKENS)
        return folder

    return folder_of


def processed_by_transformer_lens(folder: Path) -> torch.Tensor:
    with guarded_loading():
        from transformer_lens.model_bridge import TransformerBridge

        bridge = TransformerBridge.boot_transformers(str(folder), dtype=torch.float32, device="cpu")
        bridge.enable_compatibility_mode(fold_ln=True, center_writing_weights=True, center_unembed=True)
        processed: torch.Tensor = bridge.W_U.detach()
    return processed


@pytest.fixture
def bridge_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send every family through TransformerLens; single tensors are tested in test_model_stored.py."""
    monkeypatch.setattr(model_hub, "FAMILIES", {})


@pytest.mark.usefixtures("bridge_only")
@pytest.mark.parametrize("family", FAMILIES)
def test_unembedding_equals_transformer_lens(family: str, folders: Callable[[str], Path]) -> None:
    _, layer_norm, centred, _ = FAMILIES[family]
    model = read_hub(folders(family))
    theirs = processed_by_transformer_lens(folders(family))
    assert theirs.shape == (D_MODEL, N_ROWS)
    assert float((model.W_U - theirs[:, : len(TOKENS)]).abs().max()) < 1e-6
    recipe = model.recipe
    assert (recipe.fold_ln, recipe.center_d_model, recipe.center_unembed) == (True, layer_norm, centred)


@pytest.mark.usefixtures("bridge_only")
@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_to_the_residual_stream_are_as_stored(family: str, folders: Callable[[str], Path]) -> None:
    from safetensors.torch import load_file

    stored = load_file(folders(family) / "model.safetensors")
    model = read_hub(folders(family))
    mlp = FAMILIES[family][3]
    [attention] = [name for name in stored if re.search(ATTENTION_OUTPUT, name) and ".1." in name]
    for layer in range(N_LAYERS):
        # GPT-2's Conv1D stores [in, out], everybody else's Linear [out, in].
        for ours, name in (
            (model.mlp_out, mlp.format(layer)),
            (model.attn_out, attention.replace(".1.", f".{layer}.")),
        ):
            assert torch.equal(ours(layer), stored[name] if family == "gpt2" else stored[name].T)
    for output in (model.mlp_out, model.attn_out):
        with pytest.raises(WeightsError, match=f"{family} has no layer 2; its layers are 0 to 1"):
            output(N_LAYERS)


@pytest.mark.usefixtures("bridge_only")
def test_the_bridge_gives_what_single_tensors_give(
    folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_hub(folders("gpt2"))
    monkeypatch.setattr(model_hub, "FAMILIES", model_families.FAMILIES)
    single = read_hub(folders("gpt2"))
    assert torch.equal(whole.W_U, single.W_U)
    assert whole.vocabulary.sha256 == single.vocabulary.sha256


def test_padded_rows_are_cut_and_the_rest_is_told(folders: Callable[[str], Path]) -> None:
    model = read_hub(folders("llama"), name="tiny")
    assert model.vocabulary.raw == tuple(TOKENS)
    assert model.vocabulary.text[-1] == " Mary"
    assert model.W_U.shape == (D_MODEL, len(TOKENS))
    assert (model.name, model.n_layers, model.d_model) == ("tiny", N_LAYERS, D_MODEL)
    assert (model.hf_repo, model.hf_revision, model.neuronpedia_model) == (None, None, None)
    assert not any(values.requires_grad for values in (model.W_U, model.mlp_out(0)))


def test_tokens_beyond_the_unembedding_are_cut(folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "gemma"
    shutil.copytree(folders("gemma3"), folder)
    save_tokenizer(folder, [*TOKENS, *(f"extra{i}" for i in range(N_ROWS))])
    model = read_hub(folder)
    assert model.W_U.shape[1] == len(model.vocabulary) == len(model.vocabulary.is_special) == N_ROWS


def test_a_gguf_file_of_the_same_model_gives_the_same_unembedding(
    folders: Callable[[str], Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    stored = load_file(folders("llama") / "model.safetensors")
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_block_count(N_LAYERS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    padding = [f"[PAD{i}]" for i in range(len(TOKENS), N_ROWS)]
    writer.add_token_list([*TOKENS, *padding])
    writer.add_token_types([3] + [1] * (len(TOKENS) - 1) + [5] * len(padding))
    names = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm", "lm_head.weight": "output"}
    for layer in range(N_LAYERS):
        names[f"model.layers.{layer}.mlp.down_proj.weight"] = f"blk.{layer}.ffn_down"
        names[f"model.layers.{layer}.self_attn.o_proj.weight"] = f"blk.{layer}.attn_output"
    for theirs, ours in names.items():
        writer.add_tensor(f"{ours}.weight", stored[theirs].numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    from_folder, from_gguf = read_hub(folders("llama")), read_gguf(tmp_path / "m.gguf")
    assert torch.equal(from_gguf.W_U, from_folder.W_U)
    assert torch.equal(from_gguf.mlp_out(1), from_folder.mlp_out(1))
    assert torch.equal(from_gguf.attn_out(1), from_folder.attn_out(1))
    assert from_gguf.vocabulary.raw == from_folder.vocabulary.raw
    assert from_gguf.recipe == from_folder.recipe


def test_reading_is_silent(folders: Callable[[str], Path], capfd: pytest.CaptureFixture[str]) -> None:
    read_hub(folders("gpt2"))
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.usefixtures("bridge_only")
def test_a_multimodal_model_installs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with guarded_loading():
        from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig, SiglipVisionConfig

        text = Gemma3TextConfig(**tiny_model("gemma3").config.to_dict())
        vision: dict[str, Any] = {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        }
        make: Any = Gemma3ForConditionalGeneration  # untyped
        make(
            Gemma3Config(
                text_config=text,
                vision_config=SiglipVisionConfig(**vision, image_size=28, patch_size=14),
                mm_tokens_per_image=1,
            )
        ).save_pretrained(tmp_path)
        save_tokenizer(tmp_path, TOKENS)
    environments = []

    def refuse(command: Any, **_: Any) -> None:
        environments.append(installer_environment())
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "check_call", refuse)
    model = read_hub(tmp_path)
    assert model.W_U.shape == (D_MODEL, len(TOKENS))
    assert all(environment == ("1", "1") for environment in environments)
    assert installer_environment() == (None, None)


def installer_environment() -> tuple[str | None, str | None]:
    return os.environ.get("PIP_NO_INDEX"), os.environ.get("UV_OFFLINE")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "no complete Hugging Face model|can't read"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "gpt17"}'), "gpt17"),
        (lambda folder: (folder / "config.json").write_text("[]"), r"config\.json of the model .* is no object"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no complete Hugging Face model"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x10" * 40), "can't read the model"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no complete Hugging Face model|can't read"),
    ],
)
def test_a_broken_folder_is_one_line(
    damage: Callable[[Path], Any], message: str, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(folders("llama"), folder)
    damage(folder)
    with pytest.raises(WeightsError, match=message) as caught:
        read_hub(folder)
    assert "\n" not in str(caught.value)


def test_nan_in_the_weights_is_named(folders: Callable[[str], Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "nan"
    shutil.copytree(folders("llama"), folder)
    stored = load_file(folder / "model.safetensors")
    stored["model.layers.1.mlp.down_proj.weight"][3, 5] = np.nan
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="W_out of layer 1 has NaN or inf, first at neuron 5"):
        read_hub(folder).mlp_out(1)
    stored["lm_head.weight"][7, 0] = np.inf
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="first at token id 7"):
        read_hub(folder)


@pytest.fixture
def offline_hub(folders: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fill a hub cache as the hub's client lays it out, and forbid the network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for repository, family in {"gpt2": "gpt2", "somebody/Tiny-Llama": "llama"}.items():
        root = tmp_path / f"models--{repository.replace('/', '--')}"
        shutil.copytree(folders(family), root / "snapshots" / REVISION)
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text(REVISION)
    return tmp_path


@pytest.mark.usefixtures("offline_hub")
def test_a_hub_name_is_read_from_the_cache(folders: Callable[[str], Path]) -> None:
    model = read_hub("somebody/Tiny-Llama")
    assert (model.name, model.hf_repo, model.hf_revision) == ("tiny-llama", "somebody/Tiny-Llama", REVISION)
    assert model.neuronpedia_model is None
    assert torch.equal(model.W_U, read_hub(folders("llama")).W_U)


@pytest.mark.usefixtures("offline_hub")
def test_a_short_name_of_transformer_lens_is_the_hubs() -> None:
    model = read_hub("gpt2-small")
    assert (model.name, model.hf_repo, model.hf_revision) == ("gpt2-small", "gpt2", REVISION)
    assert model.neuronpedia_model == "gpt2-small"
    assert read_hub("gpt2").neuronpedia_model == "gpt2-small"


@pytest.mark.usefixtures("offline_hub")
def test_a_missing_hub_name_says_what_to_do() -> None:
    with pytest.raises(NotFoundError, match=r"can't get the model 'no/such' .* HF_HUB_OFFLINE") as caught:
        read_hub("no/such")
    assert "\n" not in str(caught.value)


def test_an_incomplete_cache_is_not_found(offline_hub: Path) -> None:
    (offline_hub / "models--somebody--Tiny-Llama" / "snapshots" / REVISION / "model.safetensors").unlink()
    with pytest.raises(NotFoundError, match="can't get the model"):
        read_hub("somebody/Tiny-Llama")


def test_owners_do_not_change_a_models_names() -> None:
    assert "gpt2-small" in model_hub._official_name("openai-community/gpt2")[1]
