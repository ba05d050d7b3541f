"""The tasks of an ingest on Ray: load a dictionary, make its nulls, score a block of its features, compact it.

Each gives the same result whenever and wherever it runs, so Ray may run it again. A block goes to a file of the
dataset's `work` folder, under a name that only its inputs decide; one that is there is not computed again.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from ..catalogue.dataset import Dataset, Registered, write_partition
from ..catalogue.errors import WeightsError
from ..catalogue.file import featdex_version
from ..catalogue.write import SaeRows
from .checks import require_finite_rows
from .compute import stored_numbers
from .device import Options, resolve_device
from .faults import within_memory
from .feature_columns import Ground, Results, lay_ground, nulls_of, write_features
from .inputs import AnyArray, FeatureDictionary, LanguageModel, TokenSet
from .nuisance import token_covariates
from .ray_blocks import block_path, read_block, write_block
from .rows import ModelFacts, Origin, Task, Work, run_params, sae_rows
from .scratch import FeatureColumns, Scratch, SetColumns
from .significance import Nulls, write_q_columns
from .sinks import DatasetFolder


class Shared(NamedTuple):
    """What all tasks of an ingest share, put once into Ray's object store.

    Attributes:
        W_U: The unembedding, read in place by all tasks of a node.
        model: The model without it; its layers are read again where a dictionary is mapped by them.
        facts: The hashes of both.
        options: How to compute.
        dataset: Where the results go.
        allow_pickle: Read pickled checkpoints too.
        version: Of the featdex that started the ingest.
    """

    W_U: AnyArray
    model: LanguageModel
    facts: ModelFacts
    options: Options
    dataset: Dataset
    allow_pickle: bool
    version: str

    def work(self, sets: Sequence[TokenSet]) -> Work:
        """Return what `rows` asks for."""
        return Work(replace(self.model, W_U=tensor_of(self.W_U)), self.facts, sets, self.options)


class Loaded(NamedTuple):
    """What the driver has to know of a dictionary."""

    slug: str
    d_sae: int
    params: dict[str, Any]


def load(shared: Shared, origin: Origin) -> tuple[Loaded, FeatureDictionary, AnyArray]:
    """Read a dictionary: what the driver has to know, its facts without its weights, and W_dec.

    Raises:
        WeightsError: It can't be read, or this node has another featdex.
    """
    if featdex_version() != shared.version:
        raise WeightsError(
            f"a node of the cluster has featdex {featdex_version()}, this one {shared.version}; install the same"
        )
    from .batches import jobs_of_origin

    work = shared.work(())
    (job,) = jobs_of_origin(origin, work.model, allow_pickle=shared.allow_pickle)
    dictionary = job.load()
    require_finite_rows(dictionary.W_dec, "W_dec", "feature")
    params = run_params(work, dictionary)
    facts = replace(dictionary, W_dec=dictionary.W_dec.new_zeros(()).expand(dictionary.W_dec.shape))
    return Loaded(dictionary.slug, dictionary.d_sae, params), facts, dictionary.W_dec.contiguous().numpy()


def make_nulls(shared: Shared, sets: Sequence[TokenSet], slug: str, W_dec: AnyArray) -> Nulls:
    """Return what the sets are tested against in a dictionary."""
    with within_memory(slug), _ground(shared, sets) as ground:
        return nulls_of(ground, tensor_of(W_dec)).to(torch.device("cpu"))


def score_block(
    shared: Shared, sets: Sequence[TokenSet], key: str, W_dec: AnyArray, nulls: Nulls, span: tuple[int, int]
) -> int:
    """Compute a block of features and write its file; return how many they are."""
    store, path, rows = shared.dataset.store, block_path(key, span[0]), range(*span)
    if store.exists(path):
        return len(rows)
    with within_memory(key), _ground(shared, sets) as ground:
        results = Results(
            FeatureColumns(Scratch(), len(rows)),
            FeatureColumns(Scratch(), len(rows)),
            SetColumns(Scratch(), len(sets), len(rows)),
        )
        write_features(ground, nulls.to(ground.universe.W_U.device), tensor_of(W_dec), rows, results)
        write_block(store, path, results)
    return len(rows)


def compact(
    shared: Shared,
    sets: Sequence[TokenSet],
    key: str,
    dictionary: FeatureDictionary,
    nulls: Nulls,
    place: tuple[int, Registered, Origin, dict[str, Any]],
    spans: Sequence[tuple[int, int]],
    *blocks: int,
) -> float:
    """Make the partition of a dictionary from its blocks, which are all there; return the seconds it took.

    Args:
        shared: What all tasks share.
        sets: Those that it was tested against.
        key: What its blocks are called by.
        dictionary: Its facts.
        nulls: Its nulls.
        place: Its id, the ids of model and sets, where it came from, and its parameters.
        spans: The features of every block.
        blocks: What the tasks of the blocks returned; Ray waits for them.
    """
    started = time.monotonic()
    sae_id, registered, origin, params = place
    store, n_features = shared.dataset.store, dictionary.d_sae
    with Scratch(DatasetFolder(shared.dataset).scratch_folder) as scratch:
        results = Results(
            FeatureColumns(scratch, n_features),
            FeatureColumns(scratch, n_features),
            SetColumns(scratch, len(sets), n_features),
        )
        for first, _ in spans:
            read_block(store, block_path(key, first), results, first)
        write_q_columns(results.enrichment, scratch)
        numbers = stored_numbers(results, nulls)
        task = Task(dictionary, origin, params, sets, None)
        rows: SaeRows = sae_rows(shared.work(sets), task, numbers, started)
        write_partition(shared.dataset, sae_id, registered, rows)
    # The blocks stay until the driver knows: Ray may run this again.
    return time.monotonic() - started


def tensor_of(array: AnyArray) -> torch.Tensor:
    """Return an array of Ray's object store as a tensor, in place: nobody writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(array))


@contextmanager
def _ground(shared: Shared, sets: Sequence[TokenSet]) -> Iterator[Ground]:
    """Give what blocks are ranked against, which a process keeps for its next task; but for what lies on a GPU."""
    try:
        yield _held_ground(_GroundKey(shared, tuple(sets)))
    finally:
        if shared.options.device != "cpu":
            # The next task on this GPU may be another process's.
            _held_ground.cache_clear()
            torch.cuda.empty_cache()


class _GroundKey:
    """Equal for tasks that rank against the same."""

    def __init__(self, shared: Shared, sets: tuple[TokenSet, ...]) -> None:
        self.shared, self.sets = shared, sets
        self._facts = (
            shared.facts,
            shared.options,
            tuple((item.name, item.members_sha256) for item in sets),
        )

    def __hash__(self) -> int:
        return hash(self._facts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _GroundKey) and other._facts == self._facts


@lru_cache(maxsize=1)
def _held_ground(key: _GroundKey) -> Ground:
    shared = key.shared
    return lay_ground(
        tensor_of(shared.W_U),
        [item.token_ids for item in key.sets],
        [resolve_device(shared.options.device)],
        universe=shared.model.universe,
        covariates=token_covariates(shared.model.vocabulary),
        options=shared.options,
    )
