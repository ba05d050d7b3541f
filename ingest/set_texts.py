"""What every family of token sets needs: the ordinary tokens of a vocabulary, looked up by text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from jaxtyping import Int32

from .inputs import Vocabulary

REPLACEMENT = "\ufffd"
"""What bytes that are no UTF-8 by themselves read as."""

TextIndex = Mapping[str, list[int]]
"""Token ids by text. Some tokenizers hold a text twice, so an entry is a list."""


def index_texts(vocabulary: Vocabulary) -> TextIndex:
    """Return the ids of each text, special tokens and unused ids (empty text) left out."""
    index: dict[str, list[int]] = {}
    for token_id, (text, is_special) in enumerate(zip(vocabulary.text, vocabulary.is_special.tolist(), strict=True)):
        if text and not is_special:
            index.setdefault(text, []).append(token_id)
    return index


def sorted_ids(ids: Iterable[int]) -> Int32[np.ndarray, " n_tokens"]:
    """Return the distinct ids in ascending order."""
    distinct = set(ids)
    return np.sort(np.fromiter(distinct, dtype=np.int32, count=len(distinct)))


def ids_where(index: TextIndex, holds: Callable[[str, str], object]) -> Int32[np.ndarray, " n_tokens"]:
    """Return the ids of the tokens for which `holds(text, word)` answers anything true.

    The word is the text without one leading space.
    """
    return sorted_ids(
        token_id for text, ids in index.items() if holds(text, text.removeprefix(" ")) for token_id in ids
    )
