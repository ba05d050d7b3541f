"""Language models of any architecture that TransformerLens knows, through its bridge.

TransformerLens knows of a hundred architectures which norm is last, whether its weight is `1 + w`, and where an MLP
writes; we take those raw weights from its bridge and process them ourselves, so that one recipe serves all formats.
It loads the whole model, so it serves the architectures that `model_families` does not name.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float32

from ..catalogue.errors import WeightsError
from .checks import require_finite_rows, require_layer
from .inputs import LanguageModel
from .unembed import Unembedding, first_tokens, process_unembedding
from .vocabulary import vocabulary_from_transformers


def read_through_bridge(spec: str, source: str, name: str) -> LanguageModel:
    """Read the model that transformers finds at `spec`, a folder or a repository; errors call it `source`.

    Raises:
        WeightsError: it has no unembedding.
        Exception: whatever the loaders raise.
    """
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(spec)
    # Before the bridge sees the tokenizer: it adds a padding token where there is none.
    vocabulary = vocabulary_from_transformers(tokenizer)
    bridge = TransformerBridge.boot_transformers(spec, dtype=torch.float32, device="cpu", tokenizer=tokenizer)
    W_U, recipe, has_weights = _unembedding(bridge, len(vocabulary), source)
    d_model = int(W_U.shape[0])
    mlp_outputs = [_mlp_output(block, d_model) for block in bridge.blocks]
    attention_outputs = [_attention_output(block, d_model) for block in bridge.blocks]

    def mlp_out(layer: int) -> Float32[torch.Tensor, "d_mlp d_model"]:
        require_layer(layer, len(mlp_outputs), name)
        W_out = mlp_outputs[layer]
        if W_out is None:
            raise WeightsError(f"layer {layer} of {name} has no single MLP output matrix (a mixture of experts?)")
        require_finite_rows(W_out, f"W_out of layer {layer}", "neuron")
        return W_out.contiguous()

    def attn_out(layer: int) -> Float32[torch.Tensor, "d_heads d_model"]:
        require_layer(layer, len(attention_outputs), name)
        W_O = attention_outputs[layer]
        if W_O is None:
            raise WeightsError(f"layer {layer} of {name} has no attention output matrix W_O")
        require_finite_rows(W_O, f"W_O of layer {layer}", "dimension")
        return W_O.contiguous()

    return LanguageModel(
        name=name,
        n_layers=int(bridge.cfg.n_layers),
        W_U=W_U,
        vocabulary=first_tokens(vocabulary, int(W_U.shape[1])),
        recipe=recipe,
        mlp_out=mlp_out,
        attn_out=attn_out,
        has_weights=has_weights,
    )


def _unembedding(bridge: Any, n_tokens: int, source: str) -> Unembedding:
    cfg = bridge.cfg
    raw = getattr(bridge, "W_U", None)
    if raw is None or raw.ndim != 2 or raw.shape[0] != cfg.d_model:
        raise WeightsError(f"the model {source} has no unembedding from d_model {cfg.d_model}; it is no language model")
    norm_weight = _final_norm_weight(bridge)
    # TransformerLens centres over d_model as part of folding a LayerNorm, so not where there was nothing to fold.
    layer_norm = norm_weight is not None and cfg.normalization_type in ("LN", "LNPre")
    soft_cap = getattr(cfg, "output_logits_soft_cap", None) or 0.0
    return process_unembedding(
        raw.T.float(),
        norm_weight,
        layer_norm=layer_norm,
        center_unembed=soft_cap <= 0.0,
        n_tokens=min(n_tokens, int(raw.shape[1])),
    )


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


def _attention_output(block: Any, d_model: int) -> Float32[torch.Tensor, "d_heads d_model"] | None:
    try:
        W_O = block.attn.W_O
    except (AttributeError, NotImplementedError, ValueError):  # no attention, or none with heads side by side
        return None
    if W_O.ndim not in (2, 3) or W_O.shape[-1] != d_model:
        return None
    side_by_side: torch.Tensor = W_O.detach().float().reshape(-1, d_model)
    return side_by_side
