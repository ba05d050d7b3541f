"""A catalogue of real size made of random numbers, by SQL: what the questions are timed on.

The numbers are hashes of their place, so that two machines ask the same questions of the same rows. Their shapes are
those of real SAEs as far as the time of a question depends on them: how many features are sharp, how many sets a
feature has a large z of, how many tokens a set has, how many sets a token is in.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import duckdb
from featdex.catalogue.file import create
from featdex.catalogue.tables import FEATURE

MODEL = "gpt2-small"
PLANTED = "girls_names"
_TOPIC_TOKENS = 25
_TEXT = "CASE WHEN i % 3 = 0 THEN '' ELSE ' ' END || 'word' || i"


class Size(NamedTuple):
    """How large the catalogue is; `explained` is the share of the features that have an imported explanation."""

    saes: int = 12
    features: int = 24_576
    sets: int = 100
    tokens: int = 50_257
    explained: float = 1.0


def uniform(place: str, column: int) -> str:
    """Return SQL for a number in (0, 1) that depends on an integer and the column alone."""
    # One number in: of several, DuckDB mixes the hashes too little for them to look independent.
    return f"(((hash(({place})::BIGINT * 128 + {column}) >> 11)::DOUBLE + 0.5) / {1 << 53})"


def gaussian(place: str, column: int) -> str:
    """Return SQL for a number from the standard normal distribution (Box and Muller)."""
    return f"sqrt(-2 * ln({uniform(place, 2 * column)})) * cos(2 * pi() * {uniform(place, 2 * column + 1)})"


def set_size(size: Size, index: int) -> int:
    """Return the number of members of a set: from 10 to a fifth of the vocabulary, evenly in the logarithm."""
    largest = size.tokens // 5
    return round(10 * (largest / 10) ** (index / max(size.sets - 1, 1)))


def make_catalogue(path: Path, size: Size = Size()) -> None:
    """Make the catalogue at `path`, in the physical order and storage version of an ingested one."""
    create(path)
    connection = duckdb.connect(str(path))
    try:
        # The rows of `range` come in order; with it kept, so do those of a table.
        connection.execute("SET preserve_insertion_order = true")
        _vocabulary(connection, size)
        for sae in range(1, size.saes + 1):
            connection.execute("BEGIN")
            _features(connection, size, sae)
            _enrichment(connection, size, sae)
            connection.execute("COMMIT")
        connection.execute("CHECKPOINT")
    finally:
        connection.close()


def _vocabulary(connection: duckdb.DuckDBPyConnection, size: Size) -> None:
    connection.execute(
        "INSERT INTO model BY NAME SELECT 1 AS model_id, $model AS name, 12 AS n_layers, 768 AS d_model,"
        " $tokens AS d_vocab, 'made' AS tokenizer_sha256, 'made' AS unembed_sha256, $model AS neuronpedia_model",
        {"model": MODEL, "tokens": size.tokens},
    )
    connection.execute(
        f"INSERT INTO token BY NAME SELECT 1 AS model_id, i AS token_id, {_TEXT} AS str,"
        f" replace({_TEXT}, ' ', 'Ġ') AS raw, false AS is_special, false AS is_partial_utf8 FROM range(?) r(i)",
        [size.tokens],
    )
    for index in range(size.sets):
        n_tokens, name = set_size(size, index), PLANTED if index == size.sets // 2 else f"set_{index:03d}"
        connection.execute(
            "INSERT INTO token_set BY NAME SELECT $set_id AS set_id, 1 AS model_id, $name AS name,"
            " 'made_' || ($set_id % 10) AS collection, 'list' AS kind, $n AS n_tokens, 'made' AS members_sha256",
            {"set_id": index + 1, "name": name, "n": n_tokens},
        )
        connection.execute(
            f"INSERT INTO token_set_member SELECT $set_id, i FROM range($tokens) r(i)"
            f" ORDER BY {uniform('($set_id * 1000000 + i)', 1)} LIMIT $n",
            {"set_id": index + 1, "tokens": size.tokens, "n": n_tokens},
        )
    connection.execute("CREATE TABLE sorted AS FROM token_set_member ORDER BY ALL")
    connection.execute("DELETE FROM token_set_member")
    connection.execute("INSERT INTO token_set_member FROM sorted ORDER BY ALL")
    connection.execute("DROP TABLE sorted")


def _features(connection: duckdb.DuckDBPyConnection, size: Size, sae: int) -> None:
    """Add an SAE with its features, their tokens and their explanations."""
    connection.execute(
        "INSERT INTO sae BY NAME SELECT $sae AS sae_id, 1 AS model_id, 'sae' AS kind, 'gpt2-small-res-jb' AS release,"
        " $slug AS sae_name, $slug AS slug, $sae - 1 AS layer, $slug AS hook_name, 'resid_pre' AS site,"
        " 'identity' AS to_resid, 'standard' AS architecture, 768 AS d_in, $features AS d_sae,"
        " $slug AS neuronpedia_id, $slug AS weights_sha256",
        {"sae": sae, "slug": f"{MODEL}/{sae - 1}-res-jb", "features": size.features},
    )
    place = f"(i + {sae * size.features})"
    # Half of the real features of `gpt2-small-res-jb` have a kurtosis below 4, one in ten has more than 10.
    sharp = f"3 + 2 * exp(1.6 * {gaussian(place, 1)} - 0.6)"
    special = {
        "sae_id": str(sae),
        "feature": "i",
        "skewness": gaussian(place, 2),
        "kurtosis": sharp,
        "cos_skewness": gaussian(place, 2),
        "cos_kurtosis": sharp,
        "cos_std": f"0.05 * exp(0.3 * {gaussian(place, 3)})",
        "histogram": f"[{', '.join(f'(i * {k + 1}) % 997' for k in range(50))}]",
        "log10_density": f"-3 + {gaussian(place, 4)}",
        "dead": "false",
        "label": "NULL",
    }
    columns = [special.get(column.name, gaussian(place, 5 + k)) for k, column in enumerate(FEATURE.columns)]
    connection.execute(f"INSERT INTO feature SELECT {', '.join(columns)} FROM range({size.features}) r(i)")
    connection.execute(
        f"INSERT INTO feature_token SELECT {sae}, i // 40, CASE WHEN i % 40 < 20 THEN i % 40 - 20 ELSE i % 40 - 19 END,"
        f" {_token(f'(i + {sae * size.features * 40})', size)},"
        f" CASE WHEN i % 40 < 20 THEN -3 + (i % 40) / 20 ELSE 3 - (i % 40 - 20) / 20 END"
        f" FROM range({size.features * 40}) r(i)"
    )
    connection.execute(
        f"INSERT INTO explanation SELECT {sae}, i, 'tokens about topic ' || hash({place}) % 5000 || ' in a sentence',"
        f" 'oai_token-act-pair', 'made', NULL, 'made' FROM range({int(size.features * size.explained)}) r(i)"
    )


def _token(place: str, size: Size) -> str:
    """Return SQL for a token of a feature: half of them from the few of its topic, which other features have too."""
    n_topics = max(size.tokens // _TOPIC_TOKENS, 1)
    topic = f"hash(({place} // 40)::BIGINT) % {n_topics} * {_TOPIC_TOKENS} + hash({place}) % {_TOPIC_TOKENS}"
    rare = f"({uniform(place, 1)} ** 2 * {size.tokens})::BIGINT"
    return f"(CASE WHEN hash({place}) % 64 < 32 THEN {topic} ELSE {rare} END) % {size.tokens}"


def _enrichment(connection: duckdb.DuckDBPyConnection, size: Size, sae: int) -> None:
    """Add the rows of every set; one feature in fifty has a large z of a few sets, as real ones have."""
    place = f"(i + {sae * size.features * size.sets})"
    n = size.features * size.sets
    set_id, feature = f"i // {size.features} + 1", f"i % {size.features}"
    boost = f"CASE WHEN hash({feature} + {sae * size.features}) % 50 = hash({set_id}) % 50 THEN 12 ELSE 0 END"
    names = (
        "sae_id, set_id, feature, es, es_opposed, peak_rank, lead_n, auroc, mean_diff, top_hits, bottom_hits,"
        " log10_p_top, z, log10_p, log10_q, log10_q_all, z_adj, log10_p_adj, log10_p_ks, nes, log10_p_es"
    )
    connection.execute(
        f"INSERT INTO enrichment ({names}) WITH drawn AS (SELECT i, 1.6 * {gaussian(place, 1)} + {boost} AS z"
        f" FROM range({n}) r(i)), scored AS (SELECT d.*, least(0, -d.z * d.z / 4.6 - log10(1 + abs(d.z))) AS p"
        f" FROM drawn d) SELECT {sae}, {set_id}, {feature}, tanh(z / 8), abs(tanh(z / 9)) / 9, hash(i) % 50000,"
        " hash(i) % 9, (1 + tanh(z / 8)) / 2, z / 10, greatest(z, 0)::INTEGER, greatest(-z, 0)::INTEGER, p / 3, z, p,"
        " least(0, p + 2), least(0, p + 2.5), z * 0.8, p * 0.6, p * 3, tanh(z / 8) * 4, greatest(p, -3.3) FROM scored"
    )
    connection.execute(
        f"INSERT INTO set_null BY NAME SELECT {sae} AS sae_id, i AS set_id, 'decoder' AS sigma_kind, 2 AS vif,"
        f" 0 AS R, 1 AS seed FROM range(1, {size.sets + 1}) r(i)"
    )
    connection.execute(
        f"INSERT INTO set_summary SELECT sae_id, set_id, count(*) FILTER (z > 0 AND log10_q < log10(0.05)),"
        " count(*) FILTER (z < 0 AND log10_q < log10(0.05)), arg_max(feature, z), max(z), arg_min(feature, z), min(z)"
        f" FROM enrichment WHERE sae_id = {sae} GROUP BY ALL ORDER BY set_id"
    )
    r = f"{uniform('least(a, b) * 1000 + greatest(a, b)', sae)} ** 3"
    connection.execute(
        f"INSERT INTO set_correlation SELECT {sae}, a, b, {r} FROM range(1, {size.sets + 1}) x(a),"
        f" range(1, {size.sets + 1}) y(b) WHERE a <> b ORDER BY a, b"
    )
