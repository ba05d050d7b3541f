"""Sets made by SQL: what the query may see and give, and what it can not reach."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from featdex.catalogue.errors import TokenSetError
from featdex.ingest.inputs import Vocabulary
from featdex.ingest.set_definition import SetDefinition
from featdex.ingest.set_sql import query_ids
from featdex.ingest.vocabulary import vocabulary_from_raw

RAW = ["<s>", "▁Mary", "mary", "▁MARY", "<0xC3>", "x", "", "\ud800"]
VOCABULARY: Vocabulary = vocabulary_from_raw(RAW, "sentencepiece", [0])


def ids_of(*queries: str, seconds: float = 20.0) -> list[set[int]]:
    definitions = [SetDefinition(f"q{n}", "user", "sql", query=query) for n, query in enumerate(queries)]
    return query_ids(definitions, VOCABULARY, seconds)


def refusal(query: str, seconds: float = 20.0) -> str:
    with pytest.raises(TokenSetError, match="token set 'q0': its query ") as caught:
        ids_of(query, seconds=seconds)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_query_sees_the_columns_of_token() -> None:
    assert ids_of(
        "SELECT token_id FROM token WHERE str LIKE ' %'",
        "FROM token SELECT token_id WHERE lower(raw) = 'mary' -- with a comment",
        "select token_id from token where is_special or is_partial_utf8;",
        "WITH t AS (SELECT * FROM token) SELECT max(token_id) FROM t",
        "VALUES (5), (5), (2)",
        "SELECT sum(token_id) FROM token WHERE token_id < 3",
        "SELECT 1::UTINYINT",
        "SELECT token_id FROM token WHERE false",
        "SELECT token_id FROM token WHERE regexp_full_match(str, ' ?[A-Z]+')",
    ) == [{1, 3}, {2}, {0, 4}, {7}, {2, 5}, {3}, {1}, set(), {3}]


FAULTS = {
    "": "is not one SELECT statement",
    "-- nothing": "is not one SELECT statement",
    "SELECT 1; SELECT 2": "is not one SELECT statement",
    "DELETE FROM token": "is not one SELECT statement",
    "CREATE TABLE t AS SELECT 1": "is not one SELECT statement",
    "SET threads = 1": "is not one SELECT statement",
    "COPY token TO 'x.csv'": "is not one SELECT statement",
    "ATTACH 'x.duckdb'": "is not one SELECT statement",
    "INSTALL httpfs": "is not one SELECT statement",
    "PIVOT token ON str": "is not one SELECT statement",
    "SELEC 1": "fails: syntax error at or near",
    "SELECT token FROM token": "gives",
    "SELECT nothing FROM token": "fails: Referenced column",
    "SELECT token_id FROM tokens": "fails: Table with name tokens does not exist",
    "SELECT token_id, str FROM token": "gives token_id INTEGER, str VARCHAR; select one column",
    "SELECT str FROM token": "gives str VARCHAR; select one column of token ids, integers",
    "SELECT 1.5": "gives 1.5 DECIMAL(2,1); select one column",
    "SELECT true": "BOOLEAN; select one column",
    "SELECT [1]": "INTEGER[]; select one column",
    "SELECT NULL": "select one column of token ids",
    "SELECT NULL::INT": "gives NULL; add a WHERE",
    "SELECT -1": "gives -1, which is none of the 8 token ids",
    "SELECT 8": "gives 8, which is none of the 8 token ids",
    "SELECT 170141183460469231731687303715884105727": "which is none of the 8 token ids",
    "SELECT ?": "fails:",
    "SELECT error('a' || chr(10) || 'b')": "fails: a b",
    "SELECT " + "(" * 5000 + "1" + ")" * 5000: "fails: Max expression depth",
    "SELECT getvariable('x')": "select one column",
}


@pytest.mark.parametrize("query", FAULTS, ids=range(len(FAULTS)))
def test_a_query_that_gives_no_token_ids_is_refused_in_one_line(query: str) -> None:
    assert FAULTS[query] in refusal(query)


def test_a_query_reaches_no_file_and_no_variable(tmp_path: Path) -> None:
    path = tmp_path / "ids.csv"
    path.write_text("id\n1\n")
    secret = np.array([1])
    assert len(secret) == 1
    for query in (
        f"SELECT id FROM '{path}'",
        f"SELECT id FROM read_csv('{path}')",
        f"SELECT length(content) FROM read_text('{path}')",
        "SELECT * FROM secret",
        "SELECT * FROM given_token",
        "SELECT 1 FROM 'https://example.org/x.parquet'",
        "SELECT 1 FROM glob('*')",
    ):
        assert "fails:" in refusal(query)


def test_a_query_changes_nothing_for_the_next() -> None:
    writes = (
        "WITH t AS (INSERT INTO token VALUES (2, 'x', 'x', false, false) RETURNING token_id) SELECT token_id FROM t",
        "WITH t AS (DELETE FROM token RETURNING token_id) SELECT token_id FROM t",
    )
    assert ids_of(*writes, "SELECT count(*) - 1 FROM token") == [{2}, set(range(8)), {7}]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range * b.range = 7",
        "SELECT range % 3 FROM range(1000000000000)",
        "WITH RECURSIVE t AS (SELECT 1 x UNION ALL SELECT (x + 1) % 5 FROM t) SELECT x FROM t",
    ],
)
def test_a_query_without_end_is_ended(query: str) -> None:
    start = time.monotonic()
    assert "is not done after 0.5 s" in refusal(query, seconds=0.5)
    assert time.monotonic() - start < 10


def test_a_query_of_much_memory_is_refused() -> None:
    message = refusal("SELECT count(DISTINCT md5(range::VARCHAR) || repeat('x', 1000)) FROM range(10000000)")
    assert "fails:" in message
    assert "ut of Memory" in message or "could not allocate" in message
