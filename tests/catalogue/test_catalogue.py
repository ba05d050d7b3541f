"""`featdex.connect` as a notebook uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from featdex.catalogue.catalogue import Catalogue, Parameter, connect, literal
from featdex.catalogue.errors import NotFoundError, QueryError, UsageError


def test_a_question_is_asked_by_name(catalogue: Catalogue) -> None:
    table = catalogue.query("enriched_for", set_name="girls_names", min_kurtosis=8).to_arrow_table()
    assert table.column("feature").to_pylist() == [7, 573]
    assert catalogue.query("outliers", stat="kurtosis", n=np.int64(2)).fetchall()[0][1] == 7


def test_a_view_is_read_by_name(catalogue: Catalogue) -> None:
    assert len(catalogue.query("coverage").fetchall()) == 2


def test_the_package_offers_connect(small: Path) -> None:
    import featdex

    with featdex.connect(small) as catalogue:
        assert isinstance(catalogue, featdex.Catalogue)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("enriched", {}, "no question 'enriched'; did you mean enriched_for"),
        ("xyz", {}, "no question 'xyz'; featdex ls lists them"),
        ("enriched_for", {}, "enriched_for needs set_name: enriched_for(set_name, sae := NULL"),
        (
            "enriched_for",
            {"set_name": "digits", "kurtosis": 3},
            "enriched_for has no parameter 'kurtosis'; did you mean",
        ),
        ("coverage", {"n": 3}, "coverage has no parameter 'n'; it has none"),
        ("enriched_for", {"set_name": object()}, "a parameter can't be a object"),
        ("enriched_for", {"set_name": "digits", 'n" := 1) --': 3}, "enriched_for has no parameter"),
        ('coverage" --', {}, "no question"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    catalogue: Catalogue, name: str, parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        catalogue.query(name, **parameters)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_values_are_quoted(catalogue: Catalogue) -> None:
    assert len(catalogue.query("enriched_for", set_name="Quote's", n=3).fetchall()) == 3
    with pytest.raises(duckdb.Error, match="no token set"):
        catalogue.query("enriched_for", set_name="x' OR true --").fetchall()


@pytest.mark.parametrize("value", [None, True, False, 0, -3, 2**70, "it's", "", "日本\n\x1b", [1, 2], ["a", "'"]])
def test_a_literal_comes_back_as_it_went(value: object) -> None:
    assert select(literal(value)) == value


@pytest.mark.parametrize("value", [0.1, -2.5, 1e-300, 1e300, 123456.789, float("inf"), float("-inf"), np.float32(0.5)])
def test_a_number_keeps_its_value(value: float) -> None:
    assert float(select(literal(value))) == value


def test_not_a_number_stays_one() -> None:
    assert np.isnan(select(literal(float("nan"))))


def select(text: str) -> Any:
    """The value of a SQL expression."""
    return duckdb.connect().execute(f"SELECT {text}").fetchall()[0][0]


def test_sql_takes_values(catalogue: Catalogue) -> None:
    assert catalogue.sql("SELECT $a + 1", {"a": 1}).fetchall() == [(2,)]
    assert catalogue.sql("SELECT ? || 'x'", ["y"]).fetchall() == [("yx",)]


@pytest.mark.parametrize("text", ["", "  -- nothing", ";"])
def test_sql_without_a_query_is_a_usage_error(catalogue: Catalogue, text: str) -> None:
    with pytest.raises(UsageError, match="holds no query"):
        catalogue.sql(text)


def test_sql_that_duckdb_refuses_is_one_line(catalogue: Catalogue) -> None:
    with pytest.raises(QueryError, match="feature") as caught:
        catalogue.sql("FROM featurez")
    assert "\n" not in str(caught.value)


def test_questions_are_listed_from_the_file(catalogue: Catalogue) -> None:
    questions = {question.name: question for question in catalogue.questions()}
    assert {"enriched_for", "suppressed_for", "sets_of", "tokens_of", "outliers"} <= set(questions)
    assert not any(name.startswith("_") for name in questions)
    assert questions["tokens_of"].parameters == (
        Parameter("sae", None),
        Parameter("feature", None),
        Parameter("n", "10"),
    )
    assert questions["tokens_of"].title == "Which tokens does a feature promote and suppress most?"
    assert "tokens_of(" not in questions["tokens_of"].comment.replace("FROM tokens_of(", "")
    assert [view.name for view in catalogue.views()] == [
        "coverage", "enrichments", "explanations", "features", "set_members", "tags", "top_tokens",
    ]  # fmt: skip


def test_a_macro_made_by_hand_is_a_question_too(scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("CREATE MACRO mine(a, b := 2) AS TABLE SELECT a + b AS total")
    with connect(scratch) as catalogue:
        assert catalogue.question("mine").parameters == (Parameter("a", "NULL"), Parameter("b", "NULL"))
        assert catalogue.query("mine", a=1).fetchall() == [(3,)]
        with pytest.raises(QueryError, match="mine"):
            catalogue.query("mine")


def test_answers_can_be_read_side_by_side(catalogue: Catalogue) -> None:
    first, second = catalogue.query("coverage"), catalogue.query("outliers", stat="kurtosis")
    assert len(second.fetchall()) == 20
    assert len(first.fetchall()) == 2


def test_it_closes(small: Path) -> None:
    catalogue = connect(small)
    assert repr(catalogue) == f"<Catalogue {small}: 2 SAEs, 592 features, 4 token sets>"
    catalogue.close()
    assert repr(catalogue) == f"<Catalogue {small}: closed>"
    with pytest.raises(QueryError, match="closed"):
        catalogue.sql("SELECT 1")
    assert catalogue.path == small


def test_not_found_is_its_own_fault(catalogue: Catalogue) -> None:
    from featdex.catalogue.formats import read

    with pytest.raises(NotFoundError, match="nearest: girls_names"):
        read(catalogue.query("enriched_for", set_name="girls"))
