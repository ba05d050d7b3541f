"""SAEs of releases, from a hub cache filled here: no network, no sae_lens folder of anybody's."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from featdex.catalogue.errors import NotFoundError, WeightsError
from featdex.ingest.inputs import LanguageModel, Recipe, Vocabulary
from featdex.ingest.loading import guarded_loading
from featdex.ingest.sae_directory import find
from featdex.ingest.sae_sources import read_sae_folder, read_sae_release
from safetensors.torch import load_file, save_file

D_MODEL, D_SAE = 16, 40


def language_model() -> LanguageModel:
    flags = np.zeros(3, dtype=np.bool_)
    return LanguageModel(
        name="tiny",
        n_layers=4,
        W_U=torch.zeros(D_MODEL, 3),
        vocabulary=Vocabulary(raw=("a", "b", "c"), text=("a", "b", "c"), is_special=flags, is_partial_utf8=flags),
        recipe=Recipe(fold_ln=True, center_d_model=False, center_unembed=True),
        mlp_out=lambda layer: torch.zeros(1, D_MODEL),
    )


def save_sae(folder: Path, hook_name: str, **settings: Any) -> Path:
    """Write a standard SAE in sae_lens' format by hand and return its folder."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (D_MODEL, D_SAE), "W_dec": (D_SAE, D_MODEL), "b_enc": (D_SAE,), "b_dec": (D_MODEL,)}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(tensors, folder / "sae_weights.safetensors")
    metadata = {"hook_name": hook_name, "sae_lens_version": "6.54.12"}
    config = {"architecture": "standard", "d_in": D_MODEL, "d_sae": D_SAE, "dtype": "float32", "metadata": metadata}
    (folder / "cfg.json").write_text(json.dumps(config | settings))
    return folder


@pytest.fixture
def offline_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, Path], Path]:
    """Return a function that puts a folder into a hub cache under a repository and path; the network is forbidden."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    revision = "0123456789abcdef0123456789abcdef01234567"

    def publish(repository: str, path: str, folder: Path) -> Path:
        root = cache / f"models--{repository.replace('/', '--')}"
        (root / "refs").mkdir(parents=True, exist_ok=True)
        (root / "refs" / "main").write_text(revision)
        published = root / "snapshots" / revision / path
        shutil.copytree(folder, published)
        return published

    return publish


def test_a_release_of_the_directory(tmp_path: Path, offline_hub: Callable[[str, str, Path], Path]) -> None:
    name = "blocks.8.hook_resid_pre"
    folder = save_sae(tmp_path / "sae", name)
    densities = torch.linspace(-8, -1, D_SAE)
    save_file({"sparsity": densities}, folder / "sparsity.safetensors")
    offline_hub("jbloom/GPT2-Small-SAEs-Reformatted", name, folder)
    sae = read_sae_release("gpt2-small-res-jb", name, language_model())
    assert (sae.slug, sae.neuronpedia_id) == ("gpt2-small/8-res-jb", "gpt2-small/8-res-jb")
    assert (sae.release, sae.sae_name, sae.layer, sae.site) == ("gpt2-small-res-jb", name, 8, "resid_pre")
    assert sae.l0 is not None
    assert torch.equal(sae.W_dec, load_file(folder / "sae_weights.safetensors")["W_dec"])
    assert sae.log10_density is not None
    assert np.array_equal(sae.log10_density, densities.numpy())


def test_any_repository_with_sae_lens_folders(tmp_path: Path, offline_hub: Callable[[str, str, Path], Path]) -> None:
    folder = save_sae(tmp_path / "sae", "blocks.3.hook_resid_post")
    offline_hub("somebody/saes", "layer_3/width_40", folder)
    sae = read_sae_release("somebody/saes", "layer_3/width_40", language_model())
    assert sae.slug == "tiny/3-res-somebody-saes-layer_3-width_40"
    assert (sae.neuronpedia_id, sae.log10_density) == (None, None)
    assert torch.equal(sae.W_dec, read_sae_folder(folder, language_model()).W_dec)


@pytest.mark.usefixtures("offline_hub")
def test_what_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="did you mean gpt2-small-res-jb"):
        read_sae_release("gpt2-small-res-j", "blocks.8.hook_resid_pre", language_model())
    with pytest.raises(NotFoundError, match=r"did you mean blocks\.8\.hook_resid_pre"):
        read_sae_release("gpt2-small-res-jb", "blocks.8.hook_resid_prex", language_model())
    for release, sae_id in (("gpt2-small-res-jb", "blocks.8.hook_resid_pre"), ("no/such", "sae")):
        with pytest.raises(NotFoundError, match=f"can't get {release} .* HF_HUB_OFFLINE") as caught:
            read_sae_release(release, sae_id, language_model())
        assert "\n" not in str(caught.value)


def test_an_input_scale_of_the_release_is_divided_out(
    tmp_path: Path, offline_hub: Callable[[str, str, Path], Path]
) -> None:
    release = find("gpt2-small-mlp-tm")
    listed = release.sae("blocks.0.hook_mlp_out")
    folder = save_sae(tmp_path / "sae", listed.sae_id, normalize_activations="expected_average_only_in")
    offline_hub(release.repo_id, listed.path, folder)
    sae = read_sae_release(release.release, listed.sae_id, language_model())
    stored = load_file(folder / "sae_weights.safetensors")["W_dec"]
    torch.testing.assert_close(sae.W_dec, stored / 1.049317316132615)  # the directory's norm_scaling_factor
    assert (sae.site, sae.l0) == ("mlp_out", 15.0)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_pickled_release_is_read_where_allowed(tmp_path: Path, offline_hub: Callable[[str, str, Path], Path]) -> None:
    """Kissane's attention SAEs: a state dict in a .pt, on the outputs of GPT-2's heads."""
    release = find("gpt2-small-hook-z-kk")
    listed = release.sae("blocks.5.hook_z")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    generator = torch.Generator().manual_seed(1)
    shapes = {"W_enc": (24, D_SAE), "W_dec": (D_SAE, 24), "b_enc": (D_SAE,), "b_dec": (24,)}
    stored = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    torch.save(stored, folder / listed.path)
    config = {"act_size": 24, "dict_size": D_SAE, "act_name": "blocks.5.attn.hook_z"}
    (folder / listed.path.replace(".pt", "_cfg.json")).write_text(json.dumps(config))
    offline_hub(release.repo_id, "", folder)
    W_O = torch.randn(24, D_MODEL, generator=generator)
    model = replace(language_model(), attn_out=lambda layer: W_O * layer)
    with pytest.raises(WeightsError, match="--allow-pickle"):
        read_sae_release(release.release, listed.sae_id, model)
    sae = read_sae_release(release.release, listed.sae_id, model, allow_pickle=True)
    assert (sae.slug, sae.neuronpedia_id) == ("gpt2-small/5-att-kk", "gpt2-small/5-att-kk")
    assert (sae.layer, sae.site, sae.to_resid, sae.d_in) == (5, "attn_z", "W_O", 24)
    expected = stored["W_dec"].double().numpy() @ (5 * W_O).double().numpy()
    np.testing.assert_allclose(sae.W_dec.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_a_gemma_scope_transcoder(tmp_path: Path, offline_hub: Callable[[str, str, Path], Path]) -> None:
    """An .npz of plain numbers is no pickle; its features live at the MLP's output, where Neuronpedia has them."""
    release = find("gemma-scope-2b-pt-transcoders")
    listed = release.saes[3]
    d_model, d_sae = 2304, 16384
    folder = tmp_path / "sae"
    folder.mkdir()
    rows = np.random.default_rng(0).normal(size=(64, d_model)).astype(np.float16)
    zeros = np.zeros((d_sae, d_model), np.float16)  # which take no room in the file
    arrays: dict[str, Any] = {
        "W_dec": np.concatenate([rows, zeros[64:]]),
        "W_enc": zeros.T,
        "threshold": np.ones(d_sae),
    }
    np.savez_compressed(folder / "params.npz", **arrays, b_enc=np.zeros(d_sae), b_dec=np.zeros(d_model))
    offline_hub(release.repo_id, listed.path, folder)
    sae = read_sae_release(release.release, listed.sae_id, replace(language_model(), W_U=torch.zeros(d_model, 3)))
    assert (sae.kind, sae.layer, sae.site, sae.to_resid) == ("transcoder", 3, "mlp_out", "identity")
    assert sae.slug == sae.neuronpedia_id == "gemma-2-2b/3-gemmascope-transcoder-16k"
    assert (sae.hook_name, sae.architecture) == ("blocks.3.hook_mlp_out", "jumprelu_transcoder")
    assert np.array_equal(sae.W_dec[:64].numpy(), rows)
    assert (sae.d_sae, sae.log10_density) == (d_sae, None)


def test_a_pickle_of_more_than_tensors_is_never_opened(
    tmp_path: Path, offline_hub: Callable[[str, str, Path], Path]
) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    torch.save({"W_enc": Bomb(tmp_path / "exploded")}, folder / "layer0.sae.pt")
    offline_hub(find("qwen-scope-3-1.7b-base-w32k-l50").repo_id, "", folder)
    with pytest.raises(WeightsError, match="layer0 comes as a pickle, which can run code; --allow-pickle reads"):
        read_sae_release("qwen-scope-3-1.7b-base-w32k-l50", "layer0", language_model())
    with pytest.raises(WeightsError, match="pickle with more than tensors in it"):
        read_sae_release("qwen-scope-3-1.7b-base-w32k-l50", "layer0", language_model(), allow_pickle=True)
    # Not even where a loader asks for it.
    with guarded_loading(), pytest.raises(pickle.UnpicklingError):
        torch.load(folder / "layer0.sae.pt", weights_only=False)
    assert not (tmp_path / "exploded").exists()
