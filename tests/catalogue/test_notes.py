"""Tags: written in the file, listed, taken off, and still there whatever is computed again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from featdex.catalogue.doctor import examine
from featdex.catalogue.errors import LockedError, NotFoundError, UsageError
from featdex.catalogue.file import open_reader
from featdex.catalogue.notes import add_tag, remove_tag
from featdex.catalogue.write import SaeRows, write_sae

Featdex = Callable[..., tuple[int, str, str]]
Maker = Callable[..., SaeRows]
HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""


def tags(path: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute("SELECT sae, feature, tag, note FROM tags").fetchall()


def faults(path: Path) -> dict[str, str]:
    connection = open_reader(path)
    try:
        return {finding.check: finding.detail for finding in examine(connection) if not finding.ok}
    finally:
        connection.close()


def test_a_tag_is_kept_in_the_file(scratch: Path) -> None:
    assert add_tag(scratch, "res/7", " names ", "girls' names\nand saints'") == "tiny/8-res-jb/7"
    assert add_tag(scratch, "*29*/573", "names") == "tiny/29-mlp/573"
    assert add_tag(scratch, "res/7", "é日本") == "tiny/8-res-jb/7"
    assert tags(scratch) == [
        ("tiny/8-res-jb", 7, "names", "girls' names\nand saints'"),
        ("tiny/8-res-jb", 7, "é日本", None),
        ("tiny/29-mlp", 573, "names", None),
    ]
    with duckdb.connect(str(scratch), read_only=True) as connection:
        (found,) = connection.execute(
            "SELECT count(*) FROM tag WHERE created_at > now()::TIMESTAMP - INTERVAL 2 DAY"
        ).fetchall()
        assert found == (3,)
    assert faults(scratch) == {}


def test_a_tag_is_there_once_and_takes_a_new_note(scratch: Path) -> None:
    for note in ("first", None, "second", None):
        add_tag(scratch, "res/7", "names", note)
    assert tags(scratch) == [("tiny/8-res-jb", 7, "names", "second")]


def test_a_tag_is_taken_off(scratch: Path) -> None:
    for tag in ("names", "odd"):
        add_tag(scratch, "res/7", tag)
    add_tag(scratch, "res/8", "names")
    assert remove_tag(scratch, "tiny/8-res-jb/7", "names") == "tiny/8-res-jb/7"
    assert tags(scratch) == [("tiny/8-res-jb", 7, "odd", None), ("tiny/8-res-jb", 8, "names", None)]
    with pytest.raises(NotFoundError, match="tiny/8-res-jb/7 has no tag 'ood'; did you mean odd"):
        remove_tag(scratch, "res/7", "ood")
    with pytest.raises(NotFoundError, match="tiny/8-res-jb/9 has no tag 'x'; it has no tags"):
        remove_tag(scratch, "res/9", "x")


@pytest.mark.parametrize("tag", ["", "  ", "two\nlines", "\x1b[31m", "x" * 101, "\u202e"])
def test_what_is_no_tag_is_refused(scratch: Path, tag: str) -> None:
    with pytest.raises(UsageError, match="is no tag: write 1 to 100 characters"):
        add_tag(scratch, "res/7", tag)
    assert tags(scratch) == []


def test_a_wrong_address_is_one_line(scratch: Path) -> None:
    with pytest.raises(NotFoundError, match="no feature 12 in 'tiny/8-res-jb'; its features are 0 to 11"):
        add_tag(scratch, "res/12", "x")
    with pytest.raises(NotFoundError, match="no SAE matches 'tiny/9-res'"):
        add_tag(scratch, "tiny/9-res/1", "x")
    with pytest.raises(UsageError, match="matches 2 SAEs"):
        add_tag(scratch, "tiny/1", "x")
    with pytest.raises(UsageError, match="write SAE/FEATURE"):
        remove_tag(scratch, "res", "x")
    assert tags(scratch) == []


def test_tags_survive_other_weights_and_other_sets(scratch: Path, rows_of: Maker) -> None:
    add_tag(scratch, "res/7", "names", "mine")
    add_tag(scratch, "29-mlp/573", "names")
    before = tags(scratch)
    write_sae(scratch, rows_of(seed=9))
    write_sae(scratch, rows_of(seed=9, members={"girls_names": [0, 1]}))
    assert tags(scratch) == before
    assert faults(scratch) == {}


def test_a_tag_of_a_feature_that_is_gone_is_kept_and_told(scratch: Path, rows_of: Maker) -> None:
    add_tag(scratch, "res/11", "last", "mine")
    write_sae(scratch, rows_of(n_features=10, seed=9))
    assert tags(scratch) == [("tiny/8-res-jb", 11, "last", "mine")]
    found = faults(scratch)
    assert list(found) == ["notes"]
    assert "tag last of tiny/8-res-jb/11" in found["notes"]
    remove_tag(scratch, "res/11", "last")
    assert faults(scratch) == {}


def test_a_tag_waits_for_the_file_and_says_who_has_it(scratch: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(scratch)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=f"held by process {holder.pid}"):
            add_tag(scratch, "res/7", "names", wait=0.1)
        holder.communicate("\n")
    add_tag(scratch, "res/7", "names")
    assert len(tags(scratch)) == 1


def test_the_verbs(featdex: Featdex, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATDEX_DB", str(scratch))
    assert featdex("tags")[0] == 3
    assert featdex("tag", "res/7", "names", "--note", "it's") == (0, "", "wrote names to tiny/8-res-jb/7\n")
    assert featdex("tag", "29-mlp/5", "odd")[0] == 0
    code, out, err = featdex("tags", "-f", "json")
    assert (code, err) == (0, "")
    assert [(row["sae"], row["feature"], row["tag"], row["note"]) for row in json.loads(out)] == [
        ("tiny/8-res-jb", 7, "names", "it's"),
        ("tiny/29-mlp", 5, "odd", None),
    ]
    assert featdex("tags", "n*", "-f", "jsonl")[1].count("\n") == 1
    assert featdex("tags", "--sae", "*29*", "-f", "jsonl")[1].count("\n") == 1
    assert featdex("tags", "names", "--sae", "*29*")[0] == 3
    assert "no feature is tagged 'x'" in featdex("tags", "x")[2]
    assert json.loads(featdex("q", "tags", "-f", "json")[1])[0]["url"].endswith("/tiny/8-res-jb/7")
    assert featdex("tag", "--remove", "res/7", "names") == (0, "", "removed names from tiny/8-res-jb/7\n")
    assert featdex("tag", "--remove", "res/7", "names")[0] == 3
    assert featdex("tag", "--remove", "29-mlp/5", "odd", "--note", "x")[0] == 2
    assert featdex("tag", "29-mlp/5", "a\nb")[0] == 2
    assert len(tags(scratch)) == 1
    assert not scratch.with_name(f"{scratch.name}.wal").exists()
