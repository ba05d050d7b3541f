"""Writing: whole SAEs or nothing, sets kept apart by their members."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from featdex.catalogue.errors import CatalogueError, FeatdexError
from featdex.catalogue.file import create, open_reader, writing
from featdex.catalogue.tables import TABLES
from featdex.catalogue.write import SaeRows, ledger, write_sae

Maker = Callable[..., SaeRows]
MEMBERS = {"girls_names": [0, 1, 2, 30, 31], "digits": [24, 40]}
OTHER_MEMBERS = MEMBERS | {"girls_names": [0, 1]}


def plain(parts: Sequence[pa.Table] | None) -> list[dict[str, Any]]:
    """The rows of a table that is given in parts."""
    rows: list[dict[str, Any]] = pa.concat_tables(parts or []).to_pylist()
    return rows


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = open_reader(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, in their stored order."""
    return {table.name: query(path, f"FROM {table.name}") for table in TABLES}


def sets_of(path: Path, slug: str) -> list[str]:
    """Names of the sets that an SAE was tested against."""
    sql = f"SELECT DISTINCT set_name FROM enrichments WHERE sae = '{slug}' ORDER BY ALL"
    return [name for (name,) in query(path, sql)]


def test_what_is_written_is_read_back(small: Path, written: dict[str, SaeRows]) -> None:
    for slug, rows in written.items():
        for table in ("feature", "feature_token"):
            expected = plain(getattr(rows, table))
            names = ", ".join(f't."{name}"' for name in expected[0])
            sql = f"SELECT {names} FROM {table} t JOIN sae USING (sae_id) WHERE slug = '{slug}'"
            assert query(small, sql) == [tuple(row.values()) for row in expected]


def test_writing_again_replaces_the_rows_and_keeps_id_and_tags(scratch: Path, rows_of: Maker) -> None:
    before = query(scratch, "SELECT sae_id FROM sae WHERE slug = 'tiny/8-res-jb'")
    with writing(scratch) as connection:
        connection.execute("INSERT INTO tag VALUES (?, 3, 'keep', 'me', NULL)", before[0])
    smaller = rows_of(n_features=9, seed=5)
    write_sae(scratch, smaller)
    assert query(scratch, "SELECT sae_id FROM sae WHERE slug = 'tiny/8-res-jb'") == before
    assert query(scratch, "SELECT tag, note FROM tag") == [("keep", "me")]
    counts = query(scratch, "SELECT n_features, n_sets, n_enrichment FROM coverage WHERE sae = 'tiny/8-res-jb'")
    assert counts == [(9, 4, 36)]
    stored = query(scratch, "SELECT f.mean FROM feature f JOIN sae USING (sae_id) WHERE slug = 'tiny/8-res-jb'")
    assert [mean for (mean,) in stored] == [row["mean"] for row in plain(smaller.feature)]


def test_a_changed_set_that_another_sae_has_goes_on_under_its_hash(
    tmp_path: Path, rows_of: Maker, scratch: Path
) -> None:
    path = fresh(tmp_path, rows_of(members=MEMBERS), rows_of("tiny/9-res", members=MEMBERS))
    old_hash = query(path, "SELECT members_sha256 FROM token_set WHERE name = 'girls_names'")[0][0]
    write_sae(path, rows_of(members=OTHER_MEMBERS))
    retired = f"girls_names@{old_hash[:8]}"
    assert sets_of(path, "tiny/8-res-jb") == ["digits", "girls_names"]
    assert sets_of(path, "tiny/9-res") == ["digits", retired]
    sizes = query(
        path, "SELECT name, count(*) FROM token_set JOIN token_set_member USING (set_id) GROUP BY ALL ORDER BY ALL"
    )
    assert sizes == [("digits", 2), ("girls_names", 2), (retired, 5)]


def test_a_changed_set_that_nobody_else_has_is_removed(tmp_path: Path, rows_of: Maker) -> None:
    path = fresh(tmp_path, rows_of(members=MEMBERS))
    write_sae(path, rows_of(members=OTHER_MEMBERS))
    assert query(path, "SELECT name, n_tokens FROM token_set ORDER BY ALL") == [("digits", 2), ("girls_names", 2)]
    assert query(path, "SELECT count(*) FROM token_set_member") == [(4,)]


def test_a_set_that_changes_back_gets_its_name_back(tmp_path: Path, rows_of: Maker) -> None:
    path = fresh(tmp_path, rows_of(members=MEMBERS), rows_of("tiny/9-res", members=MEMBERS))
    write_sae(path, rows_of(members=OTHER_MEMBERS))
    write_sae(path, rows_of(members=MEMBERS))
    assert sets_of(path, "tiny/8-res-jb") == sets_of(path, "tiny/9-res") == ["digits", "girls_names"]
    assert query(path, "SELECT name FROM token_set ORDER BY ALL") == [("digits",), ("girls_names",)]


def fresh(folder: Path, *saes: SaeRows) -> Path:
    path = folder / "fresh.duckdb"
    create(path)
    for rows in saes:
        write_sae(path, rows)
    return path


def test_a_write_that_fails_at_its_last_step_changes_nothing(scratch: Path, rows_of: Maker) -> None:
    before = contents(scratch)
    rows = rows_of(n_features=9, seed=5, members=OTHER_MEMBERS)
    with pytest.raises(FeatdexError, match="no_such_column"):
        write_sae(scratch, replace(rows, run={**rows.run, "no_such_column": 1}))
    assert contents(scratch) == before


def test_parts_that_do_not_fit_the_sets_are_refused(scratch: Path, rows_of: Maker) -> None:
    before = contents(scratch)
    rows = rows_of(seed=5)
    with pytest.raises(CatalogueError, match="enrichment of 3 and nulls of 4 sets do not fit 4 sets"):
        write_sae(scratch, replace(rows, enrichment=rows.enrichment[1:]))
    assert contents(scratch) == before
    with pytest.raises(FeatdexError, match="11 rows of one set and 12 of another"):
        write_sae(scratch, replace(rows, enrichment=[*rows.enrichment[:3], rows.enrichment[3].slice(1)]))
    assert contents(scratch) == before


KILLED = """
import os, pickle, signal, sys
from featdex.catalogue import write
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
write._summarise = die
write.write_sae(sys.argv[1], pickle.load(sys.stdin.buffer))
"""


def test_a_killed_writer_leaves_the_catalogue_as_it_was(scratch: Path, rows_of: Maker) -> None:
    before = contents(scratch)
    rows = pickle.dumps(rows_of(n_features=9, seed=5, members=OTHER_MEMBERS))
    ended = subprocess.run([sys.executable, "-c", KILLED, str(scratch)], input=rows, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert contents(scratch) == before
    write_sae(scratch, rows_of(n_features=9, seed=5, members=OTHER_MEMBERS))
    assert contents(scratch) != before


def test_a_model_of_the_same_name_with_other_weights_is_refused(scratch: Path, rows_of: Maker) -> None:
    rows = rows_of()
    with pytest.raises(CatalogueError, match="'tiny' with other weights"):
        write_sae(scratch, replace(rows, model={**rows.model, "unembed_sha256": "other"}))


def test_the_summary_counts_what_the_rows_say(small: Path, written: dict[str, SaeRows]) -> None:
    for slug, rows in written.items():
        for index, name in enumerate(rows.token_sets.column("name").to_pylist()):
            block = rows.enrichment[index].to_pylist()
            promoted = [row for row in block if row["z"] > 0 and row["log10_q"] < -1.3010299956639813]
            suppressed = [row for row in block if row["z"] < 0 and row["log10_q"] < -1.3010299956639813]
            best, worst = max(block, key=lambda row: row["z"]), min(block, key=lambda row: row["z"])
            quoted = name.replace("'", "''")
            found = query(
                small,
                "SELECT n_promoted, n_suppressed, best_promoted, best_promoted_z, best_suppressed, best_suppressed_z"
                " FROM set_summary JOIN sae USING (sae_id) JOIN token_set t USING (set_id)"
                f" WHERE slug = '{slug}' AND name = '{quoted}'",
            )
            counts = (len(promoted), len(suppressed))
            assert found == [(*counts, best["feature"], best["z"], worst["feature"], worst["z"])]


def test_the_ledger_has_the_newest_run(scratch: Path, rows_of: Maker) -> None:
    rows = rows_of()
    write_sae(scratch, replace(rows, run={**rows.run, "params": '{"a": 1}', "params_sha256": "new"}))
    entry = ledger(scratch)["tiny/8-res-jb"]
    assert (entry.params, entry.params_sha256) == ({"a": 1}, "new")


def test_an_sae_without_sets_can_be_written(scratch: Path, rows_of: Maker) -> None:
    rows = rows_of("tiny/3-res", members={"digits": [24, 40, 41, 42]})
    tables = ("token_sets", "members", "dropped", "set_null", "correlation")
    none = {name: getattr(rows, name).slice(0, 0) for name in tables}
    write_sae(scratch, replace(rows, **none, enrichment=[]))
    assert query(scratch, "SELECT n_sets FROM coverage WHERE sae = 'tiny/3-res'") == [(0,)]
