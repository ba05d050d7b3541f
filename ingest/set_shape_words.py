"""Shapes of words and numbers: spaces, cases, lengths, vowels, digits."""

from __future__ import annotations

import unicodedata

from .set_specs import BLOOM, FEATDEX, GURNEE, RegexRule, TextRule, marked, whole
from .unchecked import no_type_check

REPLACEMENT = "\ufffd"
MAX_LENGTH = 15
MAX_PUBLISHED_LENGTH = 5

_CASES = {
    "spaced_lower_words": (r" [a-z]+", "A space, then lower-case English letters only: whole words or their starts."),
    "spaced_capital_words": (r" [A-Z][a-z]+", "A space, then a capital and lower-case English letters."),
    "unspaced_lower_words": (r"[a-z]+", "Lower-case English letters without a space: mostly the inside of words."),
    "unspaced_capital_words": (r"[A-Z][a-z]+", "A capital and lower-case English letters, without a space."),
    "camel_case": (
        r" ?[A-Za-z]*[a-z][A-Z][A-Za-z]*",
        "English letters with a lower-case letter right before a capital.",
    ),
    "pascal_case": (r" ?[A-Z][a-z]+(?:[A-Z][a-z]+)+", "Two or more capitalised words written together."),
    "lower_camel_case": (
        r" ?[a-z]+(?:[A-Z][a-z]*)+",
        "Camel case that starts with a small letter, as names of variables do.",
    ),
    "capitals_then_lower": (r" ?[A-Z]{2,}[a-z]+", "Two or more capitals, then small letters: plural acronyms, XMLfoo."),
    "spaced_all_caps": (r" \p{Lu}{2,}", "A space, then two or more capitals and nothing else."),
    "unspaced_all_caps": (r"\p{Lu}{2,}", "Two or more capitals and nothing else, without a space."),
    **{f"capitals_{n}": (rf" ?[A-Z]{{{n}}}", f"Exactly {n} English capitals: mostly acronyms.") for n in range(2, 6)},
    "single_letters": (r" ?[A-Za-z]", "One English letter."),
    "single_capitals": (r" ?[A-Z]", "One English capital."),
    "single_lower_letters": (r" ?[a-z]", "One small English letter."),
    "spaced_single_letters": (r" [A-Za-z]", "A space and one English letter."),
    "letters_and_digits": (
        r" ?(?=\p{L}*\p{Nd})(?=\p{Nd}*\p{L})[\p{L}\p{Nd}]+",
        "Letters and digits and nothing else, one of each at least.",
    ),
    "digits_then_letters": (r" ?[0-9]+[A-Za-z]+", "Digits, then English letters: 3d, 10k."),
    "starts_with_hyphen_word": (r" ?-\p{L}+", "A hyphen, then letters: the later part of a compound, or an option."),
    "hex_digits": (r" ?(?:[0-9a-f]{2,}|[0-9A-F]{2,})", "Two or more hexadecimal digits, the letters in one case."),
}

_GURNEE_CASES = {
    "letters_only": (r" ?\p{L}+", "Letters of any script only, with or without a leading space."),
    "spaced_letter_start": (r"(?s) \p{L}.*", "One space, then a letter: the starts of words."),
    "unspaced_letter_start": (r"(?s)\p{L}.*", "Starts with a letter, no space before it."),
    "spaced_capital_start": (r"(?s) \p{Lu}.*", "One space, then a capital letter."),
    "unspaced_capital_start": (r"(?s)\p{Lu}.*", "Starts with a capital letter, no space before it."),
    "starts_with_vowel": (r"(?ai) ?[aeiou][a-z]*", "English letters, the first of them a, e, i, o or u."),
    "starts_with_consonant": (r"(?ai) ?[b-df-hj-np-tv-z][a-z]*", "English letters, the first of them no vowel."),
}

_SOUNDS = {
    "ends_with_vowel": (r"(?ai) ?[a-z]*[aeiou]", "English letters, the last of them a, e, i, o or u."),
    "no_vowels": (r"(?ai) ?[b-df-hj-np-tv-z]{2,}", "Two or more English letters, none of them a, e, i, o or u."),
    "consonants_only": (r"(?ai) ?[b-df-hj-np-tv-xz]{2,}", "Two or more English letters, no vowel and no y among them."),
    "vowels_only": (r"(?ai) ?[aeiou]{2,}", "Two or more English letters, each of them a, e, i, o or u."),
    "double_letter_words": (
        r"(?ai) ?(?=[a-z]+$)[a-z]*([a-z])\1[a-z]*",
        "English letters with the same letter twice in a row.",
    ),
    "stretched_letters": (r"(?is).*(\p{L})\1\1.*", "Contains one letter three times in a row, in any case."),
    "reduplications": (r"(?i) ?(\p{L}{2,})\1", "Two or more letters said twice: mama, haha."),
}

_NUMBERS = {
    "all_digits": (r" ?\d+", r"\d", "Decimal digits only, of any script."),
    **{f"digits_{n}": (rf" ?\d{{{n}}}", r"\d", f"Exactly {n} decimal digit{'s' * (n > 1)}.") for n in range(1, 7)},
    "years": (r" ?(?:1[0-9]{3}|20[0-9]{2})", "[0-9]", "Numbers that read as years from 1000 to 2099."),
}

_MORE_NUMBERS = {
    **{
        f"years_{century}00s": (rf" ?{century}[0-9]{{2}}", "[0-9]", f"Numbers from {century}00 to {century}99.")
        for century in range(18, 21)
    },
    "decades": (r" ?['’]?(?:1[0-9]|20)?[0-9]0s", "0", "Decades such as 1990s, 90s or '90s."),
    "spaced_digits": (r" \d+", r"\d", "A space, then decimal digits only."),
    "unspaced_digits": (r"\d+", r"\d", "Decimal digits only, without a space."),
    "leading_zero_numbers": (r" ?0[0-9]+", "0", "Digits that start with 0."),
    "round_numbers": (r" ?[1-9][0-9]*0", "0", "Numbers that end in 0."),
    "binary_numbers": (r" ?[01]{2,}", "[01]", "Two or more digits, each of them 0 or 1."),
    "numbers_1_to_12": (r" ?(?:[1-9]|1[0-2])", "[0-9]", "Numbers of months and hours, 1 to 12."),
    "decimals": (r" ?[0-9]*\.[0-9]+", "[0-9]", "Decimal fractions, or their part from the point on."),
    "percentages": (r" ?[0-9]*(?:\.[0-9]+)?[%％]", "[%％]", "A per cent sign, with or without a number before it."),
    "ordinals": (
        r"(?ai) ?[0-9]*(?:(?<!1)1st|(?<!1)2nd|(?<!1)3rd|[04-9]th|1[1-3]th)",
        "[0-9]",
        "Ordinal numbers in figures: 1st, 22nd, 13th.",
    ),
    "versions": (
        r" ?(?:[vV][0-9]+(?:\.[0-9]+)*|[0-9]+(?:\.[0-9]+){2,})",
        "[0-9]",
        "Numbers of versions: v1, v2.0, 1.2.3.",
    ),
    "hex_mixed": (
        r" ?(?:(?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]+|(?=[A-F]*[0-9])(?=[0-9]*[A-F])[0-9A-F]+)",
        "[0-9]",
        "Hexadecimal digits, a figure and a letter among them.",
    ),
    "hex_prefixed": (
        r" ?(?:0[xX][0-9A-Fa-f]*|(?:\\x|#|U\+)[0-9A-Fa-f]+)",
        r"[#0\\+]",
        "Hexadecimal numbers by the mark before them: 0x1f, \\x1f, #1f1f1f, U+1F.",
    ),
    "roman_numerals": (
        r" ?(?=[MDCLXVI]{2})M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})",
        "[MDCLXVI]",
        "Roman numerals in capitals, of two letters or more.",
    ),
    "roman_numerals_lower": (
        r" ?(?=[ivx]{2})x{0,3}(?:ix|iv|v?i{0,3})",
        "[ivx]",
        "Roman numerals up to 39 in small letters, of two letters or more.",
    ),
}

_GURNEE_NUMBERS = {
    "numbers_1_to_31": (r" ?(?:[1-9]|[12][0-9]|3[01])", "[0-9]", "Numbers of days of a month, 1 to 31."),
}

WORD_RULES: tuple[RegexRule, ...] = (
    *whole({"starts_with_space": (r"(?s) .*", "Tokens that start with a space.")}, BLOOM),
    *whole(_CASES),
    *whole(_GURNEE_CASES, GURNEE),
    *whole(_SOUNDS),
    *marked(_NUMBERS, BLOOM),
    *marked(_MORE_NUMBERS),
    *marked(_GURNEE_NUMBERS, GURNEE),
)


@no_type_check
def _is_punctuation(word: str) -> bool:
    # U+FFFD has the category of a symbol, but stands here for bytes that are no character.
    return word != "" and all(unicodedata.category(char)[0] in "PS" and char != REPLACEMENT for char in word)


@no_type_check
def _starts_with_category(text: str, category: str) -> bool:
    start = text.lstrip()[:1]
    return start != "" and unicodedata.category(start) == category


def _length_rule(n: int) -> TextRule:
    return TextRule(
        f"length_{n}",
        f"word.isalpha() and len(word) == {n}",
        f"Exactly {n} letter{'s' * (n > 1)} of any script, a leading space not counted.",
        lambda text, word: len(word) == n and word.isalpha(),
        BLOOM if n <= MAX_PUBLISHED_LENGTH else FEATDEX,
    )


WORD_TEXT_RULES: tuple[TextRule, ...] = (
    TextRule(
        "starts_with_capital",
        "text.strip() and unicodedata.category(text.lstrip()[0]) == 'Lu'",
        "The first character after any white space is a capital letter.",
        lambda text, word: _starts_with_category(text, "Lu"),
        BLOOM,
    ),
    TextRule(
        "starts_with_lower",
        "text.strip() and unicodedata.category(text.lstrip()[0]) == 'Ll'",
        "The first character after any white space is a lower-case letter.",
        lambda text, word: _starts_with_category(text, "Ll"),
        BLOOM,
    ),
    TextRule(
        "all_caps",
        "word.isalpha() and word.isupper() and len(word) >= 2",
        "Two or more letters, all of them capitals.",
        lambda text, word: len(word) >= 2 and word.isupper() and word.isalpha(),
        BLOOM,
    ),
    TextRule(
        "is_punctuation",
        "word and all(unicodedata.category(c)[0] in 'PS' and c != '\\ufffd' for c in word)",
        "Punctuation and symbols only (Unicode categories P and S), with or without a leading space.",
        lambda text, word: _is_punctuation(word),
        BLOOM,
    ),
    *(_length_rule(n) for n in range(1, MAX_LENGTH + 1)),
)
