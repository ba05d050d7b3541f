"""The whole compute step, and the least it could cost: the bare product and a bare sort of the same rows.

The sort of the limit is the fastest of numpy's and torch's, told by measuring both; featdex's own, which is faster than
either and gives the order beside the keys, makes a second, harder limit.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from measure import Record, measure
from workload import TokenIds, Workload, make_covariates

BLOCK = 1024
"""Features of a block in the limit, as many as featdex takes at most."""

_PROBE_ROWS = 256
_WARM_UP_FEATURES = 64

SortRows = Callable[[torch.Tensor], object]


class Limit(NamedTuple):
    """Seconds of the bare product and of the bare sort, on the clock and of the processor."""

    product_wall: float
    product_cpu: float
    sort_wall: float
    sort_cpu: float


def numpy_sort(threads: int) -> SortRows:
    """Sort the keys of every row in place, rows shared out over threads: numpy lets go of the interpreter's lock."""
    pool = ThreadPoolExecutor(threads)

    def sort(rows: torch.Tensor) -> None:
        values = rows.numpy()

        def sort_share(first: int) -> None:
            for row in values[first::threads]:
                row.sort()

        list(pool.map(sort_share, range(threads)))

    return sort


def torch_sort(rows: torch.Tensor) -> object:
    """Sort every row; torch always makes 64-bit indices too, so a few rows at a time."""
    return [torch.sort(part, dim=1) for part in rows.split(64)][-1]


def featdex_sort(threads: int) -> SortRows:
    """Rank every row as featdex does, without statistics and without sets."""
    from featdex.ingest.ranking import pack_sets
    from featdex.ingest.ranking_cpu import rank_rows

    def sort(rows: torch.Tensor) -> object:
        none, scale = pack_sets([], rows.shape[1]), np.ones(rows.shape[1])
        return rank_rows(rows.numpy(), scale, none, threads=threads, wants_statistics=False)

    return sort


def measure_sorts(work: Workload, threads: int) -> dict[str, Record]:
    """Time every way to sort, each on the same fresh rows."""
    logits = torch.from_numpy(work.W_dec[:_PROBE_ROWS]) @ torch.from_numpy(work.W_U)
    sorts = {"numpy": numpy_sort(threads), "torch": torch_sort, "featdex": featdex_sort(threads)}
    records = {}
    for name, sort in sorts.items():
        sort(logits[:4].clone())
        # A sort in place must not meet what it has sorted before.
        copies = iter([logits.clone() for _ in range(3)])
        record = measure(lambda sort=sort, copies=copies: sort(next(copies)), 3).record()
        records[name] = record | {"rows": len(logits), "cpu_ms_per_row": 1000 * record["cpu_seconds"] / len(logits)}
    return records


def run_limit(work: Workload, sort: SortRows) -> Limit:
    """Multiply and sort all rows, block by block, into the same memory."""
    W_dec, W_U = torch.from_numpy(work.W_dec), torch.from_numpy(work.W_U)
    held = torch.empty(min(BLOCK, len(W_dec)), W_U.shape[1])
    held.zero_()
    spent = np.zeros(4)
    for start in range(0, len(W_dec), len(held)):
        rows = W_dec[start : start + len(held)]
        clocks = [_clocks()]
        torch.mm(rows, W_U, out=held[: len(rows)])
        clocks.append(_clocks())
        sort(held[: len(rows)])
        clocks.append(_clocks())
        spent += np.diff(clocks, axis=0).ravel()
    return Limit(*spent.tolist())


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


class Computed(NamedTuple):
    """What one whole compute step took: its measurement, the seconds until the last block was ranked, its results.

    The results lie in a file, as in an ingest.
    """

    record: Record
    ranked_seconds: float
    results_bytes: int


def measure_compute(
    work: Workload, threads: int, directions: int, block: int | None = None, repeats: int = 1
) -> Computed:
    """Measure `compute_into`, warmed up on a few features; statistics, all p and q, z_adj and the null included."""
    from featdex.ingest.compute import compute_into
    from featdex.ingest.device import Options
    from featdex.ingest.scratch import Scratch

    W_dec, W_U = torch.from_numpy(work.W_dec), torch.from_numpy(work.W_U)
    covariates = make_covariates(W_U.shape[1])
    ranked: list[float] = []
    results_bytes: list[int] = []

    def compute(rows: torch.Tensor, directions: int, sets: list[TokenIds]) -> None:
        start = time.perf_counter()
        with Scratch(Path(tempfile.gettempdir())) as scratch:
            compute_into(
                scratch,
                rows,
                W_U,
                [ids.astype(np.int32) for ids in sets],
                covariates=covariates,
                options=Options(device="cpu", threads=threads, directions=directions, block=block),
                progress=lambda _: ranked.append(time.perf_counter() - start),
            )
            results_bytes.append(scratch.size)

    compute(W_dec[:_WARM_UP_FEATURES], 2, work.sets[:3])
    record = measure(lambda: compute(W_dec, directions, work.sets), repeats).record()
    return Computed(record, ranked[-1], results_bytes[-1])


def measure_ingest(work: Workload, threads: int, directions: int, block: int | None = None) -> Computed:
    """Measure a whole ingest into a fresh catalogue, the writing of DuckDB included."""
    from featdex.ingest.device import Options
    from featdex.ingest.inputs import FeatureDictionary, LanguageModel, Recipe
    from featdex.ingest.pipeline import Job, ingest
    from featdex.ingest.token_sets import token_set_from_ids
    from featdex.ingest.vocabulary import vocabulary_from_raw

    n_tokens = work.W_U.shape[1]
    recipe = Recipe(fold_ln=True, center_d_model=False, center_unembed=True)
    vocabulary = vocabulary_from_raw([f"▁w{k}" for k in range(n_tokens)], "sentencepiece", [])
    model = LanguageModel("random", 1, torch.from_numpy(work.W_U), vocabulary, recipe, lambda _: torch.empty(0))
    sets = [token_set_from_ids(f"set{k}", ids, n_tokens) for k, ids in enumerate(work.sets)]

    def run(rows: npt.NDArray[np.float32], path: Path) -> None:
        dictionary = FeatureDictionary(
            "sae", "random", "0", "random/0", 0, None, "other", "identity", None, rows.shape[1], torch.from_numpy(rows)
        )
        options = Options(device="cpu", threads=threads, directions=directions, block=block)
        jobs = [Job("random", lambda: dictionary)]
        ingest(path, model, jobs, sets, options=options, reporter=Silence(), narrate=lambda _: None)

    with tempfile.TemporaryDirectory() as folder:
        run(work.W_dec[:_WARM_UP_FEATURES], Path(folder) / "warm.duckdb")
        record = measure(lambda: run(work.W_dec, Path(folder) / "whole.duckdb"), 1).record()
        return Computed(record, record["wall_seconds"], (Path(folder) / "whole.duckdb").stat().st_size)


class Silence:
    """A reporter that tells nothing."""

    def start(self, label: str, position: int, n_jobs: int) -> None: ...

    def loaded(self, slug: str, n_features: int) -> None: ...

    def advance(self, n_features: int) -> None: ...

    def finish(self, slug: str, line: str) -> None: ...


def measure_stages(work: Workload, threads: int) -> dict[str, Record]:
    """Time the parts of ranking on the same few rows: what to make faster next."""
    from featdex.ingest.product import logit_blocks, tile_size
    from featdex.ingest.ranking import PackedSets, pack_sets
    from featdex.ingest.ranking_cpu import rank_rows

    W_dec, W_U = torch.from_numpy(work.W_dec[:_PROBE_ROWS]), torch.from_numpy(work.W_U)
    logits = (W_dec @ W_U).numpy()
    n_tokens = W_U.shape[1]
    scale: npt.NDArray[np.float64] = 1.0 / np.linalg.norm(work.W_U.astype(np.float64), axis=0)
    none, given = pack_sets([], n_tokens), pack_sets([ids.astype(np.int32) for ids in work.sets], n_tokens)

    def rank(sets: PackedSets, wants_statistics: bool) -> Callable[[], object]:
        return lambda: rank_rows(logits, scale, sets, threads=threads, wants_statistics=wants_statistics)

    stages: dict[str, Callable[[], object]] = {
        "product": lambda: list(logit_blocks(W_dec, W_U, tile_size(len(W_dec)))),
        "sort": rank(none, False),
        "sort and statistics": rank(none, True),
        "sort and sets": rank(given, False),
        "sort, statistics and sets": rank(given, True),
    }
    records = {}
    for name, stage in stages.items():
        stage()
        record = measure(stage, 3).record()
        records[name] = record | {
            "cpu_ms_per_row": 1000 * record["cpu_seconds"] / len(logits),
            "wall_ms_per_row": 1000 * record["wall_seconds"] / len(logits),
        }
    return records
