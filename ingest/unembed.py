"""From a checkpoint's unembedding to the `W_U` of the logit lens, by TransformerLens' recipe.

One implementation serves every model format, so that a GGUF file and the Hugging Face folder it was made from give
the same `W_U`; the tests hold it to TransformerLens' own processing.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float32

from ..catalogue.errors import WeightsError
from .checks import require_finite_rows
from .inputs import Recipe

_BLOCK_TOKENS = 8192


def process_unembedding(
    embedding: Float32[torch.Tensor, "d_rows d_model"],
    norm_weight: Float32[torch.Tensor, "d_model"] | None,
    *,
    layer_norm: bool,
    center_unembed: bool = True,
    n_tokens: int | None = None,
) -> tuple[Float32[torch.Tensor, "d_model d_vocab"], Recipe]:
    """Return `W_U` and how it was made, as `fold_ln` and `center_unembed` of TransformerLens make it.

    In this order: every row is multiplied by the final norm's weight; centred over d_model where that norm is a
    LayerNorm; and the mean row is taken off (centring over the vocabulary). The mean is over *all* rows of the
    checkpoint, padding included, because TransformerLens centres before anybody cuts; then the first `n_tokens`
    rows stay. Means are summed in float64.

    Args:
        embedding: the unembedding as checkpoints store it, one row a token; rows beyond the tokenizer are padding.
        norm_weight: what the final norm multiplies by, `1 + w` for Gemma; None to fold nothing.
        layer_norm: whether the final norm subtracts the mean (LayerNorm) or not (RMSNorm).
        center_unembed: False for a model that soft-caps its logits: the cap is not blind to a shift, and
            TransformerLens leaves such an unembedding uncentred (Gemma 2).
        n_tokens: tokens of the tokenizer; None for all rows.

    Raises:
        WeightsError: NaN or inf, or more tokens than rows.
    """
    d_rows, d_model = embedding.shape
    n_kept = d_rows if n_tokens is None else n_tokens
    if n_kept > d_rows:
        raise WeightsError(
            f"the tokenizer has {n_kept:,} tokens, the unembedding {d_rows:,} rows; they don't belong together"
        )
    require_finite_rows(embedding, "the unembedding", "token id")
    if norm_weight is not None:
        require_finite_rows(norm_weight[:, None], "the final norm's weight", "dimension")
    W_U = torch.empty(d_model, n_kept, dtype=torch.float32)
    total = torch.zeros(d_model, dtype=torch.float64)
    for start in range(0, d_rows, _BLOCK_TOKENS):
        rows = embedding[start : start + _BLOCK_TOKENS]
        rows = rows if norm_weight is None else rows * norm_weight
        if layer_norm:
            rows = rows - rows.mean(1, keepdim=True, dtype=torch.float64).float()
        total += rows.sum(0, dtype=torch.float64)
        kept = rows[: max(0, n_kept - start)]
        W_U[:, start : start + len(kept)] = kept.T
    if center_unembed:
        W_U -= (total / d_rows).float()[:, None]
    require_finite_rows(W_U, "the processed unembedding", "dimension")  # products of damaged but finite numbers
    return W_U, Recipe(fold_ln=norm_weight is not None, center_d_model=layer_norm, center_unembed=center_unembed)


def tokens_with_weights(
    embedding: Float32[torch.Tensor, "d_rows d_model"], n_tokens: int
) -> Bool[np.ndarray, " n_tokens"]:
    """Return which of the first `n_tokens` rows of a checkpoint's unembedding are not all zeros.

    Asked before centring, after which a row of zeros looks like any other.
    """
    return np.asarray((embedding[:n_tokens] != 0).any(dim=1).numpy())
