"""Decoders on hook_z and on an MLP's hidden layer, against sums over heads and neurons in plain numpy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from featdex.catalogue.errors import WeightsError
from featdex.ingest.inputs import LanguageModel, Recipe, Vocabulary, no_attention_output
from featdex.ingest.sae_mapping import place_of, to_residual
from featdex.ingest.sae_sources import read_sae_folder
from safetensors.torch import save_file

D_MODEL, N_HEADS, D_HEAD, D_MLP, D_SAE = 20, 6, 4, 56, 600
N_LAYERS = 3


def weights(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def output_of(matrices: torch.Tensor, layer: int) -> torch.Tensor:
    if layer >= len(matrices):
        raise WeightsError(f"tiny has no layer {layer}")
    return matrices[layer]


W_O = weights(N_LAYERS, N_HEADS * D_HEAD, D_MODEL, seed=1)
W_OUT = weights(N_LAYERS, D_MLP, D_MODEL, seed=2)


def language_model(**changes: Any) -> LanguageModel:
    flags = np.zeros(3, dtype=np.bool_)
    model = LanguageModel(
        name="tiny",
        n_layers=N_LAYERS,
        W_U=torch.zeros(D_MODEL, 3),
        vocabulary=Vocabulary(raw=("a", "b", "c"), text=("a", "b", "c"), is_special=flags, is_partial_utf8=flags),
        recipe=Recipe(fold_ln=True, center_d_model=False, center_unembed=True),
        mlp_out=lambda layer: output_of(W_OUT, layer),
        attn_out=lambda layer: output_of(W_O, layer),
    )
    return replace(model, **changes)


def save_sae(folder: Path, hook_name: str, width: int, **metadata: Any) -> dict[str, torch.Tensor]:
    """Write a standard SAE as sae_lens 6.54 does, and return its tensors."""
    folder.mkdir()
    shapes = {"W_enc": (width, D_SAE), "W_dec": (D_SAE, width), "b_enc": (D_SAE,), "b_dec": (width,)}
    tensors = {name: weights(*shape, seed=index) for index, (name, shape) in enumerate(shapes.items(), start=10)}
    save_file(tensors, folder / "sae_weights.safetensors")
    reshape = "hook_z" if hook_name.endswith("hook_z") else "none"
    known = {"hook_name": hook_name, "model_name": "tiny-model", "sae_lens_version": "6.54.12"}
    config = {"architecture": "standard", "d_in": width, "d_sae": D_SAE, "dtype": "float32", "device": "cpu"}
    config |= {"reshape_activations": reshape, "apply_b_dec_to_input": True, "normalize_activations": "none"}
    (folder / "cfg.json").write_text(json.dumps(config | {"metadata": known | metadata}))
    return tensors


def test_hook_z_is_mapped_head_by_head(tmp_path: Path) -> None:
    tensors = save_sae(tmp_path / "z", "blocks.1.attn.hook_z", N_HEADS * D_HEAD)
    sae = read_sae_folder(tmp_path / "z", language_model())
    heads = tensors["W_dec"].double().numpy().reshape(D_SAE, N_HEADS, D_HEAD)
    writes = W_O[1].double().numpy().reshape(N_HEADS, D_HEAD, D_MODEL)
    expected = np.zeros((D_SAE, D_MODEL))
    for head in range(N_HEADS):
        expected += heads[:, head] @ writes[head]
    np.testing.assert_allclose(sae.W_dec.numpy(), expected, rtol=1e-6, atol=1e-6)
    assert (sae.to_resid, sae.site, sae.layer, sae.d_in) == ("W_O", "attn_z", 1, N_HEADS * D_HEAD)
    assert sae.slug == "tiny/1-att-z-z"
    # The cosine of encoder and decoder is taken where both live.
    assert sae.enc_dec_cos is not None
    encoder, decoder = tensors["W_enc"][:, 7].double().numpy(), tensors["W_dec"][7].double().numpy()
    cosine = encoder @ decoder / np.linalg.norm(encoder) / np.linalg.norm(decoder)
    assert abs(sae.enc_dec_cos[7] - cosine) < 1e-6


def test_an_mlps_hidden_layer_is_mapped_by_its_neurons(tmp_path: Path) -> None:
    tensors = save_sae(tmp_path / "mlp", "blocks.2.mlp.hook_post", D_MLP)
    sae = read_sae_folder(tmp_path / "mlp", language_model())
    expected = np.zeros((D_SAE, D_MODEL))
    for neuron in range(D_MLP):
        expected += np.outer(tensors["W_dec"][:, neuron].double().numpy(), W_OUT[2, neuron].double().numpy())
    np.testing.assert_allclose(sae.W_dec.numpy(), expected, rtol=1e-6, atol=1e-6)
    assert (sae.to_resid, sae.site, sae.d_in, sae.slug) == ("W_out", "mlp_post", D_MLP, "tiny/2-mlp-post-mlp")


def test_one_head_takes_its_rows(tmp_path: Path) -> None:
    tensors = save_sae(tmp_path / "h", "blocks.0.attn.hook_z", D_HEAD, hook_head_index=4)
    sae = read_sae_folder(tmp_path / "h", language_model())
    rows = slice(4 * D_HEAD, 5 * D_HEAD)
    expected = tensors["W_dec"].double().numpy() @ W_O[0, rows].double().numpy()
    np.testing.assert_allclose(sae.W_dec.numpy(), expected, rtol=1e-6, atol=1e-6)
    everything = place_of("blocks.0.attn.hook_z", head=4)
    whole, _ = to_residual(weights(3, N_HEADS * D_HEAD, seed=5), everything, language_model())
    all_heads, _ = to_residual(weights(3, N_HEADS * D_HEAD, seed=5), everything._replace(head=None), language_model())
    assert torch.equal(whole, all_heads)


@pytest.mark.parametrize(
    ("hook_name", "width", "metadata", "message"),
    [
        (
            "blocks.1.attn.hook_z",
            16,
            {},
            r"has 16 dimensions of blocks\.1\.attn\.hook_z, W_O of layer 1 in tiny has 24 \(n_heads x d_head\); "
            r"name the model it was trained on \(tiny-model\) with --model",
        ),
        ("blocks.1.attn.hook_z", D_HEAD, {}, "fewer heads can be mapped only where metadata.hook_head_index names"),
        (
            "blocks.1.attn.hook_z",
            D_HEAD,
            {"hook_head_index": 6},
            "head 6 of .* with d_head 4, which doesn't fit the 24",
        ),
        ("blocks.1.attn.hook_z", 5, {"hook_head_index": 0}, "head 0 of .* with d_head 5, which doesn't fit the 24"),
        ("blocks.9.attn.hook_z", 24, {}, r"hook_z need W_O to reach the residual stream: tiny has no layer 9"),
        (
            "blocks.9.mlp.hook_post",
            D_MLP,
            {},
            r"hook_post need W_out to reach the residual stream: tiny has no layer 9",
        ),
        ("blocks.1.mlp.hook_post", 24, {}, r"has 24 dimensions .* W_out of layer 1 in tiny has 56 \(d_mlp\)"),
    ],
)
def test_what_has_no_map_is_refused_in_one_line(
    hook_name: str, width: int, metadata: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save_sae(tmp_path / "s", hook_name, width, **metadata)
    with pytest.raises(WeightsError, match=message) as caught:
        read_sae_folder(tmp_path / "s", language_model())
    assert "\n" not in str(caught.value)


def test_a_model_without_that_matrix_is_refused(tmp_path: Path) -> None:
    save_sae(tmp_path / "s", "blocks.1.attn.hook_z", 24)
    bare = language_model(attn_out=no_attention_output)
    with pytest.raises(WeightsError, match=r"need W_O .*: layer 1 of this model has no attention output matrix"):
        read_sae_folder(tmp_path / "s", bare)


def test_a_damaged_map_is_named() -> None:
    damaged = W_O.clone()
    damaged[2, 5, 3] = torch.nan
    model = language_model(attn_out=lambda layer: damaged[layer])
    with pytest.raises(WeightsError, match="W_O of layer 2 has NaN or inf, first at row 5"):
        to_residual(torch.ones(2, 24), place_of("blocks.2.attn.hook_z"), model)


def test_norms_are_what_the_matrix_makes_of_them() -> None:
    place = place_of("blocks.0.mlp.hook_post")
    rows = weights(4, D_MLP, seed=3)
    once, _ = to_residual(rows, place, language_model())
    twice, _ = to_residual(2 * rows, place, language_model())
    torch.testing.assert_close(twice, 2 * once)
    assert not np.allclose(once.norm(dim=1), once.norm(dim=1).mean(), rtol=0.01)


def test_the_hash_is_that_of_what_was_multiplied() -> None:
    place, model = place_of("blocks.0.attn.hook_z"), language_model()
    rows = weights(3, 24, seed=4)
    _, same = to_residual(rows, place, model)
    assert same == to_residual(rows.clone(), place, model)[1]
    assert (
        len({same, to_residual(rows + 1, place, model)[1], to_residual(rows, place._replace(layer=1), model)[1]}) == 3
    )
    own, none = to_residual(weights(3, D_MODEL, seed=4), place_of("blocks.0.hook_resid_pre"), model)
    assert none is None
    assert torch.equal(own, weights(3, D_MODEL, seed=4))


def test_the_session_s_precision_of_products_does_not_matter() -> None:
    rows, model = weights(300, D_MLP, seed=6), language_model()
    exact, _ = to_residual(rows, place_of("blocks.1.mlp.hook_post"), model)
    torch.set_float32_matmul_precision("medium")
    try:
        loose, _ = to_residual(rows, place_of("blocks.1.mlp.hook_post"), model)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(exact, loose)


@pytest.mark.parametrize(
    ("hook_name", "site", "to_resid"),
    [
        ("blocks.1.hook_z", "attn_z", "W_O"),
        ("blocks.1.attn.o.hook_in", "attn_z", "W_O"),
        ("blocks.1.hook_post", "mlp_post", "W_out"),
        ("blocks.1.mlp.out.hook_in", "mlp_post", "W_out"),
        ("blocks.1.mlp.hook_out", "mlp_out", "identity"),
    ],
)
def test_other_spellings_of_a_place(hook_name: str, site: str, to_resid: str) -> None:
    place = place_of(hook_name)
    assert (place.layer, place.site, place.to_resid) == (1, site, to_resid)
