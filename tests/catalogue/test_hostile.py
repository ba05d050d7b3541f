"""A catalogue that somebody sent: its views, macros, names and tokens harm neither the machine nor what shows them."""

from __future__ import annotations

import csv
import io
import json
import shlex
import unicodedata
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from featdex.catalogue.cli import run
from featdex.catalogue.file import create
from featdex.catalogue.formats import LISTS, Format
from featdex.catalogue.write import SaeRows, write_sae

Featdex = Callable[..., tuple[int, str, str]]

NAMES = [
    "'; DROP TABLE feature; --",
    'say "hi"',
    "two\nlines",
    "\x1b]0;owned\x07\x1b[2J",
    "=cmd|' /C calc'!A0",
    "| a | b |\n|---|---|",
    "\\input{/etc/passwd} $x$ & % # _ { }",
    "\u202egnp.exe",
    "{name} %s $1 ?",
    "--force",
    "*[!a]?",
]
MEMBERS = {name: [k, k + 1, 30 + k] for k, name in enumerate(NAMES)}
SLUG = "tiny/8-'\"\x1b[1m;\n=1"

# What a hostile file may hold, and the ways to run it.
VIEWS = [
    ("CREATE OR REPLACE VIEW features AS FROM read_text('{secret}')", 'sql "FROM features"'),
    ("CREATE OR REPLACE VIEW coverage AS FROM read_csv('{secret}')", "q coverage"),
    ("CREATE OR REPLACE MACRO enriched_for(set_name) AS TABLE FROM '{secret}'", "q enriched_for x"),
    ("CREATE MACRO peek() AS (SELECT content FROM read_text('{secret}'))", 'sql "SELECT peek()"'),
    ("CREATE VIEW listing AS FROM glob('{folder}/*')", "q listing"),
    ("CREATE VIEW sniffed AS FROM sniff_csv('{secret}')", "q sniffed"),
    ("CREATE VIEW bytes AS FROM read_blob('{secret}')", "q bytes"),
]
STATEMENTS = [
    "COPY (SELECT 1) TO '{folder}/out.csv'",
    "ATTACH '{folder}/new.duckdb'",
    "EXPORT DATABASE '{folder}/out'",
    "INSTALL httpfs",
    "LOAD '{folder}/x.duckdb_extension'",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "SET GLOBAL temp_directory = '{folder}'",
    "PRAGMA enable_profiling = 'json'",
    "CREATE PERSISTENT SECRET s (TYPE s3)",
    "DELETE FROM feature",
    "CREATE TABLE t AS SELECT 1",
    "FROM 'https://example.org/x.parquet'",
]


@pytest.fixture
def hostile(tmp_path: Path, rows_of: Callable[..., SaeRows]) -> Path:
    """A catalogue with every awkward name."""
    path = tmp_path / "sent.duckdb"
    create(path)
    rows = rows_of("tiny/8-x", members=MEMBERS)
    write_sae(path, rows)
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE sae SET slug = ?, neuronpedia_id = ?", [SLUG, NAMES[3]])
    return path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "files" / "secret.csv"
    path.parent.mkdir()
    path.write_text("password\nhunter2\n")
    return path


@pytest.mark.parametrize(("definition", "line"), VIEWS)
def test_what_the_file_defines_reads_no_other_file(
    scratch: Path, secret: Path, featdex: Featdex, definition: str, line: str
) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute(definition.format(secret=secret, folder=secret.parent))
    code, out, err = featdex("--db", str(scratch), *shlex.split(line))
    assert (code, err.count("\n")) == (1, 1)
    assert "disabled by configuration" in err
    assert "hunter2" not in out + err
    assert "secret.csv" not in out
    code, out, err = featdex("--db", str(scratch), "doctor")
    assert "hunter2" not in out + err


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("verb", ["sql", "export"])
def test_no_statement_leaves_the_catalogue(
    scratch: Path, secret: Path, featdex: Featdex, statement: str, verb: str
) -> None:
    before = scratch.read_bytes()
    text = statement.format(folder=secret.parent)
    arguments = ["sql", text] if verb == "sql" else ["export", "--sql", text, "-o", "x.csv"]
    code, _, err = featdex("--db", str(scratch), *arguments)
    assert (code, err.count("\n")) == (1, 1)
    assert [file.name for file in secret.parent.iterdir()] == ["secret.csv"]
    assert not Path("x.csv").exists()
    assert scratch.read_bytes() == before


def test_an_example_in_a_comment_is_no_way_in(scratch: Path, featdex: Featdex) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("CREATE MACRO mine() AS TABLE SELECT 1 AS one")
        connection.execute("COMMENT ON MACRO TABLE mine IS 'Mine\nExample: FROM mine(); SELECT error(''entered'')'")
    code, out, _ = featdex("--db", str(scratch), "doctor")
    assert (code, "entered" in out) == (0, False)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_set_can_be_asked_for(hostile: Path, featdex: Featdex, name: str) -> None:
    for line in (["top", "-n", "2", "--", name], ["q", "enriched_for", f"set_name='{name}'", "n=2"]):
        code, out, err = featdex("--db", str(hostile), line[0], *line[1:])
        assert (code, err) == (0, ""), line
        header, *records = csv.reader(io.StringIO(out, newline=""))
        assert [record[0] for record in records] == [SLUG, SLUG]
        assert len(header) == len(records[0])
    code, out, err = featdex("--db", str(hostile), "sets", "show", "-f", "json", "--", name)
    assert json.loads(out)[0]["name"] == name
    with duckdb.connect(str(hostile), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM feature").fetchall() == [(12,)]


@pytest.mark.parametrize("form", [form for form in Format if form not in (Format.PARQUET, *LISTS)])
def test_no_name_steers_or_breaks_what_shows_it(hostile: Path, featdex: Featdex, form: Format) -> None:
    code, out, err = featdex("--db", str(hostile), "q", "sets_of", "*", "3", "-f", form.value)
    assert (code, err) == (0, "")
    if form in (Format.CSV, Format.TSV, Format.SPREADSHEET):
        delimiter = "\t" if form is Format.TSV else ","
        rows = list(csv.DictReader(io.StringIO(out.removeprefix("\ufeff"), newline=""), delimiter=delimiter))
        names = {row["set_name"] for row in rows}
        if form is Format.SPREADSHEET:
            assert all(not field.startswith(("=", "+", "@")) for row in rows for field in row.values())
            names = {name.removeprefix("'") if name[:2] in ("'=", "'-") else name for name in names}
        assert names == set(NAMES)
        return
    assert [c for c in out.replace("\n", "") if unicodedata.category(c)[0] == "C"] == []
    lines = out.splitlines()
    if form in (Format.JSON, Format.JSONL):
        found = json.loads(out) if form is Format.JSON else [json.loads(line) for line in lines]
        assert {row["set_name"] for row in found} == set(NAMES)
    else:
        assert len(lines) == len(NAMES) + {Format.TABLE: 2, Format.MD: 2, Format.LATEX: 6}[form]


def test_errors_and_cards_do_not_steer_either(hostile: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for line in (["show", "8/3"], ["sets", "show", NAMES[3]], ["ls"], ["top", "\x1b[2J"], ["show", "\x1b[2J/3"]):
        run(["--db", str(hostile), *line, *(["-f", "table"] if line == ["ls"] else [])])
        out, err = capfd.readouterr()
        shown = (out + err).replace("\n", "")
        assert shown
        assert [c for c in shown if unicodedata.category(c)[0] == "C"] == [], line
