"""The word lists in ingest/data/sets, read as plain TOML: what they promise, and spot checks made by hand."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from featdex.ingest import set_names, set_pos, set_rules
from featdex.ingest.set_texts import index_texts
from featdex.ingest.vocabulary import vocabulary_from_raw

SETS = Path(set_names.__file__).parent / "data" / "sets"
# The lists that this file answers for, and the largest each may be in kB.
FILES = {
    "names": 400, "surnames": 400, "grammar": 400, "sentiment": 400, "emotions": 400, "code": 400, "code_python": 400,
    "foreign": 400, "topics": 400, "topics_empath": 400, "pos_lexicon": 1200,
}  # fmt: skip
COLLECTIONS = {"names", "grammar", "sentiment", "emotions", "code", "foreign", "topics", "pos_lexicon"}
FACTS = ("name", "description", "source", "licence", "version")
LICENCES = {"CC0-1.0", "MIT", "public domain"}


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def documents() -> dict[str, dict[str, Any]]:
    return {stem: read(SETS / f"{stem}.toml") for stem in FILES}


@pytest.fixture(scope="module")
def sets(documents: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        name: {**document["collection"], **entry}
        for document in documents.values()
        for name, entry in document["sets"].items()
    }


def terms(sets: dict[str, dict[str, Any]], name: str) -> set[str]:
    return set(sets[name]["terms"])


@pytest.mark.parametrize("stem", FILES)
def test_a_file_states_its_facts_and_is_no_larger_than_it_needs_to_be(
    stem: str, documents: dict[str, dict[str, Any]]
) -> None:
    collection = documents[stem]["collection"]
    assert all(collection[fact].strip() for fact in FACTS)
    assert collection["name"] in COLLECTIONS
    assert collection["licence"] in LICENCES
    assert (SETS / f"{stem}.toml").stat().st_size < FILES[stem] * 1000


def test_every_collection_has_a_file_and_parts_of_one_agree_on_its_description(
    documents: dict[str, dict[str, Any]],
) -> None:
    said = {(found["collection"]["name"], found["collection"]["description"]) for found in documents.values()}
    assert {name for name, _ in said} == COLLECTIONS
    assert len(said) == len(COLLECTIONS)


def test_names_are_unique_over_all_files_and_the_sets_that_code_builds() -> None:
    listed = [name for path in SETS.glob("*.toml") for name in read(path)["sets"]]
    # A vocabulary of one token: the sets that code builds are listed with their names, empty ones included.
    vocabulary = vocabulary_from_raw(["▁a", "b"], "sentencepiece", [])
    index = index_texts(vocabulary)
    built = [
        *set_rules.shape_sets(vocabulary, index),
        *set_rules.affix_sets(index),
        *set_names.name_sets(vocabulary, index),
        *set_pos.pos_sets(index),
    ]
    names = [*listed, *(found.name for found in built)]
    assert len(built) > 100
    assert sorted(names) == sorted(set(names))


def test_a_set_has_a_plain_name_a_description_and_nothing_the_format_does_not_know(
    sets: dict[str, dict[str, Any]],
) -> None:
    known = {*FACTS, "casing", "space", "terms"}
    for name, entry in sets.items():
        assert re.fullmatch("[a-z][a-z0-9_]*|lex_[A-Z]+", name), name
        assert entry["description"].endswith("."), name
        assert entry.keys() <= known, name
        assert entry.get("casing", "any") in {"given", "capital", "any"}, name
        assert entry.get("space", "either") in {"either", "leading", "none"}, name


def test_terms_are_distinct_stripped_and_composed(sets: dict[str, dict[str, Any]]) -> None:
    for name, entry in sets.items():
        listed = entry["terms"]
        assert len(listed) >= 3, name
        assert len(listed) == len(set(listed)), name
        assert all(term and term == unicodedata.normalize("NFC", term.strip()) for term in listed), name


# Terms of the lists that a first release had, copied by hand; they keep their names and casing.
FIRST_LISTS = {
    "months": ("given", {"January", "May", "December", "Jan", "Sep", "Sept", "Dec"}),
    "weekdays": ("given", {"Monday", "Sundays", "Thurs", "Sat"}),
    "colours": ("any", {"red", "grey", "gray", "turquoise", "khaki", "gold"}),
    "countries": ("given", {"Afghanistan", "England", "Korea", "New Zealand", "Saudi Arabia", "United States"}),
    "nationalities": ("given", {"Afghan", "Arab", "Dutch", "Kurdish", "Swiss", "Welsh"}),
    "us_states": ("given", {"Alabama", "Georgia", "North Carolina", "Washington", "Wyoming"}),
    "she_pronouns": ("any", {"she", "her", "hers", "herself"}),
    "he_pronouns": ("any", {"he", "him", "his", "himself"}),
    "female_words": ("any", {"woman", "mum", "goddess", "feminine"}),
    "male_words": ("any", {"man", "dad", "god", "count", "masculine"}),
    "number_words": ("any", {"zero", "thirteen", "ninety", "trillion"}),
    "ordinal_words": ("any", {"first", "twelfth", "fiftieth", "thousandth"}),
}
FIRST_SIZES = {
    "us_states": 50, "she_pronouns": 4, "he_pronouns": 4, "female_words": 38, "male_words": 37, "number_words": 33,
    "ordinal_words": 25, "months": 24, "weekdays": 23, "colours": 31,
}  # fmt: skip


@pytest.mark.parametrize("name", FIRST_LISTS)
def test_a_list_of_the_first_release_is_still_there(name: str, sets: dict[str, dict[str, Any]]) -> None:
    casing, sample = FIRST_LISTS[name]
    assert sets[name].get("casing", "any") == casing
    assert sets[name].get("space", "either") == "either"
    assert sample <= terms(sets, name)
    assert name not in FIRST_SIZES or len(sets[name]["terms"]) == FIRST_SIZES[name]


PRESENT = {
    "capital_cities": {"Paris", "Tokyo", "Nairobi", "Ottawa"},
    "surnames": {"Smith", "Johnson", "Garcia", "McDonald", "O'Brien"},
    "reflexive_pronouns": {"myself", "themselves"},
    "irregular_pasts": {"went", "bought", "wrote"},
    "irregular_participles": {"gone", "written"},
    "common_verbs_s": {"tries", "goes", "watches", "plays"},
    "common_verbs_ed": {"tried", "stopped", "played", "agreed"},
    "common_verbs_ing": {"dying", "stopping", "making", "agreeing", "lying"},
    "contraction_words": {"'t", "'s", "don", "isn"},
    "positive_words": {"good", "happy", "win"},
    "negative_words": {"bad", "war", "terrible"},
    "very_negative_words": {"rape", "murder"},
    "emoticons": {":)", ":-("},
    "emotion_fear": {"afraid", "terror"},
    "python_keywords": {"lambda", "match", "None", "yield"},
    "python_exceptions": {"ValueError", "KeyboardInterrupt"},
    "python_modules": {"os", "re", "tomllib"},
    "sql_keywords": {"SELECT", "where"},
    "spanish_words": {"que", "los", "también"},
    "german_words": {"und", "nicht", "über"},
    "russian_words": {"и", "что"},
    "japanese_words": {"これ"},
    "topic_chemical_elements": {"hydrogen", "uranium"},
    "topic_swearing_terms": {"damn"},
    "lex_NN": {"dog", "house"},
    "lex_VBD": {"went", "said"},
    "lex_PRPS": {"their"},
    "lex_NNP": {"London", "Smith"},
}
ABSENT = {
    "surnames": {"Brown", "King", "Thomas", "Jordan", "Washington", "Boston"},
    "irregular_pasts": {"put", "walked", "gone"},
    "common_verbs_ed": {"goed", "stoped", "tryed"},
    "common_verbs_ing": {"makeing", "dieing", "agreing"},
    "positive_words": {"bad", "table"},
    "spanish_words": {"me", "no", "son", "a", "o"},
    "german_words": {"die", "war", "man", "in"},
    "swedish_words": {"under", "man"},
    "slovenian_words": {"september"},
    "python_builtins": {"None", "ValueError", "__import__"},
    "lex_NN": {"went", "London", "the"},
    "emoticons": {":/", ":["},
}


@pytest.mark.parametrize("name", PRESENT)
def test_terms_that_belong_in_a_set_are_in_it(name: str, sets: dict[str, dict[str, Any]]) -> None:
    assert PRESENT[name] - terms(sets, name) == set()


@pytest.mark.parametrize("name", ABSENT)
def test_terms_that_do_not_belong_in_a_set_are_not_in_it(name: str, sets: dict[str, dict[str, Any]]) -> None:
    assert ABSENT[name] & terms(sets, name) == set()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("positive_words", "negative_words"),
        ("mildly_positive_words", "positive_words"),
        ("mildly_negative_words", "negative_words"),
        ("mildly_positive_words", "mildly_negative_words"),
        ("she_pronouns", "he_pronouns"),
        ("female_words", "male_words"),
        ("comparatives", "superlatives"),
        ("singular_nouns", "common_plurals"),
        ("common_verbs_s", "common_verbs_ing"),
        ("emotion_adjectives_pleasant", "emotion_adjectives_unpleasant"),
        ("python_builtins", "python_exceptions"),
        ("articles", "modals"),
        ("number_words", "ordinal_words"),
        ("surnames", "countries"),
        ("surnames", "us_cities"),
    ],
)
def test_opposites_share_no_term(one: str, other: str, sets: dict[str, dict[str, Any]]) -> None:
    assert terms(sets, one) & terms(sets, other) == set()


def test_the_strong_words_are_some_of_the_charged_ones(sets: dict[str, dict[str, Any]]) -> None:
    assert terms(sets, "very_positive_words") < terms(sets, "positive_words")
    assert terms(sets, "very_negative_words") < terms(sets, "negative_words")


def test_a_word_of_the_lexicon_has_one_tag(documents: dict[str, dict[str, Any]]) -> None:
    listed = [term for entry in documents["pos_lexicon"]["sets"].values() for term in entry["terms"]]
    assert len(listed) == len(set(listed))
    assert len(listed) > 50_000


# Unicode's name for a letter of the script each language is written in.
SCRIPTS = {
    "russian_words": "CYRILLIC", "greek_words": "GREEK", "hebrew_words": "HEBREW", "arabic_words": "ARABIC",
    "hindi_words": "DEVANAGARI", "bengali_words": "BENGALI", "thai_words": "THAI", "korean_words": "HANGUL",
    "armenian_words": "ARMENIAN", "chinese_words": "CJK", "spanish_words": "LATIN", "vietnamese_words": "LATIN",
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_words_of_a_language_are_in_its_script(name: str, sets: dict[str, dict[str, Any]]) -> None:
    listed = sets[name]["terms"]
    in_script = [term for term in listed if unicodedata.name(term[0]).startswith(SCRIPTS[name])]
    assert len(in_script) >= 0.95 * len(listed)


def test_foreign_words_are_no_english_function_words(
    documents: dict[str, dict[str, Any]], sets: dict[str, dict[str, Any]]
) -> None:
    english = {
        word.lower() for name in ("prepositions", "articles", "auxiliaries", "modals") for word in sets[name]["terms"]
    }
    for name, entry in documents["foreign"]["sets"].items():
        assert english.isdisjoint(entry["terms"]), name
        assert not any(len(term) == 1 and term.isascii() for term in entry["terms"]), name


def test_topics_of_the_two_sources_do_not_repeat_each_other(documents: dict[str, dict[str, Any]]) -> None:
    words = {
        name: set(entry["terms"])
        for stem in ("topics", "topics_empath")
        for name, entry in documents[stem]["sets"].items()
        if name.startswith("topic_")
    }
    names = sorted(words)
    overlapping = [
        (one, other)
        for position, one in enumerate(names)
        for other in names[position + 1 :]
        if len(words[one] & words[other]) > 0.5 * len(words[one] | words[other])
    ]
    assert len(names) > 150
    assert overlapping == []
