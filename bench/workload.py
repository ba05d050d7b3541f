"""The data of every benchmark: made from a seed, so that two machines measure the same work.

Real unembeddings can't be had without a network, and independent Gaussian columns would be too easy: sets would have
nothing in common. So the unembedding is clustered and of low rank below its noise, and so is the decoder.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
TokenIds = npt.NDArray[np.int64]

D_MODEL = 768
GPT2_VOCABULARY = 50_257
SMALLEST_SET, LARGEST_SET = 10, 20_000

_N_CLUSTERS = 256
_COMMON_RANK = 48
_PLANTED_SHARE = 0.5
"""Of the features, those that point at a cluster of tokens; the others point anywhere the tokens vary."""


class Workload(NamedTuple):
    """What every engine gets: a decoder `W_dec` [f, d], an unembedding `W_U` [d, v] and sets of token ids."""

    W_dec: Floats
    W_U: Floats
    sets: list[TokenIds]


def make_workload(
    n_features: int, n_tokens: int = GPT2_VOCABULARY, n_sets: int = 100, d_model: int = D_MODEL, seed: int = 0
) -> Workload:
    """Make a clustered unembedding, a decoder with planted features, and sets of which every second is coherent."""
    of_tokens, of_features, of_sets = (np.random.default_rng([seed, part]) for part in range(3))
    common = of_tokens.standard_normal((_COMMON_RANK, d_model), np.float32)
    centres = of_tokens.standard_normal((_N_CLUSTERS, d_model), np.float32)
    common_scale = np.float32(_COMMON_RANK**-0.5)
    W_U = of_tokens.standard_normal((n_tokens, d_model), np.float32)
    W_U += centres[of_tokens.integers(0, _N_CLUSTERS, n_tokens)]
    W_U += of_tokens.standard_normal((n_tokens, _COMMON_RANK), np.float32) @ common * common_scale
    W_dec = 0.5 * of_features.standard_normal((n_features, d_model), np.float32)
    W_dec += of_features.standard_normal((n_features, _COMMON_RANK), np.float32) @ common * common_scale
    planted = of_features.random(n_features) < _PLANTED_SHARE
    W_dec[planted] += centres[of_features.integers(0, _N_CLUSTERS, int(planted.sum()))]
    W_dec /= np.linalg.norm(W_dec, axis=1, keepdims=True)
    sets = _make_sets(W_U, centres, n_sets, of_sets)
    return Workload(W_dec, np.ascontiguousarray(W_U.T), sets)


def set_sizes(n_sets: int, n_tokens: int = GPT2_VOCABULARY) -> list[int]:
    """Return sizes spaced evenly in their logarithm from 10 to 20,000 (three quarters of a small vocabulary)."""
    largest = min(LARGEST_SET, 3 * n_tokens // 4)
    return [round(size) for size in np.geomspace(SMALLEST_SET, largest, n_sets)]


def make_covariates(n_tokens: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """Make what z_adj holds fixed [3, v]: the log of the token id, and two properties that half of the tokens have."""
    flags = np.random.default_rng([seed, 3]).random((2, n_tokens)) < 0.5
    return np.vstack([np.log1p(np.arange(n_tokens)), flags])


def _make_sets(W_U: Floats, centres: Floats, n_sets: int, rng: np.random.Generator) -> list[TokenIds]:
    """Draw coherent sets from the tokens nearest to a cluster, twice as many as needed, and random sets from all."""
    n_tokens = len(W_U)
    sets = []
    for k, size in enumerate(set_sizes(n_sets, n_tokens)):
        pool = np.arange(n_tokens)
        if k % 2 == 0:
            nearness = W_U @ centres[rng.integers(0, len(centres))]
            pool = np.argsort(-nearness, kind="stable")[: 2 * size]
        sets.append(np.sort(rng.choice(pool, size, replace=False)))
    return sets
