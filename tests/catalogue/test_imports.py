"""Reading is quick and needs none of the heavy packages."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

TIMES_ITS_LIBRARIES = 2.6
"""What a verb may take, in processor time, beside the bare import of DuckDB, typer and rich."""

TRIES = 8
LIBRARIES = [sys.executable, "-c", "import duckdb, typer, rich.cells"]
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
    pairs: list[tuple[float, float]] = []
    # Other work on the machine makes the same instructions take longer: the best of a few pairs of runs counts.
    while len(pairs) < TRIES and min_ratio(pairs) >= TIMES_ITS_LIBRARIES:
        pairs.append((cpu_seconds(command), cpu_seconds(LIBRARIES)))
    assert min_ratio(pairs) < TIMES_ITS_LIBRARIES, pairs


def min_ratio(pairs: list[tuple[float, float]]) -> float:
    return min((whole / libraries for whole, libraries in pairs), default=math.inf)


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
