"""The files that the blocks of an ingest on Ray lie in until their dictionary is compacted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..catalogue.errors import FeatdexError
from ..catalogue.store import Store
from .feature_columns import SPAN_STEP, Results
from .inputs import AnyArray, TokenSet

WORK = "work"
CPU_BLOCK_FEATURES = 4 * SPAN_STEP
"""Features a task of a core: some ten seconds of work, and tens of megabytes of results."""

CUDA_BLOCK_FEATURES = 16 * SPAN_STEP
"""Features a task of a GPU, to which every task brings the unembedding anew."""

_PARTS = ("feature", "tokens", "enrichment")


def key_of(slug: str, params: dict[str, Any], sets: Sequence[TokenSet], block_features: int) -> str:
    """Return what the blocks of a dictionary are called by: what they are computed from, so that no two mix."""
    inputs = [params, [(item.name, item.members_sha256) for item in sets], block_features]
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return f"{re.sub(r'[^0-9A-Za-z.-]+', '_', slug)[:80]}-{digest[:24]}"


def spans_of(n_features: int, block_features: int) -> list[tuple[int, int]]:
    """Return the first feature of every block and the one after its last."""
    return [(first, min(first + block_features, n_features)) for first in range(0, n_features, block_features)]


def work_folder(key: str) -> str:
    """Return the folder of a dictionary's blocks in its dataset."""
    return f"{WORK}/{key}"


def block_path(key: str, first: int) -> str:
    """Return the name of the file of the block that begins with feature `first`."""
    return f"{work_folder(key)}/block-{first:07d}.safetensors"


def write_block(store: Store, path: str, results: Results) -> None:
    """Write the columns of a block, whole or not at all."""
    from safetensors.numpy import save

    n_features = results.feature.n_features
    columns = (
        results.feature.read(0, n_features),
        results.tokens.read(0, n_features),
        results.enrichment.arrays(),
    )
    arrays = {
        f"{part}.{name}": np.ascontiguousarray(values)
        for part, found in zip(_PARTS, columns, strict=True)
        for name, values in found.items()
    }
    store.write(path, save(arrays))


def read_block(store: Store, path: str, results: Results, first: int) -> None:
    """Take the columns of a block into those of its dictionary, from feature `first` on.

    Raises:
        FeatdexError: The file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(store.read(path))
    except (SafetensorError, ValueError) as error:
        store.remove(path)
        raise FeatdexError(f"{store.place(path)} is damaged and was removed ({error}); run it again") from error
    parts: dict[str, dict[str, AnyArray]] = {part: {} for part in _PARTS}
    for label, values in arrays.items():
        part, _, name = label.partition(".")
        parts[part][name] = values
    results.feature.write(parts["feature"], first)
    results.tokens.write(parts["tokens"], first)
    results.enrichment.write(parts["enrichment"], 0, first)
