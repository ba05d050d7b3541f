"""A catalogue in a DuckDB shell that is older than the library that wrote it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from featdex.catalogue.questions import saved_queries

SHELL = shutil.which("duckdb", path=str(Path(sys.executable).parent)) or shutil.which("duckdb")


@pytest.fixture(scope="module")
def shell() -> str:
    if SHELL is None:
        pytest.skip("no duckdb shell here; pip install duckdb-cli")
    version = subprocess.run([SHELL, "--version"], capture_output=True, text=True, check=True).stdout
    if not version.startswith("v1."):
        pytest.skip(f"the duckdb shell here is no older one: {version.strip()}")
    return SHELL


def ask(shell: str, path: Path, sql: str) -> Any:
    done = subprocess.run(
        [shell, "-readonly", "-json", str(path), "-c", sql], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return json.loads(done.stdout or "[]")


def test_the_headline_question(shell: str, small: Path) -> None:
    found = ask(shell, small, "FROM enriched_for('girls_names', min_kurtosis := 8)")
    assert [(row["sae"], row["feature"], row["z"]) for row in found] == [
        ("tiny/8-res-jb", 7, 15.0),
        ("tiny/29-mlp", 573, 15.0),
    ]


ANSWERED = [
    "FROM suppressed_for('girls_names', sae := 'tiny/*', max_q := 0.5, n := 3)",
    "FROM sets_of('tiny/29-mlp', 573)",
    "FROM independent_sets_of('tiny/29-mlp', 573)",
    "FROM correlated_sets('girls_names', min_r := 0)",
    "FROM tokens_of('tiny/29-mlp', 573, n := 3)",
    "FROM outliers('-skewness')",
    "FROM features LIMIT 3",
    "FROM enrichments LIMIT 3",
    "FROM top_tokens LIMIT 3",
    "FROM coverage",
    "FROM set_members",
]


@pytest.mark.parametrize("sql", ANSWERED)
def test_every_view_and_question_answers(shell: str, small: Path, sql: str) -> None:
    assert ask(shell, small, sql)


def test_every_view_and_question_is_tested_here() -> None:
    asked = {re.findall(r"FROM (\w+)", sql)[0] for sql in ANSWERED} | {"enriched_for"}
    assert asked == {query.name for query in saved_queries() if not query.name.startswith("_")}


def test_every_documented_example_binds(shell: str, small: Path) -> None:
    for query in saved_queries():
        for example in re.findall(r"^Example: (FROM .*)$", query.comment, re.MULTILINE):
            command = [shell, "-readonly", str(small), "-c", f"EXPLAIN {example}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_name_is_answered_with_the_nearest(shell: str, small: Path) -> None:
    command = [shell, "-readonly", str(small), "-c", "FROM enriched_for('girl_names')"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "no token set 'girl_names'; nearest: girls_names, boys_names" in done.stderr
