"""A catalogue of schema 1, by its own DDL, is read as it is, and brought up to date whole or not at all."""

from __future__ import annotations

import os
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
from featdex.catalogue.cli import run
from featdex.catalogue.doctor import examine
from featdex.catalogue.errors import CatalogueError, LockedError
from featdex.catalogue.file import create, open_reader, writing
from featdex.catalogue.migrate import Migrated, migrate
from featdex.catalogue.schema import SCHEMA_VERSION
from featdex.catalogue.write import SaeRows, write_sae

SCHEMA_1 = Path(__file__).parents[1] / "data" / "schema_1.sql"
FACTS = {
    "columns": "SELECT table_name, column_name, column_index, data_type, is_nullable, comment FROM duckdb_columns()",
    "tables": "SELECT table_name, comment FROM duckdb_tables()",
    "keys": "SELECT table_name, constraint_type, constraint_column_names FROM duckdb_constraints()",
    "views": "SELECT view_name, comment FROM duckdb_views()",
    "questions": "SELECT function_name, parameters, macro_definition, comment FROM duckdb_functions()",
}
HOLDER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
print("held", flush=True)
sys.stdin.readline()
print(connection.execute("SELECT count(*) FROM feature").fetchall()[0][0])
"""
LEAVE_A_LOG = """
import os, sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("INSERT INTO tag VALUES (1, 3, 'kept', 'in the log', NULL)")
os.kill(os.getpid(), 9)
"""
KILLED_AT_LINES = """
import os, sys
from pathlib import Path
from featdex.catalogue.migrate import migrate

def lines(path, kill_at):
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
    migrate(path)
    sys.settrace(None)
    return n

paths = [Path(name) for name in sys.argv[1:]]
total = int.from_bytes(os.read(0, 4), "little")
if not total:
    print(lines(paths[0], -1))
for k, path in enumerate(paths if total else []):
    if not os.fork():
        lines(path, 1 + k * (total - 1) // (len(paths) - 1))
        os._exit(0)
    assert os.wait()[1] == 9
"""


@pytest.fixture(scope="module")
def made_once(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small catalogue as featdex wrote it with schema 1."""
    path = tmp_path_factory.mktemp("old") / "old.duckdb"
    with duckdb.connect(str(path), config={"storage_compatibility_version": "v1.2.0"}) as connection:
        connection.execute(f"BEGIN; {SCHEMA_1.read_text(encoding='utf-8')}")
        connection.execute(f"ATTACH '{small}' AS today (READ_ONLY)")
        tables = connection.execute(
            "SELECT t.table_name, string_agg('\"' || c.column_name || '\"', ', ' ORDER BY c.column_index)"
            " FROM duckdb_tables() t JOIN duckdb_columns() c USING (database_name, table_name)"
            " WHERE t.database_name = 'old' AND t.table_name <> 'meta' GROUP BY ALL"
        ).fetchall()
        assert len(tables) == 13
        for table, columns in tables:
            connection.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM today.{table}")
        connection.execute("COMMIT")
    return path


@pytest.fixture
def old(made_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made_once, tmp_path / "old.duckdb"))


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def facts(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    return {name: rows(path, f"{sql} WHERE NOT internal ORDER BY ALL") for name, sql in FACTS.items() if name != "keys"}


def keys(path: Path) -> list[tuple[Any, ...]]:
    return rows(path, f"{FACTS['keys']} ORDER BY ALL")


def columns_of(path: Path) -> dict[str, str]:
    sql = "SELECT table_name, string_agg('\"' || column_name || '\"', ', ' ORDER BY column_index) FROM duckdb_columns()"
    named = dict(rows(path, f"{sql} WHERE NOT internal GROUP BY ALL"))
    return {table: named[table] for (table,) in rows(path, "SELECT table_name FROM duckdb_tables()")}


def contents(path: Path, columns: dict[str, str]) -> dict[str, list[tuple[Any, ...]]]:
    """A hash of the rows of every table, in their order, by the columns of schema 1."""
    return {
        table: rows(path, f"SELECT count(*), md5(list(hash(ROW({names})))::VARCHAR) FROM {table}")
        for table, names in columns.items()
        if table != "meta"
    }


def faults(path: Path) -> dict[str, frozenset[str]]:
    connection = open_reader(path)
    try:
        return {finding.check: finding.slugs for finding in examine(connection) if not finding.ok}
    finally:
        connection.close()


def left_beside(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir() if file.name not in (path.name, f"{path.name}.v1"))


def test_a_reader_reads_it_as_it_is(old: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = old.read_bytes()
    assert run(["--db", str(old), "top", "girls_names", "--min-kurtosis", "8", "-n", "1"]) == 0
    assert run(["--db", str(old), "sets", "show", "girls_names"]) == 0
    assert run(["--db", str(old), "show", "29-mlp/573"]) == 0
    assert run(["--db", str(old), "q", "sets_of", "tiny/29-mlp", "573"]) == 0
    assert run(["--db", str(old), "sql", "SELECT count(*), count(licence) FROM token_set", "-f", "jsonl"]) == 0
    out = capfd.readouterr().out
    assert "tiny/8-res-jb,7,15.0" in out
    assert '{"count_star()": 4, "count(licence)": 0}' in out
    assert run(["--db", str(old), "ls", "-f", "csv"]) == 0
    listed = [line.split(",")[0] for line in capfd.readouterr().out.splitlines()[1:]]
    assert listed[-4:] == ["coverage", "enrichments", "features", "top_tokens"]
    assert old.read_bytes() == before


def test_doctor_finds_only_what_schema_1_had_not(old: Path) -> None:
    assert faults(old) == {"correlations": {"tiny/8-res-jb", "tiny/29-mlp"}}


def test_a_writer_says_how_to_bring_it_up_to_date(old: Path, rows_of: Callable[..., SaeRows]) -> None:
    before = old.read_bytes()
    with pytest.raises(CatalogueError, match=r"has schema 1, this featdex writes \d+; 'featdex migrate' "):
        write_sae(old, rows_of())
    assert old.read_bytes() == before


def test_it_becomes_what_a_new_one_is(old: Path, tmp_path: Path) -> None:
    before, columns = old.read_bytes(), columns_of(old)
    held = contents(old, columns)
    assert migrate(old) == Migrated(1, old.with_name("old.duckdb.v1"))
    create(tmp_path / "new.duckdb")
    assert facts(old) == facts(tmp_path / "new.duckdb")
    assert keys(old) == keys(tmp_path / "new.duckdb")
    assert contents(old, columns) == held
    assert old.with_name("old.duckdb.v1").read_bytes() == before
    assert rows(old, "SELECT value FROM meta WHERE key = 'schema_version'") == [(str(SCHEMA_VERSION),)]
    assert rows(old, "SELECT key FROM meta ORDER BY ALL")[1] == ("migrated_from_1",)
    assert left_beside(old) == ["new.duckdb"]
    assert old.read_bytes()[8:24] == (tmp_path / "new.duckdb").read_bytes()[8:24]  # the storage version is as old


def test_it_is_whole_once_its_saes_are_ingested_again(old: Path, written: dict[str, SaeRows]) -> None:
    migrate(old)
    assert faults(old) == {"correlations": {"tiny/8-res-jb", "tiny/29-mlp"}}
    for sae in written.values():
        write_sae(old, sae)
    assert faults(old) == {}


def test_the_command_tells_what_it_did(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--db", str(old), "migrate"]) == 0
    told = capsys.readouterr().err
    assert told.startswith(f"{old} has schema {SCHEMA_VERSION} now, {old}.v1 is as it was with schema 1; ")
    after = old.with_name("old.duckdb.v1").read_bytes()
    assert run(["--db", str(old), "migrate"]) == 0
    assert f"has schema {SCHEMA_VERSION} already" in capsys.readouterr().err
    assert old.with_name("old.duckdb.v1").read_bytes() == after
    assert left_beside(old) == []


def test_one_of_schema_2_gets_the_names_of_directions(scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("DROP VIEW features; ALTER TABLE feature DROP COLUMN label")
        connection.execute("UPDATE meta SET value = '2' WHERE key = 'schema_version'")
    assert migrate(scratch) == Migrated(2, scratch.with_name(f"{scratch.name}.v2"))
    assert rows(scratch, "SELECT count(*), count(label) FROM features") == [(592, 0)]
    assert faults(scratch) == {}


def test_a_question_that_was_lost_comes_back(scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("DROP MACRO TABLE enriched_for; CREATE MACRO my_own() AS TABLE SELECT 1 AS one")
    assert migrate(scratch) is None
    assert rows(scratch, "FROM enriched_for('girls_names', n := 1)")
    assert rows(scratch, "FROM my_own()") == [(1,)]


def test_a_column_that_came_without_a_new_version_is_added(scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("DROP VIEW features; ALTER TABLE feature DROP COLUMN label")
    done = migrate(scratch)
    assert done is not None
    assert done.kept.name == f"scratch.duckdb.v{SCHEMA_VERSION}"
    assert rows(scratch, "SELECT count(*), count(label) FROM feature") == [(592, 0)]
    assert faults(scratch) == {}


def test_a_newer_one_is_refused(scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    with pytest.raises(CatalogueError, match="upgrade featdex"):
        migrate(scratch)


def test_a_kept_copy_is_never_overwritten(old: Path) -> None:
    old.with_name("old.duckdb.v1").write_text("mine")
    before = old.read_bytes()
    with pytest.raises(CatalogueError, match=r"old\.duckdb\.v1 is there already; move it away"):
        migrate(old)
    assert old.read_bytes() == before
    assert old.with_name("old.duckdb.v1").read_text() == "mine"
    assert left_beside(old) == []


def test_a_file_system_without_links_keeps_a_copy(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    before = old.read_bytes()
    assert migrate(old) is not None
    assert old.with_name("old.duckdb.v1").read_bytes() == before
    assert left_beside(old) == []


def test_what_a_killed_writer_left_in_the_log_is_kept(old: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", LEAVE_A_LOG, str(old)], check=False)
    assert killed.returncode == -9
    assert old.with_name("old.duckdb.wal").stat().st_size
    migrate(old)
    assert rows(old, "SELECT note FROM tag") == rows(old.with_name("old.duckdb.v1"), "SELECT note FROM tag")
    assert rows(old, "SELECT note FROM tag") == [("in the log",)]
    assert left_beside(old) == []


def test_readers_go_on_and_writers_are_waited_for(old: Path) -> None:
    for mode in ("read", "write"):
        command = [sys.executable, "-c", HOLDER, str(old), mode]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            if mode == "read":
                assert migrate(old) is not None
            else:
                with pytest.raises(LockedError, match=f"held by process {holder.pid}"):
                    migrate(old, wait=0.2)
            assert holder.communicate("\n")[0] == "592\n"


def test_a_full_disk_changes_nothing(old: Path) -> None:
    before = old.read_bytes()
    # The copy fits and its new tables do not; and half of the copy fits.
    for size in (len(before) + 200_000, len(before) // 2):
        limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))
        done = subprocess.run(
            [sys.executable, "-c", "from featdex.catalogue.cli import main; main()", "--db", str(old), "migrate"],
            preexec_fn=limit,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "file too large; make room and run it again, what was there before is whole" in done.stderr
        assert old.read_bytes() == before
        assert left_beside(old) == []


def test_killed_at_any_line_it_opens_and_can_be_migrated(old: Path, tmp_path: Path) -> None:
    folders = [tmp_path / f"{k}" for k in range(8)]
    for folder in folders:
        folder.mkdir()
        shutil.copy(old, folder / "old.duckdb")
    columns, before = columns_of(old), old.read_bytes()
    held = contents(old, columns)
    command = [sys.executable, "-c", KILLED_AT_LINES]
    counted = subprocess.run([*command, str(old)], input=bytes(4), capture_output=True, check=True)
    total = int(counted.stdout)
    assert total > 300
    paths = [folder / "old.duckdb" for folder in folders]
    subprocess.run([*command, *map(str, paths)], input=total.to_bytes(4, "little"), check=True)
    versions = []
    for path in paths:
        open_reader(path).close()
        versions += rows(path, "SELECT value FROM meta WHERE key = 'schema_version'")
        migrate(path)
        assert contents(path, columns) == held
        assert path.with_name("old.duckdb.v1").read_bytes() == before
        with writing(path) as connection:
            connection.execute("INSERT INTO tag VALUES (1, 3, 'new', NULL, NULL)")
    # Killed before the first line, and at the last.
    assert (versions[0], versions[-1]) == (("1",), (str(SCHEMA_VERSION),))
