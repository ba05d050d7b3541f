"""The card of a feature against plain Python over the rows that were written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from featdex.catalogue.card import feature_card, power_of_ten, render_card, resolve_sae, sparkline, split_address
from featdex.catalogue.catalogue import Catalogue, connect
from featdex.catalogue.errors import NotFoundError, UsageError
from featdex.catalogue.write import SaeRows, write_sae

Written = dict[str, SaeRows]


def plain(parts: Sequence[pa.Table] | None) -> list[dict[str, Any]]:
    """The rows of a table that is given in parts."""
    rows: list[dict[str, Any]] = pa.concat_tables(parts or []).to_pylist()
    return rows


def test_percentiles_count_the_features_below(catalogue: Catalogue, written: Written) -> None:
    features = plain(written["tiny/29-mlp"].feature)
    card = feature_card(catalogue, "tiny/29-mlp/44")
    for name in ("mean", "skewness", "kurtosis", "max", "cos_std"):
        value = features[44][name]
        below = sum(row[name] < value for row in features)
        assert card["statistics"][name]["value"] == pytest.approx(value, rel=1e-6)
        assert card["statistics"][name]["percentile"] == pytest.approx(100 * below / len(features))
    assert card["statistics"]["log10_density"] == {"value": None, "percentile": None}


def test_tokens_and_sets_are_those_of_the_feature(catalogue: Catalogue, written: Written) -> None:
    rows = written["tiny/8-res-jb"]
    card = feature_card(catalogue, "tiny/8-res-jb/7")
    ranks = {row["rank"]: row["token_id"] for row in plain(rows.feature_token) if row["feature"] == 7}
    assert [token["token_id"] for token in card["top_tokens"]] == [ranks[rank] for rank in range(1, 11)]
    assert [token["token_id"] for token in card["bottom_tokens"]] == [ranks[rank] for rank in range(-1, -11, -1)]
    names = rows.token_sets.column("name").to_pylist()
    scores = {name: part.column("z").to_pylist()[7] for name, part in zip(names, rows.enrichment, strict=True)}
    promoted = sorted((name for name, z in scores.items() if z > 0), key=lambda name: -scores[name])
    suppressed = sorted((name for name, z in scores.items() if z < 0), key=lambda name: scores[name])
    assert [entry["set_name"] for entry in card["promoted_sets"]] == promoted
    assert [entry["set_name"] for entry in card["suppressed_sets"]] == suppressed
    assert sum(card["histogram"]["counts"]) == rows.tokens.num_rows


def test_the_card_is_one_screen(catalogue: Catalogue) -> None:
    text = render_card(feature_card(catalogue, "29-mlp/573"))
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= 100
    assert text.startswith("tiny/29-mlp/573  (sae, layer 29, blocks.8.hook_resid_pre, prediction feature)")
    for part in ("␣Mary", "kurtosis", "girls_names", "5.8e-398", "(log counts)"):
        assert part in text


def test_explanations_and_tags_are_shown(scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("INSERT INTO explanation (sae_id, feature, text) VALUES (1, 7, 'names \x1b[31m')")
        connection.execute(
            "INSERT INTO tag (sae_id, feature, tag, note) VALUES (1, 7, 'seen', 'twice'), (1, 7, 'odd', NULL)"
        )
    with connect(scratch) as catalogue:
        text = render_card(feature_card(catalogue, "8-res-jb/7"))
    assert text.endswith("explanation: names \\x1b[31m\ntags: odd; seen: twice")


def test_a_card_with_everything_is_one_screen(scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("UPDATE feature SET label = repeat('long label ', 20) WHERE feature = 7")
        connection.execute(
            "INSERT INTO explanation (sae_id, feature, text) SELECT 1, 7, repeat('words ', i) FROM range(50) r(i)"
        )
        connection.execute(
            "INSERT INTO tag (sae_id, feature, tag, note) SELECT 1, 7, 'tag' || i, 'note' FROM range(50) r(i)"
        )
    with connect(scratch) as catalogue:
        card = feature_card(catalogue, "8-res-jb/7")
    text = render_card(card)
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= 100
    assert (len(card["explanations"]), len(card["tags"])) == (50, 50)


def test_a_card_tells_the_role_and_the_sets_that_explain(catalogue: Catalogue) -> None:
    card = feature_card(catalogue, "8-res-jb/7")
    assert card["role"] == "prediction"
    listed = catalogue.query("independent_sets_of", sae="tiny/8-res-jb", feature=7).fetchall()
    assert [(entry["set_name"], entry["z_given"]) for entry in card["explaining_sets"]] == [
        (row[3], pytest.approx(row[7])) for row in listed
    ]
    assert card["explaining_sets"][0]["set_name"] == "girls_names"
    text = render_card(card)
    assert "prediction feature)" in text.splitlines()[0]
    assert "explained by (z given those before): girls_names (15)" in text


def test_a_catalogue_with_older_questions_has_a_card(scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("DROP MACRO TABLE independent_sets_of; DROP MACRO _role")
    with connect(scratch) as catalogue:
        card = feature_card(catalogue, "8-res-jb/7")
    assert (card["role"], card["explaining_sets"]) == (None, [])
    assert "girls_names" in render_card(card)


@pytest.mark.parametrize(
    ("text", "slug"),
    [("tiny/8-res-jb", "tiny/8-res-jb"), ("*29*", "tiny/29-mlp"), ("29-mlp", "tiny/29-mlp"), ("res", "tiny/8-res-jb")],
)
def test_an_sae_is_named_by_slug_glob_or_part(catalogue: Catalogue, text: str, slug: str) -> None:
    assert resolve_sae(catalogue, text) == slug


def test_an_exact_slug_wins_over_longer_ones(scratch: Path, rows_of: Callable[..., SaeRows]) -> None:
    write_sae(scratch, rows_of("tiny/8-res-jb-2"))
    with connect(scratch) as catalogue:
        assert resolve_sae(catalogue, "tiny/8-res-jb") == "tiny/8-res-jb"
        with pytest.raises(UsageError, match=r"'res' matches 2 SAEs; which of tiny/8-res-jb, tiny/8-res-jb-2\?"):
            resolve_sae(catalogue, "res")


def test_an_unknown_sae_is_answered_with_the_nearest(catalogue: Catalogue) -> None:
    with pytest.raises(NotFoundError, match="no SAE matches 'tiny/9-res-jb'; did you mean tiny/8-res-jb"):
        resolve_sae(catalogue, "tiny/9-res-jb")


@pytest.mark.parametrize("address", ["", "x", "tiny/", "/7", "tiny/8-res-jb", "tiny/8-res-jb/-1", "tiny/8-res-jb/٣"])
def test_an_address_ends_with_an_index(address: str) -> None:
    with pytest.raises(UsageError, match="write SAE/FEATURE"):
        split_address(address)


def test_a_feature_beyond_the_last_is_not_found(catalogue: Catalogue) -> None:
    with pytest.raises(NotFoundError, match="its features are 0 to 11"):
        feature_card(catalogue, "tiny/8-res-jb/12")


def test_sparks_show_single_counts() -> None:
    assert sparkline([0, 1, 10, 1000]) == " ▁▃█"
    assert sparkline([0, 0]) == "  "
    assert sparkline([]) == ""


@pytest.mark.parametrize(
    ("exponent", "text"), [(None, ""), (0.0, "1"), (-1.3, "0.05"), (-299.0, "1e-299"), (-390.5, "3.2e-391")]
)
def test_small_probabilities_do_not_vanish(exponent: float | None, text: str) -> None:
    assert power_of_ten(exponent) == text
