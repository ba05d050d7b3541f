"""One command, one table, one JSON: enrichment engines on the same data, and featdex against the least it could cost.

python bench/engines.py --out bench/results/NAME.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from adapters import ENGINES, Engine, Scores, measure_engine, reference_scores
from job import featdex_sort, measure_compute, measure_sorts, measure_stages, numpy_sort, run_limit, torch_sort
from measure import Patience, Record, cores, installed_version, machine, run_task, save, table
from workload import GPT2_VOCABULARY, Workload, make_workload

SCRIPT = Path(__file__).resolve()
JOB_FEATURES = 24_576
"""Features of one GPT-2 small residual-stream SAE."""

_DIRECTIONS = 2_000
_SINGLE_THREAD_SHARE = 4
"""On one thread the whole step is measured on a quarter of features and null directions, which leaves their mix."""


def write_inputs(folder: Path, work: Workload, n_logit_rows: int) -> None:
    """Leave the data where the measuring processes find it."""
    logits = torch.from_numpy(work.W_dec[:n_logit_rows]) @ torch.from_numpy(work.W_U)
    np.save(folder / "logits.npy", logits.numpy())
    np.save(folder / "W_dec.npy", work.W_dec)
    np.save(folder / "W_U.npy", work.W_U)
    np.savez(folder / "sets.npz", *work.sets)


def read_workload(folder: Path, n_features: int | None = None) -> Workload:
    """Read back the workload, or the first features of it."""
    with np.load(folder / "sets.npz") as stored:
        sets = [stored[f"arr_{k}"] for k in range(len(stored.files))]
    return Workload(np.load(folder / "W_dec.npy")[:n_features], np.load(folder / "W_U.npy"), sets)


def do_task(task: Record) -> Record:
    """Do what `run_task` asked of this process."""
    folder, threads = Path(task["folder"]), task["threads"]
    torch.set_num_threads(threads)
    if task["do"] == "engine":
        warnings.simplefilter("ignore")  # theirs, about ties and their own dependencies
        engine = ENGINES[task["engine"]]
        with np.load(folder / "sets.npz") as stored:
            sets = [stored[f"arr_{k}"] for k in range(len(stored.files))]
        logits = np.load(folder / "logits.npy")[: task["features"]]
        record, scores = measure_engine(engine, logits, sets, threads)
        np.save(folder / "scores.npy", scores)
        return record
    work = read_workload(folder, task.get("features"))
    if task["do"] == "sorts":
        return measure_sorts(work, threads)
    if task["do"] == "stages":
        return measure_stages(work, threads)
    if task["do"] == "limit":
        sorts = {"numpy": numpy_sort(threads), "torch": torch_sort, "featdex": featdex_sort(threads)}
        run_limit(Workload(work.W_dec[:64], work.W_U, []), sorts[task["sort"]])
        return run_limit(work, sorts[task["sort"]])._asdict()
    computed = measure_compute(work, threads, task["directions"])
    return computed.record | {"ranked_seconds": computed.ranked_seconds, "results_bytes": computed.results_bytes}


def compare_engines(folder: Path, all_threads: int, patience: Patience | None = None) -> list[Record]:
    """Measure every engine on one thread and on all, and compare its scores with featdex's."""
    with np.load(folder / "sets.npz") as stored:
        sets = [stored[f"arr_{k}"] for k in range(len(stored.files))]
    logits = np.load(folder / "logits.npy")
    others = [engine.features for engine in ENGINES if engine.package != "featdex"]
    shared = min(len(logits), max(others, default=len(logits)))
    references = {weight: reference_scores(logits[:shared], sets, weight) for weight in (0.0, 1.0)}
    records = []
    for threads in sorted({1, all_threads}):
        for number, engine in enumerate(ENGINES):
            if threads > 1 and not engine.parallel:
                continue
            record = _engine_record(engine, threads, len(sets))
            if engine.is_installed():
                n_features = min(engine.features, len(logits))
                task = {"do": "engine", "engine": number, "folder": str(folder), "features": n_features}
                try:
                    record |= run_task(SCRIPT, task, threads, patience) | {"features": n_features}
                except RuntimeError as error:
                    record["status"] = "failed"
                    record["error"] = str(error).replace(str(folder), "FOLDER")
                else:
                    record |= _per_pair(record, n_features * len(sets))
                    record["es_max_difference"] = agreement(engine, np.load(folder / "scores.npy"), references)
            records.append(record)
            others = record.get("other_cores")
            note = "" if others is None else f", others used {others:.2f} cores"
            print(f"  {engine.name}, {threads} threads: {record['status']}{note}", file=sys.stderr)
    return with_ratios(records)


def _engine_record(engine: Engine, threads: int, n_sets: int) -> Record:
    return {
        "engine": engine.name,
        "returns": engine.returns,
        "version": installed_version(engine.package),
        "status": "measured" if engine.is_installed() else "not installed",
        "threads": threads,
        "sets": n_sets,
    }


def _per_pair(record: Record, pairs: int) -> Record:
    return {
        "cpu_us_per_pair": 1e6 * record["cpu_seconds"] / pairs,
        "wall_us_per_pair": 1e6 * record["wall_seconds"] / pairs,
        "extra_bytes_per_pair": None if record["extra_bytes"] is None else record["extra_bytes"] / pairs,
    }


def agreement(engine: Engine, scores: Scores, references: dict[float, Scores]) -> float:
    """Return the largest difference from featdex's scores on all common pairs; of |es| where an engine has no sign."""
    reference = references[engine.weight]
    n = min(scores.shape[1], reference.shape[1])
    ours = reference[:, :n] if engine.signed else np.abs(reference[:, :n])
    return float(np.abs(scores[:, :n] - ours).max())


def with_ratios(records: list[Record]) -> list[Record]:
    """Add how many times slower than featdex each engine is: by processor time on one thread, else by the clock."""
    ours = {record["threads"]: record for record in records if record["engine"] == ENGINES[0].name}
    for record in records:
        unit = "cpu_us_per_pair" if record["threads"] == 1 else "wall_us_per_pair"
        base = ours.get(record["threads"], {})
        record["times_featdex"] = record[unit] / base[unit] if unit in record and unit in base else None
    return records


def measure_job(
    folder: Path, threads: int, n_features: int, directions: int, patience: Patience | None = None
) -> Record:
    """Measure the whole compute step between two runs of its limit, and again without the null of the score."""

    def run(**task: object) -> Record:
        return run_task(SCRIPT, {"folder": str(folder), "features": n_features} | task, threads, patience)

    sorts = run(do="sorts")
    fastest = min(("numpy", "torch"), key=lambda name: sorts[name]["wall_seconds"])
    limits = [run(do="limit", sort=fastest)]
    whole = run(do="compute", directions=directions)
    limits.append(run(do="limit", sort=fastest))
    without_null = run(do="compute", directions=0)
    hard = run(do="limit", sort="featdex")
    job = {
        "threads": threads,
        "features": n_features,
        "null_directions": directions,
        "sorts": sorts,
        "limit_sort": fastest,
        "limits": limits,
        "limit_with_featdex_sort": hard,
        "whole": whole,
        "whole_without_null": without_null,
        "stages": run(do="stages"),
    }
    return job | job_ratios(job)


def job_ratios(job: Record) -> Record:
    """Return the whole step over its limit; the mean of the limit's two runs, which enclose the whole step."""
    ratios = {}
    for clock in ("wall", "cpu"):
        easy = np.mean([limit[f"product_{clock}"] + limit[f"sort_{clock}"] for limit in job["limits"]])
        hard = job["limit_with_featdex_sort"]
        seconds = job["whole"][f"{clock}_seconds"]
        ratios[f"times_limit_{clock}"] = float(seconds / easy)
        ratios[f"times_limit_with_featdex_sort_{clock}"] = seconds / (hard[f"product_{clock}"] + hard[f"sort_{clock}"])
        ratios[f"times_limit_without_null_{clock}"] = float(job["whole_without_null"][f"{clock}_seconds"] / easy)
    return ratios


def engine_table(records: list[Record]) -> str:
    numbers = ("CPU us/pair", "wall us/pair", "B/pair", "x featdex", "max |d es|", "others")
    keys = (
        "cpu_us_per_pair",
        "wall_us_per_pair",
        "extra_bytes_per_pair",
        "times_featdex",
        "es_max_difference",
        "other_cores",
    )
    rows = []
    for record in records:
        measured = record["status"] == "measured"
        size = f"{record['features']} x {record['sets']}" if measured else record["status"]
        values = [record.get(key) for key in keys]
        rows.append((record["engine"], record["threads"], size, *values, record["returns"]))
    header = ("engine", "threads", "F x S", *numbers, "returns")
    return table("Enrichment scores of all pairs", header, rows)


def job_table(jobs: list[Record]) -> str:
    rows: list[tuple[object, ...]] = []
    for job in jobs:
        threads, size = job["threads"], f"{job['features']:,} rows"
        hard = job["limit_with_featdex_sort"]
        for limit in job["limits"]:
            rows.append(
                (f"bare product, {size}", threads, *_seconds(limit, "product"), None, None, limit["other_cores"])
            )
            name = f"bare {job['limit_sort']} sort, {size}"
            rows.append((name, threads, *_seconds(limit, "sort"), None, None, limit["other_cores"]))
        rows.append((f"featdex's own sort, {size}", threads, *_seconds(hard, "sort"), None, None, hard["other_cores"]))
        steps = {
            "whole step without the null": ("whole_without_null", "times_limit_without_null"),
            f"whole step, {job['null_directions']:,} null directions": ("whole", "times_limit"),
            "  over product and featdex's own sort": ("whole", "times_limit_with_featdex_sort"),
        }
        for name, (step, ratio) in steps.items():
            taken = job[step]
            seconds = (taken["wall_seconds"], taken["cpu_seconds"])
            ratios = (job[f"{ratio}_wall"], job[f"{ratio}_cpu"])
            rows.append((f"{name}, {size}", threads, *seconds, *ratios, taken["other_cores"]))
    header = ("step", "threads", "wall s", "CPU s", "x limit, wall", "x limit, CPU", "others")
    stages = [
        (name, job["threads"], stage["wall_ms_per_row"], stage["cpu_ms_per_row"])
        for job in jobs
        for name, stage in job["stages"].items()
        if isinstance(stage, dict)
    ]
    parts = table("Where the time goes, a row of logits", ("stage", "threads", "wall ms", "CPU ms"), stages)
    return table("The whole compute step against its limit", header, rows) + "\n" + parts


def _seconds(limit: Record, part: str) -> tuple[float, float]:
    return limit[f"{part}_wall"], limit[f"{part}_cpu"]


def targets(engines: list[Record], jobs: list[Record]) -> Record:
    """Return the ratios that the project set itself goals for."""
    found = {(record["engine"], record["threads"]): record["times_featdex"] for record in engines}
    last = jobs[-1]
    return {
        "sae_lens_over_featdex_1_thread": {"goal": "at least 20", "measured": found.get(("SAELens tsea", 1))},
        "gseapy_over_featdex_1_thread": {"goal": "at least 400", "measured": found.get(("gseapy prerank", 1))},
        "whole_step_over_limit_all_cores": {"goal": "at most 4", "measured": last["times_limit_wall"]},
        "whole_step_over_limit_all_cores_cpu": {"goal": "at most 4", "measured": last["times_limit_cpu"]},
    }


def run_benchmark(sizes: argparse.Namespace) -> tuple[Record, str]:
    """Measure everything and return it with its tables."""
    n_features, directions = sizes.features, sizes.directions
    all_threads, patience = cores(), Patience(sizes.patience)
    facts = machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = make_workload(n_features, sizes.tokens, sizes.sets, sizes.d_model)
        write_inputs(folder, work, max(engine.features for engine in ENGINES))
        del work
        engines = compare_engines(folder, all_threads, patience)
        jobs = []
        for threads in sorted({1, all_threads}):
            share = 1 if threads == all_threads else _SINGLE_THREAD_SHARE
            jobs.append(measure_job(folder, threads, n_features // share, directions // share, patience))
    settings = {key: getattr(sizes, key) for key in ("features", "tokens", "sets", "d_model", "directions")} | {
        "seed": 0
    }
    goals = targets(engines, jobs)
    goal_rows = [(name, goal["goal"], goal["measured"]) for name, goal in goals.items()]
    text = "\n".join([engine_table(engines), job_table(jobs), table("Goals", ("ratio", "goal", "measured"), goal_rows)])
    results = {"machine": facts, "settings": settings, "targets": goals, "engines": engines, "jobs": jobs}
    return results, text


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON to write; the tables go beside it as .txt")
    parser.add_argument("--features", type=int, default=JOB_FEATURES, help="features of the whole compute step")
    parser.add_argument("--tokens", type=int, default=GPT2_VOCABULARY)
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--d-model", type=int, default=768)
    parser.add_argument("--directions", type=int, default=_DIRECTIONS, help="random directions of the null of es")
    parser.add_argument(
        "--patience", type=float, default=0, help="seconds to wait, in all, for the machine to be quiet"
    )
    parser.add_argument("--task", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    chosen = parse_arguments(arguments)
    if chosen.task:
        # Only the answer may stand on the last line, whatever engines print as they leave.
        print(json.dumps(do_task(json.loads(chosen.task))), flush=True)
        os._exit(0)
    results, text = run_benchmark(chosen)
    print(text)
    if chosen.out:
        save(chosen.out, results, text)


if __name__ == "__main__":
    main(sys.argv[1:])
