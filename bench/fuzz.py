"""Hundreds of thousands of broken inputs for every reader: each is read, or refused in one line, and nothing else.

    python bench/fuzz.py --inputs 500000 --seed 0 --out bench/results/fuzz.json

An input has a number and is made from it and the seed, so that any one can be made again. What is a fault is in
`fuzz_guard`; a faulty input is cut down roughly and, with `--save DIR`, written to a file. Exit code 1 if there
are any.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import wait
from pathlib import Path

from fuzz_guard import FAULT, Verdict
from fuzz_process import PARSERS, Process, Tally
from measure import Record, cores, machine, save, table

_CHUNK = 200


def run_fuzz(shares: Mapping[str, int], inputs: int, seed: int, processes: int, folder: Path) -> Record:
    """Read `inputs` inputs, parted by shares, in some processes; return the tallies and the faults."""
    chunks = list(_chunks(shares, inputs))[::-1]
    tallies = {name: Tally() for name in shares}
    shortest: dict[tuple[str, str], bytes] = {}
    progress = _Progress(inputs)
    started = time.perf_counter()
    workers = [Process(folder, number, seed) for number in range(processes)]
    busy: list[Process] = []
    for worker in workers:
        if chunks:
            worker.send(chunks.pop())
            busy.append(worker)
    while busy:
        wait([worker.pipe for worker in busy], timeout=5)
        for worker in list(busy):
            if not worker.pipe.poll() and not worker.is_stuck():
                continue
            assert worker.task is not None
            name, start, stop = worker.task
            found = worker.result() if worker.pipe.poll() else None
            if found is None:
                number, how = worker.bury()
                tallies[name].add(number, Verdict(FAULT, how, how), 0.0)
                # What came before it in the chunk is read again: its tally died with the process.
                chunks += [part for part in ((name, number + 1, stop), (name, start, number)) if part[1] < part[2]]
            else:
                tallies[name].join(found[0])
                for signature, data in found[1].items():
                    shortest.setdefault((name, signature), data)
            busy.remove(worker)
            worker.task = None
            if chunks:
                worker.send(chunks.pop())
                busy.append(worker)
        progress.show(tallies)
    for worker in workers:
        worker.end()
    seconds = time.perf_counter() - started
    return {"machine": machine(), "settings": {"inputs": inputs, "seed": seed, "processes": processes}} | {
        "wall_seconds": seconds,
        "parsers": [_record(name, tally) for name, tally in tallies.items()],
        "faults": [
            {"parser": name, "signature": signature, "inputs": count, "number": first, "detail": detail}
            | {"shortest": shortest.get((name, signature), b"").hex()}
            for name, tally in tallies.items()
            for signature, (count, first, detail) in tally.faults.items()
        ],
    }


def _chunks(shares: Mapping[str, int], inputs: int) -> Iterator[tuple[str, int, int]]:
    """Yield chunks of each parser's inputs, one parser after the other; together exactly `inputs`."""
    total, given, before = sum(shares.values()), 0, 0
    for name, share in shares.items():
        before += share
        count = inputs * before // total - given
        given += count
        for start in range(0, count, _CHUNK):
            yield name, start, min(start + _CHUNK, count)


class _Progress:
    """Says on stderr how far it is, every few per cent, and each kind of fault when it is met first."""

    def __init__(self, inputs: int) -> None:
        self._inputs, self._shown, self._known = inputs, 0, set[tuple[str, str]]()

    def show(self, tallies: Mapping[str, Tally]) -> None:
        kinds = {(name, signature) for name, tally in tallies.items() for signature in tally.faults}
        for name, signature in sorted(kinds - self._known):
            print(f"{name}: {signature}", file=sys.stderr, flush=True)
        self._known |= kinds
        done = sum(tally.outcomes.total() for tally in tallies.values())
        if done - self._shown >= self._inputs // 20:
            self._shown = done
            print(f"{done:,} of {self._inputs:,} inputs", file=sys.stderr, flush=True)


def _record(name: str, tally: Tally) -> Record:
    outcomes = {outcome: tally.outcomes[outcome] for outcome in ("accepted", "refused", FAULT)}
    cpu = {"cpu_seconds": tally.seconds, "slowest_cpu_seconds": tally.slowest}
    return {"parser": name, "inputs": tally.outcomes.total(), **outcomes, **cpu, "kinds_of_faults": len(tally.faults)}


def fuzz_table(results: Record) -> str:
    """Return what became of the inputs of each parser as text."""
    keys = ("parser", "inputs", "accepted", "refused", FAULT, "slowest_cpu_seconds")
    rows = [[record[key] for key in keys] for record in results["parsers"]]
    rows.append(["all", *(sum(row[k] for row in rows) for k in range(1, 5)), max(row[5] for row in rows)])
    title = f"Broken inputs, seed {results['settings']['seed']}: read, refused in one line, or a fault"
    header = ("parser", "inputs", "accepted", "refused", "faults", "slowest, CPU s")
    lines = [
        f"{fault['parser']}: {fault['signature']}, {fault['inputs']} inputs, the first is number {fault['number']}:\n"
        f"    {(fault['detail'].strip().splitlines() or [''])[-1][:300]}\n"
        f"    {bytes.fromhex(fault['shortest'])[:300]!r}"
        for fault in results["faults"]
    ]
    return "\n".join([table(title, header, rows), *lines])


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="inputs in all, parted between the parsers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=cores())
    parser.add_argument("--only", action="append", choices=list(PARSERS), help="only this parser")
    parser.add_argument("--save", type=Path, metavar="DIR", help="write the faulty inputs, cut down, to files there")
    parser.add_argument(
        "--folder", type=Path, help="where to work; by default a temporary folder, in memory if it can be"
    )
    parser.add_argument("--out", type=Path, help="JSON to write; the table goes beside it as .txt")
    chosen = parser.parse_args(arguments)
    in_memory = Path("/dev/shm")
    place = chosen.folder or (in_memory if in_memory.is_dir() and os.access(in_memory, os.W_OK) else None)
    # Every thread would take address space for an arena of its own.
    os.environ |= {"MALLOC_ARENA_MAX": "2", "HF_HUB_OFFLINE": "1", "RUST_BACKTRACE": "0"}
    shares = {name: PARSERS[name][0] for name in chosen.only or PARSERS}
    with tempfile.TemporaryDirectory(dir=place, prefix="featdex-fuzz-") as folder:
        results = run_fuzz(shares, chosen.inputs, chosen.seed, chosen.processes, Path(folder))
    text = fuzz_table(results)
    print(text)
    if chosen.save:
        _save_inputs(results["faults"], chosen.save)
    if chosen.out:
        save(chosen.out, results, text)
    sys.exit(bool(results["faults"]))


def _save_inputs(faults: list[Record], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, fault in enumerate(faults):
        name = f"{number:03}-{fault['parser'].replace(' ', '_').replace('.', '')}"
        (folder / f"{name}.bin").write_bytes(bytes.fromhex(fault["shortest"]))
        (folder / f"{name}.txt").write_text(f"{fault['signature']}\n{fault['detail']}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
