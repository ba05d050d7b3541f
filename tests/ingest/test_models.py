"""Which reader a name goes to, and the neurons of a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from featdex.catalogue.errors import NotFoundError, WeightsError
from featdex.ingest import models
from featdex.ingest.checks import require_layer
from featdex.ingest.inputs import LanguageModel, Recipe, Vocabulary
from featdex.ingest.models import read_model
from featdex.ingest.neurons import mlp_neurons


def tiny_model(name: str = "tiny") -> LanguageModel:
    """Return a model of 2 layers, 4 dimensions and 3 tokens, whose neuron i of layer l writes l + i everywhere."""
    flags = np.zeros(3, dtype=np.bool_)
    tokens = ("a", "b", "c")

    def mlp_out(layer: int) -> torch.Tensor:
        require_layer(layer, 2, name)
        return (layer + torch.arange(6.0))[:, None].expand(6, 4).contiguous()

    return LanguageModel(
        name=name,
        n_layers=2,
        W_U=torch.zeros(4, 3),
        vocabulary=Vocabulary(raw=tokens, text=tokens, is_special=flags, is_partial_utf8=flags),
        recipe=Recipe(fold_ln=True, center_d_model=True, center_unembed=True),
        mlp_out=mlp_out,
    )


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "read_gguf", lambda spec, name: tiny_model(f"gguf:{Path(spec).name}:{name}"))
    monkeypatch.setattr(models, "read_hub", lambda spec, name, **_: tiny_model(f"hub:{Path(spec).name}:{name}"))


@pytest.mark.usefixtures("readers")
def test_files_folders_and_hub_names_find_their_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.gguf").touch()
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for spec in (str(tmp_path / "m.gguf"), "m.gguf", "./m.gguf", "~/m.gguf"):
        assert read_model(spec).name == "gguf:m.gguf:None"
    for spec in (str(tmp_path / "folder"), "folder", "~/folder"):
        assert read_model(spec, "x").name == "hub:folder:x"
    for spec in ("gpt2", "google/gemma-2-2b", "Qwen/Qwen2.5-7B-Instruct"):
        assert read_model(spec).name == f"hub:{spec.split('/')[-1]}:None"


@pytest.mark.parametrize("spec", ["absent.gguf", "./absent", "/no/such/folder", "~/absent", "a/b/c", "some folder", ""])
def test_what_looks_like_a_path_is_never_asked_of_the_hub(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(models, "read_hub")
    with pytest.raises(NotFoundError, match="no such file"):
        read_model(spec)


def test_neurons_are_the_rows_of_their_output_matrix() -> None:
    neurons = mlp_neurons(tiny_model(), 1)
    assert (neurons.kind, neurons.release, neurons.site) == ("mlp_neurons", "mlp_neurons", "mlp_post")
    assert neurons.sae_name == neurons.hook_name == "blocks.1.mlp.hook_post"
    assert (neurons.slug, neurons.layer, neurons.to_resid) == ("tiny/1-mlp", 1, "W_out")
    assert (neurons.d_in, neurons.d_sae) == (6, 6)
    assert neurons.W_dec[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert (neurons.enc_dec_cos, neurons.b_enc, neurons.log10_density, neurons.architecture) == (None,) * 4
    with pytest.raises(WeightsError, match="tiny has no layer 2; its layers are 0 to 1"):
        mlp_neurons(tiny_model(), 2)


def test_leave_to_read_pickles_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bool] = []

    def read_hub(spec: object, name: object, *, allow_pickle: bool) -> LanguageModel:
        given.append(allow_pickle)
        return tiny_model()

    monkeypatch.setattr(models, "read_hub", read_hub)
    for spec in (str(tmp_path), "gpt2"):
        read_model(spec)
        read_model(spec, allow_pickle=True)
    assert given == [False, True, False, True]


def test_a_format_without_attention_outputs_says_so() -> None:
    with pytest.raises(WeightsError, match="layer 1 of this model has no attention output matrix"):
        tiny_model().attn_out(1)
