r"""How a set that a rule defines is written down, so that the tables of shapes and affixes hold rules and nothing else.

A pattern is for the module `regex` and matches the whole decoded text: Python's own `re` knows no Unicode scripts and
categories. Patterns that `re` can read mean the same to it, except that its `\s` holds U+001C to U+001F too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

FEATDEX = "featdex"
BLOOM = "featdex; after Bloom & Lin 2024"
GURNEE = "featdex; after Gurnee et al. 2024"
LICENCE = "Apache-2.0"
VERSION = "1"
"""Of every rule here: to be raised when a rule changes."""

MARK = r"(?:(?!\ufffd)[\p{P}\p{S}])"
"""A punctuation mark or symbol. U+FFFD is a symbol too, but stands here for bytes that are no character."""


@dataclass(frozen=True)
class RegexRule:
    """A set of kind `regex`: the tokens whose whole text `pattern` matches.

    The other fields only save time; they may never leave out a text that the pattern matches. `holds` is a pattern of
    one character that every member holds, and `holds_is_all` says that every token holding it is a member. `start` and
    `ending` are lower-case ASCII: how a member starts (its space counted) and ends, in either case.
    """

    name: str
    pattern: str
    description: str
    source: str = FEATDEX
    holds: str = ""
    holds_is_all: bool = False
    start: str = ""
    ending: str = ""


@dataclass(frozen=True)
class TextRule:
    """A set of kind `rule`: the tokens for which a Python expression in `text` and `word` is true.

    The word is the text without one leading space. `holds(text, word)` computes `expression`.
    """

    name: str
    expression: str
    description: str
    holds: Callable[[str, str], object]
    source: str = FEATDEX


def whole(table: Mapping[str, tuple[str, str]], source: str = FEATDEX) -> list[RegexRule]:
    """Return a rule for each `{name: (pattern of the whole text, description)}`."""
    return [RegexRule(name, pattern, description, source) for name, (pattern, description) in table.items()]


def containing(table: Mapping[str, tuple[str, str]], source: str = FEATDEX) -> list[RegexRule]:
    """Return a rule for each `{name: (pattern of one character, description)}`: the texts that contain it."""
    return [
        RegexRule(name, rf"(?s).*{char}.*", description, source, holds=char, holds_is_all=True)
        for name, (char, description) in table.items()
    ]


def marked(table: Mapping[str, tuple[str, str, str]], source: str = FEATDEX) -> list[RegexRule]:
    """Return a rule for each `{name: (pattern of the whole text, character that members hold, description)}`."""
    return [
        RegexRule(name, pattern, description, source, holds=char)
        for name, (pattern, char, description) in table.items()
    ]
