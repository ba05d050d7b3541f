"""The saved questions against plain Python over the rows that were written."""

from __future__ import annotations

import fnmatch
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from featdex.catalogue.catalogue import Catalogue, connect
from featdex.catalogue.errors import FeatdexError, NotFoundError
from featdex.catalogue.file import create, translated
from featdex.catalogue.questions import read_query, saved_queries
from featdex.catalogue.tables import FEATURE
from featdex.catalogue.write import SaeRows, write_sae

Written = dict[str, SaeRows]
Row = dict[str, Any]


def plain(parts: Sequence[pa.Table] | None) -> list[dict[str, Any]]:
    """The rows of a table that is given in parts."""
    rows: list[dict[str, Any]] = pa.concat_tables(parts or []).to_pylist()
    return rows


def ask(catalogue: Catalogue, name: str, **parameters: Any) -> list[Row]:
    with translated():
        relation = catalogue.query(name, **parameters)
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def pairs(written: Written, set_name: str) -> list[Row]:
    """Every feature with its row of one set, its statistics and its SAE."""
    result = []
    for slug, rows in written.items():
        sets = rows.token_sets.column("name").to_pylist()
        block = rows.enrichment[sets.index(set_name)].to_pylist()
        features = {row["feature"]: row for row in plain(rows.feature)}
        sae = {"sae": slug, "release": rows.sae["release"]}
        result += [{**features[row["feature"]], **row, **sae} for row in block]
    return result


def within(row: Row, limits: Row) -> bool:
    """Whether a feature keeps all limits that are given."""
    density = None if row["log10_density"] is None else 10.0 ** row["log10_density"]
    glob = limits.get("sae", "*")
    return (
        (fnmatch.fnmatchcase(row["sae"], glob) or fnmatch.fnmatchcase(row["release"], glob))
        and row["kurtosis"] >= limits.get("min_kurtosis", -math.inf)
        and row["kurtosis"] <= limits.get("max_kurtosis", math.inf)
        and row["skewness"] >= limits.get("min_skewness", -math.inf)
        and ("max_density" not in limits or (density is not None and density <= limits["max_density"]))
        and 10.0 ** row["log10_q"] <= limits.get("max_q", math.inf)
    )


def expected_hits(written: Written, set_name: str, direction: int, limits: Row) -> list[tuple[str, int]]:
    """What enriched_for (+1) and suppressed_for (-1) promise, in the words of their headers."""
    kept = [row for row in pairs(written, set_name) if row["z"] * direction > 0 and within(row, limits)]
    order = {slug: index for index, slug in enumerate(written)}
    kept.sort(key=lambda row: (-direction * row["z"], order[row["sae"]], row["feature"]))
    return [(row["sae"], row["feature"]) for row in kept[: limits.get("n", 20)]]


LIMITS = [
    {},
    {"n": 3},
    {"n": 10_000},
    {"sae": "tiny/8-res-jb"},
    {"sae": "*/29-*", "n": 50},
    {"sae": "tiny-release", "n": 1000},
    {"min_kurtosis": 8.0},
    {"max_kurtosis": 2.5, "n": 1000},
    {"min_skewness": 0.5, "n": 1000},
    {"max_density": 0.01, "n": 1000},
    {"max_q": 0.05, "n": 1000},
    {"max_q": 0, "n": 1000},
    {"sae": "tiny/*", "min_kurtosis": 3.0, "max_q": 0.2, "min_skewness": 0.0, "n": 7},
]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize(("name", "direction"), [("enriched_for", 1), ("suppressed_for", -1)])
def test_features_of_a_set_are_ranked_by_z(
    catalogue: Catalogue, written: Written, name: str, direction: int, limits: Row
) -> None:
    for set_name in ("girls_names", "Quote's"):
        found = ask(catalogue, name, set_name=set_name, **limits)
        assert [(row["sae"], row["feature"]) for row in found] == expected_hits(written, set_name, direction, limits)


def test_random_limits_agree_with_plain_python(catalogue: Catalogue, written: Written) -> None:
    source = random.Random(20261123)
    for _ in range(20):
        choices = {
            "min_kurtosis": source.uniform(2, 4),
            "max_kurtosis": source.uniform(3, 40),
            "min_skewness": source.uniform(-1, 1),
            "max_q": source.random(),
            "n": source.randrange(1, 30),
        }
        limits = {key: value for key, value in choices.items() if source.random() < 0.5}
        found = ask(catalogue, "enriched_for", set_name="digits", **limits)
        assert [(row["sae"], row["feature"]) for row in found] == expected_hits(written, "digits", 1, limits), limits


def test_the_headline_question_finds_the_planted_features(catalogue: Catalogue) -> None:
    found = ask(catalogue, "enriched_for", set_name="girls_names", min_kurtosis=8)
    assert [(row["sae"], row["feature"], row["z"]) for row in found] == [
        ("tiny/8-res-jb", 7, 15),
        ("tiny/29-mlp", 573, 15),
    ]
    # The smallest of 12 and of 580 p-values, both 1e-400.
    assert [row["log10_q"] for row in found] == pytest.approx([-400 + math.log10(12), -400 + math.log10(580)])
    assert [row["q"] for row in found] == [0, 0]
    assert [row["url"] for row in found] == ["https://www.neuronpedia.org/tiny/8-res-jb/7", None]


def test_top_tokens_are_the_first_eight_exactly(catalogue: Catalogue, written: Written) -> None:
    found = ask(catalogue, "enriched_for", set_name="girls_names", n=300)
    assert len(found) > 100
    for row in found:
        assert row["top_tokens"] == tokens(written[row["sae"]], row["feature"], range(1, 9))


def tokens(rows: SaeRows, feature: int, ranks: range) -> list[str]:
    texts = rows.tokens.column("str").to_pylist()
    by_rank = {row["rank"]: texts[row["token_id"]] for row in plain(rows.feature_token) if row["feature"] == feature}
    return [by_rank[rank] for rank in ranks]


def test_tokens_of_a_feature_come_from_the_top_then_from_the_bottom(catalogue: Catalogue, written: Written) -> None:
    found = ask(catalogue, "tokens_of", sae="tiny/8-res-jb", feature=3, n=4)
    assert [row["rank"] for row in found] == [1, 2, 3, 4, -1, -2, -3, -4]
    rows = written["tiny/8-res-jb"]
    assert [row["token"] for row in found] == tokens(rows, 3, range(1, 5)) + tokens(rows, 3, range(-1, -5, -1))
    assert len(ask(catalogue, "tokens_of", sae="tiny/8-res-jb", feature=3, n=100)) == 40
    # A GLOB may match several SAEs; those with too few features drop out.
    assert {row["sae"] for row in ask(catalogue, "tokens_of", sae="*", feature=3)} == set(written)
    assert {row["sae"] for row in ask(catalogue, "tokens_of", sae="*", feature=300)} == {"tiny/29-mlp"}


def test_sets_of_a_feature_are_ranked_by_the_size_of_z(catalogue: Catalogue, written: Written) -> None:
    for max_q in (None, 0.3):
        found = ask(catalogue, "sets_of", sae="tiny/8-res-jb", feature=5, max_q=max_q)
        expected = []
        for name in ("girls_names", "boys_names", "digits", "Quote's"):
            expected += [
                (name, row["z"], row["es"])
                for row in pairs(written, name)
                if row["sae"] == "tiny/8-res-jb"
                and row["feature"] == 5
                and (max_q is None or 10 ** row["log10_q"] <= max_q)
            ]
        expected.sort(key=lambda entry: -abs(entry[1]))
        assert [(row["set_name"], row["z"], row["es"]) for row in found] == expected


STATISTICS = [column.name for column in FEATURE.columns if column.sql_type == "FLOAT"]


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("stat", STATISTICS)
def test_outliers_know_every_statistic(catalogue: Catalogue, written: Written, stat: str, sign: str) -> None:
    found = ask(catalogue, "outliers", stat=sign + stat, n=5)
    everything = []
    for index, rows in enumerate(written.values()):
        everything += [(row[stat], index, row["feature"]) for row in plain(rows.feature)]
    factor = 1 if sign else -1
    everything.sort(key=lambda entry: (math.inf if entry[0] is None else factor * entry[0], *entry[1:]))
    slugs = list(written)
    assert [(row["value"], row["sae"], row["feature"]) for row in found] == [
        (value, slugs[index], feature) for value, index, feature in everything[:5]
    ]


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("enriched_for", {"set_name": "girl_names"}, "no token set 'girl_names'; nearest: girls_names, boys_names"),
        ("suppressed_for", {"set_name": "digit"}, "no token set 'digit'; nearest: digits"),
        (
            "enriched_for",
            {"set_name": "digits", "sae": "tiny/9-res"},
            "no SAE matches 'tiny/9-res'; nearest: tiny/8-res-jb",
        ),
        ("sets_of", {"sae": "tinny", "feature": 0}, "no SAE matches 'tinny'; nearest: tiny/"),
        (
            "tokens_of",
            {"sae": "tiny/8-res-jb", "feature": 12},
            "no feature 12 in 'tiny/8-res-jb'; its features are 0 to 11",
        ),
        ("tokens_of", {"sae": "tiny/8-res-jb", "feature": -1}, "no feature -1"),
        ("outliers", {"stat": "kurtosis", "sae": "x"}, "no SAE matches 'x'"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    catalogue: Catalogue, name: str, parameters: Row, message: str
) -> None:
    with pytest.raises(NotFoundError) as caught:
        ask(catalogue, name, **parameters)
    assert str(caught.value).startswith(message)


def test_an_unknown_statistic_is_answered_with_the_nearest(catalogue: Catalogue) -> None:
    with pytest.raises(NotFoundError, match=r"no statistic 'kurt' .*; did you mean kurtosis"):
        ask(catalogue, "outliers", stat="kurt")


def test_retired_sets_are_found_but_never_offered(tmp_path: Path, rows_of: Callable[..., SaeRows]) -> None:
    path = tmp_path / "versions.duckdb"
    create(path)
    write_sae(path, rows_of(members={"girls_names": [0, 1]}))
    write_sae(path, rows_of("tiny/9-res", members={"girls_names": [0, 1]}))
    write_sae(path, rows_of(members={"girls_names": [0, 2]}))
    with connect(path) as catalogue:
        ((retired,),) = catalogue.sql("SELECT name FROM token_set WHERE contains(name, '@')").fetchall()
        assert {row["sae"] for row in ask(catalogue, "enriched_for", set_name=retired)} == {"tiny/9-res"}
        assert {row["sae"] for row in ask(catalogue, "enriched_for", set_name="girls_names")} == {"tiny/8-res-jb"}
        with pytest.raises(FeatdexError) as caught:
            ask(catalogue, "enriched_for", set_name="girls_names@")
        assert str(caught.value).endswith("nearest: girls_names")


def test_a_set_name_means_that_set_in_every_model(scratch: Path, rows_of: Callable[..., SaeRows]) -> None:
    write_sae(scratch, rows_of("other/0-res", model="other", members={"girls_names": [5, 6]}, seed=9))
    with connect(scratch) as catalogue:
        found = ask(catalogue, "enriched_for", set_name="girls_names", min_kurtosis=8)
        assert {row["sae"] for row in found} == {"tiny/8-res-jb", "tiny/29-mlp", "other/0-res"}
        assert len(found) == 3
        only = ask(catalogue, "enriched_for", set_name="girls_names", sae="other-release", n=100)
        assert {row["sae"] for row in only} == {"other/0-res"}


def test_views_have_a_row_for_every_row(catalogue: Catalogue, written: Written) -> None:
    for view, table in (("features", "feature"), ("enrichments", "enrichment"), ("top_tokens", "feature_token")):
        expected = sum(len(plain(getattr(rows, table))) for rows in written.values())
        assert catalogue.sql(f"SELECT count(*) FROM {view}").fetchall() == [(expected,)]
    coverage = ask(catalogue, "coverage")
    assert [(row["sae"], row["d_sae"], row["n_features"], row["n_sets"], row["n_enrichment"]) for row in coverage] == [
        ("tiny/8-res-jb", 12, 12, 4, 48),
        ("tiny/29-mlp", 580, 580, 4, 2320),
    ]


def test_an_empty_catalogue_answers_with_nothing(tmp_path: Path) -> None:
    create(tmp_path / "empty.duckdb")
    with connect(tmp_path / "empty.duckdb") as catalogue:
        assert ask(catalogue, "coverage") == []
        assert ask(catalogue, "outliers", stat="kurtosis") == []


@pytest.mark.parametrize("query", saved_queries(), ids=lambda query: query.name)
def test_a_query_file_documents_itself(query: Any) -> None:
    header, _, signature = query.comment.rpartition("\n") if query.kind != "VIEW" else (query.comment, "", "")
    assert len(header.splitlines()) > 1
    names = [part.split(" := ")[0] for part in signature.removeprefix(f"{query.name}(").removesuffix(")").split(", ")]
    if query.kind == "MACRO TABLE" and not query.name.startswith("_"):
        assert [name for name in names if f"\n  {name} " not in header] == []
        assert f"\nExample: FROM {query.name}(" in header


def test_a_query_file_without_a_header_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bare.sql"
    file.write_text("CREATE OR REPLACE VIEW bare AS SELECT 1")
    with pytest.raises(ValueError, match=r"bare\.sql: want a header"):
        read_query(file)


def test_queries_come_after_those_they_use(tmp_path: Path) -> None:
    folder = tmp_path / "views"
    folder.mkdir()
    for name, body in {"a": "FROM b", "b": "FROM c", "c": "SELECT 1 AS x"}.items():
        (folder / f"{name}.sql").write_text(f"-- {name}\nCREATE OR REPLACE VIEW {name} AS {body}")
    assert [query.name for query in saved_queries(tmp_path)] == ["c", "b", "a"]
