"""sae_lens' directory of releases: the installed one, and files that are not quite right."""

from __future__ import annotations

import json
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
    left_out: list[tuple[str, str]] = []
    assert ours.keys() == theirs.keys()
    for name, release in ours.items():
        assert (release.model, release.repo_id) == (theirs[name].model, theirs[name].repo_id)
        assert {sae.sae_id: sae.path for sae in release.saes} == theirs[name].saes_map
        for sae in release.saes:
            if sae.neuronpedia_id != theirs[name].neuronpedia_id[sae.sae_id]:
                left_out.append((sae.sae_id, theirs[name].neuronpedia_id[sae.sae_id]))
                assert sae.neuronpedia_id is None
        assert {sae.sae_id: sae.l0 or 0.0 for sae in release.saes} == theirs[name].expected_l0
    # An SAE of layer 2 with the page of one of layer 20.
    assert left_out == [("layer_2/width_16k/average_l0_8", "gemma-2-9b/20-gemmascope-res-131k__l0-10")]


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


def test_an_entry_spoils_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "pretrained_saes.yaml"
    path.write_text(
        f"""
good: {{model: gpt2-small, repo_id: a/b, saes: [{{id: blocks.3.hook_z, path: p, neuronpedia: gpt2-small/3-att-kk}}]}}
model-is-a-list: {{model: [a, b], repo_id: a/b, saes: [{{id: one, path: p}}]}}
repository-is-a-mapping: {{model: m, repo_id: {{a: b}}, saes: [{{id: one, path: p}}]}}
huge: {{model: {"m" * 10**6}, repo_id: {"r" * 10**6}, saes: [{{id: one, path: p}}]}}
{"n" * 900}: {{model: m, repo_id: a/b, saes: [{{id: one, path: p}}]}}
saes:
  model: m
  repo_id: a/b
  conversion_func: [x]
  saes:
  - {{id: "two\\nlines", path: p}}
  - {{id: "\\e[31mred", path: p}}
  - {{id: {"i" * 10**6}, path: p}}
  - {{id: [one], path: p}}
  - {{id: one, path: {{a: b}}}}
  - {{id: ~, path: p}}
  - {{id: layer_1, path: p, l0: {"9" * 5000}, neuronpedia: 7, variance_explained: 1e999}}
  - {{id: layer_2, path: p, l0: 2001-13-77, neuronpedia: [m/2-x], variance_explained: -1}}
  - {{id: layer_3, path: p, l0: [1], neuronpedia: "https://www.neuronpedia.org/m/3-x"}}
  - {{id: layer_4, path: p, l0: 1e3, neuronpedia: m/9-x}}
  - {{id: layer_5, path: p, neuronpedia: m/6-x}}
  - {{id: 6, path: old}}
  - {{id: 6, path: new, neuronpedia: m/6-y}}
""",
        encoding="utf-8",
    )
    parsed = parse_directory(path)
    assert list(parsed) == ["good", "model-is-a-list", "saes"]
    assert parsed["good"].saes[0].neuronpedia_id == "gpt2-small/3-att-kk"
    assert (parsed["model-is-a-list"].model, parsed["good"].is_pickled) == ("", False)
    assert parsed["saes"].is_pickled  # by a reader that is none
    found = {sae.sae_id: (sae.l0, sae.neuronpedia_id, sae.layer) for sae in parsed["saes"].saes}
    assert found == {
        "layer_1": (None, None, 1),
        "layer_2": (None, None, 2),
        "layer_3": (None, None, 3),
        "layer_4": (1000, None, 4),  # the page of another layer
        "layer_5": (None, "m/6-x", 5),  # the end of a block is the start of the next
        "6": (None, "m/6-y", 6),
    }
    assert parsed["saes"].saes[-1].path == "new"
    assert all(sae.variance_explained is None for sae in parsed["saes"].saes)


def test_references_to_references_are_not_written_out(tmp_path: Path) -> None:
    path = tmp_path / "pretrained_saes.yaml"
    # Ten levels of ten references each: ten billion texts, were they ever written out.
    levels = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 11)]
    path.write_text("\n".join([*levels, "bomb: {model: *a10, repo_id: *a10, saes: *a10}"]))
    assert parse_directory(path) == {}


def test_which_releases_are_pickles() -> None:
    """By sae_lens' source: readers that call torch.load, and no others."""
    import inspect

    from featdex.ingest.loading import guarded_loading

    with guarded_loading():
        from sae_lens.loading.pretrained_sae_loaders import NAMED_PRETRAINED_SAE_LOADERS
    pickled = {name for name, read in NAMED_PRETRAINED_SAE_LOADERS.items() if "torch.load(" in inspect.getsource(read)}
    assert len(pickled) > 3
    for release in releases():
        assert release.is_pickled == (release.conversion in pickled), release.release


def test_the_command_browses_a_malformed_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from featdex.catalogue.cli import run

    path = tmp_path / "pretrained_saes.yaml"
    path.write_text(
        """
gemma-x: {model: gemma-2-2b, repo_id: a/b, saes: [{id: layer_3/x, path: p, l0: 12, neuronpedia: gemma-2-2b/3-x}, 7]}
gemma-y: {model: [gemma], repo_id: a/c, saes: [{id: layer_4/x, path: p, l0: [1]}, {id: no-path}]}
gemma-z: {model: gemma-2-2b, saes: 3}
other: {model: m, repo_id: a/d, saes: []}
"""
    )
    parsed = parse_directory(path)
    monkeypatch.setattr(sae_directory, "_by_name", lambda: parsed)
    assert run(["saes", "gemma*", "-f", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"release": "gemma-x", "model": "gemma-2-2b", "n_saes": 1, "hf_repo": "a/b"},
        {"release": "gemma-y", "model": "", "n_saes": 1, "hf_repo": "a/c"},
    ]
    assert run(["saes", "gemma*", "--ids", "-f", "csv"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "release,model,sae_id,neuronpedia_id,l0",
        "gemma-x,gemma-2-2b,layer_3/x,gemma-2-2b/3-x,12.0",
        "gemma-y,,layer_4/x,,",
    ]
    assert run(["saes", "gemma-z"]) == 3
