"""Opening a catalogue: every way in which it can't be opened is one line and one exit code."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from featdex.catalogue import cli, file
from featdex.catalogue.errors import CatalogueError, ExitCode, FeatdexError, LockedError, QueryError
from featdex.catalogue.file import create, one_line, open_reader, translated, writing

HOLDER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"no catalogue at .*featdex ingest"):
        open_reader(tmp_path / "absent.duckdb")


def test_a_folder_is_no_catalogue(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="is a folder"):
        open_reader(tmp_path)


def test_a_text_file_is_no_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "notes.duckdb"
    path.write_text("notes " * 2000)
    with pytest.raises(CatalogueError, match="is not a DuckDB file"):
        open_reader(path)


def test_a_foreign_duckdb_file_is_no_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "foreign.duckdb"
    duckdb.connect(str(path)).close()
    with pytest.raises(CatalogueError, match="no featdex catalogue"):
        open_reader(path)


def test_a_newer_schema_asks_for_an_upgrade(scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    with pytest.raises(CatalogueError, match=r"has schema 99 .*upgrade featdex"):
        open_reader(scratch)


def test_a_reader_can_neither_write_nor_reach_other_files(small: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a\n1\n")
    connection = open_reader(small)
    for sql in (
        "DELETE FROM feature",
        f"FROM read_csv('{other}')",
        f"COPY meta TO '{tmp_path / 'out.csv'}'",
        f"ATTACH '{tmp_path / 'x.duckdb'}'",
        "SET enable_external_access = true",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(sql)
    connection.close()
    assert not (tmp_path / "out.csv").exists()


def test_another_process_that_writes_is_named(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(scratch)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        started = time.monotonic()
        with pytest.raises(LockedError, match=rf"held by process {holder.pid} .*--wait"):
            open_reader(scratch, wait=0.3)
        assert 0.3 <= time.monotonic() - started < 5
        assert cli.run(["--db", str(scratch), "--wait", "0", "ls"]) == ExitCode.LOCKED
        assert f"process {holder.pid}" in capsys.readouterr().err
        told: list[str] = []
        with pytest.raises(LockedError), writing(scratch, wait=0.3, narrate=told.append):
            pass
        assert len(told) == 1
        holder.communicate("\n")
    open_reader(scratch).close()


def test_a_writer_in_the_same_process_is_told_to_close(scratch: Path) -> None:
    connection = open_reader(scratch)
    with pytest.raises(CatalogueError, match="close that catalogue first"), writing(scratch, wait=0):
        pass
    connection.close()


def test_create_leaves_an_existing_file_alone_and_removes_a_stale_log(scratch: Path, tmp_path: Path) -> None:
    before = scratch.read_bytes()
    create(scratch)
    assert scratch.read_bytes() == before
    fresh = tmp_path / "fresh.duckdb"
    fresh.with_name("fresh.duckdb.wal").write_bytes(b"left by another file")
    create(fresh)
    open_reader(fresh).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh.duckdb", "scratch.duckdb"]


def test_create_in_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="cannot create"):
        create(tmp_path / "absent" / "x.duckdb")


def test_an_error_inside_the_block_changes_nothing(scratch: Path) -> None:
    with pytest.raises(duckdb.Error), writing(scratch) as connection:
        connection.execute("DELETE FROM feature; SELECT error('afterwards')")
    connection = open_reader(scratch)
    assert connection.execute("SELECT count(*) > 0 FROM feature").fetchall() == [(True,)]
    connection.close()


def test_errors_are_one_line_and_keep_the_suggestion() -> None:
    for sql in (
        "SELECT nope FROM (SELECT 1 AS note)",
        "SELECT struct_extract({'abc': 1}, 'abd')",
        "SELCT 1",
        "FROM nope",
    ):
        with pytest.raises(QueryError) as caught, translated():
            duckdb.sql(sql)
        assert "\n" not in str(caught.value)
        assert "LINE" not in str(caught.value)
    assert "abc" in one_line(duckdb.BinderException('Could not find key\n\nCandidate Entries: "abc"\n\nLINE 1: x'))


def test_every_fault_has_its_exit_code() -> None:
    codes = {fault.exit_code for fault in FeatdexError.__subclasses__()}
    assert codes == {ExitCode.FAULT, ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.LOCKED}


def test_the_command_line_waits_as_long_as_python() -> None:
    assert cli._DEFAULT_WAIT == file.DEFAULT_WAIT_SECONDS
