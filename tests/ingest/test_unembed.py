"""The recipe of W_U against float64 arithmetic written out, and against TransformerLens' own processing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from featdex.catalogue.errors import WeightsError
from featdex.ingest.loading import guarded_loading
from featdex.ingest.unembed import process_unembedding

Matrix = np.ndarray[Any, np.dtype[Any]]
D_MODEL, D_VOCAB = 8, 21


def worked_example(embedding: Matrix, norm: Matrix, layer_norm: bool, centre: bool) -> Matrix:
    W_U = np.einsum("td,d->dt", embedding.astype(np.float64), norm.astype(np.float64))
    if layer_norm:
        W_U = W_U - np.average(W_U, axis=0)[None, :]
    centred: Matrix = W_U - np.average(W_U, axis=1)[:, None] if centre else W_U
    return centred


def random_weights(seed: int, d_rows: int = D_VOCAB) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(d_rows, D_MODEL, generator=generator) + 0.7
    return embedding, 1 + 0.4 * torch.randn(D_MODEL, generator=generator)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("centre", [True, False])
def test_equals_the_arithmetic_written_out(seed: int, layer_norm: bool, centre: bool) -> None:
    embedding, norm = random_weights(seed)
    W_U, recipe, _ = process_unembedding(embedding, norm, layer_norm=layer_norm, center_unembed=centre)
    np.testing.assert_allclose(
        W_U.numpy(), worked_example(embedding.numpy(), norm.numpy(), layer_norm, centre), atol=1e-6, rtol=0
    )
    assert (recipe.fold_ln, recipe.center_d_model, recipe.center_unembed) == (True, layer_norm, centre)
    assert W_U.is_contiguous()


def test_two_by_two_by_hand() -> None:
    embedding = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    norm = torch.tensor([2.0, 1.0])
    # folded rows (2, 2), (6, 6): a LayerNorm leaves nothing of them, an RMSNorm their distance from the mean row
    assert process_unembedding(embedding, norm, layer_norm=True)[0].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert process_unembedding(embedding, norm, layer_norm=False)[0].tolist() == [[-2.0, 2.0], [-2.0, 2.0]]


def test_the_vocabulary_mean_counts_padded_rows_and_then_they_go() -> None:
    embedding, norm = random_weights(5, d_rows=D_VOCAB + 4)
    W_U, _, _ = process_unembedding(embedding, norm, layer_norm=True, n_tokens=D_VOCAB)
    expected = worked_example(embedding.numpy(), norm.numpy(), True, True)[:, :D_VOCAB]
    np.testing.assert_allclose(W_U.numpy(), expected, atol=1e-6, rtol=0)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding, norm = random_weights(6)
    whole, _, _ = process_unembedding(embedding, norm, layer_norm=True)
    monkeypatch.setattr("featdex.ingest.unembed._BLOCK_TOKENS", 4)
    in_blocks, _, _ = process_unembedding(embedding, norm, layer_norm=True)
    torch.testing.assert_close(in_blocks, whole, atol=1e-7, rtol=0)


def test_without_a_norm_weight_nothing_is_folded() -> None:
    embedding, _ = random_weights(7)
    W_U, recipe, _ = process_unembedding(embedding, None, layer_norm=False, center_unembed=False)
    assert torch.equal(W_U, embedding.T)
    assert not recipe.fold_ln


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_damaged_numbers_are_named(bad: float) -> None:
    embedding, norm = random_weights(8)
    broken = embedding.clone()
    broken[17, 3] = bad
    with pytest.raises(WeightsError, match="first at token id 17"):
        process_unembedding(broken, norm, layer_norm=True)
    with pytest.raises(WeightsError, match="processed unembedding"):
        process_unembedding(embedding * 1e30, norm * 1e30, layer_norm=True)
    norm[2] = bad
    with pytest.raises(WeightsError, match="norm's weight has NaN or inf, first at dimension 2"):
        process_unembedding(embedding, norm, layer_norm=True)


def test_more_tokens_than_rows_is_refused() -> None:
    embedding, norm = random_weights(9)
    with pytest.raises(WeightsError, match="22 tokens, the unembedding 21 rows"):
        process_unembedding(embedding, norm, layer_norm=True, n_tokens=D_VOCAB + 1)


def tiny_gpt2_and_llama() -> list[tuple[str, Any, str, bool]]:
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    gpt2 = GPT2Config(vocab_size=D_VOCAB, n_embd=D_MODEL, n_layer=1, n_head=2, n_positions=16)
    llama = LlamaConfig(
        vocab_size=D_VOCAB, hidden_size=D_MODEL, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2
    )
    return [
        ("gpt2", GPT2LMHeadModel(gpt2), "transformer.ln_f.weight", True),
        ("llama", LlamaForCausalLM(llama), "model.norm.weight", False),
    ]


@pytest.mark.parametrize("centre_writing", [True, False])
def test_equals_transformer_lens(centre_writing: bool, tmp_path: Path) -> None:
    with guarded_loading():
        from transformer_lens.model_bridge import TransformerBridge

        tokenizer = word_tokenizer(tmp_path)
        for name, model, norm_name, layer_norm in tiny_gpt2_and_llama():
            randomise(model)
            weights = {key: value.clone() for key, value in model.state_dict().items()}
            bridge = TransformerBridge.boot_transformers(name, hf_model=model, tokenizer=tokenizer, device="cpu")
            bridge.enable_compatibility_mode(fold_ln=True, center_writing_weights=centre_writing, center_unembed=True)
            W_U, _, _ = process_unembedding(weights["lm_head.weight"], weights[norm_name], layer_norm=layer_norm)
            difference = float((W_U - bridge.W_U).abs().max())
            assert difference < 1e-6, name


def word_tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer, models
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({chr(97 + i): i for i in range(D_VOCAB)}, unk_token="a"))
    make: Any = PreTrainedTokenizerFast  # untyped
    make(tokenizer_object=words, unk_token="a", eos_token="a").save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)  # TransformerLens reloads a tokenizer from where it came


def randomise(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            centre = 0.8 if parameter.ndim == 1 else 0.0
            parameter.copy_(centre + 0.3 * torch.randn(parameter.shape, generator=generator))


def test_tokens_without_weights_are_told_before_centring() -> None:
    embedding = torch.randn(6, 4)
    embedding[2] = 0
    embedding[5] = 0
    _, _, has_weights = process_unembedding(embedding, None, layer_norm=False, n_tokens=5)
    assert has_weights.tolist() == [True, True, False, True, True]
