"""From a model, its dictionaries of features and token sets to rows in a catalogue, one dictionary at a time.

Nothing is open while numbers are computed; each dictionary is written whole, in one transaction, or not at all. What
the ledger shows as current is not computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..catalogue.errors import TokenSetError
from ..catalogue.file import DEFAULT_WAIT_SECONDS, create, featdex_version, writing
from ..catalogue.write import LedgerEntry, SaeRows, ledger, write_sae
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
_WRITE_WAIT_SECONDS = 3600.0
_VERSIONED = ("torch", "numpy", "scipy", "numba", "duckdb", "sae-lens", "transformer-lens")


@dataclass(frozen=True)
class Job:
    """One dictionary to ingest: `load` reads its weights when its turn comes."""

    label: str
    load: Callable[[], FeatureDictionary]


@runtime_checkable
class Reporter(Protocol):
    """What an ingest tells while it works."""

    def start(self, label: str, position: int, n_jobs: int) -> None:
        """A dictionary's turn has come."""

    def loaded(self, slug: str, n_features: int) -> None:
        """Its weights are read."""

    def advance(self, n_features: int) -> None:
        """So many of its features are done."""

    def finish(self, slug: str, line: str) -> None:
        """It is written, or skipped; `line` says which."""


@dataclass(frozen=True)
class Outcome:
    """How many dictionaries an ingest wrote and how many were current already."""

    written: int
    current: int


def ingest(
    path: str | os.PathLike[str],
    model: LanguageModel,
    jobs: Sequence[Job],
    sets: Sequence[TokenSet],
    *,
    options: Options,
    reporter: Reporter,
    narrate: Callable[[str], None],
    force: bool = False,
    wait: float = DEFAULT_WAIT_SECONDS,
) -> Outcome:
    """Compute and write every job's dictionary; what the ledger has is skipped unless `force`.

    Args:
        path: The catalogue; made if it is not there.
        wait: Seconds to wait at the start for whoever holds the catalogue. A computed dictionary waits an hour.

    Raises:
        FeatdexError: Of any part, in one line; dictionaries written before stay, and nothing else changes.
    """
    resolve_device(options.device)
    sets = [_within_universe(item, model.universe) for item in sets]
    create(path)
    # Fails before the work, rather than after it, where the file can't be written.
    with writing(path, wait=wait, narrate=narrate):
        pass
    known = ledger(path, wait=wait)
    shared = _ModelFacts.of(model)
    outcome = Outcome(0, 0)
    for position, job in enumerate(jobs, start=1):
        reporter.start(job.label, position, len(jobs))
        dictionary = job.load()
        reporter.loaded(dictionary.slug, dictionary.d_sae)
        params = _params(shared, dictionary, sets, options)
        if not force and _is_current(known.get(dictionary.slug), params):
            reporter.finish(dictionary.slug, f"{dictionary.slug}: current, skipped")
            outcome = replace(outcome, current=outcome.current + 1)
            continue
        line = _ingest_one(path, model, shared, dictionary, sets, params, options, reporter.advance, narrate)
        reporter.finish(dictionary.slug, line)
        outcome = replace(outcome, written=outcome.written + 1)
    return outcome


@dataclass(frozen=True)
class _ModelFacts:
    """The hashes of a model, taken once for all of its dictionaries."""

    unembed_sha256: str
    tokenizer_sha256: str

    @classmethod
    def of(cls, model: LanguageModel) -> _ModelFacts:
        return cls(array_sha256(model.W_U), model.vocabulary.sha256)


def _within_universe(item: TokenSet, universe: AnyArray) -> TokenSet:
    kept = item.token_ids[universe[item.token_ids]]
    if not 0 < len(kept) < int(universe.sum()):
        raise TokenSetError(
            f"set {item.name!r} has {len(kept)} of the {int(universe.sum())} tokens; nothing to compare"
        )
    return replace(item, token_ids=kept)


def _ingest_one(
    path: str | os.PathLike[str],
    model: LanguageModel,
    shared: _ModelFacts,
    dictionary: FeatureDictionary,
    sets: Sequence[TokenSet],
    params: dict[str, Any],
    options: Options,
    progress: Progress,
    narrate: Callable[[str], None],
) -> str:
    started = time.monotonic()
    numbers = compute_numbers(
        dictionary.W_dec,
        model.W_U,
        [item.token_ids for item in sets],
        universe=model.universe,
        covariates=token_covariates(model.vocabulary),
        options=options,
        progress=progress,
    )
    computed = time.monotonic() - started
    rows = _rows(model, shared, dictionary, sets, numbers, params, str(resolve_device(options.device)), started)
    write_sae(path, rows, wait=_WRITE_WAIT_SECONDS, narrate=narrate)
    whole = time.monotonic() - started
    rate = dictionary.d_sae / max(computed, 1e-9)
    return (
        f"{dictionary.slug}: {dictionary.d_sae:,} features x {len(sets)} sets in {whole:.1f} s"
        f" ({rate:,.0f} features/s, writing {whole - computed:.1f} s)"
    )


def _params(
    shared: _ModelFacts, dictionary: FeatureDictionary, sets: Sequence[TokenSet], options: Options
) -> dict[str, Any]:
    """Return everything that the numbers of one dictionary depend on."""
    return {
        "method": METHOD_VERSION,
        "weights_sha256": array_sha256(dictionary.W_dec),
        "unembed_sha256": shared.unembed_sha256,
        "tokenizer_sha256": shared.tokenizer_sha256,
        "null": options.null,
        "directions": options.directions,
        "seed": options.seed,
        "weight": options.weight,
        "nuisance": list(NUISANCE),
        "sets": {item.name: item.members_sha256 for item in sets},
    }


def _is_current(entry: LedgerEntry | None, params: dict[str, Any]) -> bool:
    """Whether the ledger's run covers `params`: the same inputs, and at least these sets."""
    if entry is None:
        return False
    stored = dict(entry.params)
    stored.pop("nuisance_directions", None)
    have, want = stored.pop("sets", {}), params["sets"]
    return stored == {key: value for key, value in params.items() if key != "sets"} and want.items() <= have.items()


def _rows(
    model: LanguageModel,
    shared: _ModelFacts,
    dictionary: FeatureDictionary,
    sets: Sequence[TokenSet],
    numbers: Numbers,
    params: dict[str, Any],
    device: str,
    started: float,
) -> SaeRows:
    text = json.dumps(params, sort_keys=True)
    slopes = dict(zip(NUISANCE, numbers.nuisance.astype(np.float32).tolist(), strict=True))
    enrichment = enrichment_table(numbers.enrichment)
    return SaeRows(
        model={
            "name": model.name,
            "hf_repo": model.hf_repo,
            "hf_revision": model.hf_revision,
            "n_layers": model.n_layers,
            "d_model": model.d_model,
            "d_vocab": len(model.vocabulary),
            "tokenizer_sha256": shared.tokenizer_sha256,
            "unembed_sha256": shared.unembed_sha256,
            "neuronpedia_model": model.neuronpedia_model,
            **asdict(model.recipe),
        },
        tokens=token_table(model.vocabulary),
        sae=_sae_row(dictionary, params["weights_sha256"]),
        token_sets=token_set_table(sets),
        members=member_table(sets),
        feature=feature_table(numbers, dictionary),
        feature_token=feature_token_table(numbers),
        enrichment=enrichment,
        set_null=set_null_table(numbers, params["seed"], params["directions"]),
        run={
            "stage": STAGE,
            "params": json.dumps({**params, "nuisance_directions": slopes}, sort_keys=True),
            "params_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "versions": json.dumps({"featdex": featdex_version()} | _library_versions()),
            "device": device,
            "n_rows": enrichment.num_rows,
            "seconds": time.monotonic() - started,
            "finished_at": datetime.now(UTC).replace(tzinfo=None),
        },
    )


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
