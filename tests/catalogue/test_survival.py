"""Real faults of disks, rights, bytes and processes: each is one line, and what was whole stays whole."""

from __future__ import annotations

import contextlib
import pickle
import random
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from featdex.catalogue.cli import run
from featdex.catalogue.doctor import examine
from featdex.catalogue.errors import CatalogueError
from featdex.catalogue.file import create, open_reader, writing
from featdex.catalogue.write import SaeRows, write_sae

Maker = Callable[..., SaeRows]

WRITE = """
import pickle, sys
from pathlib import Path
from featdex.catalogue.errors import FeatdexError
from featdex.catalogue.file import create
from featdex.catalogue.write import write_sae
path, *files = map(Path, sys.argv[1:])
print("ready", flush=True)
sys.stdin.readline()
try:
    for file in files:
        create(path)
        write_sae(path, pickle.loads(file.read_bytes()), narrate=print)
except FeatdexError as fault:
    print(fault, file=sys.stderr)
    sys.exit(fault.exit_code)
"""
READ = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
print("reading", flush=True)
sys.stdin.readline()
print(connection.execute("SELECT count(*) FROM sae").fetchall()[0][0])
"""
# Root may write anywhere: what comes after runs without that right.
WITHOUT_PRIVILEGE = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""
TRY_TO_WRITE = """
import sys
from featdex.catalogue.errors import FeatdexError
from featdex.catalogue.file import create, open_reader, writing
open_reader(sys.argv[1]).close()
try:
    with writing(sys.argv[1]) as connection:
        connection.execute("INSERT INTO tag VALUES (1, 3, 'x', NULL, NULL)")
except FeatdexError as fault:
    print(fault, file=sys.stderr)
    sys.exit(fault.exit_code)
"""
LEAVE_A_LOG = """
import os, sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute(sys.argv[2])
os.kill(os.getpid(), 9)
"""
ASK_DAMAGED = """
import sys
from pathlib import Path
from featdex.catalogue.cli import run
for name in sys.argv[1:]:
    for line in (["top", "girls_names"], ["show", "29-mlp/573"], ["q", "coverage"]):
        print("--- code", int(run(["--db", name, *line, "-f", "json"])), flush=True)
"""


def pickled(folder: Path, *saes: SaeRows) -> list[str]:
    files = [folder / f"{sae.sae['slug'].replace('/', '_')}.pickle" for sae in saes]
    for file, sae in zip(files, saes, strict=True):
        file.write_bytes(pickle.dumps(sae))
    return list(map(str, files))


def child(code: str, *arguments: object, largest_file: int | None = None) -> subprocess.Popen[str]:
    """Start a process, which can write no file beyond that size."""

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe, preexec_fn=limit)


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = open_reader(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def faults(path: Path) -> list[str]:
    connection = open_reader(path)
    try:
        return [f"{finding.check}: {finding.detail}" for finding in examine(connection) if not finding.ok]
    finally:
        connection.close()


def test_a_disk_that_is_full_at_any_part_of_a_write(small: Path, tmp_path: Path, rows_of: Maker) -> None:
    more = rows_of("tiny/9-more", 3000, seed=3)
    files = pickled(tmp_path, more)
    grown = Path(shutil.copy(small, tmp_path / "grown.duckdb"))
    write_sae(grown, more)
    before, after = rows(small, "FROM coverage"), rows(grown, "FROM coverage")
    codes = []
    for size in (10_000, 300_000, 1_000_000, small.stat().st_size, grown.stat().st_size - 300_000):
        path = Path(shutil.copy(small, tmp_path / f"full{size}.duckdb"))
        writer = child(WRITE, path, *files, largest_file=size)
        told = writer.communicate("\n")[1]
        codes.append(writer.returncode)
        # What is in the log is written, though the file itself has no room for it yet.
        assert rows(path, "FROM coverage") == (before if writer.returncode else after)
        if writer.returncode:
            assert told == (
                f"cannot write {path}: file too large; make room and run it again, what was there before is whole\n"
            )
            write_sae(path, more)
            assert faults(path) == []
    assert codes.count(1) >= 2
    assert faults(path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("can't mount a small disk here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_real_disk_without_room(small: Path, small_disk: Path, tmp_path: Path, rows_of: Maker) -> None:
    path = Path(shutil.copy(small, small_disk / "small.duckdb"))
    writer = child(WRITE, path, *pickled(tmp_path, rows_of("tiny/9-more", 3000, seed=3)))
    told = writer.communicate("\n")[1]
    assert (writer.returncode, told) == (
        1,
        f"cannot write {path}: no space left on device; make room and run it again, what was there before is whole\n",
    )
    assert faults(path) == []
    assert rows(path, "SELECT count(*) FROM sae") == [(2,)]
    with (small_disk / "filler").open("wb") as filler, contextlib.suppress(OSError):
        filler.write(bytes(10_000_000))
    with pytest.raises(CatalogueError, match="cannot create"):
        create(small_disk / "new.duckdb")
    assert {file.name for file in small_disk.iterdir()} - {"small.duckdb.wal"} == {"filler", "small.duckdb"}


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_can_only_be_read_is_read_and_not_written(scratch: Path, tmp_path: Path, what: str) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", LEAVE_A_LOG, scratch, "INSERT INTO tag VALUES (1, 3, 'x', 'logged', NULL)"], check=False
    )
    assert killed.returncode == -9
    locked = scratch if what == "file" else tmp_path
    mode = locked.stat().st_mode
    locked.chmod(0o444 if what == "file" else 0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_PRIVILEGE, TRY_TO_WRITE, scratch],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        locked.chmod(mode)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    reason = "permission denied; change its rights" if what == "file" else f"the folder {tmp_path}, which takes the log"
    assert f"{scratch} can't be written: {reason}" in done.stderr
    # The log was read, and lost nothing.
    assert rows(scratch, "SELECT note FROM tag") == [("logged",)]


def test_an_empty_file_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "empty.duckdb"
    path.touch()
    assert run(["--db", str(path), "ls"]) == 1
    assert capsys.readouterr().err == (
        f"featdex: {path} is empty, not a catalogue; delete it, or name another file with --db FILE\n"
    )
    with pytest.raises(CatalogueError, match="is empty"), writing(path):
        pass
    assert path.stat().st_size == 0


def test_damaged_bytes_are_a_line_and_never_a_wrong_answer(small: Path, tmp_path: Path) -> None:
    content = small.read_bytes()
    chance = random.Random(0)
    paths = []
    for k in range(24):
        start = chance.randrange(len(content))
        end = len(content) if k % 3 == 0 else start
        broken = content[:start] + chance.randbytes(200) + content[start + 200 :] if end == start else content[:start]
        paths.append(tmp_path / f"broken{k}.duckdb")
        paths[-1].write_bytes(broken)
    whole = subprocess.run([sys.executable, "-c", ASK_DAMAGED, small], capture_output=True, text=True, check=True)
    right = whole.stdout.split("--- code 0\n")[:-1]
    assert len(right) == 3
    done = subprocess.run([sys.executable, "-c", ASK_DAMAGED, *paths], capture_output=True, text=True, check=True)
    answers = re.findall(r"(.*?)--- code (\d)\n", done.stdout, re.DOTALL)
    codes = [code for _, code in answers]
    assert len(answers) == 3 * len(paths)
    assert set(codes) == {"0", "1"}
    # A block that a question does not need may be damaged: then the answer is the right one.
    assert all(answer == right[k % 3] for k, (answer, code) in enumerate(answers) if code == "0")
    told = done.stderr.splitlines()
    assert len(told) == codes.count("1") > len(paths)
    assert all(re.match(r"featdex: .*(damaged|is not a DuckDB file)", line) for line in told), told


def test_two_ingests_at_once_both_end_whole(tmp_path: Path, rows_of: Maker) -> None:
    path = tmp_path / "both.duckdb"
    slugs = [[f"tiny/{k}-{name}" for k in range(3)] for name in ("one", "other")]
    writers = [
        child(WRITE, path, *pickled(tmp_path, *(rows_of(slug, 40, seed=len(slug)) for slug in some))) for some in slugs
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        assert (writer.communicate()[1], writer.returncode) == ("", 0)
    assert rows(path, "SELECT slug FROM sae ORDER BY slug") == sorted((slug,) for some in slugs for slug in some)
    assert faults(path) == []
    assert not list(tmp_path.glob(".*"))


def test_a_write_waits_for_a_reader_and_says_so(scratch: Path, rows_of: Maker) -> None:
    told: list[str] = []
    with child(READ, scratch) as reader:
        assert reader.stdout is not None
        assert reader.stdin is not None
        assert reader.stdout.readline() == "reading\n"
        started = time.monotonic()

        def let_go(line: str) -> None:
            told.append(line)
            assert reader.stdin is not None
            reader.stdin.write("\n")
            reader.stdin.flush()

        write_sae(scratch, rows_of("tiny/9-more", seed=3), wait=30, narrate=let_go)
        assert time.monotonic() - started < 20
        # It read what was there before.
        assert reader.stdout.readline() == "2\n"
    assert len(told) == 1
    assert f"waiting: {scratch} is held by process {reader.pid}" in told[0]
    assert rows(scratch, "SELECT count(*) FROM sae") == [(3,)]


def log_of(path: Path, sql: str) -> bytes:
    """What a killed writer leaves in the log."""
    subprocess.run([sys.executable, "-c", LEAVE_A_LOG, path, sql], check=False)
    log = path.with_name(f"{path.name}.wal")
    content = log.read_bytes()
    log.unlink()
    return content


def test_a_log_that_is_not_its_own_is_one_line(scratch: Path, tmp_path: Path) -> None:
    change = "BEGIN; INSERT INTO tag VALUES (1, 3, 'x', 'logged', NULL); CREATE TABLE mine (i INTEGER); COMMIT"
    log = log_of(Path(shutil.copy(scratch, tmp_path / "mine.duckdb")), change)
    create(tmp_path / "other.duckdb")
    foreign = log_of(tmp_path / "other.duckdb", "CREATE TABLE t (i INT); CHECKPOINT; ALTER TABLE t ADD COLUMN j INT")
    beside = scratch.with_name("scratch.duckdb.wal")
    for content in (log[:70] + bytes(20) + log[90:], foreign):
        beside.write_bytes(content)
        for opening in (open_reader, lambda path: writing(path).__enter__()):
            with pytest.raises(
                CatalogueError, match=r"scratch\.duckdb\.wal, the log of an interrupted write, is damaged"
            ):
                opening(scratch)
        beside.unlink()
        assert faults(scratch) == []
    # What was cut short had not been committed; what is whole had.
    for n_bytes, notes in ((len(log) // 2, []), (len(log), [("logged",)])):
        beside.write_bytes(log[:n_bytes])
        assert rows(scratch, "SELECT note FROM tag") == notes
