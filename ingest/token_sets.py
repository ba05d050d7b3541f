"""The token sets that come with featdex, and the checks that every set must pass before numbers are made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from ..catalogue.errors import TokenSetError, UsageError, nearest
from .inputs import TokenSet, Vocabulary
from .set_names import name_sets, word_sets
from .set_pos import pos_sets
from .set_rules import affix_sets, shape_sets
from .set_texts import TextIndex, index_texts

MIN_SET_SIZE = 5
"""Built-in sets with fewer members on a vocabulary are left out: an enrichment of four tokens says little."""

_Builder = Callable[[Vocabulary, TextIndex], list[TokenSet]]

_COLLECTIONS: dict[str, tuple[str, _Builder]] = {
    "shape": ("What a token looks like: spaces, capitals, punctuation, brackets, length, script.", shape_sets),
    "affix": (
        "First letters, and common English suffixes and prefixes, by spelling.",
        lambda _, index: affix_sets(index),
    ),
    "names": ("Given names of girls, of boys and of both, from US births.", lambda _, index: name_sets(index)),
    "words": (
        "Small hand-written lists: months, countries, pronouns, number words and others.",
        lambda _, index: word_sets(index),
    ),
    "pos": ("Parts of speech (Penn tags) of each token tagged alone, by NLTK.", lambda _, index: pos_sets(index)),
}

COLLECTIONS: Mapping[str, str] = {name: description for name, (description, _) in _COLLECTIONS.items()}
"""The collections of built-in sets by name, each with a sentence about it."""


def builtin_sets(vocabulary: Vocabulary, collections: Sequence[str] | None = None) -> list[TokenSet]:
    """Build the token sets of some collections on a vocabulary, or of all of them.

    The order is that of `COLLECTIONS`, then that of each collection, whatever the order asked for. Left out are sets
    with fewer than `MIN_SET_SIZE` members and sets of all tokens. Raises UsageError for an unknown collection.
    """
    wanted = set(COLLECTIONS if collections is None else collections)
    for name in sorted(wanted - COLLECTIONS.keys()):
        raise UsageError(
            f"no collection of token sets {name!r}{nearest(name, COLLECTIONS)} (known: {', '.join(COLLECTIONS)})"
        )
    index = index_texts(vocabulary)
    built = [found for name, (_, build) in _COLLECTIONS.items() if name in wanted for found in build(vocabulary, index)]
    return [found for found in built if MIN_SET_SIZE <= len(found.token_ids) < len(vocabulary)]


def check_sets(sets: Sequence[TokenSet], d_vocab: int) -> None:
    """Raise TokenSetError for the first set that can't be scored on a vocabulary of `d_vocab` tokens.

    Refused are an empty set, a set of all tokens, ids outside `0 ... d_vocab - 1`, ids not in strictly ascending
    order, and a name that an earlier set has.
    """
    names: set[str] = set()
    for found in sets:
        if found.name in names:
            raise TokenSetError(f"two token sets are named {found.name!r}; rename one")
        names.add(found.name)
        _check_ids(found.name, found.token_ids, d_vocab)


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
