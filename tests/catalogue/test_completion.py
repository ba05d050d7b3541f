"""Completion in real shells, of what the catalogue holds, quick, silent on faults and safe from hostile names."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from featdex.catalogue import cli, completion
from typer.main import get_command

FEATDEX = Path(sys.executable).with_name("featdex")
Featdex = Callable[..., tuple[int, str, str]]
Complete = Callable[..., list[str]]


@pytest.fixture
def shell_environment(environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """`featdex` is found by name, as after an installation."""
    monkeypatch.setenv("PATH", f"{FEATDEX.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def complete(environment: None, capfd: pytest.CaptureFixture[str]) -> Complete:
    """The candidates for a line: `complete("top", "gi", shell="zsh")`."""
    group = get_command(cli.app)

    def run(*words: str, shell: str = "zsh") -> list[str]:
        completion.answer(group, words, shell)
        out, err = capfd.readouterr()
        assert err == ""
        return [line.split("\t")[0] for line in out.splitlines()]

    return run


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("to",), ["top"]),
        (("inge",), ["ingest"]),
        (("sets", "sh"), ["show"]),
        (("top", "gi"), ["girls_names"]),
        (("top", "'gi"), ["girls_names"]),
        (("top", "girls_names", "--min-k"), ["--min-kurtosis"]),
        (("top", "girls_names", "--sae", "tiny/2"), ["tiny/29-mlp"]),
        (("top", "girls_names", "--sae=tiny/2"), ["--sae=tiny/29-mlp"]),
        (("top", "girls_names", "-f", "js"), ["json", "jsonl"]),
        (("q", "enr"), ["enriched_for", "enrichments"]),
        (("ls", "cov"), ["coverage"]),
        (("export", "par"), ["parquet"]),
        (("q", "enriched_for", "max_"), ["max_kurtosis=", "max_density=", "max_q="]),
        (("q", "enriched_for", "max_q=1", "max_"), ["max_kurtosis=", "max_density="]),
        (("q", "enriched_for", "set_name=b"), ["set_name=boys_names"]),
        (("q", "enriched_for", "b"), ["boys_names"]),
        (("q", "sets_of", "sae=tiny/8"), ["sae=tiny/8-res-jb"]),
        (("q", "outliers", "stat=-cos_k"), ["stat=-cos_kurtosis"]),
        (("show", "tiny/8"), ["tiny/8-res-jb/"]),
        (("show", "29"), ["29-mlp/"]),
        (("sets", "show", "dig"), ["digits"]),
        (("sets", "ls", "--collection", "sh"), ["shape"]),
        (("ingest", "--null", "iso"), ["isotropic"]),
        (("nope", ""), []),
        (("top", "girls_names", "--nope", ""), []),
        (("sql", ""), []),
    ],
)
def test_words_are_completed(complete: Complete, words: tuple[str, ...], found: list[str]) -> None:
    assert complete(*words) == found


def test_bash_hands_over_words_broken_at_equals_signs(complete: Complete) -> None:
    assert complete("q", "enriched_for", "set_name", "=", "gi", shell="bash") == ["girls_names"]
    assert "girls_names" in complete("q", "enriched_for", "set_name", "=", shell="bash")
    assert complete("top", "digits", "--sae", "=", "tiny/8", shell="bash") == ["tiny/8-res-jb"]


def test_the_catalogue_is_that_of_db_or_of_the_environment(
    complete: Complete, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEATDEX_DB")
    assert complete("top", "gi") == []
    assert complete("--db", str(small), "top", "gi") == ["girls_names"]
    assert complete("top", f"--db={small}", "gi") == ["girls_names"]


@pytest.mark.parametrize("state", ["missing", "empty", "corrupt", "foreign", "locked", "folder"])
def test_any_fault_is_silent(complete: Complete, tmp_path: Path, scratch: Path, state: str) -> None:
    file = tmp_path / f"{state}.duckdb"
    if state == "empty":
        file.touch()
    elif state == "corrupt":
        file.write_bytes(scratch.read_bytes()[:12_288] + b"\xff" * 20_000)
    elif state == "foreign":
        duckdb.connect(str(file)).close()
    elif state == "folder":
        file.mkdir()
    elif state == "locked":
        shutil.copy(scratch, file)
        with duckdb.connect(str(file)):
            assert complete("--db", str(file), "top", "gi") == []
        return
    assert complete("--db", str(file), "top", "gi") == []
    assert complete("--db", str(file), "to") == ["top"]


def test_a_query_without_end_is_stopped(complete: Complete, scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("ALTER TABLE token_set RENAME TO hidden")
        connection.execute(
            "CREATE VIEW token_set AS SELECT h.name, h.description FROM hidden h"
            " WHERE (SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b) > 0"
        )
    start = time.monotonic()
    assert complete("--db", str(scratch), "top", "gi") == []
    assert time.monotonic() - start < 30


HOSTILE = [
    "$(touch pwned)", "`touch pwned`", "a;touch pwned", "a'b", 'a"b', "a b", "a\nb", "a\x1b[31m", "*", "~", "a\\b",
    "a|touch pwned", "a&", "(x)", "a\tb", "!x", "{a,b}", "a>pwned", "#x", "éa",
]  # fmt: skip


@pytest.fixture
def hostile(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue whose sets and SAEs have names, descriptions and questions that a shell might run."""
    with duckdb.connect(str(scratch)) as connection:
        for index, name in enumerate(HOSTILE):
            connection.execute(
                "INSERT INTO token_set (set_id, model_id, name, description) VALUES (?, 1, ?, ?)",
                [100 + index, name, name],
            )
        connection.execute("UPDATE token_set SET description = '$(touch pwned)\n`touch pwned`' WHERE name = 'digits'")
    monkeypatch.setenv("FEATDEX_DB", str(scratch))
    return scratch


def test_hostile_names_are_not_offered(complete: Complete, hostile: Path) -> None:
    assert complete("top", "") == ["boys_names", "digits", "girls_names"]
    assert [complete("top", name) for name in HOSTILE] == [[]] * len(HOSTILE)


def test_a_completion_is_quick_and_loads_nothing_heavy(shell_environment: None) -> None:
    """Against the import of the two libraries that it can't do without: a slow machine is no fault of its own."""
    code = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], capture_output=True, check=True);"
        " usage = resource.getrusage(resource.RUSAGE_CHILDREN);"
        " print(usage.ru_utime + usage.ru_stime, len(done.stdout))"
    )

    def seconds(*command: str) -> float:
        told = subprocess.run(
            [sys.executable, "-c", code, *command],
            env=os.environ | {"_FEATDEX_COMPLETE": "bash"}, capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        assert command[0] != "featdex" or int(told[1]) > 50
        return float(told[0])

    unavoidable = min(seconds(sys.executable, "-c", "import duckdb, typer") for _ in range(2))
    assert min(seconds("featdex", "q", "enriched_for", "") for _ in range(2)) < max(0.3, 2.5 * unavoidable)


def type_into(argv: list[str], lines: list[str], wanted: str) -> str:
    """Type lines into an interactive shell on a pseudo-terminal, each once the last has had its effect."""
    import pty

    leader, follower = pty.openpty()
    environment = os.environ | {"PS1": "ready> ", "TERM": "dumb", "HISTFILE": "/dev/null"}
    seen = b""

    def read_until(text: bytes, start: int) -> None:
        nonlocal seen
        end = time.monotonic() + 20
        while text not in seen[start:] and time.monotonic() < end:
            if select.select([leader], [], [], 0.2)[0]:
                seen += os.read(leader, 65536)

    with subprocess.Popen(
        argv, stdin=follower, stdout=follower, stderr=follower, env=environment, start_new_session=True
    ) as process:
        os.close(follower)
        for line in lines:
            start = len(seen)
            os.write(leader, line.encode())
            read_until(wanted.encode() if line.endswith("\t") else b"ready> ", start)
        process.kill()
    os.close(leader)
    return seen.decode(errors="replace")


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [("featdex top gir\t", "girls_names"), ("featdex q enriched_for set_name=gir\t", "set_name=girls_names")],
)
def test_bash_completes(shell_environment: None, typed: str, wanted: str) -> None:
    lines = ["PS1='ready> '\n", 'eval "$(featdex --show-completion bash)"\n', typed]
    assert wanted in type_into(["bash", "--norc", "--noprofile", "-i"], lines, wanted)


def test_bash_runs_nothing_that_a_catalogue_says(shell_environment: None, hostile: Path, tmp_path: Path) -> None:
    words = "COMP_WORDS=(featdex top ''); COMP_CWORD=2; _featdex_completion featdex; printf '%s\\n' \"${COMPREPLY[@]}\""
    script = f'eval "$(featdex --show-completion bash)"; {words}'
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == ["boys_names", "digits", "girls_names"]
    assert not (tmp_path / "pwned").exists()


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes(shell_environment: None, hostile: Path, tmp_path: Path) -> None:
    start = "PS1='ready> '; autoload -U compinit; compinit -D; eval \"$(featdex --show-completion zsh)\"\n"
    typed, wanted = "featdex q enriched_for set_name=gir\t", "set_name=girls_names"
    assert wanted in type_into(["zsh", "-f", "-i"], [start, typed], wanted)
    listed = type_into(["zsh", "-f", "-i"], [start, "featdex top \t"], "touch pwned")
    assert "digits" in listed
    assert not (tmp_path / "pwned").exists()


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(shell_environment: None, hostile: Path, tmp_path: Path) -> None:
    def candidates(line: str) -> list[str]:
        script = f"featdex --show-completion fish | source; complete -C '{line}'"
        done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, cwd=tmp_path)
        return [found.split("\t")[0] for found in done.stdout.splitlines()]

    assert candidates("featdex q enriched_for set_name=gir") == ["set_name=girls_names"]
    assert candidates("featdex top ") == ["boys_names", "digits", "girls_names"]
    (tmp_path / "mine.duckdb").touch()
    assert candidates("featdex --db mi") == ["mine.duckdb"]
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_it_is_installed_once(featdex: Featdex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / ".bashrc").write_text("mine")
    assert [featdex("--install-completion", shell)[0] for _ in range(2)] == [0, 0]
    script = featdex("--show-completion", shell)[1]
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.read_text() == script]
    assert len(written) == 1
    if shell == "bash":
        lines = (tmp_path / ".bashrc").read_text().splitlines()
        assert (lines[0], len(lines), str(written[0]) in lines[1]) == ("mine", 2, True)


def test_an_unknown_shell_is_a_usage_error(featdex: Featdex) -> None:
    code, _, err = featdex("--show-completion", "csh")
    assert (code, err) == (2, "featdex: no completion for the shell 'csh'; name one of bash, zsh, fish\n")
