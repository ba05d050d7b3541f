"""The rule-made sets, each on texts picked by hand, and on whole vocabularies against oracles without patterns."""

from __future__ import annotations

import string
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import regex
from featdex.ingest.inputs import TokenSet, Vocabulary
from featdex.ingest.set_rules import affix_sets, shape_sets
from featdex.ingest.set_texts import index_texts
from featdex.ingest.vocabulary import vocabulary_from_raw

DATA = Path(__file__).parents[1] / "data"

Examples = dict[str, tuple[list[str], list[str]]]


def build(vocabulary: Vocabulary) -> dict[str, TokenSet]:
    index = index_texts(vocabulary)
    built = [*shape_sets(vocabulary, index), *affix_sets(index)]
    assert len({found.name for found in built}) == len(built)
    return {found.name: found for found in built}


def vocabulary_of(words: Sequence[str]) -> Vocabulary:
    """A vocabulary of the words, a lone byte, which reads U+FFFD, and the special token `<s>`."""
    raw = [word.replace(" ", "▁") for word in words if word not in ("\ufffd", "<s>")]
    return vocabulary_from_raw([*raw, "<0xC3>", "<s>"], "sentencepiece", [len(raw) + 1])


def texts(vocabulary: Vocabulary, found: TokenSet) -> set[str]:
    return {vocabulary.text[token_id] for token_id in found.token_ids}


def read_examples() -> Examples:
    """Return the texts in and out of each set."""
    shape = tomllib.loads((DATA / "shape_examples.toml").read_text(encoding="utf-8"))
    affix = tomllib.loads((DATA / "affix_examples.toml").read_text(encoding="utf-8"))
    tables = [shape, affix["affixes"], *(letter_examples(*row) for row in affix["letters"].items())]
    names = [name for table in tables for name in table]
    assert len(set(names)) == len(names)
    return {name: (inside, outside) for table in tables for name, (inside, outside) in table.items()}


def letter_examples(letter: str, words: tuple[str, str]) -> dict[str, list[list[str]]]:
    first, last = words
    other = "vivid" if letter != "v" else "other"
    never = [f"{first}1", f" {first}'s", f"  {first}", f"ñ{first}ñ", f" {other}", other]
    return {
        f"first_letter_{letter}": [[first, f" {first.upper()}"], never],
        f"spaced_first_letter_{letter}": [[f" {first}", f" {first.upper()}"], [*never, first]],
        f"unspaced_first_letter_{letter}": [[first, first.capitalize()], [*never, f" {first}"]],
        f"last_letter_{letter}": [
            [last, f" {last.upper()}"],
            [f"1{last}", f"  {last}", f"{last}ñ", *([] if letter == "d" else [" vivid"])],
        ],
    }


EXAMPLES = read_examples()


@pytest.fixture(scope="module")
def picked() -> tuple[Vocabulary, dict[str, TokenSet]]:
    vocabulary = vocabulary_of(sorted({word for pair in EXAMPLES.values() for words in pair for word in words}))
    return vocabulary, build(vocabulary)


@pytest.fixture(scope="module")
def on_gpt2(gpt2: Vocabulary) -> dict[str, TokenSet]:
    return build(gpt2)


@pytest.fixture(scope="module")
def on_smollm2(smollm2: Vocabulary) -> dict[str, TokenSet]:
    return build(smollm2)


def test_every_set_has_examples_in_and_out(picked: tuple[Vocabulary, dict[str, TokenSet]]) -> None:
    assert EXAMPLES.keys() == picked[1].keys()
    assert all(inside and outside for inside, outside in EXAMPLES.values())


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_set_draws_its_line(name: str, picked: tuple[Vocabulary, dict[str, TokenSet]]) -> None:
    vocabulary, sets = picked
    inside, outside = EXAMPLES[name]
    assert set(inside) <= set(vocabulary.text)
    assert set(outside) <= set(vocabulary.text)
    assert texts(vocabulary, sets[name]) & {*inside, *outside} == set(inside)


def test_every_set_is_described(on_gpt2: dict[str, TokenSet]) -> None:
    for found in on_gpt2.values():
        assert regex.fullmatch(r"[A-Z“#].*[^.]\.", found.description, regex.DOTALL)
        assert (found.licence, found.version) == ("Apache-2.0", "1")
        assert regex.fullmatch(r"featdex(; after (Bloom & Lin|Gurnee et al\.) 2024)?", found.source)
        assert found.token_ids.dtype == np.int32
        assert found.token_ids.tolist() == sorted(set(found.token_ids.tolist()))


def test_the_published_sets_name_their_source(on_gpt2: dict[str, TokenSet]) -> None:
    published = ["starts_with_space", "starts_with_capital", "starts_with_lower", "all_digits", "all_caps", "digits_1"]
    published += ["contains_close_bracket", "contains_open_bracket", "is_punctuation", "length_5", "first_letter_a"]
    assert {on_gpt2[name].source for name in published} == {"featdex; after Bloom & Lin 2024"}


@pytest.fixture(scope="module")
def sampled(gpt2: Vocabulary) -> tuple[Vocabulary, dict[str, TokenSet]]:
    """The examples, an eighth of GPT-2's tokens and the letters of all scripts thinned out."""
    examples = {word for pair in EXAMPLES.values() for words in pair for word in words}
    letters = {chr(point) for point in range(0x80, 0x14000, 7)}
    surrogates = {chr(point) for point in range(0xD800, 0xE000)}
    vocabulary = vocabulary_of(sorted({*examples, *gpt2.text[::8], *letters} - surrogates))
    return vocabulary, build(vocabulary)


def ordinary_texts(vocabulary: Vocabulary) -> set[str]:
    return {text for text, special in zip(vocabulary.text, vocabulary.is_special.tolist(), strict=True) if not special}


def test_a_pattern_matches_its_members_and_nothing_else(sampled: tuple[Vocabulary, dict[str, TokenSet]]) -> None:
    vocabulary, sets = sampled
    ordinary = ordinary_texts(vocabulary)
    for found in (found for found in sets.values() if found.kind == "regex"):
        matches = regex.compile(found.definition).fullmatch
        assert texts(vocabulary, found) == {text for text in ordinary if matches(text)}, found.name


def test_an_expression_holds_for_its_members_and_nothing_else(
    sampled: tuple[Vocabulary, dict[str, TokenSet]],
) -> None:
    vocabulary, sets = sampled
    for found in (found for found in sets.values() if found.kind == "rule" and "is_special" not in found.definition):
        code = compile(found.definition, found.name, "eval")
        names = (
            {"unicodedata": unicodedata, "text": t, "word": t.removeprefix(" ")} for t in ordinary_texts(vocabulary)
        )
        assert texts(vocabulary, found) == {name["text"] for name in names if eval(code, name)}, found.name


def test_categories_are_those_of_unicodedata(sampled: tuple[Vocabulary, dict[str, TokenSet]]) -> None:
    vocabulary, sets = sampled
    # Characters that this Python does not know yet may have a category in the newer tables of the module regex.
    known = {text for text in ordinary_texts(vocabulary) if all(unicodedata.category(char) != "Cn" for char in text)}
    for name in (name for name in sets if name.startswith("category_")):
        code = name.removeprefix("category_")
        held = {t for t in known if any(unicodedata.category(c) == code and c != "\ufffd" for c in t)}
        assert texts(vocabulary, sets[name]) & known == held, name


LETTERS = {"Lo", "Lu", "Ll"}
SCRIPT_NAMES = {
    "han": "CJK UNIFIED",
    "canadian_aboriginal": "CANADIAN SYLLABICS",
    "egyptian_hieroglyphs": "EGYPTIAN HIEROGLYPH",
}


def test_scripts_are_those_in_the_names_of_letters(sampled: tuple[Vocabulary, dict[str, TokenSet]]) -> None:
    vocabulary, sets = sampled
    letters = {text for text in ordinary_texts(vocabulary) if len(text) == 1 and unicodedata.category(text) in LETTERS}
    # Names that start with what a letter is for, not with its script.
    letters = {t for t in letters if not unicodedata.name(t).startswith(("HALFWIDTH", "CJK COMPATIBILITY"))}
    for name in (name for name in sets if name.startswith("script_")):
        script = name.removeprefix("script_")
        start = SCRIPT_NAMES.get(script, script.upper())
        held = {text for text in letters if unicodedata.name(text).startswith(f"{start} ")}
        held |= {text for text in letters if unicodedata.name(text).startswith(f"{start}-")}
        assert held, name
        assert texts(vocabulary, sets[name]) & letters == held, name


MARKS = {
    "hash": "#", "at": "@", "dollar": "$", "underscore": "_", "percent": "%", "ampersand": "&", "asterisk": "*",
    "plus": "+", "hyphen": "-", "slash": "/", "backslash": "\\", "equals": "=", "less_than": "<", "greater_than": ">",
    "colon": ":", "semicolon": ";", "comma": ",", "period": ".", "question_or_exclamation": "?!",
    "open_bracket": "([{", "close_bracket": ")]}", "quote": "\"'“”‘’",
}  # fmt: skip
CONTAINED = MARKS | {
    "open_bracket": "(", "close_bracket": ")", "percent": "%‰％", "exclamation": "!", "question": "?", "caret": "^",
    "apostrophe": "'’", "double_quote": '"', "backtick": "`", "pipe": "|", "tilde": "~", "square_bracket": "[]",
    "curly_bracket": "{}", "angle_bracket": "<>", "open_square_bracket": "[", "close_square_bracket": "]",
    "open_curly_bracket": "{", "close_curly_bracket": "}", "any_open_bracket": "([{<", "any_close_bracket": ")]}>",
    "arithmetic_sign": "+-*/=<>",
}  # fmt: skip


def test_marks_are_where_the_names_say(gpt2: Vocabulary, on_gpt2: dict[str, TokenSet]) -> None:
    ordinary = ordinary_texts(gpt2)
    for name, found in on_gpt2.items():
        verb, _, rest = name.partition("_")
        mark = rest.removeprefix("with_")
        if verb == "contains":
            assert texts(gpt2, found) == {text for text in ordinary if set(text) & set(CONTAINED[mark])}, name
        elif verb == "starts" and mark in MARKS:
            starts = {text for text in ordinary if text.removeprefix(" ").startswith(tuple(MARKS[mark]))}
            assert texts(gpt2, found) == starts, name
        elif verb == "ends" and mark in MARKS:
            assert texts(gpt2, found) == {text for text in ordinary if text.endswith(tuple(MARKS[mark]))}, name


def test_no_two_sets_are_the_same(on_gpt2: dict[str, TokenSet], on_smollm2: dict[str, TokenSet]) -> None:
    members = Counter(
        (on_gpt2[name].members_sha256, on_smollm2[name].members_sha256)
        for name in on_gpt2
        if max(len(on_gpt2[name].token_ids), len(on_smollm2[name].token_ids)) > 0
    )
    assert max(members.values()) == 1


def test_there_are_five_hundred_sets_on_each_vocabulary(
    on_gpt2: dict[str, TokenSet], on_smollm2: dict[str, TokenSet]
) -> None:
    for sets in (on_gpt2, on_smollm2):
        assert sum(len(found.token_ids) >= 5 for found in sets.values()) > 500


def is_english(word: str) -> bool:
    return word.isascii() and word.isalpha()


AFFIX_FAMILIES: dict[str, Callable[[str, str], bool]] = {
    "first_letter_": lambda text, letter: text.strip(" ").isalpha() and text.removeprefix(" ")[0].lower() == letter,
    "spaced_first_letter_": lambda text, letter: text[0] == " " and text[1:].isalpha() and text[1].lower() == letter,
    "unspaced_first_letter_": lambda text, letter: text.isalpha() and text[:1].lower() == letter,
    "last_letter_": lambda text, letter: text.removeprefix(" ").isalpha() and text.lower().endswith(letter),
}  # fmt: skip


@pytest.mark.parametrize("family", AFFIX_FAMILIES)
def test_letter_sets_hold_what_string_methods_say(family: str, gpt2: Vocabulary, on_gpt2: dict[str, TokenSet]) -> None:
    for letter in string.ascii_lowercase:
        expected = {text for text in gpt2.text[:-1] if AFFIX_FAMILIES[family](text, letter)}
        assert texts(gpt2, on_gpt2[family + letter]) == expected


def test_suffixes_follow_a_vowel(gpt2: Vocabulary, on_gpt2: dict[str, TokenSet]) -> None:
    english = [text for text in gpt2.text if is_english(text.removeprefix(" "))]
    for name, found in on_gpt2.items():
        if not name.startswith("suffix_"):
            continue
        ending = name.removeprefix("suffix_")
        n_before = int(found.description.split("after ")[1].split()[0])
        stems = {text: text.strip().lower().removesuffix(ending) for text in english if text.lower().endswith(ending)}
        expected = {text for text, stem in stems.items() if len(stem) >= n_before and set(stem) & set("aeiouy")}
        if ending == "s":
            expected = {text for text in expected if not text.lower().endswith("ss")}
        assert texts(gpt2, found) == expected, name


def test_prefixes_start_words(gpt2: Vocabulary, on_gpt2: dict[str, TokenSet]) -> None:
    english = [text for text in gpt2.text if text[0] == " " and is_english(text[1:])]
    for name, found in on_gpt2.items():
        if name.startswith("prefix_"):
            start = " " + name.removeprefix("prefix_")
            expected = {text for text in english if text.lower().startswith(start) and len(text) >= len(start) + 3}
            assert texts(gpt2, found) == expected, name
