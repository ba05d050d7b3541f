"""What an ingest is going to do and to need, told beforehand: `featdex ingest --dry-run`.

No weights of an SAE are read and nothing is written, so what only the weights can tell stays unknown: an SAE is taken
for unchanged until it is read.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..catalogue.file import open_reader, translated
from ..catalogue.write import LedgerEntry, ledger
from .at_hand import n_features_at_hand, n_neurons
from .device import Options, block_limits, resolve_device
from .inputs import FeatureDictionary, LanguageModel, TokenSet
from .jobs import MLP_NEURONS
from .pipeline import Job
from .product import block_size
from .rows import ModelFacts, Origin, Work, is_current, run_params, within_universe

BYTES_A_ROW = 60
"""Of a row of `enrichment` in the catalogue, measured at 55 to 63."""

BYTES_A_FEATURE = 700
"""Of a feature's statistics and tokens in the catalogue."""

SCRATCH_BYTES_A_ROW = 68
"""Of a row of `enrichment` in the temporary file of an ingest: 16 columns of four bytes and two of two."""

SCRATCH_BYTES_A_FEATURE = 630
"""Of a feature in the temporary file: its statistics, its histogram, and forty tokens with their weights."""

_BYTES_A_SCORE = 120
"""Of a set and a feature of the block in work, in memory: bench/results/growth-2-cores.txt, 2,000 sets against 100."""

_BYTES_OF_PROCESS = 700 << 20
"""Of Python, its libraries, and DuckDB while it writes; measured."""

_SETS_A_FEATURE = 100
"""Ranking the vocabulary takes as long as scoring so many sets in it; measured at 70 to 140."""

_NEWEST_RUNS = 5


class Planned(NamedTuple):
    """One dictionary as an ingest would treat it; None stands for unknown.

    Attributes:
        name: Its slug where the catalogue has it, else what it was named by.
        status: new; current; more sets (its other results stay); changed (parameters or model, so all of it is
            computed again); again (forced).
        n_features: Number of features.
        n_sets: Sets to compute.
        n_rows: Rows of `enrichment` to compute.
        disk_bytes: What the catalogue grows by, roughly.
        scratch_bytes: Size of the temporary file beside the catalogue.
        memory_bytes: Memory at its peak; on a GPU, that of the GPU.
        seconds: Time to compute, by the newest runs in the catalogue.
    """

    name: str
    status: str
    n_features: int | None
    n_sets: int
    n_rows: int | None
    disk_bytes: int | None
    scratch_bytes: int | None
    memory_bytes: int | None
    seconds: float | None


class Known(NamedTuple):
    """What a catalogue has: the ledger and numbers of features by slug, and seconds a unit of work (see `work_units`).

    `seconds_a_unit` is None where there is no run to go by.
    """

    entries: dict[str, LedgerEntry]
    n_features: dict[str, int]
    seconds_a_unit: float | None


def known_of(path: str | os.PathLike[str] | None, device: str, wait: float) -> Known:
    """Return what the catalogue at `path` has, nothing where there is none.

    Args:
        path: The catalogue, None where there is none yet.
        device: Type of the device, cpu or cuda, whose runs are to go by.
        wait: Seconds to wait for a writer.

    Raises:
        CatalogueError, LockedError: It can't be opened.
    """
    if path is None or not Path(path).exists():
        return Known({}, {}, None)
    with translated():
        entries = ledger(path, wait=wait)
        connection = open_reader(path, wait=wait)
        try:
            sizes = connection.execute("SELECT slug, d_sae FROM sae").fetchall()
            runs = connection.execute(
                "SELECT r.n_rows, s.d_sae, m.d_vocab, r.seconds, r.params FROM run r JOIN sae s USING (sae_id)"
                " JOIN model m USING (model_id) WHERE r.device LIKE $device || '%' AND r.seconds > 0 AND s.d_sae > 0"
                f" ORDER BY r.run_id DESC LIMIT {_NEWEST_RUNS}",
                {"device": device},
            ).fetchall()
        finally:
            connection.close()
    costs = [
        seconds / work_units(d_sae, n_rows // d_sae, d_vocab, json.loads(params)["directions"])
        for n_rows, d_sae, d_vocab, seconds, params in runs
    ]
    return Known(entries, dict(sizes), statistics.median(costs) if costs else None)


def work_units(n_features: int, n_sets: int, n_tokens: int, directions: int) -> int:
    """Return the work of a dictionary in tokens times scores; random directions are ranked as features are."""
    return (n_features + directions) * (n_sets + _SETS_A_FEATURE) * n_tokens


def plan(
    path: str | os.PathLike[str] | None,
    model: LanguageModel,
    jobs: Sequence[Job],
    sets: Sequence[TokenSet],
    *,
    options: Options,
    force: bool = False,
    wait: float = 0.0,
) -> list[Planned]:
    """Return what `pipeline.ingest` would do with the same arguments, a line a job.

    Raises:
        CatalogueError, LockedError: The catalogue can't be opened.
        TokenSetError: A set that can't be used.
        UsageError: No such device.
    """
    device = resolve_device(options.device)
    usable = [within_universe(item, model.universe) for item in sets]
    work = Work(model, ModelFacts.of(model), usable, options)
    known = known_of(path, device.type, wait)
    neurons = _width_of_neurons(model, jobs, known)
    planned = []
    for job in jobs:
        slug = _known_slug(job.origin, known, work)
        n_features = known.n_features.get(slug) if slug else None
        if n_features is None:
            is_mlp = job.origin is not None and job.origin.source == MLP_NEURONS
            n_features = neurons if is_mlp else n_features_at_hand(job.origin)
        status, n_sets = _status(known.entries.get(slug) if slug else None, work, force)
        planned.append(_planned(slug or job.label, status, n_features, n_sets, work, known, is_one=len(jobs) == 1))
    return planned


def _width_of_neurons(model: LanguageModel, jobs: Sequence[Job], known: Known) -> int | None:
    """Return the neurons of a layer, by one that is asked for and that the catalogue has not."""
    layers = [job.origin.layer for job in jobs if job.origin is not None and job.origin.source == MLP_NEURONS]
    unknown = [layer for layer in layers if layer is not None and f"{model.name}/{layer}-mlp" not in known.n_features]
    return n_neurons(model, unknown[0]) if unknown else None


def _known_slug(origin: Origin | None, known: Known, work: Work) -> str | None:
    """Return the slug that the catalogue has a dictionary under which was named by the same words."""
    if origin is None:
        return None
    if origin.slug is not None:
        return origin.slug
    for slug, entry in known.entries.items():
        stored = entry.params.get("origin") or {}
        same_model = stored.get("model") == origin.model and stored.get("model_name") == origin.model_name
        same_model = same_model or entry.params.get("unembed_sha256") == work.facts.unembed_sha256
        words = (stored.get("source"), stored.get("layer"), stored.get("sae"))
        if same_model and words == (origin.source, origin.layer, origin.sae):
            return slug
    return None


def _status(entry: LedgerEntry | None, work: Work, force: bool) -> tuple[str, int]:
    """Return the status of a dictionary, and how many sets are to be computed."""
    if entry is None:
        return "new", len(work.sets)
    wanted = {item.name: item.members_sha256 for item in work.sets}
    # Results of other sets are made anew with everything else; a version of a wanted set is replaced by it.
    carried = [name for name in entry.sets if name.split("@")[0] not in wanted]
    if force:
        return "again", len(wanted) + len(carried)
    # As if its weights were those that the ledger knows.
    params = run_params(work, _stand_in(work.model))
    params |= {"weights_sha256": entry.params.get("weights_sha256")}
    if not is_current(entry, params):
        return "changed", len(wanted) + len(carried)
    missing = len(wanted.items() - entry.sets.items())
    return ("more sets", missing) if missing else ("current", 0)


def _stand_in(model: LanguageModel) -> FeatureDictionary:
    """Return a dictionary for what asks about everything but its weights."""
    W_dec = model.W_U.new_zeros((1, model.d_model))
    return FeatureDictionary("sae", "", "", "", None, None, "other", "identity", None, model.d_model, W_dec)


def _planned(
    name: str, status: str, n_features: int | None, n_sets: int, work: Work, known: Known, is_one: bool
) -> Planned:
    if not n_sets:
        return Planned(name, status, n_features, 0, 0, 0, 0, 0, 0.0)
    if n_features is None:
        return Planned(name, status, None, n_sets, None, None, None, None, None)
    n_rows = n_features * n_sets
    # Beside kept results, the features' own rows stay; all results of sets go through the temporary file.
    n_new = 0 if status == "more sets" else n_features
    n_tested = len(known.entries[name].sets) if name in known.entries else 0
    n_through = n_features * (n_sets + n_tested if status == "more sets" else n_sets)
    seconds = None
    if known.seconds_a_unit is not None:
        n_tokens, directions = len(work.model.vocabulary), work.options.directions
        seconds = known.seconds_a_unit * work_units(n_features, n_sets, n_tokens, directions)
    return Planned(
        name,
        status,
        n_features,
        n_sets,
        n_rows,
        BYTES_A_ROW * n_rows + BYTES_A_FEATURE * n_new,
        SCRATCH_BYTES_A_ROW * n_through + SCRATCH_BYTES_A_FEATURE * n_features,
        _memory(n_features, n_sets, work, is_one),
        seconds,
    )


def _memory(n_features: int, n_sets: int, work: Work, is_one: bool) -> int:
    """Return the bytes that an ingest holds while it computes; on a GPU, those that lie there."""
    device = resolve_device(work.options.device)
    limits = block_limits(device, work.options.memory)
    n_tokens = int(work.model.universe.sum())
    block = block_size(n_features, n_tokens, limits.memory, limits.bytes_per_logit, work.options.block, limits.features)
    decoder = 4 * n_features * work.model.d_model
    ranked = block * n_tokens * limits.bytes_per_logit + 4 * work.model.d_model * n_tokens
    if device.type == "cuda":
        return ranked + decoder
    # The next one loads meanwhile, and its encoder with it.
    decoders = decoder if is_one else 3 * decoder
    return _BYTES_OF_PROCESS + ranked + decoders + _BYTES_A_SCORE * block * n_sets
