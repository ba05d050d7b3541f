"""An ingest into a dataset by the plain path: on a disk and in an object store, the rows of a catalogue file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace as replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from featdex.catalogue.catalogue import connect
from featdex.catalogue.cli import run as run_command
from featdex.catalogue.dataset import Dataset, publish
from featdex.catalogue.dataset_pack import pack
from featdex.catalogue.doctor import examine
from featdex.catalogue.errors import CatalogueError, FeatdexError, UsageError
from featdex.catalogue.tables import TABLES
from featdex.ingest import batches
from featdex.ingest.device import Options
from featdex.ingest.inputs import LanguageModel, Recipe, TokenSet
from featdex.ingest.jobs import jobs_for
from featdex.ingest.pipeline import Job, Outcome, ingest
from featdex.ingest.rows import Origin
from featdex.ingest.sinks import DatasetFolder
from featdex.ingest.vocabulary import vocabulary_from_raw

if TYPE_CHECKING:
    from tests.conftest import ObjectStore

D_MODEL, N_TOKENS, N_FEATURES = 12, 150, 60
OPTIONS = Options(device="cpu", directions=50)


class Silent:
    """A reporter of nothing."""

    def start(self, label: str, position: int, n_jobs: int) -> None: ...

    def loaded(self, slug: str, n_features: int) -> None: ...

    def advance(self, n_features: int) -> None: ...

    def finish(self, slug: str, line: str) -> None: ...


def model(seed: int = 0) -> LanguageModel:
    generator = torch.Generator().manual_seed(seed)
    raw = ["<|end|>"] + [("Ġ" if i % 2 else "") + f"tok{i}" for i in range(1, N_TOKENS)]
    W_U = torch.randn(D_MODEL, N_TOKENS, generator=generator)
    recipe = Recipe(fold_ln=True, center_d_model=False, center_unembed=True)
    return LanguageModel("tiny", 4, W_U, vocabulary_from_raw(raw, "byte_level", [0]), recipe, lambda _: W_U)


def sets(*sizes: int) -> list[TokenSet]:
    rng = np.random.default_rng(2)
    chosen = [np.sort(rng.choice(N_TOKENS, n, replace=False)).astype(np.int32) for n in sizes]
    return [TokenSet(f"set{k}", "made", "list", "random", "tokens", "test", ids) for k, ids in enumerate(chosen)]


def jobs(folder: Path, layers: Iterable[int]) -> list[Job]:
    found = []
    for layer in layers:
        file = folder / f"random{layer}.npy"
        np.save(file, np.random.default_rng(layer).normal(size=(N_FEATURES, D_MODEL)).astype(np.float32))
        origin = Origin(str(file), "tiny", layer=layer)
        found += jobs_for(str(file), model(), layers=[layer], sae=None, slug=None, origin=origin)
    return found


def run(place: Any, work: list[Job], wanted: list[TokenSet], **more: Any) -> Outcome:
    return ingest(place, model(), work, wanted, options=OPTIONS, reporter=Silent(), narrate=lambda _: None, **more)


def into(where: str | Path, work: list[Job], wanted: list[TokenSet], **more: Any) -> Outcome:
    return run(DatasetFolder(Dataset.open_or_create(where)), work, wanted, **more)


def rows_of(place: Path) -> dict[str, pa.Table]:
    with connect(place) as catalogue:
        timed = {"seconds", "finished_at"}
        return {
            table.name: catalogue.sql(f"SELECT * FROM {table.name}").to_arrow_table()
            if table.name != "run"
            else catalogue.sql(
                f"SELECT {', '.join(name for name in table.column_names if name not in timed)} FROM run ORDER BY run_id"
            ).to_arrow_table()
            for table in TABLES
            if table.name != "meta"
        }


def assert_same_rows(one: dict[str, pa.Table], other: dict[str, pa.Table]) -> None:
    for name, table in one.items():
        assert table.combine_chunks().equals(other[name].combine_chunks()), name


def test_a_dataset_holds_what_a_file_does(tmp_path: Path) -> None:
    work, wanted = jobs(tmp_path, range(3)), sets(5, 40, 90)
    assert run(tmp_path / "x.duckdb", work, wanted) == into(tmp_path / "ds", work, wanted) == Outcome(3, 0)
    assert_same_rows(rows_of(tmp_path / "ds"), rows_of(tmp_path / "x.duckdb"))
    catalogue = tmp_path / "ds" / "catalogue.duckdb"
    before = catalogue.stat().st_mtime_ns
    assert into(tmp_path / "ds", work, wanted) == Outcome(0, 3)
    assert catalogue.stat().st_mtime_ns == before
    # One that was lost, or not made before a kill, is made again.
    catalogue.unlink()
    assert into(tmp_path / "ds", work, wanted) == Outcome(0, 3)
    assert_same_rows(rows_of(tmp_path / "ds"), rows_of(tmp_path / "x.duckdb"))


def test_changed_weights_and_sets_go_on_as_in_a_file(tmp_path: Path) -> None:
    work, first, more = jobs(tmp_path, range(2)), sets(5, 40), sets(5, 40, 90)
    for place in (tmp_path / "x.duckdb", DatasetFolder(Dataset.open_or_create(tmp_path / "ds"))):
        assert run(place, work, first) == Outcome(2, 0)
        assert run(place, work[1:], more[2:]) == Outcome(1, 0)
        assert run(place, work, first, force=True) == Outcome(2, 0)
    one, other = rows_of(tmp_path / "ds"), rows_of(tmp_path / "x.duckdb")
    # Another order of ids of runs is all that may differ: a dataset gives each SAE one.
    del one["run"], other["run"]
    assert_same_rows(one, other)


def test_another_model_of_the_name_is_refused(tmp_path: Path) -> None:
    work = jobs(tmp_path, [0])
    into(tmp_path / "ds", work, sets(5))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "ds").rglob("*")}
    sink = DatasetFolder(Dataset.open_or_create(tmp_path / "ds"))
    with pytest.raises(CatalogueError, match="other weights"):
        ingest(sink, model(1), work, sets(5), options=OPTIONS, reporter=Silent(), narrate=print)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "ds").rglob("*")} == before


def test_an_object_store_holds_the_same_and_a_broken_connection_is_gone_on_from(
    tmp_path: Path, object_store: ObjectStore
) -> None:
    work, wanted = jobs(tmp_path, range(3)), sets(5, 40)
    run(tmp_path / "x.duckdb", work, wanted)
    written = 0

    def breaks(method: str, path: str, query: str) -> str | None:
        nonlocal written
        written += method in ("PUT", "POST") and "sae=0002" in path
        return "403 Forbidden" if method in ("PUT", "POST") and "sae=0002" in path and written > 3 else None

    object_store.server.refuse = breaks
    with pytest.raises(FeatdexError) as fault:
        into(object_store.url, work, wanted)
    assert "\n" not in str(fault.value)
    object_store.server.refuse = lambda *_: None
    # One SAE is there whole; of the second there is no word.
    assert set(Dataset.open(object_store.url).sae_ids().values()) == {1}
    assert into(object_store.url, work, wanted) == Outcome(2, 1)
    pack(object_store.url, tmp_path / "packed.duckdb", lambda _: None)
    assert_same_rows(rows_of(tmp_path / "packed.duckdb"), rows_of(tmp_path / "x.duckdb"))


def test_the_command_writes_datasets_on_disks_and_in_object_stores(
    tmp_path: Path,
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batches, "read_model", lambda *_, **__: model())
    jobs(tmp_path, [0])
    command = ["ingest", "random0.npy", "--model", "tiny", "--sets", "shape", "--directions", "10", "--device", "cpu"]
    for where in ("here", object_store.url):
        assert run_command([*command, "--to", where, "--dry-run", "-f", "json"]) == 0
        assert '"new"' in capsys.readouterr().out
        assert run_command([*command, "--to", where, "--columns", "core"]) == 0
        assert "1 written" in capsys.readouterr().err
        assert run_command([*command, "--to", where]) == 0
        assert "1 current" in capsys.readouterr().err
        assert run_command([*command, "--to", where, "--columns", "full"]) == 2
        assert "core columns" in capsys.readouterr().err
    with connect("here") as catalogue:
        core = catalogue.sql("SELECT count(z), count(log10_q), count(auroc) FROM enrichment").fetchall()
    assert core[0][0] > 0
    assert core == [(core[0][0], core[0][0], 0)]


@pytest.mark.parametrize("where", ["s3://no-such-bucket/x", "s3://", "ftp://host/x", "x.txt", "s3://bucket"])
def test_a_place_that_cannot_be_is_one_line_at_once(
    where: str,
    tmp_path: Path,
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.txt").write_text("x")
    object_store.server.refuse = lambda method, path, query: "403 Forbidden" if path == "/bucket/" else None
    with pytest.raises(FeatdexError) as fault:
        into(where, jobs(tmp_path, [0]), sets(5))
    assert "\n" not in str(fault.value)
    assert where in str(fault.value) or isinstance(fault.value, UsageError)
    # Before the model is looked for, which is not there.
    assert run_command(["ingest", "mlp_neurons", "--model", "no.gguf", "--to", where]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert "no.gguf" not in line


def test_a_dataset_in_an_object_store_is_asked_as_any(
    tmp_path: Path,
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    work, wanted = jobs(tmp_path, range(2)), sets(5, 40)
    run(tmp_path / "x.duckdb", work[:1], wanted)
    into(object_store.url, work[:1], wanted)
    question = ["q", "enriched_for", "set0", "n=7", "-f", "csv"]
    answers = []
    for place in (str(tmp_path / "x.duckdb"), object_store.url, f"{object_store.url}/catalogue.duckdb"):
        assert run_command(["--db", place, *question]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0].count("\n") == 8
    assert len(set(answers)) == 1
    assert_same_rows(rows_of(Path(object_store.url)), rows_of(tmp_path / "x.duckdb"))
    # The copy of its catalogue is fetched once, and again when there is another.
    object_store.server.requests.clear()
    with connect(object_store.url) as catalogue:
        assert catalogue.sql("SELECT count(*) FROM sae").fetchall() == [(1,)]
    assert not [path for method, path, _ in object_store.server.requests if method == "GET" and "duckdb" in path]
    into(object_store.url, work, wanted)
    with connect(object_store.url) as catalogue:
        assert catalogue.sql("SELECT count(*) FROM sae").fetchall() == [(2,)]
        with pytest.raises(FeatdexError, match="disabled by configuration"):
            catalogue.sql(f"FROM read_text('{tmp_path}/random0.npy')").fetchall()
    assert len(list((tmp_path / "cache").rglob("catalogue.duckdb"))) == 1
    assert run_command(["--db", object_store.url, "doctor"]) == 0
    capsys.readouterr()
    assert run_command(["--db", object_store.url, "tag", "random0/1", "x"]) == 2
    assert "featdex pack" in capsys.readouterr().err
    assert run_command(["--db", f"{object_store.url}-not", *question]) == 1
    assert "no dataset at" in capsys.readouterr().err


def test_a_missing_partition_is_one_line_and_computed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work, wanted, place = jobs(tmp_path, range(2)), sets(5, 40), tmp_path / "ds"
    into(place, work, wanted)
    before = rows_of(place)
    (place / "enrichment/sae=0002/part-0.parquet").unlink()
    for verb in (["q", "coverage"], ["doctor"], ["top", "set0"]):
        assert run_command(["--db", str(place), *verb]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "sae=0002" in line
        assert f"featdex ingest … --to {place}" in line
    assert into(place, work, wanted) == Outcome(1, 1)
    # One more row of the ledger's numbers: the file has another name, and nothing else has changed.
    assert_same_rows(rows_of(place), before)
    # So is one that was cut off.
    file = place / "feature/sae=0001/part-0.parquet"
    file.write_bytes(file.read_bytes()[:-5])
    assert into(place, work, wanted) == Outcome(1, 1)
    assert_same_rows(rows_of(place), before)


@pytest.mark.parametrize("table", ["token_set", "token_set_member", "token", "model"])
def test_a_missing_shared_table_is_never_taken_for_an_empty_one(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "ds"
    into(place, jobs(tmp_path, [0]), sets(5, 40))
    catalogue = (place / "catalogue.duckdb").read_bytes()
    (place / f"{table}.parquet").unlink()
    with pytest.raises(CatalogueError, match=f"{table}.parquet is missing"):
        into(place, jobs(tmp_path, [1]), sets(30))
    for command in (["--db", str(place), "migrate"], ["pack", str(place), str(tmp_path / "x.duckdb")]):
        assert run_command(command) == 1
        assert f"{table}.parquet is missing" in capsys.readouterr().err
    assert run_command(["--db", str(place), "doctor"]) == 1
    assert f"{table}.parquet is missing" in capsys.readouterr().out
    assert (place / "catalogue.duckdb").read_bytes() == catalogue


SECOND = """
import sys
sys.path.insert(0, sys.argv[1])
import test_to_dataset as tests
from pathlib import Path
folder, first, size = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
wanted = [item for item in tests.sets(size, 40)]
wanted[0] = tests.replace(wanted[0], name=f"of_{size}")
print(tests.into(folder / "ds", tests.jobs(folder / str(first), range(first, first + 3)), wanted))
"""


def test_two_ingests_at_once_mix_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "3").mkdir()
    tests = str(Path(__file__).parent)
    both = [
        subprocess.Popen(
            [sys.executable, "-c", SECOND, tests, str(tmp_path), str(first), str(size)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for first, size in ((0, 5), (3, 60))
    ]
    for process in both:
        out, err = process.communicate(timeout=300)
        assert out.strip() == "Outcome(written=3, current=0, failed=0)", err
    with connect(tmp_path / "ds") as catalogue:
        found = catalogue.sql(
            "SELECT layer // 3, set_name, n_tokens, count(*) FROM enrichments GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        assert not [item.detail for item in examine(catalogue.connection) if not item.ok]
    n = 3 * N_FEATURES
    assert {row for row in found if row[1].startswith("of_")} == {(0, "of_5", 5, n), (1, "of_60", 60, n)}
    assert sum(row[3] for row in found) == 4 * n


def test_a_catalogue_that_cannot_be_read_is_to_be_removed(tmp_path: Path) -> None:
    into(tmp_path / "ds", jobs(tmp_path, [0]), sets(5))
    (tmp_path / "ds/catalogue.duckdb").write_text("garbage")
    with pytest.raises(CatalogueError, match="remove it, with the tags in it, and run it again"):
        publish(Dataset.open(tmp_path / "ds"), lambda _: None)
    (tmp_path / "ds/catalogue.duckdb").unlink()
    publish(Dataset.open(tmp_path / "ds"), lambda _: None)
    assert rows_of(tmp_path / "ds")["sae"].num_rows == 1


def test_what_killed_processes_left_goes_with_the_next(tmp_path: Path) -> None:
    into(tmp_path / "ds", jobs(tmp_path, [0]), sets(5))
    left = [tmp_path / ".x.duckdb.99999.new", tmp_path / "..x.duckdb.99999.new.99999.new"]
    for file in left:
        file.write_bytes(b"half")
    pack(tmp_path / "ds", tmp_path / "x.duckdb", lambda _: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ds", "random0.npy", "x.duckdb"]
