"""Sets that a rule on the text of a token defines: its shape, its first letter, its ending.

The rules follow those of Bloom & Lin (2024) with their defects corrected: they read decoded text instead of the raw
spelling (so a leading space is no letter, and é is one letter), know the letters of all scripts, and are the same for
every family of tokenizers. A set of kind `regex` has for its definition a Python `re` pattern that matches the whole
text; one of kind `rule` a Python expression in `text` and `word`, which is the text without one leading space.
Special tokens are members of `special_tokens` only.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .inputs import TokenSet, Vocabulary
from .set_texts import TextIndex, ids_where, sorted_ids

SOURCE = "featdex, Apache-2.0; after Bloom & Lin 2024"
REPLACEMENT = "\ufffd"

# {name: (pattern, description)}
SHAPE_PATTERNS = {
    "starts_with_space": (r"(?s) .*", "Tokens that start with a space."),
    "spaced_lower_words": (r" [a-z]+", "A space, then lower-case English letters only: whole words or their starts."),
    "spaced_capital_words": (r" [A-Z][a-z]+", "A space, then a capital and lower-case English letters."),
    "unspaced_lower_words": (r"[a-z]+", "Lower-case English letters without a space: mostly the inside of words."),
    "unspaced_capital_words": (r"[A-Z][a-z]+", "A capital and lower-case English letters, without a space."),
    "camel_case": (
        r" ?[A-Za-z]*[a-z][A-Z][A-Za-z]*",
        "English letters with a lower-case letter right before a capital.",
    ),
    "snake_case": (r" ?\w*[^\W_]_[^\W_]\w*", "Word characters with an underscore between two of them."),
    "starts_with_dot": (r" ?\.[A-Za-z_]\w*", "A full stop, then a name: file endings, attributes, domains."),
    "all_digits": (r" ?\d+", "Decimal digits only, of any script."),
    **{f"digits_{n}": (rf" ?\d{{{n}}}", f"Exactly {n} decimal digit{'s' * (n > 1)}.") for n in range(1, 5)},
    "years": (r" ?(?:1[0-9]{3}|20[0-9]{2})", "Numbers that read as years from 1000 to 2099."),
    "contains_open_bracket": (r"(?s).*\(.*", "Contains an opening round bracket."),
    "contains_close_bracket": (r"(?s).*\).*", "Contains a closing round bracket."),
    "contains_square_bracket": (r"(?s).*[\[\]].*", "Contains a square bracket."),
    "contains_curly_bracket": (r"(?s).*[{}].*", "Contains a curly bracket."),
    "contains_angle_bracket": (r"(?s).*[<>].*", "Contains a less-than or greater-than sign."),
    "quotes": (r""" ?["'`´“”„‘’‚«»‹›]+""", "Quotation marks and apostrophes only."),
    "contractions": (r" ?[A-Za-z]*['’](?:s|t|d|m|re|ve|ll|em)", "English contractions and the possessive 's."),
    "sentence_ends": (r""" ?[.!?…]+["'”’)\]]*""", "Marks that end a sentence, with closing quotes or brackets."),
    "hyphens_and_dashes": (r"(?s).*[-\u2010\u2011\u2012\u2013\u2014\u2015].*", "Contains a hyphen or a dash."),
    "repeated_characters": (r"(?s) ?(.)\1{2,}", "One character three times or more: rules, indents, ellipses."),
    "whitespace": (r"\s+", "White space only."),
    "newline": (r"(?s).*\n.*", "Contains a line feed."),
    "indentation": (r"[ \t]{2,}", "Two or more spaces or tabs and nothing else."),
    "single_letters": (r" ?[A-Za-z]", "One English letter."),
    "non_ascii": (r"(?s).*[^\x00-\x7f].*", "Contains a character outside ASCII, or a part of one."),
    "accented_latin": (r"(?s).*[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f].*", "Contains a Latin letter outside ASCII."),
    "greek": (r"(?s).*[\u0370-\u03ff].*", "Contains a Greek letter."),
    "cyrillic": (r"(?s).*[\u0400-\u04ff].*", "Contains a Cyrillic letter."),
    "hebrew_arabic": (r"(?s).*[\u0590-\u06ff].*", "Contains a Hebrew or Arabic letter."),
    "east_asian": (
        r"(?s).*[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af].*",
        "Contains a Chinese, Japanese or Korean character.",
    ),
    "currency": (r"(?s).*[$¢£¥€₹₽₩].*", "Contains a currency sign."),
    "code_operators": (
        r" ?(?:[-+*/%&|^!=<>]=|===|!==|<=>|&&|\|\||\+\+|--|<<|>>|->|=>|<-|:=|::|\*\*|//|\?\?|\?\.|\|>)",
        "Operators of two or three characters from programming languages.",
    ),
    "code_comments": (r" ?(?://+|/\*+|\*+/|#+|<!--|-->|\"{3}|'{3})", "Marks that open or close a comment in code."),
    "urls": (
        r"(?is).*(?:://|https?|www|\.(?:com|org|net|edu|gov|html?|php|io)\b).*",
        "Pieces of web addresses: schemes, www, common domain endings.",
    ),
}


@dataclass(frozen=True)
class _Rule:
    """A rule that `re` can't say, because it asks for Unicode properties."""

    name: str
    expression: str
    description: str
    holds: Callable[[str, str], bool]


def _is_punctuation(word: str) -> bool:
    # U+FFFD has the category of a symbol, but stands here for bytes that are no character.
    return word != "" and all(unicodedata.category(char)[0] in "PS" and char != REPLACEMENT for char in word)


def _starts_with_category(text: str, category: str) -> bool:
    start = text.lstrip()[:1]
    return start != "" and unicodedata.category(start) == category


def _length_rule(n: int) -> _Rule:
    return _Rule(
        f"length_{n}",
        f"word.isalpha() and len(word) == {n}",
        f"Exactly {n} letter{'s' * (n > 1)} of any script, a leading space not counted.",
        lambda text, word: len(word) == n and word.isalpha(),
    )


SHAPE_RULES = (
    _Rule(
        "starts_with_capital",
        "text.strip() and unicodedata.category(text.lstrip()[0]) == 'Lu'",
        "The first character after any white space is a capital letter.",
        lambda text, word: _starts_with_category(text, "Lu"),
    ),
    _Rule(
        "starts_with_lower",
        "text.strip() and unicodedata.category(text.lstrip()[0]) == 'Ll'",
        "The first character after any white space is a lower-case letter.",
        lambda text, word: _starts_with_category(text, "Ll"),
    ),
    _Rule(
        "all_caps",
        "word.isalpha() and word.isupper() and len(word) >= 2",
        "Two or more letters, all of them capitals.",
        lambda text, word: word.isalpha() and word.isupper() and len(word) >= 2,
    ),
    _Rule(
        "is_punctuation",
        "word and all(unicodedata.category(c)[0] in 'PS' and c != '\\ufffd' for c in word)",
        "Punctuation and symbols only (Unicode categories P and S), with or without a leading space.",
        lambda text, word: _is_punctuation(word),
    ),
    *(_length_rule(n) for n in range(1, 11)),
)

# {ending: letters required before it}. One letter would take "red" and "ring", two would take "her" and "was".
SUFFIXES = {
    "ing": 2, "ed": 2, "ly": 3, "s": 3, "tion": 2, "er": 3, "est": 3, "able": 2, "ment": 2, "ness": 2, "ity": 2,
    "ous": 2, "al": 3, "ive": 2, "ful": 2, "less": 2,
}  # fmt: skip
PREFIXES = ("un", "re", "in", "dis", "pre", "non", "over", "mis", "anti", "inter")


def shape_sets(vocabulary: Vocabulary, index: TextIndex) -> list[TokenSet]:
    """Return the sets of the collection `shape`, empty ones included."""
    regexes = [_regex_set(index, "shape", name, pattern, text) for name, (pattern, text) in SHAPE_PATTERNS.items()]
    rules = [
        TokenSet(rule.name, "shape", "rule", rule.expression, rule.description, SOURCE, ids_where(index, rule.holds))
        for rule in SHAPE_RULES
    ]
    return [*regexes, *rules, *_flag_sets(vocabulary)]


def affix_sets(index: TextIndex) -> list[TokenSet]:
    """Return the sets of the collection `affix`, empty ones included: spelling only, no morphology."""
    suffixes = [
        _regex_set(index, "affix", f"suffix_{ending}", _suffix_pattern(ending, n), _suffix_description(ending, n))
        for ending, n in SUFFIXES.items()
    ]
    prefixes = [
        _regex_set(
            index,
            "affix",
            f"prefix_{start}",
            rf"(?ai) {start}[a-z]{{3,}}",
            f"Words after a space that start with {start}- and have three letters or more after it.",
        )
        for start in PREFIXES
    ]
    return [*_first_letter_sets(index), *suffixes, *prefixes]


def _regex_set(index: TextIndex, collection: str, name: str, pattern: str, description: str) -> TokenSet:
    matches = re.compile(pattern).fullmatch
    ids = ids_where(index, lambda text, word: matches(text))
    return TokenSet(name, collection, "regex", pattern, description, SOURCE, ids)


def _flag_sets(vocabulary: Vocabulary) -> list[TokenSet]:
    partial = vocabulary.is_partial_utf8 & ~vocabulary.is_special
    return [
        TokenSet(
            "partial_utf8",
            "shape",
            "rule",
            "is_partial_utf8 and not is_special",
            "Tokens whose bytes are no UTF-8 by themselves.",
            SOURCE,
            sorted_ids(np.flatnonzero(partial).tolist()),
        ),
        TokenSet(
            "special_tokens",
            "shape",
            "rule",
            "is_special",
            "Control tokens of the tokenizer, such as the end of a text.",
            SOURCE,
            sorted_ids(np.flatnonzero(vocabulary.is_special).tolist()),
        ),
    ]


def _first_letter_sets(index: TextIndex) -> list[TokenSet]:
    ids_by_letter: dict[str, list[int]] = {letter: [] for letter in string.ascii_lowercase}
    for text, ids in index.items():
        word = text.removeprefix(" ")
        if word.isalpha() and (letter := word[0].lower()) in ids_by_letter:
            ids_by_letter[letter].extend(ids)
    return [
        TokenSet(
            f"first_letter_{letter}",
            "affix",
            "rule",
            f"word.isalpha() and word[0].lower() == {letter!r}",
            f"Letters only, the first of them {letter.upper()} in either case.",
            SOURCE,
            sorted_ids(ids),
        )
        for letter, ids in ids_by_letter.items()
    ]


def _suffix_pattern(ending: str, n_before: int) -> str:
    # A vowel before the ending, as in Porter (1980), keeps out "thing" and "string"; "(?<!s)s" keeps out "class".
    ending = "(?<!s)s" if ending == "s" else ending
    return rf"(?ai) ?(?=[a-z]{{{n_before},}}{ending}$)[a-z]*[aeiouy][a-z]*{ending}"


def _suffix_description(ending: str, n_before: int) -> str:
    exception = " but not in -ss" if ending == "s" else ""
    return f"English letters that end in -{ending}{exception}, after {n_before} letters or more with a vowel."
