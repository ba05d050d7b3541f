"""Read the database files of WordNet 3.0 (wndb(5WN), cntlist(5WN)): synsets, senses, tag counts, exceptions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
"""Parts of speech in the order in which ties between senses are broken, and the ends of their file names."""

LEXICOGRAPHER_FILES = {
    "adj.all": "all adjective clusters",
    "adj.pert": "relational adjectives (pertainyms)",
    "adv.all": "all adverbs",
    "noun.Tops": "unique beginner for nouns",
    "noun.act": "nouns denoting acts or actions",
    "noun.animal": "nouns denoting animals",
    "noun.artifact": "nouns denoting man-made objects",
    "noun.attribute": "nouns denoting attributes of people and objects",
    "noun.body": "nouns denoting body parts",
    "noun.cognition": "nouns denoting cognitive processes and contents",
    "noun.communication": "nouns denoting communicative processes and contents",
    "noun.event": "nouns denoting natural events",
    "noun.feeling": "nouns denoting feelings and emotions",
    "noun.food": "nouns denoting foods and drinks",
    "noun.group": "nouns denoting groupings of people or objects",
    "noun.location": "nouns denoting spatial position",
    "noun.motive": "nouns denoting goals",
    "noun.object": "nouns denoting natural objects (not man-made)",
    "noun.person": "nouns denoting people",
    "noun.phenomenon": "nouns denoting natural phenomena",
    "noun.plant": "nouns denoting plants",
    "noun.possession": "nouns denoting possession and transfer of possession",
    "noun.process": "nouns denoting natural processes",
    "noun.quantity": "nouns denoting quantities and units of measure",
    "noun.relation": "nouns denoting relations between people or things or ideas",
    "noun.shape": "nouns denoting two and three dimensional shapes",
    "noun.state": "nouns denoting stable states of affairs",
    "noun.substance": "nouns denoting substances",
    "noun.time": "nouns denoting time and temporal relations",
    "verb.body": "verbs of grooming, dressing and bodily care",
    "verb.change": "verbs of size, temperature change, intensifying, etc.",
    "verb.cognition": "verbs of thinking, judging, analyzing, doubting",
    "verb.communication": "verbs of telling, asking, ordering, singing",
    "verb.competition": "verbs of fighting, athletic activities",
    "verb.consumption": "verbs of eating and drinking",
    "verb.contact": "verbs of touching, hitting, tying, digging",
    "verb.creation": "verbs of sewing, baking, painting, performing",
    "verb.emotion": "verbs of feeling",
    "verb.motion": "verbs of walking, flying, swimming",
    "verb.perception": "verbs of seeing, hearing, feeling",
    "verb.possession": "verbs of buying, selling, owning",
    "verb.social": "verbs of political and social activities and events",
    "verb.stative": "verbs of being, having, spatial relations",
    "verb.weather": "verbs of raining, snowing, thawing, thundering",
    "adj.ppl": "participial adjectives",
}
"""The 45 lexicographer files in the order of their numbers, with their contents: lexnames(5WN)."""

Key = tuple[str, int]
"""A synset: its part of speech and its offset in the data file."""


@dataclass
class Synset:
    """A synset with its lemmas as written and its links. `classes` are what a proper name is an instance of.

    `derived` are the noun synsets to which a lemma of an adjective is derivationally related.
    """

    key: Key
    lexicographer_file: int
    words: list[str]
    gloss: str
    hypernyms: list[Key]
    classes: list[Key]
    derived: frozenset[Key]
    hyponyms: list[Key] = field(default_factory=list)
    instances: list[Key] = field(default_factory=list)


@dataclass(frozen=True)
class WordNet:
    """The database. `senses`: the synsets of (lemma, part of speech) in the order of sense numbers.

    `tag_counts`: by (lemma, part of speech, sense number); a sense not in it was never tagged.
    `bases`: the lemmas and parts of speech of which a form is an irregular inflection.
    """

    synsets: dict[Key, Synset]
    senses: dict[tuple[str, str], list[Key]]
    tag_counts: dict[tuple[str, str, int], int]
    bases: dict[str, list[tuple[str, str]]]


def read_wordnet(folder: Path) -> WordNet:
    """Read data.*, index.*, *.exc and cntlist.rev of one folder."""
    synsets = {synset.key: synset for part in PARTS for synset in _read_synsets(folder, part)}
    for synset in synsets.values():
        for key in synset.hypernyms:
            synsets[key].hyponyms.append(synset.key)
        for key in synset.classes:
            synsets[key].instances.append(synset.key)
    bases: dict[str, list[tuple[str, str]]] = {}
    senses: dict[tuple[str, str], list[Key]] = {}
    for part, name in PARTS.items():
        for line in _lines(folder / f"index.{name}"):
            fields = line.split()
            senses[fields[0], part] = [(part, int(offset)) for offset in fields[-int(fields[2]) :]]
        for line in _lines(folder / f"{name}.exc"):
            form, *lemmas = line.split()
            bases.setdefault(form, []).extend((lemma, part) for lemma in lemmas if lemma != form)
    return WordNet(synsets, senses, _read_tag_counts(folder), bases)


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="ascii").splitlines() if not line.startswith("  ")]


def _read_synsets(folder: Path, part: str) -> list[Synset]:
    return [_synset(line, part) for line in _lines(folder / f"data.{PARTS[part]}")]


def _synset(line: str, part: str) -> Synset:
    data, gloss = line.split(" | ", 1)
    fields = data.split()
    n_words = int(fields[3], 16)
    # Adjectives carry a syntactic marker: "afloat(p)".
    words = [re.sub(r"\(\w+\)$", "", word) for word in fields[4 : 4 + 2 * n_words : 2]]
    start = 5 + 2 * n_words
    pointers = fields[start : start + 4 * int(fields[start - 1])]
    targets = list(zip(pointers[::4], pointers[1::4], pointers[2::4], strict=True))
    return Synset(
        key=(part, int(fields[0])),
        lexicographer_file=int(fields[1]),
        words=words,
        gloss=gloss.strip(),
        hypernyms=[(part, int(offset)) for symbol, offset, _ in targets if symbol == "@"],
        classes=[(part, int(offset)) for symbol, offset, _ in targets if symbol == "@i"],
        derived=frozenset(
            ("n", int(offset)) for symbol, offset, to in targets if (part, symbol, to) == ("a", "+", "n")
        ),
    )


def _read_tag_counts(folder: Path) -> dict[tuple[str, str, int], int]:
    counts: dict[tuple[str, str, int], int] = {}
    for line in _lines(folder / "cntlist.rev"):
        sense_key, number, count = line.split()
        lemma, rest = sense_key.rsplit("%", 1)
        # Synset types 1 ... 5; 5 is an adjective satellite, numbered among the adjectives.
        counts[lemma, "nvara"[int(rest[0]) - 1], int(number)] = int(count)
    return counts
