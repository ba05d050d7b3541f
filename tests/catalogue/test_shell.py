"""The shell: statements of several lines, faults that end nothing at a prompt, and nothing beyond the catalogue."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from featdex.catalogue.shell import ROWS_SHOWN, is_complete

FEATDEX = [sys.executable, "-c", "from featdex.catalogue.cli import main; main()"]


def script(path: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [*FEATDEX, "--db", str(path), "shell", *options]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("SELECT 1;", True),
        ("SELECT 1", False),
        ("SELECT ';", False),
        ("SELECT ';'", False),
        ("SELECT ';';", True),
        ("SELECT 'it''s;';", True),
        ('SELECT ";";', True),
        ('SELECT ";', False),
        ("SELECT 1; -- ;", True),
        ("SELECT 1 -- ;", False),
        ("SELECT 1 /* ; */", False),
        ("SELECT 1 /* ;", False),
        ("SELECT $$ ; $$;", True),
        ("SELECT $a$ ; $$ ;", False),
        ("SELECT 1\n;\n", True),
    ],
)
def test_where_a_statement_ends(text: str, whole: bool) -> None:
    assert is_complete(text) is whole


def test_a_script_is_answered_in_order(small: Path) -> None:
    done = script(small, "SELECT 1 AS one;\n\nSELECT\n  ';' AS two; SELECT 3 AS three;\nSELECT 4 AS four", "-f", "csv")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\n1\ntwo\n;\nthree\n3\nfour\n4\n", "")


def test_a_script_ends_at_its_first_fault(small: Path) -> None:
    done = script(small, "SELECT 1 AS one;\nSELECT nope;\nSELECT 2;\n")
    assert (done.returncode, done.stdout) == (1, "one\n1\n")
    assert re.fullmatch(r'featdex: Referenced column "nope" .*\n', done.stderr)


def test_dot_commands(small: Path) -> None:
    done = script(small, ".format jsonl\nSELECT 1 AS one;\n.ls coverage\n.exit\nSELECT 2;\n")
    assert done.returncode == 0
    assert done.stdout.startswith('{"one": 1}\ncoverage\n\nWhat the catalogue holds')
    assert script(small, ".nope\n").stderr == "featdex: no command '.nope'; .help lists them\n"
    assert script(small, ".format parquet\n").returncode == 2
    assert ".format FORMAT" in script(small, ".help").stdout


def test_it_reaches_nothing_else_and_writes_nothing(small: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for sql in (f"FROM '{secret}'", f"COPY meta TO '{tmp_path / 'out'}'", "DELETE FROM tag", "SET threads = 1"):
        done = script(small, f"{sql};\n")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    # A table of one's own is in memory.
    assert script(small, "CREATE TEMP TABLE t AS SELECT 5 AS a;\nFROM t;\n").stdout.endswith("a\n5\n")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["secret.csv"]


class Terminal:
    """A featdex shell on a pseudo-terminal."""

    def __init__(self, path: Path) -> None:
        self._leader, follower = pty.openpty()
        environment = {**os.environ, "TERM": "dumb", "COLUMNS": "100", "LINES": "50"}
        self.process = subprocess.Popen(
            [*FEATDEX, "--db", str(path), "shell"],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=environment,
            start_new_session=True,
            # Where tests run in the background, an interrupt is ignored, and a child would ignore it too.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        os.close(follower)

    def interrupt_until(self, ending: str) -> None:
        """Press Ctrl-C until it prints that: readline loses one that comes between its prompt and its wait for keys."""
        text = ""
        for _ in range(60):
            self.process.send_signal(signal.SIGINT)
            while select.select([self._leader], [], [], 2)[0] and not text.endswith(ending):
                text += os.read(self._leader, 65536).decode().replace("\r", "")
            if text.endswith(ending):
                return
        raise AssertionError(text)

    def until(self, ending: str, seconds: float = 120) -> str:
        """What it prints until that ending."""
        text = ""
        deadline = time.monotonic() + seconds
        while not text.endswith(ending):
            assert time.monotonic() < deadline, text
            if select.select([self._leader], [], [], 0.2)[0]:
                text += os.read(self._leader, 65536).decode().replace("\r", "")
        return text

    def type(self, line: str) -> None:
        os.write(self._leader, f"{line}\n".encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._leader)


@pytest.fixture
def terminal(small: Path) -> Iterator[Terminal]:
    opened = Terminal(small)
    yield opened
    opened.close()


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a Unix thing")
def test_a_session_at_a_terminal(terminal: Terminal) -> None:
    assert "read-only; .help for help" in terminal.until("featdex> ")
    terminal.type("SELECT nope;")
    assert 'featdex: Referenced column "nope"' in terminal.until("featdex> ")
    terminal.type("SELECT 1 AS one,")
    terminal.until("...> ")
    terminal.type("2 AS two;")
    assert "one  two\n───  ───\n  1    2\n" in terminal.until("featdex> ")
    terminal.type(f"SELECT i AS n FROM range({ROWS_SHOWN + 1}) t(i);")
    shown = terminal.until("featdex> ")
    assert f"\n{ROWS_SHOWN - 1}\nthe first {ROWS_SHOWN} rows" in shown
    terminal.type("SELECT count(*) FROM range(100000000) a, range(100000) b WHERE a.range + b.range = -1;")
    time.sleep(1.5)
    terminal.process.send_signal(signal.SIGINT)
    assert "stopped" in terminal.until("featdex> ")
    terminal.type("SELECT 'left")
    terminal.until("...> ")
    terminal.interrupt_until("featdex> ")
    terminal.type("SELECT 7 AS seven;")
    assert "seven" in terminal.until("featdex> ")
    terminal.type(".exit")
    assert terminal.process.wait(10) == 0
