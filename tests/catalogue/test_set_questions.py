"""The questions of token sets, against plain Python over the tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from featdex.catalogue.catalogue import Catalogue, connect
from featdex.catalogue.errors import NotFoundError
from featdex.catalogue.file import create
from featdex.catalogue.write import SaeRows, write_sae

Row = dict[str, Any]
Raw = dict[str, list[Row]]
Ask = Callable[..., list[Row]]
SETS = ("girls_names", "boys_names", "digits", "Quote's")
PLACE = ("sae_id", "feature")


def slugs(raw: Raw) -> dict[int, str]:
    return {row["sae_id"]: row["slug"] for row in raw["sae"]}


def names(raw: Raw) -> dict[int, str]:
    return {row["set_id"]: row["name"] for row in raw["token_set"]}


def scores(raw: Raw, set_name: str) -> dict[tuple[int, int], Row]:
    """The rows of one set by feature, those without a z left out."""
    ids = {set_id for set_id, name in names(raw).items() if name == set_name}
    rows = [row for row in raw["enrichment"] if row["set_id"] in ids and row["z"] is not None]
    return {(row["sae_id"], row["feature"]): row for row in rows}


def correlation(raw: Raw, sae_id: int, set_id: int, other_id: int) -> float | None:
    for row in raw["set_correlation"]:
        if (row["sae_id"], row["set_id"], row["other_id"]) == (sae_id, set_id, other_id):
            return float(row["r"])
    return None


def by_name(raw: Raw, place: tuple[int, int]) -> tuple[str, int]:
    return slugs(raw)[place[0]], place[1]


def of(row: Row) -> tuple[str, int]:
    return row["sae"], row["feature"]


@pytest.mark.parametrize(("first", "second"), [("girls_names", "boys_names"), ("digits", "girls_names")])
def test_sets_are_compared_by_the_difference_of_z(
    mixed: Catalogue, raw: Raw, ask: Ask, first: str, second: str
) -> None:
    found = ask(mixed, "compare_sets", set_a=first, set_b=second, n=1000)
    one, other = scores(raw, first), scores(raw, second)
    both = sorted(one.keys() & other.keys(), key=lambda place: (-abs(one[place]["z"] - other[place]["z"]), place))
    assert [of(row) for row in found] == [by_name(raw, place) for place in both]
    assert by_name(raw, (2, 5)) not in [of(row) for row in found]
    for row, place in zip(found, both, strict=True):
        a, b = one[place], other[place]
        r = correlation(raw, place[0], a["set_id"], b["set_id"])
        assert r is not None
        assert (row["z_a"], row["z_b"], row["difference"]) == (a["z"], b["z"], a["z"] - b["z"])
        assert row["z_difference"] == pytest.approx((a["z"] - b["z"]) / math.sqrt(2 * (1 - r)))
        assert [row["q_a"], row["q_b"]] == pytest.approx([10 ** a["log10_q"], 10 ** b["log10_q"]])
    assert ask(mixed, "compare_sets", set_a=first, set_b=second, n=6) == found[:6]


@pytest.mark.parametrize("first", SETS)
@pytest.mark.parametrize("second", SETS)
def test_a_comparison_turned_round_has_the_other_sign(mixed: Catalogue, ask: Ask, first: str, second: str) -> None:
    there = ask(mixed, "compare_sets", set_a=first, set_b=second, n=1000)
    back = ask(mixed, "compare_sets", set_a=second, set_b=first, n=1000)
    assert there
    assert [(*of(row), row["z_a"], row["z_b"], row["difference"]) for row in there] == [
        (*of(row), row["z_b"], row["z_a"], -row["difference"]) for row in back
    ]
    if first == second:
        assert {(row["difference"], row["z_difference"]) for row in there} == {(0, None)}
    else:
        assert [row["z_difference"] for row in there] == pytest.approx([-row["z_difference"] for row in back])


def test_a_comparison_may_ask_for_sharp_features(mixed: Catalogue, raw: Raw, ask: Ask) -> None:
    found = ask(mixed, "compare_sets", set_a="girls_names", set_b="digits", sae="tiny/2*", min_kurtosis=3.0, n=1000)
    sharp = {tuple(row[key] for key in PLACE) for row in raw["feature"] if (row["kurtosis"] or 0) >= 3.0}
    assert {of(row) for row in found} == {by_name(raw, place) for place in sharp if place[0] == 2}


SPECIFIC: list[Row] = [
    {"min_z": 0, "max_r": 1}, {"min_z": 3, "max_r": 0.1}, {"min_z": 0, "max_r": -1},
    {"min_z": 1, "other": "boys_names"}, {"min_z": -100, "other": "digits", "max_r": -1},
]  # fmt: skip


@pytest.mark.parametrize("limits", SPECIFIC, ids=str)
def test_specific_features_stand_above_the_next_set(mixed: Catalogue, raw: Raw, ask: Ask, limits: Row) -> None:
    found = ask(mixed, "specific_to", set_name="girls_names", n=1000, **limits)
    wanted = []
    for place, row in scores(raw, "girls_names").items():
        untested = "other" in limits and place not in scores(raw, limits["other"])
        if row["z"] < limits["min_z"] or untested:
            continue
        rivals = []
        for name in {*names(raw).values()} - {"girls_names"}:
            other = scores(raw, name).get(place)
            r = 0.0 if other is None else correlation(raw, place[0], row["set_id"], other["set_id"]) or 0.0
            is_meant = name == limits["other"] if "other" in limits else r <= limits["max_r"]
            if other is not None and is_meant and other["z"] > 0:
                rivals.append((other["z"], name, (row["z"] - r * other["z"]) / math.sqrt(1 - r * r)))
        next_z, next_name, given = max(rivals, default=(None, None, None))
        wanted.append((-(row["z"] - (next_z or 0)), place, next_name, next_z, given))
    wanted.sort(key=lambda entry: entry[:2])
    assert [(*of(row), row["other_set"], row["other_z"]) for row in found] == [
        (*by_name(raw, place), name, z) for _, place, name, z, _ in wanted
    ]
    assert [row["margin"] for row in found] == pytest.approx([-margin for margin, *_ in wanted])
    assert [row["z_given"] for row in found] == [
        given if given is None else pytest.approx(given) for *_, given in wanted
    ]
    assert ask(mixed, "specific_to", set_name="girls_names", n=2, **limits) == found[:2]


def test_the_planted_features_are_specific(mixed: Catalogue, ask: Ask) -> None:
    found = ask(mixed, "specific_to", set_name="girls_names", max_r=1)
    assert {row["feature"] for row in found if row["z"] == 15} == {7, 40, 9, 4}
    assert found[0]["z"] == 15


@pytest.mark.parametrize("max_q", [0.05, 0.5, None])
def test_a_set_is_counted_by_layer(mixed: Catalogue, raw: Raw, ask: Ask, max_q: float | None) -> None:
    found = ask(mixed, "set_by_layer", set_name="digits", max_q=max_q)
    wanted = []
    for sae in sorted(raw["sae"], key=lambda row: (row["layer"], row["slug"])):
        rows = [row for (sae_id, _), row in scores(raw, "digits").items() if sae_id == sae["sae_id"]]
        if not rows:
            continue
        counted = [row for row in rows if max_q is None or 10 ** row["log10_q"] <= max_q]
        best, worst = max(rows, key=lambda row: row["z"]), min(rows, key=lambda row: row["z"])
        up, down = sum(row["z"] > 0 for row in counted), sum(row["z"] < 0 for row in counted)
        wanted.append(
            {"model": "tiny", "layer": sae["layer"], "sae": sae["slug"], "n_features": len(rows), "n_promoted": up}
            | {"n_suppressed": down, "share_promoted": up / len(rows), "share_suppressed": down / len(rows)}
            | {"best_promoted": best["feature"], "best_promoted_z": best["z"]}
            | {"best_suppressed": worst["feature"], "best_suppressed_z": worst["z"]}
        )
    assert found == wanted
    assert [row["n_features"] for row in found] == [30, 12, 59]
    assert ask(mixed, "set_by_layer", set_name="digits", sae="*alt", max_q=max_q) == wanted[:1]


@pytest.mark.parametrize("limits", [{}, {"sae": "tiny/*9*"}, {"collection": "names"}, {"n": 2}], ids=str)
def test_every_set_has_its_best_feature(mixed: Catalogue, raw: Raw, ask: Ask, limits: Row) -> None:
    found = ask(mixed, "best_feature_per_set", **limits)
    wanted = []
    for token_set in raw["token_set"]:
        rows = [row for row in raw["enrichment"] if row["set_id"] == token_set["set_id"] and row["z"] is not None]
        rows = [row for row in rows if "sae" not in limits or "9" in slugs(raw)[row["sae_id"]]]
        if rows and limits.get("collection", token_set["collection"]) == token_set["collection"]:
            best = min(rows, key=lambda row: (-row["z"], row["sae_id"], row["feature"]))
            significant = [row for row in rows if row["log10_q"] < math.log10(0.05)]
            counts = sum(row["z"] > 0 for row in significant), sum(row["z"] < 0 for row in significant)
            wanted.append((-best["z"], token_set["set_id"], slugs(raw)[best["sae_id"]], best["feature"], *counts))
    wanted = sorted(wanted)[: limits.get("n")]
    assert [(-row["z"], *of(row), row["n_promoted"], row["n_suppressed"]) for row in found] == [
        (z, *rest) for z, _, *rest in wanted
    ]
    assert [row["set_name"] for row in found] == [names(raw)[set_id] for _, set_id, *_ in wanted]


@pytest.mark.parametrize(("min_kurtosis", "max_z"), [(0, 4), (2.8, 6), (3, 100), (0, 0.1)])
def test_unexplained_features_are_sharp_and_near_no_set(
    mixed: Catalogue, raw: Raw, ask: Ask, min_kurtosis: float, max_z: float
) -> None:
    found = ask(mixed, "unexplained", min_kurtosis=min_kurtosis, max_z=max_z, n=1000)
    wanted = []
    for row in raw["feature"]:
        place = (row["sae_id"], row["feature"])
        sets = [e for e in raw["enrichment"] if (e["sae_id"], e["feature"]) == place and e["z"] is not None]
        if row["kurtosis"] is not None and row["kurtosis"] >= min_kurtosis and all(abs(e["z"]) < max_z for e in sets):
            nearest = max(sets, key=lambda e: abs(e["z"]))
            wanted.append((-row["kurtosis"], place, names(raw)[nearest["set_id"]], nearest["z"]))
    wanted.sort()
    assert [(*of(row), row["nearest_set"], row["z"]) for row in found] == [
        (*by_name(raw, place), name, z) for _, place, name, z in wanted
    ]
    assert [-row["kurtosis"] for row in found] == [kurtosis for kurtosis, *_ in wanted]


def test_what_no_set_explains_has_no_independent_sets(mixed: Catalogue, ask: Ask) -> None:
    unexplained = {row["feature"] for row in ask(mixed, "unexplained", sae="tiny/8*", min_kurtosis=0, max_z=5, n=100)}
    for feature in range(12):
        sets = ask(mixed, "independent_sets_of", sae="tiny/8*", feature=feature, min_z=5)
        assert (sets == []) == (feature in unexplained)


@pytest.mark.parametrize(("slug", "feature"), [("tiny/8-res-jb", 7), ("tiny/3-alt", 2), ("other/0-res", 3)])
def test_features_are_alike_by_the_cosine_of_z(mixed: Catalogue, raw: Raw, ask: Ask, slug: str, feature: int) -> None:
    found = ask(mixed, "similar_by_sets", sae=slug, feature=feature, within="*", n=1000)
    (sae_id,) = (key for key, name in slugs(raw).items() if name == slug)
    z: dict[tuple[int, int], dict[int, float]] = {}
    for row in raw["enrichment"]:
        if row["z"] is not None:
            z.setdefault((row["sae_id"], row["feature"]), {})[row["set_id"]] = row["z"]
    asked = z.pop((sae_id, feature))
    wanted = {}
    for place, other in z.items():
        both = asked.keys() & other.keys()
        if both:
            inner = math.fsum(asked[key] * other[key] for key in both)
            squares = math.fsum(asked[key] ** 2 for key in both) * math.fsum(other[key] ** 2 for key in both)
            wanted[by_name(raw, place)] = (inner / math.sqrt(squares), len(both))
    assert {of(row): row["n_sets"] for row in found} == {place: n for place, (_, n) in wanted.items()}
    assert [row["cosine"] for row in found] == pytest.approx([wanted[of(row)][0] for row in found])
    assert [row["cosine"] for row in found] == sorted((row["cosine"] for row in found), reverse=True)
    assert -1.000001 <= found[-1]["cosine"] <= found[0]["cosine"] <= 1.000001
    assert ask(mixed, "similar_by_sets", sae=slug, feature=feature, within="*", n=3) == found[:3]
    own = [row for row in found if row["sae"] == slug]
    assert ask(mixed, "similar_by_sets", sae=slug, feature=feature, n=1000) == own
    assert ask(mixed, "similar_by_sets", sae=slug, feature=feature, within=slug, n=1000) == own


def test_likeness_by_sets_is_mutual(mixed: Catalogue, ask: Ask) -> None:
    for row in ask(mixed, "similar_by_sets", sae="tiny/8-res-jb", feature=2, within="*", n=8):
        back = ask(mixed, "similar_by_sets", sae=row["sae"], feature=row["feature"], within="tiny/8*", n=1000)
        (same,) = (other for other in back if of(other) == ("tiny/8-res-jb", 2))
        assert (same["cosine"], same["n_sets"]) == (pytest.approx(row["cosine"]), row["n_sets"])


def test_a_zero_row_is_like_nothing(mixed: Catalogue, ask: Ask) -> None:
    assert ask(mixed, "similar_by_sets", sae="tiny/29-mlp", feature=5, within="*") == []
    found = ask(mixed, "similar_by_sets", sae="tiny/8-res-jb", feature=1, within="*", n=1000)
    assert ("tiny/29-mlp", 5) not in [of(row) for row in found]


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory: pytest.TempPathFactory, rows_of: Callable[..., SaeRows]) -> Path:
    """Two models with sets that share tokens; one set was defined anew, and its old version is still in use."""
    path = tmp_path_factory.mktemp("overlapping") / "overlapping.duckdb"
    create(path)
    members = {"a": [0, 1, 2, 3], "b": [2, 3, 4], "c": [3, 4, 5, 6, 7], "d": [50, 51], "e": [0, 1, 2, 3]}
    write_sae(path, rows_of(members=members))
    write_sae(path, rows_of("tiny/9-res", members=members))
    write_sae(path, rows_of(members={**members, "a": [0, 1, 2, 3, 4]}))
    write_sae(path, rows_of("other/0-res", model="other", members={"a": [3, 4], "z": [4, 5]}))
    return path


def overlaps(path: Path, ask: Ask, **parameters: Any) -> dict[tuple[str, str, str], tuple[int, float, float]]:
    with connect(path) as catalogue:
        found = ask(catalogue, "set_overlap", **parameters)
    shares = [-row["jaccard"] for row in found]
    assert shares == sorted(shares)
    return {
        (row["model"], row["set_name"], row["other_set"]): (row["n_shared"], row["jaccard"], row["contained"])
        for row in found
    }


def test_sets_overlap_by_their_members(overlapping: Path, ask: Ask) -> None:
    found = overlaps(overlapping, ask, min_jaccard=0, n=1000)
    with connect(overlapping) as catalogue:
        rows = catalogue.sql(
            "SELECT m.name, t.name, list(i.token_id), t.set_id FROM token_set t JOIN model m USING (model_id)"
            " JOIN token_set_member i USING (set_id) GROUP BY ALL ORDER BY t.set_id"
        ).fetchall()
    wanted = {}
    for model, name, ids, set_id in rows:
        for other_model, other, other_ids, other_id in rows:
            shared = len({*ids} & {*other_ids})
            if model == other_model and set_id < other_id and shared and "@" not in name + other:
                union = len({*ids} | {*other_ids})
                wanted[model, name, other] = (shared, shared / union, shared / min(len(ids), len(other_ids)))
    assert found == wanted
    assert overlaps(overlapping, ask, min_jaccard=0.4, n=1000) == {k: v for k, v in wanted.items() if v[1] >= 0.4}


def test_overlap_is_mutual(overlapping: Path, ask: Ask) -> None:
    pairs: dict[tuple[str, str, str], tuple[int, float, float]] = {}
    for name in "abcdez":
        pairs |= overlaps(overlapping, ask, set_name=name, min_jaccard=0, n=1000)
    assert len(pairs) > 8
    assert pairs == {(model, other, name): shares for (model, name, other), shares in pairs.items()}
    assert overlaps(overlapping, ask, set_name="d", min_jaccard=0) == {}


def test_an_old_version_overlaps_where_it_is_named(overlapping: Path, ask: Ask) -> None:
    with connect(overlapping) as catalogue:
        ((old,),) = catalogue.sql("SELECT name FROM token_set WHERE contains(name, '@')").fetchall()
    found = overlaps(overlapping, ask, set_name=old, min_jaccard=0)
    assert found["tiny", old, "a"] == (4, 0.8, 1.0)
    assert found["tiny", old, "e"] == (4, 1.0, 1.0)


UNKNOWN = [
    ("compare_sets", {"set_a": "girl_names", "set_b": "digits"}, "no token set 'girl_names'; nearest: girls_names"),
    ("compare_sets", {"set_a": "digits", "set_b": "girl_names"}, "no token set 'girl_names'; nearest: girls_names"),
    ("compare_sets", {"set_a": "digits", "set_b": "odd", "sae": "x"}, "no SAE matches 'x'; nearest: "),
    ("specific_to", {"set_name": "girl_names"}, "no token set 'girl_names'; nearest: girls_names"),
    ("specific_to", {"set_name": "girls_names", "other": "boy"}, "no token set 'boy'; nearest: boys_names"),
    ("specific_to", {"set_name": "odd", "sae": "tiny/9"}, "no SAE matches 'tiny/9'; nearest: "),
    ("set_by_layer", {"set_name": "digit"}, "no token set 'digit'; nearest: digits"),
    ("set_by_layer", {"set_name": None}, "no token set 'NULL'; nearest: "),
    ("set_by_layer", {"set_name": "digits", "sae": "x"}, "no SAE matches 'x'"),
    ("best_feature_per_set", {"sae": "x"}, "no SAE matches 'x'"),
    ("unexplained", {"sae": "x"}, "no SAE matches 'x'"),
    ("set_overlap", {"set_name": "digit"}, "no token set 'digit'; nearest: digits"),
    ("explained_as", {"words": "a", "sae": "x"}, "no SAE matches 'x'"),
    ("explained_as", {"words": "a", "set_name": "digit"}, "no token set 'digit'; nearest: digits"),
]


@pytest.mark.parametrize(("name", "parameters", "message"), UNKNOWN)
def test_an_unknown_name_is_answered_with_the_nearest(
    mixed: Catalogue, ask: Ask, name: str, parameters: Row, message: str
) -> None:
    with pytest.raises(NotFoundError) as caught:
        ask(mixed, name, **parameters)
    assert str(caught.value).startswith(message)


def test_a_set_of_another_model_is_compared_with_nothing(mixed: Catalogue, ask: Ask) -> None:
    assert ask(mixed, "compare_sets", set_a="odd", set_b="girls_names", sae="other/*") == []
    assert ask(mixed, "specific_to", set_name="odd", sae="tiny/8*", min_z=-100) == []


def test_an_empty_catalogue_answers_with_nothing(tmp_path: Path, ask: Ask) -> None:
    create(tmp_path / "empty.duckdb")
    with connect(tmp_path / "empty.duckdb") as catalogue:
        for name in ("roles", "best_feature_per_set", "unexplained", "set_overlap"):
            assert ask(catalogue, name) == []
        assert ask(catalogue, "layer_profile", stat="kurtosis") == []
