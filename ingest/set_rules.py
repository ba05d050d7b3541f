"""Sets that a rule on the text of a token defines: its shape, its first letter, its ending.

The rules follow those of Bloom & Lin (2024) and of Universal Neurons (Gurnee et al. 2024, arXiv 2401.12181) with their
defects corrected: they read decoded text instead of the raw spelling (so a leading space is no letter, and é is one
letter), know the letters of all scripts, and are the same for every family of tokenizers. A set of kind `regex` has for
its definition a pattern of the module `regex` that matches the whole text; one of kind `rule` a Python expression in
`text` and `word`, which is the text without one leading space. Special tokens are members of `special_tokens` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import numpy as np
import regex
from jaxtyping import Int32

from .inputs import TokenSet, Vocabulary
from .set_affix import LETTER_FAMILIES, PREFIX_RULES, SUFFIX_RULES, LetterFamily
from .set_shape_code import CODE_RULES
from .set_shape_marks import MARK_RULES
from .set_shape_unicode import UNICODE_RULES
from .set_shape_words import WORD_RULES, WORD_TEXT_RULES
from .set_specs import FEATDEX, LICENCE, VERSION, RegexRule, TextRule
from .set_texts import TextIndex, ids_where, sorted_ids


class _Texts:
    """The texts of a vocabulary, with what it takes to try a pattern on a few of them instead of on all."""

    def __init__(self, index: TextIndex) -> None:
        self._index = index
        self._texts = list(index)

    @cached_property
    def _by_last_letter(self) -> dict[str, list[tuple[str, str]]]:
        """Return the (lower-case text, text) pairs by their last letter."""
        return _grouped(self._texts, lambda low: low[-1])

    @cached_property
    def _by_first_two(self) -> dict[str, list[tuple[str, str]]]:
        """Return the (lower-case text, text) pairs by their first two characters."""
        return _grouped(self._texts, lambda low: low[:2])

    @cached_property
    def _by_character(self) -> dict[str, list[str]]:
        texts_by_character: dict[str, list[str]] = {}
        for text in self._texts:
            for character in set(text):
                texts_by_character.setdefault(character, []).append(text)
        return texts_by_character

    def members(self, rule: RegexRule) -> Int32[np.ndarray, " n_tokens"]:
        """Return the ids of the tokens that a rule matches."""
        texts = self._candidates(rule)
        if not rule.holds_is_all:
            matches = regex.compile(rule.pattern).fullmatch
            texts = [text for text in texts if matches(text)]
        return sorted_ids(token_id for text in texts for token_id in self._index[text])

    def _candidates(self, rule: RegexRule) -> Iterable[str]:
        """Return the texts that may match, judged by the parts of the rule that are cheap to look up."""
        if rule.holds:
            characters: Sequence[str] = regex.findall(rule.holds, "".join(self._by_character))
            return {text for character in characters for text in self._by_character[character]}
        if rule.ending:
            pairs = self._by_last_letter.get(rule.ending[-1], [])
            return [text for low, text in pairs if low.endswith(rule.ending)]
        if rule.start:
            pairs = self._by_first_two.get(rule.start[:2], [])
            return [text for low, text in pairs if low.startswith(rule.start)]
        return self._texts


def _grouped(texts: Iterable[str], key: Callable[[str], str]) -> dict[str, list[tuple[str, str]]]:
    groups: dict[str, list[tuple[str, str]]] = {}
    for text in texts:
        low = text.lower()
        groups.setdefault(key(low), []).append((low, text))
    return groups


def shape_sets(vocabulary: Vocabulary, index: TextIndex) -> list[TokenSet]:
    """Return the sets of the collection `shape`, empty ones included."""
    texts = _Texts(index)
    rules = [*WORD_RULES, *MARK_RULES, *CODE_RULES, *UNICODE_RULES]
    return [
        *(_regex_set(texts, "shape", rule) for rule in rules),
        *(_text_set(index, "shape", rule) for rule in WORD_TEXT_RULES),
        *_flag_sets(vocabulary),
    ]


def affix_sets(index: TextIndex) -> list[TokenSet]:
    """Return the sets of the collection `affix`, empty ones included: spelling only, no morphology."""
    texts = _Texts(index)
    letters = [found for family in LETTER_FAMILIES for found in _letter_sets(index, family)]
    return [*letters, *(_regex_set(texts, "affix", rule) for rule in [*SUFFIX_RULES, *PREFIX_RULES])]


def _regex_set(texts: _Texts, collection: str, rule: RegexRule) -> TokenSet:
    return _set(rule.name, collection, "regex", rule.pattern, rule.description, rule.source, texts.members(rule))


def _text_set(index: TextIndex, collection: str, rule: TextRule) -> TokenSet:
    ids = ids_where(index, rule.holds)
    return _set(rule.name, collection, "rule", rule.expression, rule.description, rule.source, ids)


def _letter_sets(index: TextIndex, family: LetterFamily) -> list[TokenSet]:
    ids_by_letter: dict[str, list[int]] = {letter: [] for letter in family.letters}
    for text, ids in index.items():
        if (letter := family.letter_of(text, text.removeprefix(" "))) in ids_by_letter:
            ids_by_letter[letter].extend(ids)
    return [
        _set(
            f"{family.name}_{letter}",
            "affix",
            "rule",
            f"{family.expression} == {letter!r}",
            family.description.format(letter.upper()),
            family.source,
            sorted_ids(ids),
        )
        for letter, ids in ids_by_letter.items()
    ]


def _flag_sets(vocabulary: Vocabulary) -> list[TokenSet]:
    flags = {
        "partial_utf8": (
            "is_partial_utf8 and not is_special",
            "Tokens whose bytes are no UTF-8 by themselves.",
            vocabulary.is_partial_utf8 & ~vocabulary.is_special,
        ),
        "special_tokens": (
            "is_special",
            "Control tokens of the tokenizer, such as the end of a text.",
            vocabulary.is_special,
        ),
    }
    return [
        _set(name, "shape", "rule", expression, description, FEATDEX, sorted_ids(np.flatnonzero(flag).tolist()))
        for name, (expression, description, flag) in flags.items()
    ]


def _set(
    name: str,
    collection: str,
    kind: str,
    definition: str,
    description: str,
    source: str,
    token_ids: Int32[np.ndarray, " n_tokens"],
) -> TokenSet:
    return TokenSet(
        name, collection, kind, definition, description, source, token_ids, licence=LICENCE, version=VERSION
    )
