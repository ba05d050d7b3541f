"""The published sets of Bloom & Lin 2024, against their recipe written out over {raw token: id} of GPT-2."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path
from typing import Any

import nltk
import pytest
from featdex.ingest import set_bloom
from featdex.ingest.inputs import TokenSet, Vocabulary
from featdex.ingest.set_bloom import bloom_sets
from featdex.ingest.set_pos import TAGS
from featdex.ingest.vocabulary import vocabulary_from_raw
from tokenizers import Tokenizer, models, pre_tokenizers

DATA = Path(set_bloom.__file__).parent / "data"
WORD_LISTS: dict[str, list[str]] = json.loads((DATA / "bloom2024_words.json").read_text(encoding="utf-8"))["lists"]

# {name here: pattern}, as method.md has them from the published code.
PATTERNS = {
    "starts_with_space": r"Ġ.*",
    "starts_with_capital": r"^Ġ*[A-Z].*",
    "starts_with_lower": r"^Ġ*[a-z].*",
    "all_digits": r"^Ġ*\d+$",
    "is_punctuation": r"^[^\w\s]+$",
    "contains_close_bracket": r".*\).*",
    "contains_open_bracket": r".*\(.*",
    "all_caps": r"Ġ*[A-Z]+$",
    "1_digit": r"Ġ*\d{1}$",
    "2_digits": r"Ġ*\d{2}$",
    "3_digits": r"Ġ*\d{3}$",
    "4_digits": r"Ġ*\d{4}$",
    "length_1": r"^Ġ*\w{1}$",
    "length_2": r"^Ġ*\w{2}$",
    "length_3": r"^Ġ*\w{3}$",
    "length_4": r"^Ġ*\w{4}$",
    "length_5": r"^Ġ*\w{5}$",
}


@pytest.fixture(scope="module")
def built(gpt2: Vocabulary) -> dict[str, TokenSet]:
    return {found.name: found for found in bloom_sets(gpt2)}


@pytest.fixture(scope="module")
def vocab(gpt2_data: dict[str, Any]) -> dict[str, int]:
    return {token: token_id for token_id, token in enumerate(gpt2_data["tokens"])}


@pytest.fixture(scope="module")
def tokenizer(gpt2_data: dict[str, Any], gpt2_merges: list[tuple[str, str]], vocab: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=gpt2_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


@pytest.mark.parametrize("name", PATTERNS)
def test_a_regex_set_is_the_published_one(built: dict[str, TokenSet], vocab: dict[str, int], name: str) -> None:
    expected = {token_id for token, token_id in vocab.items() if re.match(PATTERNS[name], token)}
    assert set(built[f"bloom_{name}"].token_ids.tolist()) == expected
    assert built[f"bloom_{name}"].definition == PATTERNS[name]


@pytest.mark.parametrize("letter", string.ascii_lowercase)
def test_a_letter_set_is_the_published_one(built: dict[str, TokenSet], vocab: dict[str, int], letter: str) -> None:
    stripped = {token_id: token.strip("Ġ") for token, token_id in vocab.items()}
    expected = {token_id for token_id, word in stripped.items() if word.isalpha() and word[0].lower() == letter}
    assert set(built[f"bloom_{letter}"].token_ids.tolist()) == expected


@pytest.mark.parametrize(
    ("name", "n_tokens"),
    [
        ("starts_with_space", 33_135),
        ("starts_with_capital", 16_777),
        ("all_caps", 2_775),
        ("is_punctuation", 529),
        ("all_digits", 1_691),
        ("length_4", 11_604),
    ],
)
def test_the_sizes_are_the_published_ones(built: dict[str, TokenSet], name: str, n_tokens: int) -> None:
    assert len(built[f"bloom_{name}"].token_ids) == n_tokens


@pytest.mark.parametrize("published", WORD_LISTS)
def test_a_word_list_is_what_the_tokenizer_encodes(
    built: dict[str, TokenSet], tokenizer: Tokenizer, published: str
) -> None:
    found = built[f"bloom_{published.replace(chr(39), '')}"]
    expected = {i for word in WORD_LISTS[published] for i in tokenizer.encode(f" {word}").ids}
    assert set(found.token_ids.tolist()) == expected
    assert (found.n_terms, found.n_dropped) == (len(set(WORD_LISTS[published])), 0)


def test_a_list_says_how_many_of_its_words_are_in_pieces(built: dict[str, TokenSet], tokenizer: Tokenizer) -> None:
    n_split = sum(len(tokenizer.encode(f" {word}").ids) > 1 for word in WORD_LISTS["spanish_words"])
    assert n_split == len(WORD_LISTS["spanish_words"]) == 10
    assert "10 of 10 words are more than one token" in built["bloom_spanish_words"].description
    assert "more than one token" not in built["bloom_emotions"].description


def test_the_tags_are_those_of_nltks_pos_tag(
    built: dict[str, TokenSet], vocab: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nltk.data, "path", [str(DATA / "nltk_data")])
    sample = list(vocab.items())[::9]
    tagged = nltk.pos_tag_sents([[token.strip("Ġ")] for token, _ in sample])
    expected: dict[str, set[int]] = {}
    for ((_, tag),), (_, token_id) in zip(tagged, sample, strict=True):
        expected.setdefault(f"nltk.pos_tag([token.strip('Ġ')])[0][1] == {tag!r}", set()).add(token_id)
    sample_ids = {token_id for _, token_id in sample}
    tag_sets = {found.definition: found for found in built.values() if found.kind == "pos"}
    assert {
        definition: ids
        for definition, found in tag_sets.items()
        if (ids := sample_ids.intersection(found.token_ids.tolist()))
    } == expected


def test_every_token_has_one_tag(built: dict[str, TokenSet], gpt2: Vocabulary) -> None:
    ids = [token_id for found in built.values() if found.kind == "pos" for token_id in found.token_ids.tolist()]
    assert sorted(ids) == list(range(len(gpt2)))


def test_the_known_defects_are_there(built: dict[str, TokenSet], vocab: dict[str, int]) -> None:
    def has(name: str, token: str) -> bool:
        return vocab[token] in built[f"bloom_{name}"].token_ids

    assert not has("is_punctuation", "Ġ,")
    assert has("length_4", "Ġcat")
    assert has("length_2", "Ã¼")
    assert not has("length_2", "Ã©")
    assert has("nltk_pos_wdt", "ĠChat")
    assert has("nltk_pos_nn", "<|endoftext|>")


def test_names_are_plain_and_facts_complete(built: dict[str, TokenSet], gpt2: Vocabulary) -> None:
    assert len(built) == len(bloom_sets(gpt2)) > 100
    for name, found in built.items():
        assert re.fullmatch(r"bloom_[a-z0-9_]+", name)
        assert (found.collection, found.source) == ("bloom2024", "Bloom & Lin 2024, SAELens")
        assert (found.licence, found.version) == ("MIT", "2024-03")
        assert "as published" in found.description
        assert found.definition


def test_the_corrected_set_that_a_description_names_is_there(
    built: dict[str, TokenSet], gpt2_library: list[TokenSet]
) -> None:
    beside = {found.name for found in gpt2_library if found.collection != "bloom2024"} | {
        f"pos_{tag.replace('$', 'S')}" for tag in TAGS
    }
    named = {
        name: corrected[1]
        for name, found in built.items()
        if (corrected := re.search(r"Corrected: (\S+)\.$", found.description))
    }
    assert {name: corrected for name, corrected in named.items() if corrected not in beside} == {}
    assert len(named) >= len(built) - len(WORD_LISTS)


@pytest.mark.parametrize("kind", ["sentencepiece", "wordpiece"])
def test_a_vocabulary_not_of_bytes_has_none(gpt2: Vocabulary, kind: str) -> None:
    tokens = [text.replace(" ", "▁" if kind == "sentencepiece" else "##") or "?" for text in gpt2.text]
    assert bloom_sets(vocabulary_from_raw(tokens, kind, [])) == []


def test_a_word_with_a_byte_that_is_no_token_is_dropped_by_name(gpt2_data: dict[str, Any]) -> None:
    # Of mañana, "ñ" is the bytes spelt Ã±.
    tokens = [token for token in gpt2_data["tokens"] if "Ã" not in token]
    found = next(
        found for found in bloom_sets(vocabulary_from_raw(tokens, "byte_level", [])) if "spanish" in found.name
    )
    assert (found.n_terms, found.n_dropped) == (10, 1)
    ((word, reason),) = found.dropped
    assert word == "mañana"
    assert "no token for the byte 'Ã'" in reason
