"""Language models from single tensors of their checkpoints, for the families whose names are known.

Equal to what TransformerLens makes of the whole model (the tests hold it to that), at the cost of the unembedding.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float32

from ..catalogue.errors import WeightsError
from .checks import require_finite_rows, require_layer
from .inputs import LanguageModel
from .model_families import Layout
from .model_files import ModelFiles, fetch_tokenizer
from .model_safetensors import Checkpoint, StoredTensor
from .unembed import Unembedding, first_tokens, process_unembedding_rows
from .vocabulary import vocabulary_from_transformers


def read_stored(files: ModelFiles, checkpoint: Checkpoint, layout: Layout, name: str) -> LanguageModel:
    """Read the unembedding, the final norm and the tokenizer; `mlp_out` and `attn_out` read theirs when asked.

    Raises:
        WeightsError: damaged or quantised weights, or an unembedding that the checkpoint leaves out.
        OSError: incomplete files.
        Exception: whatever transformers raises on a damaged configuration or tokenizer.
    """
    from transformers import AutoConfig, AutoTokenizer

    fetch_tokenizer(files)
    vocabulary = vocabulary_from_transformers(AutoTokenizer.from_pretrained(files.folder))
    config = AutoConfig.from_pretrained(files.folder)
    text_config = config.get_text_config(decoder=True)
    unembedding = _unembedding(config, text_config, checkpoint, layout, len(vocabulary))
    d_model, n_tokens = map(int, unembedding.W_U.shape)
    n_layers = int(text_config.num_hidden_layers)

    def output(
        layer: int, tensor: str, post_norm: str | None, what: str, row_name: str
    ) -> Float32[torch.Tensor, "width d_model"]:
        """Return a matrix that writes to the residual stream, [in, out] whichever way it is stored.

        A norm on the way there multiplies every dimension by its weight; what it divides by is a number a position,
        and so no part of a direction.
        """
        require_layer(layer, n_layers, name)
        stored = checkpoint.tensor(tensor)
        output_axis = 1 if layout.family.stores_inputs_first else 0
        if stored.ndim != 2 or stored.shape[output_axis] != d_model:
            raise WeightsError(f"{tensor} of {files.source} has shape {tuple(stored.shape)}, but d_model is {d_model}")
        rows = stored if output_axis == 1 else stored.T
        if post_norm is not None:
            rows = rows * (checkpoint.tensor(post_norm) + layout.family.norm_offset)
        require_finite_rows(rows, f"{what} of layer {layer}", row_name)
        return rows.contiguous()

    def mlp_out(layer: int) -> Float32[torch.Tensor, "d_mlp d_model"]:
        norm = layout.post_norm(layout.family.mlp_post_norm, layer)
        return output(layer, layout.mlp_output(layer), norm, "W_out", "neuron")

    def attn_out(layer: int) -> Float32[torch.Tensor, "d_heads d_model"]:
        norm = layout.post_norm(layout.family.attention_post_norm, layer)
        return output(layer, layout.attention_output(layer), norm, "W_O", "dimension")

    return LanguageModel(
        name=name,
        n_layers=n_layers,
        W_U=unembedding.W_U,
        vocabulary=first_tokens(vocabulary, n_tokens),
        recipe=unembedding.recipe,
        mlp_out=mlp_out,
        attn_out=attn_out,
        has_weights=unembedding.has_weights,
    )


def _unembedding(config: Any, text_config: Any, checkpoint: Checkpoint, layout: Layout, n_tokens: int) -> Unembedding:
    rows = _unembedding_rows(config, checkpoint, layout)
    norm_weight = checkpoint.tensor(layout.final_norm)
    if len(rows.shape) != 2 or norm_weight.shape != rows.shape[1:]:
        shapes = f"{rows.shape} and {tuple(norm_weight.shape)}"
        raise WeightsError(f"{rows.source}: {rows.name} and {layout.final_norm} of shapes {shapes} don't fit together")
    soft_cap = getattr(text_config, "final_logit_softcapping", None) or 0.0
    return process_unembedding_rows(
        rows.rows,
        (rows.shape[0], rows.shape[1]),
        norm_weight + layout.family.norm_offset,
        layer_norm=layout.family.layer_norm,
        center_unembed=soft_cap <= 0.0,
        n_tokens=min(n_tokens, rows.shape[0]),
    )


def _unembedding_rows(config: Any, checkpoint: Checkpoint, layout: Layout) -> StoredTensor:
    """Return the unembedding on disk: its own matrix, or the embedding where the two are tied and share one.

    A checkpoint that stores both has two different ones, whatever its configuration says, or two equal ones.
    """
    if layout.head is not None:
        return checkpoint.stored(layout.head)
    embedding = checkpoint.stored(layout.embedding)
    if not getattr(config, "tie_word_embeddings", False):
        raise WeightsError(
            f"the model {embedding.source} has no unembedding: no {layout.family.heads[0]} in its weights, and "
            "config.json does not tie it to the embedding; give a model with its language-modelling head"
        )
    return embedding
