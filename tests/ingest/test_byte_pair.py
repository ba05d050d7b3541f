"""Byte-pair encoding by ids alone, against the `tokenizers` library's encoding by the published merges."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from featdex.catalogue.errors import UsageError
from featdex.ingest import byte_pair
from featdex.ingest.byte_pair import BytePairEncoder
from featdex.ingest.inputs import Vocabulary
from featdex.ingest.vocabulary import vocabulary_from_raw
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS_FILE = Path(byte_pair.__file__).parent / "data" / "bloom2024_words.json"

# Fixtures of a session: no example changes them.
examples = settings(max_examples=400, deadline=None)
letters = st.text(st.characters(categories=["L", "M"]), max_size=12)
ascii_words = st.from_regex(r"[A-Za-z]{1,20}", fullmatch=True)


def bpe(tokens: list[str], merges: list[tuple[str, str]]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


@pytest.fixture(scope="module")
def gpt2_oracle(gpt2: Vocabulary, gpt2_merges: list[tuple[str, str]]) -> Tokenizer:
    return bpe(list(gpt2.raw), gpt2_merges)


@pytest.fixture(scope="module")
def gpt2_encoder(gpt2: Vocabulary) -> BytePairEncoder:
    return BytePairEncoder(gpt2)


@pytest.fixture(scope="module")
def smollm2_oracle(smollm2_data: dict[str, list[Any]]) -> Tokenizer:
    left_right = [tuple(merge.split(" ")) for merge in smollm2_data["merges"]]
    return bpe(smollm2_data["tokens"], left_right)


@pytest.fixture(scope="module")
def smollm2_encoder(smollm2: Vocabulary) -> BytePairEncoder:
    return BytePairEncoder(smollm2)


def published_words() -> list[str]:
    lists = json.loads(WORDS_FILE.read_text(encoding="utf-8"))["lists"]
    return [word for words in lists.values() for word in words]


@examples
@given(text=st.text())
def test_any_text_is_cut_and_merged_as_gpt2s_merges_say(
    gpt2_encoder: BytePairEncoder, gpt2_oracle: Tokenizer, text: str
) -> None:
    assert gpt2_encoder.encode(text) == gpt2_oracle.encode(text).ids


@examples
@given(words=st.lists(st.one_of(ascii_words, letters), min_size=1, max_size=4))
def test_words_after_spaces_are_as_gpt2s_merges_say(
    gpt2_encoder: BytePairEncoder, gpt2_oracle: Tokenizer, words: list[str]
) -> None:
    text = "".join(f" {word}" for word in words)
    assert gpt2_encoder.encode(text) == gpt2_oracle.encode(text).ids


@pytest.mark.parametrize(
    "text", ["", " ", "  a", " don't", " DON'T", "'s", " O'Neil's 1,024 things\n\n x\x1cy\x85 ½ Ⅷ_a"]
)
def test_pieces_meet_where_gpt2s_pattern_cuts(gpt2_encoder: BytePairEncoder, gpt2_oracle: Tokenizer, text: str) -> None:
    assert gpt2_encoder.encode(text) == gpt2_oracle.encode(text).ids


def test_the_texts_of_tokens_encode_to_what_gpt2s_merges_say(
    gpt2: Vocabulary, gpt2_encoder: BytePairEncoder, gpt2_oracle: Tokenizer
) -> None:
    texts = [text for text, partial in zip(gpt2.text, gpt2.is_partial_utf8, strict=True) if not partial][::5]
    expected = [found.ids for found in gpt2_oracle.encode_batch(texts)]
    assert [gpt2_encoder.encode(text) for text in texts] == expected
    assert sum(len(ids) == 1 for ids in expected) > 9_900


@examples
@given(words=st.lists(st.one_of(ascii_words, st.sampled_from(published_words())), min_size=1, max_size=4))
def test_words_after_spaces_are_as_smollm2s_merges_say(
    smollm2_encoder: BytePairEncoder, smollm2_oracle: Tokenizer, words: list[str]
) -> None:
    text = "".join(f" {word}" for word in words)
    assert smollm2_encoder.encode(text) == smollm2_oracle.encode(text).ids


def test_a_special_token_is_not_made_of_text(gpt2_encoder: BytePairEncoder) -> None:
    assert len(gpt2_encoder.encode("<|endoftext|>")) > 1


def test_a_long_run_without_a_break_takes_no_quadratic_time(
    gpt2_encoder: BytePairEncoder, gpt2_oracle: Tokenizer
) -> None:
    text = "abcdefghijklmnopqrstuvwxyzetaoin" * 2_000
    start = time.process_time()
    ids = gpt2_encoder.encode(text)
    assert time.process_time() - start < 30  # a second or two; quadratic time would be an hour
    assert ids == gpt2_oracle.encode(text).ids


@pytest.mark.parametrize("kind", ["sentencepiece", "wordpiece"])
def test_a_vocabulary_not_of_bytes_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match="needs a byte-level vocabulary"):
        BytePairEncoder(vocabulary_from_raw(["▁a", "##b", "Ġ", "c"], kind, []))


def test_a_byte_without_a_token_is_named(smollm2_encoder: BytePairEncoder) -> None:
    with pytest.raises(UsageError, match=r"no token for the byte 'Ć' of '\\x06'"):
        smollm2_encoder.encode("\x06")


def test_text_that_is_no_utf8_is_refused(gpt2_encoder: BytePairEncoder) -> None:
    with pytest.raises(UsageError, match="is no valid text"):
        gpt2_encoder.encode(" \ud800")
