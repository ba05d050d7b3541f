"""An ingest on a Ray cluster into a dataset: the same rows as `pipeline.ingest` writes, computed by many processes.

The driver decides, in the order of the jobs, what there is to compute and under which ids; tasks do the rest
(`ray_tasks`). Whatever dies, the same command goes on from the blocks and dictionaries that are there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float32

from ..catalogue.errors import FeatdexError, UsageError, WeightsError
from ..catalogue.file import featdex_version
from ..catalogue.given_path import given_path
from ..catalogue.write import LedgerEntry
from .arrow import dropped_table, member_table, token_set_table, token_table
from .demo import DEMO
from .device import Options
from .faults import is_of_one_dictionary
from .inputs import LanguageModel, TokenSet
from .jobs import MLP_NEURONS
from .pipeline import Job, Outcome, Reporter, within
from .ray_blocks import key_of, spans_of, work_folder
from .ray_cluster import Cluster, connected, load_ray
from .ray_tasks import Loaded, Shared, compact, load, make_nulls, score_block
from .rows import ModelFacts, Origin, Work, is_current, within_universe
from .sinks import DatasetFolder

_RETRIES = 8
"""How often Ray runs a task again whose process or node died."""


def ingest_on_ray(
    sink: DatasetFolder,
    model: LanguageModel,
    jobs: Sequence[Job],
    sets: Sequence[TokenSet],
    *,
    address: str,
    options: Options,
    reporter: Reporter,
    narrate: Callable[[str], None],
    force: bool = False,
    fail_fast: bool = False,
    allow_pickle: bool = False,
) -> Outcome:
    """Compute and write every job's dictionary as `pipeline.ingest` does, on the cluster at `address`.

    Args:
        sink: The dataset, in a place that all nodes reach.
        model: The model, whose unembedding is put into Ray's object store.
        jobs: Each with an origin by which any node can read it.
        sets: Token sets.
        address: See `ray_cluster.connected`.
        options: `device` is auto, cpu or cuda.
        reporter: Told of every dictionary.
        narrate: Told how it goes.
        force: Compute again what is current.
        fail_fast: End at the first dictionary that fails.
        allow_pickle: Read pickled checkpoints too.

    Raises:
        FeatdexError: A fault of all dictionaries, or of one, given `fail_fast` or only one job.
    """
    usable = [within_universe(item, model.universe) for item in sets]
    work = Work(model, ModelFacts.of(model), usable, options)
    known = sink.prepare(work.model_row(), 0.0, narrate)
    with connected(address, options.device) as cluster:
        narrate(f"Ray: {cluster.n_slots} tasks at once, on {cluster.device}")
        run = _Run(sink, work, known, cluster, reporter, allow_pickle=allow_pickle, force=force)
        try:
            run.all(jobs, fail_fast)
        except KeyboardInterrupt:
            narrate(f"interrupted: {run.outcome.written} written; the same command goes on from there")
            raise
    sink.finish(narrate)
    return run.outcome


class _Loading(NamedTuple):
    """A dictionary that is being read: references to what `load` returns."""

    job: Job
    facts: Any
    dictionary: Any
    W_dec: Any


@dataclass(frozen=True)
class _Computing:
    """A dictionary whose tasks are submitted; `blocks` of them are under way."""

    loaded: Loaded
    key: str
    n_sets: int
    started: float
    blocks: list[Any]


class _Run:
    """The dictionaries of an ingest on a cluster."""

    def __init__(
        self,
        sink: DatasetFolder,
        work: Work,
        known: Mapping[str, LedgerEntry],
        cluster: Cluster,
        reporter: Reporter,
        *,
        allow_pickle: bool,
        force: bool,
    ) -> None:
        self.outcome = Outcome(0, 0)
        self._ray = load_ray()
        self._sink, self._work, self._reporter, self._force = sink, work, reporter, force
        self._known = known
        # Enough to keep the cluster busy, and no more than the object store may hold.
        self._window = cluster.n_slots + 2
        self._allow_pickle, self._cluster = allow_pickle, cluster
        options = replace(work.options, device=cluster.device, threads=1)
        shared = Shared(
            W_U=work.model.W_U.numpy(),
            model=replace(work.model, W_U=torch.empty(0, 0)),
            facts=work.facts,
            options=options,
            dataset=sink.dataset,
            allow_pickle=allow_pickle,
            version=featdex_version(),
        )
        self._base, self._shared = shared, None
        self._sets: dict[tuple[tuple[str, str], ...], Any] = {}
        remote = partial(self._ray.remote, max_retries=_RETRIES)
        self._load = remote(num_returns=3)(load)
        self._make_nulls = remote(**cluster.resources)(make_nulls)
        self._score_block = remote(**cluster.resources)(score_block)
        self._compact = remote(num_cpus=1)(compact)
        self._labels: dict[str, str] = {}
        self._running: dict[Any, _Computing] = {}

    def all(self, jobs: Sequence[Job], fail_fast: bool) -> None:
        """Work through the jobs."""
        self._is_alone, self._fail_fast, n_jobs = len(jobs) == 1, fail_fast, len(jobs)
        waiting, loading = deque(jobs), deque[_Loading]()
        position = 0
        while waiting or loading or self._running:
            while waiting and len(loading) + len(self._running) < self._window:
                loading.append(self._begin(waiting.popleft()))
            if loading:
                position += 1
                self._reporter.start(loading[0].job.label, position, n_jobs)
                self._decide(loading.popleft())
            if self._running and not (waiting and len(loading) + len(self._running) < self._window):
                self._settle(until_one=not loading)
        self._finish_folder()

    def _begin(self, job: Job) -> _Loading:
        if job.origin is None:
            raise UsageError(f"{job.label} can't be read on other machines; ingest it without --ray")
        origin = _absolute(job.origin)
        if self._shared is None:
            read = partial(_layer_output, origin.model, origin.model_name, self._allow_pickle)
            portable = replace(self._base.model, mlp_out=partial(read, "mlp_out"), attn_out=partial(read, "attn_out"))
            self._shared = self._ray.put(self._base._replace(model=portable))
        return _Loading(job, *self._load.remote(self._shared, origin))

    def _decide(self, item: _Loading) -> None:
        """Submit what there is to compute of a dictionary, once it is known what it is."""
        label = item.job.label
        try:
            loaded: Loaded = self._get(item.facts)
            other = self._labels.setdefault(loaded.slug, label)
            if other != label:
                raise WeightsError(
                    f"it has the name of {other}, {loaded.slug}, and would replace it; ingest it with --slug NAME"
                )
            self._reporter.loaded(loaded.slug, loaded.d_sae)
            sets = self._wanted(loaded)
            if sets is None:
                self._reporter.finish(loaded.slug, f"{loaded.slug}: current, skipped")
                self.outcome = replace(self.outcome, current=self.outcome.current + 1)
                return
            self._submit(item, loaded, sets)
        except FeatdexError as fault:
            self._fail(label, fault)

    def _wanted(self, loaded: Loaded) -> list[TokenSet] | None:
        """Return the sets to compute, those asked for and those it had before; None where the dataset has all."""
        entry = self._known.get(loaded.slug)
        sets = list(self._work.sets)
        if entry is None:
            return sets
        wanted = {item.name: item.members_sha256 for item in sets}
        if not self._force and is_current(entry, loaded.params) and wanted.items() <= entry.sets.items():
            return None
        return [*sets, *within(self._sink.carried(loaded.slug, wanted), self._work)]

    def _submit(self, item: _Loading, loaded: Loaded, sets: list[TokenSet]) -> None:
        digests = tuple((one.name, one.members_sha256) for one in sets)
        if digests not in self._sets:
            self._sets[digests] = self._ray.put(tuple(sets))
        registered = self._sink.registered(
            self._work.model_row(),
            partial(token_table, self._work.model.vocabulary),
            token_set_table(sets),
            partial(member_table, sets),
            partial(dropped_table, sets),
        )
        held, n_block = self._sets[digests], self._cluster.block_features
        key, spans = key_of(loaded.slug, loaded.params, sets, n_block), spans_of(loaded.d_sae, n_block)
        nulls = self._make_nulls.remote(self._shared, held, loaded.slug, item.W_dec)
        blocks = [self._score_block.remote(self._shared, held, key, item.W_dec, nulls, span) for span in spans]
        assert item.job.origin is not None
        place = (self._sink.sae_id(loaded.slug), registered, item.job.origin, loaded.params)
        done = self._compact.remote(self._shared, held, key, item.dictionary, nulls, place, spans, *blocks)
        self._running[done] = _Computing(loaded, key, len(sets), time.monotonic(), blocks)

    def _settle(self, *, until_one: bool) -> None:
        """Tell of the dictionaries that are done; wait for one where there is nothing else to do."""
        done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=None if until_one else 0)
        for reference in done:
            item = self._running.pop(reference)
            slug = item.loaded.slug
            try:
                seconds = self._get(reference)
            except FeatdexError as fault:
                self._fail(slug, fault)
                continue
            self._sink.dataset.store.remove_folder(work_folder(item.key))
            self.outcome = replace(self.outcome, written=self.outcome.written + 1)
            self._reporter.finish(
                slug,
                f"{slug}: {item.loaded.d_sae:,} features x {item.n_sets} sets, {len(item.blocks)} blocks in"
                f" {time.monotonic() - item.started:.1f} s, compacted in {seconds:.1f} s",
            )

    def _get(self, reference: Any) -> Any:
        """Return what a task returned, or raise its fault as one of ours."""
        from ray.exceptions import RayError, RayTaskError

        try:
            return self._ray.get(reference)
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, FeatdexError):
                raise cause from error
            raise
        except RayError as error:
            reason = " ".join(str(error).split())[:200]
            raise FeatdexError(f"Ray gave up on a task: {reason}; run it again to go on") from error

    def _fail(self, label: str, fault: FeatdexError) -> None:
        is_its_own = is_of_one_dictionary(fault) and not self._is_alone
        if not is_its_own or self._fail_fast:
            raise type(fault)(f"{label}: {fault}" if is_its_own else str(fault)) from fault
        self.outcome = replace(self.outcome, failed=self.outcome.failed + 1)
        self._reporter.finish(label, f"{label}: failed, skipped: {fault}")

    def _finish_folder(self) -> None:
        """Take away the folder of blocks where nothing is left in it."""
        local = self._sink.dataset.store.local
        if local is not None and (local / "work").is_dir() and not any((local / "work").iterdir()):
            (local / "work").rmdir()


def _absolute(origin: Origin) -> Origin:
    """Return the origin with paths that are the same wherever a task runs."""
    source, model = (_absolute_path(text) for text in (origin.source, origin.model))
    return origin._replace(source=source, model=model)


def _absolute_path(text: str) -> str:
    if text in (MLP_NEURONS, DEMO):
        return text
    path = given_path(text)
    return str(path.absolute()) if path.exists() else text


def _layer_output(
    model: str, name: str | None, allow_pickle: bool, what: str, layer: int
) -> Float32[torch.Tensor, "width d_model"]:
    """Read the matrix of a layer that dictionaries are mapped by, on the node that asks for it."""
    output: torch.Tensor = getattr(_model_again(model, name, allow_pickle), what)(layer)
    return output


@lru_cache(maxsize=1)
def _model_again(model: str, name: str | None, allow_pickle: bool) -> LanguageModel:
    from .demo import demo_gguf
    from .models import read_model

    return read_model(str(demo_gguf()) if model == DEMO else model, name, allow_pickle=allow_pickle)
