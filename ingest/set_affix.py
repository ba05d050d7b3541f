"""Rules of spelling at the two ends of a word: first and last letters, English prefixes and suffixes.

They know no morphology: `prefix_re` holds "reach". What keeps most of the noise out is what must stand beside the
affix: three letters after a prefix, and before a suffix two or more with a vowel among them.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass

from .set_specs import BLOOM, FEATDEX, GURNEE, RegexRule, marked


@dataclass(frozen=True)
class LetterFamily:
    """A set of kind `rule` for each of `letters`: the tokens for which `letter_of(text, word)` is that letter.

    `expression` is what `letter_of` computes, as Python; `description` has a place for the letter.
    """

    name: str
    expression: str
    description: str
    source: str
    letter_of: Callable[[str, str], str]
    letters: str = string.ascii_lowercase


LETTER_FAMILIES = (
    LetterFamily(
        "first_letter",
        "word.isalpha() and word[0].lower()",
        "Letters only, the first of them {} in either case.",
        BLOOM,
        lambda text, word: word[0].lower() if word.isalpha() else "",
    ),
    LetterFamily(
        "spaced_first_letter",
        "text[0] == ' ' and word.isalpha() and word[0].lower()",
        "A space, then letters only, the first of them {} in either case.",
        GURNEE,
        lambda text, word: word[0].lower() if text[0] == " " and word.isalpha() else "",
    ),
    LetterFamily(
        "unspaced_first_letter",
        "text.isalpha() and text[0].lower()",
        "Letters only and no space before them, the first {} in either case.",
        GURNEE,
        lambda text, word: text[0].lower() if text.isalpha() else "",
    ),
    LetterFamily(
        "last_letter",
        "word.isalpha() and word[-1].lower()",
        "Letters only, the last of them {} in either case.",
        GURNEE,
        lambda text, word: word[-1].lower() if word.isalpha() else "",
    ),
)

# {ending: letters required before it}. One letter would take "red" and "ring", two would take "her" and "was".
_BLOOM_SUFFIXES = {
    "ing": 2, "ed": 2, "ly": 3, "s": 3, "tion": 2, "er": 3, "est": 3, "able": 2, "ment": 2, "ness": 2, "ity": 2,
    "ous": 2, "al": 3, "ive": 2, "ful": 2, "less": 2,
}  # fmt: skip
_GURNEE_SUFFIXES = {
    "sion": 2, "or": 3, "ible": 2, "ty": 3, "y": 3, "ial": 2, "ship": 2, "hood": 2, "dom": 2, "ism": 2, "ist": 3,
    "ic": 3, "ize": 2, "ise": 3, "ify": 2, "en": 3, "age": 2, "ance": 2, "ence": 2, "cy": 3, "ant": 3, "ent": 3,
    "ary": 2, "ery": 2, "ward": 2, "wise": 2, "ish": 3, "let": 3, "ling": 3, "ie": 3, "ette": 2, "logy": 2,
    "graphy": 2, "phobia": 2,
}  # fmt: skip
_SUFFIXES = {
    # Nouns
    "ation": 2, "ition": 2, "ization": 2, "ility": 2, "ancy": 2, "ency": 2, "ory": 2, "ure": 3, "tude": 2,
    "th": 3, "ee": 3, "eer": 2, "ess": 3, "ology": 2, "ologist": 2, "graph": 2, "gram": 2, "meter": 2, "metry": 2,
    "scope": 2, "pathy": 2, "cracy": 2, "cide": 2, "oid": 2, "itis": 2, "osis": 2, "oma": 3, "emia": 2, "ium": 3,
    "ine": 3, "ide": 3, "ite": 3, "ol": 3, "ene": 3, "ics": 2, "sis": 3, "um": 3, "us": 3, "ix": 3, "ia": 3,
    "man": 2, "men": 2, "time": 2, "house": 2, "way": 2, "line": 2, "back": 2, "work": 2, "book": 2, "side": 2,
    "board": 2, "ware": 2, "light": 2, "ball": 2, "room": 2, "land": 2, "ford": 2, "ton": 3, "ville": 2, "burg": 2,
    "berg": 2, "son": 3, "stein": 2, "sky": 2, "ski": 2, "stan": 2, "ez": 3, "ov": 3, "self": 2,
    # Adjectives and adverbs
    "ious": 2, "eous": 2, "ical": 2, "ological": 2, "ian": 3, "an": 3, "ese": 3, "ar": 3, "ile": 3, "like": 2,
    "some": 2, "fold": 2, "ier": 3, "iest": 2, "wards": 2, "where": 2, "ally": 3, "ably": 2, "ously": 2,
    "ively": 2, "fully": 2, "ily": 3, "ingly": 2, "edly": 2,
    # Verbs and inflections
    "ate": 3, "ating": 2, "ated": 2, "ates": 2, "izing": 2, "ized": 2, "izes": 2, "ified": 2, "es": 3, "ies": 3,
    "ied": 3, "ings": 2, "ers": 3, "ors": 3, "tions": 2, "ments": 2, "ists": 2, "ities": 2, "ances": 2, "als": 3,
}  # fmt: skip

_BLOOM_PREFIXES = ("un", "re", "in", "dis", "pre", "non", "over", "mis", "anti", "inter")
_GURNEE_PREFIXES = (
    "im", "en", "em", "sub", "fore", "de", "trans", "super", "semi", "mid", "under", "mono", "bi", "tri", "multi",
    "poly", "ex", "micro", "macro", "auto", "tele", "homo", "post", "geo", "aero", "hydro", "thermo",
    "electro", "photo", "pan", "mega", "kilo", "pseudo", "neo", "counter", "ultra", "infra", "circum", "peri", "bio",
)  # fmt: skip
_PREFIXES = (
    "ab", "ad", "af", "al", "an", "ap", "as", "at", "be", "co", "col", "com", "con", "cor", "di", "dia", "il", "ir",
    "hyper", "hypo", "iso", "meta", "milli", "nano", "neuro", "ob", "out", "para", "per", "pro", "psych", "proto",
    "retro", "sur", "syn", "sym", "techno", "uni", "up", "down", "off", "on", "back", "cardi", "chlor", "cent",
    "eco", "euro", "extra", "intra", "intro", "phil", "physi", "quad", "radio", "socio", "tech", "vice",
    "well", "with",
)  # fmt: skip

_POSSESSIVES = {
    "possessives": (
        r" ?\p{L}*(?:['’][sS]|s['’])",
        "['’]",
        "The possessive 's or s', alone or with the word before it.",
    ),
}


def _suffix_rule(ending: str, n_before: int, source: str) -> RegexRule:
    # A vowel before the ending, as in Porter (1980), keeps out "thing" and "string"; "(?<!s)s" keeps out "class".
    spelt = "(?<!s)s" if ending == "s" else ending
    exception = " but not in -ss" if ending == "s" else ""
    return RegexRule(
        f"suffix_{ending}",
        rf"(?ai) ?(?=[a-z]{{{n_before},}}{spelt}$)[a-z]*[aeiouy][a-z]*{spelt}",
        f"English letters that end in -{ending}{exception}, after {n_before} letters or more with a vowel.",
        source,
        ending=ending,
    )


def _prefix_rule(start: str, source: str) -> RegexRule:
    return RegexRule(
        f"prefix_{start}",
        rf"(?ai) {start}[a-z]{{3,}}",
        f"Words after a space that start with {start}- and have three letters or more after it.",
        source,
        start=f" {start}",
    )


SUFFIX_RULES: tuple[RegexRule, ...] = (
    *(_suffix_rule(ending, n, BLOOM) for ending, n in _BLOOM_SUFFIXES.items()),
    *(_suffix_rule(ending, n, GURNEE) for ending, n in _GURNEE_SUFFIXES.items()),
    *(_suffix_rule(ending, n, FEATDEX) for ending, n in _SUFFIXES.items()),
    *marked(_POSSESSIVES),
)

PREFIX_RULES: tuple[RegexRule, ...] = (
    *(_prefix_rule(start, BLOOM) for start in _BLOOM_PREFIXES),
    *(_prefix_rule(start, GURNEE) for start in _GURNEE_PREFIXES),
    *(_prefix_rule(start, FEATDEX) for start in _PREFIXES),
)
