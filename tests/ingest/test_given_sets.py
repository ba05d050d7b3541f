"""Token sets that a user gives from Python: what makes a set, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from featdex.catalogue.errors import TokenSetError
from featdex.ingest.inputs import TokenSet
from featdex.ingest.token_sets import check_sets, token_set_from_ids


def token_set(name: str, ids: list[int]) -> TokenSet:
    made = token_set_from_ids("made", [0], 10)
    return replace(made, name=name, token_ids=np.array(ids, dtype=np.int32))


def test_good_sets_pass() -> None:
    check_sets([token_set("a", [0, 3, 9]), token_set("b", [0])], 10)


@pytest.mark.parametrize(
    ("ids", "fault"),
    [
        ([], "'bad' is empty"),
        (list(range(10)), "'bad' holds all 10 tokens"),
        ([0, 10], "'bad' holds token id 10, outside the vocabulary of 10"),
        ([-1, 3], "'bad' holds token id -1"),
        ([3, 1], "'bad' has ids that are unsorted or repeated"),
        ([1, 1], "'bad' has ids that are unsorted or repeated"),
    ],
)
def test_a_bad_set_is_named(ids: list[int], fault: str) -> None:
    with pytest.raises(TokenSetError, match=fault) as caught:
        check_sets([token_set("good", [1]), token_set("bad", ids)], 10)
    assert "\n" not in str(caught.value)


def test_two_sets_of_one_name_are_refused() -> None:
    with pytest.raises(TokenSetError, match="two token sets are named 'a'"):
        check_sets([token_set("a", [1]), token_set("b", [1]), token_set("a", [2])], 10)


@pytest.mark.parametrize(
    "ids",
    [
        [7, 1, 1],
        (1, 7),
        {7, 1},
        range(1, 8, 6),
        (i for i in (7, 1)),
        np.array([7, 1], dtype=np.uint8),
        torch.tensor([7, 1, 7]),
    ],
    ids=["list", "tuple", "set", "range", "generator", "numpy", "torch"],
)
def test_ids_of_any_form_make_a_set(ids: Any) -> None:
    made = token_set_from_ids("mine", ids, 10)
    assert (made.name, made.collection, made.kind) == ("mine", "user", "list")
    assert made.token_ids.tolist() == [1, 7]
    assert made.token_ids.dtype == np.int32


@pytest.mark.parametrize(
    ("ids", "fault"),
    [
        ([], "is empty"),
        (torch.tensor([], dtype=torch.long), "is empty"),
        ([1, 10], "token id 10"),
        ([-1], "token id -1"),
        ([2**32 + 1], "token id 4294967297"),
        (range(10), "all 10 tokens"),
        (np.array([True, False]), "bool values instead of integers; give the positions"),
        ([1.0, 2.0], "float64 values"),
        ([" Mary"], "instead of integers"),
        ([[1, 2], [3]], "no list of token ids"),
    ],
)
def test_ids_that_make_no_set_are_refused_by_name(ids: Any, fault: str) -> None:
    with pytest.raises(TokenSetError, match=fault) as caught:
        token_set_from_ids("mine", ids, 10)
    assert "'mine'" in str(caught.value)
