"""Whole ingests, as typed, that are killed or interrupted at any moment and then go on: no row lost, none double."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import gguf
import numpy as np
import pytest
from featdex.catalogue.catalogue import connect
from featdex.catalogue.doctor import examine

D_MODEL, D_MLP, N_LAYERS, N_TOKENS, N_SETS = 16, 60, 6, 120, 17
PATIENCE = 60.0

NURSERY = """
import json, os, signal, sys
from featdex.catalogue.cli import run
from featdex.ingest import batches, jobs, model_gguf, pipeline, plan, release_run, sinks
from featdex.ingest import progress, set_affix, set_catalogue, set_resolve, set_rules, set_specs

# What these load when they are first used: numba its compiler, DuckDB pandas where it is installed.
import numba
numba.njit(lambda x: x)(1)
try:
    import pandas
except ImportError:
    pass

def arm(point, count, number):
    # Sends the signal `number` to this process when it comes to `point` for the `count`-th time.
    left = [count]
    def reached():
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), number)
    class Cut:
        def __init__(self, parts):
            self.parts = parts
        def __len__(self):
            return len(self.parts)
        def __getitem__(self, index):
            if index == len(self.parts) // 2:
                reached()
            return self.parts[index]
    def wrapped(module, name, before=None, after=None):
        inner = getattr(module, name)
        def outer(*arguments, **more):
            if before:
                arguments = before(*arguments) or arguments
            result = inner(*arguments, **more)
            if after:
                after()
            return result
        setattr(module, name, outer)
    def cut(path, rows):
        from dataclasses import replace
        return path, replace(rows, enrichment=Cut(rows.enrichment))
    match point:
        case "load": wrapped(jobs, "mlp_neurons", before=lambda *_: reached())
        case "compute": wrapped(pipeline, "run_params", after=reached)
        case "computed": wrapped(pipeline, "computed_rows", after=reached)
        case "create": wrapped(sinks, "create", after=reached)
        case "write": wrapped(sinks, "write_sae", before=cut)
        case "written": wrapped(sinks, "write_sae", after=reached)

print("ready", flush=True)
for line in sys.stdin:
    arguments, log, arming = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(1, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if arming:
            arm(*arming)
        sys.exit(run(arguments))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Has everything imported, and forks a process for each command line it is told: torch takes seconds to import."""


class Nursery:
    """Runs command lines, each in a fresh process."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log"
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A product of tiny matrices takes longer when threads have to meet over it.
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
        assert self._answer() == "ready"

    def start(self, arguments: list[str], arming: tuple[str, int, int] | None = None) -> int:
        """Start a command line and return its process id; `arming` is a signal to send it when it gets somewhere."""
        assert self._process.stdin is not None
        self._log.write_text("")
        self._process.stdin.write(json.dumps([arguments, str(self._log), arming]) + "\n")
        self._process.stdin.flush()
        return int(self._answer())

    def wait_for(self, words: str) -> None:
        """Return when the command has said `words`."""
        end = time.monotonic() + PATIENCE
        while words not in self.said:
            assert time.monotonic() < end, self.said
            time.sleep(0.005)

    def end(self) -> int:
        """Return the exit code of the command, negative for a signal."""
        return int(self._answer())

    def run(self, arguments: list[str], arming: tuple[str, int, int] | None = None) -> int:
        self.start(arguments, arming)
        return self.end()

    @property
    def said(self) -> str:
        return self._log.read_text()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with contextlib.closing(Nursery(tmp_path_factory.mktemp("nursery"))) as made:
        yield made


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF language model of random weights with six layers of neurons."""
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    rng = np.random.default_rng(0)
    words = [f"{'Ġ' if k % 2 else ''}{chr(97 + k % 5)}{chr(97 + k // 5)}ing" for k in range(N_TOKENS - 1)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(N_LAYERS)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<|end|>", *words])
    writer.add_token_types([3] + [1] * (N_TOKENS - 1))
    shapes = {"token_embd.weight": (N_TOKENS, D_MODEL), "output_norm.weight": (D_MODEL,)}
    shapes |= {f"blk.{layer}.ffn_down.weight": (D_MODEL, D_MLP) for layer in range(N_LAYERS)}
    for name, shape in shapes.items():
        writer.add_tensor(name, rng.standard_normal(shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def command(path: Path, model_file: Path) -> list[str]:
    options = ["--sets", "affix", "--directions", "40", "--threads", "1"]
    return ["--db", str(path), "ingest", "mlp_neurons", "-m", str(model_file), *options]


class Undisturbed:
    """The catalogue that an ingest makes when nothing happens to it, and the seconds it took."""

    def __init__(self, content: dict[str, list[tuple[Any, ...]]], seconds: float) -> None:
        self.content, self.seconds = content, seconds


@pytest.fixture(scope="module")
def undisturbed(nursery: Nursery, model_file: Path) -> Undisturbed:
    path = model_file.with_name("undisturbed.duckdb")
    started = time.monotonic()
    assert nursery.run(command(path, model_file)) == 0, nursery.said
    return Undisturbed(content(path), time.monotonic() - started)


def content(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables in the order in which they lie, but for when and how long they were computed."""
    with duckdb.connect(str(path), read_only=True) as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        left_out = {"run": "EXCLUDE (seconds, finished_at)", "meta": "EXCLUDE (value)"}
        rows = {name: connection.execute(f"SELECT * {left_out.get(name, '')} FROM {name}").fetchall() for name in names}
    assert len(rows["enrichment"]) > 0
    return rows


def whole(path: Path) -> list[str]:
    """Return the SAEs in a catalogue after proof that it opens, holds whole ones only, and that nothing lies about."""
    beside = {file.name for file in path.parent.iterdir() if not file.name.endswith(".new")}
    assert beside <= {path.name, f"{path.name}.wal"}
    if not path.exists():
        return []
    with duckdb.connect(str(path), read_only=True) as connection:
        found = connection.execute("SELECT sae_id, slug, d_sae FROM sae ORDER BY sae_id").fetchall()
        counted = {
            table: dict(connection.execute(f"SELECT sae_id, count(*) FROM {table} GROUP BY sae_id").fetchall())
            for table in ("feature", "feature_token", "enrichment", "set_null", "set_summary", "run")
        }
        sets = dict(connection.execute("SELECT sae_id, count(DISTINCT set_id) FROM enrichment GROUP BY ALL").fetchall())
    n_sets = {sae_id: N_SETS for sae_id, _, _ in found}
    assert sets == counted["set_null"] == counted["set_summary"] == n_sets
    assert counted["feature"] == {sae_id: d_sae for sae_id, _, d_sae in found}
    assert counted["feature_token"] == {sae_id: d_sae * 40 for sae_id, _, d_sae in found}
    assert counted["enrichment"] == {sae_id: d_sae * N_SETS for sae_id, _, d_sae in found}
    assert counted["run"] == {sae_id: 1 for sae_id, _, _ in found}
    return [slug for _, slug, _ in found]


def assert_finished(path: Path, undisturbed: Undisturbed) -> None:
    """Hold a catalogue against the undisturbed one, row for row, and have the doctor look at it."""
    assert whole(path) == SLUGS
    assert content(path) == undisturbed.content
    with connect(path) as catalogue:
        assert [finding for finding in examine(catalogue.connection) if not finding.ok] == []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "catalogue"
    folder.mkdir()
    return folder / "tiny.duckdb"


SLUGS = [f"tiny/{layer}-mlp" for layer in range(N_LAYERS)]

# A signal at the n-th time that a run comes to a point; each goes on from the one before. And how many SAEs the
# catalogue has then at least: one that is computed may still be on its way.
KILLS = [
    ("create", 1, 0),
    ("write", 1, 0),
    ("written", 1, 1),
    ("load", 4, 1),
    ("write", 2, 2),
    ("computed", 2, 2),
]


def test_kills_at_chosen_points_leave_whole_saes_and_the_rest_follows(
    path: Path, model_file: Path, nursery: Nursery, undisturbed: Undisturbed
) -> None:
    for point, count, least in KILLS:
        assert nursery.run(command(path, model_file), (point, count, signal.SIGKILL)) == -signal.SIGKILL, nursery.said
        found = whole(path)
        assert found == SLUGS[: len(found)]
        assert len(found) >= least, (point, count, found)
    assert nursery.run(command(path, model_file)) == 0
    assert_finished(path, undisturbed)


def test_kills_at_random_moments_leave_whole_saes_and_the_rest_follows(
    path: Path, model_file: Path, nursery: Nursery, undisturbed: Undisturbed
) -> None:
    moments = random.Random(0)
    for _ in range(4):
        process = nursery.start(command(path, model_file))
        time.sleep(moments.random() * undisturbed.seconds * 0.8)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        assert nursery.end() in (0, -signal.SIGKILL)
        found = whole(path)
        assert found == SLUGS[: len(found)]
    assert nursery.run(command(path, model_file)) == 0
    assert_finished(path, undisturbed)


# The SAE in work is lost, and no other.
INTERRUPTS = [("compute", 1, 0), ("write", 1, 2), ("load", 3, 4), ("written", 1, 6)]


def test_ctrl_c_finishes_what_is_computed_and_the_rest_follows(
    path: Path, model_file: Path, nursery: Nursery, undisturbed: Undisturbed
) -> None:
    n_before = 0
    for point, count, most in INTERRUPTS:
        assert nursery.run(command(path, model_file), (point, count, signal.SIGINT)) == 130, nursery.said
        assert "Traceback" not in nursery.said
        assert "Exception" not in nursery.said
        found = whole(path)
        assert found == SLUGS[: len(found)]
        assert n_before <= len(found) <= most, (point, count, found)
        written = nursery.said.count(", written in")
        assert len(found) == n_before + written
        assert nursery.said.splitlines()[-1] == f"interrupted: {written} written; the same command goes on from there"
        assert [file.name for file in path.parent.iterdir()] == ([path.name] if found else [])
        n_before = len(found)
    assert nursery.run(command(path, model_file)) == 0
    assert_finished(path, undisturbed)


@pytest.mark.parametrize("words", ["to ingest", "written in"])
def test_ctrl_c_from_outside_ends_at_once_without_a_traceback(
    path: Path, model_file: Path, nursery: Nursery, words: str
) -> None:
    process = nursery.start(command(path, model_file))
    nursery.wait_for(words)
    os.kill(process, signal.SIGINT)
    assert nursery.end() == 130, nursery.said
    assert "Traceback" not in nursery.said
    found = whole(path)
    assert found == SLUGS[: len(found)]
