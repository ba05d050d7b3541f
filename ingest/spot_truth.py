"""Scores of one feature by their definitions, in float64: what a spot check holds an ingest to.

Slow and plain on purpose; nothing here is shared with the kernels.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64

from .directions import unit_rows
from .inputs import AnyArray

_TOKENS_AT_ONCE = 8192
_ROWS_AT_ONCE = 1024


def product(row: torch.Tensor, W_U: torch.Tensor) -> Float64[np.ndarray, "v"]:
    """Return the logits of one decoder row, in float64."""
    parts = [
        row @ W_U[:, start : start + _TOKENS_AT_ONCE].double() for start in range(0, W_U.shape[1], _TOKENS_AT_ONCE)
    ]
    return torch.cat(parts).numpy()


def token_norms(W_U: torch.Tensor) -> Float64[np.ndarray, "v"]:
    """Return the length of every unembedding column; infinity for one of zeros."""
    parts = [
        W_U[:, start : start + _TOKENS_AT_ONCE].double().norm(dim=0)
        for start in range(0, W_U.shape[1], _TOKENS_AT_ONCE)
    ]
    norms = torch.cat(parts).numpy()
    # A token at the origin has no direction: its cosine is 0.
    return np.where(norms > 0, norms, np.inf)


def spread_of_contrasts(W_dec: torch.Tensor, contrasts: torch.Tensor, null: str) -> AnyArray:
    """Return sqrt(delta' Sigma delta) of every set: the root mean square of w . delta over the unit decoder rows w."""
    d_model = W_dec.shape[1]
    total = torch.zeros(len(contrasts), dtype=torch.float64)
    n_live = 0
    for start in range(0, W_dec.shape[0], _ROWS_AT_ONCE):
        unit, live = unit_rows(W_dec[start : start + _ROWS_AT_ONCE])
        total += (unit @ contrasts.T).square().sum(0)
        n_live += int(live.sum())
    if null == "isotropic" or n_live < 2 * d_model:
        return np.asarray((contrasts.square().sum(1) / d_model).sqrt().numpy())
    return np.asarray((total / n_live).sqrt().numpy())


def running_sum(member_groups: AnyArray, per_group: AnyArray) -> tuple[float, float]:
    """Return D+ and D-, how far the running sum of a set goes up and down; es is the larger, D- negative.

    Args:
        member_groups: The tie group of each member, the largest logits first.
        per_group: Number of tokens of each group.
    """
    members = np.bincount(member_groups, minlength=len(per_group))
    others = per_group - members
    above = np.cumsum(members) / members.sum() - np.cumsum(others) / others.sum()
    return max(float(above.max()), 0.0), max(float(-above.min()), 0.0)


def auroc(midranks: AnyArray, n_others: int) -> float:
    """Return the chance that a member outranks another token, from the members' ascending midranks."""
    n = len(midranks)
    return float((midranks.sum() - n * (n + 1) / 2) / (n * n_others))
