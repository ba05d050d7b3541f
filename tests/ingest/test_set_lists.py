"""Where given names, built-in word lists and part-of-speech sets draw their lines, on words picked by hand."""

from __future__ import annotations

from collections.abc import Callable

import nltk
import pytest
from featdex.ingest.inputs import TokenSet, Vocabulary
from featdex.ingest.set_file import read_set_file
from featdex.ingest.set_names import name_sets
from featdex.ingest.set_pos import pos_sets
from featdex.ingest.set_resolve import resolve_sets
from featdex.ingest.set_texts import index_texts
from featdex.ingest.token_sets import SETS_FOLDER
from featdex.ingest.vocabulary import vocabulary_from_raw


def vocabulary_of(words: list[str]) -> Vocabulary:
    return vocabulary_from_raw([word.replace(" ", "▁") for word in words], "sentencepiece", [])


def members(words: list[str], build: Callable[[Vocabulary], list[TokenSet]], name: str) -> set[str]:
    """The given words that are in a set, however small it is."""
    vocabulary = vocabulary_of(words)
    sets = {found.name: found for found in build(vocabulary)}
    return {vocabulary.text[token_id] for token_id in sets[name].token_ids}


def listed(vocabulary: Vocabulary) -> list[TokenSet]:
    definitions = [*read_set_file(SETS_FOLDER / "names.toml"), *read_set_file(SETS_FOLDER / "grammar.toml")]
    return resolve_sets(definitions, vocabulary, keep_unusable=True)


def tagged_alone(vocabulary: Vocabulary) -> list[TokenSet]:
    return pos_sets(index_texts(vocabulary))


def test_word_lists_follow_their_casing() -> None:
    assert members(["May", " May", "may", "MAY", "  May"], listed, "months") == {"May", " May"}
    words = ["she", " She", "HER", " hers", "sHe", "shed"]
    assert members(words, listed, "she_pronouns") == {"she", " She", "HER", " hers"}


def test_a_given_name_is_a_token_after_a_space() -> None:
    vocabulary = vocabulary_of([" Mary", "Mary", " mary", " MARY", "  Mary", " Mar", " James", " Emily", "Emma"])
    girls, boys, _ = name_sets(vocabulary, index_texts(vocabulary))
    assert (girls.token_ids.tolist(), boys.token_ids.tolist()) == ([0, 7], [6])
    assert (girls.name, girls.licence) == ("girls_names", "public domain")
    dropped = dict(girls.dropped)
    assert len(dropped) == girls.n_dropped == (girls.n_terms or 0) - 2
    assert dropped["Emma"] == "only with another casing or spacing"
    assert dropped["Olivia"] == "no single token"


def test_only_words_of_latin_letters_are_tagged() -> None:
    tagged = {
        text
        for tag in ("pos_NN", "pos_CD", "pos_JJ", "pos_RB")
        for text in members(
            [" dog", "well-known", " café", "猫", "дом", "12", "-dog", "a_b", " don’t"], tagged_alone, tag
        )
    }
    assert {" dog", " café", "well-known"} <= tagged <= {" dog", " café", "well-known", " don’t"}


def test_tagging_needs_no_nltk_data_and_leaves_its_search_path_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nltk.data, "path", [])
    assert members([" running"], tagged_alone, "pos_VBG") == {" running"}
    assert nltk.data.path == []
