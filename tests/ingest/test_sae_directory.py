"""sae_lens' directory of releases: the installed one, and files that are not quite right."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from featdex.catalogue.errors import NotFoundError
from featdex.ingest import sae_directory
from featdex.ingest.sae_directory import find, neuronpedia_model, parse_directory, releases


def test_the_installed_directory_agrees_with_sae_lens_own_reading() -> None:
    from featdex.ingest.loading import guarded_loading

    with guarded_loading():
        from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

        theirs = get_pretrained_saes_directory()
    ours = {release.release: release for release in releases()}
    assert ours.keys() == theirs.keys()
    for name, release in ours.items():
        assert (release.model, release.repo_id) == (theirs[name].model, theirs[name].repo_id)
        assert {sae.sae_id: sae.path for sae in release.saes} == theirs[name].saes_map
        assert {sae.sae_id: sae.neuronpedia_id for sae in release.saes} == theirs[name].neuronpedia_id
        assert {sae.sae_id: sae.l0 or 0.0 for sae in release.saes} == theirs[name].expected_l0


def test_the_release_of_the_original_analysis() -> None:
    sae = find("gpt2-small-res-jb").sae("blocks.8.hook_resid_pre")
    assert find("gpt2-small-res-jb").model == "gpt2-small"
    assert sae.neuronpedia_id == "gpt2-small/8-res-jb"
    assert sae.l0 is not None
    assert sae.l0 > 0


def test_an_unknown_name_gets_its_neighbours() -> None:
    with pytest.raises(NotFoundError, match=r"no release 'gpt2-small-res-jbb'; did you mean gpt2-small-res-jb"):
        find("gpt2-small-res-jbb")
    with pytest.raises(NotFoundError, match=r"has no SAE 'blocks.8.resid_pre'; did you mean blocks.8.hook_resid_pre"):
        find("gpt2-small-res-jb").sae("blocks.8.resid_pre")
    with pytest.raises(NotFoundError, match=r"it has blocks\.0\.hook_resid_pre, .*…"):
        find("gpt2-small-res-jb").sae("?")


def test_neuronpedias_name_of_a_model() -> None:
    assert neuronpedia_model(["gpt2", "gpt2-small"]) == "gpt2-small"
    assert neuronpedia_model(["google/gemma-2-2b"]) == "gemma-2-2b"
    assert neuronpedia_model(["meta-llama/Llama-3.1-8B"]) == "llama3.1-8b"
    assert neuronpedia_model(["smollm2-135m"]) is None


def test_malformed_entries_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "pretrained_saes.yaml"
    path.write_text(
        """
good:
  model: gpt2-small
  repo_id: a/b
  saes:
  - {id: one, path: 3, l0: 0.0, neuronpedia: null}
  - {id: two, path: two, l0: many, variance_explained: .9, neuronpedia: m/2-x}
  - {id: no-path}
  - {path: no-id}
  - just text
  - {id: three, path: p, l0: .nan, saes: [{id: nested, path: q}]}
no-model: {repo_id: a/b, saes: []}
no-repository: {model: m, saes: [{id: a, path: b}]}
no-saes: {model: m, repo_id: a/b}
text: only
7: {model: 7, repo_id: 7, saes: {}}
"""
    )
    parsed = parse_directory(path)
    assert list(parsed) == ["good", "no-model"]
    one, two, three = parsed["good"].saes
    assert (one.sae_id, one.path, one.l0, one.neuronpedia_id, one.variance_explained) == ("one", "3", None, None, None)
    assert (two.l0, two.variance_explained, two.neuronpedia_id) == (None, 0.9, "m/2-x")
    assert (three.sae_id, three.l0) == ("three", None)
    assert (parsed["no-model"].model, parsed["no-model"].saes) == ("", ())


@pytest.mark.parametrize("content", [b"", b"- a\n- b", b"a: [", b"\xff\xfe", b"!!python/object/apply:os.getcwd []"])
def test_an_unreadable_directory_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pretrained_saes.yaml"
    path.write_bytes(content)
    with pytest.raises(NotFoundError, match="directory of SAEs") as caught:
        parse_directory(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(NotFoundError, match="can't read"):
        parse_directory(tmp_path / "absent.yaml")


def test_without_sae_lens_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(sae_directory, "_by_name", sae_directory._by_name.__wrapped__)
    with pytest.raises(NotFoundError, match=r"pip install 'featdex\[ingest\]'"):
        releases()


def test_listing_imports_neither_sae_lens_nor_torch() -> None:
    script = (
        "import sys; from featdex.ingest.sae_directory import releases; releases();"
        "sys.exit(any(name in sys.modules for name in ('sae_lens', 'torch', 'transformers')))"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", script], check=True)
    assert time.perf_counter() - started < 10  # 1.3 s on two idle cores; importing sae_lens alone takes ten
