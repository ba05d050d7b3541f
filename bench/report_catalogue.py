"""A catalogue of random numbers, as large as wanted, made by SQL alone: what the bench of the report page shows.

Only what a report reads is filled in: other columns of `enrichment` are NULL. z is normal, with one feature in 200
at four times that, so that there are leaders; tokens are made of letters and spaces.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
from featdex.catalogue.file import create

VOCABULARY = 50_257
N_TOKENS_KEPT = 20
_STATISTICS = {
    "mean": "0.001 * x", "std": "0.6 + 0.05 * abs(x)", "skewness": "0.4 * x * abs(y)", "kurtosis": "3 + 2 * y * y",
    "min": "-3 - abs(x)", "max": "3 + abs(y)", "q01": "-1.5", "q05": "-1", "q25": "-.4", "q50": "0.01 * x", "q75": ".4",
    "q95": "1", "q99": "1.5", "bimodality": "0.3 + 0.01 * x", "cos_mean": "0.001 * y", "cos_std": "0.06 + 0.01 * x",
    "cos_skewness": "0.4 * y * abs(x)", "cos_kurtosis": "3 + 3 * x * x", "dec_norm": "1",
    "enc_dec_cos": "0.5 + 0.1 * x", "b_enc": "0.2 * y", "log10_density": "-3 + x",
}  # fmt: skip
# A normal deviate from two uniform ones (Box and Muller).
_NORMAL = "sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())"


def make_catalogue(path: Path, n_saes: int, n_features: int, n_sets: int) -> None:
    """Write a catalogue of one model."""
    create(path)
    with duckdb.connect(str(path)) as connection:
        connection.execute("SET preserve_insertion_order = true; SET threads = 2; SELECT setseed(0.5)")
        _add_names(connection, n_saes, n_features, n_sets)
        for sae_id in range(1, n_saes + 1):
            connection.begin()
            _add_sae(connection, sae_id, n_features, n_sets)
            connection.commit()
        connection.execute("CHECKPOINT")


def _add_names(connection: duckdb.DuckDBPyConnection, n_saes: int, n_features: int, n_sets: int) -> None:
    connection.execute(
        "INSERT INTO model (model_id, name, n_layers, d_model, d_vocab) VALUES (1, 'gpt2-small', 12, 768, ?)",
        [VOCABULARY],
    )
    connection.execute(
        "INSERT INTO token SELECT 1, i, ' ' || substr(md5(i::VARCHAR), 1, 2 + i % 8), 'x', false, false"
        " FROM range(?) t(i)",
        [VOCABULARY],
    )
    connection.execute(
        "INSERT INTO sae (sae_id, model_id, kind, release, sae_name, slug, layer, hook_name, d_sae, neuronpedia_id)"
        " SELECT i, 1, 'sae', 'made', 'made', format('gpt2-small/{}-res-jb', i - 1), i - 1,"
        " format('blocks.{}.hook_resid_pre', i - 1), ?, format('gpt2-small/{}-res-jb', i - 1)"
        " FROM range(1, ? + 1) t(i)",
        [n_features, n_saes],
    )
    connection.execute(
        "INSERT INTO token_set (set_id, model_id, name, collection, kind, definition, description, n_tokens)"
        " SELECT i, 1,"
        " CASE WHEN i = 1 THEN 'girls_names' WHEN i = 2 THEN 'boys_names' ELSE format('set_{:03d}', i) END,"
        " format('collection_{}', i % 7), 'list', 'random tokens', 'Tokens drawn at random.', 40"
        " FROM range(1, ? + 1) t(i)",
        [n_sets],
    )
    connection.execute(
        "INSERT INTO token_set_member SELECT i, (i * 401 + k * 1009) % ?"
        " FROM range(1, ? + 1) s(i), range(40) m(k) ORDER BY ALL",
        [VOCABULARY, n_sets],
    )


def _add_sae(connection: duckdb.DuckDBPyConnection, sae_id: int, n_features: int, n_sets: int) -> None:
    values = ", ".join(f'({text})::FLOAT AS "{name}"' for name, text in _STATISTICS.items())
    connection.execute(
        f"INSERT INTO feature BY NAME SELECT {sae_id}::SMALLINT AS sae_id, feature, {values}, false AS dead,"
        " list_transform(range(50), lambda b: (6000 * exp(-((b - 25 - x) ** 2) / 40))::INTEGER) AS histogram"
        f" FROM (SELECT i::INTEGER AS feature, {_NORMAL} AS x, {_NORMAL} AS y FROM range({n_features}) t(i))"
        " ORDER BY feature"
    )
    connection.execute(
        f"INSERT INTO feature_token SELECT {sae_id}, i, r, (hash(i, r, {sae_id}) % {VOCABULARY})::INTEGER,"
        f" (sign(r) * (5 - abs(r) / 8) + random() / 8)::FLOAT FROM range({n_features}) t(i),"
        f" (SELECT unnest(range(-{N_TOKENS_KEPT}, {N_TOKENS_KEPT} + 1)) AS r) WHERE r <> 0 ORDER BY i, r"
    )
    connection.execute(
        "INSERT INTO enrichment BY NAME SELECT sae_id, set_id, feature, z::FLOAT AS z,"
        " (-z * z / 4.6)::FLOAT AS log10_p, least(0, 3 - z * z / 4.6)::FLOAT AS log10_q,"
        " (z * .8)::FLOAT AS z_adj FROM ("
        f" SELECT {sae_id}::SMALLINT AS sae_id, s::SMALLINT AS set_id, i::INTEGER AS feature,"
        f" {_NORMAL} * CASE WHEN hash(i, s) % 200 = 0 THEN 4 ELSE 1 END AS z"
        f" FROM range(1, {n_sets} + 1) sets(s), range({n_features}) t(i)) ORDER BY set_id, feature"
    )
    connection.execute(
        "INSERT INTO set_summary SELECT sae_id, set_id, count_if(z > 0 AND log10_q < log10(.05)),"
        " count_if(z < 0 AND log10_q < log10(.05)), arg_max(feature, z), max(z), arg_min(feature, z), min(z)"
        f" FROM enrichment WHERE sae_id = {sae_id} GROUP BY ALL ORDER BY ALL"
    )
