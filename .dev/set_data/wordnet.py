"""Write the `wordnet` collection of token sets, from the database of WordNet 3.0.

    python .dev/set_data/wordnet.py DICT_FOLDER GPT2_VOCAB > ingest/data/sets/wordnet.toml

DICT_FOLDER holds data.*, index.*, *.exc and cntlist.rev (Debian package wordnet-base: usr/share/wordnet). GPT2_VOCAB
is tests/data/gpt2_vocab.json.xz. The given names of ingest/data/us_names.csv are read too; nothing else is.

Words. A lemma counts in its dominant sense: the sense tagged most often in WordNet's corpora over all parts of
speech; ties go to the lowest sense number, then to noun, verb, adjective, adverb. Dominance alone leaves thin sets
("orange" was tagged most often as an adjective, "peach" never), so noun senses get a second chance: a noun sense
tagged at least half as often counts too, and of a noun never tagged the first four senses; and where an adjective
dominates, the noun derived from it ("red", "German"). Left out are:

- lemmas of several words and with anything but letters, which are no single tokens; lemmas of one or two letters;
- the words of wordnet_noise.py: function words in lower case, pieces of words, and but for a few the words of three
  letters never tagged;
- Roman numerals; words over 16 letters, or over 11 if never tagged, which are no single tokens either;
- irregular inflections of a lemma tagged more often ("saw", "felt", "rose": the verb is meant);
- words never tagged, of five letters at most, that GPT-2 has within words only ("rete", "inion");
- given names that GPT-2 has with a capital only ("henry" is a unit, but the token is a name);
- capitalised scientific names (everything below the synset `taxonomic_group`).

WordNet lists no plurals, and none are added.

Sets. (1) The lexicographer files. (2) All words below a noun or verb synset. (3) The proper names (instances) of the
classes below a noun synset, which are in no other set. A set with at least as many capitalised words as others on
GPT-2 matches "capital"; any other matches "any", without the capitalised words that mean something else too ("China",
"March", given names, places). A name with a number ("wn_line_4") means that sense of the word.

Choice. A set needs a number of words that are single tokens of GPT-2: 5 for a lexicographer file; 10 to 300 for a
noun synset of a concrete file (animal, food, ...); 20 for one of an abstract file (act, state, cognition, ...), or 40
where its depth is 4; 40 for a verb synset; 20 for proper names. Noun synsets less than 4 steps below `entity` are too
abstract. A synset is left out where one below it shares more than 80 % of its words (Jaccard) and has a one-word name
tagged five times or more: "beverage" says more than "fluid". The rest are taken greedily: lexicographer files first,
then synsets, then proper names, each by the tag count of the synset, then by words, most first. A candidate whose
terms or whose words on GPT-2 overlap those of a set already taken by a Jaccard index over 0.6 is left out.
"""

from __future__ import annotations

import json
import lzma
import re
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wordnet_files import LEXICOGRAPHER_FILES, Key, Synset, read_wordnet
from wordnet_words import Words

MIN_FILE_WORDS = 5
MIN_CONCRETE_WORDS = 10
MIN_ABSTRACT_WORDS = 20
MIN_SHALLOW_WORDS = 40
MIN_VERB_WORDS = 40
MIN_NAMES = 20
MAX_WORDS = 300
MIN_DEPTH = 4
MAX_JACCARD = 0.6
SAME_JACCARD = 0.8
MIN_TELLING_TAGS = 5
MAX_GLOSS = 120
WIDTH = 120
CONCRETE = frozenset(
    re.findall(
        "[a-z]+",
        "animal artifact body feeling food group location object person phenomenon plant possession quantity shape "
        "substance time",
    )
)
"""The noun files whose classes are things that words name, not kinds of acts, states and thoughts."""

HEADER = """\
# Made by .dev/set_data/wordnet.py, which states the whole rule. Don't edit by hand.
# WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved. Licence: ../LICENSES.md.

[collection]
name = "wordnet"
description = \"\"\"
Words of one meaning, from WordNet 3.0: its lexicographer files, the words below well-populated synsets (wn_bird; \\
verbs: wn_to_move) and the proper names of the instances below them (wn_named_city). A word counts in its dominant \\
sense, in noun senses tagged at least half as often, and in the noun derived from a dominant adjective (red). \\
Lemmas of several words are left out; plurals are not in WordNet and not added. A set has at least 10 words that \\
are single tokens of GPT-2 (20 or 40 for abstract classes and verbs), its noun synset is at least 4 steps below \\
entity, and no two sets overlap by a Jaccard index over 0.6.\"\"\"
source = "WordNet 3.0, Princeton University; Fellbaum (1998)"
licence = "WordNet 3.0"
version = "3.0-1"
casing = "any"
space = "either"
"""


@dataclass(frozen=True)
class Candidate:
    """A set that may be chosen; `key` is its synset, None for a lexicographer file."""

    name: str
    description: str
    key: Key | None
    order: tuple[int, int, int]
    casing: str
    terms: frozenset[str]
    words: frozenset[str]


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the size of the intersection over that of the union."""
    return len(one & other) / len(one | other)


def candidates(words: Words) -> Iterator[Candidate]:
    """Yield every set with enough words on GPT-2."""
    synsets = words.net.synsets
    for number, (file, content) in enumerate(LEXICOGRAPHER_FILES.items()):
        keys = [key for key, synset in synsets.items() if synset.lexicographer_file == number and not synset.classes]
        description = f"WordNet's lexicographer file {file}: {content}."
        found = candidate(words, f"wn_{file}", description, keys, (0, number, 0))
        if len(found.words) >= MIN_FILE_WORDS:
            yield found
    for key, synset in synsets.items():
        lemma, number = synset.words[0], words.sense_number(key)
        sense = f"{lemma}.{key[0]}.{number:02d} ({key[1]:08d}-{key[0]}): {short_gloss(synset)}"
        name = ("to_" if key[0] == "v" else "") + lemma + (f"_{number}" if number > 1 else "")
        below = words.below(key)
        if key[0] == "v" or (key[0] == "n" and words.depth(key) >= MIN_DEPTH):
            found = candidate(words, f"wn_{name}", f"Below {sense}", below, (1, -words.tag_count(key), 0), key)
            if min_words(words, synset) <= len(found.words) <= MAX_WORDS:
                yield found
        if key[0] == "n" and words.depth(key) >= MIN_DEPTH:
            instances = [instance for lower in below for instance in synsets[lower].instances]
            order = (2, -words.tag_count(key), 0)
            found = candidate(words, f"wn_named_{name}", f"Proper names, below {sense}", instances, order, key)
            if MIN_NAMES <= len(found.words) <= MAX_WORDS:
                yield found


def candidate(
    words: Words, name: str, description: str, keys: Iterable[Key], order: tuple[int, int, int], key: Key | None = None
) -> Candidate:
    """Gather the words of some synsets and decide on the casing."""
    forms = {form for lower in keys for form in words.forms.get(lower, ())}
    capitalised = {form for form in forms if form != form.lower()}
    n_capitalised = sum(words.is_token(form, "capital") for form in capitalised)
    n_lower = sum(words.is_token(form, "any") for form in forms - capitalised)
    casing = "capital" if n_capitalised and n_capitalised >= n_lower else "any"
    if casing == "any":
        forms -= {form for form in capitalised if form.lower() in words.only_capitalised}
    terms = frozenset({form.lower(): form for form in sorted(forms)}.values())
    tokens = frozenset(form for form in terms if words.is_token(form, casing))
    slug = re.sub("[^a-z0-9]+", "_", name.lower())
    return Candidate(slug, description, key, (*order[:2], order[2] - len(tokens)), casing, terms, tokens)


def min_words(words: Words, synset: Synset) -> int:
    """Return how many words on GPT-2 the set below a synset needs."""
    if synset.key[0] == "v":
        return MIN_VERB_WORDS
    if list(LEXICOGRAPHER_FILES)[synset.lexicographer_file].removeprefix("noun.") in CONCRETE:
        return MIN_CONCRETE_WORDS
    return MIN_ABSTRACT_WORDS if words.depth(synset.key) > MIN_DEPTH else MIN_SHALLOW_WORDS


def short_gloss(synset: Synset) -> str:
    """Return the definition without examples, at most 120 characters of it."""
    definition = synset.gloss.split('; "')[0].replace("\\", "")
    return textwrap.shorten(definition, MAX_GLOSS, placeholder=" ...")


def without_vague(words: Words, found: Collection[Candidate]) -> list[Candidate]:
    """Leave out synsets that a synset below them says better."""
    by_key = {(one.order[0], one.key): one for one in found if one.key}

    def has_better(one: Candidate) -> bool:
        lower = (by_key.get((one.order[0], key)) for key in words.below(one.key) - {one.key}) if one.key else ()
        return any(other is not None and other.key is not None and is_better(other, one, other.key) for other in lower)

    def is_better(other: Candidate, one: Candidate, key: Key) -> bool:
        is_telling = "_" not in words.net.synsets[key].words[0] and words.tag_count(key) >= MIN_TELLING_TAGS
        return is_telling and jaccard(other.words, one.words) > SAME_JACCARD

    return [one for one in found if not has_better(one)]


def choose(found: Iterable[Candidate]) -> list[Candidate]:
    """Take candidates in their order as long as they overlap none taken before by more than MAX_JACCARD."""
    chosen: list[Candidate] = []
    for one in sorted(found, key=lambda one: (one.order, one.key or ("", 0))):
        overlaps = ((jaccard(one.words, other.words), jaccard(one.terms, other.terms)) for other in chosen)
        if all(max(pair) <= MAX_JACCARD for pair in overlaps):
            chosen.append(one)
    return chosen


def toml(one: Candidate) -> str:
    """Return a set as TOML. JSON's strings of ASCII are TOML's too."""
    terms = ", ".join(f'"{term}"' for term in sorted(one.terms, key=lambda term: (term.lower(), term)))
    lines = textwrap.wrap(terms, WIDTH, break_long_words=False, break_on_hyphens=False)
    casing = "" if one.casing == "any" else f'casing = "{one.casing}"\n'
    head = f"\n[sets.{one.name}]\ndescription = {json.dumps(one.description)}\n{casing}"
    return head + "terms = [\n" + "\n".join(lines) + "\n]\n"


def main() -> None:
    """Write the TOML file to standard output, counts to standard error."""
    if len(sys.argv) != 3:
        sys.exit("usage: python wordnet.py DICT_FOLDER GPT2_VOCAB > wordnet.toml")
    tokens = json.loads(lzma.decompress(Path(sys.argv[2]).read_bytes()))["tokens"]
    words = Words(read_wordnet(Path(sys.argv[1])), frozenset(token.replace("Ġ", " ") for token in tokens))
    found = list(candidates(words))
    chosen = choose(without_vague(words, found))
    sys.stdout.write(HEADER)
    for one in chosen:
        sys.stdout.write(toml(one))
    kinds = [sum(one.order[0] == kind for one in chosen) for kind in range(3)]
    n_terms = len(frozenset().union(*(one.terms for one in chosen)))
    sys.stderr.write(f"{len(found)} candidates, {len(chosen)} sets {kinds}, {n_terms} different terms\n")


if __name__ == "__main__":
    main()
