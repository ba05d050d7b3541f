"""The rows of one dictionary, and the ledger's record of what they were computed from."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ..catalogue.errors import TokenSetError
from ..catalogue.file import featdex_version
from ..catalogue.write import LedgerEntry, SaeRows
from .arrow import (
    enrichment_table,
    feature_table,
    feature_token_table,
    member_table,
    set_null_table,
    token_set_table,
    token_table,
)
from .compute import Numbers, Progress, compute_numbers
from .device import Options, resolve_device
from .inputs import AnyArray, FeatureDictionary, LanguageModel, TokenSet, array_sha256
from .nuisance import NUISANCE, token_covariates

METHOD_VERSION = 1
"""Raised when the same inputs would give other numbers; the ledger then computes everything again."""

STAGE = "features"
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

    path: str | os.PathLike[str]
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
    """Return everything that the numbers of one dictionary depend on."""
    return {
        "method": METHOD_VERSION,
        "weights_sha256": array_sha256(dictionary.W_dec),
        "unembed_sha256": work.facts.unembed_sha256,
        "tokenizer_sha256": work.facts.tokenizer_sha256,
        "null": work.options.null,
        "directions": work.options.directions,
        "seed": work.options.seed,
        "weight": work.options.weight,
        "nuisance": list(NUISANCE),
        "sets": {item.name: item.members_sha256 for item in work.sets},
    }


def is_current(entry: LedgerEntry | None, params: dict[str, Any]) -> bool:
    """Whether the ledger's run covers `params`: the same inputs, and at least these sets."""
    if entry is None:
        return False
    stored = dict(entry.params)
    stored.pop("nuisance_directions", None)
    have, want = stored.pop("sets", {}), params["sets"]
    return stored == {key: value for key, value in params.items() if key != "sets"} and want.items() <= have.items()


def computed_rows(
    work: Work, dictionary: FeatureDictionary, params: dict[str, Any], progress: Progress, started: float
) -> SaeRows:
    """Compute one dictionary and return all of its rows."""
    numbers = compute_numbers(
        dictionary.W_dec,
        work.model.W_U,
        [item.token_ids for item in work.sets],
        universe=work.model.universe,
        covariates=token_covariates(work.model.vocabulary),
        options=work.options,
        progress=progress,
    )
    enrichment = enrichment_table(numbers.enrichment)
    return SaeRows(
        model=work.model_row(),
        tokens=token_table(work.model.vocabulary),
        sae=_sae_row(dictionary, params["weights_sha256"]),
        token_sets=token_set_table(work.sets),
        members=member_table(work.sets),
        feature=feature_table(numbers, dictionary),
        feature_token=feature_token_table(numbers),
        enrichment=enrichment,
        set_null=set_null_table(numbers, work.options.seed, work.options.directions),
        run=_run_row(work, numbers, params, enrichment.num_rows, time.monotonic() - started),
    )


def _run_row(work: Work, numbers: Numbers, params: dict[str, Any], n_rows: int, seconds: float) -> dict[str, Any]:
    slopes = dict(zip(NUISANCE, numbers.nuisance.astype(np.float32).tolist(), strict=True))
    return {
        "stage": STAGE,
        "params": json.dumps({**params, "nuisance_directions": slopes}, sort_keys=True),
        "params_sha256": hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest(),
        "versions": json.dumps({"featdex": featdex_version()} | _library_versions()),
        "device": str(resolve_device(work.options.device)),
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
