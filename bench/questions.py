"""How long every question takes on a catalogue of 12 SAEs x 24,576 features x 100 sets, 29.5 M rows of enrichment.

    python bench/questions.py --out bench/results/NAME.json

The catalogue is made of random numbers (`questions_catalogue`), once, and kept where --catalogue names a file. Every
question of the catalogue is asked warm, with its default parameters: a question that is not in `CALLS` ends the run.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from featdex.catalogue.catalogue import Catalogue, connect
from featdex.catalogue.questions import saved_queries
from measure import MIB, Patience, Record, cores, machine, save, table, watch
from questions_catalogue import MODEL, PLANTED, Size, make_catalogue

LIMIT = 1.0
"""Seconds that any question may take."""

HEADLINE_LIMIT = 0.1
HEADLINE = f"enriched_for('{PLANTED}', min_kurtosis := 10)"

_FEATURE = f"'{MODEL}/8-res-jb', 573"
# What has no default is given; the rest is asked as it comes.
CALLS: Mapping[str, tuple[str, ...]] = {
    "best_feature_per_set": ("",),
    "compare_sets": (f"'{PLANTED}', 'set_020'",),
    "correlated_sets": (f"'{PLANTED}'",),
    "coverage": ("",),
    "enriched_for": (
        f"'{PLANTED}'",
        f"'{PLANTED}', min_kurtosis := 10",
        f"'{PLANTED}', min_kurtosis := 10, max_density := 0.01, role := 'prediction', sae := '{MODEL}/8*'",
    ),
    "explained_as": ("'topic 77'", f"'topic 77', set_name := '{PLANTED}'"),
    "features_by_role": ("'prediction'", "'partition'"),
    "features_promoting": ("' word1000'",),
    "features_suppressing": ("' word1000'",),
    "independent_sets_of": (_FEATURE,),
    "layer_profile": ("'skewness'",),
    "outliers": ("'kurtosis'",),
    "roles": ("",),
    "set_by_layer": (f"'{PLANTED}'",),
    "set_overlap": ("", f"set_name := '{PLANTED}', min_jaccard := 0"),
    "sets_of": (_FEATURE,),
    "similar_by_sets": (_FEATURE,),
    "similar_by_tokens": (_FEATURE,),
    "specific_to": (f"'{PLANTED}'", f"'{PLANTED}', other := 'set_020'"),
    "suppressed_for": (f"'{PLANTED}'",),
    "tokens_of": (_FEATURE,),
    "unexplained": ("",),
}


def calls() -> dict[str, str]:
    """Return the SQL of every call by its text.

    Raises:
        ValueError: A question is in no call.
    """
    questions = {query.name for query in saved_queries() if query.kind == "MACRO TABLE" and query.name[0] != "_"}
    missing = questions - CALLS.keys()
    if missing:
        raise ValueError(f"bench/questions.py asks nothing of {', '.join(sorted(missing))}")
    texts = {}
    for name, arguments in CALLS.items():
        for given in arguments:
            text = name if name not in questions else f"{name}({given})"
            texts[text] = f"FROM {text}"
    return texts


def time_call(catalogue: Catalogue, sql: str, repeats: int) -> Record:
    """Ask once for what the system then has in memory, and `repeats` times more."""
    catalogue.connection.execute(sql).fetchall()
    wall, cpu, others = [], [], watch()
    for _ in range(repeats):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        n_rows = len(catalogue.connection.execute(sql).fetchall())
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
    return {
        "n_rows": n_rows,
        "repeats": repeats,
        "wall_seconds_best": min(wall),
        "wall_seconds": statistics.median(wall),
        "cpu_seconds_best": min(cpu),
        "other_cores": others.stop(),
    }


def time_calls(path: Path, repeats: int, patience: Patience | None = None) -> list[Record]:
    """Time every call, the headline question too; with patience, wait for others and try again what they disturbed."""
    records = []
    with connect(path) as catalogue:
        for text, sql in calls().items():
            limit = HEADLINE_LIMIT if text == HEADLINE else LIMIT
            tried = []
            while True:
                if patience:
                    patience.wait_for_quiet()
                tried.append(time_call(catalogue, sql, repeats))
                if tried[-1]["wall_seconds_best"] < limit or not patience or patience.is_over():
                    break
            best = min(tried, key=lambda record: record["wall_seconds_best"])
            is_met = best["wall_seconds_best"] < limit
            records.append({"question": text, "limit_seconds": limit, "is_met": is_met, **best})
            print(f"  {text}: {1000 * best['wall_seconds_best']:.0f} ms", file=sys.stderr)
    return records


def questions_table(size: Size, n_bytes: int, records: list[Record]) -> str:
    """Lay the times out; the last column is what others used of the cores meanwhile."""
    rows = []
    for record in records:
        question = re.sub(r"\s+", " ", record["question"])
        times = [1000 * record[key] for key in ("wall_seconds_best", "wall_seconds", "cpu_seconds_best")]
        rows.append([question, record["n_rows"], *times, 1000 * record["limit_seconds"], record["other_cores"]])
    n_pairs = size.saes * size.features * size.sets
    title = (
        f"Asking a catalogue of {size.saes} SAEs x {size.features:,} features x {size.sets} sets ({n_pairs:,} rows of"
        f" enrichment, {n_bytes / MIB:,.0f} MiB), warm, {cores()} cores; milliseconds"
    )
    return table(title, ("question", "rows", "best", "median", "CPU best", "limit", "others"), rows)


def run_questions(size: Size, path: Path, repeats: int, patience: Patience | None = None) -> tuple[Record, str]:
    """Make the catalogue unless it is there, and time every question."""
    facts = machine()
    if not path.exists():
        make_catalogue(path, size)
    n_bytes = path.stat().st_size
    records = time_calls(path, repeats, patience)
    results = {"machine": facts, "size": size._asdict(), "file_bytes": n_bytes, "questions": records}
    return results, questions_table(size, n_bytes, records)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON to write; the table goes beside it as .txt")
    parser.add_argument("--catalogue", type=Path, help="where the catalogue is, or is to be kept; else it goes away")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--patience", type=float, default=0, help="seconds to wait, in all, for the machine to be quiet"
    )
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = chosen.catalogue or Path(folder) / "questions.duckdb"
        results, text = run_questions(Size(), path, chosen.repeats, Patience(chosen.patience))
    print(text)
    if chosen.out:
        save(chosen.out, results, text)


if __name__ == "__main__":
    main(sys.argv[1:])
