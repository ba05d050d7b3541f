"""The README's commands, SQL and Python run, on the demo's real catalogue, and print what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest

README = Path(__file__).parent.parent / "README.md"
NOT_RUN = "<!-- (?:needs the hub|changes the demo) -->"


class Command(NamedTuple):
    line: str
    output: str


def blocks(language: str) -> list[str]:
    text = README.read_text(encoding="utf-8")
    pattern = rf"(?P<note>{NOT_RUN}\n)?```{language}\n(?P<body>.*?)```"
    return [match["body"] for match in re.finditer(pattern, text, re.DOTALL) if not match["note"]]


def commands() -> list[Command]:
    found = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            found.append(Command(line, output))
    return found


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    arguments = shlex.split(line)
    assert arguments[0] == "featdex"
    featdex = Path(sys.executable).with_name("featdex")
    # Without the environment's own folder on the path, as where the README's reader types `make demo`.
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != featdex.parent)
    environment = os.environ | {"COLUMNS": "150", "PATH": path}
    return subprocess.run(
        [str(featdex), *arguments[1:]], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


def assert_prints(found: str, expected: str) -> None:
    """Compare word by word; numbers may differ as much as another processor's rounding makes them."""
    found_lines, expected_lines = found.rstrip().splitlines(), expected.rstrip().splitlines()
    assert len(found_lines) == len(expected_lines)
    for line, wanted in zip(found_lines, expected_lines, strict=True):
        # The mean over a centred vocabulary is nothing but rounding.
        left, right = line.split(), wanted.split()
        if right[:1] == ["mean"]:
            left, right = left[4:], right[4:]
        assert len(left) == len(right), line
        for word, want in zip(left, right, strict=True):
            assert word == want or as_number(word) == pytest.approx(as_number(want), rel=0.02, abs=0.11), line


def as_number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.line)
def test_console(command: Command, demo_folder: Path) -> None:
    (example,) = blocks("toml")
    (demo_folder / "mine.toml").write_text(example, encoding="utf-8")
    line = "featdex --db demo.duckdb demo" if command.line == "make demo" else command.line
    done = run(line, demo_folder)
    assert done.returncode == 0, done.stderr
    if command.output.strip():
        told = done.stdout.replace(str(Path(sys.executable).with_name("featdex")), ".venv/bin/featdex")
        assert_prints(told, command.output)


@pytest.mark.parametrize("block", blocks("sql"))
def test_sql(block: str, demo_folder: Path) -> None:
    with duckdb.connect(str(demo_folder / "demo.duckdb"), read_only=True) as connection:
        for statement in block.split(";"):
            if statement.strip():
                assert connection.execute(statement).fetchall()


@pytest.mark.parametrize("block", blocks("python"))
def test_python(block: str, demo_folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", block], cwd=demo_folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_make_demo_is_what_the_tests_run() -> None:
    makefile = README.with_name("Makefile").read_text(encoding="utf-8")
    assert "$(BIN)/featdex --db demo.duckdb demo" in makefile
