"""The published token sets of Bloom & Lin (2024), defects and all, so that their figures can be had again.

Every set stands beside a corrected one in another collection, which its description names: use that for new work. Here
tokens are matched as the tokenizer spells them, byte by byte (`Ġ` is a space and counts as a letter, é is `Ã©`); words
are cut into tokens and every piece is a member; special tokens take part; a token is tagged without its context.
GPT-2's vocabulary is the one published on; on one that is not byte-level the recipes mean nothing and give no sets.

Left out are `boy_names` and `girl_names`, the tokens that are a space and one of the 300 names with the most rows in a
table of US births by state and year: featdex has births by name alone, which rank names otherwise, and `names` in their
stead. (The ten names each of `bloom_boys_names` and `bloom_girls_names` are lists of words, and are here.)
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..catalogue.errors import UsageError
from .byte_pair import BytePairEncoder
from .inputs import TokenSet, Vocabulary
from .set_pos import TAGS, tag_alone
from .set_texts import sorted_ids
from .vocabulary import is_byte_level

COLLECTION = "bloom2024"
SOURCE = "Bloom & Lin 2024, SAELens"
LICENCE = "MIT"
VERSION = "2024-03"
WORDS_FILE = Path(__file__).parent / "data" / "bloom2024_words.json"

_ASCII_ONLY = "letters outside ASCII are spelt as bytes and missed"
_LENGTH_FAULT = "Ġ counts as a letter, so a space and {shorter} are members too; a letter outside ASCII is two or none"

# {published name: (pattern for re.match on the raw token, what it was meant to hold, what is wrong, corrected set)}
REGEXES = {
    "starts_with_space": (r"Ġ.*", "Tokens that start with a space", "", "starts_with_space"),
    "starts_with_capital": (r"^Ġ*[A-Z].*", "Tokens that start with a capital", _ASCII_ONLY, "starts_with_capital"),
    "starts_with_lower": (r"^Ġ*[a-z].*", "Tokens that start in lower case", _ASCII_ONLY, "starts_with_lower"),
    "all_digits": (r"^Ġ*\d+$", "Digits only", "digits outside ASCII are spelt as bytes and missed", "all_digits"),
    "is_punctuation": (
        r"^[^\w\s]+$",
        "Punctuation only",
        "Ġ counts as a letter, so punctuation after a space is missed; some letters are spelt in signs and get in",
        "is_punctuation",
    ),
    "contains_close_bracket": (r".*\).*", "Contains a closing round bracket", "", "contains_close_bracket"),
    "contains_open_bracket": (r".*\(.*", "Contains an opening round bracket", "", "contains_open_bracket"),
    "all_caps": (r"Ġ*[A-Z]+$", "Capitals only", f"single letters are members, {_ASCII_ONLY}", "all_caps"),
    **{
        f"{n} digit{'s' * (n > 1)}": (
            rf"Ġ*\d{{{n}}}$",
            f"Exactly {n} digit{'s' * (n > 1)}",
            "digits outside ASCII are spelt as bytes and missed",
            f"digits_{n}",
        )
        for n in range(1, 5)
    },
    **{
        f"length_{n}": (
            rf"^Ġ*\w{{{n}}}$",
            f"Exactly {n} letter{'s' * (n > 1)}",
            _LENGTH_FAULT.format(shorter=f"{n - 1} letter{'s' * (n != 2)}" if n > 1 else "nothing else"),
            f"length_{n}",
        )
        for n in range(1, 6)
    },
}

# {published word list: corrected set}
CORRECTED_LISTS = {
    "colors": "colours",
    "countries": "countries",
    "capital_cities": "capital_cities",
    "boys_names": "boys_names",
    "girls_names": "girls_names",
    "positive_words": "positive_words",
    "negative_words": "negative_words",
    "spanish_words": "spanish_words",
    "french_words": "french_words",
}

_PUNCTUATION_TAGS = {
    "#": "hash",
    "$": "dollar",
    "''": "close_quote",
    "(": "open_bracket",
    ")": "close_bracket",
    ",": "comma",
    ".": "sentence_end",
    ":": "colon",
    "``": "open_quote",
}


def bloom_sets(vocabulary: Vocabulary) -> list[TokenSet]:
    """Return the sets of the collection `bloom2024`, empty ones included; none for a vocabulary not byte-level.

    Their names are `bloom_` and the published ones in `[a-z0-9_]`: `bloom_1_digit`, `bloom_1910s`, `bloom_a`,
    `bloom_nltk_pos_prps` (for `PRP$`).
    """
    if not is_byte_level(vocabulary):
        return []
    # As in the published code, whose vocabulary was {raw token: id} with the special tokens in it.
    ids_by_token = {raw: token_id for token_id, raw in enumerate(vocabulary.raw) if raw}
    return [
        *_regex_sets(ids_by_token),
        *_letter_sets(ids_by_token),
        *_pos_sets(ids_by_token),
        *_word_sets(vocabulary),
    ]


def _bloom_set(
    published: str,
    *,
    kind: str,
    definition: str,
    purpose: str,
    fault: str,
    corrected: str | None,
    ids: Iterable[int],
    n_terms: int | None = None,
    dropped: tuple[tuple[str, str], ...] = (),
) -> TokenSet:
    as_published = f"as published: {fault}" if fault else "as published"
    use = f" Corrected: {corrected}." if corrected else ""
    return TokenSet(
        name=f"bloom_{_plain(published)}",
        collection=COLLECTION,
        kind=kind,
        definition=definition,
        description=f"{purpose}, {as_published}.{use}",
        source=SOURCE,
        token_ids=sorted_ids(ids),
        n_terms=n_terms,
        n_dropped=None if n_terms is None else len(dropped),
        licence=LICENCE,
        version=VERSION,
        dropped=dropped,
    )


def _plain(published: str) -> str:
    """Return a published name in `[a-z0-9_]`: "1 digit" is `1_digit` and "1910's" is `1910s`."""
    name, _, tag = published.partition("nltk_pos_")
    if tag:
        return f"nltk_pos_{_PUNCTUATION_TAGS.get(tag) or tag.replace('$', 's').lower()}"
    return name.replace(" ", "_").replace("'", "")


def _regex_sets(ids_by_token: dict[str, int]) -> Iterator[TokenSet]:
    for published, (pattern, purpose, fault, corrected) in REGEXES.items():
        matches = re.compile(pattern).match
        yield _bloom_set(
            published,
            kind="regex",
            definition=pattern,
            purpose=purpose,
            fault=fault,
            corrected=corrected,
            ids=[token_id for token, token_id in ids_by_token.items() if matches(token)],
        )


def _letter_sets(ids_by_token: dict[str, int]) -> Iterator[TokenSet]:
    ids_by_letter: dict[str, list[int]] = {letter: [] for letter in string.ascii_lowercase}
    for token, token_id in ids_by_token.items():
        word = token.strip("Ġ")
        if word.isalpha():
            ids_by_letter.get(word[0].lower(), []).append(token_id)
    for letter, ids in ids_by_letter.items():
        yield _bloom_set(
            letter,
            kind="rule",
            definition=f"token.strip('Ġ').isalpha() and token.strip('Ġ')[0].lower() == {letter!r}",
            purpose=f"Letters only, the first of them {letter.upper()} in either case",
            fault="words with letters outside ASCII are missed where these are spelt in signs (é is Ã©)",
            corrected=f"first_letter_{letter}",
            ids=ids,
        )


def _pos_sets(ids_by_token: dict[str, int]) -> Iterator[TokenSet]:
    """Yield a set for each tag of the tagger's that a token has, in the order of their first tokens."""
    ids_by_tag: dict[str, list[int]] = {}
    for token, token_id in ids_by_token.items():
        ids_by_tag.setdefault(tag_alone(token.strip("Ġ")), []).append(token_id)
    for tag, ids in ids_by_tag.items():
        yield _bloom_set(
            f"nltk_pos_{tag}",
            kind="pos",
            definition=f"nltk.pos_tag([token.strip('Ġ')])[0][1] == {tag!r}",
            purpose=f"{TAGS.get(tag, 'Punctuation')} (Penn tag {tag})",
            fault="the tag is a guess from spelling alone, and signs, digits and pieces of words have one too",
            corrected=f"pos_{tag.replace('$', 'S')}" if tag in TAGS else "is_punctuation",
            ids=ids,
        )


def _word_sets(vocabulary: Vocabulary) -> Iterator[TokenSet]:
    encoder = BytePairEncoder(vocabulary)
    lists: dict[str, list[str]] = json.loads(WORDS_FILE.read_text(encoding="utf-8"))["lists"]
    for published, words in lists.items():
        encoded, dropped = _encode_words(encoder, words)
        n_split = sum(len(ids) > 1 for ids in encoded.values())
        pieces = (
            f", and {n_split} of {len(encoded)} words are more than one token and add their pieces" if n_split else ""
        )
        yield _bloom_set(
            published,
            kind="list",
            definition=f"every token of each word of {published!r} in {WORDS_FILE.name}, encoded after a space",
            purpose=f"The word list {published}",
            fault=f"in one casing only{pieces}",
            corrected=CORRECTED_LISTS.get(published),
            ids=[token_id for ids in encoded.values() for token_id in ids],
            n_terms=len(encoded) + len(dropped),
            dropped=dropped,
        )


def _encode_words(
    encoder: BytePairEncoder, words: Iterable[str]
) -> tuple[dict[str, list[int]], tuple[tuple[str, str], ...]]:
    """Return the tokens of each distinct word after a space, and the words with a byte that is no token."""
    encoded: dict[str, list[int]] = {}
    dropped: dict[str, str] = {}
    for word in words:
        try:
            encoded[word] = encoder.encode(f" {word}")
        except UsageError as fault:
            dropped[word] = str(fault)
    return encoded, tuple(dropped.items())
