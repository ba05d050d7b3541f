"""Load, size and query times of catalogues from 10 million to 9 billion rows, as one file and as a dataset.

    python bench/scale.py --folder BIG_DISK --out bench/results/NAME.json

10 and 100 million rows are made of random numbers (`questions_catalogue`), as a file; `unpack` makes a dataset of it
and `pack` a file again. A billion and 9 billion rows are datasets of the same partitions under many ids, by hard links
(`linked`): they are as many to every query, and only their catalogue takes room. Questions are asked in a process of
their own: first cold to it, then warm. Takes about an hour and 30 GB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from featdex.catalogue.catalogue import connect
from featdex.catalogue.dataset import Dataset
from featdex.catalogue.dataset_pack import pack, unpack
from linked import link_dataset
from measure import Record, machine, save, table
from questions import calls
from questions_catalogue import PLANTED, Size, make_catalogue

SCRIPT = Path(__file__).resolve()
FEATURES = 24_576
ASKED = Size(saes=12, features=4096, sets=100)
"""Of which every answer is compared."""

HEADLINE_LIMIT = 1.0
"""Seconds that the headline question may take on 9 billion rows."""


class Scale(NamedTuple):
    """A catalogue to measure: `made` of random numbers, or linked from the largest that is."""

    name: str
    saes: int
    sets: int
    made: bool

    @property
    def rows(self) -> int:
        return self.saes * self.sets * FEATURES


SCALES = (
    Scale("10 M", 4, 100, True),
    Scale("100 M", 14, 300, True),
    Scale("1 B", 136, 300, False),
    Scale("9 B", 1200, 300, False),
)


def questions(sae: str) -> dict[str, str]:
    """Return what is asked, by what the table calls it."""
    return {
        "headline, all SAEs": f"FROM enriched_for('{PLANTED}', min_kurtosis := 10)",
        "headline, one SAE": f"FROM enriched_for('{PLANTED}', sae := '{sae}', min_kurtosis := 10)",
        "sets_of, one feature": f"FROM sets_of('{sae}', 573)",
        "tokens_of, one feature": f"FROM tokens_of('{sae}', 573)",
        "set_by_layer": f"FROM set_by_layer('{PLANTED}')",
        "best_feature_per_set": f"FROM best_feature_per_set(sae := '{sae}')",
        "outliers": "FROM outliers('kurtosis')",
        "coverage": "FROM coverage",
        "one set, every row": f"SELECT count(*), max(z) FROM enrichment WHERE set_id IN (FROM _set_ids('{PLANTED}'))",
    }


def ask(place: Path, repeats: int) -> list[Record]:
    """Ask every question of what is at `place`, in this process."""
    records = []
    with connect(place) as catalogue:
        ((sae,),) = catalogue.connection.execute("SELECT slug FROM sae ORDER BY sae_id DESC LIMIT 1").fetchall()
        for name, sql in questions(sae).items():
            seconds = []
            for _ in range(1 + repeats):
                started = time.perf_counter()
                n_rows = len(catalogue.connection.execute(sql).fetchall())
                seconds.append(time.perf_counter() - started)
            first, *warm = seconds
            records.append({"question": name, "n_rows": n_rows, "first": first, "warm": statistics.median(warm)})
    return records


def asked(place: Path, repeats: int) -> list[Record]:
    """Ask in another process, to which everything is new but what the system has in memory."""
    command = [sys.executable, str(SCRIPT), "--ask", str(place), "--repeats", str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    found: list[Record] = json.loads(done.stdout)
    return found


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def silent(line: str) -> None:
    """Say nothing."""


def bytes_of(dataset: Path) -> dict[str, int]:
    """Return the bytes of each table's files, and of the catalogue, in a dataset."""
    found: dict[str, int] = {"catalogue": (dataset / "catalogue.duckdb").stat().st_size}
    for file in dataset.glob("*/sae=*/*.parquet"):
        found[file.parts[-3]] = found.get(file.parts[-3], 0) + file.stat().st_size
    return found


def measure_made(scale: Scale, folder: Path, repeats: int) -> Record:
    """Make a catalogue, a dataset of it, and a file of that; measure both."""
    file, dataset, packed = folder / f"{scale.saes}.duckdb", folder / f"{scale.saes}", folder / f"{scale.saes}-p.duckdb"
    made = timed(lambda: make_catalogue(file, Size(saes=scale.saes, features=FEATURES, sets=scale.sets, explained=0)))
    record: Record = {"file_bytes": file.stat().st_size, "make_seconds": made}
    record["file"] = asked(file, repeats)
    record["unpack_seconds"] = timed(lambda: unpack(file, str(dataset), silent))
    file.unlink()
    record["pack_seconds"] = timed(lambda: pack(str(dataset), packed, silent))
    packed.unlink()
    if scale is SCALES[0]:
        core = folder / "core"
        unpack_of_core = timed(lambda: unpack(dataset, str(core), silent, "core"))
        record["core"] = {"bytes": bytes_of(core), "unpack_seconds": unpack_of_core}
    return record | measure_dataset(dataset, repeats)


def compare_answers(folder: Path) -> Record:
    """Ask every question of a dataset, and of the file that it is packed into."""
    file, dataset, packed = folder / "small.duckdb", folder / "small", folder / "small-packed.duckdb"
    make_catalogue(file, ASKED)
    unpack(file, str(dataset), silent)
    pack(str(dataset), packed, silent)
    return different_answers(packed, dataset)


def different_answers(one: Path, other: Path) -> Record:
    """Ask every question of both, and return which of them are not answered alike, row for row."""
    different, n_rows = [], 0
    with connect(one) as left, connect(other) as right:
        for text, sql in calls().items():
            answers = [catalogue.sql(sql).to_arrow_table() for catalogue in (left, right)]
            n_rows += answers[0].num_rows
            if not is_alike(*answers):
                different.append(text)
    return {"asked": len(calls()), "rows": n_rows, "different": different}


def is_alike(one: pa.Table, other: pa.Table) -> bool:
    """Whether answers are equal, row for row; sums of doubles, which DuckDB adds up in any order, to 12 digits."""
    if one.schema != other.schema or one.num_rows != other.num_rows:
        return False
    for left, right in zip(one.columns, other.columns, strict=True):
        if pa.types.is_float64(left.type):
            values = [column.to_numpy() for column in (left, right)]
            if not np.allclose(*values, rtol=1e-12, atol=0, equal_nan=True):
                return False
        elif not left.combine_chunks().equals(right.combine_chunks()):
            return False
    return True


def measure_dataset(dataset: Path, repeats: int) -> Record:
    return {"dataset_bytes": bytes_of(dataset), "dataset": asked(dataset, repeats)}


def measure_linked(scale: Scale, folder: Path, repeats: int) -> Record:
    """Link a dataset of many SAEs and measure it."""
    source = folder / str(max(one.saes for one in SCALES if one.made))
    target = folder / f"linked-{scale.saes}"
    seconds = timed(lambda: link_dataset(Dataset.open(source), target, scale.saes))
    return {"publish_seconds": seconds} | measure_dataset(target, repeats)


def run(folder: Path, repeats: int, scales: tuple[Scale, ...]) -> Record:
    found = {}
    for scale in scales:
        one = measure_made if scale.made else measure_linked
        found[scale.name] = {"rows": scale.rows, "saes": scale.saes, "sets": scale.sets} | one(scale, folder, repeats)
        print(f"  {scale.name}: done", file=sys.stderr)
    return {"machine": machine(), "scales": found, "answers": compare_answers(folder)}


def tables(results: Record) -> str:
    """Lay out sizes and times."""
    found = results["scales"]
    sizes = []
    for name, one in found.items():
        dataset, rows = one["dataset_bytes"], one["rows"]
        file = one.get("file_bytes")
        sizes.append(
            (
                name,
                f"{rows:,}",
                one["saes"],
                round(file / 1e6) if file else "",
                round((sum(dataset.values()) - dataset["catalogue"]) / 1e6),
                round(dataset["catalogue"] / 1e6),
                dataset["enrichment"] / rows,
                one.get("unpack_seconds", ""),
                one.get("pack_seconds", ""),
                one.get("publish_seconds", ""),
            )
        )
    header = (
        "size", "rows", "SAEs", "file, MB", "parquet, MB", "catalogue, MB", "enrichment, B/row", "unpack, s", "pack, s",
        "publish, s",
    )  # fmt: skip
    text = table("Size and load; linked parquet takes no room of its own", header, sizes)
    forms = [(name, form) for name, one in found.items() for form in ("file", "dataset") if form in one]
    rows = []
    for index, question in enumerate(questions("")):
        records = [found[name][form][index] for name, form in forms]
        rows.append((question, *(f"{1000 * one['warm']:.0f} ({1000 * one['first']:.0f})" for one in records)))
    columns = ("question", *(f"{name} {form}" for name, form in forms))
    text += "\n" + table("Milliseconds, warm (first time in a process)", columns, rows)
    core = found.get("10 M", {}).get("core")
    if core:
        n_rows = found["10 M"]["rows"]
        text += f"\ncore columns: {core['bytes']['enrichment'] / n_rows:.1f} B a row of enrichment\n"
    answers = results["answers"]
    text += (
        f"\n{answers['asked']} calls of all questions on a dataset of {ASKED.saes} SAEs and on its file:"
        f" {answers['rows']} rows, {len(answers['different'])} answers differ\n"
    )
    return text


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to work; by default a temporary folder")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", action="append", choices=[scale.name for scale in SCALES], help="only this size")
    parser.add_argument("--out", type=Path, help="JSON to write; the table goes beside it as .txt")
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.ask:
        print(json.dumps(ask(chosen.ask, chosen.repeats)))
        return
    scales = tuple(scale for scale in SCALES if not chosen.only or scale.name in chosen.only)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        results = run(Path(folder), chosen.repeats, scales)
    if chosen.out and chosen.out.exists():
        # Sizes that are not measured this time stay as they were.
        earlier = json.loads(chosen.out.read_text())["scales"]
        scales_found = earlier | results["scales"]
        results["scales"] = {scale.name: scales_found[scale.name] for scale in SCALES if scale.name in scales_found}
    text = tables(results)
    print(text)
    if chosen.out:
        save(chosen.out, results, text)
    largest = results["scales"].get("9 B")
    is_slow = largest is not None and largest["dataset"][0]["warm"] > HEADLINE_LIMIT
    sys.exit(bool(is_slow or results["answers"]["different"]))


if __name__ == "__main__":
    main(sys.argv[1:])
