"""The questions that start from tokens, against plain Python over the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from featdex.catalogue.catalogue import Catalogue
from featdex.catalogue.errors import NotFoundError, QueryError

Row = dict[str, Any]
Raw = dict[str, list[Row]]
Ask = Callable[..., list[Row]]
Featdex = Callable[..., tuple[int, str, str]]


def saes(raw: Raw) -> dict[int, Row]:
    return {row["sae_id"]: row for row in raw["sae"]}


def texts(raw: Raw) -> dict[tuple[int, int], str]:
    return {(row["model_id"], row["token_id"]): row["str"] for row in raw["token"]}


def first_tokens(raw: Raw, sae_id: int, feature: int, sign: int, n: int = 8) -> list[str]:
    model_id = saes(raw)[sae_id]["model_id"]
    ranked = {
        abs(row["rank"]): texts(raw)[model_id, row["token_id"]]
        for row in raw["feature_token"]
        if (row["sae_id"], row["feature"]) == (sae_id, feature) and row["rank"] * sign > 0
    }
    return [ranked[rank] for rank in range(1, n + 1)]


def expected(
    raw: Raw, sign: int, token_ids: set[tuple[int, int]], max_rank: int, sae: str = ""
) -> list[tuple[Any, ...]]:
    """Every row of feature_token at that end whose (model, token) is asked for, largest weight first."""
    found = []
    for row in raw["feature_token"]:
        place = saes(raw)[row["sae_id"]]
        is_asked = (place["model_id"], row["token_id"]) in token_ids and place["slug"].startswith(sae)
        if is_asked and 1 <= row["rank"] * sign <= max_rank:
            found.append((-sign * row["weight"], row["sae_id"], row["feature"], row["token_id"], row["rank"]))
    return [(saes(raw)[sae_id]["slug"], feature, rank) for _, sae_id, feature, _, rank in sorted(found)]


def ids_of(raw: Raw, column: str, text: str) -> set[tuple[int, int]]:
    return {(row["model_id"], row["token_id"]) for row in raw["token"] if row[column] == text}


@pytest.mark.parametrize("max_rank", [1, 5, 20])
@pytest.mark.parametrize(("name", "sign"), [("features_promoting", 1), ("features_suppressing", -1)])
@pytest.mark.parametrize("token", [" Mary", "it's", "line\nbreak", "", "\ufffd"])
def test_features_of_a_token_are_ranked_by_its_weight(
    mixed: Catalogue, raw: Raw, ask: Ask, token: str, name: str, sign: int, max_rank: int
) -> None:
    found = ask(mixed, name, token=token, max_rank=max_rank, n=1000)
    wanted = expected(raw, sign, ids_of(raw, "str", token), max_rank)
    assert [(row["sae"], row["feature"], row["rank"]) for row in found] == wanted
    assert {row["token"] for row in found} <= {token}
    assert ask(mixed, name, token=token, max_rank=max_rank, n=3) == found[:3]


def test_most_questions_of_tokens_have_answers(mixed: Catalogue, ask: Ask) -> None:
    assert len(ask(mixed, "features_promoting", token=" Mary", n=1000)) > 20
    assert len(ask(mixed, "features_suppressing", token=" Mary", n=1000)) > 20


def test_a_row_has_the_weight_in_deviations_and_the_first_tokens(mixed: Catalogue, raw: Raw, ask: Ask) -> None:
    slugs = {row["slug"]: row["sae_id"] for row in raw["sae"]}
    statistics = {(row["sae_id"], row["feature"]): row for row in raw["feature"]}
    for row in ask(mixed, "features_promoting", token=" Mary", n=30):
        place = (slugs[row["sae"]], row["feature"])
        assert row["deviations"] == pytest.approx(
            (row["weight"] - statistics[place]["mean"]) / statistics[place]["std"], rel=1e-6
        )
        assert row["top_tokens"] == first_tokens(raw, *place, 1)
    for row in ask(mixed, "features_suppressing", token=" Mary", n=30):
        assert row["bottom_tokens"] == first_tokens(raw, slugs[row["sae"]], row["feature"], -1)


def test_a_token_is_named_by_text_then_by_spelling_or_by_id(mixed: Catalogue, raw: Raw, ask: Ask) -> None:
    by_text = ask(mixed, "features_promoting", token=" word3", n=1000)
    assert by_text
    assert ask(mixed, "features_promoting", token="Ġword3", n=1000) == by_text
    (token_id,) = {token_id for _, token_id in ids_of(raw, "str", " word3")}
    assert ask(mixed, "features_promoting", token=token_id, n=1000) == by_text
    # One token's text is digits: as text it is itself, as a number another one.
    text = ask(mixed, "features_promoting", token="1.5", n=1000)
    assert {row["token"] for row in text} == {"1.5"}
    assert [(row["sae"], row["feature"], row["rank"]) for row in ask(mixed, "features_promoting", token=1, n=1000)] == (
        expected(raw, 1, {(1, 1), (2, 1)}, 20)
    )


def test_only_the_saes_asked_for_are_searched(mixed: Catalogue, raw: Raw, ask: Ask) -> None:
    found = ask(mixed, "features_promoting", token=" Anna", sae="tiny/3*", n=1000)
    assert [(row["sae"], row["feature"], row["rank"]) for row in found] == expected(
        raw, 1, ids_of(raw, "str", " Anna"), 20, "tiny/3"
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"token": " Marie"}, "no token '␣Marie'; nearest: ␣Mary, Mary"),
        ({"token": 60}, "no token '60'; nearest: "),
        ({"token": None}, "no token 'NULL'"),
        ({"token": " Mary", "sae": "tiny/9"}, "no SAE matches 'tiny/9'; nearest: tiny/"),
    ],
)
def test_an_unknown_token_is_answered_with_the_nearest(
    mixed: Catalogue, ask: Ask, parameters: Row, message: str
) -> None:
    for name in ("features_promoting", "features_suppressing"):
        with pytest.raises(NotFoundError) as caught:
            ask(mixed, name, **parameters)
        assert str(caught.value).startswith(message)


def similar(raw: Raw, slug: str, feature: int, sign: int, min_shared: int) -> list[tuple[str, int, list[str]]]:
    """Features of the same model by how many of the tokens at one end they share."""
    (asked_id,) = (row["sae_id"] for row in raw["sae"] if row["slug"] == slug)
    model_id = saes(raw)[asked_id]["model_id"]
    ends: dict[tuple[int, int], dict[int, Row]] = {}
    for row in raw["feature_token"]:
        if row["rank"] * sign > 0 and saes(raw)[row["sae_id"]]["model_id"] == model_id:
            ends.setdefault((row["sae_id"], row["feature"]), {})[row["token_id"]] = row
    asked = ends.pop((asked_id, feature))
    found = []
    for place, tokens in ends.items():
        shared = sorted((abs(row["rank"]), token_id) for token_id, row in asked.items() if token_id in tokens)
        if len(shared) >= min_shared:
            weight = sum(abs(tokens[token_id]["weight"]) for _, token_id in shared)
            found.append((-len(shared), -weight, *place, [texts(raw)[model_id, token_id] for _, token_id in shared]))
    return [(saes(raw)[sae_id]["slug"], index, words) for _, _, sae_id, index, words in sorted(found)]


@pytest.mark.parametrize("suppressed", [False, True])
@pytest.mark.parametrize(("slug", "feature"), [("tiny/8-res-jb", 7), ("tiny/29-mlp", 41), ("other/0-res", 0)])
def test_similar_features_share_tokens(
    mixed: Catalogue, raw: Raw, ask: Ask, slug: str, feature: int, suppressed: bool
) -> None:
    found = ask(mixed, "similar_by_tokens", sae=slug, feature=feature, suppressed=suppressed, min_shared=8, n=1000)
    wanted = similar(raw, slug, feature, -1 if suppressed else 1, 8)
    assert [(row["sae"], row["feature"], row["shared_tokens"]) for row in found] == wanted
    assert [row["n_shared"] for row in found] == [len(row["shared_tokens"]) for row in found]
    own = ask(
        mixed, "similar_by_tokens", sae=slug, feature=feature, within=None, suppressed=suppressed, min_shared=8, n=1000
    )
    assert own == [row for row in found if row["sae"] == slug]


def test_similarity_by_tokens_is_mutual(mixed: Catalogue, ask: Ask) -> None:
    for row in ask(mixed, "similar_by_tokens", sae="tiny/8-res-jb", feature=2, n=10):
        back = ask(mixed, "similar_by_tokens", sae=row["sae"], feature=row["feature"], n=1000)
        (same,) = (other for other in back if (other["sae"], other["feature"]) == ("tiny/8-res-jb", 2))
        assert (same["n_shared"], set(same["shared_tokens"])) == (row["n_shared"], set(row["shared_tokens"]))


def test_a_zero_row_has_no_tokens_to_share(mixed: Catalogue, ask: Ask) -> None:
    assert ask(mixed, "similar_by_tokens", sae="tiny/29-mlp", feature=5) == []


@pytest.mark.parametrize("name", ["similar_by_tokens", "similar_by_sets"])
def test_one_sae_is_asked_for(mixed: Catalogue, ask: Ask, name: str) -> None:
    assert ask(mixed, name, sae="*3-alt", feature=1) == ask(mixed, name, sae="tiny/3-alt", feature=1)
    with pytest.raises(QueryError, match="3 SAEs match 'tiny/\\*' and have a feature 3; name one of tiny/29-mlp"):
        ask(mixed, name, sae="tiny/*", feature=3)
    # Only one of them has that many features.
    assert ask(mixed, name, sae="tiny/*", feature=50) == ask(mixed, name, sae="tiny/29-mlp", feature=50)
    with pytest.raises(NotFoundError, match="no feature 60 in 'tiny/\\*'; its features are 0 to 59"):
        ask(mixed, name, sae="tiny/*", feature=60)
    with pytest.raises(NotFoundError, match="no SAE matches 'x'"):
        ask(mixed, name, sae="tiny/8*", feature=1, within="x")


def test_promotes_is_the_question(featdex: Featdex) -> None:
    for verb, options in (("features_promoting", []), ("features_suppressing", ["--suppresses"])):
        asked = featdex("q", verb, "token= Mary", "sae=tiny/2*", "max_rank=5", "n=7", "-f", "jsonl")
        given = featdex("promotes", " Mary", "--sae", "tiny/2*", "--max-rank", "5", "-n", "7", *options, "-f", "jsonl")
        assert given == asked
        assert (given[0], given[1].count("\n")) == (0, 7)
    assert featdex("promotes", "0", "--id") == featdex("promotes", " Mary")
    assert featdex("promotes", "x", "--id")[0] == 2
    code, _, err = featdex("promotes", " Marie")
    assert code == 3
    assert "nearest: ␣Mary, Mary" in err
