"""Make ingest/data/sets/topics_empath.toml from the categories of Empath that the hand-written topics lack.

Fetch the PyPI package `empath` 0.89 (`pip download --no-deps --no-binary :all: empath==0.89`, then unpack) and run in
the folder .dev:

    python -m set_data.topics_empath EMPATH_FOLDER/empath/data/categories.tsv
"""

from __future__ import annotations

import sys
from pathlib import Path

from .toml_sets import SETS, WordSet, write_set_file

# Chosen by reading all 194: those with a subject of their own that topics.toml and emotions.toml lack.
CATEGORIES = (
    "aggression", "deception", "dispute", "ridicule", "swearing_terms", "sleep", "medical_emergency", "cold", "warmth",
    "office", "domestic_work", "magic", "beach", "hiking", "hygiene", "cleaning", "exotic", "ancient", "medieval",
    "urban", "rural", "reading", "writing", "communication", "speaking", "hearing", "leader", "power", "order",
    "wealthy", "poor", "valuable", "giving", "help", "negotiate", "violence", "fight", "kill", "stealing", "injury",
    "suffering", "healing", "strength", "weakness", "beauty", "ugliness", "masculine", "feminine", "youth", "childish",
    "superhero", "hipster", "legend", "divine", "worship", "monster", "fun", "leisure", "vacation", "play", "night",
    "morning", "breaking", "movement", "liquid", "shape_and_size", "smell", "noise", "achievement", "competing",
    "optimism", "neglect", "independence", "timidity", "dominant_personality", "meeting", "party", "appearance",
    "politeness", "anonymity", "exercise",
)  # fmt: skip
MAX_JACCARD = 0.5

COMMENT = """
Categories of Empath (Fast, Chen & Bernstein 2016): words near a few seed words in a model of modern fiction, checked by
crowd workers, so broader and noisier than the hand-written topics. Kept are single words of ASCII letters. Of two
categories with a Jaccard index above 0.5 the later is left out.
Made by .dev/set_data/topics_empath.py from the PyPI package empath 0.89.
"""


def main(categories: Path) -> None:
    """Write topics_empath.toml, a set for each chosen category, its words in alphabetical order."""
    rows = [line.split("\t") for line in categories.read_text(encoding="utf-8").splitlines()]
    words = {name: {term for term in terms if term.isascii() and term.isalpha()} for name, *terms in rows}
    kept: list[str] = []
    for name in CATEGORIES:
        if all(_jaccard(words[name], words[other]) <= MAX_JACCARD for other in kept):
            kept.append(name)
    collection = {
        "name": "topics",
        "description": "Subjects that texts are about: words of sports, sciences, arts, trades and daily life.",
        "source": "Empath 0.89, Fast, Chen & Bernstein 2016",
        "licence": "MIT",
        "version": "0.89",
        "casing": "capital",
    }
    sets = [
        WordSet(f"topic_{name}", f"Empath's category {name.replace('_', ' ')}.", sorted(words[name])) for name in kept
    ]
    write_set_file(SETS / "topics_empath.toml", collection, sets, COMMENT)


def _jaccard(some: set[str], others: set[str]) -> float:
    return len(some & others) / len(some | others)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
