"""Files that the fuzzing (bench/fuzz.py) found a reader to trip over, each made small: one line and no more."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from featdex.catalogue.errors import FeatdexError, UsageError, WeightsError
from featdex.ingest.choices import choose_sets
from featdex.ingest.directions_file import read_directions
from featdex.ingest.inputs import LanguageModel, Recipe
from featdex.ingest.jobs import jobs_for, model_of
from featdex.ingest.loading import guarded_loading
from featdex.ingest.model_gguf import read_gguf
from featdex.ingest.model_hub import read_hub
from featdex.ingest.models import read_model
from featdex.ingest.vocabulary import vocabulary_from_raw, vocabulary_from_transformers
from safetensors.torch import save_file

D_MODEL = 4


@pytest.fixture
def model() -> LanguageModel:
    vocabulary = vocabulary_from_raw(["a", "b", "c"], "byte_level", [])
    recipe = Recipe(fold_ln=True, center_d_model=False, center_unembed=True)
    return LanguageModel("tiny", 4, torch.zeros(D_MODEL, 3), vocabulary, recipe, lambda layer: torch.zeros(1, D_MODEL))


def array_with_header(header: str) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4",  # an end of text where numpy's tokenizer expects none
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "(" * 300 + ")" * 300 + ",)}",
    ],
)
@pytest.mark.parametrize("archived", [False, True])
def test_a_header_that_numpy_trips_over(tmp_path: Path, model: LanguageModel, header: str, archived: bool) -> None:
    path = tmp_path / ("x.npz" if archived else "x.npy")
    path.write_bytes(array_with_header(header))
    if archived:
        member = path.read_bytes()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("probe.npy", member)
    with pytest.raises(WeightsError, match="can't read"):
        read_directions(path, model)


def test_an_archive_with_something_else_than_arrays(tmp_path: Path, model: LanguageModel) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("notes.txt", "no array")
    with pytest.raises(WeightsError, match=r"no array; save it with numpy\.savez"):
        read_directions(tmp_path / "x.npz", model)


def test_an_archive_compressed_in_an_unknown_way(tmp_path: Path, model: LanguageModel) -> None:
    np.savez(tmp_path / "x.npz", probe=np.ones(D_MODEL, np.float32))
    data = (tmp_path / "x.npz").read_bytes()
    at = data.index(b"PK\x01\x02") + 10
    (tmp_path / "x.npz").write_bytes(data[:at] + b"\x63\0" + data[at + 2 :])
    with pytest.raises(WeightsError, match="compression method"):
        read_directions(tmp_path / "x.npz", model)


def test_a_name_in_a_file_can_not_steer_a_terminal_or_break_the_line(tmp_path: Path, model: LanguageModel) -> None:
    save_file({"\x1b[31m\nname\u202e": torch.zeros(D_MODEL + 1)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError) as caught:
        read_directions(tmp_path / "x.safetensors", model)
    assert str(caught.value).isprintable()
    assert r"\x1b[31m\nname\u202e" in str(caught.value)


def test_a_norm_after_an_output_of_another_width(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "gemma2")
    writer.add_block_count(1)
    writer.add_float32("gemma2.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b", "c"])
    shapes = {"token_embd": (3, D_MODEL), "output_norm": (D_MODEL,), "blk.0.ffn_down": (D_MODEL, 8)}
    for name, shape in (shapes | {"blk.0.post_ffw_norm": (D_MODEL + 1,)}).items():
        writer.add_tensor(f"{name}.weight", np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(WeightsError, match=r"post_ffw_norm of layer 0 has shape \(5,\)"):
        read_gguf(tmp_path / "m.gguf").mlp_out(0)


@pytest.mark.parametrize("count", [2**31, 1e300, float("nan")])
@pytest.mark.parametrize("where", ["num_hidden_layers", "n_layer", "text_config"])
def test_a_configuration_of_a_billion_layers(tmp_path: Path, count: float, where: str) -> None:
    layers: Any = {"num_hidden_layers": count} if where == "text_config" else count
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma2", where: layers}))
    with pytest.raises(WeightsError, match=r"config\.json .* above 10,000"):
        read_hub(tmp_path)


def test_a_tokenizer_with_an_id_of_billions() -> None:
    class Tokenizer:
        def __len__(self) -> int:
            return 2

        def get_vocab(self) -> dict[str, int]:
            return {"a": 0, "b": 2**32 - 1}

    with pytest.raises(WeightsError, match="a token of the id 4,294,967,295"):
        vocabulary_from_transformers(Tokenizer())


@pytest.mark.parametrize(("name", "reason"), [("y" * 300, "File name too long"), ("~nobody-here/x", "no such user")])
def test_a_name_that_no_file_can_have(model: LanguageModel, name: str, reason: str) -> None:
    ways: list[Callable[[], object]] = [
        lambda: model_of(name),
        lambda: jobs_for(name, model, layers=None, sae=None, slug=None),
        lambda: read_model(name),
        lambda: choose_sets(model, f"{name}.toml"),
    ]
    for way in ways:
        with pytest.raises(UsageError, match=reason) as caught:
            way()
        assert len(str(caught.value)) < 250


def test_a_fault_is_a_line() -> None:
    assert str(FeatdexError("a\nb\tc\x9b\u2028é日")) == r"a\nb\tc\x9b\u2028é日"
    assert str(FeatdexError()) == ""


def test_a_panic_of_a_library_in_rust_is_an_error_like_others() -> None:
    import tokenizers

    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
    model["continuing_subword_prefix"] = "longer than a token"
    with pytest.raises(RuntimeError, match="a library gave up on it"), guarded_loading():
        tokenizers.Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
