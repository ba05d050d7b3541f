"""The README's commands, SQL and Python run, on the demo's real catalogue, and print what it says."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from featdex.docs import blocks

README = Path(__file__).parent.parent / "README.md"
COMMANDS = [command for command in blocks.commands(README) if command.is_run]
STATEMENTS = [statement for statement, is_run in blocks.statements(README) if is_run]
SCRIPTS = [script for script, is_run in blocks.scripts(README) if is_run]


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


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.line)
def test_console(command: blocks.Command, demo_folder: Path) -> None:
    blocks.write_files(README, demo_folder)
    line = "featdex --db demo.duckdb demo" if command.line == "make demo" else command.line
    done = run(line, demo_folder)
    assert done.returncode == 0, done.stderr
    if command.output.strip():
        told = done.stdout.replace(str(Path(sys.executable).with_name("featdex")), ".venv/bin/featdex")
        assert blocks.difference(told, command.output) is None


@pytest.mark.parametrize("statement", STATEMENTS)
def test_sql(statement: str, demo_folder: Path) -> None:
    with duckdb.connect(str(demo_folder / "demo.duckdb"), read_only=True) as connection:
        assert connection.execute(statement).fetchall()


@pytest.mark.parametrize("script", SCRIPTS)
def test_python(script: str, demo_folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", script], cwd=demo_folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", blocks.commands(README), ids=lambda command: command.line)
def test_a_command_is_known(command: blocks.Command) -> None:
    assert blocks.fault_of_line(command.line) is None


def test_make_demo_is_what_the_tests_run() -> None:
    makefile = README.with_name("Makefile").read_text(encoding="utf-8")
    assert "$(BIN)/featdex --db demo.duckdb demo" in makefile
