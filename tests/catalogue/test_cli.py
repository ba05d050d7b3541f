"""The command line: every verb, every exit code, every help page."""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer
from featdex.catalogue import cli
from featdex.catalogue.cli_read import typed
from featdex.catalogue.errors import ExitCode
from typer.core import TyperGroup

Featdex = Callable[..., tuple[int, str, str]]


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands of the app's own table, groups included."""
    yield path, group
    if isinstance(group, TyperGroup):
        context = typer.Context(group)
        for name in group.list_commands(context):
            yield from commands(group.get_command(context, name), (*path, name))


COMMANDS = dict(commands(typer.main.get_command(cli.app)))
READING_VERBS = {"top", "promotes", "q", "ls", "sql", "shell", "export", "doctor", "show", "sets", "saes", "plot"}
NOTING_VERBS = {"migrate", "tag", "tags", "import", "merge"}
READING = [path for path in COMMANDS if not path or path[0] in READING_VERBS | NOTING_VERBS]
# These read the weights, which the small catalogue was not made from.
READING = [path for path in READING if path not in {("plot", "logits"), ("plot", "running-sum")}]


def example_of(path: tuple[str, ...]) -> str:
    """The last line of a help page."""
    context = typer.Context(COMMANDS[path], info_name=" ".join(("featdex", *path)))
    *_, heading, line = COMMANDS[path].get_help(context).rstrip().splitlines()
    assert heading.strip() == "Example:"
    return str(line.strip())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_help_page_ends_with_an_example_of_its_own(path: tuple[str, ...]) -> None:
    assert shlex.split(example_of(path))[0] == "featdex"
    assert all(word in shlex.split(example_of(path)) for word in path)
    assert COMMANDS[path].help


@pytest.mark.parametrize("path", READING, ids=" ".join)
def test_every_example_runs(
    path: tuple[str, ...], scratch: Path, tmp_path: Path, featdex: Featdex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATDEX_DB", str(scratch))
    for name in ("demo.duckdb", "more.duckdb"):
        shutil.copy(scratch, tmp_path / name)
    (tmp_path / "my_sets.toml").write_text('[sets.my_fruits]\nterms = ["Mary", "apple"]')
    explanation = {"modelId": "tiny", "layer": "8-res-jb", "index": "7", "description": "names"}
    (tmp_path / "batch-0.jsonl.gz").write_bytes(gzip.compress(json.dumps(explanation).encode()))
    if path == ("tags",):
        assert featdex("tag", "29-mlp/573", "names")[0] == 0
    if path == ("sets", "rm"):
        assert featdex("sets", "add", "my_sets.toml")[0] == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("FROM coverage;"))
    code, out, err = featdex(*shlex.split(example_of(path))[1:])
    assert (code, err.startswith("featdex: ")) == (0, False)
    assert out or re.search("wrote|removed|has schema", err)


def test_help_and_version(featdex: Featdex) -> None:
    assert featdex("-h") == featdex("--help") == featdex()
    assert featdex("--version") == (0, f"featdex {importlib.metadata.version('featdex')}\n", "")
    assert featdex("top", "-h")[1].startswith("Usage: featdex top [OPTIONS]")


def test_top_ranks_the_features_of_a_set(featdex: Featdex) -> None:
    code, out, err = featdex("top", "girls_names", "--min-kurtosis", "8", "-f", "json")
    assert (code, err) == (0, "")
    assert [(row["sae"], row["feature"], row["z"]) for row in json.loads(out)] == [
        ("tiny/8-res-jb", 7, 15.0),
        ("tiny/29-mlp", 573, 15.0),
    ]
    limits = ["--sae", "*8*", "--max-kurtosis", "30", "--min-skewness", "-9", "--max-density", "1", "--max-q", "1"]
    assert featdex("top", "girls_names", *limits, "-n", "2", "-f", "jsonl")[1].count("\n") == 2
    suppressed = json.loads(featdex("top", "girls_names", "--suppressed", "-n", "3", "-f", "json")[1])
    assert [row["z"] < 0 for row in suppressed] == [True] * 3


def test_db_and_wait_may_follow_the_verb(featdex: Featdex, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEATDEX_DB")
    expected = featdex("--db", str(small), "--wait", "1", "q", "coverage")
    assert expected[0] == 0
    assert featdex("q", "coverage", "--db", str(small), "--wait=1") == expected
    assert featdex("q", f"--db={small}", "coverage") == expected
    assert featdex("q", "coverage", "--db")[0] == ExitCode.USAGE


def test_a_pipe_gets_csv(featdex: Featdex) -> None:
    assert featdex("q", "coverage")[1].startswith("sae,model,kind,layer,")


def test_values_are_given_by_name_or_in_order(featdex: Featdex) -> None:
    expected = featdex("q", "tokens_of", "sae=tiny/8-res-jb", "feature=7", "n=3")
    assert expected[0] == 0
    assert featdex("q", "tokens_of", "tiny/8-res-jb", "7", "3") == expected
    assert featdex("q", "tokens_of", "n=3", "tiny/8-res-jb", "7") == expected
    assert featdex("q", "outliers", "-skewness", "n=2") == featdex("q", "outliers", "stat=-skewness", "n=2")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5), ("-5", -5), ("0.05", 0.05), (".5", 0.5), ("1e-3", 1e-3), ("true", True), ("False", False),
        ("null", None), ("'5'", "5"), ('"true"', "true"), ("'", "'"), ("girls_names", "girls_names"),
        ("1.2.3", "1.2.3"), ("nan", "nan"), ("", ""), ("'a'b", "'a'b"), ("٣", "٣"),
    ],
)  # fmt: skip
def test_values_are_what_they_look_like(text: str, value: Any) -> None:
    assert typed(text) == value
    assert type(typed(text)) is type(value)


def test_ls_lists_and_explains(featdex: Featdex) -> None:
    _, out, _ = featdex("ls", "-f", "json")
    listed = {row["name"]: row for row in json.loads(out)}
    assert listed["tokens_of"]["parameters"] == "sae, feature, n := 10"
    assert listed["coverage"]["kind"] == "view"
    code, out, _ = featdex("ls", "tokens_of")
    assert (code, out.splitlines()[0]) == (0, "tokens_of(sae, feature, n := 10)")
    assert "Parameters:" in out
    assert featdex("ls", "features")[1].startswith("features\n\nFeatures with their statistics")


def test_sql_from_the_line_and_from_stdin(featdex: Featdex, monkeypatch: pytest.MonkeyPatch) -> None:
    assert featdex("sql", "SELECT 1 AS a, ' x' AS token") == (0, "a,token\n1, x\n", "")
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT 2 AS a"))
    assert featdex("sql", "-") == (0, "a\n2\n", "")
    assert featdex("sql", "SELECT 1 AS a WHERE false") == (0, "a\n", "no rows\n")


def test_sql_can_not_write(featdex: Featdex, small: Path) -> None:
    before = small.read_bytes()
    for sql in ("DELETE FROM feature", "COPY meta TO 'meta.csv'", "ATTACH 'x.duckdb'", "FROM read_csv('/etc/passwd')"):
        code, out, err = featdex("sql", sql)
        assert (code, out, err.count("\n")) == (ExitCode.FAULT, "", 1)
    assert small.read_bytes() == before
    assert list(Path.cwd().iterdir()) == []


def test_show_gives_a_card_and_the_same_as_data(featdex: Featdex) -> None:
    code, out, _ = featdex("show", "29-mlp/573")
    assert (code, out.splitlines()[0][:16]) == (0, "tiny/29-mlp/573 ")
    card = json.loads(featdex("show", "29-mlp/573", "-f", "json")[1])
    assert (card["sae"], card["feature"], card["top_tokens"][0]["token"]) == ("tiny/29-mlp", 573, " Mary")
    assert featdex("show", "29-mlp/573", "-f", "csv")[0] == ExitCode.USAGE


def test_sets_are_listed(featdex: Featdex) -> None:
    names = [row["name"] for row in json.loads(featdex("sets", "ls", "-f", "json")[1])]
    assert names == ["Quote's", "boys_names", "girls_names", "digits"]
    assert featdex("sets", "ls", "--collection", "shape")[1].splitlines()[1].startswith("digits,shape,list,4,5,1,tiny,")


def test_retired_sets_are_listed_on_request(featdex: Featdex, scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("UPDATE token_set SET name = 'digits@0123abcd' WHERE name = 'digits'")
    assert "digits" not in featdex("sets", "ls", "--db", str(scratch))[1]
    assert "digits@0123abcd" in featdex("sets", "ls", "--retired", "--db", str(scratch))[1]


def test_a_set_is_shown_with_its_members(featdex: Featdex) -> None:
    _, out, _ = featdex("sets", "show", "girls_names", "-n", "3")
    assert out.splitlines()[-2:] == [
        "  members     ␣Mary ␣Anna Mary … and 2 more",
        "  dropped     no␣girls_names (no single token)",
    ]
    assert "made by hand (CC0)" in out
    (facts,) = json.loads(featdex("sets", "show", "girls_names", "-f", "json")[1])
    assert [(term["term"], term["reason"]) for term in facts["dropped"]] == [("no girls_names", "no single token")]
    assert [member["token"] for member in facts["members"]] == [" Mary", " Anna", "Mary", " word4", " word5"]
    assert (
        featdex("sets", "show", "girls_names", "-n", "1", "-f", "csv")[1]
        == "model,token_id,token,raw\ntiny,0, Mary,ĠMary\n"
    )


def test_doctor_reports_and_fails_on_a_fault(featdex: Featdex, scratch: Path) -> None:
    code, out, err = featdex("doctor")
    assert (code, err) == (0, "")
    assert {line.split()[0] for line in out.splitlines()} == {"ok"}
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("DELETE FROM feature WHERE feature = 3")
    code, out, err = featdex("doctor", "--db", str(scratch))
    assert (code, err[:9]) == (ExitCode.FAULT, "featdex: ")
    assert "FAULT  features: 2 faults, such as: tiny/29-mlp has 579 feature rows" in out


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "md", "parquet"])
def test_export_writes_every_format(featdex: Featdex, ending: str) -> None:
    output = Path(f"names.{ending}")
    code, out, err = featdex("export", "enriched_for", "set_name=girls_names", "n=5", "-o", str(output))
    assert (code, out, err) == (0, "", f"wrote {output}\n")
    if ending != "parquet":
        assert output.read_text() == featdex("q", "enriched_for", "girls_names", "n=5", "-f", ending)[1]
    else:
        assert duckdb.connect().execute(f"SELECT count(*) FROM '{output}'").fetchall() == [(5,)]
    assert sorted(path.name for path in Path.cwd().iterdir()) == [output.name, f"{output.name}.json"]


def test_export_takes_sql_and_a_format(featdex: Featdex) -> None:
    assert featdex("export", "--sql", "SELECT 1 AS a", "-f", "csv", "-o", "one.txt")[0] == 0
    assert Path("one.txt").read_text() == "a\n1\n"


def test_an_export_that_fails_leaves_the_old_file(featdex: Featdex) -> None:
    Path("old.csv").write_text("old")
    late = "SELECT CASE WHEN range > 5000 THEN error('late') ELSE range END AS x FROM range(10000)"
    assert featdex("export", "--sql", late, "-o", "old.csv")[0] == ExitCode.FAULT
    assert Path("old.csv").read_text() == "old"
    assert [path.name for path in Path.cwd().iterdir()] == ["old.csv"]


def test_export_never_overwrites_the_catalogue(featdex: Featdex, scratch: Path) -> None:
    before = scratch.read_bytes()
    link = scratch.with_name("link.csv")
    link.symlink_to(scratch)
    for target in (scratch, link):
        code, _, err = featdex("--db", str(scratch), "export", "coverage", "-f", "csv", "-o", str(target))
        assert (code, "is the catalogue itself" in err) == (ExitCode.USAGE, True)
    assert scratch.read_bytes() == before
