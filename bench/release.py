"""A release of SAEs ingested unattended, killed at random moments and resumed: is the result that of a quiet run?

    python bench/release.py --out bench/results/NAME.json
    python bench/release.py --saes 12 --features 24576 --kills 20 --out bench/results/NAME.json

Makes SAEs of random weights as files, ingests them in a process of its own into one catalogue, then into another in
processes that are killed (SIGKILL) at random moments, every third of them while it writes, until all are there. Every
table of the two catalogues is hashed column by column, in the order in which the rows lie. The default is a small
release; a whole one takes hours.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import duckdb
from hashes import differences, doctor_faults, table_hashes
from made_release import Release, do_task, write_release
from measure import MIB, Record, cores, machine, save, table
from workload import GPT2_VOCABULARY

SCRIPT = Path(__file__).resolve()


class Running:
    """An ingest of the release in a process of its own."""

    def __init__(self, release: Release, folder: Path, catalogue: Path) -> None:
        task = {"release": release._asdict(), "folder": str(folder), "catalogue": str(catalogue), "threads": cores()}
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "--task", json.dumps(task)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        # Imports and the model come first; the ingest begins with this line.
        self.said = [self._process.stdout.readline().strip()]
        self.started = time.perf_counter()

    def wait_for_write(self) -> None:
        """Return when it begins to write an SAE, or ends."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line.strip())
            if line.startswith("writing"):
                return

    def kill_after(self, seconds: float) -> bool:
        """Kill it (SIGKILL) in so many seconds; return whether it was still at work.

        Raises:
            RuntimeError: It failed by itself; the message is its last words.
        """
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
        out, err = self._process.communicate()
        self.said += out.split("\n")
        if self._process.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError((err.strip().splitlines() or ["no message"])[-1])
        return self._process.returncode == -signal.SIGKILL

    def finish(self) -> Record:
        """Wait for its end and return what it tells.

        Raises:
            RuntimeError: It failed; the message is its last words.
        """
        out, err = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError((err.strip().splitlines() or ["no message"])[-1])
        result: Record = json.loads(out.strip().splitlines()[-1])
        return result | {"seconds": time.perf_counter() - self.started}

    def step(self) -> str:
        """Return what it was doing at the end: reading or computing, and whether it was writing besides."""
        words = Counter(line.split(" ")[0] for line in self.said)
        main = next((line.split(" ")[0] for line in reversed(self.said) if line[:4] in ("read", "comp")), "starting")
        return f"{main}, writing" if words["writing"] > words["written"] else main


def killed_runs(
    release: Release, folder: Path, catalogue: Path, kills: int, spans: tuple[float, float], seed: int
) -> Iterator[Record]:
    """Kill an ingest, and whatever goes on with it, at random moments, and yield what is there after each kill.

    `spans` are the seconds within which a kill comes, after the beginning of an ingest and, for every third kill, after
    the beginning of its first write. A run that ends before it is killed leaves a catalogue to look at: it is yielded
    with `at` None, and the next one starts from nothing.
    """
    moments = Random(seed)
    done = 0
    while done < kills:
        running = Running(release, folder, catalogue)
        in_write = done % 3 == 2
        if in_write:
            running.wait_for_write()
        killed = running.kill_after(moments.uniform(0, spans[in_write]))
        moment = time.perf_counter() - running.started
        found, faults = whole_saes(release, catalogue)
        yield {
            "after_seconds": moment,
            "at": running.step() if killed else None,
            "saes": len(found),
            "faults": faults,
        }
        done += killed
        if not killed:
            catalogue.unlink()


def whole_saes(release: Release, catalogue: Path) -> tuple[list[str], list[str]]:
    """Return the SAEs of a catalogue, and those tables of them that have not all their rows."""
    if not catalogue.exists():
        return [], []
    pairs = release.features * release.sets
    wanted = {"feature": release.features, "feature_token": 40 * release.features, "enrichment": pairs}
    wanted |= {"set_null": release.sets, "set_summary": release.sets, "run": 1}
    with duckdb.connect(str(catalogue), read_only=True) as connection:
        slugs = connection.execute("SELECT sae_id, slug FROM sae ORDER BY sae_id").fetchall()
        faults = []
        for name, n_rows in wanted.items():
            counted = connection.execute(f"SELECT sae_id, count(*) FROM {name} GROUP BY sae_id").fetchall()
            if dict(counted) != {sae_id: n_rows for sae_id, _ in slugs}:
                faults.append(name)
    return [slug for _, slug in slugs], faults


def run_release(release: Release, kills: int, seed: int, folder: Path) -> Record:
    """Make the release in `folder`, ingest it twice, once with kills, and compare."""
    for name in ("release", "quiet", "killed"):
        (folder / name).mkdir()
    source, quiet, killed = (folder / "release", folder / "quiet" / "x.duckdb", folder / "killed" / "x.duckdb")
    write_release(release, source)
    undisturbed = Running(release, source, quiet).finish()
    print(f"  undisturbed: {undisturbed['seconds']:.0f} s", file=sys.stderr)
    # So that every third or fourth run writes an SAE or more, and the kills do not run out of SAEs.
    first, *_, last_written = undisturbed["written_seconds"]
    span = first + 0.75 * (last_written - first) / max(release.saes - 1, 1)
    hashes = table_hashes(quiet)
    records, unequal = [], set()
    for record in killed_runs(release, source, killed, kills, (span, undisturbed["write_seconds"]), seed):
        print(f"  {record['at'] or 'finished'}, {record['saes']} SAEs", file=sys.stderr)
        if record["at"]:
            records.append(record)
        else:
            unequal |= set(differences(hashes, table_hashes(killed)))
    last = Running(release, source, killed).finish()
    return {
        "machine": machine(),
        "release": release._asdict(),
        "undisturbed": undisturbed | {"disk_bytes": quiet.stat().st_size},
        "kills": records,
        "last_run": last,
        "disk_bytes_after_kills": killed.stat().st_size,
        "rows": {name: int(columns["rows"]) for name, columns in hashes.items()},
        "columns_compared": sum(len(columns) - 1 for columns in hashes.values()),
        "differences": sorted(unequal.union(differences(hashes, table_hashes(killed)))),
        "doctor": doctor_faults(killed),
        "beside": sorted(file.name for file in killed.parent.iterdir() if file.name != killed.name),
    }


def release_tables(results: Record) -> str:
    """Lay out the kills and what came of them."""
    kills = [
        (str(number), record["after_seconds"], record["at"], record["saes"], ", ".join(record["faults"]) or "none")
        for number, record in enumerate(results["kills"], start=1)
    ]
    size, quiet, last = results["release"], results["undisturbed"], results["last_run"]
    facts: list[tuple[str, object]] = [
        ("rows of enrichment", results["rows"]["enrichment"]),
        ("undisturbed, s", quiet["seconds"]),
        ("catalogue, MiB", round(quiet["disk_bytes"] / MIB)),
        ("as planned, MiB", round(quiet["planned_disk_bytes"] / MIB)),
        ("peak of memory, MiB", round((quiet["memory_bytes"] or 0) / MIB)),
        ("as planned, MiB ", round(quiet["planned_memory_bytes"] / MIB)),
        ("kills", len(kills)),
        ("of them during a write", sum("writing" in record["at"] for record in results["kills"])),
        ("SAEs left to the last run", last["written"]),
        ("catalogue after kills, MiB", round(results["disk_bytes_after_kills"] / MIB)),
        ("columns compared", results["columns_compared"]),
        ("columns that differ", len(results["differences"])),
        ("faults found by the doctor", len(results["doctor"])),
        ("files left beside", ", ".join(results["beside"]) or "none"),
    ]
    title = (
        f"{size['saes']} SAEs of {size['features']:,} x {size['d_model']}, V = {size['tokens']:,}, {size['sets']} sets"
    )
    header = ("kill", "after s", "while", "whole SAEs", "incomplete tables")
    return "\n".join([table(f"{title}: kills", header, kills), table(f"{title}: outcome", ("", ""), facts)])


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saes", type=int, default=6)
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=GPT2_VOCABULARY)
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--d-model", type=int, default=768)
    parser.add_argument("--directions", type=int, default=200, help="random directions that es is scored against")
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--folder", type=Path, help="where to work; by default a temporary folder")
    parser.add_argument("--out", type=Path, help="JSON to write; the table goes beside it as .txt")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.task:
        print(json.dumps(do_task(json.loads(chosen.task))), flush=True)
        return
    release = Release(chosen.saes, chosen.features, chosen.tokens, chosen.sets, chosen.d_model, chosen.directions)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        results = run_release(release, chosen.kills, chosen.seed, Path(folder))
    text = release_tables(results)
    print(text)
    if chosen.out:
        save(chosen.out, results, text)
    sys.exit(bool(results["differences"] or results["doctor"] or any(kill["faults"] for kill in results["kills"])))


if __name__ == "__main__":
    main(sys.argv[1:])
