"""The one place that turns a tokenizer's raw tokens into text.

Token sets, tables and prints all read `Vocabulary.text`, so that " Mary" is the same string whether the tokenizer
spells it `ĠMary` (byte-level BPE), `▁Mary` (SentencePiece) or `mary` (WordPiece), and so that a space in front always
means that a word starts here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Bool

from ..catalogue.errors import UsageError, WeightsError, nearest
from .inputs import Vocabulary
from .unchecked import no_type_check

SENTENCEPIECE_SPACE = "▁"
WORDPIECE_CONTINUATION = "##"

_MOST_TOKENS = 10_000_000
"""A tokenizer of more is damaged: every id up to the highest one takes room, used or not."""

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")

# What a part of a Hugging Face `tokenizers` pipeline, written as JSON, says about the spelling of the tokens.
_PIPELINE_MARKS = {
    "byte_level": ('"ByteLevel"',),
    "wordpiece": ('"WordPiece"',),
    "sentencepiece": ('"Metaspace"', '"ByteFallback"', f'"{SENTENCEPIECE_SPACE}"'),
}
_SPELLING_MARKS = {"byte_level": "Ġ", "wordpiece": WORDPIECE_CONTINUATION, "sentencepiece": SENTENCEPIECE_SPACE}


def _byte_of_character() -> dict[str, bytes]:
    """Return GPT-2's spelling of the 256 bytes, read backwards.

    A byte that is a printable Latin-1 character stands for itself; the others are, in order, U+0100, U+0101, ...
    (Radford et al. 2019, `bytes_to_unicode`).
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in printable]
    spelling = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}
    return {character: bytes([byte]) for byte, character in spelling.items()}


_BYTE_OF = _byte_of_character()
_SPELLING_OF = {byte[0]: character for character, byte in _BYTE_OF.items()}
# The bytes 0x80 ... 0xBF follow the first one of a character in UTF-8. A vocabulary of characters holds only a few of
# the letters that spell them; one of bytes needs them all.
_FOLLOWING_BYTES = frozenset(_SPELLING_OF[byte] for byte in range(0x80, 0xC0))
_MIN_BYTE_LEVEL_SHARE = 0.9


@no_type_check
def spell_bytes(data: bytes) -> str:
    """Return bytes as byte-level BPE spells them: one of GPT-2's 256 characters for each."""
    return "".join([_SPELLING_OF[byte] for byte in data])


def is_byte_level(vocabulary: Vocabulary) -> bool:
    """Tell whether the raw tokens are spelt in GPT-2's characters for bytes.

    They are if the space and every byte that can go on a character are tokens, and nine in ten of the ordinary tokens
    have no other characters (those added after the training may).
    """
    ordinary = [
        token for token, special in zip(vocabulary.raw, vocabulary.is_special, strict=True) if token and not special
    ]
    if not _FOLLOWING_BYTES.union(_SPELLING_OF[ord(" ")]).issubset(ordinary):
        return False
    n_spelt = sum(_BYTE_OF.keys() >= set(token) for token in ordinary)
    return n_spelt >= _MIN_BYTE_LEVEL_SHARE * len(ordinary)


@no_type_check
def _decode(data: bytes) -> tuple[str, bool]:
    """Return the text of bytes, and whether they are no UTF-8 by themselves."""
    try:
        return data.decode("utf-8"), False
    except UnicodeDecodeError:
        return data.decode("utf-8", errors="replace"), True


@no_type_check
def _byte_level(raw: str) -> tuple[str, bool]:
    # A character outside the 256 is no byte: it stands for itself. `surrogatepass` keeps a lone surrogate from raising.
    return _decode(b"".join([_BYTE_OF.get(char) or char.encode("utf-8", "surrogatepass") for char in raw]))


@no_type_check
def _sentencepiece(raw: str) -> tuple[str, bool]:
    if byte := _BYTE_TOKEN.fullmatch(raw):
        return _decode(bytes.fromhex(byte[1]))
    return raw.replace(SENTENCEPIECE_SPACE, " "), False


@no_type_check
def _wordpiece(raw: str) -> tuple[str, bool]:
    if raw.startswith(WORDPIECE_CONTINUATION) and raw != WORDPIECE_CONTINUATION:
        return raw.removeprefix(WORDPIECE_CONTINUATION), False
    return (f" {raw}" if raw[:1].isalnum() else raw), False


_READERS: dict[str, Callable[[str], tuple[str, bool]]] = {
    "byte_level": _byte_level,
    "sentencepiece": _sentencepiece,
    "wordpiece": _wordpiece,
}


def vocabulary_from_raw(
    raw: Sequence[str], kind: str, special_ids: Iterable[int], literal_ids: Iterable[int] = ()
) -> Vocabulary:
    """Decode the raw tokens of a tokenizer, one a token id.

    `kind` is how they are spelt:

    - `byte_level`: GPT-2's 256 characters for bytes (`Ġ` is a space); other characters stand for themselves.
    - `sentencepiece`: `▁` is a space, `<0xNN>` a byte.
    - `wordpiece`: `##` marks a continuation. WordPiece stores no spaces, so a token that starts a word gets one:
      `mary` reads " mary" and `##ing` reads "ing". A token that starts with neither letter nor digit gets none,
      because punctuation is split off whether or not a space stood before it.

    Special tokens read as they are spelt. So do `literal_ids`, the tokens added to a tokenizer after its training
    (except for their `▁`). Bytes that are no UTF-8 by themselves read U+FFFD and are flagged `is_partial_utf8`.
    Raises UsageError for an unknown kind or an id beyond the tokens.
    """
    if kind not in _READERS:
        raise UsageError(f"no tokenizer kind {kind!r}{nearest(kind, _READERS)} (known: {', '.join(_READERS)})")
    is_special, is_literal = _flags(special_ids, len(raw)), _flags(literal_ids, len(raw))
    read = _READERS[kind]
    read_literal = _sentencepiece_literal if kind == "sentencepiece" else _as_spelt
    texts: list[str] = []
    is_partial = np.zeros(len(raw), dtype=np.bool_)
    for token_id, (token, special, literal) in enumerate(
        zip(raw, is_special.tolist(), is_literal.tolist(), strict=True)
    ):
        if special or literal:
            texts.append(token if special else read_literal(token))
        else:
            text, is_partial[token_id] = read(token)
            texts.append(text)
    return Vocabulary(raw=tuple(raw), text=tuple(texts), is_special=is_special, is_partial_utf8=is_partial)


def _as_spelt(raw: str) -> str:
    return raw


def _sentencepiece_literal(raw: str) -> str:
    return raw.replace(SENTENCEPIECE_SPACE, " ")


def _flags(ids: Iterable[int], d_vocab: int) -> Bool[np.ndarray, " d_vocab"]:
    """Return True at the given ids of `d_vocab` tokens."""
    flags = np.zeros(d_vocab, dtype=np.bool_)
    for token_id in ids:
        if not 0 <= token_id < d_vocab:
            raise UsageError(f"token id {token_id} is outside the {d_vocab} tokens of the tokenizer")
        flags[token_id] = True
    return flags


def vocabulary_from_tiktoken(encoding: Any) -> Vocabulary:
    """Decode the vocabulary of a `tiktoken.Encoding`, special tokens included.

    Raw are the tokens as byte-level BPE spells them (`ĠMary`). Ids run to the highest one; an unused id reads "".
    """
    special = {token: int(encoding.encode_single_token(token)) for token in encoding.special_tokens_set}
    ranks: dict[bytes, int] = {}
    for token_id in sorted(set(range(encoding.n_vocab)).difference(special.values())):
        try:
            ranks[encoding.decode_single_token_bytes(token_id)] = token_id
        except KeyError:  # its answer for an unused id
            continue
    return vocabulary_from_ranks(ranks, special)


def vocabulary_from_ranks(
    ranks: Mapping[bytes, int], special_tokens: Mapping[str, int] = MappingProxyType({})
) -> Vocabulary:
    """Decode mergeable ranks, {bytes of a token: id}, and special tokens, {text: id}: tiktoken's two tables.

    Raises UsageError for an id below 0 or given twice.
    """
    spelt = [(spell_bytes(data), token_id) for data, token_id in ranks.items()] + list(special_tokens.items())
    d_vocab = max((token_id + 1 for _, token_id in spelt), default=0)
    raw = [""] * d_vocab
    for token, token_id in spelt:
        if token_id < 0 or raw[token_id]:
            fault = "is below 0" if token_id < 0 else f"is that of two tokens, {raw[token_id]!r} and {token!r}"
            raise UsageError(f"token id {token_id} {fault}; give each token an id of its own")
        raw[token_id] = token
    return vocabulary_from_raw(raw, "byte_level", special_tokens.values())


def read_tiktoken_ranks(path: str | Path) -> dict[bytes, int]:
    """Return the mergeable ranks in a `.tiktoken` file: a line a token, its bytes in base64, a space, its id.

    Raises WeightsError, which names the line, for any other line or a token given twice.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(Path(path).read_bytes().splitlines(), start=1):
        try:
            if line.strip():
                data, token_id = line.split()
                token = base64.b64decode(data, validate=True)
                if token in ranks or not token:
                    raise ValueError("a token is given once and has a byte or more")
                ranks[token] = int(token_id)
        except ValueError as fault:
            raise WeightsError(
                f"{path}: line {number} is no new token in base64, a space and its id; give a .tiktoken file"
            ) from fault
    return ranks


def vocabulary_from_transformers(tokenizer: Any) -> Vocabulary:
    """Decode the vocabulary of a `transformers` tokenizer, fast or slow, added tokens included.

    Ids run to the highest one in use (more than `len(tokenizer)` where ids are skipped); an unused id reads "".
    Special are `all_special_ids` and the added tokens flagged special. Raises WeightsError where neither the
    tokenizer's pipeline nor its tokens tell how they are spelt.
    """
    d_vocab = max([len(tokenizer), *(token_id + 1 for token_id in tokenizer.get_vocab().values())])
    if d_vocab > _MOST_TOKENS:
        raise WeightsError(f"the tokenizer has a token of the id {d_vocab - 1:,}; its files are damaged")
    raw = [token or "" for token in _raw_tokens(tokenizer, d_vocab)]
    added = dict(getattr(tokenizer, "added_tokens_decoder", {}))
    special = {*tokenizer.all_special_ids, *(token_id for token_id, token in added.items() if token.special)}
    return vocabulary_from_raw(
        raw,
        _kind_of(tokenizer, raw),
        special_ids=_known(special, d_vocab),
        literal_ids=_known(added.keys() - special, d_vocab),
    )


def _known(ids: Iterable[int | None], d_vocab: int) -> list[int]:
    """Return the ids that are tokens: a tokenizer may name a special token that it does not hold."""
    return [token_id for token_id in ids if token_id is not None and 0 <= token_id < d_vocab]


def _raw_tokens(tokenizer: Any, d_vocab: int) -> list[str | None]:
    try:
        return list(tokenizer.convert_ids_to_tokens(list(range(d_vocab))))
    except (IndexError, KeyError):  # a slow tokenizer refuses unused ids instead of answering None
        return [_raw_token(tokenizer, token_id) for token_id in range(d_vocab)]


def _raw_token(tokenizer: Any, token_id: int) -> str | None:
    try:
        token: str | None = tokenizer.convert_ids_to_tokens(token_id)
    except (IndexError, KeyError):
        return None
    return token


def _kind_of(tokenizer: Any, raw: Sequence[str]) -> str:
    """Return the kind of a tokenizer from its decoder, else its pre-tokenizer, else from the spelling of its tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    for part in (getattr(backend, "decoder", None), getattr(backend, "pre_tokenizer", None)):
        state = part.__getstate__().decode("utf-8") if part is not None else ""
        for kind, marks in _PIPELINE_MARKS.items():
            if any(mark in state for mark in marks):
                return kind
    counts = {kind: sum(token.startswith(mark) for token in raw) for kind, mark in _SPELLING_MARKS.items()}
    if not any(counts.values()):
        raise WeightsError(
            "can't tell how this tokenizer spells spaces (no Ġ, ▁ or ## in its tokens); "
            "decode its tokens with vocabulary_from_raw and one of its kinds"
        )
    return max(counts, key=lambda kind: counts[kind])
