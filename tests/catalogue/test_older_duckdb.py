"""A catalogue in a DuckDB shell that is older than the library that wrote it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
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
    "FROM features_promoting(' Mary', max_rank := 5)",
    "FROM features_suppressing('ĠMary')",
    "FROM features_promoting(0)",
    "FROM similar_by_tokens('tiny/29-mlp', 573)",
    "FROM similar_by_sets('tiny/29-mlp', 573, within := 'tiny/8*')",
    "FROM roles(role_kurtosis := 3.5)",
    "FROM features_by_role('prediction')",
    "FROM enriched_for('girls_names', role := 'prediction')",
    "FROM layer_profile('kurtosis')",
    "FROM compare_sets('girls_names', 'boys_names', min_kurtosis := 3)",
    "FROM specific_to('girls_names')",
    "FROM specific_to('girls_names', other := 'boys_names')",
    "FROM set_by_layer('girls_names')",
    "FROM best_feature_per_set(collection := 'names')",
    "FROM unexplained(min_kurtosis := 3, max_z := 5)",
    "FROM set_overlap(set_name := 'girls_names', min_jaccard := 0)",
    "FROM explained_as('names', set_name := 'digits')",
    "FROM tags",
    "FROM explanations",
]


@pytest.fixture(scope="module")
def noted(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small catalogue with an explanation, a tag, and two sets that share a token."""
    path = Path(shutil.copy(small, tmp_path_factory.mktemp("noted") / "noted.duckdb"))
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO explanation (sae_id, feature, text) VALUES (1, 7, 'Names of girls')")
        connection.execute("INSERT INTO tag (sae_id, feature, tag) VALUES (1, 7, 'names')")
        connection.execute("INSERT INTO token_set_member VALUES (2, 0)")
    return path


@pytest.mark.parametrize("sql", ANSWERED)
def test_every_view_and_question_answers(shell: str, noted: Path, sql: str) -> None:
    found = ask(shell, noted, sql)
    assert found
    # The library that wrote the catalogue answers the same.
    with duckdb.connect(str(noted), read_only=True) as connection:
        assert len(connection.execute(sql).fetchall()) == len(found)


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
