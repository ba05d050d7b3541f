"""Several catalogues become the one that a single file would have become; and never a half one, nor a changed input."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from featdex.catalogue.doctor import examine
from featdex.catalogue.errors import CatalogueError, FeatdexError, LockedError, UsageError
from featdex.catalogue.file import create, open_reader
from featdex.catalogue.merge import Merged, merge
from featdex.catalogue.notes import add_tag
from featdex.catalogue.tables import TABLES
from featdex.catalogue.write import SaeRows, write_sae

Maker = Callable[..., SaeRows]
Featdex = Callable[..., tuple[int, str, str]]

SCHEMA_1 = Path(__file__).parents[1] / "data" / "schema_1.sql"
GIRLS, BOYS, DIGITS = [0, 1, 2, 30, 31], [32, 33], [24, 40, 41]
OLD = {"girls_names": GIRLS, "digits": DIGITS}
NEW = {"girls_names": [0, 1], "digits": DIGITS, "boys_names": BOYS}
# Every table by names instead of ids, and sets by their members: what is left when ids and names of versions differ.
BY_NAME = {
    "model": "SELECT * EXCLUDE (model_id) FROM model",
    "token": "SELECT m.name AS model, t.* EXCLUDE (model_id) FROM token t JOIN model m USING (model_id)",
    "sae": "SELECT m.name AS model, s.* EXCLUDE (sae_id, model_id) FROM sae s JOIN model m USING (model_id)",
    "token_set": "SELECT m.name AS model, t.* EXCLUDE (set_id, model_id, name), split_part(t.name, '@', 1)"
    " FROM token_set t JOIN model m USING (model_id)",
    "member": "SELECT t.members_sha256, i.token_id FROM token_set_member i JOIN token_set t USING (set_id)",
    "dropped": "SELECT t.members_sha256, d.* EXCLUDE (set_id) FROM token_set_dropped d JOIN token_set t USING (set_id)",
    "set_correlation": "SELECT s.slug, t.members_sha256, o.members_sha256, c.r FROM set_correlation c"
    " JOIN sae s USING (sae_id) JOIN token_set t USING (set_id) JOIN token_set o ON o.set_id = c.other_id",
    "run": "SELECT s.slug, r.* EXCLUDE (run_id, sae_id) FROM run r JOIN sae s USING (sae_id)",
} | {
    table: f"SELECT s.slug, x.* EXCLUDE (sae_id) FROM {table} x JOIN sae s USING (sae_id)"
    for table in ("feature", "feature_token", "explanation", "tag")
} | {
    table: f"SELECT s.slug, t.members_sha256, x.* EXCLUDE (sae_id, set_id) FROM {table} x"
    " JOIN sae s USING (sae_id) JOIN token_set t USING (set_id)"
    for table in ("enrichment", "set_null", "set_summary")
}  # fmt: skip
HOLDER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
print("held", flush=True)
sys.stdin.readline()
print(connection.execute("SELECT count(*) FROM sae").fetchall()[0][0])
"""
COMMAND = "from featdex.catalogue.cli import main; main()"
KILLED_AT_LINES = """
import os, sys
from pathlib import Path
from featdex.catalogue.merge import merge

def lines(inputs, output, kill_at):
    n = 0

    def count(frame, event, arg):
        nonlocal n
        if "featdex/catalogue" not in frame.f_code.co_filename:
            return None
        n += event == "line"
        if n == kill_at:
            os.kill(os.getpid(), 9)
        return count

    sys.settrace(count)
    merge(inputs, output)
    sys.settrace(None)
    return n

first, second, folder, n_kills = *map(Path, sys.argv[1:4]), int(sys.argv[4])
lines([first, second], folder / "w.duckdb", -1)
total = lines([first, second], folder / "n.duckdb", -1)
for k in range(n_kills):
    if not os.fork():
        lines([first, second], folder / f"{k}.duckdb", 1 + k * (total - 1) // (n_kills - 1))
        os._exit(0)
    assert os.wait()[1] == 9
"""


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = open_reader(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables in their stored order, but for the facts of the file itself."""
    return {table.name: query(path, f"FROM {table.name}") for table in TABLES if table.name != "meta"}


def by_name(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    return {table: query(path, f"{sql} ORDER BY ALL") for table, sql in BY_NAME.items()}


def faults(path: Path) -> list[str]:
    connection = open_reader(path)
    try:
        return [f"{finding.check}: {finding.detail}" for finding in examine(connection) if not finding.ok]
    finally:
        connection.close()


def catalogue_of(path: Path, *saes: SaeRows) -> Path:
    create(path)
    for rows in saes:
        write_sae(path, rows)
    return path


def change(path: Path, *statements: str) -> Path:
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)
    return path


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, rows_of: Maker) -> list[Path]:
    """Catalogues that share a model, an SAE, sets of other members, tags and explanations: for reading only."""
    folder = tmp_path_factory.mktemp("three")
    shared = rows_of("tiny/1-shared", 15, seed=1, members=OLD)
    other = rows_of("other/0-res", 20, seed=5, model="other", members={"girls_names": [5, 6], "digits": DIGITS})
    first = catalogue_of(folder / "a.duckdb", rows_of("tiny/2-a", 20, seed=2, members=OLD), shared)
    # The set of two members comes and goes, so that ids have gaps and one name is retired.
    second = catalogue_of(
        folder / "b.duckdb",
        other,
        rows_of("tiny/3-b", 12, seed=3, members=OLD),
        rows_of("tiny/4-b", 12, seed=4, members=NEW),
    )
    third = catalogue_of(folder / "c.duckdb", rows_of("tiny/5-c", 9, seed=6, members=NEW), shared, other)
    for path, address, note in (
        (first, "tiny/1-shared/3", "one"),
        (third, "tiny/1-shared/3", "two\nlines"),
        (third, "tiny/1-shared/4", None),
        (second, "tiny/3-b/3", "three"),
    ):
        add_tag(path, address, "names", note)
    for path in (first, third):
        for text in ("in all", f"in {path.name}"):
            change(
                path,
                f"INSERT INTO explanation SELECT sae_id, 5, '{text}', 'm', 'x', NULL, 'f' FROM sae"
                " WHERE slug = 'tiny/1-shared'",
            )
    change(second, "UPDATE tag SET created_at = '2020-01-01'")
    return [first, second, third]


def test_two_parts_are_what_one_ingest_writes(tmp_path: Path, rows_of: Maker) -> None:
    saes = [rows_of(f"tiny/{k}-res", 20 + k, seed=k, members=OLD if k < 3 else NEW) for k in range(5)]
    saes.append(rows_of("other/0-res", 25, planted=4, seed=9, model="other", members={"girls_names": [5, 6]}))
    whole = catalogue_of(tmp_path / "whole.duckdb", *saes)
    parts = [catalogue_of(tmp_path / f"{start}.duckdb", *saes[start:stop]) for start, stop in ((0, 2), (2, 4), (4, 6))]
    before = [path.read_bytes() for path in parts]
    told: list[str] = []
    done = merge(parts, tmp_path / "merged.duckdb", narrate=told.append)
    assert done == Merged(6, 2, 5, [])
    assert told == [f"{path}: 2 SAEs" for path in parts]
    merged = contents(tmp_path / "merged.duckdb")
    expected = contents(whole)
    assert len(expected["enrichment"]) == 2 * 20 + 2 * 21 + 2 * 22 + 3 * 23 + 3 * 24 + 25
    # A set that got another name lies last in the file of an ingest.
    expected["token_set"].sort()
    assert [row[2].split("@")[0] for row in expected["token_set"]] == [
        "girls_names", "digits", "girls_names", "boys_names", "girls_names",
    ]  # fmt: skip
    assert merged == expected
    assert faults(tmp_path / "merged.duckdb") == []
    assert [path.read_bytes() for path in parts] == before
    assert query(tmp_path / "merged.duckdb", "SELECT value FROM meta WHERE key = 'merged_from'") == [
        ("0.duckdb, 2.duckdb, 4.duckdb",)
    ]
    # Made as every catalogue is: of the same storage version, with the same keys.
    assert (tmp_path / "merged.duckdb").read_bytes()[8:24] == whole.read_bytes()[8:24]
    keys = "SELECT table_name, constraint_type, constraint_column_names FROM duckdb_constraints() ORDER BY ALL"
    assert query(tmp_path / "merged.duckdb", keys) == query(whole, keys)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in [*parts, whole, tmp_path / "merged.duckdb"]
    )


def test_one_alone_stays_what_it_is(tmp_path: Path, three: list[Path], rows_of: Maker) -> None:
    replaced = Path(shutil.copy(three[1], tmp_path / "replaced.duckdb"))
    write_sae(replaced, rows_of("tiny/3-b", 10, seed=8, members=OLD))
    change(replaced, "INSERT INTO tag SELECT 2, 7, 'blank', '', NULL")
    merge([replaced], tmp_path / "alone.duckdb")
    before, after = contents(replaced), contents(tmp_path / "alone.duckdb")
    # An SAE that was computed again lies last in its file, and by its id in the new one.
    assert {name: sorted(rows, key=repr) for name, rows in after.items()} == {
        name: sorted(rows, key=repr) for name, rows in before.items()
    }
    assert [row[0] for row in after["feature"]] == sorted(row[0] for row in before["feature"])


def test_the_order_changes_ids_and_which_version_has_the_name(tmp_path: Path, three: list[Path]) -> None:
    results = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        path = tmp_path / f"{order}.duckdb"
        merge([three[k] for k in order], path)
        found = by_name(path)
        found["tag"] = [(*row[:3], set((row[3] or "").split("\n")), row[4]) for row in found["tag"]]
        results.append(found)
        names = query(path, "SELECT t.name FROM token_set t JOIN model USING (model_id) WHERE model.name = 'tiny'")
        assert {(name,) for name in ("girls_names", "digits", "boys_names")} < set(names)
        assert len(names) == 4
    assert faults(path) == []
    assert all(found == results[0] for found in results)
    assert [len(results[0][table]) for table in ("sae", "model", "explanation", "tag")] == [6, 2, 3, 3]


def test_in_steps_it_is_what_it_is_at_once(tmp_path: Path, three: list[Path]) -> None:
    at_once, left, right = (tmp_path / f"{name}.duckdb" for name in ("at_once", "left", "right"))
    merge(three, at_once)
    merge(three[:2], tmp_path / "ab.duckdb")
    merge([tmp_path / "ab.duckdb", three[2]], left)
    assert contents(left) == contents(at_once)
    merge(three[1:], tmp_path / "bc.duckdb")
    merge([three[0], tmp_path / "bc.duckdb"], right)
    assert by_name(right) == by_name(at_once)
    # What is there already adds nothing.
    merge([at_once, *three], tmp_path / "again.duckdb")
    expected = contents(at_once)
    again = contents(tmp_path / "again.duckdb")
    assert [(name, rows) for name, rows in again.items() if name not in ("token_set", "tag")] == [
        (name, rows) for name, rows in expected.items() if name not in ("token_set", "tag")
    ]
    assert sorted(again["tag"], key=repr) == sorted(expected["tag"], key=repr)


def test_tags_and_explanations_join(tmp_path: Path, three: list[Path]) -> None:
    path = tmp_path / "all.duckdb"
    assert merge(three, path).n_saes == 6
    tags = query(path, "SELECT s.slug, t.feature, t.note FROM tag t JOIN sae s USING (sae_id) ORDER BY ALL")
    assert tags == [
        ("tiny/1-shared", 3, "one\ntwo\nlines"),
        ("tiny/1-shared", 4, None),
        ("tiny/3-b", 3, "three"),
    ]
    assert query(path, "SELECT text FROM explanation ORDER BY ALL") == [("in a.duckdb",), ("in all",), ("in c.duckdb",)]
    assert query(path, "SELECT min(created_at)::DATE::VARCHAR FROM tag") == [("2020-01-01",)]


def test_what_two_computed_differently_is_refused(tmp_path: Path, rows_of: Maker) -> None:
    first = catalogue_of(tmp_path / "a.duckdb", rows_of("tiny/8-x", 12, seed=1), rows_of("tiny/9-y", 12, seed=2))
    others = {
        "other weights, other parameters or sets": rows_of("tiny/8-x", 12, seed=7),
        "other parameters or sets, results of other sets": rows_of("tiny/8-x", 12, seed=1, members=OLD),
        "another Neuronpedia id": rows_of("tiny/8-x", 12, seed=1, density=False),
    }
    for k, (reason, rows) in enumerate(others.items()):
        second = catalogue_of(tmp_path / f"b{k}.duckdb", rows)
        with pytest.raises(CatalogueError) as refused:
            merge([first, second], tmp_path / "out.duckdb")
        assert str(refused.value).startswith(f"different results of tiny/8-x in {first} and {second} ({reason}); ")
        assert "--keep-first" in str(refused.value)
    assert not list(tmp_path.glob("*out*"))
    assert not list(tmp_path.glob(".*"))
    merge([first, second, tmp_path / "b0.duckdb"], tmp_path / "out.duckdb", keep_first=True)
    assert by_name(tmp_path / "out.duckdb") == by_name(first)
    merge([tmp_path / "b0.duckdb", first], tmp_path / "back.duckdb", keep_first=True)
    sql = "SELECT e.* EXCLUDE (sae_id, set_id) FROM enrichment e JOIN sae s USING (sae_id) WHERE slug = 'tiny/8-x'"
    assert query(tmp_path / "back.duckdb", sql) == query(tmp_path / "b0.duckdb", sql)
    assert faults(tmp_path / "back.duckdb") == []
    both = catalogue_of(tmp_path / "both.duckdb", rows_of("tiny/8-x", seed=3), rows_of("tiny/9-y", seed=3))
    with pytest.raises(CatalogueError, match=r"tiny/8-x in .* and 1 more SAEs; ingest"):
        merge([first, both], tmp_path / "out2.duckdb")


def test_explanations_of_another_neuronpedia_id_stay_behind(tmp_path: Path, rows_of: Maker) -> None:
    paths = [
        catalogue_of(tmp_path / f"{name}.duckdb", rows_of("tiny/8-x", seed=1, density=density))
        for name, density in (("a", True), ("b", False))
    ]
    for path in paths:
        change(path, "INSERT INTO explanation VALUES (1, 3, 'said', 'm', 'x', 1, 'f')")
    change(paths[1], "UPDATE explanation SET text = 'of another id'")
    told: list[str] = []
    merge(paths, tmp_path / "out.duckdb", keep_first=True, narrate=told.append)
    assert query(tmp_path / "out.duckdb", "SELECT text FROM explanation") == [("said",)]
    assert told[1] == (
        f"{paths[1]}: 0 SAEs, 1 more taken from a catalogue before it, 1 explanations left out, of SAEs with another"
        " Neuronpedia id or size there"
    )


def test_a_model_of_other_weights_is_refused(tmp_path: Path, rows_of: Maker) -> None:
    first = catalogue_of(tmp_path / "a.duckdb", rows_of())
    second = catalogue_of(tmp_path / "b.duckdb", rows_of("tiny/9-y"))
    change(second, "UPDATE model SET unembed_sha256 = 'other'")
    with pytest.raises(CatalogueError, match=r"hold different models under the name 'tiny'; .*--model-name"):
        merge([first, second], tmp_path / "out.duckdb")
    assert not (tmp_path / "out.duckdb").exists()


def test_a_set_that_was_never_tested_gives_way_and_is_named(tmp_path: Path, rows_of: Maker) -> None:
    first = catalogue_of(tmp_path / "a.duckdb", rows_of(members=OLD))
    change(
        first,
        "INSERT INTO token_set SELECT 9, model_id, 'mine', * EXCLUDE (set_id, model_id, name) FROM token_set"
        " WHERE name = 'digits'",
        "INSERT INTO token_set_member SELECT 9, token_id FROM token_set_member WHERE set_id = 2",
        "INSERT INTO token_set_dropped SELECT 9, term, reason FROM token_set_dropped WHERE set_id = 2",
    )
    second = catalogue_of(tmp_path / "b.duckdb", rows_of("tiny/9-y", members={"mine": [3, 4]}))
    names = "SELECT name, n_tokens FROM token_set ORDER BY ALL"
    assert merge([first, second], tmp_path / "out.duckdb").left_out == [f"mine of {first}"]
    assert query(tmp_path / "out.duckdb", names) == [("digits", 3), ("girls_names", 5), ("mine", 2)]
    assert merge([second, first], tmp_path / "back.duckdb").left_out == []
    retired = query(second, "SELECT 'mine@' || members_sha256[:8] FROM token_set")[0][0]
    assert (retired, 2) in query(tmp_path / "back.duckdb", names)
    assert ("mine", 3) in query(tmp_path / "back.duckdb", names)
    assert faults(tmp_path / "back.duckdb") == []


def test_what_can_not_be_merged_is_one_line(tmp_path: Path, small: Path) -> None:
    (tmp_path / "text.duckdb").write_text("notes " * 2000)
    (tmp_path / "taken.duckdb").write_text("mine")
    duckdb.connect(str(tmp_path / "foreign.duckdb")).close()
    old = tmp_path / "old.duckdb"
    with duckdb.connect(str(old)) as connection:
        connection.execute(SCHEMA_1.read_text(encoding="utf-8"))
    copies = {
        name: Path(shutil.copy(small, tmp_path / f"{name}.duckdb")) for name in ("newer", "view", "holes", "lack")
    }
    change(copies["newer"], "UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    change(
        copies["view"],
        "ALTER TABLE enrichment RENAME TO rows_of",
        f"CREATE VIEW enrichment AS FROM rows_of, (SELECT content FROM read_text('{tmp_path}/text.duckdb'))",
    )
    change(copies["holes"], "DELETE FROM token_set WHERE set_id = 2")
    change(copies["lack"], "DROP VIEW features", "ALTER TABLE feature DROP COLUMN label")
    out = tmp_path / "out.duckdb"
    cases: list[tuple[list[Path], Path, type[FeatdexError], str]] = [
        ([small, tmp_path / "absent.duckdb"], out, CatalogueError, "no catalogue at "),
        ([small, tmp_path], out, CatalogueError, "is a folder"),
        ([small, tmp_path / "text.duckdb"], out, CatalogueError, "is not a DuckDB file"),
        ([small, tmp_path / "foreign.duckdb"], out, CatalogueError, "no featdex catalogue"),
        ([small, old], out, CatalogueError, r"has schema 1, this featdex merges \d+; 'featdex migrate' "),
        ([small, copies["lack"]], out, CatalogueError, "'featdex migrate' "),
        ([small, copies["newer"]], out, CatalogueError, r"has schema 99 .*upgrade featdex"),
        ([small, copies["view"]], out, CatalogueError, "is the catalogue of a dataset"),
        ([small, copies["holes"]], out, CatalogueError, "see 'featdex doctor'"),
        ([small, tmp_path / "." / "small.duckdb"], out, CatalogueError, "no catalogue at"),
        ([small, small], out, UsageError, "is named twice"),
        ([small], tmp_path / "taken.duckdb", CatalogueError, "is there already; name another file"),
        ([small], tmp_path / "no" / "out.duckdb", CatalogueError, "there is no folder"),
    ]
    before = sorted(tmp_path.rglob("*"))
    for inputs, output, kind, line in cases:
        with pytest.raises(kind, match=line) as refused:
            merge(inputs, output)
        assert "\n" not in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "taken.duckdb").read_text() == "mine"


def test_damage_in_an_input_names_it(tmp_path: Path, small: Path, rows_of: Maker) -> None:
    damaged = catalogue_of(tmp_path / "damaged.duckdb", rows_of("tiny/9-y", 3000, seed=4))
    content = damaged.read_bytes()
    middle = len(content) // 2
    damaged.write_bytes(content[:middle] + os.urandom(300_000) + content[middle + 300_000 :])
    with pytest.raises(CatalogueError, match=rf"^{re.escape(str(damaged))} is damaged: .*take another copy"):
        merge([small, damaged], tmp_path / "out.duckdb")
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.duckdb"]


def test_readers_go_on_and_writers_are_waited_for(tmp_path: Path, scratch: Path, three: list[Path]) -> None:
    for mode in ("read", "write"):
        command = [sys.executable, "-c", HOLDER, str(scratch), mode]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            if mode == "read":
                assert merge([three[0], scratch], tmp_path / "out.duckdb").n_saes == 4
            else:
                told: list[str] = []
                with pytest.raises(LockedError, match=f"{scratch} is held by process {holder.pid}"):
                    merge([three[0], scratch], tmp_path / "out2.duckdb", wait=0.2, narrate=told.append)
                assert [line.startswith("waiting: ") for line in told] == [True]
            assert holder.communicate("\n")[0] == "2\n"
    assert not (tmp_path / "out2.duckdb").exists()


def test_what_the_log_of_an_input_holds_comes_along(tmp_path: Path, scratch: Path) -> None:
    insert = "INSERT INTO tag VALUES (1, 3, 'kept', 'in the log', NULL)"
    code = "import os, sys, duckdb; c = duckdb.connect(sys.argv[1]); c.execute(sys.argv[2]); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(scratch), insert], check=False)
    log = scratch.with_name(f"{scratch.name}.wal")
    before = log.read_bytes()
    merge([scratch], tmp_path / "out.duckdb")
    assert query(tmp_path / "out.duckdb", "SELECT note FROM tag") == [("in the log",)]
    assert log.read_bytes() == before


def test_a_full_disk_leaves_nothing(tmp_path: Path, small: Path) -> None:
    before = small.read_bytes()
    for size in (100_000, len(before) // 2):
        limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "merge", str(small), "-o", str(tmp_path / "out.duckdb")],
            preexec_fn=limit,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.removeprefix(f"{small}: 2 SAEs\n") == (
            f"featdex: cannot write {tmp_path / 'out.duckdb'}: file too large; make room and run it again, what was"
            " there before is whole\n"
        )
    assert list(tmp_path.iterdir()) == []
    assert small.read_bytes() == before


def test_killed_at_any_line_the_name_is_free_or_the_whole_has_it(tmp_path: Path, three: list[Path]) -> None:
    first, second, _ = three
    before = [first.read_bytes(), second.read_bytes()]
    n_kills = 10
    command = [sys.executable, "-c", KILLED_AT_LINES, str(first), str(second), str(tmp_path), str(n_kills)]
    subprocess.run(command, check=True)
    expected = contents(tmp_path / "n.duckdb")
    whole = [(tmp_path / f"{k}.duckdb").exists() for k in range(n_kills)]
    assert (whole[0], whole[-1]) == (False, True)
    assert len(list(tmp_path.glob(".*.merge"))) > 3
    for k in range(n_kills):
        if not whole[k]:
            merge([first, second], tmp_path / f"{k}.duckdb")
        assert contents(tmp_path / f"{k}.duckdb") == expected
    assert [first.read_bytes(), second.read_bytes()] == before
    # What the killed ones left went with the next run.
    left = {path.name for path in tmp_path.iterdir() if path.name.startswith(".")}
    assert left <= {path.name for path in tmp_path.glob(f".{n_kills - 1}.duckdb.*")}


def test_what_another_merge_works_on_stays(tmp_path: Path, small: Path) -> None:
    working = tmp_path / ".out.duckdb.1.merge"
    left = tmp_path / ".out.duckdb.2.merge"
    for path in (working, left):
        create(path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(working), "write"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        merge([small], tmp_path / "out.duckdb")
        assert (working.exists(), left.exists()) == (True, False)
        holder.communicate("\n")


def test_the_command(tmp_path: Path, small: Path, three: list[Path], featdex: Featdex) -> None:
    out = tmp_path / "out.duckdb"
    code, told, err = featdex("merge", str(three[0]), str(three[2]), "-o", str(out))
    assert (code, told) == (0, "")
    assert err.splitlines() == [
        f"{three[0]}: 2 SAEs",
        f"{three[2]}: 2 SAEs, 1 more taken from a catalogue before it",
        f"wrote {out}: 4 SAEs, 2 models, 6 token sets",
    ]
    assert featdex("--db", str(out), "top", "girls_names", "-n", "1")[0] == 0
    assert featdex("merge", str(small)) == (
        2,
        "",
        "featdex: Missing option '--output' / '-o' (see 'featdex merge --help')\n",
    )
    code, _, err = featdex("merge", str(small), "-o", str(out))
    assert (code, err) == (
        1,
        f"featdex: {out} is there already; name another file for the result, or move it away\n",
    )
