"""From a checkpoint's unembedding to the `W_U` of the logit lens, by TransformerLens' recipe.

One implementation serves every model format, so that a GGUF file and the Hugging Face folder it was made from give
the same `W_U`; the tests hold it to TransformerLens' own processing. It takes the checkpoint's rows in blocks: the
result is then the only array of its size in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32

from ..catalogue.errors import WeightsError
from .checks import require_finite_rows
from .inputs import Recipe, Vocabulary

_BLOCK_TOKENS = 512
"""Small enough for a core's cache."""


class Unembedding(NamedTuple):
    """`W_U`, how it was made, and which of its tokens have a row in the checkpoint that is not all zeros."""

    W_U: Float32[torch.Tensor, "d_model d_vocab"]
    recipe: Recipe
    has_weights: Bool[np.ndarray, " d_vocab"]


def process_unembedding(
    embedding: Float32[torch.Tensor, "d_rows d_model"],
    norm_weight: Float32[torch.Tensor, "d_model"] | None,
    *,
    layer_norm: bool,
    center_unembed: bool = True,
    n_tokens: int | None = None,
) -> Unembedding:
    """Do what `process_unembedding_rows` does to an unembedding in memory."""
    return process_unembedding_rows(
        lambda start, stop: embedding[start:stop],
        (int(embedding.shape[0]), int(embedding.shape[1])),
        norm_weight,
        layer_norm=layer_norm,
        center_unembed=center_unembed,
        n_tokens=n_tokens,
    )


def process_unembedding_rows(
    read_rows: Callable[[int, int], Float32[torch.Tensor, "n_rows d_model"]],
    shape: tuple[int, int],
    norm_weight: Float32[torch.Tensor, "d_model"] | None,
    *,
    layer_norm: bool,
    center_unembed: bool = True,
    n_tokens: int | None = None,
) -> Unembedding:
    """Return `W_U` and how it was made, as `fold_ln` and `center_unembed` of TransformerLens make it.

    In this order: every row is multiplied by the final norm's weight; centred over d_model where that norm is a
    LayerNorm; and the mean row is taken off (centring over the vocabulary). The mean is over *all* rows of the
    checkpoint, padding included, because TransformerLens centres before anybody cuts; then the first `n_tokens`
    rows stay. Means are summed in float64.

    Args:
        read_rows: gives rows [start, stop) of the unembedding as checkpoints store it, one row a token; rows beyond
            the tokenizer are padding.
        shape: rows and d_model of the unembedding.
        norm_weight: what the final norm multiplies by, `1 + w` for Gemma; None to fold nothing.
        layer_norm: whether the final norm subtracts the mean (LayerNorm) or not (RMSNorm).
        center_unembed: False for a model that soft-caps its logits: the cap is not blind to a shift, and
            TransformerLens leaves such an unembedding uncentred (Gemma 2).
        n_tokens: tokens of the tokenizer; None for all rows.

    Raises:
        WeightsError: NaN or inf, or more tokens than rows.
    """
    d_rows, d_model = shape
    n_kept = d_rows if n_tokens is None else n_tokens
    if n_kept > d_rows:
        raise WeightsError(
            f"the tokenizer has {n_kept:,} tokens, the unembedding {d_rows:,} rows; they don't belong together"
        )
    if norm_weight is not None:
        require_finite_rows(norm_weight[:, None], "the final norm's weight", "dimension")
    W_U = torch.empty(d_model, n_kept)
    has_weights = torch.zeros(d_rows, dtype=torch.bool)
    total = torch.zeros(d_model, dtype=torch.float64)
    with _one_thread():
        for start in range(0, d_rows, _BLOCK_TOKENS):
            rows = read_rows(start, min(start + _BLOCK_TOKENS, d_rows))
            # One pass tells both what is damaged (NaN goes through it) and what is zero; after centring neither shows.
            low, high = torch.aminmax(rows, dim=1)
            _require_finite_tokens(low, high, start)
            has_weights[start : start + len(rows)] = (low != 0) | (high != 0)
            rows = rows if norm_weight is None else rows * norm_weight
            if layer_norm:
                rows = rows - rows.mean(1, keepdim=True, dtype=torch.float64).float()
            total += rows.sum(0, dtype=torch.float64)
            kept = rows[: max(0, n_kept - start)]
            W_U[:, start : start + len(kept)] = kept.T
    if center_unembed:
        W_U -= (total / d_rows).float()[:, None]
    require_finite_rows(W_U, "the processed unembedding", "dimension")  # products of damaged but finite numbers
    recipe = Recipe(fold_ln=norm_weight is not None, center_d_model=layer_norm, center_unembed=center_unembed)
    return Unembedding(W_U, recipe, has_weights[:n_kept].numpy())


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: on blocks of some megabytes, several spend more time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _require_finite_tokens(
    low: Float32[torch.Tensor, "n_rows"], high: Float32[torch.Tensor, "n_rows"], first_token: int
) -> None:
    """Raise `WeightsError` naming the first token whose least or greatest weight is NaN or infinite."""
    finite = torch.isfinite(low) & torch.isfinite(high)
    if not bool(finite.all()):
        token_id = first_token + int(torch.nonzero(~finite)[0])
        raise WeightsError(f"the unembedding has NaN or inf, first at token id {token_id}; the weights are damaged")


def first_tokens(vocabulary: Vocabulary, n_tokens: int) -> Vocabulary:
    """Return a vocabulary without its tokens beyond the unembedding."""
    return dataclasses.replace(
        vocabulary,
        raw=vocabulary.raw[:n_tokens],
        text=vocabulary.text[:n_tokens],
        is_special=vocabulary.is_special[:n_tokens],
        is_partial_utf8=vocabulary.is_partial_utf8[:n_tokens],
    )
