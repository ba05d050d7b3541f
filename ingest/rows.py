"""The rows of one dictionary, and the ledger's record of what they were computed from."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..catalogue.errors import TokenSetError
from ..catalogue.file import featdex_version
from ..catalogue.write import LedgerEntry, SaeRows
from .arrow import (
    correlation_table,
    dropped_table,
    enrichment_table,
    feature_table,
    feature_token_table,
    member_table,
    set_null_table,
    token_set_table,
    token_table,
)
from .compute import StoredNumbers, compute_into
from .device import Options, resolve_devices
from .feature_columns import Progress
from .inputs import AnyArray, FeatureDictionary, LanguageModel, TokenSet, array_sha256
from .kept import Kept
from .nuisance import NUISANCE, token_covariates
from .scratch import Scratch, SetColumns

METHOD_VERSION = 1
"""Raised when the same inputs would give other numbers; the ledger then computes everything again."""

STAGE = "features"
_FEATURES_A_PART = 8192
_NO_INPUTS = ("nuisance_directions", "sets", "origin")
"""What the ledger keeps of a run besides that which decides whether it is current."""
_VERSIONED = ("torch", "numpy", "scipy", "numba", "duckdb", "sae-lens", "transformer-lens")


@dataclass(frozen=True)
class ModelFacts:
    """The hashes of a model, taken once for all of its dictionaries."""

    unembed_sha256: str
    tokenizer_sha256: str

    @classmethod
    def of(cls, model: LanguageModel) -> ModelFacts:
        """Hash the unembedding and the vocabulary of `model`."""
        return cls(array_sha256(model.W_U), model.vocabulary.sha256)


@dataclass(frozen=True)
class Work:
    """What all dictionaries of one ingest share."""

    model: LanguageModel
    facts: ModelFacts
    sets: Sequence[TokenSet]
    options: Options

    def model_row(self) -> dict[str, Any]:
        """Return the row of table `model`, without its id."""
        model = self.model
        return {
            "name": model.name,
            "hf_repo": model.hf_repo,
            "hf_revision": model.hf_revision,
            "n_layers": model.n_layers,
            "d_model": model.d_model,
            "d_vocab": len(model.vocabulary),
            "tokenizer_sha256": self.facts.tokenizer_sha256,
            "unembed_sha256": self.facts.unembed_sha256,
            "neuronpedia_model": model.neuronpedia_model,
            **asdict(model.recipe),
        }


def within_universe(item: TokenSet, universe: AnyArray) -> TokenSet:
    """Return the set without the tokens that take no part.

    Raises:
        TokenSetError: Nothing, or everything, is left.
    """
    kept = item.token_ids[universe[item.token_ids]]
    if not 0 < len(kept) < int(universe.sum()):
        raise TokenSetError(
            f"set {item.name!r} has {len(kept)} of the {int(universe.sum())} tokens; nothing to compare"
        )
    return replace(item, token_ids=kept)


def run_params(work: Work, dictionary: FeatureDictionary) -> dict[str, Any]:
    """Return everything that the numbers of one dictionary depend on, but for the sets."""
    return {
        "method": METHOD_VERSION,
        "weights_sha256": dictionary.weights_sha256,
        "unembed_sha256": work.facts.unembed_sha256,
        "tokenizer_sha256": work.facts.tokenizer_sha256,
        "null": work.options.null,
        "directions": work.options.directions,
        "seed": work.options.seed,
        "weight": work.options.weight,
        "nuisance": list(NUISANCE),
    }


def is_current(entry: LedgerEntry, params: dict[str, Any]) -> bool:
    """Whether the ledger's run had these inputs and parameters, whatever its sets."""
    stored = {key: value for key, value in entry.params.items() if key not in _NO_INPUTS}
    return stored == params


class Parts(Sequence[pa.Table]):
    """Rows of a table in parts, each made when it is asked for."""

    def __init__(self, n_parts: int, make: Callable[[int], pa.Table]) -> None:
        self._n_parts, self._make = n_parts, make

    def __len__(self) -> int:
        return self._n_parts

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._n_parts:
            raise IndexError(index)
        return self._make(index)


class Origin(NamedTuple):
    """What a user named a dictionary by: enough to read it again. `sae` is its id in a release."""

    source: str
    model: str
    model_name: str | None = None
    layer: int | None = None
    sae: str | None = None
    slug: str | None = None


class Task(NamedTuple):
    """One dictionary to compute: what its numbers depend on, the sets to compute, and those whose results stay."""

    dictionary: FeatureDictionary
    origin: Origin | None
    params: dict[str, Any]
    sets: Sequence[TokenSet]
    kept: Kept | None


def computed_rows(work: Work, task: Task, scratch: Scratch, progress: Progress, started: float) -> SaeRows:
    """Compute one dictionary and return its rows, which lie in `scratch`.

    Beside kept results only the new sets are computed, and the rows of features stay as they are.
    """
    every = [*(task.kept.sets if task.kept else ()), *task.sets]
    numbers = compute_into(
        scratch,
        task.dictionary.W_dec,
        work.model.W_U,
        [item.token_ids for item in every],
        universe=work.model.universe,
        covariates=token_covariates(work.model.vocabulary),
        options=work.options,
        progress=progress,
        kept=task.kept.columns if task.kept else None,
    )
    return sae_rows(work, task, numbers, started)


def sae_rows(work: Work, task: Task, numbers: StoredNumbers, started: float) -> SaeRows:
    """Return the rows of a dictionary whose numbers are computed; `started` is when that began (monotonic)."""
    every = [*(task.kept.sets if task.kept else ()), *task.sets]
    null = set_null_table(numbers.null, numbers.sigma_kind, work.options.seed, work.options.directions)
    if task.kept:
        null = pa.concat_tables([task.kept.null, null.select(task.kept.null.column_names)])
    # The rows may wait to be written while the next dictionaries are held: they keep no weights, one zero for all.
    facts = replace(task.dictionary, W_dec=task.dictionary.W_dec.new_zeros(()).expand(task.dictionary.W_dec.shape))
    feature, tokens = _feature_parts(numbers, facts)
    return SaeRows(
        model=work.model_row(),
        tokens=token_table(work.model.vocabulary),
        sae=_sae_row(task.dictionary, task.params["weights_sha256"]),
        token_sets=token_set_table(every),
        members=member_table(every),
        dropped=dropped_table(every),
        feature=None if task.kept else feature,
        feature_token=None if task.kept else tokens,
        enrichment=enrichment_parts(numbers.enrichment),
        set_null=null,
        correlation=correlation_table(numbers.correlation),
        run=_run_row(work, numbers, task, len(every) * task.dictionary.d_sae, time.monotonic() - started),
    )


def enrichment_parts(columns: SetColumns) -> Parts:
    """Return the rows of table `enrichment` in one part a set, without their ids."""
    return Parts(columns.n_sets, lambda index: enrichment_table(columns.of_set(index)))


def _feature_parts(numbers: StoredNumbers, dictionary: FeatureDictionary) -> tuple[Parts, Parts]:
    n_features = numbers.feature.n_features

    def bounds(part: int) -> tuple[int, int]:
        return part * _FEATURES_A_PART, min((part + 1) * _FEATURES_A_PART, n_features)

    def feature(part: int) -> pa.Table:
        first, last = bounds(part)
        return feature_table(numbers.feature.read(first, last), first, dictionary)

    def tokens(part: int) -> pa.Table:
        first, last = bounds(part)
        live = numbers.feature.read(first, last)["dec_norm"] > 0
        return feature_token_table(numbers.tokens.read(first, last), live, first)

    n_parts = -(-n_features // _FEATURES_A_PART)
    return Parts(n_parts, feature), Parts(n_parts, tokens)


def _run_row(work: Work, numbers: StoredNumbers, task: Task, n_rows: int, seconds: float) -> dict[str, Any]:
    slopes = dict(zip(NUISANCE, numbers.nuisance.astype(np.float32).tolist(), strict=True))
    sets = {item.name: item.members_sha256 for item in [*(task.kept.sets if task.kept else ()), *task.sets]}
    params = {**task.params, "sets": sets}
    origin = None if task.origin is None else task.origin._asdict()
    return {
        "stage": STAGE,
        "params": json.dumps({**params, "nuisance_directions": slopes, "origin": origin}, sort_keys=True),
        "params_sha256": hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest(),
        "versions": json.dumps({"featdex": featdex_version()} | _library_versions()),
        "device": ", ".join(map(str, resolve_devices(work.options.device))),
        "n_rows": n_rows,
        "seconds": seconds,
        "finished_at": datetime.now(UTC).replace(tzinfo=None),
    }


def _sae_row(dictionary: FeatureDictionary, weights_sha256: str) -> dict[str, Any]:
    names = (
        "kind", "release", "sae_name", "slug", "layer", "hook_name", "site", "to_resid", "architecture", "d_in",
        "d_sae", "l0", "neuronpedia_id",
    )  # fmt: skip
    return {name: getattr(dictionary, name) for name in names} | {"weights_sha256": weights_sha256}


def _library_versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
