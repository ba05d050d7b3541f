"""Pickled checkpoints: refused, and with leave read as tensors without running anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from featdex.catalogue.errors import NotFoundError, WeightsError
from featdex.ingest.inputs import FeatureDictionary, LanguageModel, Recipe, Vocabulary
from featdex.ingest.pickles import pickled_tensors
from featdex.ingest.sae_sources import read_sae_folder

D_MODEL, D_SAE = 8, 12
REFUSED = r"which can run code; --allow-pickle reads its tensors and nothing else"


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.path), "w")


def read(folder: Path, allow_pickle: bool) -> FeatureDictionary:
    flags = np.zeros(3, dtype=np.bool_)
    model = LanguageModel(
        name="tiny",
        n_layers=4,
        W_U=torch.zeros(D_MODEL, 3),
        vocabulary=Vocabulary(raw=("a", "b", "c"), text=("a", "b", "c"), is_special=flags, is_partial_utf8=flags),
        recipe=Recipe(fold_ln=True, center_d_model=False, center_unembed=True),
        mlp_out=lambda layer: torch.zeros(1, D_MODEL),
    )
    return read_sae_folder(folder, model, allow_pickle=allow_pickle)


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (D_MODEL, D_SAE), "W_dec": (D_SAE, D_MODEL), "b_enc": (D_SAE,), "b_dec": (D_MODEL,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the configuration of an SAE and no weights."""
    made = tmp_path / "sae"
    made.mkdir()
    metadata = {"hook_name": "blocks.2.hook_resid_pre", "sae_lens_version": "6.54.12"}
    config = {"architecture": "standard", "d_in": D_MODEL, "d_sae": D_SAE, "dtype": "float32", "metadata": metadata}
    (made / "cfg.json").write_text(json.dumps(config))
    return made


@pytest.mark.parametrize("name", ["sae_weights.pt", "ae.pth", "pytorch_model.bin", "final.ckpt"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_a_state_dict_is_read_where_allowed(
    name: str, wrapper: str | None, folder: Path, tensors: dict[str, torch.Tensor]
) -> None:
    torch.save(tensors if wrapper is None else {wrapper: tensors, "step": 10}, folder / name)
    torch.save({"step": 10}, folder / "trainer_state.pt")
    with pytest.raises(WeightsError, match=rf"holds a pickle checkpoint \({name}\), {REFUSED}") as caught:
        read(folder, allow_pickle=False)
    assert "\n" not in str(caught.value)
    sae = read(folder, allow_pickle=True)
    assert torch.equal(sae.W_dec, tensors["W_dec"])
    assert (sae.layer, sae.slug) == (2, "tiny/2-res-pre-sae")


def test_safetensors_beside_a_pickle_need_no_leave(
    folder: Path, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    torch.save({"W_dec": Bomb(tmp_path / "exploded")}, folder / "ae.pt")
    save_file(tensors, folder / "sae_weights.safetensors")
    for allowed in (False, True):
        assert torch.equal(read(folder, allow_pickle=allowed).W_dec, tensors["W_dec"])
    assert not (tmp_path / "exploded").exists()


def test_objects_are_never_built(folder: Path, tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    torch.save({**tensors, "config": Bomb(tmp_path / "exploded")}, folder / "ae.pt")
    with pytest.raises(WeightsError, match=REFUSED):
        read(folder, allow_pickle=False)
    with pytest.raises(WeightsError, match="pickle with more than tensors in it, which is never opened") as caught:
        read(folder, allow_pickle=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "can't read"),
        (b"PK\x03\x04 no archive", "can't read"),
        (b"\x80\x04N.", "holds no named tensors|more than tensors|can't read"),
    ],
)
def test_damaged_pickles_are_one_line(content: bytes, message: str, folder: Path) -> None:
    (folder / "ae.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        read(folder, allow_pickle=True)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_one_line(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    torch.save({name: value for name, value in tensors.items() if name != "W_dec"}, folder / "ae.pt")
    with pytest.raises(WeightsError, match="W_dec"):
        read(folder, allow_pickle=True)
    torch.save(tensors, folder / "another.pt")
    with pytest.raises(WeightsError, match=r"has no sae_weights\.safetensors and 2 pickles to choose from"):
        read(folder, allow_pickle=True)
    (folder / "cfg.json").unlink()
    with pytest.raises(WeightsError, match=r"has no cfg\.json and no sae_weights\.safetensors"):
        read(folder, allow_pickle=True)


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), {"a": 1}, {"state_dict": {}}])
def test_what_names_no_tensors(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="holds no named tensors; save a state_dict"):
        pickled_tensors(tmp_path / "x.pt", allow_pickle=True)
    with pytest.raises(NotFoundError, match="no such file"):
        pickled_tensors(tmp_path / "absent.pt", allow_pickle=True)
