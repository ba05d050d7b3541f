"""Which lemmas of WordNet count for which synsets: the rule about words stated in wordnet.py."""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path

from wordnet_files import PARTS, Key, WordNet
from wordnet_noise import FUNCTION_WORDS, NOISE, SHORT_WORDS

MIN_LENGTH = 3
MAX_LENGTH = 16
MAX_UNTAGGED_LENGTH = 11
MAX_PIECE_LENGTH = 5
N_UNTAGGED_SENSES = 4
SECOND_CHANCE = 2
"""A noun sense counts if its tag count times this reaches that of the dominant sense."""

TAXONOMIC_GROUP: Key = ("n", 7992450)
GIVEN_NAMES = Path(__file__).parents[2] / "ingest/data/us_names.csv"
ENDINGS = (("s", ""), ("es", ""), ("ies", "y"), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"))


class Words:
    """WordNet's single words as GPT-2 can spell them.

    `forms`: by synset, the words that count for it, as written there. `only_capitalised`: lemmas that WordNet's
    capitalised words share with another word, so that they must not match in lower case.
    """

    def __init__(self, net: WordNet, vocabulary: frozenset[str]) -> None:
        self.net = net
        self.texts = frozenset(text.removeprefix(" ") for text in vocabulary)
        self.starts = frozenset(text[1:] for text in vocabulary if text.startswith(" "))
        with GIVEN_NAMES.open(encoding="utf-8", newline="") as rows:
            self.given_names = frozenset(row["name"].lower() for row in csv.DictReader(rows))
        self.lower_case = {word for synset in net.synsets.values() for word in synset.words if word == word.lower()}
        self.parts: dict[str, str] = {}
        for lemma, part in net.senses:
            self.parts[lemma] = self.parts.get(lemma, "") + part
        self.forms: dict[Key, list[str]] = {}
        self.only_capitalised: set[str] = set()
        taxa = self.below(TAXONOMIC_GROUP)
        for lemma in filter(self.is_wanted, self.parts):
            self._place(lemma, taxa)

    @cache  # noqa: B019 (one object a run)
    def below(self, key: Key) -> frozenset[Key]:
        """Return the synset and all its hyponyms, at any distance; no instances."""
        return frozenset({key}).union(*(self.below(lower) for lower in self.net.synsets[key].hyponyms))

    @cache  # noqa: B019
    def depth(self, key: Key) -> int:
        """Return the least number of steps up to a synset that has no hypernym."""
        return min((1 + self.depth(upper) for upper in self.net.synsets[key].hypernyms), default=0)

    def sense_number(self, key: Key) -> int:
        """Return the number of the sense that a synset is of its first lemma."""
        return self.net.senses[self.net.synsets[key].words[0].lower(), key[0]].index(key) + 1

    def tag_count(self, key: Key) -> int:
        """Return how often a synset was tagged, over its lemmas."""
        senses = self.net.senses
        lemmas = [word.lower() for word in self.net.synsets[key].words]
        return sum(
            self.net.tag_counts.get((lemma, key[0], senses[lemma, key[0]].index(key) + 1), 0) for lemma in lemmas
        )

    def ranked(self, lemma: str) -> list[tuple[int, Key]]:
        """Return the senses of a lemma with their tag counts, the dominant one first."""
        senses = [
            (-self.net.tag_counts.get((lemma, part, number), 0), number, list(PARTS).index(part), key)
            for part in self.parts[lemma]
            for number, key in enumerate(self.net.senses[lemma, part], 1)
        ]
        return [(-negative_count, key) for negative_count, _, _, key in sorted(senses)]

    def written(self, lemma: str, key: Key) -> str:
        """Return a lemma as its synset writes it, with its capitals."""
        return next(word for word in self.net.synsets[key].words if word.lower() == lemma)

    def is_token(self, word: str, casing: str) -> bool:
        """Tell whether GPT-2 has a word as one token, with or without a leading space, in a casing of the set file."""
        forms = {word, word[0].upper() + word[1:]}
        if casing == "any":
            forms |= {word.lower(), word.capitalize(), word.upper()}
        return not forms.isdisjoint(self.texts)

    def is_wanted(self, lemma: str) -> bool:
        """Tell whether a lemma passes every rule that does not depend on the set."""
        if not re.fullmatch(rf"[a-z]{{{MIN_LENGTH},{MAX_LENGTH}}}", lemma) or lemma in NOISE:
            return False
        count, key = self.ranked(lemma)[0]
        is_lower = self.written(lemma, key) == lemma
        if is_lower and lemma in FUNCTION_WORDS:
            return False
        if not count and (len(lemma) > MAX_UNTAGGED_LENGTH or (is_lower and self._is_odd_short(lemma))):
            return False
        is_piece = not {lemma, lemma.capitalize(), lemma.upper()} & self.starts and lemma in self.texts
        if not count and len(lemma) <= MAX_PIECE_LENGTH and is_piece:
            return False
        if re.fullmatch("[cdilmvx]+", lemma) and any(re.search(r"\d", word) for word in self.net.synsets[key].words):
            return False
        if any(self.ranked(base)[0][0] > count for base, _ in self.net.bases.get(lemma, ()) if base in self.parts):
            return False
        is_name = lemma in self.given_names and lemma.capitalize() in self.starts and lemma not in self.starts
        return not (is_lower and is_name)

    def _is_odd_short(self, lemma: str) -> bool:
        return len(lemma) == MIN_LENGTH and lemma not in SHORT_WORDS

    def _place(self, lemma: str, taxa: frozenset[Key]) -> None:
        ranked = self.ranked(lemma)
        top, dominant = ranked[0]
        others = [(count, key) for count, key in ranked[1:] if key[0] == "n"]
        if top:
            derived = self.net.synsets[dominant].derived
            others = [(count, key) for count, key in others if SECOND_CHANCE * count >= top or key in derived]
        else:
            others = others[: N_UNTAGGED_SENSES - 1] if dominant[0] == "n" else []
        is_lower = self.written(lemma, dominant) == lemma
        for key in [dominant, *(key for _, key in others)]:
            form = self.written(lemma, key)
            # "china" would match the country, whose sense dominates, in any casing.
            if is_lower if form == lemma else key not in taxa:
                self.forms.setdefault(key, []).append(form)
        is_instance = any(self.net.synsets[key].classes for _, key in ranked)
        is_unsure = not top and (self._is_odd_short(lemma) or lemma in self.given_names)
        if is_instance or is_unsure or self._means_more(lemma):
            self.only_capitalised.add(lemma)

    def _means_more(self, lemma: str) -> bool:
        if lemma in self.lower_case or lemma in self.net.bases or lemma in FUNCTION_WORDS:
            return True
        stems = [lemma.removesuffix(ending) + base for ending, base in ENDINGS if lemma.endswith(ending)]
        return any(stem in self.lower_case for stem in stems)
