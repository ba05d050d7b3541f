"""An ingest on a Ray cluster of two nodes on this machine: the rows of the plain path, whatever dies under way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from featdex.catalogue.catalogue import connect
from featdex.catalogue.cli import run as run_command
from featdex.catalogue.dataset import Dataset
from featdex.catalogue.doctor import examine
from featdex.catalogue.errors import FeatdexError, UsageError, WeightsError
from featdex.catalogue.tables import TABLES
from featdex.ingest import ray_ingest, ray_tasks
from featdex.ingest.device import Options
from featdex.ingest.inputs import LanguageModel, Recipe, TokenSet
from featdex.ingest.jobs import jobs_for
from featdex.ingest.pipeline import Job, Outcome, ingest
from featdex.ingest.ray_blocks import CPU_BLOCK_FEATURES, CUDA_BLOCK_FEATURES, key_of, spans_of
from featdex.ingest.ray_ingest import ingest_on_ray
from featdex.ingest.rows import Origin
from featdex.ingest.sinks import DatasetFolder
from featdex.ingest.vocabulary import vocabulary_from_raw

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'featdex[ray]'")

D_MODEL, N_TOKENS, N_SAES = 12, 150, 4
N_FEATURES = CPU_BLOCK_FEATURES + 300
OPTIONS = Options(device="cpu", directions=50)


def model() -> LanguageModel:
    generator = torch.Generator().manual_seed(0)
    raw = ["<|end|>"] + [("Ġ" if i % 2 else "") + f"tok{i}" for i in range(1, N_TOKENS)]
    W_U = torch.randn(D_MODEL, N_TOKENS, generator=generator)
    recipe = Recipe(fold_ln=True, center_d_model=False, center_unembed=True)
    return LanguageModel("tiny", N_SAES, W_U, vocabulary_from_raw(raw, "byte_level", [0]), recipe, no_neurons)


def no_neurons(layer: int) -> torch.Tensor:
    raise WeightsError(f"no neurons at {layer}")


def sets(n: int = 3) -> list[TokenSet]:
    rng = np.random.default_rng(2)
    return [
        TokenSet(
            name=f"set{k}",
            collection="made",
            kind="list",
            definition="random",
            description="random tokens",
            source="test",
            token_ids=np.sort(rng.choice(N_TOKENS, 5 + 40 * k, replace=False)).astype(np.int32),
        )
        for k in range(n)
    ]


def jobs(folder: Path, n: int = N_SAES, n_features: int = N_FEATURES) -> list[Job]:
    """Dictionaries of random directions in files, which any node can read."""
    made = []
    for layer in range(n):
        file = folder / f"random{layer}.npy"
        if not file.exists():
            rows = np.random.default_rng(layer).normal(size=(n_features, D_MODEL)).astype(np.float32)
            rows[5] = 0
            np.save(file, rows)
        origin = Origin(str(file), "tiny", layer=layer)
        made += jobs_for(str(file), model(), layers=[layer], sae=None, slug=None, origin=origin)
    return made


class Lines:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, label: str, position: int, n_jobs: int) -> None: ...

    def loaded(self, slug: str, n_features: int) -> None: ...

    def advance(self, n_features: int) -> None: ...

    def finish(self, slug: str, line: str) -> None:
        self.lines.append(line)


def on_ray(place: Path, work: list[Job], lines: Lines | None = None, **more: Any) -> Outcome:
    return ingest_on_ray(
        DatasetFolder(Dataset.open_or_create(str(place))),
        model(),
        work,
        more.pop("sets", sets()),
        address="auto",
        options=OPTIONS,
        reporter=lines or Lines(),
        narrate=lambda _: None,
        **more,
    )


def here(place: Path, work: list[Job], **more: Any) -> Outcome:
    """Ingest by the plain path."""
    wanted = more.pop("sets", sets())
    return ingest(place, model(), work, wanted, options=OPTIONS, reporter=Lines(), narrate=lambda _: None, **more)


def rows_of(place: Path) -> dict[str, pa.Table]:
    """All rows of all tables, as a reader gets them."""
    with connect(place) as catalogue:
        found = {}
        for table in TABLES:
            timed = {"run": {"seconds", "finished_at", "run_id"}}.get(table.name, set())
            names = ", ".join(f'"{name}"' for name in table.column_names if name not in timed)
            found[table.name] = catalogue.sql(f"SELECT {names} FROM {table.name}").to_arrow_table()
    del found["meta"]
    return found


def assert_same_rows(one: dict[str, pa.Table], other: dict[str, pa.Table]) -> None:
    assert one.keys() == other.keys()
    for name, rows in one.items():
        for column in rows.column_names:
            left, right = (table.column(column).combine_chunks() for table in (rows, other[name]))
            assert left.equals(right), f"{name}.{column}"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each, to which the tests connect as a user's command does."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        # The nodes' workers find this tree, wherever they were started.
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        made.add_node(num_cpus=1)
        patch.setenv("RAY_ADDRESS", made.address)
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield made
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
        ray.shutdown()
        made.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sources, and what the plain path makes of them: a catalogue file."""
    folder = tmp_path_factory.mktemp("plain")
    assert here(folder / "x.duckdb", jobs(folder)) == Outcome(N_SAES, 0)
    return folder


def dying_once(marker: Path) -> Callable[..., int]:
    """The task of a block, whose process is killed the first time when its file is written and has no name yet."""

    def score_block(*arguments: Any) -> int:
        import os
        import signal

        from featdex.ingest import ray_tasks

        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return ray_tasks.score_block(*arguments)
        vars(os)["fsync"] = lambda stream: os.kill(os.getpid(), signal.SIGKILL)
        return ray_tasks.score_block(*arguments)

    return score_block


def compacting_twice(marker: Path) -> Callable[..., float]:
    """The task that compacts, whose process is killed the first time when all is written and nobody knows yet."""

    def compact(*arguments: Any) -> float:
        import os
        import signal

        from featdex.ingest import ray_tasks

        seconds = ray_tasks.compact(*arguments)
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return seconds
        os.kill(os.getpid(), signal.SIGKILL)
        return seconds

    return compact


def test_a_task_killed_in_its_write_leaves_no_row_too_few_or_too_many(
    cluster: Any, tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, place = tmp_path / "died", tmp_path / "ds"
    monkeypatch.setattr(ray_ingest, "score_block", dying_once(marker))
    assert on_ray(place, jobs(plain)) == Outcome(N_SAES, 0)
    assert marker.exists()
    with connect(place) as catalogue:
        counted = catalogue.sql("SELECT count(*), count(DISTINCT (sae_id, set_id, feature)) FROM enrichment").fetchall()
        assert counted == [(N_SAES * 3 * N_FEATURES, N_SAES * 3 * N_FEATURES)]
        assert not [item.detail for item in examine(catalogue.connection) if not item.ok]
    assert_same_rows(rows_of(place), rows_of(plain / "x.duckdb"))
    again = Lines()
    assert on_ray(place, jobs(plain), again) == Outcome(0, N_SAES)
    assert all(line.endswith("current, skipped") for line in again.lines)
    assert not list(place.glob("work/*/*"))


def test_a_node_killed_under_way_changes_no_number(cluster: Any, tmp_path: Path, plain: Path) -> None:
    place, second = tmp_path / "ds", cluster.add_node(num_cpus=1)
    killed = threading.Event()

    def kill() -> None:
        while not list(place.glob("work/*/*.safetensors")):
            time.sleep(0.02)
        cluster.remove_node(second, allow_graceful=False)
        killed.set()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    assert on_ray(place, jobs(plain)) == Outcome(N_SAES, 0)
    killer.join(30)
    assert killed.is_set()
    assert_same_rows(rows_of(place), rows_of(plain / "x.duckdb"))


def test_a_compaction_that_nobody_heard_of_is_made_again(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, work = tmp_path / "died", jobs(tmp_path, 1, 60)
    monkeypatch.setattr(ray_ingest, "compact", compacting_twice(marker))
    assert on_ray(tmp_path / "ds", work) == Outcome(1, 0)
    assert marker.exists()
    here(tmp_path / "x.duckdb", work)
    assert_same_rows(rows_of(tmp_path / "ds"), rows_of(tmp_path / "x.duckdb"))
    assert not (tmp_path / "ds" / "work").exists()


def test_more_sets_keep_those_that_are_there(cluster: Any, tmp_path: Path) -> None:
    work, place = jobs(tmp_path, 2, 60), tmp_path / "ds"
    assert on_ray(place, work, sets=sets()[:2]) == Outcome(2, 0)
    assert on_ray(place, work, sets=sets()[2:]) == Outcome(2, 0)
    assert on_ray(place, work) == Outcome(0, 2)
    with connect(place) as catalogue:
        tested = catalogue.sql("SELECT DISTINCT set_name FROM enrichments ORDER BY 1").fetchall()
    assert tested == [("set0",), ("set1",), ("set2",)]
    # The same as all at once.
    here(tmp_path / "x.duckdb", work)
    with connect(place) as one, connect(tmp_path / "x.duckdb") as other:
        query = "SELECT sae, set_name, feature, es, z, log10_q_all FROM enrichments ORDER BY ALL"
        assert one.sql(query).to_arrow_table().equals(other.sql(query).to_arrow_table())


def test_daft_counts_on_the_cluster_what_duckdb_counts(cluster: Any, tmp_path: Path) -> None:
    """In a process of its own: Daft keeps the runner it began with."""
    pytest.importorskip("daft")
    assert ingest(
        DatasetFolder(Dataset.open_or_create(tmp_path / "ds")),
        model(),
        jobs(tmp_path, 3, 60),
        sets(),
        options=OPTIONS,
        reporter=Lines(),
        narrate=lambda _: None,
    ) == Outcome(3, 0)
    query = (
        "SELECT sae_id, set_id, count(*) AS n, avg(z) AS mean, min(z) AS low, max(z) AS high FROM enrichment"
        " GROUP BY sae_id, set_id ORDER BY sae_id, set_id"
    )
    command = [sys.executable, "-c", "from featdex.catalogue.cli import main; main()", "--db", str(tmp_path / "ds")]
    options = ["sql", "--engine", "daft", "--ray", cluster.address, "-f", "json", query]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=180)
    assert (done.returncode, done.stderr) == (0, "")
    with connect(tmp_path / "ds") as catalogue:
        expected = catalogue.sql(query).to_arrow_table().to_pylist()
    for row, right in zip(json.loads(done.stdout), expected, strict=True):
        assert row == right | {name: pytest.approx(right[name], rel=1e-6) for name in ("mean", "low", "high")}


def test_a_dictionary_that_cannot_be_read_is_skipped_and_told(cluster: Any, tmp_path: Path) -> None:
    work, lines = jobs(tmp_path, 3, 60), Lines()
    broken = np.full((60, D_MODEL), np.nan, np.float32)
    np.save(tmp_path / "random1.npy", broken)
    assert on_ray(tmp_path / "ds", work, lines) == Outcome(2, 0, 1)
    (line,) = [line for line in lines.lines if "failed" in line]
    assert "random1.npy: failed, skipped:" in line
    assert "\n" not in line
    with connect(tmp_path / "ds") as catalogue:
        assert catalogue.sql("SELECT sae_id, layer FROM sae ORDER BY 1").fetchall() == [(1, 0), (2, 2)]
    with pytest.raises(WeightsError, match=r"random1\.npy"):
        on_ray(tmp_path / "other", work, fail_fast=True)


def test_two_of_one_name_are_one_and_a_fault(cluster: Any, tmp_path: Path) -> None:
    work, lines = jobs(tmp_path, 2, 60), Lines()
    (tmp_path / "other").mkdir()
    twin = jobs(tmp_path / "other", 1, 60)
    assert on_ray(tmp_path / "ds", [*work, *twin], lines) == Outcome(2, 0, 1)
    (line,) = [line for line in lines.lines if "failed" in line]
    assert "has the name of" in line
    assert "--slug NAME" in line


def test_without_sets_there_are_statistics(cluster: Any, tmp_path: Path) -> None:
    work = jobs(tmp_path, 1, 60)
    assert on_ray(tmp_path / "ds", work, sets=[]) == Outcome(1, 0)
    assert on_ray(tmp_path / "ds", work, sets=[]) == Outcome(0, 1)
    here(tmp_path / "x.duckdb", work, sets=[])
    with connect(tmp_path / "ds") as one, connect(tmp_path / "x.duckdb") as other:
        query = "FROM feature ORDER BY feature"
        assert one.sql(query).to_arrow_table().equals(other.sql(query).to_arrow_table())


def test_a_damaged_block_is_computed_again(cluster: Any, tmp_path: Path) -> None:
    (job,), place = jobs(tmp_path, 1, 60), tmp_path / "ds"
    dataset = Dataset.open_or_create(str(place))
    dataset.begin()
    loaded, _, _ = ray_tasks.load(shared(dataset), job.origin)  # type: ignore[arg-type]
    key = key_of(loaded.slug, loaded.params, sets(), CPU_BLOCK_FEATURES)
    dataset.store.write(f"work/{key}/block-0000000.safetensors", b"\x08\0\0\0\0\0\0\0garbage!")
    with pytest.raises(FeatdexError, match="damaged and was removed"):
        on_ray(place, [job])
    assert on_ray(place, [job]) == Outcome(1, 0)


def shared(dataset: Dataset) -> ray_tasks.Shared:
    from featdex.catalogue.file import featdex_version
    from featdex.ingest.rows import ModelFacts

    lean = replace(model(), W_U=torch.empty(0, 0))
    facts = ModelFacts.of(model())
    return ray_tasks.Shared(model().W_U.numpy(), lean, facts, OPTIONS, dataset, False, featdex_version())


def test_a_node_with_another_featdex_is_told_apart(tmp_path: Path) -> None:
    other = shared(Dataset.open_or_create(str(tmp_path / "ds")))._replace(version="0.0.1")
    with pytest.raises(WeightsError, match=r"has featdex .*, this one 0\.0\.1"):
        ray_tasks.load(other, Origin("x.npy", "tiny"))


def test_blocks_cover_every_feature_once() -> None:
    for block in (CPU_BLOCK_FEATURES, CUDA_BLOCK_FEATURES):
        for n_features in (1, block, block + 1, 10 * block - 1):
            covered = [feature for first, last in spans_of(n_features, block) for feature in range(first, last)]
            assert covered == list(range(n_features))


def test_blocks_of_other_inputs_have_other_names() -> None:
    params = {"weights_sha256": "a", "seed": 0}
    keys = {
        key_of("tiny/0", params, sets(), 4096),
        key_of("tiny/0", params | {"seed": 1}, sets(), 4096),
        key_of("tiny/0", params, sets()[:2], 4096),
        key_of("tiny/0", params, sets(), 8192),
        key_of("tiny/1", params, sets(), 4096),
        key_of("tiny_1", params | {"weights_sha256": "b"}, sets(), 4096),
    }
    assert len(keys) == 6
    assert all(set(key) < set("abcdefghijklmnopqrstuvwxyz0123456789_-.") for key in keys)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--to", "ds", "--ray", "127.0.0.1:1"], 1, "no Ray cluster at 127.0.0.1:1"),
        (["--to", "ds", "--ray", "--device", "cuda:3"], 2, "--device cuda:3 is of one machine"),
        (["--ray"], 2, "name its folder with --to"),
        (["--columns", "core"], 2, "name its folder with --to"),
    ],
)
def test_what_ray_cannot_do_is_one_line(
    arguments: list[str],
    code: int,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from featdex.ingest import batches

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batches, "read_model", lambda *_, **__: model())
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    jobs(tmp_path, 1, 60)
    command = ["--db", "x.duckdb", "ingest", "random0.npy", "--model", "tiny", "--sets", "shape", *arguments]
    assert run_command(command) == code
    *_, last = capsys.readouterr().err.splitlines()
    assert line in last
    assert not (tmp_path / "ds").exists()


def test_ray_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from featdex.ingest.ray_cluster import connected

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(FeatdexError, match=r"pip install 'featdex\[ray\]'"), connected("local", "cpu"):
        raise AssertionError
    with pytest.raises(UsageError, match="is of one machine"), connected("local", "cuda:1"):
        raise AssertionError
