"""The numbers of a catalogue from arrays, without a file: for notebooks and for other people's pipelines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float64

from ..catalogue.errors import UsageError, WeightsError
from .arrow import arrow_column, enrichment_table, feature_table
from .checks import require_finite_rows
from .compute import Numbers, compute_numbers
from .device import Options
from .inputs import AnyArray, TokenIds
from .token_sets import builtin_sets, check_sets, token_set_from_ids
from .vocabulary import vocabulary_from_transformers


def feature_statistics(
    W_dec: Any, W_U: Any, *, device: str = "auto", memory: int | None = None, threads: int | None = None
) -> pa.Table:
    """Return the logit-weight statistics of every feature: moments, quantiles, histogram, top and bottom tokens.

    Args:
        W_dec: Decoder, [n_features, d_model], numpy or torch, any float type and device; used as float32.
        W_U: Unembedding, [d_model, d_vocab], processed as you want it (design: final norm folded in, centred over the
            vocabulary). Columns of zeros take no part.
        device: auto, cpu, cuda or cuda:N.
        memory: Bytes for a block of features.
        threads: CPU threads.

    Returns:
        A row a feature with the columns of table `feature`, and lists `top_token_ids`, `top_weights`,
        `bottom_token_ids`, `bottom_weights` of 20 (fewer for a smaller vocabulary).

    Raises:
        WeightsError: Shapes that don't fit, NaN or infinity.
    """
    numbers = _numbers(W_dec, W_U, [], Options(device, memory, threads=threads))
    lists = {
        "top_token_ids": arrow_column(numbers.top_tokens),
        "top_weights": arrow_column(numbers.top_weights),
        "bottom_token_ids": arrow_column(numbers.bottom_tokens),
        "bottom_weights": arrow_column(numbers.bottom_weights),
    }
    table = feature_table(numbers.feature)
    for name, column in lists.items():
        table = table.append_column(name, column)
    return table


def enrichment(
    W_dec: Any,
    W_U: Any,
    sets: Mapping[str, Any],
    *,
    null: Literal["decoder", "isotropic"] = "decoder",
    null_directions: int = 2000,
    seed: int = 0,
    nuisance: Any = None,
    weight: float = 0.0,
    device: str = "auto",
    memory: int | None = None,
    threads: int | None = None,
) -> pa.Table:
    """Return the enrichment of every token set in every feature's ranking of the vocabulary.

    Args:
        W_dec: As in `feature_statistics`.
        W_U: As in `feature_statistics`.
        sets: Token ids by set name: any integer sequence or array.
        null: Covariance of the random directions that z and log10_p are against; a decoder of fewer than
            2 * d_model rows is tested against isotropic directions in any case.
        null_directions: Random directions that give nes and log10_p_es; 0 leaves them out.
        seed: Seed of those directions; the same on every device.
        nuisance: Covariates [n_covariates, d_vocab] that z_adj holds fixed, such as log(1 + token id) and whether a
            token starts with a space; without them z_adj and log10_p_adj are left out.
        weight: Exponent of |logit| that weights the hits of es: 0 for none, 1 for GSEA's score. A weighted es has no
            log10_p_ks.
        device: auto, cpu, cuda or cuda:N.
        memory: Bytes for a block of features.
        threads: CPU threads.

    Returns:
        A row a (set, feature) in the order of `sets`: `set_name`, `feature`, `n_tokens`, and the columns of table
        `enrichment` that are computed; NULL for a decoder row of zeros.

    Raises:
        TokenSetError: A set without tokens, with all of them, or with an id that is none.
        WeightsError: As `feature_statistics`.
    """
    d_vocab = _shape(W_U, "W_U", "[d_model, d_vocab]")[1]
    chosen = [token_set_from_ids(name, ids, d_vocab) for name, ids in sets.items()]
    check_sets(chosen, d_vocab)
    options = Options(device, memory, threads=threads, null=null, directions=null_directions, seed=seed, weight=weight)
    numbers = _numbers(W_dec, W_U, [item.token_ids for item in chosen], options, _covariates(nuisance, d_vocab))
    table = enrichment_table(numbers.enrichment)
    n_features = len(numbers.feature["mean"])
    names = pa.array(np.repeat(np.array([item.name for item in chosen], dtype=object), n_features), pa.string())
    sizes = pa.array(np.repeat(np.array([len(item.token_ids) for item in chosen], dtype=np.int32), n_features))
    return table.add_column(0, "set_name", names).add_column(2, "n_tokens", sizes)


def token_sets(tokenizer: Any, collections: Sequence[str] | None = None) -> dict[str, AnyArray]:
    """Return the built-in token sets for a tokenizer: sorted token ids by set name.

    Args:
        tokenizer: A transformers tokenizer, or the folder of one.
        collections: Names of collections (`featdex sets collections`), or `core` for a choice of them; all by default.

    Raises:
        TokenSetError: An unknown collection.
    """
    if isinstance(tokenizer, str | Path):
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(str(tokenizer), local_files_only=True)
        except (OSError, ValueError) as error:
            raise UsageError(f"no tokenizer in {tokenizer}: {str(error).splitlines()[0]}") from error
    sets = builtin_sets(vocabulary_from_transformers(tokenizer), collections)
    return {item.name: item.token_ids for item in sets}


def _shape(array: Any, name: str, meaning: str) -> tuple[int, ...]:
    shape = tuple(getattr(array, "shape", ()))
    if len(shape) != 2 or 0 in shape:
        raise WeightsError(f"{name} has shape {list(shape)}; it must be a matrix {meaning}")
    return shape


def _float32(array: Any, name: str, meaning: str) -> torch.Tensor:
    _shape(array, name, meaning)
    tensor = array.detach() if isinstance(array, torch.Tensor) else torch.from_numpy(np.array(array))
    if not tensor.is_floating_point():
        raise WeightsError(f"{name} holds {tensor.dtype}; it must hold floats")
    return tensor.to("cpu", torch.float32).contiguous()


def _covariates(nuisance: Any, d_vocab: int) -> Float64[np.ndarray, "k v"] | None:
    if nuisance is None:
        return None
    values = np.atleast_2d(np.asarray(nuisance, dtype=np.float64))
    if values.ndim != 2 or values.shape[1] != d_vocab or not np.isfinite(values).all():
        raise UsageError(
            f"nuisance has shape {list(values.shape)}; it must be finite and have {d_vocab} columns, one a token"
        )
    return values


def _numbers(
    W_dec: Any,
    W_U: Any,
    sets: list[TokenIds],
    options: Options,
    covariates: Float64[np.ndarray, "k v"] | None = None,
) -> Numbers:
    decoder = _float32(W_dec, "W_dec", "[n_features, d_model]")
    unembedding = _float32(W_U, "W_U", "[d_model, d_vocab]")
    if decoder.shape[1] != unembedding.shape[0]:
        turned = "; W_U looks transposed" if decoder.shape[1] == unembedding.shape[1] else ""
        raise WeightsError(f"W_dec {list(decoder.shape)} and W_U {list(unembedding.shape)} don't share d_model{turned}")
    require_finite_rows(unembedding.T, "W_U", "token")
    universe = (unembedding != 0).any(0).numpy()
    return compute_numbers(decoder, unembedding, sets, universe=universe, covariates=covariates, options=options)
