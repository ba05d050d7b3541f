"""The logit weights of one feature over the whole vocabulary, computed again: a catalogue keeps only 40 of them.

The weights are found where the ledger says that they came from, and are only used if they are those of the rows.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64

from ..catalogue.card import resolve_sae, split_address
from ..catalogue.catalogue import Catalogue, connect
from ..catalogue.errors import CatalogueError, NotFoundError, WeightsError
from ..catalogue.file import DEFAULT_WAIT_SECONDS
from ..catalogue.formats import read
from .batches import Batch, known_batches
from .device import Options
from .inputs import FeatureDictionary
from .spot_check import other_inputs
from .spot_truth import product

SCORES_SQL = """\
SELECT e.es, e.z, e.log10_q, e.peak_rank, e.lead_n
FROM enrichment e
JOIN sae s ON s.sae_id = e.sae_id
WHERE s.slug = $sae AND e.feature = $feature AND e.set_id IN (FROM _set_ids($set_name))
"""
_MEMBERS_SQL = """
SELECT m.token_id
FROM token_set_member m
JOIN token_set t ON t.set_id = m.set_id
JOIN sae s ON s.model_id = t.model_id
WHERE s.slug = $sae AND m.set_id IN (FROM _set_ids($set_name))
ORDER BY m.token_id
"""
_PLACES = 2.5
"""Allowed difference of es, in places of one token: near ties may fall either way in float32."""


class FeatureRow(NamedTuple):
    """The tokens that take part, ranked by a feature's logit weights, the largest first, and a set among them.

    `scores` are what the catalogue has of the feature and set; `weight` is the exponent that weighted the hits of es.
    """

    slug: str
    feature: int
    logits: Float64[np.ndarray, "v"]
    is_member: Bool[np.ndarray, "v"]
    texts: list[str]
    scores: dict[str, Any]
    weight: float


def read_feature_row(
    path: str | os.PathLike[str],
    address: str,
    set_name: str,
    *,
    allow_pickle: bool = False,
    wait: float = DEFAULT_WAIT_SECONDS,
) -> FeatureRow:
    """Return the ranked logit weights of a feature, and which tokens are in a set.

    Args:
        path: The catalogue.
        address: `SAE/FEATURE`; see `card.resolve_sae`.
        set_name: The token set.
        allow_pickle: Read pickled checkpoints too.
        wait: Seconds to wait for a writer.

    Raises:
        NotFoundError: No such SAE, feature or set, or no results of them.
        WeightsError: The weights are not at hand, or are others than those of the catalogue.
        CatalogueError: The catalogue's es is not that of the weights.
    """
    text, feature = split_address(address)
    with connect(path, wait) as catalogue:
        slug = resolve_sae(catalogue, text)
        scores = _scores(catalogue, slug, feature, set_name)
        members = [token_id for (token_id,) in read(catalogue.sql(_MEMBERS_SQL, _named(slug, set_name))).rows]
        ((sae_id,),) = read(catalogue.sql("SELECT sae_id FROM sae WHERE slug = $sae", {"sae": slug})).rows
    batch, dictionary = _weights(path, slug, allow_pickle, wait)
    with connect(path, wait) as catalogue:
        other = other_inputs(catalogue.connection, sae_id, batch.model, dictionary)
    if other:
        raise WeightsError(f"{slug} was computed from another {', '.join(other)} than is there now")
    universe = np.flatnonzero(batch.model.universe)
    logits = product(dictionary.W_dec[feature].double(), batch.model.W_U[:, torch.from_numpy(universe)])
    order = np.argsort(-logits, kind="stable")
    is_member = np.isin(universe, members)[order]
    words = batch.model.vocabulary.text
    row = FeatureRow(
        slug, feature, logits[order], is_member, [words[k] for k in universe[order]], scores, batch.options.weight
    )
    _require_same_score(row, set_name)
    return row


def _named(slug: str, set_name: str, **more: Any) -> dict[str, Any]:
    return {"sae": slug, "set_name": set_name, **more}


def _scores(catalogue: Catalogue, slug: str, feature: int, set_name: str) -> dict[str, Any]:
    ((d_sae,),) = read(catalogue.sql("SELECT d_sae FROM sae WHERE slug = $sae", {"sae": slug})).rows
    if feature >= d_sae:
        raise NotFoundError(f"no feature {feature} in {slug}; its features are 0 to {d_sae - 1}")
    found = read(catalogue.sql(SCORES_SQL, _named(slug, set_name, feature=feature))).dicts()
    if not found:
        raise NotFoundError(f"no results of {set_name!r} in {slug}; 'featdex ingest' computes them")
    if found[0]["es"] is None:
        raise NotFoundError(f"{slug}/{feature} has no score for {set_name!r}: its decoder row is all zeros")
    return found[0]


def _weights(
    path: str | os.PathLike[str], slug: str, allow_pickle: bool, wait: float
) -> tuple[Batch, FeatureDictionary]:
    options = Options(device="cpu")
    for batch in known_batches(path, options, wait, allow_pickle=allow_pickle, only=slug):
        if not isinstance(batch, Batch):
            raise WeightsError(f"the weights of {slug} are not at hand: {batch.fault}")
        (job,) = batch.jobs
        return batch, job.load()
    raise WeightsError(f"the weights of {slug} are not at hand: the ledger has no run of it")


def _require_same_score(row: FeatureRow, set_name: str) -> None:
    """Raise `CatalogueError` where the stored es is not that of the row."""
    from ..catalogue.plot_weights import RankedTokens

    _, values = RankedTokens(row.logits, row.is_member, [], row.scores, row.weight).running_sum()
    stored = row.scores["es"]
    found = float(values.max()) if stored >= 0 else float(values.min())
    if abs(found - stored) > _PLACES / int((~row.is_member).sum()):
        raise CatalogueError(
            f"es of {set_name!r} in {row.slug}/{row.feature} is {stored:.6g} in the catalogue and {found:.6g} by the"
            " weights; 'featdex doctor --spot-check' tells more"
        )
