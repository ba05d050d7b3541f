"""Where word lists and part-of-speech sets draw their lines, on words picked by hand."""

from __future__ import annotations

import tomllib
from collections.abc import Callable

import nltk
import pytest
from featdex.ingest.inputs import TokenSet
from featdex.ingest.set_names import DATA, word_sets
from featdex.ingest.set_pos import pos_sets
from featdex.ingest.set_texts import TextIndex, index_texts
from featdex.ingest.vocabulary import vocabulary_from_raw


def members(words: list[str], build: Callable[[TextIndex], list[TokenSet]], name: str) -> set[str]:
    """The given words that are in a set, however small it is."""
    vocabulary = vocabulary_from_raw([word.replace(" ", "▁") for word in words], "sentencepiece", [])
    sets = {found.name: found for found in build(index_texts(vocabulary))}
    return {vocabulary.text[token_id] for token_id in sets[name].token_ids}


def test_word_lists_follow_their_casing() -> None:
    assert members(["May", " May", "may", "MAY", "  May"], word_sets, "months") == {"May", " May"}
    assert members(["she", " She", "HER", " hers", "sHe", "shed"], word_sets, "she_pronouns") == {
        "she",
        " She",
        "HER",
        " hers",
    }


def test_no_word_list_repeats_a_term() -> None:
    lists = tomllib.loads((DATA / "word_lists.toml").read_text(encoding="utf-8"))
    assert all(len(set(entry["terms"])) == len(entry["terms"]) for entry in lists.values())
    assert {entry["casing"] for entry in lists.values()} == {"given", "any"}


def test_only_words_of_latin_letters_are_tagged() -> None:
    tagged = {
        text
        for tag in ("pos_NN", "pos_CD", "pos_JJ", "pos_RB")
        for text in members([" dog", "well-known", " café", "猫", "дом", "12", "-dog", "a_b", " don’t"], pos_sets, tag)
    }
    assert {" dog", " café", "well-known"} <= tagged <= {" dog", " café", "well-known", " don’t"}


def test_tagging_needs_no_nltk_data_and_leaves_its_search_path_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nltk.data, "path", [])
    assert members([" running"], pos_sets, "pos_VBG") == {" running"}
    assert nltk.data.path == []
