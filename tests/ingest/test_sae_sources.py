"""SAEs of several architectures, saved here by sae_lens and read back; the demo SAE; refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from featdex.catalogue.errors import NotFoundError, WeightsError
from featdex.ingest.inputs import LanguageModel, Recipe, Vocabulary
from featdex.ingest.loading import guarded_loading
from featdex.ingest.sae_sources import read_sae_folder
from safetensors.torch import load_file, save_file

D_MODEL, D_SAE = 16, 40
HOOK = "blocks.3.hook_resid_post"
DEMO = Path(__file__).parents[2] / "ingest" / "data" / "demo_sae"

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "standard": ("StandardSAE", {}),
    "gated": ("GatedSAE", {}),
    "jumprelu": ("JumpReLUSAE", {}),
    "topk": ("TopKSAE", {"k": 4, "rescale_acts_by_decoder_norm": True}),
    "matching_pursuit": ("MatchingPursuitSAE", {"residual_threshold": 0.1}),
}
TRANSCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "transcoder": ("Transcoder", {"d_out": D_MODEL, "apply_b_dec_to_input": False})
}


def language_model(d_model: int = D_MODEL, name: str = "tiny") -> LanguageModel:
    flags = np.zeros(3, dtype=np.bool_)
    return LanguageModel(
        name=name,
        n_layers=4,
        W_U=torch.zeros(d_model, 3),
        vocabulary=Vocabulary(raw=("a", "b", "c"), text=("a", "b", "c"), is_special=flags, is_partial_utf8=flags),
        recipe=Recipe(fold_ln=True, center_d_model=False, center_unembed=True),
        mlp_out=lambda layer: torch.zeros(1, d_model),
    )


def save_sae(
    folder: Path, architecture: str = "standard", d_in: int = D_MODEL, metadata: dict[str, Any] | None = None
) -> Path:
    """Save a random SAE of an architecture by sae_lens' own means and return its folder."""
    with guarded_loading():
        import sae_lens

        class_name, settings = (ARCHITECTURES | TRANSCODERS)[architecture]
        made: dict[str, Any] = {"hook_name": HOOK, "model_name": "tiny-model"} if metadata is None else metadata
        config = getattr(sae_lens, f"{class_name}Config")(
            d_in=d_in, d_sae=D_SAE, metadata=sae_lens.saes.sae.SAEMetadata(**made), **settings
        )
        sae = getattr(sae_lens, class_name)(config)
        generator = torch.Generator().manual_seed(len(architecture))
        with torch.no_grad():
            for parameter in sae.parameters():
                parameter.copy_(2 * torch.randn(parameter.shape, generator=generator))
        sae.save_model(folder)
    return folder


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "sae_weights.safetensors")
    change(tensors)
    save_file(tensors, folder / "sae_weights.safetensors")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_decoder_is_the_stored_one(architecture: str, tmp_path: Path) -> None:
    folder = save_sae(tmp_path / "my sae", architecture)
    stored = load_file(folder / "sae_weights.safetensors")
    sae = read_sae_folder(folder, language_model())
    assert torch.equal(sae.W_dec, stored["W_dec"])
    assert (sae.W_dec.dtype, sae.W_dec.requires_grad) == (torch.float32, False)
    assert (sae.kind, sae.architecture, sae.to_resid) == ("sae", architecture, "identity")
    assert (sae.layer, sae.site, sae.hook_name) == (3, "resid_post", HOOK)
    assert (sae.release, sae.sae_name, sae.slug) == ("my sae", HOOK, "tiny/3-res-my sae")
    assert (sae.d_in, sae.d_sae) == (D_MODEL, D_SAE)
    assert (sae.l0, sae.neuronpedia_id, sae.log10_density) == (None, None, None)
    if "b_enc" in stored:
        assert sae.b_enc is not None
        assert np.array_equal(sae.b_enc, stored["b_enc"].numpy())
    else:
        assert sae.b_enc is None


def test_a_half_precision_decoder_is_widened_exactly(tmp_path: Path) -> None:
    folder = save_sae(tmp_path / "half")
    rewrite(folder, lambda tensors: tensors.update({name: value.half() for name, value in tensors.items()}))
    stored = load_file(folder / "sae_weights.safetensors")["W_dec"]
    assert stored.dtype == torch.float16
    assert torch.equal(read_sae_folder(folder, language_model()).W_dec, stored.float())


def test_encoder_decoder_cosines(tmp_path: Path) -> None:
    folder = save_sae(tmp_path / "sae")

    def zero_two(tensors: dict[str, torch.Tensor]) -> None:
        tensors["W_dec"][5] = 0
        tensors["W_enc"][:, 7] = 0

    rewrite(folder, zero_two)
    stored = {name: value.double().numpy() for name, value in load_file(folder / "sae_weights.safetensors").items()}
    cosines = read_sae_folder(folder, language_model()).enc_dec_cos
    assert cosines is not None
    assert np.flatnonzero(np.isnan(cosines)).tolist() == [5, 7]
    for feature in (0, 1, D_SAE - 1):
        encoder, decoder = stored["W_enc"][:, feature], stored["W_dec"][feature]
        expected = encoder @ decoder / np.sqrt((encoder @ encoder) * (decoder @ decoder))
        assert abs(cosines[feature] - expected) < 1e-6


def test_a_tied_sae_has_cosines_of_one(tmp_path: Path) -> None:
    cosines = read_sae_folder(save_sae(tmp_path / "sae", "matching_pursuit"), language_model()).enc_dec_cos
    assert cosines is not None
    np.testing.assert_allclose(cosines, 1, atol=1e-6)


def test_facts_of_the_configuration(tmp_path: Path) -> None:
    metadata = {"hook_name": "blocks.0.hook_resid_pre", "l0": 31.5, "neuronpedia_id": "gpt2-small/0-x"}
    sae = read_sae_folder(save_sae(tmp_path / "sae", metadata=metadata), language_model(), slug="mine/0")
    assert (sae.l0, sae.neuronpedia_id, sae.slug) == (31.5, "gpt2-small/0-x", "mine/0")


@pytest.mark.parametrize(
    ("hook_name", "layer", "site", "short"),
    [
        ("blocks.12.hook_resid_pre", 12, "resid_pre", "12-res-pre"),
        ("blocks.0.hook_resid_mid", 0, "resid_mid", "0-res-mid"),
        ("blocks.5.hook_attn_out", 5, "attn_out", "5-att"),
        ("blocks.5.hook_mlp_out", 5, "mlp_out", "5-mlp"),
        ("blocks.5.hook_out", 5, "resid_post", "5-res"),
        ("blocks.5.mlp.hook_out", 5, "mlp_out", "5-mlp"),
        ("hook_embed", None, "embed", "e-embed"),
    ],
)
def test_places_in_the_residual_stream(
    hook_name: str, layer: int | None, site: str, short: str, tmp_path: Path
) -> None:
    sae = read_sae_folder(save_sae(tmp_path / "s", metadata={"hook_name": hook_name}), language_model())
    assert (sae.layer, sae.site, sae.slug) == (layer, site, f"tiny/{short}-s")


@pytest.mark.parametrize(
    ("hook_name", "message"),
    [
        (
            "blocks.3.attn.hook_z",
            r"on blocks\.3\.attn\.hook_z need W_O to reach the residual stream: layer 3 .* no att",
        ),
        ("blocks.3.mlp.hook_post", "has 16 dimensions of .*hook_post, W_out of layer 3 in tiny has 1 "),
        ("blocks.5.mlp.hook_pre", "non-linearity lies between"),
        ("blocks.5.attn.hook_q", "attention patterns lie between"),
        ("blocks.5.ln2.hook_normalized", "writes to the normalised input of a layer"),
        ("blocks.x.hook_resid_post", "no linear map .* is known; supported are hook_resid_pre, .*mlp.hook_post"),
        ("blocks.5." + "x" * 9999, "the SAE is on blocks.5.x{71}…: no linear map"),
        (None, "doesn't say where it lives"),
    ],
)
def test_other_places_are_refused(hook_name: str | None, message: str, tmp_path: Path) -> None:
    folder = save_sae(tmp_path / "sae", metadata={} if hook_name is None else {"hook_name": hook_name})
    with pytest.raises(WeightsError, match=message):
        read_sae_folder(folder, language_model())


def test_a_transcoder_lives_where_it_writes(tmp_path: Path) -> None:
    hooks = {"hook_name": "blocks.2.ln2.hook_normalized", "hook_name_out": "blocks.2.hook_mlp_out"}
    folder = save_sae(tmp_path / "tc", "transcoder", d_in=24, metadata=hooks)
    sae = read_sae_folder(folder, language_model())
    assert (sae.kind, sae.layer, sae.site, sae.slug) == ("transcoder", 2, "mlp_out", "tiny/2-transcoder-tc")
    assert (sae.d_in, tuple(sae.W_dec.shape)) == (24, (D_SAE, D_MODEL))
    assert sae.enc_dec_cos is None  # it reads 24 dimensions and writes 16
    with pytest.raises(WeightsError, match="transcoder writes vectors of d_out 16, the model's d_model is 32"):
        read_sae_folder(folder, language_model(32))


def test_the_wrong_model_is_refused(tmp_path: Path) -> None:
    folder = save_sae(tmp_path / "sae")
    expected = (
        r"the SAE reads vectors of d_in 16, the model's d_model is 32 \(tiny\); "
        r"name the model it was trained on \(tiny-model\) with --model"
    )
    with pytest.raises(WeightsError, match=expected):
        read_sae_folder(folder, language_model(32))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_damaged_numbers_are_named(bad: float, tmp_path: Path) -> None:
    folder = save_sae(tmp_path / "sae")
    rewrite(folder, lambda tensors: tensors["W_dec"][11:13, 3].fill_(bad))
    with pytest.raises(WeightsError, match="W_dec has NaN or inf, first at feature 11"):
        read_sae_folder(folder, language_model())


def test_densities_come_from_their_file(tmp_path: Path) -> None:
    folder = save_sae(tmp_path / "sae")
    densities = -torch.arange(D_SAE, dtype=torch.float32)
    save_file({"sparsity": densities}, folder / "sparsity.safetensors")
    read = read_sae_folder(folder, language_model()).log10_density
    assert read is not None
    assert np.array_equal(read, densities.numpy())
    save_file({"sparsity": densities[:-1].clone()}, folder / "sparsity.safetensors")
    with pytest.raises(WeightsError, match="40 features but 39 firing frequencies"):
        read_sae_folder(folder, language_model())
    save_file({"density": densities}, folder / "sparsity.safetensors")
    with pytest.raises(WeightsError, match="no tensor 'sparsity'"):
        read_sae_folder(folder, language_model())
    (folder / "sparsity.safetensors").write_bytes(b"\0" * 9)
    with pytest.raises(WeightsError, match="can't read"):
        read_sae_folder(folder, language_model())


def test_what_is_no_sae_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such folder"):
        read_sae_folder(tmp_path / "absent", language_model())
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="is a file; give the folder"):
        read_sae_folder(tmp_path / "file", language_model())
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"it has no cfg\.json and no sae_weights\.safetensors"):
        read_sae_folder(tmp_path / "empty", language_model())
    (tmp_path / "empty" / "ae.pt").touch()
    with pytest.raises(WeightsError, match=r"holds a pickle checkpoint \(ae.pt\), which can run code; --allow-pickle"):
        read_sae_folder(tmp_path / "empty", language_model())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "cfg.json").write_text("{"), "Expecting property name"),
        (lambda folder: (folder / "cfg.json").write_text("[]"), "can't read"),
        (lambda folder: (folder / "cfg.json").write_text("{}"), "'d_in' and 'd_sae'"),
        (lambda folder: (folder / "cfg.json").write_bytes(b"\xff\xfe\x00"), "can't decode"),
        (lambda folder: rewrite_config(folder, architecture="perceptron"), "missing or unknown: 'perceptron'"),
        (lambda folder: rewrite_config(folder, d_sae=D_SAE + 1), "size mismatch for"),
        (lambda folder: rewrite_config(folder, d_in="many"), "can't read"),
        (lambda folder: (folder / "sae_weights.safetensors").write_bytes(b""), "header too small"),
        (lambda folder: (folder / "sae_weights.safetensors").write_bytes(b"\x80\x04]" * 30), "header too large"),
        (lambda folder: rewrite(folder, lambda tensors: tensors.pop("W_dec")), "W_dec"),
        (lambda folder: rewrite(folder, lambda tensors: tensors.update(W_dec=torch.zeros(D_SAE, 3))), "W_dec"),
    ],
)
def test_a_broken_folder_is_one_line(damage: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    folder = save_sae(tmp_path / "sae")
    damage(folder)
    with pytest.raises(WeightsError, match=message) as caught:
        read_sae_folder(folder, language_model())
    assert "\n" not in str(caught.value)


def rewrite_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | changes))


def test_a_configuration_from_before_version_6(tmp_path: Path) -> None:
    folder = save_sae(tmp_path / "old")
    old = {"d_in": D_MODEL, "d_sae": D_SAE, "dtype": "torch.float32", "device": "cuda", "hook_point": HOOK}
    (folder / "cfg.json").write_text(json.dumps(old | {"model_name": "gpt2-small", "activation_fn_str": "relu"}))
    sae = read_sae_folder(folder, language_model())
    assert (sae.architecture, sae.hook_name, sae.layer) == ("standard", HOOK, 3)


def test_reading_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = save_sae(tmp_path / "sae", metadata={"hook_name": HOOK, "model_from_pretrained_kwargs": {"a": 1}})
    capfd.readouterr()
    read_sae_folder(folder, language_model())
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_the_demo_sae() -> None:
    sae = read_sae_folder(DEMO, language_model(576, "smollm2-135m"))
    assert (sae.slug, sae.d_sae, sae.architecture) == ("smollm2-135m/20-res-demo_sae", 4608, "topk")
    stored = load_file(DEMO / "sae_weights.safetensors")
    assert torch.equal(sae.W_dec, stored["W_dec"].float())
    assert 5 < float(sae.W_dec.norm(dim=1).mean()) < 20
    assert sae.log10_density is not None
    # TopK with k = 32: the mean firing frequencies add up to an L0 of 32.
    assert abs((10.0**sae.log10_density).sum() - 32) < 0.5
    assert sae.enc_dec_cos is not None
    assert float(np.median(sae.enc_dec_cos)) > 0.3
