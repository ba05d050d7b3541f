"""Read the Brill lexicon of the npm package `brill` 3.1.0: English words and their Penn tags, the likeliest first."""

from __future__ import annotations

import re
from pathlib import Path

# A line of lib/words.js: a word, bare or quoted, and the position of its tag in lib/tags.js or a list of positions.
ENTRY = re.compile(r"""\s+(?:(?P<bare>[\w$]+)|'(?P<single>.*)'|"(?P<double>.*)"): \[?(?P<first>\d+)[\d, ]*\]?,?""")


def read_lexicon(folder: Path) -> dict[str, str]:
    """Return the first tag of each word, from words.js and tags.js in a folder.

    Raises ValueError for a file in another format.
    """
    tags = re.findall(r"^  '(.*)',?$", (folder / "tags.js").read_text(encoding="utf-8"), re.MULTILINE)
    lines = (folder / "words.js").read_text(encoding="utf-8").split("export const words = {\n")[1].splitlines()[:-1]
    lexicon: dict[str, str] = {}
    for line in lines:
        if (entry := ENTRY.fullmatch(line)) is None:
            raise ValueError(f"words.js has a line that is no entry: {line!r}")
        word = entry["bare"] or entry["single"] or entry["double"]
        lexicon[word] = tags[int(entry["first"])]
    return lexicon
