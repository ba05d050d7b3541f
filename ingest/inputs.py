"""What an ingest computes on: a vocabulary, a language model's unembedding, a dictionary of features, token sets.

Readers of every format produce these four types; the numerical modules and the writer see nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32, Integer, Shaped

from ..catalogue.errors import WeightsError

AnyArray = Shaped[np.ndarray, "..."]
TokenIds = Integer[np.ndarray, "_"]
"""Token ids, or positions in the universe of tokens: flat, sorted, unique."""


def array_sha256(array: AnyArray | torch.Tensor) -> str:
    """Return the SHA-256 of an array's dtype, shape and row-major bytes."""
    values = np.ascontiguousarray(array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else array)
    digest = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    digest.update(values.data.cast("B"))
    return digest.hexdigest()


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a tokenizer, by id, decoded once for everybody.

    `raw` is the tokenizer's own spelling (`ĠMary`), `text` the decoded text (` Mary`), in which bytes that are
    no UTF-8 by themselves show as U+FFFD and are flagged in `is_partial_utf8`.
    """

    raw: tuple[str, ...]
    text: tuple[str, ...]
    is_special: Bool[np.ndarray, "d_vocab"]
    is_partial_utf8: Bool[np.ndarray, "d_vocab"]

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def sha256(self) -> str:
        """Hash of all raw tokens in order."""
        return hashlib.sha256("\0".join(self.raw).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Recipe:
    """How `W_U` was processed from the checkpoint (TransformerLens' names for the steps)."""

    fold_ln: bool
    center_d_model: bool
    center_unembed: bool


def no_attention_output(layer: int) -> Float32[torch.Tensor, "d_heads d_model"]:
    """Stand in for `LanguageModel.attn_out` where a format gives no such matrix: raise `WeightsError`."""
    raise WeightsError(
        f"layer {layer} of this model has no attention output matrix (W_O) that can be read from its format; "
        "give the Hugging Face folder or hub name of the model"
    )


@dataclass(frozen=True)
class LanguageModel:
    """A language model as far as the logit lens needs it.

    `W_U` is processed by `recipe`, and has the tokenizer's own `len(vocabulary)` columns, padding cut off.
    `has_weights` is False for tokens whose row in the checkpoint is all zeros: they take no part (None: all do).
    `mlp_out(layer)` gives the output directions of that layer's MLP neurons, one a row, or raises `WeightsError`.
    `attn_out(layer)` gives that layer's `W_O` likewise: a row a dimension of `hook_z`, head after head.
    """

    name: str
    n_layers: int
    W_U: Float32[torch.Tensor, "d_model d_vocab"]
    vocabulary: Vocabulary
    recipe: Recipe
    mlp_out: Callable[[int], Float32[torch.Tensor, "d_mlp d_model"]] = field(repr=False)
    hf_repo: str | None = None
    hf_revision: str | None = None
    neuronpedia_model: str | None = None
    has_weights: Bool[np.ndarray, "d_vocab"] | None = field(default=None, repr=False)
    attn_out: Callable[[int], Float32[torch.Tensor, "d_heads d_model"]] = field(default=no_attention_output, repr=False)

    @property
    def universe(self) -> Bool[np.ndarray, "d_vocab"]:
        """The tokens that take part in statistics and rankings."""
        return np.ones(len(self.vocabulary), dtype=bool) if self.has_weights is None else self.has_weights

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.W_U.shape[0])


@dataclass(frozen=True)
class FeatureDictionary:
    """One dictionary of features (an SAE, the neurons of an MLP layer): a row of `sae` and its decoder.

    `W_dec` is already mapped to the residual stream; its rows keep their norms. Per-feature facts that the source
    does not have are None. `slug` is the name people type, such as `gpt2-small/8-res-jb`. `names` are the features'
    own, where they have any (plain directions). `mapped_from` is the hash of the weights that `W_dec` is a product of:
    a product may differ in its last bit between machines, and is still the same dictionary.
    """

    kind: str
    release: str
    sae_name: str
    slug: str
    layer: int | None
    hook_name: str | None
    site: str
    to_resid: str
    architecture: str | None
    d_in: int
    W_dec: Float32[torch.Tensor, "d_sae d_model"]
    enc_dec_cos: Float32[np.ndarray, "d_sae"] | None = None
    b_enc: Float32[np.ndarray, "d_sae"] | None = None
    log10_density: Float32[np.ndarray, "d_sae"] | None = None
    l0: float | None = None
    neuronpedia_id: str | None = None
    names: tuple[str, ...] | None = None
    mapped_from: str | None = None

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return int(self.W_dec.shape[0])

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights as stored, and of the features' names: what decides whether they are the same."""
        digest = self.mapped_from or array_sha256(self.W_dec)
        if self.names is None:
            return digest
        return hashlib.sha256("\0".join([digest, *self.names]).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class TokenSet:
    """A named set of tokens. `token_ids` is sorted and unique.

    `n_terms` and `n_dropped` count the terms of a list and those of them that gave no member; None for a rule.
    `dropped` holds each of the latter with the reason. `version` is that of the data or rule.
    """

    name: str
    collection: str
    kind: str
    definition: str
    description: str
    source: str
    token_ids: Int32[np.ndarray, "n_tokens"]
    n_terms: int | None = None
    n_dropped: int | None = None
    licence: str = ""
    version: str = ""
    dropped: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def members_sha256(self) -> str:
        """Hash of the sorted member ids."""
        return array_sha256(self.token_ids.astype(np.int32))
