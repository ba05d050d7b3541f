"""Sets of given names, chosen by the births that US statistics count for each sex.

The lists of names that people write by hand are in `data/sets/names.toml`, in the same collection.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .inputs import TokenSet, Vocabulary
from .set_definition import SetDefinition, distinct_terms
from .set_terms import TermFinder
from .set_texts import TextIndex, sorted_ids
from .unchecked import no_type_check

COLLECTION = "names"
DATA = Path(__file__).parent / "data"

MIN_BIRTHS = 10_000
ONE_SEX_SHARE = 0.9
UNISEX_MIN_SHARE, UNISEX_MAX_SHARE = 0.25, 0.75
NAMES_SOURCE = "US Social Security Administration"
NAMES_LICENCE = "public domain"
NAMES_VERSION = "1"


@dataclass(frozen=True)
class _NameCount:
    """A given name and the births it was given to, by sex."""

    name: str
    girls: int
    boys: int

    @property
    @no_type_check
    def girls_share(self) -> float:
        return self.girls / (self.girls + self.boys)


@no_type_check
def _is_girls_name(count: _NameCount) -> bool:
    return count.girls >= MIN_BIRTHS and count.girls_share > ONE_SEX_SHARE


@no_type_check
def _is_boys_name(count: _NameCount) -> bool:
    return count.boys >= MIN_BIRTHS and 1 - count.girls_share > ONE_SEX_SHARE


@no_type_check
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


def name_sets(vocabulary: Vocabulary, index: TextIndex) -> list[TokenSet]:
    """Return the sets of births, of the collection `names`, empty ones included.

    A member is a token that is exactly a space and the name: without the space `Rose` also starts `Roseville`.
    `index` is `index_texts(vocabulary)`.
    """
    counts = _read_name_counts()
    finder = TermFinder(vocabulary, index)
    return [
        _name_set(finder, name, [count.name for count in counts if is_member(count)], rule, description)
        for name, (is_member, rule, description) in _NAME_SETS.items()
    ]


def _name_set(finder: TermFinder, name: str, terms: list[str], rule: str, description: str) -> TokenSet:
    wanted = SetDefinition(name, COLLECTION, "list", terms=distinct_terms(terms), casing="given", space="leading")
    ids, dropped = finder.find(wanted)
    return TokenSet(
        name=name,
        collection=COLLECTION,
        kind="list",
        definition=f"names with {rule} among US births (us_names.csv), one leading space",
        description=description,
        source=NAMES_SOURCE,
        token_ids=sorted_ids(ids),
        n_terms=len(wanted.terms),
        n_dropped=len(dropped),
        licence=NAMES_LICENCE,
        version=NAMES_VERSION,
        dropped=dropped,
    )


def _read_name_counts() -> list[_NameCount]:
    with (DATA / "us_names.csv").open(encoding="utf-8", newline="") as file:
        return [
            _NameCount(row["name"], int(row["female_births"]), int(row["male_births"])) for row in csv.DictReader(file)
        ]
