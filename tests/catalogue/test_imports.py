"""Reading is quick and needs none of the heavy packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CPU_SECONDS = 0.5
TRIES = 8
VERBS = {
    "help": ["--help"],
    "top": ["top", "girls_names"],
    "q": ["q", "outliers", "kurtosis"],
    "show": ["show", "29-mlp/573"],
    "sql": ["sql", "SELECT 1 AS one"],
}
HEAVY = {
    "torch",
    "sae_lens",
    "transformer_lens",
    "transformers",
    "numba",
    "scipy",
    "pandas",
    "pyarrow",
    "numpy",
    "matplotlib",
}
LOADED = """
import sys
from featdex.catalogue import cli
code = cli.run(sys.argv[1:])
print(*sys.modules, sep="\\n", file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("arguments", VERBS.values(), ids=VERBS)
def test_reading_imports_nothing_heavy(small: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-c", LOADED, "--db", str(small), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stderr.split()) == set()


@pytest.mark.parametrize("arguments", VERBS.values(), ids=VERBS)
def test_reading_takes_little_time(small: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-c", "from featdex.catalogue.cli import main; main()", "--db", str(small), *arguments]
    seconds = [cpu_seconds(command)]
    # Other work on the machine makes the same instructions take longer: the quickest of a few runs counts.
    while min(seconds) >= CPU_SECONDS and len(seconds) < TRIES:
        seconds.append(cpu_seconds(command))
    assert min(seconds) < CPU_SECONDS, seconds


def cpu_seconds(command: list[str]) -> float:
    """User and system time of one process."""
    before = os.times()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_the_package_imports_nothing_by_itself() -> None:
    code = "import featdex, sys; print(*(name for name in sys.modules if name.startswith('featdex')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["featdex"]
