"""Byte-pair encoding with a vocabulary alone, for terms that are more than one token.

Sets of words are made where only the vocabulary is at hand: a GGUF file or a tokenizer's JSON need not come with the
library that runs it. The vocabulary is enough, because the training of byte-level BPE (GPT-2, Llama 3, SmolLM, the
encodings of tiktoken) numbers a token when it makes it: of all pairs of neighbours that make a token, the pair whose
token has the lowest id is merged first.
"""

from __future__ import annotations

import heapq
import re
import unicodedata

from ..catalogue.errors import UsageError
from .inputs import Vocabulary
from .unchecked import no_type_check
from .vocabulary import is_byte_level, spell_bytes

# GPT-2's pattern (Radford et al. 2019) in ASCII: `_ascii_shape` turns \p{L} into letters and \p{N} into digits first.
_PIECE = re.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+",
    re.ASCII,
)
_OTHER = "!"


class BytePairEncoder:
    """Encodes text with a byte-level BPE vocabulary, special tokens never.

    Text is first cut as GPT-2 cuts it: at spaces, contractions, and where letters, digits and other characters meet.
    Other tokenizers cut runs of digits, of punctuation and of white space elsewhere; words after one space, and
    apostrophes in them, they cut alike. Raises UsageError for a vocabulary that is not byte-level.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        if not is_byte_level(vocabulary):
            raise UsageError(
                "byte-pair encoding needs a byte-level vocabulary (GPT-2, Llama 3, SmolLM, tiktoken); "
                "for this one, give the tokens themselves instead of text"
            )
        self._id_of: dict[str, int] = {}
        for token_id, (raw, special) in enumerate(zip(vocabulary.raw, vocabulary.is_special.tolist(), strict=True)):
            if raw and not special:
                self._id_of.setdefault(raw, token_id)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text.

        Raises UsageError for a byte that the vocabulary has no token for, and for text that is no UTF-8.
        """
        shape = "".join([_ascii_shape(char) for char in text])
        return [
            token_id for piece in _PIECE.finditer(shape) for token_id in self._encode_piece(text[slice(*piece.span())])
        ]

    def _encode_piece(self, piece: str) -> list[int]:
        try:
            symbols = list(spell_bytes(piece.encode("utf-8")))
        except UnicodeEncodeError as fault:
            raise UsageError(f"{piece!r} is no valid text ({fault.reason}); take it out") from fault
        if missing := [symbol for symbol in symbols if symbol not in self._id_of]:
            raise UsageError(f"the vocabulary has no token for the byte {missing[0]!r} of {piece!r}; leave it out")
        return [self._id_of[symbol] for symbol in self._merged(symbols)]

    def _merged(self, symbols: list[str]) -> list[str]:
        """Merge neighbours, the lowest id first and of equal ids the leftmost, until no two make a token.

        A heap of the pairs keeps a long piece from taking quadratic time. A merged symbol stands where its left part
        stood; its right part becomes "".
        """
        end = len(symbols)
        following = list(range(1, end + 1))
        preceding = list(range(-1, end - 1))
        pairs = [pair for left in range(end - 1) for pair in self._pair(left, symbols[left], symbols[left + 1])]
        heapq.heapify(pairs)
        while pairs:
            _, left, joined = heapq.heappop(pairs)
            right = following[left]
            # An earlier merge may have taken a part of this pair.
            if not symbols[left] or right == end or symbols[left] + symbols[right] != joined:
                continue
            symbols[left], symbols[right] = joined, ""
            before, after = preceding[left], following[right]
            following[left] = after
            if before >= 0:
                for pair in self._pair(before, symbols[before], joined):
                    heapq.heappush(pairs, pair)
            if after < end:
                preceding[after] = left
                for pair in self._pair(left, joined, symbols[after]):
                    heapq.heappush(pairs, pair)
        return [symbol for symbol in symbols if symbol]

    @no_type_check
    def _pair(self, position: int, left: str, right: str) -> list[tuple[int, int, str]]:
        """Return the token that two neighbours make, as (id, position, token), or nothing."""
        token_id = self._id_of.get(left + right)
        return [] if token_id is None else [(token_id, position, left + right)]


@no_type_check
def _ascii_shape(char: str) -> str:
    """Return a character of ASCII that GPT-2's pattern can't tell from this one."""
    # Python's white space has U+001C ... U+001F too, which Unicode's has not.
    if "\x1c" <= char <= "\x1f":
        return _OTHER
    if char.isascii():
        return char
    if char.isspace():
        return "\t"
    kind = unicodedata.category(char)[0]
    return "a" if kind == "L" else "0" if kind == "N" else _OTHER
