"""The command line, fuzzed: every verb, with words changed, doubled, swapped, and taken from others.

A small catalogue is made by a real ingest. What would compute or load weights is refused where it begins; what writes
to the catalogue (`sets add`, `sets rm`, `tag`, `import`, `migrate`) may change it, and the next input finds it as it
was. Pictures are left to their own tests: matplotlib writes a cache in the home folder, which the guard forbids.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import typer.main
from fuzz_guard import REFUSED, Guard
from fuzz_mutate import changed_bytes, odd_text
from fuzz_parsers import Parser
from fuzz_seeds import COMMANDS, GMT, QUERIES, TOML

CATALOGUE = "c.duckdb"
_VERBS = {"add", "rm", "migrate", "tag", "import"}
"""Words of the verbs that may write to the catalogue."""

_CODES = (0, 1, 2, 3, 4)
_TO_FILES = ("-o", "--output", "--db", "-m", "--model")


def _seeds() -> list[list[str]]:
    lines = [line.split(" ") for line in COMMANDS.strip().split("\n")]
    queries = [[*line, text] for line in (["sql"], ["export", "-o", "y.json", "--sql"]) for text in QUERIES]
    return [line for line in lines if line not in (["sql"], ["export", "--sql"])] + queries


_SEEDS = _seeds()
_WORDS = sorted(
    {word for line in _SEEDS for word in line} | {"-", "--", "-h", "-f", "table", "/dev/null", "~nobody/x", "-n"}
)


def command_lines(rng: Random) -> bytes:
    """Return a command line, its words with a NUL between two, as the system hands it over."""
    words = list(rng.choice(_SEEDS))
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 2, 4))):
        at = rng.randrange(len(words) + 1)
        here = slice(at, at + 1)
        match rng.randrange(9):
            case 0:
                words[here] = []
            case 1:
                words[at:at] = [rng.choice(_WORDS)]
            case 2:
                words[here] = [odd_text(rng)]
            case 3:
                words[here] = words[here] * 2
            case 4:
                rng.shuffle(words)
            case 5:
                words[at:] = rng.choice(_SEEDS)[-2:]
            case 6 if words[here]:
                words[at] = rng.choice(
                    (words[at].upper(), words[at] + odd_text(rng), words[at].partition("=")[0] + "=")
                )
            case 7:
                words[here] = [rng.choice(("nan", "-1", "1e999", "0", "9" * 30, "inf", "0x1f", "1_000", "٣", "1.5"))]
            case _ if words[here]:
                data = changed_bytes(words[at].encode("utf-8", "surrogatepass"), [b"--sae", b"\x1b[2J"], rng)
                words[at] = os.fsdecode(data)
    return b"\0".join(_system_bytes(word) for word in words)


def _system_bytes(word: str) -> bytes:
    """Return a word as the system has it: any bytes but NUL."""
    try:
        data = os.fsencode(word)
    except UnicodeEncodeError:
        data = word.encode("utf-8", "surrogatepass")
    return data.replace(b"\0", b"")


def command_line(folder: Path, guard: Guard) -> Parser:
    """The whole command, in the folder of a small catalogue."""
    from featdex.catalogue import cli

    make_folder(folder)
    # typer reads the signatures of all commands again for every command line, which takes most of its time.
    original = typer.main.get_params_from_function  # type: ignore[attr-defined]
    typer.main.get_params_from_function = functools.cache(original)  # type: ignore[attr-defined]
    keeper = _Keeper(folder)
    judge = _Judge()

    def read(data: bytes) -> object:
        words = [os.fsdecode(word) for word in data.split(b"\0")] if data else []
        guard.allowed = tuple(_named_paths(words))
        with _inside(folder), _nothing_heavy():
            try:
                code = cli.run(words)
            finally:
                guard.allowed = ()
                keeper.put_right(may_write=bool(_VERBS & set(words)))
        return code

    return Parser(command_lines, read, judge)


def _named_paths(words: list[str]) -> Iterator[str]:
    for word in words:
        yield word
        for option in _TO_FILES:
            if word.startswith(option):
                yield word.removeprefix(option).removeprefix("=")


class _Judge:
    """Says what is wrong with an exit code and what was printed on stderr."""

    def __call__(self, code: object, printed: str) -> str:
        if code not in _CODES:
            return f"exit code {code}"
        lines = printed.splitlines()
        if any(unicodedata.category(sign)[0] in "CZ" and sign not in " \n" for sign in printed):
            return "stderr with control characters"
        faults = [line for line in lines if line.startswith("featdex: ")]
        if code == 0:
            return "a fault and exit code 0" if faults else ""
        if len(faults) != 1 or lines[-1] != faults[0] or len(faults[0]) < len("featdex: ") + 3:
            return f"exit code {code} with {len(faults)} lines of featdex"
        return REFUSED


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in the folder, with its catalogue as the default one and SQL on stdin."""
    before, stdin = Path.cwd(), sys.stdin
    named = os.environ.get("FEATDEX_DB")
    os.chdir(folder)
    os.environ["FEATDEX_DB"] = CATALOGUE
    sys.stdin = io.StringIO("FROM coverage;\n.ls\n.format json\nSELECT 1;\nSELECT 'a\n;b';\n.nope\n")
    try:
        yield
    finally:
        os.chdir(before)
        sys.stdin = stdin
        if named is None:
            del os.environ["FEATDEX_DB"]
        else:
            os.environ["FEATDEX_DB"] = named


@contextlib.contextmanager
def _nothing_heavy() -> Iterator[None]:
    """Refuse what computes, and models of the hub."""
    from featdex.catalogue.errors import UsageError
    from featdex.ingest import batches, demo, release_run, spot_check

    def refuse(*_arguments: object, **_options: object) -> object:
        raise UsageError("nothing is computed here")

    places = [
        (batches, "read_model"),
        (demo, "run_demo"),
        (release_run, "ingest_batches"),
        (release_run, "show_plan"),
        (spot_check, "spot_check"),
    ]
    whole: list[tuple[object, str, Callable[..., object]]] = [
        (place, name, getattr(place, name)) for place, name in places
    ]
    for place, name in places:
        setattr(place, name, refuse)
    try:
        yield
    finally:
        for thing, name, function in whole:
            setattr(thing, name, function)


class _Keeper:
    """Knows what the folder of the catalogue holds, and puts it right."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / CATALOGUE
        self._copy = folder.parent / "pristine.duckdb"
        shutil.copy2(self._file, self._copy)
        self._names = {path.name for path in folder.iterdir()}
        self._hash = _sha256(self._copy)
        self._state = self._stat()

    def put_right(self, may_write: bool) -> None:
        """Take away new files; complain of a changed catalogue unless the input may write to it."""
        new = [path for path in self._folder.iterdir() if path.name not in self._names]
        for path in new:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.rmtree(self._folder / "out")
        (self._folder / "out").mkdir()
        is_changed = self._stat() != self._state and _sha256(self._file) != self._hash
        if self._stat() != self._state:
            shutil.copy2(self._copy, self._file)
            self._state = self._stat()
        for name in self._names - {path.name for path in self._folder.iterdir()}:
            raise AssertionError(f"{name} is gone")
        if is_changed and not may_write:
            raise AssertionError("the catalogue's bytes changed")

    def _stat(self) -> tuple[int, int, int]:
        if not self._file.exists():
            return (0, 0, 0)
        found = self._file.stat()
        return found.st_size, found.st_mtime_ns, found.st_ino


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def make_folder(folder: Path) -> None:
    """Make a catalogue of two small SAEs of random weights, and a few files beside it."""
    import numpy as np
    from featdex.ingest.device import Options
    from featdex.ingest.pipeline import ingest
    from featdex.ingest.token_sets import token_set_from_ids
    from job import Silence
    from made_release import Release, read_job, read_model, write_release

    release = Release(saes=2, features=24, tokens=60, sets=4, d_model=8, directions=10)
    source = folder.parent / "release"
    source.mkdir(exist_ok=True)
    write_release(release, source)
    model = read_model(source)
    with np.load(source / "sets.npz") as stored:
        sets = [token_set_from_ids(f"set{k}", stored[f"arr_{k}"], release.tokens) for k in range(release.sets)]
    ingest(
        folder / CATALOGUE,
        model,
        [read_job(release, source, layer) for layer in range(release.saes)],
        sets,
        options=Options(device="cpu", threads=1, directions=release.directions),
        reporter=Silence(),
        narrate=lambda _: None,
    )
    for name, data in {"mine.toml": TOML, "mine.gmt": GMT[0], "lines.txt": b"w1\nw2\n", "m.gguf": b"GGUF"}.items():
        (folder / name).write_bytes(data)
    (folder / "out").mkdir()


COMMAND_PARSERS = {"command line": (12, command_line)}
