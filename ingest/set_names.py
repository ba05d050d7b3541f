"""Sets that are lists of words: given names counted from US births, and small hand-written lists.

A term counts only where it is one token. Terms that the tokenizer splits are counted in `n_dropped` and none of their
pieces gets in: pieces of words made most members of the published lists noise.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from .inputs import TokenSet
from .set_texts import TextIndex, sorted_ids

DATA = Path(__file__).parent / "data"

MIN_BIRTHS = 10_000
ONE_SEX_SHARE = 0.9
UNISEX_MIN_SHARE, UNISEX_MAX_SHARE = 0.25, 0.75
NAMES_SOURCE = "US Social Security Administration, public domain"


@dataclass(frozen=True)
class _NameCount:
    """A given name and the births it was given to, by sex."""

    name: str
    girls: int
    boys: int

    @property
    def girls_share(self) -> float:
        return self.girls / (self.girls + self.boys)


def _is_girls_name(count: _NameCount) -> bool:
    return count.girls >= MIN_BIRTHS and count.girls_share > ONE_SEX_SHARE


def _is_boys_name(count: _NameCount) -> bool:
    return count.boys >= MIN_BIRTHS and 1 - count.girls_share > ONE_SEX_SHARE


def _is_unisex_name(count: _NameCount) -> bool:
    share = count.girls_share
    return count.girls + count.boys >= MIN_BIRTHS and UNISEX_MIN_SHARE <= share <= UNISEX_MAX_SHARE


# {set: (test, definition, description)}
_NAME_SETS: dict[str, tuple[Callable[[_NameCount], bool], str, str]] = {
    "girls_names": (
        _is_girls_name,
        f"more than {ONE_SEX_SHARE:.0%} girls and at least {MIN_BIRTHS:,} girls",
        "Given names of girls in the US.",
    ),
    "boys_names": (
        _is_boys_name,
        f"more than {ONE_SEX_SHARE:.0%} boys and at least {MIN_BIRTHS:,} boys",
        "Given names of boys in the US.",
    ),
    "unisex_names": (
        _is_unisex_name,
        f"{UNISEX_MIN_SHARE:.0%} to {UNISEX_MAX_SHARE:.0%} girls and at least {MIN_BIRTHS:,} births",
        "Given names of girls and boys alike in the US.",
    ),
}


def name_sets(index: TextIndex) -> list[TokenSet]:
    """Return the sets of the collection `names`, empty ones included.

    A member is a token that is exactly a space and the name: without the space `Rose` also starts `Roseville`.
    """
    counts = _read_name_counts()
    return [
        _list_set(
            index,
            name=name,
            collection="names",
            forms={count.name: {f" {count.name}"} for count in counts if is_member(count)},
            definition=f"names with {rule} among US births (us_names.csv), one leading space",
            description=description,
            source=NAMES_SOURCE,
        )
        for name, (is_member, rule, description) in _NAME_SETS.items()
    ]


def word_sets(index: TextIndex) -> list[TokenSet]:
    """Return the sets of the collection `words`, empty ones included.

    A member is a token that is a term with or without a space in front, cased as `casing` of its list says: `given`
    (as the list has it) or `any` (that, lower case, capitalised, upper case).
    """
    lists = tomllib.loads((DATA / "word_lists.toml").read_text(encoding="utf-8"))
    return [
        _list_set(
            index,
            name=name,
            collection="words",
            forms={term: _spaced_and_unspaced(_cased(term, entry["casing"])) for term in entry["terms"]},
            definition=f"the terms of {name} in word_lists.toml, {entry['casing']} casing, at most one leading space",
            description=entry["description"],
            source=entry["source"],
        )
        for name, entry in lists.items()
    ]


def _list_set(
    index: TextIndex,
    *,
    name: str,
    collection: str,
    forms: dict[str, Collection[str]],
    definition: str,
    description: str,
    source: str,
) -> TokenSet:
    """Return the set of the tokens that are a form of a term; `forms` holds the texts that each term may take."""
    found = {term: [token_id for text in texts for token_id in index.get(text, ())] for term, texts in forms.items()}
    return TokenSet(
        name=name,
        collection=collection,
        kind="list",
        definition=definition,
        description=description,
        source=source,
        token_ids=sorted_ids(token_id for ids in found.values() for token_id in ids),
        n_terms=len(forms),
        n_dropped=sum(not ids for ids in found.values()),
    )


def _read_name_counts() -> list[_NameCount]:
    with (DATA / "us_names.csv").open(encoding="utf-8", newline="") as file:
        return [
            _NameCount(row["name"], int(row["female_births"]), int(row["male_births"])) for row in csv.DictReader(file)
        ]


def _cased(term: str, casing: str) -> set[str]:
    return {term} if casing == "given" else {term, term.lower(), term.capitalize(), term.upper()}


def _spaced_and_unspaced(words: set[str]) -> set[str]:
    return words | {f" {word}" for word in words}
