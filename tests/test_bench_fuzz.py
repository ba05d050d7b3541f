"""The fuzzing of the readers, a short run of it; and that it sees a reader which breaks the contract."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from featdex.catalogue.errors import TokenSetError
from featdex.ingest import set_file

BENCH = Path(__file__).resolve().parent.parent / "bench"
INPUTS = {"set file .toml": 600, "set file .gmt": 600, "GGUF header": 250, "SAE config": 100, "choice of releases": 10}
OTHERS = 40


class Fuzzing:
    """The modules of bench/, which is no package, and the readers of this process."""

    fuzz: ModuleType
    fuzz_guard: ModuleType
    fuzz_mutate: ModuleType
    fuzz_process: ModuleType
    reader: Any


@pytest.fixture(scope="module")
def fuzzing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzing]:
    folder = tmp_path_factory.mktemp("fuzz")
    found = Fuzzing()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        patch.chdir(folder)
        for name in ("fuzz", "fuzz_guard", "fuzz_mutate", "fuzz_process"):
            setattr(found, name, import_module(name))
        found.reader = found.fuzz_process.Reader(folder)
        yield found


def faults(fuzzing: Fuzzing, name: str, numbers: range) -> tuple[Counter[str], dict[str, Any]]:
    """What becomes of a parser's inputs, and its faults by kind."""
    parser = fuzzing.reader.parser(name)
    tally = fuzzing.fuzz_process.Tally()
    for number, verdict, seconds in fuzzing.fuzz_process.fuzz(parser, name, fuzzing.reader.guard, 0, numbers):
        tally.add(number, verdict, seconds)
    return tally.outcomes, tally.faults


def parser_names() -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        return list(import_module("fuzz_process").PARSERS)


@pytest.mark.parametrize("name", parser_names())
def test_no_input_breaks_a_reader(fuzzing: Fuzzing, name: str) -> None:
    n_inputs = INPUTS.get(name, OTHERS)
    outcomes, found = faults(fuzzing, name, range(n_inputs))
    assert found == {}
    assert outcomes.total() == n_inputs
    assert outcomes["refused"] > 0


@pytest.mark.parametrize("name", parser_names())
def test_a_part_of_the_inputs_is_read(fuzzing: Fuzzing, name: str) -> None:
    """A reader that refuses everything, for a file that is missing beside it say, would be no test."""
    parser, guard = fuzzing.reader.parser(name), fuzzing.reader.guard

    def is_read(number: int) -> bool:
        data = fuzzing.fuzz_process.input_of(parser, name, 0, number)
        verdict = fuzzing.fuzz_guard.judged(lambda: parser.read(data), guard, parser.judge)
        return bool(verdict.outcome == "accepted")

    assert any(map(is_read, range(1000, 4000)))


BROKEN: dict[str, tuple[Callable[..., object], str]] = {
    "raises": (lambda path: {"a": 1}["x"], "KeyError"),
    "says two lines": (lambda path: (_ for _ in ()).throw(TwoLinesError()), "U+000A"),
    "writes elsewhere": (lambda path: Path("..", "elsewhere").write_text(""), "did open"),
    "runs a program": (lambda path: subprocess.run(["true"], check=False), "did subprocess.Popen"),
    "runs a shell": (lambda path: os.system("true"), "did os.system"),
    "swallows what the guard says": (lambda path: quietly(lambda: Path("..", "elsewhere").mkdir()), "did os.mkdir"),
    "panics": (lambda path: (_ for _ in ()).throw(SystemExit(3)), "SystemExit"),
    "takes for ever": (lambda path: spin(), "OvertimeError"),
}


class TwoLinesError(TokenSetError):
    def __str__(self) -> str:
        return "one\ntwo"


def quietly(call: Callable[[], object]) -> None:
    with contextlib.suppress(OSError):
        call()


def spin() -> None:
    end = time.process_time() + 20
    while time.process_time() < end:
        with contextlib.suppress(Exception):
            sum(range(1000))


@pytest.mark.parametrize("how", BROKEN)
def test_a_reader_that_breaks_the_contract_is_found(
    fuzzing: Fuzzing, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    broken, sign = BROKEN[how]
    monkeypatch.setattr(fuzzing.fuzz_guard, "CPU_SECONDS", 0.3)
    monkeypatch.setitem(set_file._READERS, ".gmt", broken)
    outcomes, found = faults(fuzzing, "set file .gmt", range(2))
    assert outcomes == {"fault": 2}
    assert [sign in kind for kind in found] == [True]
    assert not Path("..", "elsewhere").exists()


def test_a_faulty_input_is_cut_down(fuzzing: Fuzzing, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> object:
        if b"Mary" in path.read_bytes():
            raise ZeroDivisionError
        return []

    monkeypatch.setitem(set_file._READERS, ".gmt", broken)
    _, found = faults(fuzzing, "set file .gmt", range(20))
    [(signature, (_, first, _))] = found.items()
    assert signature.startswith("ZeroDivisionError")
    assert fuzzing.reader.shortest("set file .gmt", 0, first, signature) == b"Mary"


def test_an_input_is_made_again_from_its_number(fuzzing: Fuzzing) -> None:
    for name in parser_names():
        parser = fuzzing.reader.parser(name)
        again = [[fuzzing.fuzz_process.input_of(parser, name, 5, number) for number in range(20)] for _ in range(2)]
        assert again[0] == again[1]
        assert len(set(again[0])) > 10


def test_a_changed_tree_is_a_copy(fuzzing: Fuzzing) -> None:
    tree = {"a": [1, {"b": "c"}], "d": 2.5}
    changed = [fuzzing.fuzz_mutate.changed_tree(tree, Random(number)) for number in range(200)]
    assert tree == {"a": [1, {"b": "c"}], "d": 2.5}
    assert sum(repr(other) != repr(tree) for other in changed) > 150


def test_a_process_that_an_input_kills_is_replaced(
    fuzzing: Fuzzing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = fuzzing.fuzz_process.Process
    send = process.send
    killed: list[object] = []

    def send_and_kill(self: Any, task: tuple[str, int, int] | None) -> None:
        send(self, task)
        if not killed:
            self._process.kill()
            self._process.join()
            killed.append(task)

    monkeypatch.setattr(process, "send", send_and_kill)
    results = fuzzing.fuzz.run_fuzz({"memory": 1, "set file .gmt": 2}, 300, 0, 1, tmp_path)
    assert [(record["parser"], record["inputs"]) for record in results["parsers"]] == [
        ("memory", 100),
        ("set file .gmt", 200),
    ]
    [fault] = results["faults"]
    assert (fault["parser"], fault["number"], fault["signature"]) == ("memory", 0, "killed the process (-9)")
    assert "killed the process" in fuzzing.fuzz.fuzz_table(results)
