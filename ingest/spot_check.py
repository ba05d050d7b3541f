"""Features of a catalogue computed again from the weights, by the definitions and none of the kernels.

Plain float64 numpy, one feature at a time: what an ingest computes block by block, in float32, by kernels of its own.
So this finds rows that are not those of the weights, and weights that are not those of the rows.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from scipy import stats

from ..catalogue.errors import FeatdexError, NotFoundError, UsageError
from ..catalogue.file import DEFAULT_WAIT_SECONDS, open_reader
from ..catalogue.findings import Faults, Finding, rows
from ..catalogue.stored import StoredSet, sets_of_sae
from .batches import Batch, Unreadable, known_batches
from .device import Options
from .directions import set_contrasts
from .feature_columns import QUANTILE_COLUMNS
from .inputs import FeatureDictionary, LanguageModel, TokenIds, array_sha256
from .pipeline import Job
from .ranking import QUANTILES
from .spot_truth import auroc, product, running_sum, spread_of_contrasts, token_norms

CHECK = "spot check"

_OF_A_SPREAD = 1e-4
"""Allowed difference of what is in logits, in standard deviations of the row: float32 products of many terms."""

_RELATIVE = 2e-3
"""Allowed relative difference of higher moments."""

_PLACES = 2.5
"""Allowed difference of a rank score, in places of one token: near ties may fall either way in float32."""


class Spot(NamedTuple):
    """A feature to check: its SAE, by id and slug, and its index."""

    sae_id: int
    slug: str
    feature: int


def choose_spots(
    path: str | os.PathLike[str], n: int, seed: int | None = None, wait: float = DEFAULT_WAIT_SECONDS
) -> list[Spot]:
    """Return `n` random features of a catalogue, each as likely as any other; all where there are no more.

    Raises:
        UsageError: The catalogue holds no feature.
    """
    with closing(open_reader(path, wait=wait)) as connection:
        saes = rows(connection, "SELECT sae_id, slug, d_sae FROM sae ORDER BY sae_id")
    total = sum(d_sae for _, _, d_sae in saes)
    if not total:
        raise UsageError(f"{path} holds no features to check")
    chosen = iter(sorted(random.Random(seed).sample(range(total), min(n, total))))
    spots = []
    first, position = 0, next(chosen, total)
    for sae_id, slug, d_sae in saes:
        while position < first + d_sae:
            spots.append(Spot(sae_id, slug, position - first))
            position = next(chosen, total)
        first += d_sae
    return spots


def spot_check(
    path: str | os.PathLike[str],
    spots: Sequence[Spot],
    options: Options = Options(device="cpu"),
    *,
    allow_pickle: bool = False,
    wait: float = DEFAULT_WAIT_SECONDS,
) -> Iterator[Finding]:
    """Compute features again and compare their statistics, their tokens, and the scores of all their sets.

    Args:
        path: The catalogue.
        spots: The features.
        options: Of the reading; numbers are computed on the CPU.
        allow_pickle: Read pickled checkpoints too.
        wait: Seconds to wait for a writer.

    Yields:
        A finding an SAE: a fault where something differs, or where its weights are not at hand.
    """
    wanted: dict[str, list[Spot]] = {}
    for spot in spots:
        wanted.setdefault(spot.slug, []).append(spot)
    for batch in known_batches(path, options, wait, allow_pickle=allow_pickle):
        if isinstance(batch, Unreadable):
            for slug in sorted(set(batch.slugs) & wanted.keys()):
                del wanted[slug]
                yield _not_at_hand(slug, batch.fault)
            continue
        for job in batch.jobs:
            found = wanted.pop(job.origin.slug, None) if job.origin and job.origin.slug else None
            if found:
                yield _check_job(path, batch, job, found, wait)
    for slug in wanted:
        yield _not_at_hand(slug, NotFoundError("the ledger has no run of it"))


def _not_at_hand(slug: str, fault: FeatdexError) -> Finding:
    return Finding(f"{CHECK} of {slug}", False, f"its weights are not at hand: {fault}")


def _check_job(path: str | os.PathLike[str], batch: Batch, job: Job, spots: list[Spot], wait: float) -> Finding:
    slug = spots[0].slug
    try:
        dictionary = job.load()
    except FeatdexError as fault:
        return _not_at_hand(slug, fault)
    faults = Faults()
    with closing(open_reader(path, wait=wait)) as connection:
        stored = _Stored(connection, spots[0].sae_id, slug)
        other = other_inputs(connection, spots[0].sae_id, batch.model, dictionary)
        if other:
            faults.add(f"{slug} was computed from another {', '.join(other)} than is there now", [slug])
            return faults.finding(f"{CHECK} of {slug}", "")
        truth = _Truth(batch.model, dictionary, stored.sets, batch.options)
        for spot in spots:
            for difference in truth.differences(spot.feature, stored):
                faults.add(f"{slug}/{spot.feature}: {difference}", [slug])
    indices = ", ".join(str(spot.feature) for spot in spots[:8]) + (", …" if len(spots) > 8 else "")
    promise = f"statistics, tokens and {len(stored.sets)} sets of features {indices} follow from the weights"
    return faults.finding(f"{CHECK} of {slug}", promise)


def other_inputs(connection: Any, sae_id: int, model: LanguageModel, dictionary: FeatureDictionary) -> list[str]:
    """Return which inputs of an SAE's rows are not those at hand: decoder, unembedding, tokenizer."""
    ((weights, d_sae, unembedding, tokenizer),) = rows(
        connection,
        "SELECT s.weights_sha256, s.d_sae, m.unembed_sha256, m.tokenizer_sha256"
        " FROM sae s JOIN model m USING (model_id) WHERE s.sae_id = $sae",
        {"sae": sae_id},
    )
    found = {
        "decoder": dictionary.weights_sha256 == weights and dictionary.d_sae == d_sae,
        "unembedding": array_sha256(model.W_U) == unembedding,
        "tokenizer": model.vocabulary.sha256 == tokenizer,
    }
    return [name for name, is_same in found.items() if not is_same]


class _Stored:
    """What the catalogue has of one SAE."""

    def __init__(self, connection: Any, sae_id: int, slug: str) -> None:
        self._connection, self._sae_id = connection, sae_id
        self.sets = sets_of_sae(connection, slug)

    def of_feature(self, table: str, feature: int, columns: str) -> list[tuple[Any, ...]]:
        """Return the rows that a table has of a feature."""
        return rows(
            self._connection,
            f"SELECT {columns} FROM {table} WHERE sae_id = $sae AND feature = $feature ORDER BY ALL",
            {"sae": self._sae_id, "feature": feature},
        )


class _Truth:
    """One dictionary and its sets, from which any feature's numbers follow."""

    def __init__(
        self, model: LanguageModel, dictionary: FeatureDictionary, sets: Sequence[StoredSet], options: Options
    ) -> None:
        self._universe = np.flatnonzero(model.universe)
        self._W_U = model.W_U[:, torch.from_numpy(self._universe)]
        self._W_dec = dictionary.W_dec
        self._is_weighted = options.weight != 0.0
        self._positions: list[TokenIds] = [
            np.searchsorted(self._universe, item.token_ids[np.isin(item.token_ids, self._universe)]).astype(np.int64)
            for item in sets
        ]
        self._names = {item.set_id: k for k, item in enumerate(sets)}
        self._sets = sets
        contrasts = set_contrasts(self._W_U, self._positions) if sets else torch.empty(0, 1, dtype=torch.float64)
        self._contrasts = contrasts.numpy()
        self._spread = spread_of_contrasts(self._W_dec, contrasts, options.null) if sets else np.empty(0)
        self._norms = token_norms(self._W_U)

    def differences(self, feature: int, stored: _Stored) -> Iterator[str]:
        """Yield a sentence for everything stored of a feature that does not follow from the weights."""
        row = self._W_dec[feature].double()
        norm = float(row.norm())
        ((dec_norm,),) = stored.of_feature("feature", feature, "dec_norm") or [(None,)]
        if dec_norm is None or abs(dec_norm - norm) > 1e-5 * (1e-30 + norm):
            yield f"dec_norm is {dec_norm}; want {norm:.6g}"
        if norm == 0 or dec_norm is None:
            return
        logits = product(row, self._W_U)
        yield from self._other_statistics(feature, stored, logits, logits / (norm * self._norms))
        yield from self._other_tokens(feature, stored, logits)
        yield from self._other_scores(feature, stored, logits, row.numpy() / norm)

    def _other_statistics(
        self, feature: int, stored: _Stored, logits: Float64[np.ndarray, "v"], cosines: Float64[np.ndarray, "v"]
    ) -> Iterator[str]:
        want: dict[str, tuple[float, float]] = {}
        for prefix, values in (("", logits), ("cos_", cosines)):
            spread = _OF_A_SPREAD * float(values.std())
            skewness, kurtosis = float(stats.skew(values)), float(stats.kurtosis(values, fisher=False))
            want |= {f"{prefix}mean": (float(values.mean()), spread), f"{prefix}std": (float(values.std()), spread)}
            want |= {
                f"{prefix}skewness": (skewness, _RELATIVE * (1 + abs(skewness))),
                f"{prefix}kurtosis": (kurtosis, _RELATIVE * kurtosis),
            }
        spread = _OF_A_SPREAD * float(logits.std())
        quantiles = zip(QUANTILE_COLUMNS, np.quantile(logits, QUANTILES).tolist(), strict=True)
        ends = {"min": float(logits.min()), "max": float(logits.max()), **dict(quantiles)}
        want |= {name: (value, spread + 1e-5 * abs(value)) for name, value in ends.items()}
        (found,) = stored.of_feature("feature", feature, ", ".join(f'"{name}"' for name in want))
        for (name, (value, tolerance)), there in zip(want.items(), found, strict=True):
            if there is None or not abs(there - value) <= tolerance:
                yield f"{name} is {there}; want {value:.6g}"

    def _other_tokens(self, feature: int, stored: _Stored, logits: Float64[np.ndarray, "v"]) -> Iterator[str]:
        tolerance = _OF_A_SPREAD * float(logits.std())
        ascending = np.sort(logits)
        by_id = dict(zip(self._universe.tolist(), logits.tolist(), strict=True))
        for rank, token_id, weight in stored.of_feature("feature_token", feature, "rank, token_id, weight"):
            # Tokens of almost the same weight may stand in either order.
            placed = float(ascending[-rank] if rank > 0 else ascending[-rank - 1])
            own = by_id.get(token_id, np.nan)
            if not (abs(weight - own) <= tolerance and abs(own - placed) <= tolerance):
                yield f"token {token_id} of weight {weight} is at rank {rank}; want {placed:.6g} there, {own:.6g} of it"

    def _other_scores(
        self, feature: int, stored: _Stored, logits: Float64[np.ndarray, "v"], unit: Float64[np.ndarray, "d"]
    ) -> Iterator[str]:
        places, group = np.unique(-logits, return_inverse=True)
        per_group = np.bincount(group, minlength=len(places))
        midranks = stats.rankdata(logits)
        z = self._contrasts @ unit / self._spread
        found = stored.of_feature("enrichment", feature, "set_id, es, auroc, z")
        if [row[0] for row in found] != sorted(self._names):
            yield f"{len(found)} sets have scores; want {len(self._names)}"
        for set_id, *there in found:
            if set_id not in self._names:
                continue
            k = self._names[set_id]
            members, n_others = self._positions[k], len(logits) - len(self._positions[k])
            one_place = _PLACES / n_others
            up, down = running_sum(group[members], per_group)
            es = up if up >= down else -down
            if there[0] is not None and abs(up - down) <= one_place:
                # As far up as down: then the last bit decides the sign.
                es = float(np.copysign(es, there[0]))
            wanted = {
                "es": (es, one_place),
                "auroc": (auroc(midranks[members], n_others), one_place),
                "z": (float(z[k]), 1e-4 * (1 + abs(float(z[k])))),
            }
            if self._is_weighted:
                del wanted["es"]
            for name, value in zip(("es", "auroc", "z"), there, strict=True):
                want, tolerance = wanted.get(name, (np.nan, 0.0))
                if not np.isnan(want) and (value is None or not abs(value - want) <= tolerance):
                    yield f"{name} of {self._sets[k].row['name']} is {value}; want {want:.6g}"
