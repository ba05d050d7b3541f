"""A small catalogue with known numbers, written through `write_sae`; its plain rows are the oracle of the tests."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from featdex.catalogue import cli
from featdex.catalogue.catalogue import Catalogue, connect
from featdex.catalogue.file import create, translated
from featdex.catalogue.tables import ENRICHMENT, FEATURE, FEATURE_TOKEN, SET_NULL, TABLES, TOKEN, TOKEN_SET
from featdex.catalogue.write import SaeRows, write_sae

ARROW_TYPES = {
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "VARCHAR": pa.string(),
    "BOOLEAN": pa.bool_(),
    "INTEGER[]": pa.list_(pa.int32()),
}
IDS = {"sae_id", "set_id", "model_id"}

AWKWARD = [
    " Mary", " Anna", "Mary", '"quoted"', "a,b", "line\nbreak", "\r\n", "\t", "\x1b[31mred\x1b[0m", "\ufffd",
    "<|endoftext|>", "|pipe|", "`tick`", " ", "", "é", "日本", "\u202eevil", "it's", "=SUM(A1)", "*bold*", "_x_",
    "\\n", "null", "1.5", "a\tb",
]  # fmt: skip
N_TOKENS = 60
MEMBERS = {"girls_names": [0, 1, 2, 30, 31], "boys_names": [32, 33, 34], "digits": [24, 40, 41, 42], "Quote's": [3, 18]}


def members_sha256(token_ids: list[int]) -> str:
    """Hash of a set's members as every ingest computes it, written out independently."""
    values = np.array(token_ids, dtype=np.int32)
    return hashlib.sha256(f"{values.dtype.str}{values.shape}".encode() + values.tobytes()).hexdigest()


def tokenizer_sha256() -> str:
    """Hash of all raw tokens, a NUL between two."""
    digest = hashlib.sha256()
    for index, row in enumerate(token_rows()):
        digest.update((b"\0" if index else b"") + row["raw"].encode())
    return digest.hexdigest()


def arrow(table: Any, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as an Arrow table with the types of a catalogue table, ids left out."""
    fields = [(c.name, ARROW_TYPES[c.sql_type]) for c in table.columns if c.name not in IDS]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def token_rows() -> list[dict[str, Any]]:
    texts = AWKWARD + [f" word{i}" for i in range(N_TOKENS - len(AWKWARD))]
    return [
        {
            "token_id": i,
            "str": text,
            "raw": "<0xE6>" if text == "\ufffd" else text.replace(" ", "Ġ"),
            "is_special": text == "<|endoftext|>",
            "is_partial_utf8": text == "\ufffd",
        }
        for i, text in enumerate(texts)
    ]


def feature_rows(weights: np.ndarray[Any, Any], density: bool) -> list[dict[str, Any]]:
    rows = []
    for feature, row in enumerate(weights):
        z = (row - row.mean()) / row.std()
        skewness, kurtosis = float((z**3).mean()), float((z**4).mean())
        quantiles = np.quantile(row, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
        rows.append(
            {"feature": feature, "mean": row.mean(), "std": row.std(), "skewness": skewness, "kurtosis": kurtosis}
            | {"min": row.min(), "max": row.max(), "bimodality": (skewness**2 + 1) / kurtosis}
            | dict(zip(("q01", "q05", "q25", "q50", "q75", "q95", "q99"), quantiles, strict=True))
            | {"cos_mean": 0.0, "cos_std": 0.1, "cos_skewness": skewness, "cos_kurtosis": kurtosis}
            | {"histogram": np.histogram(row, bins=50)[0].tolist(), "dec_norm": 1.0, "enc_dec_cos": 0.5, "b_enc": -0.25}
            | {"log10_density": -1.0 - feature % 30 / 4 if density else None, "dead": False if density else None}
        )
    return rows


def feature_token_rows(weights: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    rows = []
    for feature, row in enumerate(weights):
        order = np.argsort(-row, kind="stable")
        ranked = [(rank, order[rank if rank < 0 else rank - 1]) for rank in [*range(-20, 0), *range(1, 21)]]
        rows += [{"feature": feature, "rank": r, "token_id": int(t), "weight": float(row[t])} for r, t in ranked]
    return rows


def enrichment_rows(n_features: int, sizes: list[int], random: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for n in sizes:
        for feature in range(n_features):
            z = float(random.normal() * 4)
            es = math.tanh(z / 4)
            hits = {"top_hits": min(n, max(0, int(z))), "bottom_hits": min(n, max(0, int(-z)))}
            rows.append(
                {"feature": feature, "es": es, "es_opposed": min(0.01, abs(es)), "peak_rank": 5, "lead_n": 2}
                | {"auroc": (1 + es) / 2, "mean_diff": z / 10, "nes": es * 2, "log10_p_top": -1.0, **hits}
                | {"z": z, "log10_p": float(np.float32(-z * z / 4)), "z_adj": z / 2, "log10_p_adj": -z * z / 9}
                | {"log10_p_ks": -z * z, "log10_p_es": -0.5}
            )
    return rows


def add_q(rows: list[dict[str, Any]], column: str) -> None:
    """Add the Benjamini-Hochberg q of one family of tests: the smallest p M / rank of all that are as large or more."""
    smallest = 0.0
    for rank, row in reversed(list(enumerate(sorted(rows, key=lambda row: row["log10_p"]), start=1))):
        smallest = min(smallest, row["log10_p"] + math.log10(len(rows) / rank))
        row[column] = smallest


def set_rows(members: dict[str, list[int]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "collection": "shape" if name == "digits" else "names", "kind": "list", "n_tokens": len(ids)}
        | {"definition": f"terms of {name}", "description": f"Tokens of {name}.", "source": "made by hand (CC0)"}
        | {"n_terms": len(ids) + 1, "n_dropped": 1, "members_sha256": members_sha256(ids)}
        for name, ids in members.items()
    ]


def halves(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    return [rows[: len(rows) // 2], rows[len(rows) // 2 :]]


def correlation_rows(n_sets: int, random: np.random.Generator) -> pa.Table:
    """A correlation matrix of sets, without its diagonal."""
    sample = random.normal(size=(n_sets, 12))
    r = np.atleast_2d(np.corrcoef(sample)) if n_sets else np.empty((0, 0))
    index, other = np.nonzero(~np.eye(n_sets, dtype=bool))
    return pa.table(
        {
            "set_index": pa.array(index, pa.int32()),
            "other_index": pa.array(other, pa.int32()),
            "r": pa.array(r[index, other], pa.float32()),
        }
    )


def make_rows(
    slug: str = "tiny/8-res-jb",
    n_features: int = 12,
    planted: int = 7,
    seed: int = 1,
    model: str = "tiny",
    members: dict[str, list[int]] | None = None,
    density: bool = True,
) -> SaeRows:
    """All rows of one small SAE. One feature is planted: kurtosis far above 8, z = 15 for the first set."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(n_features, N_TOKENS)).astype(np.float32)
    weights[planted, 0] = 12.0
    members = MEMBERS if members is None else members
    enrichment = enrichment_rows(n_features, [len(ids) for ids in members.values()], random)
    enrichment[planted] |= {"z": 15.0, "log10_p": -400.0, "es": 0.9, "auroc": 0.95}
    for first in range(0, len(enrichment), n_features):
        add_q(enrichment[first : first + n_features], "log10_q")
    add_q(enrichment, "log10_q_all")
    hashes = {"tokenizer_sha256": tokenizer_sha256(), "unembed_sha256": model}
    params = {**hashes, "weights_sha256": f"{seed}", "sets": {n: members_sha256(ids) for n, ids in members.items()}}
    index_of_member = [(index, token_id) for index, ids in enumerate(members.values()) for token_id in ids]
    return SaeRows(
        model={"name": model, "n_layers": 30, "d_model": 8, "d_vocab": N_TOKENS, **hashes},
        tokens=arrow(TOKEN, token_rows()),
        sae={"kind": "sae", "release": f"{model}-release", "sae_name": slug, "slug": slug, "d_sae": n_features}
        | {"layer": int(slug.split("/")[1].split("-")[0]), "hook_name": "blocks.8.hook_resid_pre", "site": "resid_pre"}
        | {"to_resid": "identity", "architecture": "standard", "d_in": 8, "weights_sha256": f"{seed}"}
        | {"neuronpedia_id": slug if density else None},
        token_sets=arrow(TOKEN_SET, set_rows(members)),
        members=pa.table(
            {
                "set_index": pa.array([index for index, _ in index_of_member], pa.int32()),
                "token_id": pa.array([token_id for _, token_id in index_of_member], pa.int32()),
            }
        ),
        dropped=pa.table(
            {
                "set_index": pa.array(range(len(members)), pa.int32()),
                "term": pa.array([f"no {name}" for name in members], pa.string()),
                "reason": pa.array(["no single token"] * len(members), pa.string()),
            }
        ),
        feature=[arrow(FEATURE, rows) for rows in halves(feature_rows(weights, density))],
        feature_token=[arrow(FEATURE_TOKEN, feature_token_rows(weights))],
        enrichment=[arrow(ENRICHMENT, enrichment[k * n_features : (k + 1) * n_features]) for k in range(len(members))],
        set_null=arrow(SET_NULL, [{"sigma_kind": "decoder", "vif": 2.0, "R": 10, "seed": 1}] * len(members)),
        correlation=correlation_rows(len(members), random),
        run={"stage": "features", "versions": "{}", "device": "cpu", "params": json.dumps(params)}
        | {"params_sha256": hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()}
        | {"n_rows": 1, "seconds": 0.1, "finished_at": "2026-01-01 00:00:00"},
    )


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., SaeRows]:
    """Make the rows of an SAE: `rows_of(slug, n_features, planted, seed, model, members, density)`."""
    return make_rows


@pytest.fixture(scope="session")
def written() -> dict[str, SaeRows]:
    """The rows of the small catalogue, by slug: two SAEs of one model, four sets."""
    first = make_rows()
    second = make_rows("tiny/29-mlp", 580, planted=573, seed=2, density=False)
    return {rows.sae["slug"]: rows for rows in (first, second)}


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, written: dict[str, SaeRows]) -> Path:
    """The small catalogue, shared: for reading only."""
    path = tmp_path_factory.mktemp("small") / "small.duckdb"
    create(path)
    for rows in written.values():
        write_sae(path, rows)
    return path


def with_zero_row(rows: SaeRows, feature: int) -> SaeRows:
    """The rows of an SAE whose decoder row of one feature is zero: it has no scores, statistics and tokens."""

    def emptied(parts: Sequence[pa.Table], keep: set[str]) -> list[pa.Table]:
        tables = []
        for part in parts:
            plain = [
                {name: value if row["feature"] != feature or name in keep else None for name, value in row.items()}
                for row in part.to_pylist()
            ]
            tables.append(pa.Table.from_pylist(plain, schema=part.schema))
        return tables

    kept = {"feature", "mean", "std", "min", "max", "histogram", "b_enc", "log10_density", "dead"}
    tokens = [part.filter(pc.not_equal(part.column("feature"), feature)) for part in rows.feature_token or ()]
    features = emptied(rows.feature or (), kept)
    return replace(rows, feature=features, feature_token=tokens, enrichment=emptied(rows.enrichment, {"feature"}))


@pytest.fixture(scope="session")
def mixed_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four SAEs of two models, one with a zero decoder row, one with other sets: for reading only."""
    path = tmp_path_factory.mktemp("mixed") / "mixed.duckdb"
    create(path)
    write_sae(path, make_rows())
    write_sae(path, with_zero_row(make_rows("tiny/29-mlp", 60, planted=40, seed=2, density=False), 5))
    few = {"girls_names": MEMBERS["girls_names"], "digits": MEMBERS["digits"], "odd": [7, 9, 24]}
    write_sae(path, make_rows("tiny/3-alt", 30, planted=9, seed=3, members=few))
    write_sae(path, make_rows("other/0-res", 25, planted=4, seed=4, model="other", members={"girls_names": [5, 6]}))
    return path


@pytest.fixture
def mixed(mixed_path: Path) -> Iterator[Catalogue]:
    """The catalogue of `mixed_path`, open."""
    with connect(mixed_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def raw(mixed_path: Path) -> dict[str, list[dict[str, Any]]]:
    """The plain rows of every table of `mixed_path`, by table: what its oracles compute from."""
    tables = {}
    with duckdb.connect(str(mixed_path), read_only=True) as connection:
        for table in TABLES:
            result = connection.execute(f"SELECT * FROM {table.name}")
            names = [name for name, *_ in result.description or ()]
            tables[table.name] = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    return tables


@pytest.fixture(scope="session")
def ask() -> Callable[..., list[dict[str, Any]]]:
    """Ask a question: `ask(catalogue, "roles", sae="tiny/*")` gives its rows."""

    def rows(catalogue: Catalogue, name: str, **parameters: Any) -> list[dict[str, Any]]:
        with translated():
            relation = catalogue.query(name, **parameters)
            return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]

    return rows


@pytest.fixture
def scratch(small: Path, tmp_path: Path) -> Path:
    """A copy of the small catalogue to change."""
    return Path(shutil.copy(small, tmp_path / "scratch.duckdb"))


@pytest.fixture
def catalogue(small: Path) -> Iterator[Catalogue]:
    """The small catalogue, open."""
    with connect(small) as opened:
        yield opened


@pytest.fixture
def environment(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small catalogue is the one of FEATDEX_DB; files go to a folder of their own."""
    monkeypatch.setenv("FEATDEX_DB", str(small))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def featdex(environment: None, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process: `featdex("top", "digits") -> (exit code, stdout, stderr)`."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(list(arguments))
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return run
