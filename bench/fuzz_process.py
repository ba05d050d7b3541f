"""The processes of the fuzzing: each reads chunks of inputs, and a new one takes over where an input has killed one."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from fuzz_commands import COMMAND_PARSERS
from fuzz_guard import FAULT, MEMORY_BYTES, Guard, Verdict, cpu_seconds, judged
from fuzz_loaders import LOADED_PARSERS
from fuzz_parsers import SMALL_PARSERS, Parser

PARSERS: Mapping[str, tuple[int, Callable[[Path, Guard], Parser]]] = {
    **SMALL_PARSERS,
    **LOADED_PARSERS,
    **COMMAND_PARSERS,
}
_PATIENCE_SECONDS = 300.0
"""On the clock, until a process that says nothing is taken for stuck: others may have the cores."""

_TRIES = 300
_KEPT = 40
"""Faults of one kind are counted; the first inputs of so many kinds a parser are kept."""


@dataclass
class Tally:
    """What became of a parser's inputs. `faults` is {signature: (count, number of the first input, detail)}."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    seconds: float = 0.0
    faults: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    def add(self, number: int, verdict: Verdict, seconds: float) -> None:
        self.outcomes[verdict.outcome] += 1
        self.seconds += seconds
        self.slowest = max(self.slowest, seconds)
        if verdict.outcome == FAULT:
            count, first, detail = self.faults.get(verdict.signature, (0, number, verdict.detail))
            self.faults[verdict.signature] = (count + 1, first, detail)

    def join(self, other: Tally) -> None:
        self.outcomes += other.outcomes
        self.seconds += other.seconds
        self.slowest = max(self.slowest, other.slowest)
        for signature, (count, first, detail) in other.faults.items():
            before, earlier, known = self.faults.get(signature, (0, first, detail))
            self.faults[signature] = (before + count, min(first, earlier), known if earlier < first else detail)


def input_of(parser: Parser, name: str, seed: int, number: int) -> bytes:
    """Return the input of a number."""
    return parser.make(Random(f"{seed}/{name}/{number}"))


def fuzz(
    parser: Parser, name: str, guard: Guard, seed: int, numbers: Iterable[int]
) -> Iterator[tuple[int, Verdict, float]]:
    """Read the inputs of some numbers; yield each verdict and the processor time it took."""
    for number in numbers:
        data = input_of(parser, name, seed, number)
        start = cpu_seconds()
        verdict = judged(lambda data=data: parser.read(data), guard, parser.judge)  # type: ignore[misc]
        yield number, verdict, cpu_seconds() - start


def cut_down(data: bytes, is_same: Callable[[bytes], bool], tries: int = _TRIES) -> bytes:
    """Return a shorter input with the same fault: parts are left out while it stays, halves first, then bytes."""
    size = max(1, len(data) // 2)
    while tries > 0:
        at = 0
        while at < len(data) and tries > 0:
            shorter = data[:at] + data[at + size :]
            tries -= 1
            if is_same(shorter):
                data = shorter
            else:
                at += size
        if size == 1:
            break
        size //= 2
    return data


class Reader:
    """The parsers of one process, each made when its first input comes; everything they write goes to `folder`."""

    def __init__(self, folder: Path) -> None:
        self.guard = Guard(folder)
        self._folder = folder
        self._made: dict[str, Parser] = {}

    def has(self, name: str) -> bool:
        return name in self._made

    def parser(self, name: str) -> Parser:
        if name not in self._made:
            place = self._folder / name.replace(" ", "_") / "files"
            place.mkdir(parents=True)
            self._made[name] = PARSERS[name][1](place, self.guard)
        return self._made[name]

    def shortest(self, name: str, seed: int, number: int, signature: str) -> bytes:
        """Return the input of a number, cut down to what still has the fault."""
        parser = self.parser(name)

        def is_same(data: bytes) -> bool:
            return judged(lambda: parser.read(data), self.guard, parser.judge).signature == signature

        return cut_down(input_of(parser, name, seed, number), is_same)


def _work(pipe: Connection, current: Any, folder: str, seed: int) -> None:
    """Take chunks of inputs from the pipe and send their tallies back."""
    sys.dont_write_bytecode = True
    # Programs that readers start, and libraries, have a place of their own to write to.
    os.environ |= {"HOME": folder, "TMPDIR": folder, "OMP_NUM_THREADS": "1"}
    tempfile.tempdir = folder
    os.chdir(folder)
    # The tokenizers library prints to the file descriptor.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    reader = Reader(Path(folder))
    while (task := pipe.recv()) is not None:
        name, start, stop = task
        is_new = not reader.has(name)
        parser = reader.parser(name)
        if is_new:
            _set_limits(reader, parser, name)
        tally = Tally()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            numbers = _announced(range(start, stop), current)
            for number, verdict, seconds in fuzz(parser, name, reader.guard, seed, numbers):
                tally.add(number, verdict, seconds)
            shortest = {
                signature: reader.shortest(name, seed, first, signature)
                for signature, (_, first, _) in list(tally.faults.items())[:_KEPT]
            }
        pipe.send((tally, shortest))


def _announced(numbers: Iterable[int], current: Any) -> Iterator[int]:
    for number in numbers:
        current[0], current[1] = number, time.monotonic()
        yield number


def _set_limits(reader: Reader, parser: Parser, name: str) -> None:
    """Allow so much memory beyond what the process has once the parser has read a few inputs."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for number in range(10):
        data = input_of(parser, name, -1, number)
        judged(lambda data=data: parser.read(data), reader.guard, parser.judge)  # type: ignore[misc]
    sizes = Path("/proc/self/statm")
    if sizes.exists():
        held = int(sizes.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY_BYTES, resource.RLIM_INFINITY))


class Process:
    """A process that reads inputs: a new one takes over from one that an input has killed."""

    def __init__(self, folder: Path, number: int, seed: int) -> None:
        self._where = (folder, number, seed)
        self._context = multiprocessing.get_context("spawn")
        self.task: tuple[str, int, int] | None = None
        self._n_started = 0
        self._start()

    def _start(self) -> None:
        folder, number, seed = self._where
        self._n_started += 1
        place = folder / f"{number}-{self._n_started}"
        place.mkdir()
        self.current = self._context.Array("d", [-1.0, time.monotonic()], lock=False)
        self.pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_work, args=(theirs, self.current, str(place), seed), daemon=True)
        self._process.start()
        theirs.close()

    def send(self, task: tuple[str, int, int] | None) -> None:
        self.task = task
        if task is not None:
            self.current[0], self.current[1] = task[1], time.monotonic()
        with suppress(BrokenPipeError):
            self.pipe.send(task)

    def result(self) -> tuple[Tally, dict[str, bytes]] | None:
        """Return the tally of the chunk, None where the process has died of it."""
        try:
            tally, shortest = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            return None
        return tally, shortest

    def is_stuck(self) -> bool:
        return self.task is not None and time.monotonic() - self.current[1] > _PATIENCE_SECONDS

    def bury(self) -> tuple[int, str]:
        """End the process and start another; return the number of the input that killed it, and how."""
        is_stuck = self.is_stuck()
        self._process.kill()
        self._process.join()
        number, how = int(self.current[0]), f"killed the process ({self._process.exitcode})"
        self._start()
        return number, "stuck" if is_stuck else how

    def end(self) -> None:
        self.send(None)
        self._process.join(10)
        self._process.kill()
