"""Where checkpoints of the common families of language models keep what the logit lens needs.

To load a whole model for one matrix and one vector costs ten times the memory and time, so the tensors of the families
that SAEs are trained on are known by name here. All others go through TransformerLens, which knows a hundred more.
Names are those of `transformers`' modelling files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Family:
    """Names of tensors, and what they mean, in the checkpoints of one family.

    `prefixes` are what may stand before the names of embedding, final norm and layers: checkpoints are saved with or
    without the name of the model's body. `heads` are whole names. A `{}` is the layer.
    """

    prefixes: tuple[str, ...]
    embedding: str
    heads: tuple[str, ...]
    final_norm: str
    mlp_output: str
    attention_output: str
    mlp_post_norm: str | None = None
    """Norm between the MLP's output and the residual stream (Gemma 2 and 3)."""
    attention_post_norm: str | None = None
    layer_norm: bool = False
    """The final norm is a LayerNorm, which subtracts the mean; else an RMSNorm."""
    norm_offset: float = 0.0
    """What is added to a norm's weight before it multiplies: 1 for Gemma."""
    stores_inputs_first: bool = False
    """Matrices are stored [in, out] (GPT-2's Conv1D), not [out, in] (Linear)."""


@dataclass(frozen=True)
class Layout:
    """The names of one checkpoint's tensors; `head` is None where it has no unembedding of its own."""

    family: Family
    prefix: str
    head: str | None

    @property
    def embedding(self) -> str:
        """Name of the embedding [d_rows, d_model], which is the unembedding too where the two are tied."""
        return self.prefix + self.family.embedding

    @property
    def final_norm(self) -> str:
        """Name of the final norm's weight [d_model]."""
        return self.prefix + self.family.final_norm

    def mlp_output(self, layer: int) -> str:
        """Name of the weight that maps a layer's MLP neurons to the residual stream."""
        return self.prefix + self.family.mlp_output.format(layer)

    def attention_output(self, layer: int) -> str:
        """Name of the weight that maps a layer's heads, side by side, to the residual stream."""
        return self.prefix + self.family.attention_output.format(layer)

    def post_norm(self, name: str | None, layer: int) -> str | None:
        """Name of the weight of a layer's norm after an output, `name` being the family's; None where it has none."""
        return None if name is None else self.prefix + name.format(layer)


_GPT2 = Family(
    prefixes=("transformer.", ""),
    embedding="wte.weight",
    heads=("lm_head.weight",),
    final_norm="ln_f.weight",
    mlp_output="h.{}.mlp.c_proj.weight",
    attention_output="h.{}.attn.c_proj.weight",
    layer_norm=True,
    stores_inputs_first=True,
)
_NEOX = Family(
    prefixes=("gpt_neox.", ""),
    embedding="embed_in.weight",
    heads=("embed_out.weight", "lm_head.weight"),
    final_norm="final_layer_norm.weight",
    mlp_output="layers.{}.mlp.dense_4h_to_h.weight",
    attention_output="layers.{}.attention.dense.weight",
    layer_norm=True,
)
_LLAMA = Family(
    prefixes=("model.", ""),
    embedding="embed_tokens.weight",
    heads=("lm_head.weight",),
    final_norm="norm.weight",
    mlp_output="layers.{}.mlp.down_proj.weight",
    attention_output="layers.{}.self_attn.o_proj.weight",
)
_GEMMA = dataclasses.replace(_LLAMA, norm_offset=1.0)
_GEMMA_POST_NORM = dataclasses.replace(
    _GEMMA,
    mlp_post_norm="layers.{}.post_feedforward_layernorm.weight",
    attention_post_norm="layers.{}.post_attention_layernorm.weight",
)
# The text model inside a model of text and images: the hub's checkpoints, then those that transformers saves today.
_GEMMA_WITH_IMAGES = dataclasses.replace(
    _GEMMA_POST_NORM,
    prefixes=("language_model.model.", "model.language_model."),
    heads=("language_model.lm_head.weight", "lm_head.weight"),
)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "gpt2": _GPT2,
        "gpt_neox": _NEOX,
        "llama": _LLAMA,
        "mistral": _LLAMA,
        "qwen2": _LLAMA,
        "qwen3": _LLAMA,
        "smollm3": _LLAMA,
        "gemma": _GEMMA,
        "gemma2": _GEMMA_POST_NORM,
        "gemma3_text": _GEMMA_POST_NORM,
        "gemma3": _GEMMA_WITH_IMAGES,
    }
)
"""By `model_type` of config.json. SmolLM and SmolLM2 are `llama`, Pythia is `gpt_neox`."""


def layout_of(family: Family, tensor_names: Container[str]) -> Layout | None:
    """Return the names in a checkpoint that holds `tensor_names`, or None where it isn't laid out as `family` is."""
    for prefix in family.prefixes:
        head = next((name for name in family.heads if name in tensor_names), None)
        layout = Layout(family, prefix, head)
        if layout.final_norm in tensor_names and (head is not None or layout.embedding in tensor_names):
            return layout
    return None
