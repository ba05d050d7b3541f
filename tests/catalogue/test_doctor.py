"""Every fault that doctor promises to find, planted and found."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from featdex.catalogue.doctor import Finding, examine
from featdex.catalogue.file import create, open_reader
from featdex.catalogue.tables import ENRICHMENT, FEATURE
from featdex.catalogue.write import SaeRows, write_sae

WHERE = "WHERE sae_id = 1 AND feature = 3"


def findings(path: Path) -> dict[str, Finding]:
    connection = open_reader(path)
    try:
        return {finding.check: finding for finding in examine(connection)}
    finally:
        connection.close()


def faults(path: Path) -> dict[str, str]:
    return {name: finding.detail for name, finding in findings(path).items() if not finding.ok}


def test_a_whole_catalogue_has_no_faults(small: Path) -> None:
    assert faults(small) == {}


def test_an_empty_catalogue_has_no_faults(tmp_path: Path) -> None:
    create(tmp_path / "empty.duckdb")
    assert faults(tmp_path / "empty.duckdb") == {}


def test_a_replaced_sae_is_no_fault(scratch: Path, rows_of: Callable[..., SaeRows]) -> None:
    write_sae(scratch, rows_of(seed=7))
    write_sae(scratch, rows_of("other/0-x", model="other", members={"girls_names": [1, 2]}))
    write_sae(scratch, rows_of(members={"girls_names": [1, 2]}))
    assert faults(scratch) == {}


def test_a_zero_decoder_row_has_no_tokens_and_no_scores(scratch: Path) -> None:
    keys = {"sae_id", "set_id", "feature"}
    with duckdb.connect(str(scratch)) as connection:
        for table in (FEATURE, ENRICHMENT):
            columns = ", ".join(f'"{name}" = NULL' for name in table.column_names if name not in keys)
            connection.execute(f"UPDATE {table.name} SET {columns} {WHERE}")
        connection.execute(f"UPDATE feature SET dec_norm = 0 {WHERE}; DELETE FROM feature_token {WHERE}")
    # An UPDATE rewrites rows at the end of the table, so their order is another matter.
    assert {check for check in faults(scratch) if not check.startswith("order of ")} == set()


FAULTS = {
    "features: one missing": ("features", f"DELETE FROM feature {WHERE}"),
    "features: one double": ("features", f"INSERT INTO feature FROM feature {WHERE}"),
    "features: none": ("features", "DELETE FROM feature WHERE sae_id = 1"),
    "features: another index": ("features", f"UPDATE feature SET feature = 99 {WHERE}"),
    "tokens: one missing": ("feature tokens", f"DELETE FROM feature_token {WHERE} AND rank = -20"),
    "tokens: one double": ("feature tokens", f"INSERT INTO feature_token FROM feature_token {WHERE} AND rank = 20"),
    "tokens: a rank twice": ("feature tokens", f"UPDATE feature_token SET rank = 2 {WHERE} AND rank = 1"),
    "tokens: rank 0": ("feature tokens", f"UPDATE feature_token SET rank = 0 {WHERE} AND rank = 1"),
    "tokens: rank 21": ("feature tokens", f"UPDATE feature_token SET rank = 21 {WHERE} AND rank = 20"),
    "tokens: none": ("feature tokens", f"DELETE FROM feature_token {WHERE}"),
    "enrichment: one missing": ("enrichment", f"DELETE FROM enrichment {WHERE} AND set_id = 2"),
    "enrichment: one double": ("enrichment", f"INSERT INTO enrichment FROM enrichment {WHERE} AND set_id = 2"),
    "enrichment: feature out of range": ("enrichment", f"UPDATE enrichment SET feature = 12 {WHERE} AND set_id = 2"),
    "null: missing": ("nulls and summaries", "DELETE FROM set_null WHERE sae_id = 1 AND set_id = 1"),
    "null: double": ("nulls and summaries", "INSERT INTO set_null FROM set_null WHERE sae_id = 1 AND set_id = 1"),
    "summary: missing": ("nulls and summaries", "DELETE FROM set_summary WHERE sae_id = 2"),
    "summary: of nothing": ("nulls and summaries", "INSERT INTO set_summary (sae_id, set_id) VALUES (1, 77)"),
    "vocabulary: one missing": ("vocabulary", "DELETE FROM token WHERE token_id = 5"),
    "vocabulary: one double": ("vocabulary", "INSERT INTO token FROM token WHERE token_id = 59"),
    "token of a feature": ("token ids", f"UPDATE feature_token SET token_id = 60 {WHERE} AND rank = 1"),
    "token of a set": ("token ids", "UPDATE token_set_member SET token_id = 1000 WHERE set_id = 3 AND token_id = 42"),
    "es above 1": ("scores", f"UPDATE enrichment SET es = 1.01 {WHERE} AND set_id = 1"),
    "es below -1": ("scores", f"UPDATE enrichment SET es = -1.01 {WHERE} AND set_id = 1"),
    "es_opposed negative": ("scores", f"UPDATE enrichment SET es_opposed = -0.1 {WHERE} AND set_id = 1"),
    "auroc above 1": ("scores", f"UPDATE enrichment SET auroc = 1.1 {WHERE} AND set_id = 1"),
    "q above 1": ("scores", f"UPDATE enrichment SET log10_q = 0.1 {WHERE} AND set_id = 1"),
    "p_ks above 1": ("scores", f"UPDATE enrichment SET log10_p_ks = 0.1 {WHERE} AND set_id = 1"),
    "excess kurtosis": ("moments", f"UPDATE feature SET kurtosis = kurtosis - 3 {WHERE}"),
    "impossible cosine": ("moments", f"UPDATE feature SET cos_skewness = 9 {WHERE}"),
    "no run": ("ledger", "DELETE FROM run WHERE sae_id = 2"),
    "NaN statistic": ("numbers", f"UPDATE feature SET cos_std = 'nan' {WHERE}"),
    "infinite weight": ("numbers", f"UPDATE feature_token SET weight = '-inf' {WHERE} AND rank = 1"),
    "NaN z": ("numbers", f"UPDATE enrichment SET z = 'nan' {WHERE} AND set_id = 1"),
    "NaN vif": ("numbers", "UPDATE set_null SET vif = 'nan' WHERE set_id = 1"),
    "rows without an SAE": ("owners", "DELETE FROM sae WHERE sae_id = 2"),
    "rows without a set": ("owners", "DELETE FROM token_set WHERE set_id = 2"),
    "tag without an SAE": ("owners", "INSERT INTO tag (sae_id, feature, tag) VALUES (9, 1, 'x')"),
    "SAE without a model": ("owners", "UPDATE sae SET model_id = 9 WHERE sae_id = 2"),
    "members not those of the hash": (
        "set members",
        "UPDATE token_set_member SET token_id = 43 WHERE set_id = 3 AND token_id = 42",
    ),
    "member missing": ("set members", "DELETE FROM token_set_member WHERE set_id = 3 AND token_id = 42"),
    "view no longer binds": ("queries", "ALTER TABLE sae DROP COLUMN neuronpedia_id"),
}


@pytest.mark.parametrize(("check", "sql"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found(scratch: Path, check: str, sql: str) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute(sql)
    found = faults(scratch)
    assert check in found
    assert re.match(r"1 fault: |\d+ faults, such as: ", found[check])


SHUFFLED = ["token", "token_set_member", "feature", "feature_token", "enrichment", "set_null", "set_summary"]


@pytest.mark.parametrize("table", SHUFFLED)
def test_rows_out_of_order_are_found(scratch: Path, table: str) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute(f"CREATE TABLE copy AS FROM {table}; DELETE FROM {table}")
        connection.execute(f"INSERT INTO {table} FROM copy ORDER BY hash(copy); DROP TABLE copy")
    assert set(faults(scratch)) == {f"order of {table}"}


def test_an_sae_in_two_pieces_is_found(scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("CREATE TABLE copy AS FROM feature WHERE sae_id = 1 AND feature > 5")
        connection.execute("DELETE FROM feature WHERE sae_id = 1 AND feature > 5; INSERT INTO feature FROM copy")
        connection.execute("DROP TABLE copy")
    assert faults(scratch) == {"order of feature": "1 fault: sae_id 1 lies in 2 pieces"}
