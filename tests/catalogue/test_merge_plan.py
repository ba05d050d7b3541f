"""Planning a merge: the order of catalogues changes ids and nothing else, and in steps it is what it is at once."""

from __future__ import annotations

from typing import Any

import pytest
from featdex.catalogue.errors import CatalogueError
from featdex.catalogue.merge_notes import joined_notes
from featdex.catalogue.merge_plan import Contents, plan_merge
from hypothesis import given, settings
from hypothesis import strategies as st

DIGESTS = {(name, version): f"{ord(name) * 10 + version:08x}{'0' * 56}" for name in "pqr" for version in range(3)}

# An SAE is what its slug says wherever it is: so catalogues that share some are never in conflict.
saes = st.builds(
    lambda model, number, versions: (model, f"{model}/{number}-{''.join(map(str, versions))}", versions),
    st.sampled_from("mn"),
    st.integers(0, 1),
    st.tuples(*[st.integers(0, 2)] * 3),
)


@st.composite
def catalogues(draw: st.DrawFn, label: str = "x.duckdb") -> Contents:
    """A catalogue as ingests leave it: every tested version of a set, one of a name plain, ids in any order."""
    found = list(dict.fromkeys(draw(st.lists(saes, min_size=1, max_size=4))))
    models = {name: k for k, name in enumerate(draw(st.permutations(sorted({model for model, _, _ in found}))), 3)}
    keys = sorted({(model, *pair) for model, _, versions in found for pair in zip("pqr", versions, strict=True)})
    plain = {
        (model, name): draw(st.sampled_from([k for k in keys if k[:2] == (model, name)])) for model, name, _ in keys
    }
    set_ids = dict(zip(draw(st.permutations(keys)), range(2, 99), strict=False))
    rows = []
    for key in keys:
        model, name, version = key
        digest = DIGESTS[name, version]
        shown = name if plain[model, name] == key else f"{name}@{digest[:8]}"
        rows.append({"set_id": set_ids[key], "model_id": models[model], "name": shown, "members_sha256": digest})
    facts = {"weights_sha256": "w", "d_sae": 5, "neuronpedia_id": None}
    return Contents(
        label,
        [{"model_id": k, "name": name, "unembed_sha256": name, "tokenizer_sha256": "t"} for name, k in models.items()],
        sorted(rows, key=lambda row: int(str(row["set_id"]))),
        [{"sae_id": k, "model_id": models[m], "slug": slug, **facts} for k, (m, slug, _) in enumerate(found, 4)],
        [{"run_id": 2 * k, "sae_id": k, "params_sha256": slug} for k, (_, slug, _) in enumerate(found, 4)],
        [
            (k, set_ids[model, name, version])
            for k, (model, _, versions) in enumerate(found, 4)
            for name, version in zip("pqr", versions, strict=True)
        ],
    )  # fmt: skip


def merged(*inputs: Contents) -> Contents:
    """The small tables of the result, as the copying makes them from a plan."""
    plan = plan_merge(inputs)
    models, sets, found, runs, tested = [], [], [], [], []
    for contents, share in zip(inputs, plan.shares, strict=True):
        models += [
            {**row, "model_id": share.models.new[row["model_id"]]}
            for row in contents.models
            if row["model_id"] in share.models.own
        ]
        for row in contents.sets:
            if row["set_id"] in share.sets.own:
                new_id = share.sets.new[row["set_id"]]
                ids = {"set_id": new_id, "model_id": share.models.new[row["model_id"]]}
                sets.append({**row, **ids, "name": plan.set_names[new_id]})
        found += [
            {**row, "sae_id": share.saes.new[row["sae_id"]], "model_id": share.models.new[row["model_id"]]}
            for row in contents.saes
            if row["sae_id"] in share.saes.own
        ]
        runs += [
            {**row, "run_id": share.runs.new[row["run_id"]], "sae_id": share.saes.new[row["sae_id"]]}
            for row in contents.runs
            if row["run_id"] in share.runs.own
        ]
        own = set(share.saes.own)
        tested += [(share.saes.new[s], share.sets.new[t]) for s, t in contents.tested if s in own]
    return Contents("merged.duckdb", models, sets, found, runs, tested)


def facts(contents: Contents) -> dict[str, Any]:
    """What a catalogue says, without ids and without which version of a set has the plain name."""
    models = {row["model_id"]: row["name"] for row in contents.models}
    sets = {row["set_id"]: (models[row["model_id"]], row["name"][0], row["members_sha256"]) for row in contents.sets}
    slugs = {row["sae_id"]: (models[row["model_id"]], row["slug"]) for row in contents.saes}
    assert (len(models), len(sets), len(slugs)) == (len(contents.models), len(contents.sets), len(contents.saes))
    assert len({(row["model_id"], row["name"]) for row in contents.sets}) == len(contents.sets)
    assert len({row["run_id"] for row in contents.runs}) == len(contents.runs)
    return {
        "models": sorted(models.values()),
        "sets": sorted(sets.values()),
        "saes": sorted(slugs.values()),
        "runs": sorted((slugs[row["sae_id"]], row["params_sha256"]) for row in contents.runs),
        "tested": sorted((slugs[sae_id], sets[set_id]) for sae_id, set_id in contents.tested),
        "plain": sorted({(models[row["model_id"]], row["name"]) for row in contents.sets if len(row["name"]) == 1}),
    }


@settings(max_examples=40, deadline=None)
@given(st.lists(catalogues(), min_size=2, max_size=4), st.randoms())
def test_the_order_permutes_ids_and_steps_change_nothing(inputs: list[Contents], chance: Any) -> None:
    at_once = merged(*inputs)
    shuffled = chance.sample(inputs, len(inputs))
    assert facts(merged(*shuffled)) == facts(at_once)
    # Everything of every input is there, and nothing else.
    for part in ("models", "sets", "saes", "runs", "tested"):
        assert facts(at_once)[part] == sorted({fact for contents in inputs for fact in facts(contents)[part]})
    # The last catalogue that has a name says which version it means.
    last = {
        row["name"]: row["members_sha256"] for row in inputs[-1].sets if row["model_id"] == 3 and len(row["name"]) == 1
    }
    model = next(row["name"] for row in inputs[-1].models if row["model_id"] == 3)
    new_id = next(row["model_id"] for row in at_once.models if row["name"] == model)
    now = {row["name"]: row["members_sha256"] for row in at_once.sets if row["model_id"] == new_id}
    assert {name: now[name] for name in last} == last
    first, *others = inputs
    assert merged(first) == Contents("merged.duckdb", *list(vars(first).values())[1:])
    assert merged(merged(first, others[0]), *others[1:]) == at_once
    assert facts(merged(first, merged(*others))) == facts(at_once)
    assert merged(at_once, inputs[-1]) == at_once


@pytest.mark.parametrize(
    ("what", "part", "key", "row"),
    [
        ("models", "models", "name", {"unembed_sha256": "x", "tokenizer_sha256": "x"}),
        ("SAEs", "saes", "slug", {"model_id": 1, "weights_sha256": "", "d_sae": 1, "neuronpedia_id": None}),
        ("token sets", "sets", "name", {"model_id": 1, "members_sha256": "0"}),
    ],
)
def test_ids_end_where_their_type_ends(what: str, part: str, key: str, row: dict[str, Any]) -> None:
    model = {"model_id": 1, "name": "m", "unembed_sha256": "", "tokenizer_sha256": ""}
    own_id = {"models": "model_id", "saes": "sae_id", "sets": "set_id"}[part]

    def catalogue(name: str, id_there: int) -> Contents:
        parts: dict[str, Any] = {"models": [model], "sets": [], "saes": [], "runs": [], "tested": []}
        parts[part] = [*(parts[part]), {own_id: id_there, key: name, **row}]
        return Contents(name, **parts)

    full = catalogue("full", 32_767)
    assert plan_merge([full, catalogue("full", 2)]).shares[1].saes.own == []
    assert max(plan_merge([catalogue("new", 32_766), full]).shares[1].__dict__[part].new.values()) == 32_767
    with pytest.raises(CatalogueError, match=f"holds 32,767 {what} at most"):
        plan_merge([full, catalogue("new", 2)])


lines = st.none() | st.lists(st.sampled_from(["", "a", "b", "ab"]), min_size=1, max_size=4).map("\n".join)


@given(lines, lines, lines)
def test_notes_join_line_by_line(one: str | None, two: str | None, three: str | None) -> None:
    joined = joined_notes(one, two)
    assert joined_notes(joined, three) == joined_notes(one, joined_notes(two, three))
    assert joined_notes(one, one) == one
    assert joined_notes(joined, two) == joined
    said = [set(note.split("\n")) for note in (one, two) if note is not None]
    assert set((joined or "").split("\n")) == (set.union(*said) if said else {""})
    assert one is None or (joined or "").startswith(one)
