"""The `wordnet` collection of token sets as shipped: facts, spot checks written by hand, overlap and size on GPT-2."""

from __future__ import annotations

import itertools
import json
import lzma
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from featdex.ingest import token_sets

FILE = Path(token_sets.__file__).parent / "data/sets/wordnet.toml"
VOCABULARY = Path(__file__).parents[1] / "data/gpt2_vocab.json.xz"
MAX_JACCARD = 0.6
CASINGS = {"any", "capital"}

MEMBERS = {
    "wn_noun_animal": "dog cat horse sparrow mosquito",
    "wn_noun_plant": "oak maple moss tulip",
    "wn_noun_body": "elbow knee kidney skull",
    "wn_noun_food": "bread butter pudding",
    "wn_noun_time": "century January Tuesday midnight",
    "wn_adj_all": "happy enormous wooden",
    "wn_adv_all": "quickly often",
    "wn_verb_motion": "walk swim climb gallop",
    "wn_verb_weather": "shine blaze",
    "wn_bird": "eagle owl penguin ostrich",
    "wn_fish": "salmon shark herring",
    "wn_insect": "ant bee mosquito",
    "wn_fruit": "apple banana orange cherry",
    "wn_vegetable": "cabbage onion carrot",
    "wn_beverage": "beer tea coffee whisky",
    "wn_musical_instrument": "violin piano guitar trombone",
    "wn_disease": "measles asthma influenza",
    "wn_color": "red green purple orange",
    "wn_chemical_element": "oxygen helium uranium iron",
    "wn_metallic_element": "iron sodium titanium",
    "wn_vehicle": "car helicopter tank yacht",
    "wn_clothing": "skirt hat jacket",
    "wn_furniture": "chair sofa desk",
    "wn_building": "castle hotel church",
    "wn_natural_language": "French Swahili Hindi",
    "wn_sport": "tennis rugby skiing",
    "wn_crime": "burglary perjury theft",
    "wn_weapon": "rifle sword dagger",
    "wn_emotion": "anger joy love fear",
    "wn_relative": "aunt cousin daughter",
    "wn_science": "physics astronomy biology",
    "wn_calendar_month": "January March May December",
    "wn_weekday": "Monday Friday",
    "wn_monetary_unit": "dollar euro yuan",
    "wn_weather": "rain breeze snow",
    "wn_named_city": "Paris Boston Cairo",
    "wn_named_african_country": "Kenya Egypt Nigeria",
    "wn_named_composer": "Bach Mozart Beethoven",
    "wn_named_president_of_the_united_states": "Lincoln Nixon",
}
"""Words of everyday knowledge that their set must hold, on GPT-2's vocabulary or not."""

STRANGERS = {
    "wn_noun_plant": "dog cat saw chair",
    "wn_noun_animal": "oak chair Lincoln London",
    "wn_noun_person": "Lincoln Mozart Washington",
    "wn_fruit": "carrot dog",
    "wn_furniture": "table_tennis saw",
    "wn_tool": "saw felt",
    "wn_fabric": "felt",
    "wn_musical_instrument": "violinist",
    "wn_metallic_element": "oxygen",
    "wn_calendar_month": "Monday",
    "wn_disease": "doctor hospital",
    "wn_unit_of_measurement": "henry",
    "wn_noun_group": "who",
}
"""Words that must not be in a set: of another class, a proper name, an inflection or a function word."""


@pytest.fixture(scope="module")
def file() -> dict[str, Any]:
    with FILE.open("rb") as stream:
        return tomllib.load(stream)  # refuses a repeated set name


@pytest.fixture(scope="module")
def sets(file: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(file["sets"])


@pytest.fixture(scope="module")
def gpt2_tokens() -> frozenset[str]:
    """Return the texts of GPT-2's tokens without one leading space. ASCII is written plainly in the vocabulary."""
    if not VOCABULARY.exists():
        pytest.skip("needs tests/data/gpt2_vocab.json.xz")
    tokens = json.loads(lzma.decompress(VOCABULARY.read_bytes()))["tokens"]
    return frozenset(token.removeprefix("Ġ") for token in tokens)


@pytest.fixture(scope="module")
def gpt2_words(gpt2_tokens: frozenset[str]) -> frozenset[str]:
    return frozenset(token.casefold() for token in gpt2_tokens)


def test_collection_states_its_source(file: dict[str, Any]) -> None:
    collection = file["collection"]
    assert collection["name"] == "wordnet"
    assert collection["licence"] == "WordNet 3.0"
    assert collection["version"] == "3.0-1"
    assert "Princeton" in collection["source"]
    assert (collection["casing"], collection["space"]) == ("any", "either")
    assert "plurals" in collection["description"]
    assert "Jaccard" in collection["description"]
    assert set(file) == {"collection", "sets"}


def test_file_is_small_and_readable() -> None:
    lines = FILE.read_text(encoding="ascii").splitlines()
    assert FILE.stat().st_size < 1_500_000
    assert max(len(line) for line in lines if not line.startswith("description")) <= 120


def test_every_set_has_its_facts(sets: dict[str, dict[str, Any]]) -> None:
    for name, one in sets.items():
        assert re.fullmatch("wn_[a-z0-9_]+", name)
        assert set(one) <= {"description", "casing", "terms"}, name
        assert one.get("casing", "any") in CASINGS, name
        # A lexicographer file is named; a synset has sense, offset and a gloss of at most 120 characters.
        found = re.fullmatch(
            r"WordNet's lexicographer file (noun|verb|adj|adv)\.\w+: .+\."
            r"|(Proper names, b|B)elow \S+\.[nv]\.\d\d \(\d{8}-[nv]\): (?P<gloss>.+)",
            one["description"],
        )
        assert found, name
        assert len(found["gloss"] or "") <= 120, name


def test_descriptions_tell_sets_apart(sets: dict[str, dict[str, Any]]) -> None:
    assert len({one["description"] for one in sets.values()}) == len(sets)


def test_terms_are_single_words_and_none_twice(sets: dict[str, dict[str, Any]]) -> None:
    for name, one in sets.items():
        terms = one["terms"]
        assert all(re.fullmatch("[A-Za-z]{3,16}", term) for term in terms), name
        assert len({term.lower() for term in terms}) == len(terms), name
        assert [term.lower() for term in terms] == sorted(term.lower() for term in terms), name


def test_proper_names_match_with_their_capital(sets: dict[str, dict[str, Any]]) -> None:
    named = [one for name, one in sets.items() if name.startswith("wn_named_")]
    assert len(named) >= 20
    for one in named:
        assert one["casing"] == "capital"
        assert sum(term != term.lower() for term in one["terms"]) > 0.9 * len(one["terms"])


@pytest.mark.parametrize("name", MEMBERS)
def test_known_members(sets: dict[str, dict[str, Any]], name: str) -> None:
    assert set(MEMBERS[name].split()) - set(sets[name]["terms"]) == set()


@pytest.mark.parametrize("name", STRANGERS)
def test_known_strangers(sets: dict[str, dict[str, Any]], name: str) -> None:
    terms = {term.lower() for term in sets[name]["terms"]}
    assert {word.lower() for word in STRANGERS[name].split()} & terms == set()


def test_lower_case_matching_never_takes_a_common_word_for_a_name(sets: dict[str, dict[str, Any]]) -> None:
    ambiguous = {"China", "March", "May", "Turkey", "Polish", "Job", "Chile", "Japan", "Mercury", "Bill", "Mark"}
    for name, one in sets.items():
        if one.get("casing", "any") == "any":
            assert not ambiguous & set(one["terms"]), name


def test_no_function_words(sets: dict[str, dict[str, Any]]) -> None:
    function_words = {"the", "and", "for", "with", "from", "can", "will", "must", "might", "who", "was", "has", "not"}
    for name, one in sets.items():
        if one.get("casing", "any") == "capital":  # "May" and "WHO" match as written
            continue
        assert not function_words & {term.lower() for term in one["terms"]}, name


def over_limit(members: dict[str, set[str]]) -> list[tuple[str, str]]:
    found = []
    for (one, left), (other, right) in itertools.combinations(members.items(), 2):
        shared = sum(term in right for term in left)
        if shared > MAX_JACCARD * (len(left) + len(right) - shared):
            found.append((one, other))
    return found


def test_no_two_sets_overlap_over_the_limit(sets: dict[str, dict[str, Any]]) -> None:
    assert over_limit({name: set(one["terms"]) for name, one in sets.items()}) == []


def test_no_two_sets_overlap_over_the_limit_on_gpt2(
    sets: dict[str, dict[str, Any]], gpt2_tokens: frozenset[str]
) -> None:
    members = {}
    for name, one in sets.items():
        variants = {term: {term, term[0].upper() + term[1:]} for term in one["terms"]}
        if one.get("casing", "any") == "any":
            variants = {term: forms | {term.lower(), term.upper()} for term, forms in variants.items()}
        members[name] = {term for term, forms in variants.items() if forms & gpt2_tokens}
    assert over_limit(members) == []


def test_enough_sets_are_well_populated_on_gpt2(sets: dict[str, dict[str, Any]], gpt2_words: frozenset[str]) -> None:
    words = {name: sum(term.casefold() in gpt2_words for term in one["terms"]) for name, one in sets.items()}
    assert sum(n >= 8 for n in words.values()) >= 250
    assert min(words.values()) >= 5
    below_synset = [n for name, n in words.items() if not re.match("wn_(noun|verb|adj|adv)_", name)]
    assert min(below_synset) >= 10
