"""A user's sets from the command line: added, compared, computed for all SAEs that are there, and taken out again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from featdex.catalogue.cli import run
from scipy import stats

D_MODEL, D_MLP, N_LAYERS, N_TOKENS = 16, 40, 2, 120
WORDS = ["<|end|>", *(f"{'Ġ' if k % 2 else ''}{chr(97 + k % 5)}{chr(97 + k // 5)}ing" for k in range(N_TOKENS - 1))]

MINE = """
[collection]
name = "mine"
source = "by hand"
licence = "CC0-1.0"
version = "3"

[sets.my_words]
description = "Words that start with a."
terms = ["aaing", "abing", "acing", "Nowhere", "a whole sentence"]

[sets.my_pattern]
kind = "regex"
pattern = " [bc].*"

[sets.my_query]
kind = "sql"
query = "SELECT token_id FROM token WHERE str LIKE '%d%' AND NOT is_special"
"""


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory, write_gguf: Callable[..., None]) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write_gguf(path, WORDS, D_MODEL, D_MLP, N_LAYERS)
    return path


@pytest.fixture(scope="module")
def made_once(model_file: Path) -> Path:
    path = model_file.with_name("tiny.duckdb")
    options = ["--sets", "affix", "--directions", "30"]
    assert run(["--db", str(path), "ingest", "mlp_neurons", "-m", str(model_file), *options]) == 0
    return path


@pytest.fixture
def catalogue(tmp_path: Path, made_once: Path) -> Path:
    return Path(shutil.copy(made_once, tmp_path / "tiny.duckdb"))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    return path


@pytest.fixture
def featdex(
    catalogue: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[dict[str, Any]], str]]:
    """Run a command on the catalogue: exit code, rows of its json output, stderr."""

    def call(*arguments: object) -> tuple[int, list[dict[str, Any]], str]:
        capsys.readouterr()
        code = run(["--db", str(catalogue), *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out.startswith(("[", "{")) else [], err

    return call


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


Call = Callable[..., tuple[int, list[dict[str, Any]], str]]


def test_check_shows_sizes_and_changes_nothing(featdex: Call, catalogue: Path, mine: Path) -> None:
    before = catalogue.read_bytes()
    code, found, _ = featdex("sets", "check", mine, "-f", "json")
    assert code == 0
    texts = [word.replace("Ġ", " ") for word in WORDS]
    in_words = {"aaing", "abing", "acing", " aaing", " abing", " acing"} & set(texts)
    sizes = {
        "my_words": len(in_words),
        "my_pattern": sum(text.startswith((" b", " c")) for text in texts),
        "my_query": sum("d" in text for text in texts[1:]),
    }
    assert {row["set_name"]: row["n_tokens"] for row in found} == sizes
    assert {row["status"] for row in found} == {"new"}
    assert found[0]["n_terms"] == 5
    assert found[0]["n_dropped"] == 2
    assert all(0 < row["jaccard"] <= 1 for row in found)
    assert catalogue.read_bytes() == before


def test_check_names_the_dropped_terms(featdex: Call, mine: Path) -> None:
    _, found, _ = featdex("sets", "check", mine, "--dropped", "-f", "json")
    assert [(row["set_name"], row["term"]) for row in found] == [
        ("my_words", "Nowhere"),
        ("my_words", "a whole sentence"),
    ]
    assert all(row["reason"] for row in found)


def test_added_sets_are_computed_for_every_sae_that_is_there(featdex: Call, catalogue: Path, mine: Path) -> None:
    n_before = len(rows(catalogue, "SELECT DISTINCT set_id FROM enrichment"))
    kept = "SELECT * EXCLUDE (log10_q_all) FROM enrichment WHERE set_id <= {} ORDER BY ALL"
    ((last,),) = rows(catalogue, "SELECT max(set_id) FROM token_set")
    before = rows(catalogue, kept.format(last))
    assert featdex("sets", "add", mine)[0] == 0
    assert rows(catalogue, "SELECT count(*) FROM token_set WHERE collection = 'mine'") == [(3,)]
    code, _, err = featdex("ingest", "--sets", "mine")
    assert code == 0
    assert "2 written" in err
    assert "3 more sets" in err
    tested = rows(catalogue, "SELECT sae_id, count(DISTINCT set_id) FROM enrichment GROUP BY ALL")
    assert [n for _, n in tested] == [n_before + 3] * N_LAYERS
    assert rows(catalogue, kept.format(last)) == before
    assert featdex("doctor")[0] == 0
    code, _, err = featdex("ingest", "--sets", "mine")
    assert "0 written, 2 current" in err


def test_a_file_goes_straight_into_an_ingest(featdex: Call, catalogue: Path, mine: Path, model_file: Path) -> None:
    code, _, err = featdex("ingest", "mlp_neurons", "-m", model_file, "--layers", 1, "--sets", mine, "--directions", 30)
    assert code == 0
    assert "3 more sets" in err
    tested = rows(
        catalogue, "SELECT slug FROM enrichments JOIN sae USING (sae_id) WHERE collection = 'mine' GROUP BY 1"
    )
    assert tested == [("tiny/1-mlp",)]
    facts = rows(catalogue, "SELECT source, licence, version FROM token_set WHERE name = 'my_words'")
    assert facts == [("by hand", "CC0-1.0", "3")]


def test_a_changed_file_gives_a_new_version(featdex: Call, catalogue: Path, mine: Path, model_file: Path) -> None:
    featdex("ingest", "--sets", mine)
    mine.write_text(MINE.replace('"acing"', '"adbing"'))
    _, found, _ = featdex("sets", "check", mine, "-f", "json")
    assert {row["set_name"]: row["status"] for row in found} == {
        "my_words": "changed",
        "my_pattern": "unchanged",
        "my_query": "unchanged",
    }
    command = ["ingest", "mlp_neurons", "-m", model_file, "--layers", 0, "--directions", 30, "--sets", mine]
    assert featdex(*command)[0] == 0
    versions = rows(catalogue, "SELECT DISTINCT sae, set_name FROM enrichments WHERE set_name LIKE 'my_words%'")
    assert len(versions) == 2
    named = dict(versions)
    assert named["tiny/0-mlp"] == "my_words"
    assert named["tiny/1-mlp"].startswith("my_words@")
    assert featdex("doctor")[0] == 0


def test_removing_sets_takes_their_results_and_mends_q_over_all_pairs(
    featdex: Call, catalogue: Path, mine: Path, made_once: Path
) -> None:
    featdex("ingest", "--sets", mine)
    code, _, err = featdex("sets", "rm", "my_words")
    assert (code, "--force" in err) == (2, True)
    assert featdex("sets", "rm", "my_words", "--force")[0] == 0
    assert rows(catalogue, "SELECT name FROM token_set WHERE collection = 'mine' ORDER BY 1") == [
        ("my_pattern",),
        ("my_query",),
    ]
    for sae in range(1, N_LAYERS + 1):
        pairs = rows(catalogue, f"SELECT log10_p, log10_q_all FROM enrichment WHERE sae_id = {sae}")
        expected = stats.false_discovery_control([10**p for p, _ in pairs])
        assert [10**q for _, q in pairs] == pytest.approx(expected, rel=1e-5)
    assert featdex("sets", "rm", "--collection", "mine", "--force")[0] == 0
    sql = "SELECT * EXCLUDE (set_id) FROM enrichment ORDER BY ALL"
    assert rows(catalogue, sql) == rows(made_once, sql)
    for table in ("token_set", "token_set_member", "set_null", "set_correlation", "set_summary"):
        assert rows(catalogue, f"FROM {table} ORDER BY ALL") == rows(made_once, f"FROM {table} ORDER BY ALL")
    assert featdex("doctor")[0] == 0


def test_sets_of_no_result_go_without_force(featdex: Call, catalogue: Path, mine: Path) -> None:
    featdex("sets", "add", mine)
    assert featdex("sets", "rm", "my_words", "my_query", "my_pattern")[0] == 0
    assert rows(catalogue, "SELECT count(*) FROM token_set WHERE collection = 'mine'") == [(0,)]
    assert rows(catalogue, "SELECT count(*) FROM token_set_dropped WHERE term = 'Nowhere'") == [(0,)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sets", "TOML"),
        ('[sets.a]\nterms = ["zzz"]', "'a' is empty"),
        ('[sets.a]\nkind = "regex"\npattern = "("', "'a'"),
        ('[sets.a]\nkind = "regex"\npattern = "(?s).*"', "holds all"),
        ('[sets.suffix_ing]\nterms = ["aaing"]', "'suffix_ing' in the collection 'affix'"),
        ('[collection]\nname = "affix"\n[sets.a]\nterms = ["aaing"]', "built-in"),
        ('[sets.good]\nterms = ["aaing"]\n[sets.bad]\nkind = "sql"\nquery = "DROP TABLE token"', "'bad'"),
    ],
)
@pytest.mark.parametrize("command", ["add", "ingest"])
def test_a_bad_file_is_one_line_and_adds_nothing(
    featdex: Call, catalogue: Path, tmp_path: Path, text: str, words: str, command: str
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    tables = ("token_set", "token_set_member", "token_set_dropped", "enrichment", "run")
    before = [rows(catalogue, f"FROM {table} ORDER BY ALL") for table in tables]
    code, _, err = featdex(*(["sets", "add", file] if command == "add" else ["ingest", "--sets", file]))
    assert code == 1
    complaints = [line for line in err.splitlines() if line.startswith("featdex:")]
    assert len(complaints) == 1
    assert words in complaints[0]
    assert [rows(catalogue, f"FROM {table} ORDER BY ALL") for table in tables] == before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["sets", "rm"], 2, "name the sets"),
        (["sets", "rm", "suffix_ink"], 3, "suffix_ing"),
        (["sets", "rm", "--collection", "affixx"], 3, "affix"),
        (["sets", "add", "none.toml"], 3, "none.toml"),
        (["sets", "add", "mine.csv"], 2, ".toml"),
        (["sets", "check", "{mine}", "--model", "tinny"], 3, "tiny"),
        (["ingest", "--layers", "1"], 2, "SOURCE"),
    ],
)
def test_bad_arguments_are_one_line(featdex: Call, mine: Path, arguments: list[str], code: int, words: str) -> None:
    found, _, err = featdex(*(part.format(mine=mine) for part in arguments))
    assert (found, words in err.splitlines()[-1]) == (code, True)


def test_an_ingest_without_a_source_says_what_is_missing(tmp_path: Path, catalogue: Path, featdex: Call) -> None:
    assert run(["--db", str(tmp_path / "new.duckdb"), "ingest"]) == 1
    with duckdb.connect(str(catalogue)) as connection:
        connection.execute("UPDATE run SET params = replace(params, 'tiny.gguf', 'gone.gguf')")
    code, _, err = featdex("ingest")
    assert code == 1
    assert "gone.gguf" in err
    assert "tiny/0-mlp" in err


def test_collections_are_listed_without_a_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sets", "collections", "-f", "json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert names[0] == "core"
    assert {"shape", "affix", "names", "grammar", "wordnet", "topics", "pos", "bloom2024"} <= set(names)
