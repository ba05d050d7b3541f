"""The tables of a catalogue, as data, in the order in which they are created."""

from __future__ import annotations

from .schema import Column, Table


def _columns(*rows: tuple[str, str, str]) -> tuple[Column, ...]:
    return tuple(Column(*row) for row in rows)


_SAE = ("sae_id", "SMALLINT", "The dictionary of features: sae.sae_id.")
_SET = ("set_id", "SMALLINT", "The token set: token_set.set_id.")
_MODEL = ("model_id", "SMALLINT", "The language model: model.model_id.")
_FEATURE = ("feature", "INTEGER", "Index of the feature (latent, neuron, direction), from 0: the row of W_dec.")


def _moments(prefix: str, what: str, unit: str) -> tuple[tuple[str, str, str], ...]:
    return (
        (f"{prefix}mean", "FLOAT", f"Mean over the vocabulary of {what} ({unit})."),
        (f"{prefix}std", "FLOAT", f"Population standard deviation over the vocabulary of {what} ({unit})."),
        (f"{prefix}skewness", "FLOAT", f"Population skewness E[z^3] of {what}."),
        (f"{prefix}kurtosis", "FLOAT", f"Population kurtosis E[z^4] of {what}: Pearson's, a Gaussian has 3."),
    )


_DIRECTION = "null: random direction with the decoder's covariance"

META = Table(
    "meta",
    "Facts of the file itself, one a row: schema_version, created_by, created_at.",
    _columns(("key", "VARCHAR", "Name of the fact."), ("value", "VARCHAR", "Its value, as text.")),
)

MODEL = Table(
    "model",
    "One row a language model, with the recipe by which its unembedding W_U was processed.",
    _columns(
        ("model_id", "SMALLINT", "Key."),
        ("name", "VARCHAR", "Short name, as in slugs: gpt2-small."),
        ("hf_repo", "VARCHAR", "Hugging Face repository, or NULL for a model from a file."),
        ("hf_revision", "VARCHAR", "Commit of that repository, where known."),
        ("n_layers", "SMALLINT", "Number of transformer blocks."),
        ("d_model", "INTEGER", "Width of the residual stream."),
        ("d_vocab", "INTEGER", "Number of tokens of the tokenizer; padded rows of W_U beyond it take no part."),
        ("tokenizer_sha256", "VARCHAR", "Hash of all raw tokens in order."),
        ("unembed_sha256", "VARCHAR", "Hash of the processed W_U (float32, d_model x d_vocab, row-major)."),
        ("fold_ln", "BOOLEAN", "Whether the final norm's weight is folded into W_U."),
        ("center_unembed", "BOOLEAN", "Whether W_U is centred over the vocabulary."),
        ("center_d_model", "BOOLEAN", "Whether W_U is centred over d_model (LayerNorm models only)."),
        ("neuronpedia_model", "VARCHAR", "Model id at neuronpedia.org, or NULL."),
    ),
    "PRIMARY KEY (model_id)",
)

TOKEN = Table(
    "token",
    "The vocabulary: one row a token of a model's tokenizer.",
    _columns(
        _MODEL,
        ("token_id", "INTEGER", "Id in the tokenizer: the column of W_U."),
        ("str", "VARCHAR", "Decoded text; bytes that are no UTF-8 show as U+FFFD. Not unique."),
        ("raw", "VARCHAR", "The tokenizer's own spelling, such as 'ĠMary' or '▁Mary'."),
        ("is_special", "BOOLEAN", "Control token (<|endoftext|>), never produced by ordinary text."),
        ("is_partial_utf8", "BOOLEAN", "The token's bytes are not valid UTF-8 by themselves."),
    ),
    order=("model_id", "token_id"),
)

SAE = Table(
    "sae",
    "One row a dictionary of features: an SAE, a transcoder, the neurons of one MLP layer, plain directions.",
    _columns(
        ("sae_id", "SMALLINT", "Key."),
        _MODEL,
        ("kind", "VARCHAR", "sae, transcoder, mlp_neurons or directions."),
        ("release", "VARCHAR", "SAELens release, or the name of the collection."),
        ("sae_name", "VARCHAR", "SAELens id within the release."),
        ("slug", "VARCHAR", "Unique short name, such as gpt2-small/8-res-jb."),
        ("layer", "SMALLINT", "Block whose activations it reads; hook_resid_post of block 7 has layer 7."),
        ("hook_name", "VARCHAR", "TransformerLens hook, such as blocks.8.hook_resid_pre."),
        ("site", "VARCHAR", "resid_pre, resid_mid, resid_post, attn_z, attn_out, mlp_out, mlp_post, other."),
        ("to_resid", "VARCHAR", "Map from W_dec to the residual stream: identity, W_O or W_out."),
        ("architecture", "VARCHAR", "standard, gated, topk, jumprelu, …; NULL for neurons."),
        ("d_in", "INTEGER", "Width of the activations it reads."),
        ("d_sae", "INTEGER", "Number of features."),
        ("l0", "FLOAT", "Mean number of active features per token, where the release tells."),
        ("neuronpedia_id", "VARCHAR", "Id at neuronpedia.org (model/set), or NULL."),
        ("weights_sha256", "VARCHAR", "Hash of the decoder as stored (float32, row-major), its map and its names."),
    ),
    "PRIMARY KEY (sae_id), UNIQUE (slug)",
)

TOKEN_SET = Table(
    "token_set",
    "One row a set of tokens whose enrichment was tested.",
    _columns(
        ("set_id", "SMALLINT", "Key."),
        _MODEL,
        ("name", "VARCHAR", "Name; a definition that changed keeps its old rows under name@hash."),
        ("collection", "VARCHAR", "Collection the set belongs to: shape, affix, names, pos, …"),
        ("kind", "VARCHAR", "How it is defined: regex, list, pos."),
        ("definition", "VARCHAR", "The definition itself: the pattern, the rule, or the terms' source."),
        ("description", "VARCHAR", "One sentence for people."),
        ("source", "VARCHAR", "Where the rule or the terms come from."),
        ("licence", "VARCHAR", "Licence of that source; NULL where it was not told."),
        ("version", "VARCHAR", "Version of the rule or the terms; NULL where it was not told."),
        ("n_terms", "INTEGER", "Number of terms of a list; NULL for a rule."),
        ("n_tokens", "INTEGER", "Number of member tokens in the universe: n."),
        ("n_dropped", "INTEGER", "Number of terms that gave no member (token_set_dropped); NULL for a rule."),
        ("members_sha256", "VARCHAR", "Hash of the sorted member token ids."),
    ),
    "PRIMARY KEY (set_id), UNIQUE (model_id, name)",
)

TOKEN_SET_MEMBER = Table(
    "token_set_member",
    "Members of the token sets.",
    _columns(_SET, ("token_id", "INTEGER", "A member: token.token_id of the set's model.")),
    order=("set_id", "token_id"),
)

TOKEN_SET_DROPPED = Table(
    "token_set_dropped",
    "Terms of the token sets that gave no member, with the reason.",
    _columns(_SET, ("term", "VARCHAR", "The term, as its list has it."), ("reason", "VARCHAR", "Why it has no token.")),
    order=("set_id", "term"),
)

FEATURE = Table(
    "feature",
    "One row a feature: statistics of its logit weights L = W_dec[f] @ W_U over the vocabulary.",
    _columns(
        _SAE,
        _FEATURE,
        *_moments("", "the logit weights", "logits"),
        ("min", "FLOAT", "Smallest logit weight (logits)."),
        ("max", "FLOAT", "Largest logit weight (logits)."),
        *(
            (name, "FLOAT", f"Quantile {level} of the logit weights, linear interpolation (logits).")
            for name, level in (
                ("q01", ".01"),
                ("q05", ".05"),
                ("q25", ".25"),
                ("q50", ".5"),
                ("q75", ".75"),
                ("q95", ".95"),
                ("q99", ".99"),
            )
        ),
        ("bimodality", "FLOAT", "Sarle's coefficient (skewness^2 + 1) / kurtosis; uniform 0.555, two points 1."),
        *_moments("cos_", "cos(W_dec[f], W_U[:, t])", "cosine"),
        ("histogram", "INTEGER[]", "Counts of the logit weights in 50 equal bins from min to max."),
        ("dec_norm", "FLOAT", "Euclidean norm of the decoder row, in the residual stream."),
        ("enc_dec_cos", "FLOAT", "Cosine of the encoder column and the decoder row; NULL where there is none."),
        ("b_enc", "FLOAT", "Encoder bias; NULL where there is none."),
        ("log10_density", "FLOAT", "log10 of the share of tokens on which the feature fires; NULL if unknown."),
        ("dead", "BOOLEAN", "log10_density below -9; NULL if unknown."),
        ("label", "VARCHAR", "Name that its source gives it, as a file of directions does; NULL where there is none."),
    ),
    order=("sae_id", "feature"),
)

FEATURE_TOKEN = Table(
    "feature_token",
    "The 20 most promoted and the 20 most suppressed tokens of every feature.",
    _columns(
        _SAE,
        _FEATURE,
        ("rank", "SMALLINT", "+1 is the most promoted token, -1 the most suppressed one."),
        ("token_id", "INTEGER", "The token: token.token_id."),
        ("weight", "FLOAT", "Its logit weight W_dec[f] . W_U[:, t] (logits)."),
    ),
    order=("sae_id", "feature", "rank"),
)

ENRICHMENT = Table(
    "enrichment",
    "One row a feature and token set: where the set's tokens stand in the feature's ranking of the vocabulary. "
    "Positive promotes, negative suppresses. All NULL for a decoder row of zeros.",
    _columns(
        _SAE,
        _SET,
        _FEATURE,
        ("es", "FLOAT", "Enrichment score, unweighted: the signed two-sample Kolmogorov-Smirnov statistic."),
        ("es_opposed", "FLOAT", "The smaller of D+ and D-: how far the running sum also goes the other way."),
        ("peak_rank", "INTEGER", "0-based rank after which the running sum is at its extreme, the es."),
        ("lead_n", "INTEGER", "Leading edge: members at rank <= peak_rank (es > 0) or > peak_rank (es < 0)."),
        ("auroc", "FLOAT", "Chance that a random member outranks a random other token; ties count half."),
        ("mean_diff", "FLOAT", "Mean logit weight of the members minus that of the rest (logits)."),
        ("top_hits", "SMALLINT", "Members among the 100 most promoted tokens."),
        ("bottom_hits", "SMALLINT", "Members among the 100 most suppressed tokens."),
        ("log10_p_top", "FLOAT", "log10 of the one-sided p of top_hits; null: random tokens, so no error rate."),
        ("z", "FLOAT", f"w . delta / sqrt(delta' Sigma delta) of the unit decoder row w; {_DIRECTION}."),
        ("log10_p", "FLOAT", f"log10 of the two-sided p of z (Beta tail, exact); {_DIRECTION}."),
        ("log10_q", "FLOAT", "log10 of the Benjamini-Hochberg q of log10_p over the features of this SAE and set."),
        ("log10_q_all", "FLOAT", "log10 of the Benjamini-Hochberg q of log10_p over every pair of this SAE."),
        ("z_adj", "FLOAT", "z of the part of delta Sigma-orthogonal to token frequency, leading space and capital."),
        ("log10_p_adj", "FLOAT", f"log10 of the two-sided p of z_adj; {_DIRECTION}."),
        (
            "log10_p_ks",
            "FLOAT",
            "log10 of the two-sided p of es; null: random tokens. Real tokens are correlated: see z.",
        ),
        ("nes", "FLOAT", f"es / mean |es| of the null of the same sign; {_DIRECTION}."),
        ("log10_p_es", "FLOAT", "log10 of (b+1)/(R+1), b null scores at least as large; null: R random directions."),
    ),
    order=("sae_id", "set_id", "feature"),
)

SET_NULL = Table(
    "set_null",
    "One row an SAE and set: the null of that set under random directions.",
    _columns(
        _SAE,
        _SET,
        ("sigma_kind", "VARCHAR", "Covariance of the random directions: decoder or isotropic."),
        ("vif", "FLOAT", "Variance inflation over random tokens: delta' Sigma delta / (tr(Sigma C_U)(1/n + 1/m))."),
        ("es_null_mean_pos", "FLOAT", "Mean of the positive null scores."),
        ("es_null_mean_neg", "FLOAT", "Mean of |es| of the negative null scores."),
        ("es_null_q01", "FLOAT", "Quantile .01 of the null scores."),
        ("es_null_q05", "FLOAT", "Quantile .05 of the null scores."),
        ("es_null_q50", "FLOAT", "Median of the null scores."),
        ("es_null_q95", "FLOAT", "Quantile .95 of the null scores."),
        ("es_null_q99", "FLOAT", "Quantile .99 of the null scores."),
        ("R", "INTEGER", "Number of random directions."),
        ("seed", "BIGINT", "Seed of the random directions."),
    ),
    order=("sae_id", "set_id"),
)

SET_CORRELATION = Table(
    "set_correlation",
    "How the z of two sets of an SAE go together under the null: 1 for sets that say the same. Both orders are there.",
    _columns(
        _SAE,
        _SET,
        ("other_id", "SMALLINT", "The other token set: token_set.set_id."),
        ("r", "FLOAT", "delta_A' Sigma delta_B, normalised: the correlation of z_A and z_B over random directions."),
    ),
    order=("sae_id", "set_id", "other_id"),
)

SET_SUMMARY = Table(
    "set_summary",
    "One row an SAE and set: how many features promote and suppress it at q < .05, and the best of each.",
    _columns(
        _SAE,
        _SET,
        ("n_promoted", "INTEGER", "Features with z > 0 and q < .05 (log10_q)."),
        ("n_suppressed", "INTEGER", "Features with z < 0 and q < .05 (log10_q)."),
        ("best_promoted", "INTEGER", "Feature of the largest z."),
        ("best_promoted_z", "FLOAT", "Its z."),
        ("best_suppressed", "INTEGER", "Feature of the smallest z."),
        ("best_suppressed_z", "FLOAT", "Its z."),
    ),
    order=("sae_id", "set_id"),
)

EXPLANATION = Table(
    "explanation",
    "Explanations of features made elsewhere, imported. They go when the neuronpedia_id or d_sae of the SAE changes.",
    _columns(
        _SAE,
        _FEATURE,
        ("text", "VARCHAR", "The explanation."),
        ("method", "VARCHAR", "How it was made."),
        ("explainer", "VARCHAR", "The model or person that made it."),
        ("score", "FLOAT", "Its score by its own method; NULL where it has none."),
        ("source", "VARCHAR", "File or export it was read from."),
    ),
)

TAG = Table(
    "tag",
    "The user's own notes on features, at most one a feature and tag. They stay whatever is computed again.",
    _columns(
        _SAE,
        _FEATURE,
        ("tag", "VARCHAR", "A short label."),
        ("note", "VARCHAR", "Free text."),
        ("created_at", "TIMESTAMP", "When, UTC."),
    ),
)

STATISTICS = tuple(column.name for column in FEATURE.columns if column.sql_type == "FLOAT")
"""Statistics of a feature: what pictures show, cards list and questions rank by."""

RUN = Table(
    "run",
    "The ledger: one row a finished stage of one SAE. It decides what a second ingest skips.",
    _columns(
        ("run_id", "INTEGER", "Key."),
        _SAE,
        ("stage", "VARCHAR", "What was computed: features."),
        ("params", "VARCHAR", "Parameters and input hashes, JSON."),
        ("params_sha256", "VARCHAR", "Hash of params: the same hash means nothing to do."),
        ("versions", "VARCHAR", "Versions of featdex and its libraries, JSON."),
        ("device", "VARCHAR", "Where it was computed: cpu, cuda:0."),
        ("n_rows", "BIGINT", "Rows written."),
        ("seconds", "DOUBLE", "Wall time of computing and writing."),
        ("finished_at", "TIMESTAMP", "When, UTC."),
    ),
    "PRIMARY KEY (run_id)",
)

TABLES = (
    META,
    MODEL,
    TOKEN,
    SAE,
    TOKEN_SET,
    TOKEN_SET_MEMBER,
    TOKEN_SET_DROPPED,
    FEATURE,
    FEATURE_TOKEN,
    ENRICHMENT,
    SET_NULL,
    SET_CORRELATION,
    SET_SUMMARY,
    EXPLANATION,
    TAG,
    RUN,
)
