"""How time and memory of the whole compute step grow with features, vocabulary and sets.

    python bench/growth.py --out bench/results/NAME.json

Each point runs in a process of its own. One size varies at a time; what a point shares with the others is in its row.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from job import measure_compute, measure_ingest
from measure import MIB, Patience, Record, cores, machine, run_task, save, table
from workload import GPT2_VOCABULARY, make_workload

SCRIPT = Path(__file__).resolve()


class Point(NamedTuple):
    """Sizes of one measurement; `ingests` measures a whole ingest, into DuckDB, instead of the compute step."""

    features: int
    tokens: int
    sets: int
    directions: int = 0
    d_model: int = 768
    block: int | None = None
    repeats: int = 1
    ingests: bool = False


def growth_points() -> dict[str, list[Point]]:
    """Return the measurements by what varies in them."""
    return {
        "F": [Point(features, GPT2_VOCABULARY, 100) for features in (1024, 4096, 16_384)],
        "F, with the null of es": [
            Point(features, GPT2_VOCABULARY, 100, directions=2000) for features in (1024, 4096, 16_384)
        ],
        "V": [Point(1024, tokens, 100) for tokens in (32_000, GPT2_VOCABULARY, 128_000, 256_000)],
        "S": [Point(1024, GPT2_VOCABULARY, sets) for sets in (10, 100, 500, 2000)],
        "memory, 10 sets": [Point(features, 4096, 10, directions=200, block=1024) for features in (10_000, 100_000)],
        "memory, 100 sets": [Point(features, 4096, 100, directions=200, block=1024) for features in (10_000, 100_000)],
        "memory, whole ingest": [
            Point(features, 4096, 100, directions=200, block=1024, ingests=True) for features in (10_000, 100_000)
        ],
    }


def do_task(task: Record) -> Record:
    """Measure one point in this process."""
    threads = task.pop("threads")
    torch.set_num_threads(threads)
    point = Point(**task)
    work = make_workload(point.features, point.tokens, point.sets, point.d_model)
    if point.ingests:
        computed = measure_ingest(work, threads, point.directions, point.block)
    else:
        computed = measure_compute(work, threads, point.directions, point.block, point.repeats)
    return computed.record | {
        "ranked_seconds": computed.ranked_seconds,
        "results_bytes": computed.results_bytes,
        "weights_bytes": work.W_dec.nbytes + work.W_U.nbytes,
    }


def measure_point(varies: str, point: Point, threads: int, patience: Patience | None = None) -> Record:
    """Measure a point in a process of its own and relate it to its pairs and rows."""
    record = run_task(SCRIPT, point._asdict(), threads, patience)
    pairs = point.features * point.sets
    return {
        "varies": varies,
        **point._asdict(),
        **record,
        "threads": threads,
        "cpu_us_per_pair": 1e6 * record["cpu_seconds"] / pairs,
        "wall_us_per_pair": 1e6 * record["wall_seconds"] / pairs,
        "cpu_ms_per_feature": 1000 * record["cpu_seconds"] / point.features,
    }


def run_growth(points: dict[str, list[Point]], patience: Patience | None = None) -> tuple[Record, str]:
    """Measure all points on all cores and return them with their table."""
    facts = machine()
    records = []
    for varies, some in points.items():
        for point in some:
            records.append(measure_point(varies, point, cores(), patience))
            print(f"  {varies}: F={point.features} V={point.tokens} S={point.sets}", file=sys.stderr)
    return {"machine": facts, "points": records}, growth_table(records)


def growth_table(records: list[Record]) -> str:
    """Lay the measurements out; the last column is what others used of the cores meanwhile."""
    header = (
        "varies",
        "F",
        "V",
        "S",
        "null",
        "CPU us/pair",
        "wall us/pair",
        "CPU ms/feature",
        "weights MiB",
        "results MiB, on disk",
        "memory MiB",
        "others",
    )
    rows = []
    for record in records:
        sizes = [record[key] for key in ("varies", "features", "tokens", "sets", "directions")]
        times = [record[key] for key in ("cpu_us_per_pair", "wall_us_per_pair", "cpu_ms_per_feature")]
        bytes_keys = ("weights_bytes", "results_bytes", "extra_bytes")
        rows.append([*sizes, *times, *(_mib(record[key]) for key in bytes_keys), record["other_cores"]])
    return table("Growth of the whole compute step, all cores; peaks of memory beyond the weights", header, rows)


def _mib(n_bytes: int | None) -> int | None:
    return None if n_bytes is None else round(n_bytes / MIB)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON to write; the table goes beside it as .txt")
    parser.add_argument("--only", action="append", choices=list(growth_points()), help="measure only this growth")
    parser.add_argument(
        "--patience", type=float, default=0, help="seconds to wait, in all, for the machine to be quiet"
    )
    parser.add_argument("--task", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.task:
        print(json.dumps(do_task(json.loads(chosen.task))), flush=True)
        os._exit(0)
    points = growth_points()
    results, text = run_growth({name: points[name] for name in chosen.only or points}, Patience(chosen.patience))
    print(text)
    if chosen.out:
        save(chosen.out, results, text)


if __name__ == "__main__":
    main(sys.argv[1:])
