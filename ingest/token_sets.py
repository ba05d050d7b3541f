"""The token sets that come with featdex, and the checks that every set must pass before numbers are made of it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from ..catalogue.errors import TokenSetError, UsageError, nearest
from .inputs import TokenSet, Vocabulary
from .set_definition import SetDefinition
from .set_file import read_set_file
from .set_resolve import resolve_sets
from .set_texts import TextIndex, index_texts

MIN_SET_SIZE = 5
"""Built-in sets with fewer members on a vocabulary are left out: an enrichment of four tokens says little."""

CORE = "core"
"""Stands for the sets of the library that an ingest computes unless told otherwise: broad, with little said twice."""

CORE_FILE = Path(__file__).parent / "data" / "core_sets.txt"

SETS_FOLDER = Path(__file__).parent / "data" / "sets"
"""Each TOML file in it is a built-in collection, or a part of one."""

_Builder = Callable[[Vocabulary, TextIndex], list[TokenSet]]


def _shape(vocabulary: Vocabulary, index: TextIndex) -> list[TokenSet]:
    from .set_rules import shape_sets

    return shape_sets(vocabulary, index)


def _affix(vocabulary: Vocabulary, index: TextIndex) -> list[TokenSet]:
    from .set_rules import affix_sets

    return affix_sets(index)


def _names(vocabulary: Vocabulary, index: TextIndex) -> list[TokenSet]:
    from .set_names import name_sets

    return name_sets(vocabulary, index)


def _pos(vocabulary: Vocabulary, index: TextIndex) -> list[TokenSet]:
    from .set_pos import pos_sets

    return pos_sets(index)


def _bloom2024(vocabulary: Vocabulary, index: TextIndex) -> list[TokenSet]:
    from .set_bloom import bloom_sets

    return bloom_sets(vocabulary)


# The collections that code makes, or makes the first sets of.
_BUILDERS: Mapping[str, tuple[str, _Builder]] = {
    "shape": ("What a token looks like: spaces, capitals, punctuation, brackets, length, script.", _shape),
    "affix": ("First letters, and common English suffixes and prefixes, by spelling.", _affix),
    "names": ("Given names of girls, of boys and of both, by US births.", _names),
    "pos": ("Parts of speech (Penn tags) of each token tagged alone, by NLTK.", _pos),
    "bloom2024": ("The published sets of Bloom & Lin (2024), defects and all; byte-level BPE only.", _bloom2024),
}
_LAST = ("pos", "bloom2024")
_BESIDE_CORE = ("bloom2024", "pos_lexicon")
"""Collections that repeat others in their own way, of which the core has nothing."""


def builtin_collections() -> Mapping[str, str]:
    """Return the collections of built-in sets by name, each with a sentence about it, in the order they are built.

    The order is `shape`, `affix`, `names`, then those of `SETS_FOLDER` by name, then `pos` and `bloom2024`. Where a
    collection has files, the sentence is that of the first of them by name.
    """
    written: dict[str, str] = {}
    for path in _set_files():
        head = _head(path)
        written.setdefault(head["name"], head["description"])
    first = [name for name in _BUILDERS if name not in _LAST]
    names = [*first, *sorted(written.keys() - _BUILDERS.keys()), *_LAST]
    return {name: written.get(name) or _BUILDERS[name][0] for name in names}


def builtin_sets(vocabulary: Vocabulary, collections: Sequence[str] | None = None) -> list[TokenSet]:
    """Build the token sets of some collections on a vocabulary, or of all of them; `core` stands for a choice of sets.

    The order is that of `builtin_collections`, then that of each collection, whatever the order asked for. Left out are
    sets with fewer than `MIN_SET_SIZE` members and sets of all tokens. Raises UsageError for an unknown collection.
    """
    known = builtin_collections()
    asked = set(known if collections is None else collections)
    for name in sorted(asked - known.keys() - {CORE}):
        choices = [CORE, *known]
        raise UsageError(f"no collection of token sets {name!r}{nearest(name, choices)} (known: {', '.join(choices)})")
    core = core_names() if CORE in asked else frozenset()
    wanted = asked | {name for name in known if core and name not in _BESIDE_CORE}
    index = index_texts(vocabulary)
    definitions = [found for path in _set_files() if _head(path)["name"] in wanted for found in _definitions(path)]
    resolved = resolve_sets(definitions, vocabulary, index=index, keep_unusable=True)
    built: list[TokenSet] = []
    for name in known:
        if name in wanted and name in _BUILDERS:
            built += _BUILDERS[name][1](vocabulary, index)
        built += [found for found in resolved if found.collection == name]
    _check_distinct(built)
    chosen = [found for found in built if found.collection in asked or found.name in core]
    return [found for found in chosen if MIN_SET_SIZE <= len(found.token_ids) < len(vocabulary)]


@cache
def core_names() -> frozenset[str]:
    """Return the names of the sets of the core."""
    lines = CORE_FILE.read_text(encoding="utf-8").splitlines()
    return frozenset(name for line in lines if not line.startswith("#") for name in line.split())


def _set_files() -> tuple[Path, ...]:
    return tuple(sorted(SETS_FOLDER.glob("*.toml")))


@cache
def _head(path: Path) -> Mapping[str, str]:
    """Return the table `[collection]` of a built-in file, which stands before all its sets."""
    # Not the whole file: TOML is read at a few MB a second.
    head, _, _ = path.read_text(encoding="utf-8").partition("\n[sets.")
    table: dict[str, str] = tomllib.loads(head)["collection"]
    return table


@cache
def _definitions(path: Path) -> tuple[SetDefinition, ...]:
    return tuple(read_set_file(path))


def check_sets(sets: Sequence[TokenSet], d_vocab: int) -> None:
    """Raise TokenSetError for the first set that can't be scored on a vocabulary of `d_vocab` tokens.

    Refused are an empty set, a set of all tokens, ids outside `0 ... d_vocab - 1`, ids not in strictly ascending
    order, and a name that an earlier set has.
    """
    _check_distinct(sets)
    for found in sets:
        _check_ids(found.name, found.token_ids, d_vocab)


def _check_distinct(sets: Iterable[TokenSet]) -> None:
    collection_of: dict[str, str] = {}
    for found in sets:
        if found.name in collection_of:
            collections = dict.fromkeys([collection_of[found.name], found.collection])
            raise TokenSetError(
                f"two token sets are named {found.name!r} (collections: {', '.join(collections)}); rename one"
            )
        collection_of[found.name] = found.collection


def _check_ids(name: str, ids: Int[np.ndarray, " n_tokens"], d_vocab: int) -> None:
    if ids.size == 0:
        raise TokenSetError(f"token set {name!r} is empty; leave it out")
    for token_id in (int(ids.min()), int(ids.max())):
        if not 0 <= token_id < d_vocab:
            raise TokenSetError(
                f"token set {name!r} holds token id {token_id}, outside the vocabulary of {d_vocab} tokens; "
                "use ids of this tokenizer"
            )
    if not bool(np.all(np.diff(ids.astype(np.int64)) > 0)):
        raise TokenSetError(f"token set {name!r} has ids that are unsorted or repeated; sort them")
    if ids.size == d_vocab:
        raise TokenSetError(f"token set {name!r} holds all {d_vocab} tokens; there is nothing to compare it with")


def token_set_from_ids(name: str, ids: Iterable[Any], d_vocab: int) -> TokenSet:
    """Build a set of the collection `user` from token ids in any order, repeats allowed.

    `ids` is any iterable of integers, a NumPy array or a torch tensor on any device. Raises TokenSetError, which names
    the set, for no ids, ids outside the `d_vocab` tokens, all of them, and values that are no integers.
    """
    values = _as_array(name, ids)
    if values.size and not np.issubdtype(values.dtype, np.integer):
        hint = "give the positions where the mask is true" if values.dtype == np.bool_ else "give token ids"
        raise TokenSetError(f"token set {name!r} holds {values.dtype} values instead of integers; {hint}")
    # Checked before the narrowing to int32, which would wrap a large id into a valid one.
    distinct = np.unique(values.astype(np.int64))
    _check_ids(name, distinct, d_vocab)
    return TokenSet(
        name=name,
        collection="user",
        kind="list",
        definition=f"{distinct.size} token ids",
        description="Token ids given from Python.",
        source="user",
        token_ids=distinct.astype(np.int32),
    )


def _as_array(name: str, ids: Any) -> Shaped[np.ndarray, " n_values"]:
    if hasattr(ids, "detach"):  # a torch tensor, which NumPy can't read from a GPU
        ids = ids.detach().cpu().numpy()
    try:
        return np.asarray(ids if isinstance(ids, np.ndarray) else list(ids)).reshape(-1)
    except (TypeError, ValueError) as fault:
        raise TokenSetError(f"token set {name!r} is no list of token ids ({fault}); give one") from fault
