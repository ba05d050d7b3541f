"""Terms, patterns and the usefulness of sets on small vocabularies, against loops over every token."""

from __future__ import annotations

import time
import unicodedata
from typing import Any

import numpy as np
import pytest
from featdex.catalogue.errors import TokenSetError
from featdex.ingest.inputs import TokenSet, Vocabulary
from featdex.ingest.set_definition import SetDefinition, distinct_terms
from featdex.ingest.set_patterns import pattern_ids
from featdex.ingest.set_resolve import resolve_sets
from featdex.ingest.vocabulary import vocabulary_from_raw
from hypothesis import given, settings
from hypothesis import strategies as st

WORDS = ["apple", "Apple", "APPLE", " apple", " Apple", "  apple", " mcDonald", "McDonald", " Mcdonald", "new york"]
WORDS += [" ", "\n", " \n", ",", " ,", "é", " É", "ß", "SS", "straße", "pine", " pine", "app", "", "<s>", "x\u2028y"]


def vocabulary_of(words: list[str], special: tuple[str, ...] = ("<s>",)) -> Vocabulary:
    return vocabulary_from_raw(
        [word.replace(" ", "▁") for word in words], "sentencepiece", [words.index(s) for s in special if s in words]
    )


VOCABULARY = vocabulary_of(WORDS)


def define(name: str = "mine", kind: str = "list", **fields: Any) -> SetDefinition:
    return SetDefinition(name, "user", kind, **fields)


def resolved(vocabulary: Vocabulary = VOCABULARY, **fields: Any) -> TokenSet:
    (made,) = resolve_sets([define(**fields)], vocabulary, keep_unusable=True)
    return made


def texts(made: TokenSet, vocabulary: Vocabulary = VOCABULARY) -> set[str]:
    return {vocabulary.text[token_id] for token_id in made.token_ids}


@pytest.mark.parametrize(
    ("terms", "casing", "space", "expected"),
    [
        (["apple"], "given", "none", {"apple"}),
        (["apple"], "given", "leading", {" apple"}),
        (["apple"], "given", "either", {"apple", " apple"}),
        (["apple"], "capital", "either", {"apple", " apple", "Apple", " Apple"}),
        (["apple"], "any", "either", {"apple", " apple", "Apple", " Apple", "APPLE"}),
        (["APPLE"], "capital", "either", {"APPLE"}),
        (["mcDonald"], "capital", "either", {" mcDonald", "McDonald"}),
        (["mcDonald"], "any", "either", {" mcDonald", " Mcdonald"}),
        (["e\u0301"], "capital", "either", {"é", " É"}),
        (["ß"], "any", "none", {"ß", "SS"}),
        ([" apple"], "given", "either", {" apple"}),
        ([" apple"], "any", "none", {" apple", " Apple"}),
        (["  apple"], "given", "none", {"  apple"}),
        ([" ", "\n"], "any", "either", {" ", "\n"}),
        ([" \n"], "any", "leading", {" \n"}),
        ([" ,"], "given", "either", {" ,"}),
        ([","], "given", "either", {",", " ,"}),
        (["<s>", "New York"], "any", "either", {"new york"}),
    ],
)
def test_casing_and_space_say_which_tokens_are_a_term(
    terms: list[str], casing: str, space: str, expected: set[str]
) -> None:
    assert texts(resolved(terms=distinct_terms(terms), casing=casing, space=space)) == expected


def holds(term: str, text: str, casing: str, space: str) -> bool:
    """Whether a token's text is a form of a term, said from the token's side."""
    margin = term[: len(term) - len(term.lstrip())]
    bare = term[len(margin) :]
    starts = [margin] if margin else {"none": [""], "leading": [" "], "either": ["", " "]}[space]
    for start in starts:
        if not text.startswith(start):
            continue
        rest = text[len(start) :]
        if rest == bare:
            return True
        if not bare or casing == "given":
            continue
        if casing == "capital" and rest[1:] == bare[1:] and rest[:1] == bare[:1].upper():
            return True
        if casing == "any" and (rest in (bare.lower(), bare.upper()) or rest == bare[0].title() + bare[1:].lower()):
            return True
    return False


ALPHABET = "aAbB \n,"


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(st.text(ALPHABET, max_size=3), min_size=1, max_size=40),
    terms=st.lists(st.text(ALPHABET, min_size=1, max_size=3), min_size=1, max_size=5, unique=True),
    casing=st.sampled_from(["given", "capital", "any"]),
    space=st.sampled_from(["leading", "none", "either"]),
)
def test_a_list_holds_what_a_loop_over_the_vocabulary_finds(
    words: list[str], terms: list[str], casing: str, space: str
) -> None:
    made = resolved(vocabulary_of(words), terms=tuple(terms), casing=casing, space=space)
    matches = {term: [i for i, text in enumerate(words) if text and holds(term, text, casing, space)] for term in terms}
    assert made.token_ids.tolist() == sorted({i for ids in matches.values() for i in ids})
    assert [term for term, _ in made.dropped] == [term for term in terms if not matches[term]]
    assert (made.n_terms, made.n_dropped) == (len(terms), len(made.dropped))


def test_a_dropped_term_has_its_reason() -> None:
    terms = ("apple", "Pine", "pineapple", "<s>", "▁pine", " ß", "straße")
    made = resolved(terms=terms, casing="given", space="leading")
    assert dict(made.dropped) == {
        "Pine": "only with another casing or spacing",
        "pineapple": "no single token",
        "<s>": "only a special token",
        "▁pine": "the tokenizer's spelling of a token; write its decoded text",
        " ß": "only with another casing or spacing",
        "straße": "only with another casing or spacing",
    }
    assert (made.n_terms, made.n_dropped) == (7, 6)


def test_a_text_that_two_tokens_share_gives_both() -> None:
    assert resolved(vocabulary_of(["a", "b", "a"]), terms=("a",)).token_ids.tolist() == [0, 2]


def test_parts_of_characters_are_no_replacement_character() -> None:
    vocabulary = vocabulary_from_raw(["Ã", "ï¿½", "a"], "byte_level", [])
    assert vocabulary.text[:2] == ("\ufffd", "\ufffd")
    assert resolved(vocabulary, terms=("\ufffd",)).token_ids.tolist() == [1]


@pytest.mark.parametrize(
    ("term", "space", "expected"),
    [
        ("apple", "either", {"apple", " apple"}),
        ("applecart", "either", {" apple"}),
        ("applecart", "leading", {" apple"}),
        ("applecart", "none", {"apple"}),
        (" applecart", "none", {" apple"}),
        ("pinecone", "either", {" pine"}),
        ("zzz", "either", set()),
    ],
)
def test_a_long_term_may_give_its_first_token(term: str, space: str, expected: set[str]) -> None:
    made = resolved(terms=(term,), casing="given", space=space, multi_token="first")
    assert texts(made) == expected
    assert made.dropped == (() if expected else ((term, "no token starts it"),))


def test_the_first_token_of_gpt2_is_that_of_its_tokenizer(gpt2: Vocabulary) -> None:
    # From GPT-2's published tokenizer: the first tokens of these words after a space.
    first = {"tokenization": " token", "floccinaucinihilipilification": " fl", "antidisestablishmentarianism": " ant"}
    for term, expected in first.items():
        made = resolved(gpt2, terms=(term,), multi_token="first")
        assert texts(made, gpt2) == {expected}
        assert texts(resolved(gpt2, terms=(term,))) == set()


def test_a_pattern_matches_whole_texts_of_ordinary_tokens() -> None:
    sets = resolve_sets(
        [
            define("letters", "regex", pattern=r" ?\p{L}+"),
            define("spelt", "regex", pattern=r"▁.*", on="raw"),
            define("any", "regex", pattern=r"(?s).+"),
            define("none", "regex", pattern=r"q"),
            define("listed", terms=("pine",)),
        ],
        VOCABULARY,
        keep_unusable=True,
    )
    letters = {
        text
        for text in WORDS
        if text and all(unicodedata.category(c)[0] == "L" for c in text.removeprefix(" ")) and text != " "
    }
    assert texts(sets[0]) == letters
    assert texts(sets[1]) == {text for text in WORDS if text.startswith(" ") and "\n" not in text}
    assert texts(sets[2]) == {text for text in WORDS if text and text != "<s>"}
    assert texts(sets[3]) == set()
    assert [made.name for made in sets] == ["letters", "spelt", "any", "none", "listed"]
    assert [made.definition for made in sets[:2]] == [r" ?\p{L}+", "on raw: ▁.*"]
    assert [made.n_terms for made in sets] == [None, None, None, None, 1]


BAD_PATTERNS = {
    r"a(b": "its pattern is no pattern: missing ) at character 4",
    r"*a": "nothing to repeat at character 1",
    r"\p{Klingon}": "unknown property at character 12",
    "(" * 3000 + ")" * 3000: "nests too deeply",
    r"(?:|a){1000000}": "crashes the engine",
    "a" * 10_001: "has 10,001 characters, the most is 10,000",
}


@pytest.mark.parametrize("pattern", BAD_PATTERNS, ids=range(len(BAD_PATTERNS)))
def test_a_bad_pattern_names_its_set_in_one_line(pattern: str) -> None:
    with pytest.raises(TokenSetError, match="token set 'bad': its pattern") as caught:
        resolve_sets([define("good", "regex", pattern="apple"), define("bad", "regex", pattern=pattern)], VOCABULARY)
    assert BAD_PATTERNS[pattern] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pattern_that_asks_for_all_memory_or_time_is_ended() -> None:
    greedy = define("greedy", "regex", pattern=r"(?:a(?:b(?:c{1000}){1000}){1000})")
    endless = define("endless", "regex", pattern=r"(?:|a){10000}")
    vocabulary = vocabulary_of(["a" * 60, "b"])
    start = time.monotonic()
    with pytest.raises(TokenSetError, match=r"token set 'greedy': its pattern takes too much memory"):
        pattern_ids([greedy, endless], vocabulary, seconds=60.0)
    with pytest.raises(
        TokenSetError, match="'endless': its pattern is not done after the 3 s that all patterns of a f"
    ):
        pattern_ids([define("good", "regex", pattern="b"), endless], vocabulary, seconds=3.0)
    assert time.monotonic() - start < 30


def test_patterns_of_texts_that_json_and_utf8_can_not_hold() -> None:
    vocabulary = vocabulary_of(["\ud800", '"\\', "a\n"], special=())
    assert pattern_ids(
        [define(kind="regex", pattern=r"(?s).*\n|[\ud800]"), define(kind="regex", pattern=r'".')], vocabulary
    ) == [
        [0, 2],
        [1],
    ]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"terms": ("banana", "cherry")}, r"is empty: none of its 2 terms is a token .*'banana': no single token"),
        ({"kind": "regex", "pattern": "q"}, "is empty: its pattern matches no token"),
        ({"kind": "sql", "query": "SELECT 1 WHERE false"}, "is empty: its query gives no token"),
        ({"kind": "regex", "pattern": "(?s).*"}, f"holds all {len(WORDS) - 2} tokens that are not special"),
        ({"kind": "sql", "query": "SELECT token_id FROM token"}, f"holds all {len(WORDS)} tokens, so"),
        ({"terms": distinct_terms(w for w in WORDS if w)}, f"holds all {len(WORDS) - 2} tokens that are not special"),
    ],
)
def test_a_set_of_nothing_or_everything_is_refused_by_name(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(TokenSetError, match=f"token set 'mine' {fault}") as caught:
        resolve_sets([define("good", terms=("apple",)), define(**fields)], VOCABULARY)
    assert "\n" not in str(caught.value)


def test_two_sets_of_one_name_are_refused() -> None:
    with pytest.raises(TokenSetError, match="two token sets are named 'mine'"):
        resolve_sets([define(terms=("apple",)), define(kind="regex", pattern="a")], VOCABULARY)


def test_a_set_keeps_what_its_definition_says() -> None:
    made = resolved(
        terms=("apple",), description="d", source="s", licence="l", version="v", origin="f.toml", casing="capital"
    )
    assert (made.name, made.collection, made.kind) == ("mine", "user", "list")
    assert (made.description, made.source, made.licence, made.version) == ("d", "s", "l", "v")
    assert made.definition == "the terms of mine in f.toml, capital casing, at most one leading space"
    assert made.token_ids.dtype == np.int32
