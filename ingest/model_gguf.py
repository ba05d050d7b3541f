"""Language models from GGUF files, the format of llama.cpp: unembedding, final norm, tokenizer and MLPs in one file.

Only four tensors of a model matter here, so nothing of llama.cpp is needed: the gguf package finds and dequantises
them. Key and tensor names are those of the GGUF specification (ggml/docs/gguf.md).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, no_type_check

import numpy as np
import torch
from jaxtyping import Float32

from ..catalogue.errors import FeatdexError, NotFoundError, WeightsError
from .checks import require_finite_rows, require_layer
from .inputs import LanguageModel, Vocabulary
from .loading import one_line
from .unembed import process_unembedding
from .vocabulary import vocabulary_from_raw

T = TypeVar("T")

_MAGIC = b"GGUF"
_VOCABULARY_KINDS = {"gpt2": "byte_level", "llama": "sentencepiece", "bert": "wordpiece"}
"""GGUF's name of a tokenizer family (that of the first model with it) to ours."""

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 1, 2, 3, 4, 5
"""Token types of llama.cpp."""


def read_gguf(path: str | Path, name: str | None = None) -> LanguageModel:
    """Read a language model from the GGUF file at `path`, dequantised to float32.

    `W_U` comes from `output.weight`, or from `token_embd.weight` where the two are tied. Norm weights are taken as
    stored: llama.cpp's converter has already added the 1 of Gemma's `1 + w`. `name` is by default the file's
    `general.basename` and `general.size_label`, lower-case (`smollm2-135m`), or its stem.
    `mlp_out` and `attn_out` read `blk.N.ffn_down.weight` and `blk.N.attn_output.weight` when they are asked for them,
    so the file must stay where it is.

    Raises:
        NotFoundError: no such file.
        WeightsError: not a GGUF file, damaged, or of a kind that has no logit lens (no final norm, no tokenizer).
    """
    path = Path(path)
    _require_gguf(path)
    return _language_model(_GgufFile(path), name)


def _require_gguf(path: Path) -> None:
    if path.is_dir():
        raise WeightsError(f"{path} is a folder; name the .gguf file in it")
    try:
        with path.open("rb") as stream:
            magic = stream.read(len(_MAGIC))
    except FileNotFoundError as error:
        raise NotFoundError(f"no such file: {path}") from error
    except OSError as error:
        raise WeightsError(f"can't read {path}: {error.strerror}") from error
    if magic != _MAGIC:
        raise WeightsError(f"{path} is not a GGUF file; give a .gguf file, a Hugging Face folder or a hub name")


@contextlib.contextmanager
def _parsing(path: Path) -> Iterator[None]:
    """Turn what the gguf package raises on a damaged file, which is whatever numpy meets, into one line."""
    try:
        # Counts and offsets of a damaged file overflow; numpy must say so and not wrap them into valid ones.
        with np.errstate(over="raise"):
            yield
    except FeatdexError:
        raise
    except Exception as error:  # The parser checks nothing by itself.
        raise WeightsError(f"{path}: damaged or truncated GGUF file ({one_line(error)}); download it again") from error


def _checked_reader(path: Path) -> Any:
    """Return a GGUFReader that refuses to read past the end of the file.

    The library's own returns an empty array there, on which a damaged array length loops for ever.
    """
    from gguf import GGUFReader

    class CheckedReader(GGUFReader):
        @no_type_check  # called half a million times: checking its types would double a test's time
        def _get(self, offset: Any, dtype: Any, count: Any = 1, override_order: Any = None) -> Any:
            if type(self.data) is np.memmap:  # slices of a plain view of it cost half as much
                self.data = self.data.view(np.ndarray)
            end = int(offset) + np.dtype(dtype).itemsize * int(count)
            if end > len(self.data):
                raise EOFError(f"it ends at byte {len(self.data):,}, data is expected up to {end:,}")
            return super()._get(int(offset), dtype, count, override_order)

    return CheckedReader(os.fspath(path))


class _GgufFile:
    """Metadata and tensors of one open file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _parsing(path):
            self._reader = _checked_reader(path)
            self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        self.architecture = self.value("general.architecture", str) or ""

    def value(self, key: str, kind: type[T]) -> T | None:
        """Return the metadata value of `key`, None where the file has none; `WeightsError` where it is no `kind`."""
        field = self._reader.get_field(key)
        if field is None:
            return None
        with _parsing(self.path):
            value = field.contents()
        if not isinstance(value, kind):
            raise WeightsError(
                f"{self.path}: {key} is {type(value).__name__}, not {kind.__name__}; the file is damaged"
            )
        return value

    def values(self, key: str, kind: type[T]) -> list[T] | None:
        """Return the metadata array of `key` as `value` does."""
        items = self.value(key, list)
        if items and not isinstance(items[0], kind):  # a GGUF array has one type
            raise WeightsError(f"{self.path}: {key} is no array of {kind.__name__}; the file is damaged")
        return items

    def has(self, name: str) -> bool:
        """Whether the file holds a tensor of that name."""
        return name in self._tensors

    def missing(self, what: str) -> WeightsError:
        """Return the error to raise where the file has no `what`."""
        return WeightsError(f"{self.path} has no {what}; featdex reads GGUF files of language models")

    def tensor(self, *names: str) -> Float32[torch.Tensor, "..."]:
        """Return the first tensor of `names` that the file has, dequantised."""
        from gguf.quants import dequantize

        found = next((self._tensors[name] for name in names if name in self._tensors), None)
        if found is None:
            raise self.missing(f"tensor {names[0]}")
        try:
            # A damaged scale overflows here; the finite checks after it say so with a row number.
            with np.errstate(all="ignore"):
                values = dequantize(found.data, found.tensor_type)
        except NotImplementedError as error:
            kind = found.tensor_type.name
            raise WeightsError(f"{self.path}: {found.name} is of type {kind}, which gguf can't dequantise") from error
        return torch.from_numpy(np.array(values, dtype=np.float32))


def _language_model(file: _GgufFile, name: str | None) -> LanguageModel:
    name = name or _model_name(file)
    n_layers = file.value(f"{file.architecture}.block_count", int)
    if n_layers is None:
        raise file.missing(f"{file.architecture}.block_count")
    vocabulary = _vocabulary(file)
    embedding = file.tensor("output.weight", "token_embd.weight")
    norm_weight = file.tensor("output_norm.weight")
    if embedding.ndim != 2 or norm_weight.shape != embedding.shape[1:]:
        shapes = f"{tuple(embedding.shape)} and {tuple(norm_weight.shape)}"
        raise WeightsError(f"{file.path}: unembedding and final norm of shapes {shapes} don't fit together")
    W_U, recipe, has_weights = process_unembedding(
        embedding,
        norm_weight,
        layer_norm=_is_layer_norm(file),
        center_unembed=not (file.value(f"{file.architecture}.final_logit_softcapping", float) or 0.0) > 0.0,
        n_tokens=len(vocabulary),
    )

    def output(
        layer: int, tensor: str, post_norm: str, what: str, row_name: str
    ) -> Float32[torch.Tensor, "width d_model"]:
        require_layer(layer, n_layers, name)
        stored = file.tensor(f"blk.{layer}.{tensor}.weight")
        if stored.ndim != 2 or stored.shape[0] != W_U.shape[0]:
            raise WeightsError(f"{file.path}: {tensor} of layer {layer} has shape {tuple(stored.shape)}")
        rows = stored.T.contiguous()
        if file.has(norm := f"blk.{layer}.{post_norm}.weight"):  # on the way to the residual stream; 1 is added already
            weight = file.tensor(norm)
            if weight.shape != W_U.shape[:1]:
                raise WeightsError(f"{file.path}: {post_norm} of layer {layer} has shape {tuple(weight.shape)}")
            rows = rows * weight
        require_finite_rows(rows, f"{what} of layer {layer}", row_name)
        return rows

    return LanguageModel(
        name=name,
        n_layers=n_layers,
        W_U=W_U,
        vocabulary=vocabulary,
        recipe=recipe,
        mlp_out=lambda layer: output(layer, "ffn_down", "post_ffw_norm", "W_out", "neuron"),
        attn_out=lambda layer: output(layer, "attn_output", "post_attention_norm", "W_O", "dimension"),
        has_weights=has_weights,
    )


def _model_name(file: _GgufFile) -> str:
    parts = [(file.value(f"general.{key}", str) or "").strip() for key in ("basename", "size_label")]
    name = "-".join(parts) if all(parts) else file.path.stem
    return re.sub(r"[\s/]+", "-", name.lower())


def _is_layer_norm(file: _GgufFile) -> bool:
    prefix = f"{file.architecture}.attention"
    if file.value(f"{prefix}.layer_norm_rms_epsilon", float) is not None:
        return False
    if file.value(f"{prefix}.layer_norm_epsilon", float) is not None:
        return True
    raise file.missing(f"{prefix}.layer_norm_epsilon")


def _vocabulary(file: _GgufFile) -> Vocabulary:
    family = file.value("tokenizer.ggml.model", str)
    if family is None:
        raise file.missing("tokenizer.ggml.model")
    kind = _VOCABULARY_KINDS.get(family)
    if kind is None:
        raise WeightsError(
            f"{file.path} has a tokenizer of the family {family!r}; featdex reads {', '.join(_VOCABULARY_KINDS)}: "
            "give the Hugging Face folder or hub name of the model instead"
        )
    raw = file.values("tokenizer.ggml.tokens", str)
    if not raw:
        raise file.missing("tokenizer.ggml.tokens")
    types = file.values("tokenizer.ggml.token_type", int) or [_NORMAL] * len(raw)
    if len(types) != len(raw):
        raise WeightsError(f"{file.path} has {len(raw):,} tokens but {len(types):,} token types; the file is damaged")
    raw = raw[: _n_real_tokens(raw, types)]
    special_ids = [token_id for token_id in range(len(raw)) if types[token_id] in (_UNKNOWN, _CONTROL)]
    literal_ids = [token_id for token_id in range(len(raw)) if types[token_id] == _USER_DEFINED]
    if kind == "wordpiece":
        raw = [_wordpiece(token, types[token_id]) for token_id, token in enumerate(raw)]
    return vocabulary_from_raw(raw, kind, special_ids, literal_ids)


def _n_real_tokens(raw: Sequence[str], types: Sequence[int]) -> int:
    """Count the tokens before the padding that llama.cpp's converter spells `[PAD49152]` after the last real one."""
    n = len(raw)
    while n and types[n - 1] == _UNUSED and raw[n - 1] == f"[PAD{n - 1}]":
        n -= 1
    return n


def _wordpiece(token: str, token_type: int) -> str:
    """Undo llama.cpp's respelling: it marks the start of a word (`▁`), WordPiece the continuation of one (`##`)."""
    if token_type == _CONTROL or (token.startswith("[") and token.endswith("]")):
        return token
    return token[1:] if token.startswith("▁") else f"##{token}"
