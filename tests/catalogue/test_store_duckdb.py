"""DuckDB reads a store's files, and only these, in pieces; what fails there is one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from featdex.catalogue.dataset_pack import unpack
from featdex.catalogue.dataset_place import CATALOGUE
from featdex.catalogue.errors import FeatdexError
from featdex.catalogue.file_faults import translated
from featdex.catalogue.store import Store
from featdex.catalogue.store_duckdb import register
from pyarrow import parquet

N_FEATURES = 20_000
SAES = (3, 17, 400)


@pytest.fixture
def store(object_store: Any) -> Store:
    store = Store(object_store.url)
    random = np.random.default_rng(1)
    for sae_id in SAES:
        rows = pa.table(
            {
                "set_id": np.repeat(np.arange(10, dtype=np.int16), N_FEATURES),
                "feature": np.tile(np.arange(N_FEATURES, dtype=np.int32), 10),
                "z": random.normal(size=10 * N_FEATURES).astype(np.float32) + sae_id,
            }
        )
        with store.writing(name(sae_id)) as stream:
            parquet.write_table(rows, stream, row_group_size=N_FEATURES)
    return store


def name(sae_id: int) -> str:
    return f"enrichment/sae={sae_id:04d}/part-0.parquet"


@pytest.fixture
def connection(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """A reader of the store that is shut off from everything else, as readers are."""
    with duckdb.connect(config={"autoload_known_extensions": "false", "threads": 4}) as connection:
        register(connection, store)
        connection.execute(f"SET allowed_directories = ['{store.where}/']")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        files = [store.place(name(sae_id)) for sae_id in SAES]
        connection.execute(
            "CREATE VIEW enrichment AS SELECT sae AS sae_id, set_id, feature, z FROM"
            f" read_parquet({files}, hive_partitioning = true, hive_types = {{'sae': 'SMALLINT'}})"
        )
        yield connection


def test_answers_are_those_of_the_files(store: Store, connection: duckdb.DuckDBPyConnection) -> None:
    found = connection.execute("SELECT sae_id, count(*), sum(z), max(z) FROM enrichment GROUP BY 1 ORDER BY 1")
    for sae_id, (found_id, count, total, largest) in zip(SAES, found.fetchall(), strict=True):
        with store.reading(name(sae_id)) as file:
            z = parquet.read_table(file, partitioning=None).column("z").to_numpy().astype(np.float64)
        assert (found_id, count) == (sae_id, z.size)
        assert total == pytest.approx(z.sum())
        assert largest == pytest.approx(z.max())


def test_a_question_of_one_sae_and_set_reads_a_piece_of_one_file(
    object_store: Any, connection: duckdb.DuckDBPyConnection
) -> None:
    object_store.server.requests.clear()
    query = "SELECT feature, z FROM enrichment WHERE sae_id = 17 AND set_id = 3 ORDER BY z DESC LIMIT 5"
    first = connection.execute(query).fetchall()
    paths = {path for _, path, _ in object_store.server.requests}
    assert paths == {f"/bucket/{object_store.prefix}/{name(17)}"}
    # Size, footer, and the pages of two columns.
    assert len(object_store.server.requests) <= 8
    assert connection.execute(query).fetchall() == first


def test_several_threads_read_through_one_connection(connection: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT sum(z), sum(feature) FROM enrichment WHERE sae_id = ?"

    def ask(sae_id: int) -> Any:
        return connection.cursor().execute(query, [sae_id]).fetchone()

    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(ask, [*SAES] * 4))
    assert [total for _, total in found] == [10 * sum(range(N_FEATURES))] * 12
    assert all(
        z == pytest.approx(10 * N_FEATURES * sae_id, rel=0.01)
        for (z, _), sae_id in zip(found, [*SAES] * 4, strict=True)
    )


@pytest.mark.parametrize("where", ["{store}/evil.parquet", "s3://bucket/evil.parquet", "{store}/enrichment"])
def test_nothing_can_be_written(
    store: Store, object_store: Any, connection: duckdb.DuckDBPyConnection, where: str
) -> None:
    before = object_store.objects()
    with pytest.raises(duckdb.Error):
        connection.execute(f"COPY (SELECT 1) TO '{where.format(store=store)}'")
    assert object_store.objects() == before
    assert "evil.parquet" not in object_store.server.backend().buckets["bucket"].keys


@pytest.mark.parametrize("where", ["s3://bucket/other/x", "/etc/passwd", "s3://other/x"])
def test_nothing_else_can_be_read(connection: duckdb.DuckDBPyConnection, where: str) -> None:
    with pytest.raises(duckdb.PermissionException):
        connection.execute(f"FROM read_text('{where}')")


def test_what_fails_in_the_store_is_one_line(
    store: Store, object_store: Any, connection: duckdb.DuckDBPyConnection
) -> None:
    store.remove(name(400))
    with pytest.raises(FeatdexError) as caught, translated():
        connection.execute("SELECT max(z) FROM enrichment").fetchall()
    assert str(caught.value) == f"{store.place(name(400))}: there is no such file"
    object_store.server.refuse = lambda method, path, query: "403 Forbidden" if method == "GET" else None
    with pytest.raises(FeatdexError, match=r"access denied: .* lack s3:GetObject;"), translated():
        connection.execute("SELECT max(feature) FROM enrichment WHERE sae_id = 17").fetchall()


def test_one_connection_reads_one_store(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(FeatdexError, match="reads another s3:// store"):
        register(connection, Store("s3://bucket/other"))


def test_a_folder_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with duckdb.connect() as connection:
        register(connection, Store("folder"))
        with pytest.raises(FeatdexError, match="pip install fsspec"):
            register(connection, Store("s3://bucket/x"))


def test_a_dataset_in_an_object_store_answers_as_the_file_it_was_made_of(
    small: Path, object_store: Any, tmp_path: Path
) -> None:
    unpack(small, object_store.url, lambda text: None)
    store = Store(object_store.url)
    store.get(CATALOGUE, tmp_path / CATALOGUE)
    with (
        duckdb.connect(str(tmp_path / CATALOGUE), read_only=True) as there,
        duckdb.connect(str(small), read_only=True) as here,
    ):
        register(there, store)
        there.execute(f"SET allowed_directories = ['{store.where}/']")
        there.execute("SET enable_external_access = false")
        for query in (
            "FROM enriched_for('girls_names', n := 5)",
            "FROM features ORDER BY sae, feature",
            "SELECT count(*), sum(z), max(es) FROM enrichment",
        ):
            assert there.execute(query).fetchall() == here.execute(query).fetchall()
