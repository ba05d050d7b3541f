"""From the terms of a list to token ids.

A term is looked up in the decoded text of the tokens, special tokens left out, in each of its forms:

- `casing`: `given` is the term as written; `capital` that and with its first letter upper; `any` that, lower case,
  Capitalised and UPPER case.
- `space`: `leading` is with one space in front, `none` without, `either` both. A term that begins with white space
  (" Mary", "\\n") says itself how it is spaced, and `space` does not apply to it.
- `multi_token`: a term with no form that is one token is dropped and counted (`drop`), because pieces of words made
  most members of the published lists noise; or the first token that the tokenizer makes of it is its member (`first`),
  the term taken as written, and after a space unless `space` is `none`. That token is exact for byte-level vocabularies
  and WordPiece; for SentencePiece it is the longest token that starts the term, which its own algorithm may not choose.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property

from .inputs import Vocabulary
from .set_definition import SetDefinition
from .set_texts import REPLACEMENT, TextIndex, index_texts
from .unchecked import no_type_check

NO_TOKEN = "no single token"
OTHER_FORM = "only with another casing or spacing"
SPECIAL = "only a special token"
RAW_SPELLING = "the tokenizer's spelling of a token; write its decoded text"
NO_FIRST_TOKEN = "no token starts it"


class TermFinder:
    """Looks up the terms of many lists in one vocabulary."""

    def __init__(self, vocabulary: Vocabulary, index: TextIndex | None = None) -> None:
        self._vocabulary = vocabulary
        self.index = index_texts(vocabulary) if index is None else index

    def find(self, definition: SetDefinition) -> tuple[set[int], tuple[tuple[str, str], ...]]:
        """Return the token ids of a list's terms, and the terms that gave none, each with the reason."""
        index, first = self.index, definition.multi_token == "first"
        found: set[int] = set()
        without: list[str] = []
        for term in definition.terms:
            forms = term_forms(term, definition.casing, definition.space)
            ids = [token_id for form in forms if form in index for token_id in index[form]]
            if ids and REPLACEMENT in term:
                ids = self._whole(ids)
            if not ids and first:
                ids = self._first_ids(term, definition.space)
            if ids:
                found.update(ids)
            else:
                without.append(term)
        return found, tuple((term, NO_FIRST_TOKEN if first else self._reason(term)) for term in without)

    def _whole(self, ids: list[int]) -> list[int]:
        """Return the ids of whole characters: U+FFFD stands for bytes that are none, as well as for itself."""
        return [token_id for token_id in ids if not self._vocabulary.is_partial_utf8[token_id]]

    def _first_ids(self, term: str, space: str) -> list[int]:
        text = term if space == "none" or term[0].isspace() else f" {term}"
        return self._first_token(text)

    @cached_property
    def _first_token(self) -> Callable[[str], list[int]]:
        # Both are loaded only for the rare list that asks for first tokens.
        from ..catalogue.errors import UsageError
        from .byte_pair import BytePairEncoder
        from .vocabulary import is_byte_level

        if not is_byte_level(self._vocabulary):
            return self._longest_start
        encode = BytePairEncoder(self._vocabulary).encode

        def first_piece(text: str) -> list[int]:
            try:
                return encode(text)[:1]
            except UsageError:  # the vocabulary lacks a byte of it
                return []

        return first_piece

    def _longest_start(self, text: str) -> list[int]:
        for end in range(min(len(text), self._longest_text), 0, -1):
            # A space alone would be a start of every term.
            if text[:end].strip() and (ids := self._whole(self.index.get(text[:end], []))):
                return ids[:1]
        return []

    @cached_property
    def _longest_text(self) -> int:
        return max(map(len, self.index), default=0)

    @no_type_check
    def _reason(self, term: str) -> str:
        """Return why a term has no token."""
        if term in self._special_texts:
            return SPECIAL
        if term.removeprefix(" ").casefold() in self._folded_words:
            return OTHER_FORM
        return RAW_SPELLING if term in self._raw_spellings else NO_TOKEN

    @cached_property
    def _raw_spellings(self) -> set[str]:
        return set(self._vocabulary.raw)

    @cached_property
    def _special_texts(self) -> set[str]:
        return {self._vocabulary.text[i] for i in self._vocabulary.is_special.nonzero()[0].tolist()}

    @cached_property
    def _folded_words(self) -> set[str]:
        return {text.removeprefix(" ").casefold() for text in self.index}


@no_type_check
def term_forms(term: str, casing: str, space: str) -> Collection[str]:
    """Return the texts that a term stands for, each once: at most eight."""
    start = len(term) - len(term.lstrip())
    margin, word = term[:start], term[start:]
    if casing == "given" or not word:
        words = [word]
    elif casing == "capital":
        words = [word, word[0].upper() + word[1:]]
    else:
        words = [word, word.lower(), word.capitalize(), word.upper()]
    margins = [margin] if margin or space == "none" else [" "] if space == "leading" else ["", " "]
    return dict.fromkeys(margin + word for word in words for margin in margins)
