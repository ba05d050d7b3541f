"""Where the rules of shapes and affixes draw their lines, on words picked by hand."""

from __future__ import annotations

import pytest
from featdex.ingest.inputs import TokenSet
from featdex.ingest.set_rules import affix_sets, shape_sets
from featdex.ingest.set_texts import index_texts
from featdex.ingest.vocabulary import vocabulary_from_raw


def members(words: list[str], name: str) -> set[str]:
    """The given words that are in a set of either collection."""
    vocabulary = vocabulary_from_raw([word.replace(" ", "▁") for word in words], "sentencepiece", [])
    index = index_texts(vocabulary)
    sets: dict[str, TokenSet] = {found.name: found for found in [*shape_sets(vocabulary, index), *affix_sets(index)]}
    return {vocabulary.text[token_id] for token_id in sets[name].token_ids}


def test_punctuation_is_punctuation_and_symbols_with_or_without_a_space() -> None:
    yes = [".", " .", "((", " →", "€", "_", "“", "…"]
    no = ["a.", "  .", "1", "�", "्", " ", "\n", "\x00"]
    assert members([*yes, *no], "is_punctuation") == set(yes)


def test_a_leading_space_is_not_counted_as_a_letter() -> None:
    assert members([" cat", "cats", " cats", "²", "x²", " 猫", "c4t"], "length_3") == {" cat"}
    assert members([" cat", "cats", " cats", "²", "x²", " 猫", "c4t"], "length_1") == {" 猫"}


def test_capitals_of_every_script_count() -> None:
    assert members(["École", " Дом", "\n\tThe", " the", "Ⅷ", "1A"], "starts_with_capital") == {
        "École",
        " Дом",
        "\n\tThe",
    }


def test_years_run_from_1000_to_2099() -> None:
    assert members(["1000", " 1999", "2099", "2100", "999", "19999", " x1999"], "years") == {
        "1000",
        " 1999",
        "2099",
    }


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_digit_sets_count_digits_and_not_the_space(n: int) -> None:
    numbers = ["1", " 1", "12", " 12", "123", " 123", "1234", " 1234", "12345"]
    assert members(numbers, f"digits_{n}") == {t for t in numbers if len(t.strip()) == n}


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        ("camel_case", ["getName", " iPhone", "JavaScript"], ["Name", "HTML", "name", "get_Name"]),
        ("snake_case", ["get_name", " a_b", "__init__x_y"], ["_name", "__", "name_", "name"]),
        ("quotes", ['"', " '", "”", "``"], ["a'", "'s", ",", '",']),
        ("contractions", ["'s", "n't", "’ll", " I'm"], ["'", "s", "'sa", "rock'n"]),
        ("sentence_ends", [".", "?!", '."', " !", ".)"], [",", "a.", ".a", '"']),
        ("code_operators", ["==", " !=", "->", "::", "&&", "+=", "//"], ["=", "+", "====", "a==", "..."]),
        ("urls", ["http", " https", "://", "www", ".com", "Http"], ["com", " web", ".comb", "ht"]),
        ("currency", ["$", " €5", "US$"], ["5", "S", "%"]),
        ("spaced_capital_words", [" Mary", " The"], ["Mary", " mary", " MARY", " A", "  Mary"]),
    ],
)
def test_a_shape_set_draws_its_line(name: str, yes: list[str], no: list[str]) -> None:
    assert members([*yes, *no], name) == set(yes)


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        (
            "suffix_ing",
            [" singing", "Being", "ating", " GOING"],
            [" sing", " string", "ing", " thing", " ingest", "1ing"],
        ),
        ("suffix_ed", [" walked", "used"], [" red", " bled", "ed", " walk"]),
        ("suffix_s", [" cats", "runs"], [" class", " was", "s", " cat's"]),
        ("suffix_er", [" runner", "later"], [" her", " per", "er"]),
        ("suffix_tion", [" nation", "duration"], [" tion", "tion", " nations"]),
        ("prefix_un", [" unlike", " Undone"], ["unlike", " un", " unit1", " under-", " uni"]),
        ("prefix_inter", [" internet", " INTERNAL"], [" inter", "internet", " interim?"]),
        ("first_letter_e", ["e", " Every", "eau"], ["é", " Be", "e1", "  e", " e-"]),
    ],
)
def test_an_affix_set_draws_its_line(name: str, yes: list[str], no: list[str]) -> None:
    assert members([*yes, *no], name) == set(yes)
