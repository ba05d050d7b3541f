"""Datasets: the same rows as a catalogue file, whole SAEs or none, wherever the folder lies and whoever made it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from featdex.catalogue.catalogue import connect
from featdex.catalogue.dataset import Dataset, Registered, publish, write_partition
from featdex.catalogue.dataset_pack import pack, unpack
from featdex.catalogue.doctor import examine
from featdex.catalogue.doctor_dataset import DATASET_CHECKS
from featdex.catalogue.errors import CatalogueError, QueryError, UsageError
from featdex.catalogue.file import create, writing
from featdex.catalogue.notes import add_tag
from featdex.catalogue.tables import TABLES
from featdex.catalogue.write import SaeRows, ledger, write_sae

Maker = Callable[..., SaeRows]
Run = Callable[..., tuple[int, str, str]]


def quiet(line: str) -> None:
    """Say nothing."""


def put(dataset: Dataset, rows: SaeRows, sae_id: int) -> None:
    write_partition(dataset, sae_id, registered(dataset, rows), rows)


def registered(dataset: Dataset, rows: SaeRows) -> Registered:
    return dataset.register(rows.model, rows.tokens, rows.token_sets, rows.members, rows.dropped)


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of a catalogue in their physical order, by a connection of its own."""
    with duckdb.connect(str(path), read_only=True) as connection:
        names = [table.name for table in TABLES if table.name != "meta"]
        return {name: connection.execute(f"FROM {name}").fetchall() for name in names}


@pytest.fixture(scope="module")
def unpacked(mixed_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("unpacked") / "mixed"
    unpack(mixed_path, where, quiet)
    return where


@pytest.fixture
def mixed_dataset(unpacked: Path, tmp_path: Path) -> Path:
    """A dataset of the catalogue `mixed_path`, to change."""
    return Path(shutil.copytree(unpacked, tmp_path / "mixed"))


def test_a_file_comes_back_from_its_dataset_as_it_was(mixed_path: Path, mixed_dataset: Path, tmp_path: Path) -> None:
    pack(mixed_dataset, tmp_path / "back.duckdb", quiet)
    assert contents(tmp_path / "back.duckdb") == contents(mixed_path)
    unpack(tmp_path / "back.duckdb", tmp_path / "again", quiet)
    parts = {
        path.relative_to(folder): path.read_bytes()
        for folder in (mixed_dataset, tmp_path / "again")
        for path in sorted(folder.rglob("*.parquet"))
    }
    for path in sorted(mixed_dataset.rglob("*.parquet")):
        assert path.read_bytes() == parts[path.relative_to(mixed_dataset)]


def test_sae_by_sae_a_dataset_is_what_a_file_is(rows_of: Maker, tmp_path: Path) -> None:
    # In another order of sets, with a set that changed, and one that came back.
    changed = {"digits": [1, 2], "girls_names": [0, 1, 2, 30, 31]}
    every = [rows_of(), rows_of("tiny/9-x", seed=2, members=changed), rows_of("tiny/7-x", seed=3)]
    every += [rows_of("other/0-x", model="other", members={"digits": [5]}), rows_of(seed=5, members=changed)]
    file = tmp_path / "file.duckdb"
    create(file)
    dataset = Dataset.open_or_create(tmp_path / "dataset")
    ids = [1, 2, 3, 4, 1]
    for sae_id, rows in zip(ids, every, strict=True):
        assert write_sae(file, rows) == sae_id
        put(pickle.loads(pickle.dumps(dataset)), rows, sae_id)
        assert dataset.sae_ids()[rows.sae["slug"]] == sae_id
        publish(dataset, quiet)
    assert dataset.ledger() == ledger(file)
    pack(tmp_path / "dataset", tmp_path / "packed.duckdb", quiet)
    found, expected = contents(tmp_path / "packed.duckdb"), contents(file)
    # An SAE that is computed again moves to the end of a file, and has a run of a new number there.
    assert [row[1:] for row in sorted(found.pop("run"))] == [
        row[1:] for row in sorted(expected.pop("run"), key=lambda r: r[1])
    ]
    for name, wanted in expected.items():
        assert sorted(found[name], key=repr) == sorted(wanted, key=repr), name
    with connect(tmp_path / "dataset") as opened, connect(file) as other:
        found_of, found_there = ({f.check: f for f in examine(c.connection)} for c in (opened, other))
        assert {name: found_of[name].ok for name in found_there} == {name: f.ok for name, f in found_there.items()}
        assert found_of["files"].ok
        assert found_of["strongest rows"].ok


def test_nothing_is_made_before_there_is_something_to_write(rows_of: Maker, tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(tmp_path / "new" / "dataset")
    publish(dataset, quiet)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CatalogueError, match="no dataset at"):
        Dataset.open(tmp_path / "new" / "dataset")
    registered(dataset, rows_of())
    publish(dataset, quiet)
    with connect(tmp_path / "new" / "dataset") as opened:
        assert opened.query("coverage").fetchall() == []
        assert opened.sql("SELECT count(*) FROM enrichment").fetchall() == [(0,)]


KILLED = """
import os, pickle, sys
from collections.abc import Sequence
from dataclasses import replace
from featdex.catalogue.dataset import Dataset, write_partition
where, rows, registered = sys.argv[1], *pickle.loads(open(sys.argv[2], "rb").read())
class Parts(Sequence):
    def __len__(self): return len(rows.enrichment)
    def __getitem__(self, index):
        if index == 2:
            os.kill(os.getpid(), 9)
        return rows.enrichment[index]
write_partition(Dataset.open(where), int(sys.argv[3]), registered, replace(rows, enrichment=Parts()))
"""


def test_a_killed_write_leaves_the_saes_that_were_there(rows_of: Maker, tmp_path: Path) -> None:
    where = tmp_path / "dataset"
    dataset = Dataset.open_or_create(where)
    put(dataset, rows_of(), 1)
    publish(dataset, quiet)
    answers = "SELECT sae_id, set_id, feature, z FROM enrichment"
    with connect(where) as before:
        expected = before.sql(answers).fetchall()
        for sae_id, rows in ((1, rows_of(seed=7)), (2, rows_of("tiny/9-x", seed=8))):
            (tmp_path / "rows").write_bytes(pickle.dumps((rows, registered(dataset, rows))))
            command = [sys.executable, "-c", KILLED, str(where), str(tmp_path / "rows"), str(sae_id)]
            assert subprocess.run(command, check=False, env=os.environ).returncode == -9
        assert dataset.sae_ids() == {"tiny/8-res-jb": 1}
        assert before.sql(answers).fetchall() == expected
    publish(dataset, quiet)
    with connect(where) as after:
        assert after.sql(answers).fetchall() == expected
        findings = {found.check: found for found in examine(after.connection)}
    assert all(found.ok for found in findings.values())
    assert "belong to no SAE" in findings["files"].detail
    put(dataset, rows_of(seed=7), 1)
    put(dataset, rows_of("tiny/9-x", seed=8), 2)
    publish(dataset, quiet)
    with connect(where) as after:
        assert len(after.sql(answers).fetchall()) == 2 * len(expected)
        findings = {found.check: found for found in examine(after.connection)}
    assert findings["files"].detail.endswith("with its bytes")


def test_readers_go_on_until_a_catalogue_is_published(rows_of: Maker, tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(tmp_path / "d")
    put(dataset, rows_of(), 1)
    publish(dataset, quiet)
    z = "SELECT z FROM enrichment ORDER BY set_id, feature"
    with connect(tmp_path / "d") as opened:
        before = opened.sql(z).fetchall()
        put(dataset, rows_of(seed=9), 1)
        assert opened.sql(z).fetchall() == before
    publish(dataset, quiet)
    with connect(tmp_path / "d") as opened:
        assert opened.sql(z).fetchall() != before
    parts = [path.name for path in (tmp_path / "d" / "enrichment").rglob("*.parquet")]
    assert parts == ["part-1.parquet"]


def test_features_stay_where_only_sets_are_new(rows_of: Maker, tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(tmp_path / "d")
    put(dataset, rows_of(seed=4), 1)
    put(dataset, replace(rows_of(seed=9), feature=None, feature_token=None), 1)
    publish(dataset, quiet)
    assert sorted(path.name for path in (tmp_path / "d" / "feature").rglob("*.parquet")) == ["part-0.parquet"]
    with connect(tmp_path / "d") as opened:
        found = opened.sql("SELECT kurtosis FROM feature ORDER BY feature").fetchall()
        top = opened.sql("SELECT DISTINCT feature, kurtosis FROM enrichment_top ORDER BY feature").fetchall()
    given = [row["kurtosis"] for part in rows_of(seed=4).feature or () for row in part.to_pylist()]
    assert [row[0] for row in found] == given == [row[1] for row in top]
    fresh = Dataset.open_or_create(tmp_path / "fresh")
    with pytest.raises(CatalogueError, match="none are there to keep"):
        put(fresh, replace(rows_of(), feature=None), 1)


def swapped(part: pa.Table) -> pa.Table:
    return part.take([1, 0, *range(2, part.num_rows)])


def with_scores(rows: SaeRows, change: Callable[[list[pa.Table]], list[pa.Table]]) -> SaeRows:
    return replace(rows, enrichment=change(list(rows.enrichment)))


def of_a_set_too_many(rows: SaeRows) -> SaeRows:
    index = pa.array([9], pa.int32())
    return replace(rows, correlation=pa.table({"set_index": index, "other_index": index, "r": [0.5]}))


FAULTS: dict[str, Callable[[SaeRows], SaeRows]] = {
    "a feature too few": lambda rows: with_scores(rows, lambda sets: [sets[0].slice(1), *sets[1:]]),
    "one short at the end": lambda rows: with_scores(rows, lambda sets: [*sets[:-1], sets[-1].slice(0, 3)]),
    "one twice": lambda rows: with_scores(rows, lambda sets: [sets[0].take([0, 0, *range(2, 12)]), *sets[1:]]),
    "in another order": lambda rows: with_scores(rows, lambda sets: [swapped(sets[0]), *sets[1:]]),
    "a set too few": lambda rows: with_scores(rows, lambda sets: sets[1:]),
    "a column of its own": lambda rows: with_scores(rows, lambda sets: [s.append_column("x", s["z"]) for s in sets]),
    "a null too few": lambda rows: replace(rows, set_null=rows.set_null.slice(1)),
    "features of others": lambda rows: replace(rows, feature=[swapped(part) for part in rows.feature or ()]),
    "no features": lambda rows: replace(rows, feature=[]),
    "tokens in another order": lambda rows: replace(rows, feature_token=[*map(swapped, rows.feature_token or ())]),
    "correlations of others": of_a_set_too_many,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_rows_that_are_not_all_there_are_refused(rows_of: Maker, tmp_path: Path, fault: str) -> None:
    dataset = Dataset.open_or_create(tmp_path / "d")
    with pytest.raises(CatalogueError):
        put(dataset, FAULTS[fault](rows_of()), 1)
    assert dataset.sae_ids() == {}
    assert not list((tmp_path / "d").rglob("*.part"))


def test_an_sae_is_never_written_in_the_place_of_another(rows_of: Maker, tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(tmp_path / "d")
    put(dataset, rows_of(), 1)
    with pytest.raises(CatalogueError, match="no place for tiny/9-x"):
        put(dataset, rows_of("tiny/9-x"), 1)
    with pytest.raises(CatalogueError, match="with other weights"):
        registered(dataset, replace(rows_of(), model={**rows_of().model, "unembed_sha256": "other"}))


def test_a_moved_dataset_and_a_bare_shell(mixed_dataset: Path, mixed_path: Path, tmp_path: Path) -> None:
    moved = tmp_path / "a, [b]* 'c'" / "d"
    moved.parent.mkdir()
    mixed_dataset.rename(moved)
    question = "FROM enriched_for('girls_names', n := 7)"
    with connect(mixed_path) as file, connect(moved) as dataset:
        expected = file.sql(question).fetchall()
        assert dataset.sql(question).fetchall() == expected
    publish(Dataset.open(moved), quiet)
    with connect(moved / "catalogue.duckdb") as dataset:
        assert dataset.sql(question).fetchall() == expected
    code = f"import duckdb; print(duckdb.connect('catalogue.duckdb', read_only=True).sql({question!r}).fetchall())"
    done = subprocess.run([sys.executable, "-c", code], cwd=moved, capture_output=True, text=True, check=True)
    assert done.stdout == f"{expected}\n"


def test_an_older_shell_in_its_folder(mixed_dataset: Path) -> None:
    shell = shutil.which("duckdb", path=str(Path(sys.executable).parent))
    if shell is None:
        pytest.skip("no duckdb shell here; pip install duckdb-cli")
    command = [
        shell,
        "-readonly",
        "-json",
        "catalogue.duckdb",
        "-c",
        "FROM top_tokens LIMIT 1; FROM set_by_layer('digits')",
    ]
    done = subprocess.run(command, cwd=mixed_dataset, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.count("tiny/")) == ("", 4)


def test_a_catalogue_taken_away_from_its_dataset_says_so(mixed_dataset: Path, tmp_path: Path) -> None:
    for name in ("alone.duckdb", "catalogue.duckdb"):
        shutil.copy(mixed_dataset / "catalogue.duckdb", tmp_path / name)
        with pytest.raises(CatalogueError, match="can't be read away from it"):
            connect(tmp_path / name)
    (mixed_dataset / "catalogue.duckdb").unlink()
    with pytest.raises(CatalogueError, match="migrate' makes it"):
        connect(mixed_dataset)


def test_other_folders_are_left_alone(rows_of: Maker, tmp_path: Path) -> None:
    for name in ("full", "export", "file", "feature=3"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "export" / "featdex.json").write_text('{"featdex_tables": 1}')
    (tmp_path / "file" / "x").write_text("")
    for name, reason in (
        ("full", "'notes.txt', which is no part"),
        ("file/x", "is a file"),
        ("file/x/y", "is a file"),
        ("feature=3/d", "which readers of parquet take for a column"),
    ):
        with pytest.raises(UsageError, match=reason):
            Dataset.open_or_create(tmp_path / name)
    with pytest.raises(CatalogueError, match="not that of a dataset"):
        Dataset.open_or_create(tmp_path / "export")
    with pytest.raises(CatalogueError, match="is a folder, not a catalogue"):
        connect(tmp_path / "export")
    with pytest.raises(UsageError, match="no columns 'some'"):
        Dataset.open_or_create(tmp_path / "new", "some")
    registered(Dataset.open_or_create(tmp_path / "core", "core"), rows_of())
    assert Dataset.open_or_create(tmp_path / "core").columns == "core"
    with pytest.raises(UsageError, match="has core columns"):
        Dataset.open_or_create(tmp_path / "core", "full")
    (tmp_path / "core" / "featdex.json").write_text('{"featdex_dataset": 2, "columns": "full"}')
    with pytest.raises(CatalogueError, match="newer featdex"):
        Dataset.open(tmp_path / "core")


def other_path(found: dict[str, Any]) -> None:
    found["files"] = {name.replace("feature/", "../x/"): file for name, file in found["files"].items()}


def other_sae(found: dict[str, Any]) -> None:
    found["files"] = {name.replace("sae=0001", "sae=0002"): file for name, file in found["files"].items()}


HOSTILE: dict[str, Callable[[dict[str, Any]], None]] = {
    "paths outside": other_path,
    "files of another SAE": other_sae,
    "another id": lambda found: found["sae"].update(sae_id=2),
    "no number": lambda found: found["set_ids"].append("1; DROP TABLE tag"),
    "no text": lambda found: found["sae"].update(slug=["x"]),
    "no files": lambda found: found["files"].clear(),
    "a run of nothing": lambda found: found["runs"][0].update(params="[]"),
}


@pytest.mark.parametrize("change", HOSTILE)
def test_a_hostile_manifest_is_one_line(mixed_dataset: Path, change: str) -> None:
    file = mixed_dataset / "manifest" / "sae=0001.json"
    found = json.loads(file.read_text())
    HOSTILE[change](found)
    file.write_text(json.dumps(found))
    with pytest.raises(CatalogueError, match=r"sae=0001\.json is damaged, or no manifest"):
        publish(Dataset.open(mixed_dataset), quiet)


def test_two_manifests_of_one_slug_are_refused(mixed_dataset: Path) -> None:
    found = json.loads((mixed_dataset / "manifest" / "sae=0002.json").read_text())
    found["sae"]["slug"] = "tiny/8-res-jb"
    (mixed_dataset / "manifest" / "sae=0002.json").write_text(json.dumps(found))
    with pytest.raises(CatalogueError, match=r"sae=0001\.json and manifest/sae=0002\.json are both of tiny/8-res-jb"):
        Dataset.open(mixed_dataset).sae_ids()


def test_a_hostile_catalogue_reaches_nothing_else(mixed_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("secret\n1\n")
    for sql in (f"FROM '{tmp_path}/secret.csv'", f"FROM '{mixed_dataset}/../secret.csv'", "FROM 'featdex.json'"):
        with connect(mixed_dataset) as opened, pytest.raises(QueryError, match=r"disabled|No files|Cannot access"):
            opened.sql(sql).fetchall()
    target = mixed_dataset / "x.parquet"
    for sql in (
        f"COPY tag TO '{target}'",
        f"EXPLAIN ANALYZE COPY tag TO '{target}'",
        f"ATTACH '{target}' AS x (READ_WRITE)",
        f"EXPORT DATABASE '{target}'",
        f"PREPARE p AS COPY tag TO '{target}'",
        f"FROM tag; COPY tag TO '{target}'",
    ):
        with connect(mixed_dataset) as opened, pytest.raises(QueryError, match="read-only"):
            opened.sql(sql)
    assert not target.exists()
    with duckdb.connect(str(mixed_dataset / "catalogue.duckdb")) as writer:
        writer.execute("UPDATE dataset_file SET path = 'feature/../../secret.csv' WHERE table_name = 'feature'")
    with pytest.raises(CatalogueError, match="no file of a dataset"):
        connect(mixed_dataset)


def test_writes_through_the_catalogue_are_refused(mixed_dataset: Path, rows_of: Maker) -> None:
    for path in (mixed_dataset, mixed_dataset / "catalogue.duckdb"):
        with pytest.raises(UsageError, match=r"is a dataset.*--to.*pack"):
            write_sae(path, rows_of())
        # As 'sets add' and 'sets rm' do.
        with pytest.raises(UsageError, match="is a dataset"), writing(path):
            pass


def test_notes_are_carried_over(featdex: Run, mixed_dataset: Path, rows_of: Maker, tmp_path: Path) -> None:
    line = {"modelId": "tiny", "layer": "8-res-jb", "index": "3", "description": "names", "typeName": "t"}
    (tmp_path / "x.jsonl").write_text(json.dumps(line) + "\n")
    db = ("--db", str(mixed_dataset))
    assert featdex(*db, "import", "explanations", str(tmp_path / "x.jsonl"))[0] == 0
    add_tag(mixed_dataset, "tiny/8-res-jb/3", "mine", "a note")
    assert featdex(*db, "migrate")[0] == 0
    notes = "SELECT (SELECT list(tag) FROM tag), (SELECT list(text) FROM explanation)"
    with connect(mixed_dataset) as opened:
        assert opened.sql(notes).fetchall() == [(["mine"], ["names"])]
    pack(mixed_dataset, tmp_path / "packed.duckdb", quiet)
    with connect(tmp_path / "packed.duckdb") as opened:
        assert opened.sql(notes).fetchall() == [(["mine"], ["names"])]
    dataset = Dataset.open(mixed_dataset)
    put(dataset, rows_of(n_features=13, seed=9), 1)
    publish(dataset, quiet)
    # Other features: what was said of the old ones goes, the user's own tags stay.
    with connect(mixed_dataset) as opened:
        assert opened.sql(notes).fetchall() == [(["mine"], None)]


def test_unpacking_goes_on_and_refuses_another_catalogue(
    mixed_path: Path, mixed_dataset: Path, small: Path, tmp_path: Path
) -> None:
    (mixed_dataset / "manifest" / "sae=0003.json").unlink()
    (mixed_dataset / "catalogue.duckdb").unlink()
    kept = {
        path: path.stat().st_mtime_ns for path in mixed_dataset.rglob("part-0.parquet") if "sae=0003" not in str(path)
    }
    told: list[str] = []
    unpack(mixed_path, mixed_dataset, told.append)
    assert told[:2] == ["3/4 tiny/3-alt", "3 of 4 SAEs were there"]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    pack(mixed_dataset, tmp_path / "back.duckdb", quiet)
    assert contents(tmp_path / "back.duckdb") == contents(mixed_path)
    with pytest.raises(UsageError, match="name another folder"):
        unpack(small, mixed_dataset, quiet)
    with pytest.raises(UsageError, match="is there already"):
        pack(mixed_dataset, tmp_path / "back.duckdb", quiet)


def test_a_damaged_file_is_one_line_and_no_catalogue(mixed_dataset: Path, tmp_path: Path) -> None:
    part = mixed_dataset / "enrichment" / "sae=0002" / "part-0.parquet"
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(CatalogueError, match="cannot make"):
        pack(mixed_dataset, tmp_path / "packed.duckdb", quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["mixed"]
    with connect(mixed_dataset) as opened:
        faults = {found.check: found for found in examine(opened.connection) if not found.ok}
    assert "bytes; want" in faults["files"].detail


def test_the_doctor_sees_what_the_strongest_rows_lack(mixed_dataset: Path) -> None:
    changes = (
        "DELETE FROM enrichment_top WHERE z > 8",
        "UPDATE enrichment_top SET z = z + 1 WHERE feature = 3",
        "INSERT INTO enrichment_top FROM enrichment_top WHERE feature = 3",
        "DELETE FROM enrichment_cut",
    )
    for change in changes:
        shutil.copy(mixed_dataset / "catalogue.duckdb", mixed_dataset / "kept")
        with duckdb.connect(str(mixed_dataset / "catalogue.duckdb")) as writer:
            writer.execute(change)
        with connect(mixed_dataset) as opened:
            assert not DATASET_CHECKS["strongest rows"](opened.connection).ok, change
        (mixed_dataset / "kept").rename(mixed_dataset / "catalogue.duckdb")
