"""Shapes by Unicode: scripts, general categories, kinds of symbols, letters with marks.

Each set holds the tokens that contain such a character; those named `only_` hold nothing else but a leading space.
U+FFFD, which stands here for bytes that are no character, is left out of the symbols.
"""

from __future__ import annotations

from .set_specs import RegexRule, containing, marked

_BLOCKS = {
    "non_ascii": (r"[^\x00-\x7f]", "Contains a character outside ASCII, or a part of one."),
    "accented_latin": (r"[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f]", "Contains a Latin letter outside ASCII."),
    "greek": (r"[\u0370-\u03ff]", "Contains a Greek letter."),
    "cyrillic": (r"[\u0400-\u04ff]", "Contains a Cyrillic letter."),
    "hebrew_arabic": (r"[\u0590-\u06ff]", "Contains a Hebrew or Arabic letter."),
    "east_asian": (
        r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]",
        "Contains a Chinese, Japanese or Korean character.",
    ),
}

_SCRIPTS = (
    "Armenian", "Georgian", "Hebrew", "Arabic", "Syriac", "Thaana", "Devanagari", "Bengali", "Gurmukhi", "Gujarati",
    "Oriya", "Tamil", "Telugu", "Kannada", "Malayalam", "Sinhala", "Thai", "Lao", "Tibetan", "Myanmar", "Ethiopic",
    "Cherokee", "Khmer", "Mongolian", "Han", "Hiragana", "Katakana", "Bopomofo", "Hangul", "Canadian_Aboriginal",
    "Egyptian_Hieroglyphs", "Coptic", "Runic", "Gothic", "Tifinagh", "Yi", "Javanese",
)  # fmt: skip

# Left out, because on the vocabularies of GPT-2 and SmolLM2 they hold (nearly) the tokens of another set: Lu
# (starts_with_capital), Nd (all_digits), Pc (contains_underscore), Pd (hyphens_and_dashes), Pf (close_quotes), Sc
# (currency), Zs (starts_with_space).
_CATEGORIES = {
    "Ll": "a lower-case letter",
    "Lm": "a modifier letter",
    "Lo": "a letter without case",
    "Mn": "a non-spacing mark",
    "Mc": "a spacing mark",
    "Me": "an enclosing mark",
    "Nl": "a letter-like number",
    "No": "another number, such as a fraction or superscript",
    "Ps": "an opening bracket",
    "Pe": "a closing bracket",
    "Pi": "an opening quotation mark",
    "Po": "other punctuation",
    "Sm": "a mathematical symbol",
    "Sk": "a modifier symbol",
    "So": "another symbol",
    "Cc": "a control character",
    "Cf": "an invisible format character",
    "Co": "a character for private use",
}

_SYMBOLS = {
    "math_symbols": (r"(?![+<=>|~])\p{Sm}", "Contains a mathematical symbol outside ASCII."),
    "arrows": (r"[←-⇿⟰-⟿⤀-⥿⬀-⬑➔➘-➯➱-➾]", "Contains an arrow."),
    "box_drawing": (r"[\u2500-\u257f]", "Contains a line for drawing boxes."),
    "block_elements": (r"[\u2580-\u259f]", "Contains a block element."),
    "geometric_shapes": (r"[\u25a0-\u25ff]", "Contains a geometric shape."),
    "dingbats": (r"[\u2600-\u27bf]", "Contains a dingbat or miscellaneous symbol."),
    "braille": (r"[\u2800-\u28ff]", "Contains a Braille pattern."),
    "emoji": (r"\p{Emoji_Presentation}", "Contains a character shown as an emoji by default."),
    "emoji_and_pictographs": (r"\p{Extended_Pictographic}", "Contains a pictograph, among them emoji, ™ and ©."),
    "fractions": (r"[¼-¾⅐-⅟]", "Contains a vulgar fraction."),
    "superscripts_subscripts": (r"[²³¹⁰-ₜªº]", "Contains a superscript or subscript."),
    "trademark_signs": (r"[©®™℠]", "Contains a sign of copyright or trade mark."),
    "reference_marks": (r"[§¶†‡※]", "Contains a sign of sections, paragraphs or notes."),
    "degrees_and_primes": (r"[°º′″℃℉]", "Contains a sign of degrees, minutes or seconds."),
    "fullwidth_forms": (r"[\uff01-\uffee]", "Contains a full-width or half-width form."),
    "latin_extended": (
        r"(?=\p{Script=Latin})[\u0250-\U000effff]",
        "Contains a Latin letter from U+0250 on: phonetic, Vietnamese and others.",
    ),
    "non_latin_letters": (r"(?!\p{Script=Latin})\p{L}", "Contains a letter of a script other than Latin."),
    "combining_marks": (r"\p{M}", "Contains a mark that combines with the letter before it."),
}

_DIACRITICS = {
    "acute": "áéíóúýćǵḱĺńŕśźǿÁÉÍÓÚÝĆĹŃŔŚŹ",
    "grave": "àèìòùǹÀÈÌÒÙǸ",
    "circumflex": "âêîôûĉĝĥĵŝŵŷÂÊÎÔÛĈĜĤĴŜŴŶ",
    "diaeresis": "äëïöüÿÄËÏÖÜŸ",
    "tilde": "ãñõĩũẽỹÃÑÕĨŨẼỸ",
    "cedilla_or_ogonek": "çşţģķļņŗąęįųÇŞŢĢĶĻŅŖĄĘĮŲșțȘȚ",
    "caron": "čďěňřšťžľǎǐǒǔČĎĚŇŘŠŤŽĽ",
    "macron": "āēīōūĀĒĪŌŪ",
    "ring_or_stroke": "åůøłđħŧÅŮØŁĐĦŦ",
    "ligature": "æœßÆŒẞ",
}

_ONLY = {
    "only_caseless_letters": (r" ?\p{Lo}+", r"\p{Lo}", "Letters without case only: Chinese, Arabic, Thai and others."),
    "only_symbols": (r" ?(?:(?!\ufffd)\p{S})+", r"\p{S}", "Symbols only (category S)."),
    "only_math_symbols": (r" ?\p{Sm}+", r"\p{Sm}", "Mathematical symbols only, those of ASCII among them."),
    "only_non_ascii": (r" ?[^\x00-\x7f\ufffd]+", r"[^\x00-\x7f\ufffd]", "Whole characters outside ASCII only."),
}

UNICODE_RULES: tuple[RegexRule, ...] = (
    *containing(_BLOCKS),
    *containing(
        {
            f"script_{script.lower()}": (
                rf"\p{{Script={script}}}",
                f"Contains a character of the script {script.replace('_', ' ')}.",
            )
            for script in _SCRIPTS
        }
    ),
    *containing(
        {
            f"category_{code}": (
                rf"(?!\ufffd)\p{{{code}}}" if code == "So" else rf"\p{{{code}}}",
                f"Contains {said} (Unicode category {code}).",
            )
            for code, said in _CATEGORIES.items()
        }
    ),
    *containing(_SYMBOLS),
    *containing(
        {
            f"diacritic_{name}": (
                f"[{letters}]",
                f"Contains a Latin letter such as {letters[0]}, {letters[1]} or {letters[2]}.",
            )
            for name, letters in _DIACRITICS.items()
        }
    ),
    *marked(_ONLY),
)
