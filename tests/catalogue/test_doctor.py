"""Every fault that doctor promises to find, planted and found."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from featdex.catalogue.doctor import checks, examine
from featdex.catalogue.errors import CatalogueError
from featdex.catalogue.file import create, open_reader
from featdex.catalogue.findings import Finding
from featdex.catalogue.ledger import forget_removed_sets
from featdex.catalogue.tables import ENRICHMENT, FEATURE
from featdex.catalogue.write import SaeRows, ledger, write_sae

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
    # An UPDATE rewrites rows at the end of the table; and the q-values and summaries are of one feature more.
    others = {"q-values", "summaries"}
    assert {check for check in faults(scratch) if not check.startswith("order of ")} - others == set()


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
    "q below p": ("scores", f"UPDATE enrichment SET log10_q_all = log10_p - 1 {WHERE} AND set_id = 1"),
    "es_opposed above es": ("scores", f"UPDATE enrichment SET es_opposed = abs(es) + 0.01 {WHERE} AND set_id = 1"),
    "more hits than members": ("scores", f"UPDATE enrichment SET top_hits = 6 {WHERE} AND set_id = 1"),
    "lead beyond the members": ("scores", f"UPDATE enrichment SET lead_n = 6 {WHERE} AND set_id = 1"),
    "p_ks above 1": ("scores", f"UPDATE enrichment SET log10_p_ks = 0.1 {WHERE} AND set_id = 1"),
    "excess kurtosis": ("moments", f"UPDATE feature SET kurtosis = kurtosis - 3 {WHERE}"),
    "impossible cosine": ("moments", f"UPDATE feature SET cos_skewness = 9 {WHERE}"),
    "quantiles out of order": ("moments", f"UPDATE feature SET q25 = q75 + 1 {WHERE}"),
    "quantile beyond the largest": ("moments", f"UPDATE feature SET q99 = max + 1 {WHERE}"),
    "bimodality of other moments": ("moments", f"UPDATE feature SET bimodality = 0.9 {WHERE}"),
    "more counts than tokens": (
        "moments",
        f"UPDATE feature SET histogram = list_transform(histogram, lambda x: 9) {WHERE}",
    ),
    "alive and dead": ("moments", f"UPDATE feature SET dead = true {WHERE}"),
    "weights out of order": ("feature tokens", f"UPDATE feature_token SET weight = -weight {WHERE} AND rank = 7"),
    "not the largest weight": ("feature tokens", f"UPDATE feature_token SET weight = weight + 1 {WHERE} AND rank = 1"),
    "no es": ("holes", f"UPDATE enrichment SET es = NULL {WHERE} AND set_id = 1"),
    "no z": ("holes", f"UPDATE enrichment SET z = NULL {WHERE} AND set_id = 1"),
    "no q": ("holes", f"UPDATE enrichment SET log10_q_all = NULL {WHERE} AND set_id = 1"),
    "p without z_adj": ("holes", "UPDATE enrichment SET z_adj = NULL WHERE set_id = 2"),
    "summary counts": ("summaries", "UPDATE set_summary SET n_promoted = n_promoted + 1 WHERE sae_id = 1"),
    "summary z": ("summaries", "UPDATE set_summary SET best_suppressed_z = 0 WHERE sae_id = 1 AND set_id = 1"),
    "q of a set": ("q-values", f"UPDATE enrichment SET log10_q = log10_q * 0.999 - 0.001 {WHERE} AND set_id = 1"),
    "q of all pairs": ("q-values", f"UPDATE enrichment SET log10_q_all = 0.999 * log10_q_all {WHERE} AND set_id = 1"),
    "one correlation missing": ("correlations", "DELETE FROM set_correlation WHERE sae_id = 1 AND set_id = 1"),
    "no correlations": ("correlations", "DELETE FROM set_correlation WHERE sae_id = 1"),
    "one-sided correlation": (
        "correlations",
        "UPDATE set_correlation SET r = r / 2 WHERE sae_id = 1 AND set_id = 1 AND other_id = 2",
    ),
    "correlation above 1": ("correlations", "UPDATE set_correlation SET r = 1.01 WHERE sae_id = 1 AND set_id < 3"),
    "correlation of no set": ("correlations", "INSERT INTO set_correlation VALUES (1, 1, 77, 0.5), (1, 77, 1, 0.5)"),
    "other raw tokens": ("tokenizers", "UPDATE token SET raw = 'x' WHERE token_id = 30"),
    "raw tokens run together": (
        "tokenizers",
        "UPDATE token SET raw = CASE token_id WHEN 30 THEN raw || 'x' ELSE raw[2:] END WHERE token_id IN (30, 31)",
    ),
    "other parameters": ("ledger", "UPDATE run SET params = replace(params, 'girls', 'Girls') WHERE sae_id = 1"),
    "other hash of parameters": ("ledger", "UPDATE run SET params_sha256 = 'x' WHERE sae_id = 1"),
    "parameters that are no JSON": ("ledger", "UPDATE run SET params = '{' WHERE sae_id = 1"),
    "other weights": ("ledger", "UPDATE sae SET weights_sha256 = 'x' WHERE sae_id = 1"),
    "other unembedding": ("ledger", "UPDATE model SET unembed_sha256 = 'x'"),
    "results that no run gave": (
        "ledger sets",
        "UPDATE run SET params = replace(params, '\"digits\"', '\"figures\"')"
        " WHERE sae_id = 1; UPDATE token_set SET members_sha256 = 'x' WHERE name = 'digits'",
    ),
    "dropped term lost": (
        "set members",
        "INSERT INTO token_set_dropped VALUES (1, 'one', 'why'), (1, 'more', 'why')",
    ),
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


@pytest.fixture(scope="module")
def writable(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A copy of the small catalogue, in which a transaction plants faults and is rolled back."""
    path = Path(shutil.copy(small, tmp_path_factory.mktemp("faults") / "faults.duckdb"))
    with duckdb.connect(str(path)) as connection:
        yield connection


@pytest.fixture
def planted(writable: duckdb.DuckDBPyConnection) -> Iterator[Callable[[str, str], Finding]]:
    """Plant a fault by SQL and return what one check finds: `planted(check, sql)`."""

    def plant(check: str, sql: str) -> Finding:
        writable.execute(f"BEGIN; {sql}")
        return checks()[check](writable)

    yield plant
    writable.execute("ROLLBACK")


@pytest.mark.parametrize(("check", "sql"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found(planted: Callable[[str, str], Finding], check: str, sql: str) -> None:
    found = planted(check, sql)
    assert not found.ok
    assert re.match(r"1 fault: |\d+ faults, such as: ", found.detail)


OF_ONE_SAE = [
    "features: one missing", "tokens: a rank twice", "enrichment: one missing", "null: missing", "es above 1", "no q",
    "excess kurtosis", "summary z", "q of a set", "q of all pairs", "one correlation missing", "other weights",
    "NaN z", "weights out of order",
]  # fmt: skip


@pytest.mark.parametrize("name", OF_ONE_SAE)
def test_the_sae_at_fault_is_named(planted: Callable[[str, str], Finding], name: str) -> None:
    assert planted(*FAULTS[name]).slugs == {"tiny/8-res-jb"}


def test_an_sae_computed_again_is_whole(scratch: Path, written: dict[str, SaeRows]) -> None:
    with duckdb.connect(str(scratch)) as connection:
        for name in OF_ONE_SAE:
            connection.execute(FAULTS[name][1])
    at_fault = {slug for finding in findings(scratch).values() for slug in finding.slugs}
    assert at_fault == {"tiny/8-res-jb"}
    write_sae(scratch, written["tiny/8-res-jb"])
    assert faults(scratch) == {}


def test_results_that_vanished_in_every_table_are_missed(scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        for table in ("enrichment", "set_null", "set_summary"):
            connection.execute(f"DELETE FROM {table} WHERE sae_id = 1 AND set_id = 2")
        connection.execute("DELETE FROM set_correlation WHERE sae_id = 1 AND (set_id = 2 OR other_id = 2)")
    found = faults(scratch)
    assert "tiny/8-res-jb has no results of boys_names" in found["ledger sets"]
    # The q of all pairs were of one set more.
    assert set(found) == {"ledger sets", "q-values"}


def test_a_set_that_was_removed_is_not_missed(scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        for table in ("enrichment", "set_null", "set_summary", "set_correlation", "token_set_member", "token_set"):
            connection.execute(f"DELETE FROM {table} WHERE set_id = 2")
        connection.execute(
            "DELETE FROM set_correlation WHERE other_id = 2; DELETE FROM token_set_dropped WHERE set_id = 2"
        )
    assert set(faults(scratch)) == {"q-values"}


def test_a_set_that_was_removed_and_added_again_is_not_missed(scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        for table in ("enrichment", "set_null", "set_summary", "set_correlation"):
            connection.execute(f"DELETE FROM {table} WHERE set_id = 2")
        connection.execute("DELETE FROM set_correlation WHERE other_id = 2")
        assert not checks()["ledger sets"](connection).ok
        for sae_id in (1, 2):
            forget_removed_sets(connection, sae_id)
    assert set(faults(scratch)) == {"q-values"}
    sets = {slug: set(entry.params["sets"]) for slug, entry in ledger(scratch).items()}
    assert list(sets.values()) == [{"girls_names", "digits", "Quote's"}] * 2


def test_a_set_without_any_z_has_no_correlations(scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute(
            "UPDATE enrichment SET z = NULL, log10_p = NULL, log10_q = NULL, log10_q_all = NULL"
            " WHERE sae_id = 1 AND set_id = 2"
        )
        connection.execute("DELETE FROM set_correlation WHERE sae_id = 1 AND (set_id = 2 OR other_id = 2)")
    assert {"holes", "correlations"} & set(faults(scratch)) == set()


def test_damage_is_a_fault_of_the_checks_that_meet_it(scratch: Path) -> None:
    intact = {name for name, finding in findings(scratch).items() if finding.ok}
    content = scratch.read_bytes()
    n_met = 0
    # Blocks of 256 KiB follow three headers of 4 KiB.
    for start in range(12288, len(content), 8 * 262144):
        scratch.write_bytes(content[: start + 1000] + bytes(100) + content[start + 1100 :])
        try:
            found = findings(scratch)
        except CatalogueError as fault:
            assert "damaged" in str(fault)  # noqa: PT017
            continue
        assert set(found) == intact
        hurt = [finding.detail for finding in found.values() if not finding.ok]
        assert all("the catalogue is damaged" in detail for detail in hurt if "queries" not in detail)
        n_met += bool(hurt)
    assert n_met


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
