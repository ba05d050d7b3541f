"""The pages in docs/: generated ones are current, and what the others tell the reader to type works and prints that."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from featdex.docs import blocks, generate

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
COMMANDS = [(page, command) for page in PAGES for command in blocks.commands(DOCS / page)]
STATEMENTS = [(page, *found) for page in PAGES for found in blocks.statements(DOCS / page)]
SCRIPTS = [(page, *found) for page in PAGES for found in blocks.scripts(DOCS / page)]

Folder = Callable[[str], Path]


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Folder:
    """A page's own copy of the demo, and its files: its commands are run in it in their order."""
    made: dict[str, Path] = {}

    def folder(page: str) -> Path:
        if page not in made:
            made[page] = tmp_path_factory.mktemp(page.removesuffix(".md"))
            shutil.copy(request.getfixturevalue("demo_folder") / "demo.duckdb", made[page] / "demo.duckdb")
            blocks.write_files(DOCS / page, made[page])
        return made[page]

    return folder


@pytest.mark.parametrize("page", generate.pages())
def test_a_generated_page_is_current(page: str) -> None:
    assert (DOCS / page).is_file(), f"run '{generate.COMMAND}'"
    assert (DOCS / page).read_text(encoding="utf-8") == generate.pages()[page], f"run '{generate.COMMAND}'"


def test_generated_pages_are_the_same_on_any_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in ("40", "300"):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setenv("TERMINAL_WIDTH", columns)
        code = "from featdex.docs.generate import pages; import json; print(json.dumps(pages()))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == json.dumps(generate.pages())


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=lambda value: getattr(value, "line", value))
def test_a_command_works(page: str, command: blocks.Command, folder_of: Folder) -> None:
    assert blocks.fault_of_line(command.line) is None
    if command.is_run:
        done = blocks.run(command.line, folder_of(page), blocks.exports(DOCS / page))
        assert done.returncode == 0, done.stderr
        assert not command.output.strip() or blocks.difference(done.stdout, command.output) is None


@pytest.mark.parametrize(("page", "statement", "is_run"), STATEMENTS)
def test_sql_works(page: str, statement: str, is_run: bool, folder_of: Folder) -> None:
    assert blocks.fault_of_sql(statement) is None
    if is_run:
        with duckdb.connect(str(folder_of(page) / "demo.duckdb"), read_only=True) as connection:
            assert connection.execute(statement).fetchall()


@pytest.mark.parametrize(("page", "script", "is_run"), SCRIPTS)
def test_python_works(page: str, script: str, is_run: bool, folder_of: Folder) -> None:
    compile(script, page, "exec")
    if is_run:
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=folder_of(page), capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("featdex --db x.duckdb top girls_names --min-kurtosis 8 | head", None),
        ("FEATDEX_DB=x featdex q enriched_for girls_names n=5 > out.csv", None),
        ("featdex ingest gpt2-small-res-jb --layers 0-11", None),
        ("duckdb x.duckdb \"FROM enriched_for('girls_names')\"", None),
        ("make demo", None),
        ("featdex topp girls_names", "No such command 'topp'"),
        ("featdex top girls_names --min-kurtosys 8", "No such option: --min-kurtosys"),
        ("featdex top", "Missing argument 'SET'"),
        ("featdex q enriched_fro girls_names", "no question 'enriched_fro'"),
        ("featdex q enriched_for kurtosis=3", "enriched_for has no parameter 'kurtosis'"),
        ("featdex export enriched_for min_z=3 -o x.csv", "enriched_for has no parameter 'min_z'"),
        ("featdex sql 'FROM featuress'", "Table with name featuress does not exist"),
        ('duckdb x.duckdb "SELECT nope FROM features"', "nope"),
        ("make dem", "no target dem"),
        ("fetadex top", "no command 'fetadex'"),
    ],
)
def test_a_line_that_can_not_be_run_is_checked(line: str, fault: str | None) -> None:
    found = blocks.fault_of_line(line)
    assert found is None if fault is None else found is not None and fault.casefold() in found.casefold()


@pytest.mark.parametrize(
    ("found", "shown", "is_same"),
    [
        ("a 1\nb 2\n", "a 1\nb 2\n", True),
        ("a 1.004\n", "a 1\n", True),
        ("a 1.3\n", "a 1\n", False),
        ("a\nb\nc\nd\n", "a\n…\nd\n", True),
        ("a\nb\nc\n", "a\n…\n", True),
        ("a\nb\n", "a\n", False),
        ("a\n", "a\nb\n", False),
        ("a\nb\n", "…\nc\n", False),
    ],
)
def test_what_a_page_shows_is_compared_with_what_is_printed(found: str, shown: str, is_same: bool) -> None:
    assert (blocks.difference(found, shown) is None) == is_same


def test_notes_are_of_a_block_or_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    block = "```console\n$ featdex a \\\n    b\nout\n$ featdex c\n```\n"
    page.write_text(f"# T\n\n{block}\n<!-- needs the hub -->\n{block}\n```toml\n# my.toml\nx = 1\n```\n")
    assert [(c.line, c.output, c.is_run) for c in blocks.commands(page)] == [
        ("featdex a     b", "out\n", True), ("featdex c", "", True), ("featdex a     b", "out\n", False),
        ("featdex c", "", False),
    ]  # fmt: skip
    blocks.write_files(page, tmp_path)
    assert (tmp_path / "my.toml").read_text() == "# my.toml\nx = 1\n"
    page.write_text(f"# T\n\n<!-- other catalogue -->\n\n{block}")
    assert [command.is_run for command in blocks.commands(page)] == [False, False]
