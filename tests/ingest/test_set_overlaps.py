"""What sets share, against Python's own sets."""

from __future__ import annotations

import time

import numpy as np
import pytest
from featdex.ingest.inputs import TokenSet
from featdex.ingest.set_overlaps import overlaps
from hypothesis import given
from hypothesis import strategies as st


def token_set(name: str, ids: set[int]) -> TokenSet:
    return TokenSet(name, "user", "list", "", "", "", np.array(sorted(ids), dtype=np.int32))


@given(
    members=st.lists(st.sets(st.integers(0, 12), max_size=9), max_size=8),
    threshold=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_pairs_are_those_of_a_loop(members: list[set[int]], threshold: float) -> None:
    expected = [
        (-len(one & two) / len(one | two), i, j, len(one & two))
        for j, two in enumerate(members)
        for i, one in enumerate(members[:j])
        if one & two and len(one & two) / len(one | two) >= threshold
    ]
    found = overlaps([token_set(f"s{i}", ids) for i, ids in enumerate(members)], threshold)
    assert [tuple(pair) for pair in found] == [(f"s{i}", f"s{j}", n, -j_) for j_, i, j, n in sorted(expected)]


def test_seven_hundred_sets_take_two_seconds_at_most() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(5, 4000, 700)
    sets = [token_set(f"s{i}", set(rng.choice(50_000, n, replace=False).tolist())) for i, n in enumerate(sizes)]
    sets += [token_set("twin", set(sets[3].token_ids.tolist()))]
    start = time.process_time()
    assert [pair[:2] for pair in overlaps(sets)] == [("s3", "twin")]
    assert time.process_time() - start < 4


@pytest.mark.parametrize("n_sets", [0, 1, 3])
def test_empty_sets_share_nothing(n_sets: int) -> None:
    assert overlaps([token_set(f"s{i}", set()) for i in range(n_sets)], 0.0) == []
