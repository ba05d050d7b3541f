"""Names, GLOBs and layers to SAEs: on the installed directory, a doctored one, folders and hub repositories."""

from __future__ import annotations

import json
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from featdex.catalogue.errors import FeatdexError, NotFoundError, UsageError, WeightsError
from featdex.ingest import sae_directory
from featdex.ingest.inputs import FeatureDictionary, LanguageModel, Recipe, Vocabulary
from featdex.ingest.jobs import jobs_for, model_of
from featdex.ingest.release_choice import chosen_saes, matching_releases
from featdex.ingest.rows import Origin
from safetensors.torch import load_file, save_file

D_MODEL, D_SAE = 8, 12
ORIGIN = Origin("as typed", "tiny-model", None)


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


def jobs(source: str, **options: Any) -> list[Any]:
    known: dict[str, Any] = {"layers": None, "sae": None, "slug": None, "origin": ORIGIN}
    return jobs_for(source, language_model(), **(known | options))


def save_sae(folder: Path, layer: int = 0, seed: int = 0) -> None:
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    shapes = {"W_enc": (D_MODEL, D_SAE), "W_dec": (D_SAE, D_MODEL), "b_enc": (D_SAE,), "b_dec": (D_MODEL,)}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(tensors, folder / "sae_weights.safetensors")
    metadata = {"hook_name": f"blocks.{layer}.hook_resid_post", "sae_lens_version": "6.54.12"}
    config = {"architecture": "standard", "d_in": D_MODEL, "d_sae": D_SAE, "dtype": "float32", "metadata": metadata}
    (folder / "cfg.json").write_text(json.dumps(config))


@pytest.fixture
def installed() -> dict[str, Any]:
    """The installed directory, read by PyYAML alone."""
    text = Path(yaml.__file__).parents[1].joinpath("sae_lens", "pretrained_saes.yaml").read_text()
    loaded: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return loaded


def test_globs_over_releases_and_ids(installed: dict[str, Any]) -> None:
    pattern, ids = "gemma-scope-2b-pt-*", "layer_1[0-9]/width_16k/*"
    expected = {
        (entry["repo_id"], str(sae["path"]))
        for name, entry in installed.items()
        for sae in entry["saes"]
        if fnmatchcase(name, pattern) and fnmatchcase(sae["id"], ids)
    }
    paths = {
        (name, sae["id"]): (entry["repo_id"], sae["path"]) for name, entry in installed.items() for sae in entry["saes"]
    }
    found = chosen_saes(pattern, ids, None)
    assert len(found) > 100
    # Each SAE once, though the canonical releases list some of the others' again.
    assert Counter(paths[item] for item in found) == Counter(expected)
    low = chosen_saes(pattern, ids, [10, 11])
    assert {item.sae_id.split("/")[0] for item in low} == {"layer_10", "layer_11"}
    assert set(low) < set(found)


def test_layers_of_a_whole_release() -> None:
    found = chosen_saes("gpt2-small-res-jb", "blocks.*.hook_resid_pre", None)
    assert [item.sae_id for item in found] == [f"blocks.{layer}.hook_resid_pre" for layer in range(12)]
    found = chosen_saes("llama_scope_lxr_8x", None, [0, 12, 31])
    assert [item.sae_id for item in found] == ["l0r_8x", "l12r_8x", "l31r_8x"]


@pytest.mark.parametrize(
    ("source", "sae", "layers", "kind", "message"),
    [
        ("gpt2-small-res-j?b", None, None, NotFoundError, "no release matches .*did you mean gpt2-small-res-jb"),
        ("gemma-*", None, None, UsageError, r"matches \d+ releases of \d+ models: .*; narrow it to those of one model"),
        ("gpt2-small-res-jb", "blocks.*.hook_mlp_out", None, NotFoundError, "has no SAE 'blocks"),
        ("gpt2-small-res-jb", "8", None, NotFoundError, r"it has blocks\.0\.hook_resid_pre, .*, …"),
        ("gpt2-small-res-jb", None, [12, 13], NotFoundError, "no such SAE at layers 12, 13; it has 0, 1, 2, 3"),
    ],
)
def test_nothing_chosen_is_one_line(
    source: str, sae: str | None, layers: list[int] | None, kind: type[FeatdexError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        chosen_saes(source, sae, layers)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_the_model_of_a_release_or_of_several() -> None:
    assert model_of("gpt2-small-res-jb") == "gpt2-small"
    assert model_of("gpt2-small-*") == "gpt2-small"
    assert model_of("gemma-scope-2-270m-pt-*") == "google/gemma-3-270m"
    assert model_of("google/gemma-scope-2b-pt-res") == "gemma-2-2b"
    with pytest.raises(UsageError, match=r"matches .* releases of .* models"):
        model_of("llama*")
    for source in ("mlp_neurons", "./somewhere", "probes.npy", "somebody/saes"):
        with pytest.raises(UsageError, match=f"name the model of {source} with --model"):
            model_of(source)


def doctored(path: Path, monkeypatch: pytest.MonkeyPatch, releases: dict[str, Any]) -> None:
    path.write_text(json.dumps(releases))  # JSON is YAML
    parsed = sae_directory.parse_directory(path)
    monkeypatch.setattr(sae_directory, "_by_name", lambda: parsed)


def test_one_model_by_two_spellings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"repo_id": "a/b", "saes": [{"id": "x", "path": "p"}, {"id": "y", "path": "q", "neuronpedia": "m/7-q"}]}
    two = {"repo_id": "a/b", "saes": [{"id": "z", "path": "p", "neuronpedia": "m/3-p"}, {"id": "y", "path": "q"}]}
    saes = {"r-one": one | {"model": "Pythia"}, "r-two": two | {"model": "owner/pythia"}, "nameless": one}
    doctored(tmp_path / "directory.yaml", monkeypatch, saes)
    assert model_of("r-*") == "owner/pythia"
    assert [release.release for release in matching_releases("r-*")] == ["r-one", "r-two"]
    # Of two entries of one SAE, the one with a page at Neuronpedia.
    assert {tuple(item) for item in chosen_saes("r-*", None, None)} == {("r-two", "z"), ("r-one", "y")}
    assert [tuple(item) for item in chosen_saes("r-*", None, [7])] == [("r-one", "y")]
    with pytest.raises(UsageError, match=r"2 models: .*unknown \(nameless\)"):
        matching_releases("*")
    with pytest.raises(UsageError, match="name the model of nameless"):
        model_of("nameless")
    with pytest.raises(NotFoundError, match="its ids name no layer, choose with --sae"):
        chosen_saes("nameless", "x", [1])


def test_jobs_of_releases_keep_their_own_name_for_the_ledger() -> None:
    found = jobs("gemma-scope-2b-pt-*-canonical", layers=[3], sae="*/width_16k/*")
    assert [job.label for job in found] == [
        f"gemma-scope-2b-pt-{site}-canonical layer_3/width_16k/canonical" for site in ("att", "mlp", "res")
    ]
    for job in found:
        assert job.origin == ORIGIN._replace(source=job.label.split()[0], sae="layer_3/width_16k/canonical")
    with pytest.raises(UsageError, match="--slug names one dictionary, and gpt2-small-res-jb gives 13"):
        jobs("gpt2-small-res-jb", slug="mine")


def test_a_folder_of_several_saes(tmp_path: Path) -> None:
    root = tmp_path / "run 1"
    for layer in (2, 10, 3):
        save_sae(root / f"layer_{layer}" / "final", layer, seed=layer)
    save_sae(root / ".hidden" / "layer_2")
    (root / "layer_9").mkdir()
    (root / "layer_9" / "cfg.json").touch()
    found = jobs(str(root))
    assert [job.origin.sae for job in found] == ["layer_2/final", "layer_3/final", "layer_10/final"]
    read: FeatureDictionary = found[1].load()
    assert (read.release, read.sae_name, read.layer) == ("run 1", "layer_3/final", 3)
    assert read.slug == "tiny/3-res-run 1-layer_3-final"
    stored = load_file(root / "layer_3" / "final" / "sae_weights.safetensors")
    assert torch.equal(read.W_dec, stored["W_dec"])
    assert len({job.load().slug for job in found}) == 3
    assert [job.origin.sae for job in jobs(str(root), layers=[10, 2])] == ["layer_2/final", "layer_10/final"]
    assert [job.origin.sae for job in jobs(str(root), sae="*_3/*")] == ["layer_3/final"]
    with pytest.raises(NotFoundError, match="has no SAE 'layer_4/final'; did you mean layer_3/final"):
        jobs(str(root), sae="layer_4/final")
    with pytest.raises(NotFoundError, match="named by layers 7"):
        jobs(str(root), layers=[7])
    with pytest.raises(UsageError, match="--sae and --layers choose from a release or from several SAEs"):
        jobs(str(root / "layer_3" / "final"), sae="*")
    with pytest.raises(UsageError, match="choose from a release"):
        jobs(str(root / "layer_9"), layers=[9])


def test_reading_a_folder_of_several_offers_them(tmp_path: Path) -> None:
    from featdex.ingest.sae_sources import read_sae_folder

    for name in "abcde":
        save_sae(tmp_path / name)
    with pytest.raises(WeightsError, match=r"holds 5 SAEs \(a, b, c, …\); name one of these folders"):
        read_sae_folder(tmp_path, language_model())


def test_a_file_of_directions(tmp_path: Path) -> None:
    np.save(tmp_path / "probes.npy", np.ones((3, D_MODEL)))
    (job,) = jobs(str(tmp_path / "probes.npy"), layers=[2])
    assert (job.load().layer, job.load().kind, job.origin) == (2, "directions", ORIGIN._replace(layer=2))
    (job,) = jobs(str(tmp_path / "probes.npy"), slug="mine")
    assert (job.load().slug, job.origin) == ("mine", ORIGIN)
    with pytest.raises(UsageError, match="belongs to one layer or none, not to 2"):
        jobs(str(tmp_path / "probes.npy"), layers=[1, 2])
    with pytest.raises(UsageError, match="all directions of a file are taken"):
        jobs(str(tmp_path / "probes.npy"), sae="*")
    for absent in ("absent.safetensors", "./absent", str(tmp_path / "absent")):
        with pytest.raises(NotFoundError, match="no such"):
            jobs(absent)[0].load()


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save_sae(tmp_path / "sae", 1)
    assert jobs("~/sae")[0].load().slug == "tiny/1-res-sae"


def test_a_hub_repository_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    revision = "0123456789abcdef0123456789abcdef01234567"
    root = tmp_path / "hub" / "models--somebody--saes"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(revision)
    snapshot = root / "snapshots" / revision
    for layer in (1, 2, 10):
        save_sae(snapshot / f"layer_{layer}" / "width_12", layer, seed=layer)
    (snapshot / "half").mkdir()
    (snapshot / "half" / "cfg.json").write_text("{}")
    found = jobs("somebody/saes")
    assert [job.origin.sae for job in found] == [f"layer_{layer}/width_12" for layer in (1, 2, 10)]
    (job,) = jobs("somebody/saes", layers=[2])
    read = job.load()
    assert (read.release, read.sae_name, read.layer) == ("somebody/saes", "layer_2/width_12", 2)
    stored = load_file(snapshot / "layer_2" / "width_12" / "sae_weights.safetensors")
    assert torch.equal(read.W_dec, stored["W_dec"])
    with pytest.raises(NotFoundError, match=r"can't get nobody/here .*HF_HUB_OFFLINE") as caught:
        jobs("nobody/here")
    assert "\n" not in str(caught.value)
