"""The questions of statistics and roles, against plain Python over the table of features."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from typing import Any

import pytest
from featdex.catalogue.catalogue import Catalogue
from featdex.catalogue.errors import NotFoundError

Row = dict[str, Any]
Raw = dict[str, list[Row]]
Ask = Callable[..., list[Row]]
Featdex = Callable[..., tuple[int, str, str]]
ROLES = ("prediction", "suppression", "partition", "other")
# All cosines of the small catalogue have a variance of 0.01.
THRESHOLDS = [(10, 0.005), (3.0, 0.005), (2.9, 0.02), (3.2, 0.02)]


def role(row: Row, kurtosis: float, variance: float) -> str | None:
    """The definition of Universal Neurons, in words: sharp ones by the sign of skewness, then wide ones."""
    if row["cos_kurtosis"] is None:
        return None
    is_sharp = row["cos_kurtosis"] > kurtosis and row["cos_skewness"] != 0
    if is_sharp:
        return "prediction" if row["cos_skewness"] > 0 else "suppression"
    return "partition" if row["cos_std"] * row["cos_std"] > variance else "other"


def places(raw: Raw) -> list[tuple[Row, Row]]:
    """Every SAE with its model's name, in the order of layers."""
    models = {row["model_id"]: row["name"] for row in raw["model"]}
    order = sorted(raw["sae"], key=lambda row: (models[row["model_id"]], row["layer"], row["slug"]))
    return [(row, {"name": models[row["model_id"]]}) for row in order]


@pytest.mark.parametrize(("kurtosis", "variance"), THRESHOLDS)
def test_roles_count_every_feature_once(mixed: Catalogue, raw: Raw, ask: Ask, kurtosis: float, variance: float) -> None:
    found = ask(mixed, "roles", role_kurtosis=kurtosis, role_variance=variance)
    wanted = []
    for sae, model in places(raw):
        features = [row for row in raw["feature"] if row["sae_id"] == sae["sae_id"]]
        kinds = [role(row, kurtosis, variance) for row in features]
        counts = {name: kinds.count(name) for name in ROLES}
        wanted.append(
            {"model": model["name"], "layer": sae["layer"], "sae": sae["slug"], "n_features": len(features)}
            | counts
            | {"undefined": kinds.count(None)}
        )
    assert found == wanted
    assert sum(row["undefined"] for row in found) == 1
    assert ask(mixed, "roles", sae="tiny/2*", role_kurtosis=kurtosis, role_variance=variance) == [
        row for row in wanted if row["sae"].startswith("tiny/2")
    ]


def test_the_thresholds_are_those_of_universal_neurons(mixed: Catalogue, ask: Ask) -> None:
    assert ask(mixed, "roles") == ask(mixed, "roles", role_kurtosis=10, role_variance=0.005)
    # The planted token of one feature of each SAE.
    assert all(row["prediction"] == 1 for row in ask(mixed, "roles"))


def test_thresholds_are_exceeded_not_met(mixed: Catalogue, raw: Raw, ask: Ask) -> None:
    highest = max(row["cos_kurtosis"] for row in raw["feature"] if row["cos_kurtosis"] is not None)
    assert sum(row["prediction"] + row["suppression"] for row in ask(mixed, "roles", role_kurtosis=highest)) == 0


@pytest.mark.parametrize(("kurtosis", "variance"), THRESHOLDS)
@pytest.mark.parametrize("wanted_role", [*ROLES, None])
def test_features_of_a_role_come_clearest_first(
    mixed: Catalogue, raw: Raw, ask: Ask, wanted_role: str | None, kurtosis: float, variance: float
) -> None:
    limits = {"role_kurtosis": kurtosis, "role_variance": variance}
    found = ask(mixed, "features_by_role", role=wanted_role, n=1000, **limits)
    slugs = {row["sae_id"]: row["slug"] for row in raw["sae"]}
    kept = []
    for row in raw["feature"]:
        own = role(row, kurtosis, variance)
        if wanted_role is None or own == wanted_role:
            size = row["cos_std"] if wanted_role == "partition" else row["cos_kurtosis"]
            kept.append((math.inf if size is None else -size, row["sae_id"], row["feature"], own))
    wanted = [(slugs[sae_id], feature, own) for _, sae_id, feature, own in sorted(kept)]
    assert [(row["sae"], row["feature"], row["role"]) for row in found] == wanted
    assert ask(mixed, "features_by_role", role=wanted_role, n=4, **limits) == found[:4]


def test_a_zero_row_has_no_role_and_no_tokens(mixed: Catalogue, ask: Ask) -> None:
    *_, last = ask(mixed, "features_by_role", role=None, sae="tiny/29-mlp", n=1000)
    assert (last["feature"], last["role"], last["top_tokens"], last["bottom_tokens"]) == (5, None, None, None)


@pytest.mark.parametrize(("kurtosis", "variance"), THRESHOLDS)
@pytest.mark.parametrize("wanted_role", ROLES)
@pytest.mark.parametrize("name", ["enriched_for", "suppressed_for"])
def test_features_of_a_set_are_limited_to_a_role(
    mixed: Catalogue, raw: Raw, ask: Ask, name: str, wanted_role: str, kurtosis: float, variance: float
) -> None:
    roles = {(row["sae_id"], row["feature"]): role(row, kurtosis, variance) for row in raw["feature"]}
    sae_ids = {row["slug"]: row["sae_id"] for row in raw["sae"]}
    everything = ask(mixed, name, set_name="digits", n=1000)
    found = ask(
        mixed, name, set_name="digits", role=wanted_role, role_kurtosis=kurtosis, role_variance=variance, n=1000
    )
    assert found == [row for row in everything if roles[sae_ids[row["sae"]], row["feature"]] == wanted_role]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("enriched_for", {"set_name": "digits", "role": "predictions"}),
        ("suppressed_for", {"set_name": "digits", "role": "predictions", "min_kurtosis": 1e9}),
        ("features_by_role", {"role": "predictions"}),
    ],
)
def test_an_unknown_role_is_answered_with_all(mixed: Catalogue, ask: Ask, name: str, parameters: Row) -> None:
    with pytest.raises(NotFoundError) as caught:
        ask(mixed, name, **parameters)
    assert str(caught.value) == "no role 'predictions'; the roles are prediction, suppression, partition, other"


def test_top_has_the_options_of_the_question(featdex: Featdex) -> None:
    options = ["--role", "partition", "--role-kurtosis", "9", "--role-variance", "0.004", "--max-density", "0.01"]
    values = ["role=partition", "role_kurtosis=9", "role_variance=0.004", "max_density=0.01"]
    for verb, more in (("enriched_for", []), ("suppressed_for", ["--suppressed"])):
        asked = featdex("q", verb, "girls_names", *values, "sae=tiny/*", "-f", "json")
        assert featdex("top", "girls_names", "--sae", "tiny/*", *options, *more, "-f", "json") == asked
        assert json.loads(asked[1])
    assert featdex("top", "girls_names", "--role", "names")[0] == 3


def percentile(values: list[float], share: float) -> float:
    """Linear interpolation between the closest ranks."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    return ordered[low] + (ordered[min(low + 1, len(ordered) - 1)] - ordered[low]) * (place - low)


@pytest.mark.parametrize("stat", ["skewness", "kurtosis", "cos_std", "q05", "log10_density"])
def test_a_profile_has_the_percentiles_of_each_layer(mixed: Catalogue, raw: Raw, ask: Ask, stat: str) -> None:
    found = ask(mixed, "layer_profile", stat=stat)
    assert [(row["model"], row["sae"], row["layer"]) for row in found] == [
        (model["name"], sae["slug"], sae["layer"]) for sae, model in places(raw)
    ]
    shares = {"p01": 0.01, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
    for row, (sae, _) in zip(found, places(raw), strict=True):
        values = [f[stat] for f in raw["feature"] if f["sae_id"] == sae["sae_id"] and f[stat] is not None]
        assert row["n_features"] == len(values)
        if not values:
            assert [row[name] for name in (*shares, "mean", "min", "max")] == [None] * 10
            continue
        assert [row[name] for name in shares] == pytest.approx([percentile(values, share) for share in shares.values()])
        assert [row["mean"], row["min"], row["max"]] == pytest.approx(
            [statistics.fmean(values), min(values), max(values)]
        )


def test_a_profile_knows_its_names(mixed: Catalogue, ask: Ask) -> None:
    with pytest.raises(NotFoundError, match=r"no statistic 'kurt' .*; did you mean kurtosis"):
        ask(mixed, "layer_profile", stat="kurt")
    with pytest.raises(NotFoundError, match="no SAE matches 'x'"):
        ask(mixed, "layer_profile", stat="kurtosis", sae="x")
    with pytest.raises(NotFoundError, match="no SAE matches 'x'"):
        ask(mixed, "roles", sae="x")
    assert [row["sae"] for row in ask(mixed, "layer_profile", stat="kurtosis", sae="other*")] == ["other/0-res"]
