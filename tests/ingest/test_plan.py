"""A plan says beforehand what an ingest then does, without reading a weight or writing a byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import huggingface_hub
import numpy as np
import pytest
import torch
from featdex.catalogue.formats import Format
from featdex.ingest.device import Options
from featdex.ingest.inputs import FeatureDictionary, LanguageModel, Recipe, TokenSet
from featdex.ingest.pipeline import Job, ingest
from featdex.ingest.plan import BYTES_A_FEATURE, BYTES_A_ROW, Planned, plan
from featdex.ingest.plan_table import emit_plan, plan_lines, size_text, time_text
from featdex.ingest.rows import Origin
from featdex.ingest.vocabulary import vocabulary_from_raw

D_MODEL, N_TOKENS, N_FEATURES = 8, 90, 20
OPTIONS = Options(device="cpu", directions=5, threads=1)


def neurons(layer: int) -> torch.Tensor:
    return torch.randn(N_FEATURES, D_MODEL, generator=torch.Generator().manual_seed(layer))


def make_model(name: str = "tiny") -> LanguageModel:
    raw = ["<|end|>"] + [("Ġ" if i % 2 else "") + f"w{i}" for i in range(1, N_TOKENS)]
    W_U = torch.randn(D_MODEL, N_TOKENS, generator=torch.Generator().manual_seed(0))
    recipe = Recipe(fold_ln=True, center_d_model=False, center_unembed=True)
    return LanguageModel(name, 4, W_U, vocabulary_from_raw(raw, "byte_level", [0]), recipe, neurons)


def make_dictionary(layer: int) -> FeatureDictionary:
    slug = f"tiny/{layer}-res"
    return FeatureDictionary("sae", "made", slug, slug, layer, None, "other", "identity", None, D_MODEL, neurons(layer))


def make_sets(n: int, shift: int = 0) -> list[TokenSet]:
    return [
        TokenSet(f"s{k}", "made", "list", "", "", "test", np.arange(5 + k + shift, 25 + k + shift, dtype=np.int32))
        for k in range(n)
    ]


class Silence:
    def start(self, label: str, position: int, n_jobs: int) -> None: ...

    def loaded(self, slug: str, n_features: int) -> None: ...

    def advance(self, n_features: int) -> None: ...

    def finish(self, slug: str, line: str) -> None: ...


def never() -> FeatureDictionary:
    raise AssertionError("a plan reads no weights")


def job(layer: int, load: Callable[[], FeatureDictionary] = never) -> Job:
    return Job(f"made {layer}", load, Origin("made", "tiny.gguf", None, layer, f"id {layer}"))


def run(path: Path, layers: list[int], sets: list[TokenSet], **more: Any) -> None:
    jobs = [job(layer, lambda layer=layer: make_dictionary(layer)) for layer in layers]  # type: ignore[misc]
    ingest(path, make_model(), jobs, sets, options=OPTIONS, reporter=Silence(), narrate=print, **more)


def planned(path: Path, layers: list[int], sets: list[TokenSet], **more: Any) -> list[Planned]:
    more.setdefault("options", OPTIONS)
    return plan(path, make_model(), [job(layer) for layer in layers], sets, **more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiny.duckdb"


def test_without_a_catalogue_all_is_new_and_stays_without(path: Path) -> None:
    found = planned(path, [0, 1], make_sets(3))
    assert [(item.name, item.status, item.n_sets) for item in found] == [("made 0", "new", 3), ("made 1", "new", 3)]
    assert {item.n_rows for item in found} == {None}
    assert not path.exists()


def test_the_catalogue_tells_what_is_there(path: Path) -> None:
    run(path, [0, 1], make_sets(3))
    before = path.read_bytes()
    found = planned(path, [0, 1, 2], make_sets(3))
    assert [item.name for item in found] == ["tiny/0-res", "tiny/1-res", "made 2"]
    assert [item.status for item in found] == ["current", "current", "new"]
    assert [item.n_rows for item in found] == [0, 0, None]
    assert path.read_bytes() == before


# What is planned of layer 0, after an ingest of three sets, and the sets that the next ingest computes of it.
CASES: dict[str, tuple[dict[str, Any], list[TokenSet], str, int]] = {
    "fewer sets": ({}, make_sets(2), "current", 0),
    "more sets": ({}, make_sets(5), "more sets", 2),
    "a changed set": ({}, [*make_sets(2), *make_sets(3, shift=9)[2:]], "more sets", 1),
    "only other sets": ({}, make_sets(5)[3:], "more sets", 2),
    "another null": ({"options": Options(device="cpu", directions=5, null="isotropic")}, make_sets(2), "changed", 3),
    "more directions": ({"options": Options(device="cpu", directions=6)}, make_sets(4), "changed", 4),
    "more threads": ({"options": Options(device="cpu", directions=5, threads=2)}, make_sets(3), "current", 0),
    "force": ({"force": True}, make_sets(1), "again", 3),
}


@pytest.mark.parametrize("case", CASES)
def test_a_plan_is_what_the_ingest_then_does(path: Path, case: str) -> None:
    more, sets, status, n_sets = CASES[case]
    run(path, [0], make_sets(3))
    [item] = planned(path, [0], sets, **more)
    assert (item.status, item.n_sets, item.n_rows) == (status, n_sets, n_sets * N_FEATURES)
    lines: list[str] = []

    class Lines(Silence):
        def finish(self, slug: str, line: str) -> None:
            lines.append(line)

    again = job(0, lambda: make_dictionary(0))
    arguments = {"options": OPTIONS} | more
    ingest(path, make_model(), [again], sets, reporter=Lines(), narrate=print, **arguments)
    assert (f"x {n_sets} " in lines[0]) if n_sets else ("current" in lines[0])
    assert ("more sets" in lines[0]) == (status == "more sets")


def test_the_same_words_for_another_model_are_new(path: Path) -> None:
    run(path, [0], make_sets(2))
    other = make_model("other")
    moved = Origin("made", "elsewhere.gguf", None, 0, "id 0")
    [item] = plan(path, make_model(), [Job("made 0", never, moved)], make_sets(2), options=OPTIONS)
    assert item.status == "current"
    other.W_U[0, 0] += 1
    [item] = plan(path, other, [Job("made 0", never, moved)], make_sets(2), options=OPTIONS)
    assert item.status == "new"


def test_a_slug_that_is_given_is_the_name(path: Path) -> None:
    run(path, [0], make_sets(2))
    named = Job("folder", never, Origin("folder", "tiny.gguf", slug="tiny/0-res"))
    other = Job("folder", never, Origin("made", "tiny.gguf", None, 0, "id 0", slug="mine"))
    found = plan(path, make_model(), [named, other], make_sets(2), options=OPTIONS)
    assert [(item.name, item.status) for item in found] == [("tiny/0-res", "current"), ("mine", "new")]


def test_time_is_that_of_the_newest_runs(path: Path) -> None:
    run(path, [0, 1], make_sets(3))
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE run SET seconds = 10")
    new = Job("neurons", never, Origin("mlp_neurons", "tiny.gguf", None, 3))
    [same] = plan(path, make_model(), [new], make_sets(3), options=OPTIONS)
    assert same.n_features == N_FEATURES
    assert same.seconds == pytest.approx(10)
    [larger] = plan(path, make_model(), [new], make_sets(60), options=OPTIONS)
    assert 10 < (larger.seconds or 0) < 10 * 60 / 3
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE run SET device = 'cuda:0'")
    assert plan(path, make_model(), [new], make_sets(3), options=OPTIONS)[0].seconds is None


def test_rows_bytes_and_memory_grow_with_features_and_sets(path: Path) -> None:
    new = Job("neurons", never, Origin("mlp_neurons", "tiny.gguf", None, 3))
    few, many = (plan(path, make_model(), [new], make_sets(n), options=OPTIONS)[0] for n in (2, 50))
    assert (few.n_rows, many.n_rows) == (2 * N_FEATURES, 50 * N_FEATURES)
    assert few.disk_bytes == BYTES_A_ROW * 2 * N_FEATURES + BYTES_A_FEATURE * N_FEATURES
    assert (many.memory_bytes or 0) > (few.memory_bytes or 0) > 0
    assert (many.scratch_bytes or 0) > (few.scratch_bytes or 0) > 0


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ('{"d_sae": 24576}', 24_576),
        ('{"d_sae": "many"}', None),
        ('{"d_sae": true}', None),
        ("[1]", None),
        ("{", None),
        ("\udcff", None),
    ],
)
def test_features_come_from_the_configuration_in_a_folder(tmp_path: Path, config: str, expected: int | None) -> None:
    folder = tmp_path / "saes" / "layer 3"
    folder.mkdir(parents=True)
    (folder / "cfg.json").write_bytes(config.encode(errors="surrogateescape"))
    alone = Job("a", never, Origin(str(folder), "tiny.gguf"))
    of_several = Job("b", never, Origin(str(folder.parent), "tiny.gguf", None, None, "layer 3"))
    found = plan(tmp_path / "x.duckdb", make_model(), [alone, of_several], make_sets(1), options=OPTIONS)
    assert [item.n_features for item in found] == [expected, expected]


def test_features_come_from_the_cache_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "models--jbloom--GPT2-Small-SAEs-Reformatted"
    snapshot = repository / "snapshots" / "0123" / "blocks.8.hook_resid_pre"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    (snapshot / "cfg.json").write_text(json.dumps({"d_sae": 24_576}))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    release = Origin("gpt2-small-res-jb", "gpt2-small")
    origins = [release._replace(sae=f"blocks.{layer}.hook_resid_pre") for layer in (8, 9)]
    origins.append(Origin("jbloom/GPT2-Small-SAEs-Reformatted", "gpt2-small", sae="blocks.8.hook_resid_pre"))
    jobs = [Job(str(origin.sae), never, origin) for origin in origins]
    found = plan(tmp_path / "x.duckdb", make_model(), jobs, make_sets(1), options=OPTIONS)
    assert [item.n_features for item in found] == [24_576, None, 24_576]


EXAMPLE = [
    Planned("gpt2/8-res", "new", 24_576, 100, 2_457_600, 150 * 10**6, 170 * 10**6, 10**9, 130.0),
    Planned("gpt2/9-res", "current", 24_576, 0, 0, 0, 0, 0, 0.0),
    Planned("gpt2 id 10", "new", None, 100, None, None, None, None, None),
]


def test_a_plan_is_exact_for_programs(capfd: pytest.CaptureFixture[str]) -> None:
    emit_plan(EXAMPLE, Format.JSON)
    found = json.loads(capfd.readouterr().out)
    assert found[0] == {
        "sae": "gpt2/8-res",
        "status": "new",
        "features": 24_576,
        "sets": 100,
        "rows": 2_457_600,
        "disk_bytes": 150_000_000,
        "memory_bytes": 1_000_000_000,
        "seconds": 130.0,
    }
    assert found[2]["rows"] is None


def test_a_plan_is_readable_in_a_table(capfd: pytest.CaptureFixture[str]) -> None:
    emit_plan(EXAMPLE, Format.TABLE)
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split() == ["sae", "status", "features", "sets", "rows", "disk", "memory", "seconds"]
    assert lines[2].split() == ["gpt2/8-res", "new", "24,576", "100", "2,457,600", "150", "MB", "1.0", "GB", "2", "min"]
    assert lines[4].split() == ["gpt2", "id", "10", "new", "?", "100", "?", "?", "?", "?"]


def test_the_totals_say_what_is_unknown(path: Path) -> None:
    first, amounts, duration, *rest = plan_lines(EXAMPLE, path, path.parent)
    assert first == "3 SAEs: 2 new, 1 current"
    assert "2,457,600 rows: about 150 MB more in tiny.duckdb" in amounts
    assert "2 min" in duration
    assert rest[-1].startswith("1 of unknown size")
    timeless = [item._replace(seconds=None) for item in EXAMPLE]
    assert any(line.startswith("time unknown") for line in plan_lines(timeless, path, path.parent))
    huge = [EXAMPLE[0]._replace(disk_bytes=10**17)]
    assert any("too little" in line for line in plan_lines(huge, path, path.parent))
    assert list(plan_lines(EXAMPLE[1:2], path, path.parent)) == ["1 SAEs: 1 current"]


def test_sizes_and_times_are_short() -> None:
    assert [size_text(n) for n in (0, 850_000_000, 1_800_000_000)] == ["0 MB", "850 MB", "1.8 GB"]
    assert [time_text(s) for s in (0.0, 40.0, 720.0, 7500.0)] == ["0 s", "40 s", "12 min", "2 h 5 min"]
