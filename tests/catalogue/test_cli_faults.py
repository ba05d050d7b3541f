"""What goes wrong on the command line, where its output goes, and the verbs of other packages."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer
from featdex.catalogue.cli_common import db_path, wait_seconds
from featdex.catalogue.errors import CatalogueError, ExitCode

FEATDEX = [sys.executable, "-c", "from featdex.catalogue.cli import main; main()"]

Featdex = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("top girl_names", 3, "no token set 'girl_names'; nearest: girls_names, boys_names"),
        ("top girls_names --sae nope", 3, "no SAE matches 'nope'; nearest: "),
        ("top girls_names --min-kurtosis 1000", 3, "no feature promotes 'girls_names' within these limits"),
        ("top girls_names --suppressed --min-kurtosis 1000", 3, "no feature suppresses 'girls_names'"),
        ("show tiny/9/7", 3, "no SAE matches 'tiny/9'"),
        ("show 29-mlp/580", 3, "no feature 580 in 'tiny/29-mlp'; its features are 0 to 579"),
        ("sets show nope", 3, "no token set 'nope'; nearest: "),
        ("sets ls --collection nope", 3, "no collection 'nope'; there are names, shape"),
        ("q sets_of 29-mlp 3", 3, "no SAE matches '29-mlp'; nearest: tiny/29-mlp"),
        ("q sets_of tiny/29-mlp 3 max_q=0", 3, "sets_of finds nothing with these parameters"),
        ("show tiny/7", 2, "'tiny' matches 2 SAEs; which of tiny/8-res-jb, tiny/29-mlp?"),
        ("show 573", 2, "'573' is no feature; write SAE/FEATURE"),
        ("q nope", 2, "no question 'nope'"),
        ("q enriched_for", 2, "enriched_for needs set_name"),
        ("q enriched_for digits kurtosis=3", 2, "enriched_for has no parameter 'kurtosis'; did you mean"),
        ("q tokens_of a 1 2 3", 2, "tokens_of takes 3 parameters; 3 is one too many"),
        ("q coverage --fromat csv", 2, "no option --fromat"),
        ("top", 2, "Missing argument 'SET' (see 'featdex top --help')"),
        ("top digits --min-kurtosis x", 2, "Invalid value for '--min-kurtosis'"),
        ("top digits -f html", 2, "Invalid value for '--format'"),
        ("top digits -n 0", 2, "Invalid value for '-n'"),
        ("sets", 2, "Missing command (see 'featdex sets --help')"),
        ("export coverage", 2, "Missing option '--output'"),
        ("export -o x.csv", 2, "export takes a question or --sql TEXT"),
        ("export coverage --sql 'SELECT 1' -o x.csv", 2, "export takes a question or --sql TEXT"),
        ("export coverage -o x.latex", 2, "x.latex does not end in csv, tsv, json, jsonl, md, tex, parquet"),
        ("export coverage -o .", 2, ". does not end in csv"),
        ("export coverage -f csv -o .", 2, ". is a folder"),
        ("ls -f parquet", 2, "only answers to questions and SQL can be parquet"),
        ("export coverage -o absent/x.csv", 1, "cannot write absent/x.csv: No such file or directory"),
        ("sql 'SELCT 1'", 1, 'syntax error at or near "selct"'),
        ("sql ''", 2, "the SQL text holds no query"),
        (
            "q outliers kurtosi",
            3,
            "no statistic 'kurtosi' among the columns of the table feature; did you mean kurtosis",
        ),
        ("q layer_profile nope", 3, "no statistic 'nope'"),
        ("q enriched_for girls_names n=-1", 2, "n is a number of rows, and can't be -1"),
        ("q enriched_for girls_names n=1.5", 2, "n is a number of rows, and can't be 1.5"),
        ("q enriched_for girls_names n=abc", 2, "n is a number of rows, and can't be 'abc'"),
        (f"top girls_names -n {'9' * 25}", 2, "n is a number of rows"),
        ("q similar_by_sets tiny/29-mlp 1.7", 2, "feature is the index of a feature, from 0"),
        ("q enriched_for set_name=digits set_name=girls_names", 2, "set_name is given twice"),
        ("q specific_to girls_names other=girls_names", 1, "specific_to tells a set from another"),
        ("sql 'SELECT 1; SELECT 2'", 2, "sql answers one statement, and these are 2; 'featdex shell' takes several"),
        ("--db absent.duckdb ls", 1, "no catalogue at absent.duckdb; make one with 'featdex ingest'"),
        ("--db . ls", 1, ". is a folder, not a catalogue"),
    ],
)
def test_a_fault_is_one_line_and_an_exit_code(featdex: Featdex, line: str, code: int, message: str) -> None:
    found, _, err = featdex(*shlex.split(line))
    assert err.removeprefix("featdex: ").casefold().startswith(message.casefold())
    assert (found, err.count("\n")) == (code, 1)


def test_no_catalogue_named_is_a_usage_error(featdex: Featdex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEATDEX_DB")
    assert featdex("ls") == (2, "", "featdex: no catalogue named; give --db FILE, or set FEATDEX_DB\n")


def test_a_fault_can_not_steer_the_terminal(featdex: Featdex) -> None:
    assert "\x1b" not in featdex("top", "\x1b[31mgirls")[2]


def test_doctor_names_what_it_would_rebuild(featdex: Featdex, scratch: Path) -> None:
    origin = {"source": "my saes/it's", "model": "tiny.gguf", "model_name": None, "layer": 3, "sae": "a b", "slug": "x"}
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("DELETE FROM feature WHERE feature = 5")
        ((params,),) = connection.execute("SELECT params FROM run WHERE sae_id = 1").fetchall()
        told = json.dumps({**json.loads(params), "origin": origin})
        connection.execute("UPDATE run SET params = ? WHERE sae_id = 1", [told])
    code, out, err = featdex("--db", str(scratch), "doctor")
    faults = [line.split(":")[0] for line in out.splitlines() if line.startswith("FAULT")]
    assert (code, faults) == (ExitCode.FAULT, ["FAULT  features", "FAULT  holes"])
    assert err == (
        "featdex: 2 of the checks failed; would rebuild tiny/29-mlp, tiny/8-res-jb:"
        " 'featdex ingest … --force' as above\n"
    )
    commands = [shlex.split(line) for line in out.splitlines() if line.startswith("rebuild")]
    start = ["rebuild", "featdex", "--db", str(scratch), "ingest"]
    assert commands == [
        [*start, "SOURCE", "--model", "MODEL", "--slug", "tiny/29-mlp", "--force"],
        [
            *start,
            *shlex.split("'my saes/it'\\''s' --model tiny.gguf --layers 3 --sae 'a b' --slug tiny/8-res-jb --force"),
        ],
    ]


def test_doctor_says_where_no_sae_would_help(featdex: Featdex, scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("UPDATE token SET raw = 'x' WHERE token_id = 1")
    code, out, err = featdex("--db", str(scratch), "doctor")
    assert (code, "rebuild" in out) == (ExitCode.FAULT, False)
    assert err.endswith("take another copy of the file, or ingest into a new one\n")


def test_nothing_found_is_still_valid_for_programs(featdex: Featdex) -> None:
    assert json.loads(featdex("top", "digits", "--min-kurtosis", "1000", "-f", "json")[1]) == []
    assert featdex("top", "digits", "--min-kurtosis", "1000", "-f", "table")[1] == ""


class FakeEntry:
    """An entry point of the group `featdex.commands`."""

    name = "extra"

    def __init__(self, register: Any) -> None:
        self.register = register

    def load(self) -> Any:
        if isinstance(self.register, Exception):
            raise self.register
        return self.register


def register_extra(app: typer.Typer) -> None:
    """What another package does."""

    @app.command()
    def extra(context: typer.Context) -> None:
        """Tell what this command was given."""
        print(db_path(context).name, wait_seconds(context))

    @app.command()
    def top() -> None:
        """Try to take the place of a reading verb."""


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> list[FakeEntry]:
    entries: list[FakeEntry] = []
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: entries)
    return entries


def test_another_package_adds_verbs(featdex: Featdex, entry_points: list[FakeEntry]) -> None:
    entry_points.append(FakeEntry(register_extra))
    assert featdex("extra", "--wait", "3") == (0, "small.duckdb 3.0\n", "")
    assert featdex("top", "digits")[1].startswith("sae,")
    assert "extra" in featdex("--help")[1]


def test_a_package_that_fails_to_load_breaks_only_its_own_verbs(
    featdex: Featdex, entry_points: list[FakeEntry]
) -> None:
    entry_points += [FakeEntry(ImportError("No module named 'torch'")), FakeEntry(register_extra)]
    assert featdex("--help")[0] == 0
    assert featdex("top", "digits")[0] == 0
    assert featdex("extra")[0] == 0
    code, _, err = featdex("saes")
    assert code == ExitCode.USAGE
    hint = "those of 'extra' failed to load (No module named 'torch'); pip install 'featdex[extra]'"
    assert err == f"featdex: no command 'saes'; {hint}\n"


def test_a_spot_check_needs_what_has_the_weights(featdex: Featdex, entry_points: list[FakeEntry]) -> None:
    code, out, err = featdex("doctor", "--spot-check", "3")
    assert (code, err) == (2, "featdex: --spot-check computes features again; pip install 'featdex[ingest]'\n")
    assert "FAULT" not in out


def test_a_spot_check_follows_the_other_checks(featdex: Featdex, entry_points: list[FakeEntry]) -> None:
    def register(app: typer.Typer) -> None:
        @app.command("spot-check")
        def spot(context: typer.Context, n: int) -> None:
            """Find a difference."""
            print(f"looked at {n} in {db_path(context).name}")
            raise CatalogueError("one differs")

    entry_points.append(FakeEntry(register))
    code, out, err = featdex("doctor", "--spot-check", "3")
    assert (code, out.splitlines()[-1], err) == (1, "looked at 3 in small.duckdb", "featdex: one differs\n")


def test_an_unknown_verb_is_a_usage_error(featdex: Featdex, entry_points: list[FakeEntry]) -> None:
    code, _, err = featdex("topp")
    assert (code, err.startswith("featdex: No such command 'topp'")) == (2, True)


def test_an_interrupt_ends_with_130(featdex: Featdex, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_context: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("featdex.catalogue.cli_care.db_path", interrupt)
    assert featdex("doctor")[0] == 130


@pytest.mark.usefixtures("environment")
def test_a_closed_pipe_is_silent() -> None:
    endless = "SELECT range, repeat('x', 100) FROM range(1000000)"
    with subprocess.Popen(
        [*FEATDEX, "sql", endless],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == ExitCode.FAULT


@pytest.mark.usefixtures("environment")
def test_parquet_goes_to_a_redirected_stdout(tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    with output.open("wb") as stream:
        subprocess.run([*FEATDEX, "sql", "SELECT 1 AS a", "-f", "parquet"], stdout=stream, check=True)
    assert duckdb.connect().execute(f"FROM '{output}'").fetchall() == [(1,)]


@pytest.mark.usefixtures("environment")
def test_a_terminal_gets_a_table_that_fits(on_terminal: Callable[..., bytes]) -> None:
    def printed(arguments: list[str], columns: int) -> str:
        environment = os.environ | {"COLUMNS": str(columns), "LINES": "50"}
        return on_terminal([*FEATDEX, *arguments], environment).decode()

    lines = printed(["top", "girls_names", "-n", "3"], 150).splitlines()
    assert lines[0].split()[:3] == ["sae", "feature", "z"]
    assert max(map(len, lines)) <= 150
    assert "parquet is no text" in printed(["sql", "SELECT 1", "-f", "parquet"], 80)


@pytest.mark.parametrize("verb", [["sql"], ["export", "-o", "x.csv", "--sql"]])
def test_sql_that_is_no_unicode_text_is_a_fault(featdex: Featdex, verb: list[str]) -> None:
    code, out, err = featdex(*verb, "SELECT '\udcca'")
    assert (code, out, err.count("\n")) == (1, "", 1)
