"""Single tensors of a checkpoint: tiny models of every family named, against TransformerLens and their own logits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from featdex.catalogue.errors import WeightsError
from featdex.ingest import model_bridge, model_hub
from featdex.ingest.inputs import LanguageModel
from featdex.ingest.loading import guarded_loading
from featdex.ingest.model_families import FAMILIES
from featdex.ingest.model_hub import read_hub
from safetensors.torch import load_file, save_file

# No two sizes are the same, so that a transposed matrix is never taken for one that isn't.
N_ROWS, D_MODEL, D_MLP, N_LAYERS, N_HEADS, D_HEAD = 40, 16, 20, 2, 2, 12
TOKENS = ["<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz", "Ġ", "Ġa", "Ġb", "ĠMary"]


class Case(NamedTuple):
    """A tiny model: what transformers calls it, how it is saved, and what its recipe must be."""

    family: str
    config: str
    model: str
    dtype: torch.dtype = torch.float32
    sharded: bool = False
    tied: bool = False
    layer_norm: bool = False
    centred: bool = True


F16, B16 = torch.float16, torch.bfloat16
CASES = [
    Case("gpt2", "GPT2Config", "GPT2LMHeadModel", sharded=True, tied=True, layer_norm=True),
    Case("gpt2", "GPT2Config", "GPT2LMHeadModel", F16, layer_norm=True),
    Case("gpt_neox", "GPTNeoXConfig", "GPTNeoXForCausalLM", F16, sharded=True, layer_norm=True),
    Case("gpt_neox", "GPTNeoXConfig", "GPTNeoXForCausalLM", tied=True, layer_norm=True),
    Case("llama", "LlamaConfig", "LlamaForCausalLM", B16, sharded=True),
    Case("llama", "LlamaConfig", "LlamaForCausalLM", tied=True),
    Case("mistral", "MistralConfig", "MistralForCausalLM", B16),
    Case("qwen2", "Qwen2Config", "Qwen2ForCausalLM", sharded=True),
    Case("qwen3", "Qwen3Config", "Qwen3ForCausalLM", B16, tied=True),
    Case("smollm3", "SmolLM3Config", "SmolLM3ForCausalLM"),
    Case("gemma", "GemmaConfig", "GemmaForCausalLM", tied=True),
    # TransformerLens leaves models that soft-cap their logits uncentred.
    Case("gemma2", "Gemma2Config", "Gemma2ForCausalLM", B16, sharded=True, tied=True, centred=False),
    Case("gemma3_text", "Gemma3TextConfig", "Gemma3ForCausalLM", B16, tied=True),
    Case("gemma3", "Gemma3Config", "Gemma3ForConditionalGeneration", B16, sharded=True, tied=True),
]


def case_name(case: Case) -> str:
    kind = f"{case.family}-{str(case.dtype).removeprefix('torch.')}"
    return kind + ("-tied" if case.tied else "") + ("-sharded" if case.sharded else "")


def make_config(case: Case) -> Any:
    import transformers

    sizes: dict[str, Any] = {"tie_word_embeddings": case.tied, "vocab_size": N_ROWS}
    if case.family == "gpt2":
        sizes |= {"n_embd": D_MODEL, "n_layer": N_LAYERS, "n_head": N_HEADS, "n_inner": D_MLP, "n_positions": 32}
        return transformers.GPT2Config(**sizes)
    sizes |= {"hidden_size": D_MODEL, "intermediate_size": D_MLP, "num_hidden_layers": N_LAYERS}
    sizes |= {"num_attention_heads": N_HEADS, "max_position_embeddings": 32}
    if case.family != "gpt_neox":
        sizes |= {"num_key_value_heads": 1, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    if case.family.startswith(("gemma", "qwen3", "mistral")):
        sizes |= {"head_dim": D_HEAD}
    if case.family != "gemma3":
        return getattr(transformers, case.config)(**sizes)
    vision: dict[str, Any] = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    return transformers.Gemma3Config(
        text_config=transformers.Gemma3TextConfig(**sizes),
        vision_config=transformers.SiglipVisionConfig(**vision, image_size=28, patch_size=14),
        mm_tokens_per_image=1,
    )


def make_model(case: Case) -> Any:
    import transformers

    model = getattr(transformers, case.model)(make_config(case))
    generator = torch.Generator().manual_seed(len(case_name(case)))
    with torch.no_grad():
        for parameter in model.parameters():
            centre = 0.6 if parameter.ndim == 1 else 0.0
            parameter.copy_(centre + 0.3 * torch.randn(parameter.shape, generator=generator))
        unembedding = model.get_output_embeddings().weight
        unembedding[3] = 0  # a token that the model never learnt
    return model.to(case.dtype)


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    merges = [("Ġ", "a"), ("Ġ", "b")]
    backend = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(TOKENS)}, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    make: Any = PreTrainedTokenizerFast  # untyped
    end = TOKENS[0]
    make(tokenizer_object=backend, bos_token=end, eos_token=end, unk_token=end).save_pretrained(folder)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Path]:
    """Return a function from a case to the folder of its model, made once."""
    root = tmp_path_factory.mktemp("stored")

    def folder_of(case: Case) -> Path:
        folder = root / case_name(case)
        if not folder.exists():
            with guarded_loading():
                make_model(case).save_pretrained(folder, max_shard_size="3KB" if case.sharded else "1GB")
                save_tokenizer(folder)
        return folder

    return folder_of


@pytest.fixture
def no_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the way through TransformerLens, which loads a whole model, an error."""
    monkeypatch.delattr(model_bridge, "read_through_bridge")


@pytest.fixture(scope="module", autouse=True)
def one_import() -> None:
    with guarded_loading():
        import transformer_lens.model_bridge  # noqa: F401  (ten seconds, once)


def bridge_of(folder: Path) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    with guarded_loading():
        return TransformerBridge.boot_transformers(str(folder), dtype=torch.float32, device="cpu")


def after_output(folder: Path, layer: int, norm: str) -> torch.Tensor:
    """What Gemma 2 and 3 multiply an output by on its way to the residual stream; 1 for models without such a norm."""
    if json.loads((folder / "config.json").read_text())["model_type"] not in ("gemma2", "gemma3", "gemma3_text"):
        return torch.ones(())
    tensors = {name: t for file in folder.glob("*.safetensors") for name, t in load_file(file).items()}
    (weight,) = (
        t for name, t in tensors.items() if name.endswith(f"layers.{layer}.{norm}.weight") and "vision" not in name
    )
    return 1 + weight.float()


def require_equal_to_transformer_lens(model: LanguageModel, folder: Path) -> None:
    bridge = bridge_of(folder)
    for layer, block in enumerate(bridge.blocks):
        factor = after_output(folder, layer, "post_feedforward_layernorm")
        assert torch.equal(model.mlp_out(layer), block.mlp.W_out * factor)
        W_O = block.attn.W_O
        assert W_O.ndim == 3
        factor = after_output(folder, layer, "post_attention_layernorm")
        assert torch.equal(model.attn_out(layer), W_O.flatten(0, 1) * factor)
    with guarded_loading():
        bridge.enable_compatibility_mode(fold_ln=True, center_writing_weights=True, center_unembed=True)
    theirs = bridge.W_U.detach()
    assert theirs.shape == (D_MODEL, N_ROWS)
    assert float((model.W_U - theirs[:, : len(TOKENS)]).abs().max()) < 1e-6


@pytest.mark.usefixtures("no_bridge")
@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_equals_transformer_lens(case: Case, folder_of: Callable[[Case], Path]) -> None:
    folder = folder_of(case)
    assert case.sharded == (folder / "model.safetensors.index.json").exists()
    model = read_hub(folder)
    require_equal_to_transformer_lens(model, folder)
    recipe = model.recipe
    assert (recipe.fold_ln, recipe.center_d_model, recipe.center_unembed) == (True, case.layer_norm, case.centred)
    assert (model.n_layers, model.vocabulary.raw) == (N_LAYERS, tuple(TOKENS))
    assert np.flatnonzero(~model.universe).tolist() == [3]
    assert model.W_U.dtype == model.mlp_out(0).dtype == model.attn_out(1).dtype == torch.float32
    with pytest.raises(WeightsError, match="has no layer 2; its layers are 0 to 1"):
        model.attn_out(N_LAYERS)


def test_every_family_has_a_case() -> None:
    assert {case.family for case in CASES} == set(FAMILIES)


@pytest.mark.usefixtures("no_bridge")
@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_gives_the_models_own_logits(case: Case, folder_of: Callable[[Case], Path]) -> None:
    """The last residual stream, normalised by hand, times `W_U` must be the model's logits up to a constant."""
    import transformers

    model = read_hub(folder_of(case))
    seen: dict[str, torch.Tensor] = {}
    with guarded_loading(), torch.no_grad():
        theirs: Any = getattr(transformers, case.model).from_pretrained(folder_of(case), dtype=torch.float32)
        norm = next(module for name, module in theirs.named_modules() if name.endswith(norm_names(case)))
        norm.register_forward_pre_hook(lambda _, inputs: seen.update(stream=inputs[0]))
        head = theirs.get_output_embeddings()  # before the soft cap
        head.register_forward_hook(lambda _, __, output: seen.update(logits=output))
        theirs(torch.tensor([[5, 9, 2, 30, 17]]))
    stream, logits = seen["stream"].double(), seen["logits"].double()
    if case.layer_norm:
        stream = stream - stream.mean(-1, keepdim=True)
    epsilon = getattr(norm, "variance_epsilon", None) or getattr(norm, "eps", None)
    assert epsilon is not None
    normalised = stream / (stream.square().mean(-1, keepdim=True) + epsilon).sqrt()
    if getattr(norm, "bias", None) is not None:
        logits = logits - (head.weight.double() @ norm.bias.double()).detach()
    if case.centred:
        logits = logits - logits.mean(-1, keepdim=True)
    ours = normalised @ model.W_U.double()
    assert float((ours - logits[..., : len(TOKENS)]).abs().max()) < 1e-5 * float(logits.abs().max())


def norm_names(case: Case) -> tuple[str, ...]:
    if case.family == "gemma3":
        return ("language_model.norm",)
    return ("transformer.ln_f", "gpt_neox.final_layer_norm", "model.norm")


@pytest.mark.parametrize("case", [CASES[0], CASES[8]], ids=case_name)
def test_rows_of_attn_out_are_in_the_order_of_hook_z(case: Case, folder_of: Callable[[Case], Path]) -> None:
    model = read_hub(folder_of(case))
    bridge = bridge_of(folder_of(case))
    with guarded_loading(), torch.no_grad():
        _, cache = bridge.run_with_cache(torch.tensor([[5, 9, 2]]))
    for layer in range(N_LAYERS):
        z, written = cache[f"blocks.{layer}.attn.hook_z"], cache[f"blocks.{layer}.hook_attn_out"]
        bias = bridge.blocks[layer].attn.b_O
        ours = z.reshape(*z.shape[:2], -1) @ model.attn_out(layer)
        torch.testing.assert_close(ours if bias is None else ours + bias, written, atol=1e-5, rtol=1e-5)


def renamed(folder: Path, copy: Path, rename: Callable[[str], str | None]) -> dict[str, torch.Tensor]:
    """Copy an unsharded model with its tensors under other names, None to leave one out; return the new tensors."""
    shutil.copytree(folder, copy)
    stored = load_file(copy / "model.safetensors")
    kept = {new: tensor for old, tensor in stored.items() if (new := rename(old)) is not None}
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    return kept


@pytest.mark.usefixtures("no_bridge")
def test_names_with_and_without_the_body(folder_of: Callable[[Case], Path], tmp_path: Path) -> None:
    """`gpt2` on the hub was saved without `transformer.`, Gemma 3 with images as `language_model.model.`."""
    untied_gpt2 = CASES[1]
    renamed(folder_of(untied_gpt2), tmp_path / "gpt2", lambda name: name.removeprefix("transformer."))
    require_equal_to_transformer_lens(read_hub(tmp_path / "gpt2"), tmp_path / "gpt2")
    images = CASES[-1]._replace(sharded=False)
    old, new = "model.language_model.", "language_model.model."
    kept = renamed(folder_of(images), tmp_path / "gemma3", lambda name: name.replace(old, new))
    assert "language_model.model.norm.weight" in kept
    require_equal_to_transformer_lens(read_hub(tmp_path / "gemma3"), tmp_path / "gemma3")


@pytest.mark.usefixtures("no_bridge")
def test_a_head_of_its_own_wins_over_a_tie_in_the_configuration(
    folder_of: Callable[[Case], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "untied"
    shutil.copytree(folder_of(Case("llama", "LlamaConfig", "LlamaForCausalLM")), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    require_equal_to_transformer_lens(read_hub(folder), folder)


@pytest.mark.usefixtures("no_bridge")
def test_no_head_and_no_tie_is_refused(folder_of: Callable[[Case], Path], tmp_path: Path) -> None:
    """Transformers would make up a random unembedding."""
    case = Case("llama", "LlamaConfig", "LlamaForCausalLM")
    renamed(folder_of(case), tmp_path / "m", lambda name: None if name == "lm_head.weight" else name)
    with pytest.raises(WeightsError, match=r"has no unembedding: no lm_head\.weight in its weights"):
        read_hub(tmp_path / "m")


def test_other_names_and_families_go_through_transformer_lens(
    folder_of: Callable[[Case], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    case = Case("llama", "LlamaConfig", "LlamaForCausalLM")
    model = read_hub(folder_of(case))

    def through_bridge(spec: str, *_: object) -> LanguageModel:
        asked.append(Path(spec).name)
        return model

    monkeypatch.setattr(model_bridge, "read_through_bridge", through_bridge)
    renamed(folder_of(case), tmp_path / "names", lambda name: f"body.{name}")
    read_hub(tmp_path / "names")
    shutil.copytree(folder_of(case), tmp_path / "family")
    monkeypatch.setattr(model_hub, "FAMILIES", {})
    read_hub(tmp_path / "family")
    assert asked == ["names", "family"]
