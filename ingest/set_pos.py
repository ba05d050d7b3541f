"""Sets by part of speech: the Penn tag that NLTK's tagger gives each token, tagged alone.

A bare token has no context, so a tag is the likeliest one for the spelling: "run" is in one of `pos_NN` and `pos_VB`,
never in both. The tagger's data are part of the package; NLTK's own search path is neither needed nor touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from .inputs import TokenSet
from .set_texts import TextIndex, sorted_ids

TAGGER = "averaged_perceptron_tagger_eng"
TAGGER_DATA = Path(__file__).parent / "data" / "nltk_data" / "taggers" / TAGGER
SOURCE = f"NLTK {TAGGER}, MIT"

# The tagger knows English: letters of other scripts would all be nouns to it.
WORD = r"[A-Za-zÀ-ÖØ-öø-ɏ]+(?:['’-][A-Za-zÀ-ÖØ-öø-ɏ]+)*"

# The word tags of the Penn Treebank (Marcus, Santorini & Marcinkiewicz 1993, table 2). Its punctuation tags are left
# out: given to a word they are an error of the tagger.
TAGS = {
    "CC": "Coordinating conjunctions",
    "CD": "Cardinal numbers",
    "DT": "Determiners",
    "EX": "Existential there",
    "FW": "Foreign words",
    "IN": "Prepositions and subordinating conjunctions",
    "JJ": "Adjectives",
    "JJR": "Comparative adjectives",
    "JJS": "Superlative adjectives",
    "LS": "List item markers",
    "MD": "Modal verbs",
    "NN": "Singular and mass nouns",
    "NNS": "Plural nouns",
    "NNP": "Singular proper nouns",
    "NNPS": "Plural proper nouns",
    "PDT": "Predeterminers",
    "POS": "Possessive endings",
    "PRP": "Personal pronouns",
    "PRP$": "Possessive pronouns",
    "RB": "Adverbs",
    "RBR": "Comparative adverbs",
    "RBS": "Superlative adverbs",
    "RP": "Particles",
    "SYM": "Symbols",
    "TO": "The word to",
    "UH": "Interjections",
    "VB": "Verbs in the base form",
    "VBD": "Verbs in the past tense",
    "VBG": "Gerunds and present participles",
    "VBN": "Past participles",
    "VBP": "Verbs in the present tense, not third person singular",
    "VBZ": "Verbs in the third person singular present",
    "WDT": "Wh-determiners",
    "WP": "Wh-pronouns",
    "WP$": "Possessive wh-pronouns",
    "WRB": "Wh-adverbs",
}


def pos_sets(index: TextIndex) -> list[TokenSet]:
    """Return the sets of the collection `pos`, empty ones included: one for each word tag of the Penn Treebank.

    Tagged are tokens of Latin letters with inner apostrophes or hyphens, without their leading space.
    """
    ids_by_word: dict[str, list[int]] = {}
    for text, ids in index.items():
        if re.fullmatch(WORD, word := text.removeprefix(" ")):
            ids_by_word.setdefault(word, []).extend(ids)
    ids_by_tag: dict[str, list[int]] = {tag: [] for tag in TAGS}
    for word, ids in ids_by_word.items():
        ids_by_tag.get(tag_alone(word), []).extend(ids)
    return [
        TokenSet(
            name=f"pos_{tag.replace('$', 'S')}",
            collection="pos",
            kind="pos",
            definition=f"{TAGGER}.tag([word]) == {tag}",
            description=f"{TAGS[tag]} (Penn tag {tag}), each token tagged alone.",
            source=SOURCE,
            token_ids=sorted_ids(ids),
            licence="MIT",
            version="NLTK 3.9",
        )
        for tag, ids in ids_by_tag.items()
    ]


# Two collections tag the words of a vocabulary, at 80 us a word; the largest vocabularies have 262,144 tokens.
@lru_cache(maxsize=2**18)
def tag_alone(word: str) -> str:
    """Return the tag that NLTK's tagger gives a word as a sentence of its own."""
    ((_, tag),) = _load_tagger()([word])
    return tag


@lru_cache(maxsize=1)
def _load_tagger() -> Callable[[list[str]], list[tuple[str, str]]]:
    """Return NLTK's tagger: a function from the words of a sentence to its (word, tag) pairs."""
    # Importing NLTK takes a second. Its own loader reads only below NLTK_DATA, so the three files are read here.
    from nltk.tag.perceptron import PerceptronTagger

    parts = [
        json.loads((TAGGER_DATA / f"{TAGGER}.{part}.json").read_text(encoding="utf-8"))
        for part in ("weights", "tagdict", "classes")
    ]
    tag_words: Callable[[list[str]], list[tuple[str, str]]] = PerceptronTagger.decode_json_obj(tuple(parts)).tag
    return tag_words
