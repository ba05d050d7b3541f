"""Language models from Hugging Face folders and hub names.

TransformerLens knows of a hundred architectures which norm is last, whether its weight is `1 + w`, and where an MLP
writes; we take those raw weights from its bridge and process them ourselves, so that one recipe serves all formats.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32

from ..catalogue.errors import FeatdexError, NotFoundError, WeightsError
from .checks import require_finite_rows, require_layer
from .inputs import LanguageModel, Recipe, Vocabulary
from .loading import guarded_loading, one_line
from .sae_directory import neuronpedia_model
from .unembed import process_unembedding, tokens_with_weights
from .vocabulary import vocabulary_from_transformers


def read_hub(name_or_folder: str | Path, name: str | None = None) -> LanguageModel:
    """Read a language model from a Hugging Face folder, the hub's cache, or the hub, in float32 on the CPU.

    A hub name may be one of TransformerLens' short names (`gpt2-small`, `gemma-2-2b`), which SAE releases use.
    `name` is by default the last part of what was asked for, lower-case. Padded rows beyond the tokenizer are cut, and
    tokens beyond the unembedding too (Gemma 3's tokenizer has one token more than its text models).
    `mlp_out` gives the weights as stored: not centred over d_model, as `center_writing_weights` would.

    Raises:
        NotFoundError: no such model in the cache or, online, on the hub; or no leave to read it.
        WeightsError: a folder or checkpoint that TransformerLens can't read, or without a logit lens.
    """
    source = str(name_or_folder)
    is_folder = Path(source).is_dir()
    if is_folder and not (Path(source) / "config.json").is_file():
        raise WeightsError(f"the folder {source} has no config.json; give the folder of a Hugging Face model")
    name = name or (Path(source).resolve().name if is_folder else source.rsplit("/", 1)[-1]).lower()
    try:
        with guarded_loading(), torch.no_grad():
            model = _read(source, name, is_folder)
    except FeatdexError:
        raise
    except OSError as error:  # transformers' and the hub's word for missing, gated and offline alike
        raise _not_found(source, is_folder, error) from error
    except Exception as error:  # Any architecture's own code runs in there.
        raise WeightsError(f"TransformerLens can't read the model {source}: {one_line(error)}") from error
    return model


def _not_found(source: str, is_folder: bool, error: OSError) -> FeatdexError:
    if is_folder:
        return WeightsError(f"the folder {source} is no complete Hugging Face model: {one_line(error)}")
    return NotFoundError(
        f"can't get the model {source!r} from the Hugging Face hub or its cache ({one_line(error)}); check the name, "
        "the network and HF_HUB_OFFLINE, or give a local folder or .gguf file"
    )


def _read(source: str, name: str, is_folder: bool) -> LanguageModel:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    official, all_names = (source, {name}) if is_folder else _official_name(source)
    tokenizer = AutoTokenizer.from_pretrained(official)
    # Before the bridge sees the tokenizer: it adds a padding token where there is none.
    vocabulary = vocabulary_from_transformers(tokenizer)
    bridge = TransformerBridge.boot_transformers(official, dtype=torch.float32, device="cpu", tokenizer=tokenizer)
    W_U, vocabulary, recipe, has_weights = _unembedding(bridge, vocabulary, source)
    outputs = [_mlp_output(block, W_U.shape[0]) for block in bridge.blocks]

    def mlp_out(layer: int) -> Float32[torch.Tensor, "d_mlp d_model"]:
        require_layer(layer, len(outputs), name)
        W_out = outputs[layer]
        if W_out is None:
            raise WeightsError(f"layer {layer} of {name} has no single MLP output matrix (a mixture of experts?)")
        require_finite_rows(W_out, f"W_out of layer {layer}", "neuron")
        return W_out.contiguous()

    return LanguageModel(
        name=name,
        n_layers=int(bridge.cfg.n_layers),
        W_U=W_U,
        vocabulary=vocabulary,
        recipe=recipe,
        mlp_out=mlp_out,
        has_weights=has_weights,
        hf_repo=None if is_folder else official,
        hf_revision=None if is_folder else _cached_revision(official),
        neuronpedia_model=None if is_folder else neuronpedia_model(all_names),
    )


def _official_name(source: str) -> tuple[str, set[str]]:
    """Return the hub's name of a model that TransformerLens has a short name for, and all names of that model."""
    from transformer_lens.supported_models import MODEL_ALIASES

    official = next((hub_name for hub_name, short in MODEL_ALIASES.items() if source in short), source)
    # `openai-community/gpt2` is the `gpt2` of the table: owners of a repository change, its own name stays.
    repository = official.rsplit("/", 1)[-1]
    short_names = [short for hub_name, short in MODEL_ALIASES.items() if hub_name.rsplit("/", 1)[-1] == repository]
    return official, {source, official}.union(*short_names)


def _cached_revision(repository: str) -> str | None:
    """Return the commit of a repository whose files were just read: the cache keeps them in a folder named by it."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repository, "config.json")
    return Path(config).parent.name if isinstance(config, str) else None


def _unembedding(
    bridge: Any, vocabulary: Vocabulary, source: str
) -> tuple[Float32[torch.Tensor, "d_model d_vocab"], Vocabulary, Recipe, Bool[np.ndarray, " d_vocab"]]:
    cfg = bridge.cfg
    raw = getattr(bridge, "W_U", None)
    if raw is None or raw.ndim != 2 or raw.shape[0] != cfg.d_model:
        raise WeightsError(f"the model {source} has no unembedding from d_model {cfg.d_model}; it is no language model")
    norm_weight = _final_norm_weight(bridge)
    # TransformerLens centres over d_model as part of folding a LayerNorm, so not where there was nothing to fold.
    layer_norm = norm_weight is not None and cfg.normalization_type in ("LN", "LNPre")
    soft_cap = getattr(cfg, "output_logits_soft_cap", None) or 0.0
    n_tokens = min(len(vocabulary), int(raw.shape[1]))
    embedding = raw.T.float()
    W_U, recipe = process_unembedding(
        embedding, norm_weight, layer_norm=layer_norm, center_unembed=soft_cap <= 0.0, n_tokens=n_tokens
    )
    return W_U, _first_tokens(vocabulary, n_tokens), recipe, tokens_with_weights(embedding, n_tokens)


def _final_norm_weight(bridge: Any) -> Float32[torch.Tensor, "d_model"] | None:
    """Return what the final norm multiplies by, or None where TransformerLens doesn't fold it (post-norm models)."""
    weight = getattr(getattr(bridge, "ln_final", None), "weight", None)
    if weight is None or not getattr(bridge.adapter, "supports_fold_ln", True):
        return None
    offset = 1.0 if getattr(bridge.cfg, "rmsnorm_uses_offset", False) else 0.0
    effective: torch.Tensor = weight.detach().float() + offset
    return effective


def _mlp_output(block: Any, d_model: int) -> Float32[torch.Tensor, "d_mlp d_model"] | None:
    try:
        W_out = block.mlp.W_out
    except (AttributeError, NotImplementedError, ValueError):  # no MLP, experts, or weights that can't be read as one
        return None
    if W_out.ndim != 2 or W_out.shape[1] != d_model:
        return None
    plain: torch.Tensor = W_out.detach().float()
    return plain


def _first_tokens(vocabulary: Vocabulary, n_tokens: int) -> Vocabulary:
    return dataclasses.replace(
        vocabulary,
        raw=vocabulary.raw[:n_tokens],
        text=vocabulary.text[:n_tokens],
        is_special=vocabulary.is_special[:n_tokens],
        is_partial_utf8=vocabulary.is_partial_utf8[:n_tokens],
    )
