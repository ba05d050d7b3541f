"""Text of raw tokens, against the decoders of the `tokenizers` library and `bytes.decode`."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from featdex.catalogue.errors import UsageError, WeightsError
from featdex.ingest.vocabulary import vocabulary_from_raw, vocabulary_from_transformers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "The girl and the boy sang in the naïve café over 10 times.",
    "日本語 текст и emoji 🙂 here, singing and sung",
    "def f(x):\n\treturn x + 1  # done",
] * 20


@cache
def byte_level_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


@cache
def sentencepiece_bpe() -> Tokenizer:
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "n", "▁a", "▁an", "é", "▁▁"]
    model = models.BPE(
        vocab={piece: token_id for token_id, piece in enumerate(pieces)},
        merges=[("▁", "a"), ("▁a", "n"), ("▁", "▁")],
        unk_token="<unk>",
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


@cache
def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


@cache
def wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(vocab_size=160, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def raw_tokens(tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.id_to_token(token_id) or "" for token_id in range(tokenizer.get_vocab_size())]


def wrapped(tokenizer: Tokenizer, **special_tokens: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special_tokens)  # type: ignore[no-untyped-call]


def text_after(tokenizer: Tokenizer, first_id: int, token_id: int) -> str:
    """Decode a token in the middle of a text, where no decoder takes its leading space away."""
    first = tokenizer.decode([first_id], skip_special_tokens=False)
    return tokenizer.decode([first_id, token_id], skip_special_tokens=False).removeprefix(first)


@cache
def spelling_of_bytes() -> dict[int, str]:
    """GPT-2's character for each byte, read off the `tokenizers` library where UTF-8 has that byte."""
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    # No UTF-8 text holds 0xC0, 0xC1 or a byte from 0xF5 on. They are printable Latin-1, so they stand for themselves.
    spelling = {byte: chr(byte) for byte in (0xC0, 0xC1, *range(0xF5, 0x100))}
    for code in [*range(0x800), *range(0x800, 0xD800, 64), *range(0xE000, 0x110000, 64)]:
        ((raw, _),) = spell.pre_tokenize_str(chr(code))
        spelling |= dict(zip(chr(code).encode(), raw, strict=True))
    return spelling


def test_the_oracle_spells_every_byte_as_the_library_does() -> None:
    assert sorted(spelling_of_bytes().values()) == sorted(pre_tokenizers.ByteLevel.alphabet())


@given(data=st.binary(min_size=1, max_size=12))
def test_any_bytes_read_as_python_decodes_them(data: bytes) -> None:
    vocabulary = vocabulary_from_raw(["".join(spelling_of_bytes()[byte] for byte in data)], "byte_level", [])
    assert vocabulary.text == (data.decode(errors="replace"),)


@given(data=st.binary(min_size=1, max_size=6))
def test_the_flag_marks_bytes_that_are_no_utf8(data: bytes) -> None:
    vocabulary = vocabulary_from_raw(["".join(spelling_of_bytes()[byte] for byte in data)], "byte_level", [])
    try:
        data.decode("utf-8", errors="strict")
        is_utf8 = True
    except UnicodeDecodeError:
        is_utf8 = False
    assert vocabulary.is_partial_utf8[0] == (not is_utf8)


@given(text=st.text(min_size=1))
def test_any_text_survives_byte_level_spelling(text: str) -> None:
    ((raw, _),) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    vocabulary = vocabulary_from_raw([raw], "byte_level", [])
    assert (vocabulary.text[0], bool(vocabulary.is_partial_utf8[0])) == (text, False)


def test_byte_level_text_is_what_the_tokenizer_decodes() -> None:
    tokenizer = byte_level_bpe()
    raw = raw_tokens(tokenizer)
    decoded = tuple(tokenizer.decode([token_id], skip_special_tokens=False) for token_id in range(len(raw)))
    assert vocabulary_from_raw(raw, "byte_level", [0]).text == decoded


def test_sentencepiece_text_is_what_the_tokenizer_decodes() -> None:
    tokenizer = sentencepiece_bpe()
    raw = raw_tokens(tokenizer)
    decoded = tuple(tokenizer.decode([token_id], skip_special_tokens=False) for token_id in range(len(raw)))
    assert vocabulary_from_raw(raw, "sentencepiece", [0]).text == decoded


def test_unigram_text_is_what_the_tokenizer_decodes_inside_a_text() -> None:
    tokenizer = unigram()
    raw = raw_tokens(tokenizer)
    decoded = tuple(text_after(tokenizer, raw.index("e"), token_id) for token_id in range(len(raw)))
    assert vocabulary_from_raw(raw, "sentencepiece", [0]).text == decoded


def test_wordpiece_words_and_continuations_read_as_decoded_inside_a_text() -> None:
    tokenizer = wordpiece()
    raw = raw_tokens(tokenizer)
    words = [token_id for token_id, token in enumerate(raw) if token.lstrip("#").isalnum()]
    vocabulary = vocabulary_from_raw(raw, "wordpiece", [0])
    assert any(token.startswith("##") for token in raw)
    assert [vocabulary.text[i] for i in words] == [text_after(tokenizer, raw.index("the"), i) for i in words]


def test_wordpiece_punctuation_has_no_leading_space() -> None:
    assert vocabulary_from_raw([",", "##", "##ing", "sing"], "wordpiece", []).text == (",", "##", "ing", " sing")


def test_a_byte_token_of_ascii_is_a_character() -> None:
    vocabulary = vocabulary_from_raw(["<0x0A>", "<0xe2>"], "sentencepiece", [])
    assert vocabulary.text == ("\n", "�")
    assert vocabulary.is_partial_utf8.tolist() == [False, True]


def test_a_real_replacement_character_is_not_partial() -> None:
    vocabulary = vocabulary_from_raw(["ï¿½", "Ã"], "byte_level", [])
    assert vocabulary.text == ("�", "�")
    assert vocabulary.is_partial_utf8.tolist() == [False, True]


def test_characters_outside_the_byte_alphabet_stand_for_themselves() -> None:
    assert vocabulary_from_raw(["日本", "Ġ日", "a b"], "byte_level", []).text == ("日本", " 日", "a b")


def test_a_lone_surrogate_is_partial_and_does_not_crash() -> None:
    assert vocabulary_from_raw(["\ud800"], "byte_level", []).is_partial_utf8.tolist() == [True]


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece", "wordpiece"])
def test_special_tokens_stay_as_spelt(kind: str) -> None:
    vocabulary = vocabulary_from_raw(["Ġ▁##Ã", "a"], kind, [0])
    assert vocabulary.text[0] == "Ġ▁##Ã"
    assert vocabulary.is_special.tolist() == [True, False]
    assert not vocabulary.is_partial_utf8.any()


@pytest.mark.parametrize(("kind", "text"), [("byte_level", "é▁"), ("sentencepiece", "é "), ("wordpiece", "é▁")])
def test_literal_tokens_are_text_already(kind: str, text: str) -> None:
    assert vocabulary_from_raw(["é▁"], kind, [], literal_ids=[0]).text == (text,)


def test_an_empty_tokenizer_gives_an_empty_vocabulary() -> None:
    assert len(vocabulary_from_raw([], "byte_level", [])) == 0


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean sentencepiece"):
        vocabulary_from_raw(["a"], "sentence_piece", [])


@pytest.mark.parametrize("token_id", [-1, 2])
def test_a_special_id_beyond_the_tokens_is_refused(token_id: int) -> None:
    with pytest.raises(UsageError, match=f"token id {token_id} is outside the 2 tokens"):
        vocabulary_from_raw(["a", "b"], "byte_level", [token_id])


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (byte_level_bpe, "byte_level"),
        (sentencepiece_bpe, "sentencepiece"),
        (unigram, "sentencepiece"),
        (wordpiece, "wordpiece"),
    ],
)
def test_a_transformers_tokenizer_is_read_by_its_kind(make: Any, kind: str) -> None:
    raw = raw_tokens(make())
    vocabulary = vocabulary_from_transformers(wrapped(make(), unk_token=raw[0]))
    assert (vocabulary.raw, vocabulary.text) == (tuple(raw), vocabulary_from_raw(raw, kind, [0]).text)
    assert vocabulary.is_special.nonzero()[0].tolist() == [0]


def test_added_tokens_are_literal_and_special_ones_flagged() -> None:
    tokenizer = Tokenizer.from_str(byte_level_bpe().to_str())
    n_trained = tokenizer.get_vocab_size()
    tokenizer.add_tokens([AddedToken("é  é", normalized=False)])
    tokenizer.add_special_tokens([AddedToken("<|im_start|>")])
    vocabulary = vocabulary_from_transformers(wrapped(tokenizer))
    assert vocabulary.text[n_trained:] == ("é  é", "<|im_start|>")
    assert vocabulary.is_special[n_trained:].tolist() == [False, True]


def test_an_unused_id_reads_empty() -> None:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "sing": 1, "##ing": 4}, unk_token="[UNK]"))
    vocabulary = vocabulary_from_transformers(wrapped(tokenizer, unk_token="[UNK]"))
    assert vocabulary.text == ("[UNK]", " sing", "", "", "ing")


class SlowTokenizer:
    """A tokenizer in plain Python that refuses unused ids, as `transformers` allows."""

    all_special_ids = (0, None, -1)

    def __init__(self, tokens: dict[int, str]) -> None:
        self._tokens = tokens

    def __len__(self) -> int:
        return len(self._tokens)

    def get_vocab(self) -> dict[str, int]:
        return {token: token_id for token_id, token in self._tokens.items()}

    def convert_ids_to_tokens(self, ids: int | list[int]) -> str | list[str]:
        return [self._tokens[i] for i in ids] if isinstance(ids, list) else self._tokens[ids]


@pytest.mark.parametrize("spelt", ["Ġgirl", "▁girl", "girl"])
def test_a_slow_tokenizer_is_read_by_the_spelling_of_its_tokens(spelt: str) -> None:
    tokens = {0: "<s>", 1: spelt} | ({} if spelt != "girl" else {2: "##s"}) | {5: "a"}
    vocabulary = vocabulary_from_transformers(SlowTokenizer(tokens))
    assert (len(vocabulary), vocabulary.text[1]) == (6, " girl")
    assert vocabulary.is_special.tolist() == [True, *[False] * 5]


def test_a_tokenizer_without_any_mark_of_a_space_is_refused() -> None:
    with pytest.raises(WeightsError, match="vocabulary_from_raw"):
        vocabulary_from_transformers(SlowTokenizer({0: "<s>", 1: "a"}))
