"""`sets add` and `sets rm`, killed at any line: the catalogue opens and is as before or as after, nothing between."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from featdex.catalogue.cli import run
from featdex.catalogue.doctor import checks
from featdex.catalogue.file import open_reader

D_MODEL, D_MLP, N_TOKENS, N_KILLS = 16, 30, 60, 7
MINE = (
    '[collection]\nname = "mine"\n[sets.mine]\nterms = ["aaing", "bcing", "Nowhere"]\n[sets.other]\nterms = ["cbing"]\n'
)
KILLED_AT_LINES = """
import os, sys
import featdex.ingest.set_catalogue, featdex.ingest.set_commands, featdex.ingest.set_file, numba
from featdex.catalogue.cli import run

def lines(arguments, kill_at):
    n = 0

    def count(frame, event, arg):
        nonlocal n
        name = frame.f_code.co_filename
        if "featdex/catalogue" not in name and "featdex/ingest/set_catalogue" not in name:
            return None
        n += event == "line"
        if n == kill_at:
            os.kill(os.getpid(), 9)
        return count

    sys.settrace(count)
    code = run(arguments)
    sys.settrace(None)
    assert code == 0
    if kill_at is None:
        os.kill(os.getpid(), 9)
    return n

measured, n_kills = sys.argv[1], int(sys.argv[2])
pipe, end = os.pipe()
if not os.fork():
    os.write(end, lines(["--db", measured, *sys.argv[3:]], -1).to_bytes(4, "little"))
    os._exit(0)
assert os.wait()[1] == 0
total = int.from_bytes(os.read(pipe, 4), "little")
for k in range(n_kills):
    if not os.fork():
        # The last one has done it all: how many lines that takes may differ by a few.
        kill_at = None if k == n_kills - 1 else 1 + k * (total - 1) // (n_kills - 1)
        lines(["--db", f"{measured}.{k}", *sys.argv[3:]], kill_at)
        os._exit(0)
    assert os.wait()[1] == 9
print(total)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, write_gguf: Callable[..., None]) -> Path:
    """A catalogue with results of two sets of one's own."""
    folder = tmp_path_factory.mktemp("made")
    words = ["<|end|>", *(f"{chr(97 + k % 5)}{chr(97 + k // 5)}ing" for k in range(N_TOKENS - 1))]
    write_gguf(folder / "tiny.gguf", words, D_MODEL, D_MLP, 1)
    (folder / "mine.toml").write_text(MINE)
    line = ["ingest", "mlp_neurons", "-m", str(folder / "tiny.gguf"), "--directions", "20"]
    assert run(["--db", str(folder / "made.duckdb"), *line, "--sets", f"affix,{folder / 'mine.toml'}"]) == 0
    return folder / "made.duckdb"


def content(path: Path) -> list[object]:
    """Every row of every table but the ledger's times; opening it replays what the killed process left in its log."""
    connection = open_reader(path)
    try:
        tables = [
            name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
        ]
        return [connection.execute(f"SELECT count(*), bit_xor(hash(t)) FROM {table} t").fetchall() for table in tables]
    finally:
        connection.close()


def sound(path: Path) -> bool:
    with duckdb.connect(str(path), read_only=True) as connection:
        return all(check(connection).ok for name, check in checks().items() if name != "queries")


@pytest.mark.parametrize("verb", ["add", "rm"])
def test_killed_at_any_line(made: Path, tmp_path: Path, verb: str) -> None:
    changed = MINE.replace('"aaing", ', "").replace("other", "third")
    (tmp_path / "mine.toml").write_text(changed)
    line = ["sets", "add", str(tmp_path / "mine.toml")] if verb == "add" else ["sets", "rm", "mine", "--force"]
    after = tmp_path / "tiny.duckdb"
    copies = [after, *(after.with_name(f"{after.name}.{k}") for k in range(N_KILLS))]
    for copy in copies:
        shutil.copy(made, copy)
    before = content(made)
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_LINES, str(after), str(N_KILLS), *line],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 100
    outcomes = []
    for copy in copies[1:]:
        found = content(copy)
        assert found in (before, content(after))
        outcomes.append(found == before)
        assert not list(tmp_path.glob(f".{copy.name}*"))
    assert outcomes == sorted(outcomes, reverse=True)
    assert (outcomes[0], outcomes[-1]) == (True, False)
    assert sound(after)
    assert sound(copies[-1])
