-- The tables, views and questions of schema 1, as featdex wrote them.
CREATE TABLE "meta" ("key" VARCHAR, "value" VARCHAR);
COMMENT ON TABLE "meta" IS 'Facts of the file itself, one a row: schema_version, created_by, created_at.';
COMMENT ON COLUMN "meta"."key" IS 'Name of the fact.';
COMMENT ON COLUMN "meta"."value" IS 'Its value, as text.';
CREATE TABLE "model" ("model_id" SMALLINT, "name" VARCHAR, "hf_repo" VARCHAR, "hf_revision" VARCHAR, "n_layers" SMALLINT, "d_model" INTEGER, "d_vocab" INTEGER, "tokenizer_sha256" VARCHAR, "unembed_sha256" VARCHAR, "fold_ln" BOOLEAN, "center_unembed" BOOLEAN, "center_d_model" BOOLEAN, "neuronpedia_model" VARCHAR, PRIMARY KEY (model_id));
COMMENT ON TABLE "model" IS 'One row a language model, with the recipe by which its unembedding W_U was processed.';
COMMENT ON COLUMN "model"."model_id" IS 'Key.';
COMMENT ON COLUMN "model"."name" IS 'Short name, as in slugs: gpt2-small.';
COMMENT ON COLUMN "model"."hf_repo" IS 'Hugging Face repository, or NULL for a model from a file.';
COMMENT ON COLUMN "model"."hf_revision" IS 'Commit of that repository, where known.';
COMMENT ON COLUMN "model"."n_layers" IS 'Number of transformer blocks.';
COMMENT ON COLUMN "model"."d_model" IS 'Width of the residual stream.';
COMMENT ON COLUMN "model"."d_vocab" IS 'Number of tokens of the tokenizer; padded rows of W_U beyond it take no part.';
COMMENT ON COLUMN "model"."tokenizer_sha256" IS 'Hash of all raw tokens in order.';
COMMENT ON COLUMN "model"."unembed_sha256" IS 'Hash of the processed W_U (float32, d_model x d_vocab, row-major).';
COMMENT ON COLUMN "model"."fold_ln" IS 'Whether the final norm''s weight is folded into W_U.';
COMMENT ON COLUMN "model"."center_unembed" IS 'Whether W_U is centred over the vocabulary.';
COMMENT ON COLUMN "model"."center_d_model" IS 'Whether W_U is centred over d_model (LayerNorm models only).';
COMMENT ON COLUMN "model"."neuronpedia_model" IS 'Model id at neuronpedia.org, or NULL.';
CREATE TABLE "token" ("model_id" SMALLINT, "token_id" INTEGER, "str" VARCHAR, "raw" VARCHAR, "is_special" BOOLEAN, "is_partial_utf8" BOOLEAN);
COMMENT ON TABLE "token" IS 'The vocabulary: one row a token of a model''s tokenizer.';
COMMENT ON COLUMN "token"."model_id" IS 'The language model: model.model_id.';
COMMENT ON COLUMN "token"."token_id" IS 'Id in the tokenizer: the column of W_U.';
COMMENT ON COLUMN "token"."str" IS 'Decoded text; bytes that are no UTF-8 show as U+FFFD. Not unique.';
COMMENT ON COLUMN "token"."raw" IS 'The tokenizer''s own spelling, such as ''ĠMary'' or ''▁Mary''.';
COMMENT ON COLUMN "token"."is_special" IS 'Control token (<|endoftext|>), never produced by ordinary text.';
COMMENT ON COLUMN "token"."is_partial_utf8" IS 'The token''s bytes are not valid UTF-8 by themselves.';
CREATE TABLE "sae" ("sae_id" SMALLINT, "model_id" SMALLINT, "kind" VARCHAR, "release" VARCHAR, "sae_name" VARCHAR, "slug" VARCHAR, "layer" SMALLINT, "hook_name" VARCHAR, "site" VARCHAR, "to_resid" VARCHAR, "architecture" VARCHAR, "d_in" INTEGER, "d_sae" INTEGER, "l0" FLOAT, "neuronpedia_id" VARCHAR, "weights_sha256" VARCHAR, PRIMARY KEY (sae_id), UNIQUE (slug));
COMMENT ON TABLE "sae" IS 'One row a dictionary of features: an SAE, a transcoder, the neurons of one MLP layer, plain directions.';
COMMENT ON COLUMN "sae"."sae_id" IS 'Key.';
COMMENT ON COLUMN "sae"."model_id" IS 'The language model: model.model_id.';
COMMENT ON COLUMN "sae"."kind" IS 'sae, transcoder, mlp_neurons or directions.';
COMMENT ON COLUMN "sae"."release" IS 'SAELens release, or the name of the collection.';
COMMENT ON COLUMN "sae"."sae_name" IS 'SAELens id within the release.';
COMMENT ON COLUMN "sae"."slug" IS 'Unique short name, such as gpt2-small/8-res-jb.';
COMMENT ON COLUMN "sae"."layer" IS 'Block whose activations it reads; hook_resid_post of block 7 has layer 7.';
COMMENT ON COLUMN "sae"."hook_name" IS 'TransformerLens hook, such as blocks.8.hook_resid_pre.';
COMMENT ON COLUMN "sae"."site" IS 'resid_pre, resid_mid, resid_post, attn_z, attn_out, mlp_out, mlp_post, other.';
COMMENT ON COLUMN "sae"."to_resid" IS 'Map from W_dec to the residual stream: identity, W_O or W_out.';
COMMENT ON COLUMN "sae"."architecture" IS 'standard, gated, topk, jumprelu, …; NULL for neurons.';
COMMENT ON COLUMN "sae"."d_in" IS 'Width of the activations it reads.';
COMMENT ON COLUMN "sae"."d_sae" IS 'Number of features.';
COMMENT ON COLUMN "sae"."l0" IS 'Mean number of active features per token, where the release tells.';
COMMENT ON COLUMN "sae"."neuronpedia_id" IS 'Id at neuronpedia.org (model/set), or NULL.';
COMMENT ON COLUMN "sae"."weights_sha256" IS 'Hash of the decoder as used: float32, d_sae x d_model, row-major.';
CREATE TABLE "token_set" ("set_id" SMALLINT, "model_id" SMALLINT, "name" VARCHAR, "collection" VARCHAR, "kind" VARCHAR, "definition" VARCHAR, "description" VARCHAR, "source" VARCHAR, "n_terms" INTEGER, "n_tokens" INTEGER, "n_dropped" INTEGER, "members_sha256" VARCHAR, PRIMARY KEY (set_id), UNIQUE (model_id, name));
COMMENT ON TABLE "token_set" IS 'One row a set of tokens whose enrichment was tested.';
COMMENT ON COLUMN "token_set"."set_id" IS 'Key.';
COMMENT ON COLUMN "token_set"."model_id" IS 'The language model: model.model_id.';
COMMENT ON COLUMN "token_set"."name" IS 'Name; a definition that changed keeps its old rows under name@hash.';
COMMENT ON COLUMN "token_set"."collection" IS 'Collection the set belongs to: shape, affix, names, pos, …';
COMMENT ON COLUMN "token_set"."kind" IS 'How it is defined: regex, list, pos.';
COMMENT ON COLUMN "token_set"."definition" IS 'The definition itself: the pattern, the rule, or the terms'' source.';
COMMENT ON COLUMN "token_set"."description" IS 'One sentence for people.';
COMMENT ON COLUMN "token_set"."source" IS 'Where the terms come from, with licence.';
COMMENT ON COLUMN "token_set"."n_terms" IS 'Number of terms of a list; NULL for a rule.';
COMMENT ON COLUMN "token_set"."n_tokens" IS 'Number of member tokens in the universe: n.';
COMMENT ON COLUMN "token_set"."n_dropped" IS 'Number of terms that are no single token; NULL for a rule.';
COMMENT ON COLUMN "token_set"."members_sha256" IS 'Hash of the sorted member token ids.';
CREATE TABLE "token_set_member" ("set_id" SMALLINT, "token_id" INTEGER);
COMMENT ON TABLE "token_set_member" IS 'Members of the token sets.';
COMMENT ON COLUMN "token_set_member"."set_id" IS 'The token set: token_set.set_id.';
COMMENT ON COLUMN "token_set_member"."token_id" IS 'A member: token.token_id of the set''s model.';
CREATE TABLE "feature" ("sae_id" SMALLINT, "feature" INTEGER, "mean" FLOAT, "std" FLOAT, "skewness" FLOAT, "kurtosis" FLOAT, "min" FLOAT, "max" FLOAT, "q01" FLOAT, "q05" FLOAT, "q25" FLOAT, "q50" FLOAT, "q75" FLOAT, "q95" FLOAT, "q99" FLOAT, "bimodality" FLOAT, "cos_mean" FLOAT, "cos_std" FLOAT, "cos_skewness" FLOAT, "cos_kurtosis" FLOAT, "histogram" INTEGER[], "dec_norm" FLOAT, "enc_dec_cos" FLOAT, "b_enc" FLOAT, "log10_density" FLOAT, "dead" BOOLEAN);
COMMENT ON TABLE "feature" IS 'One row a feature: statistics of its logit weights L = W_dec[f] @ W_U over the vocabulary.';
COMMENT ON COLUMN "feature"."sae_id" IS 'The dictionary of features: sae.sae_id.';
COMMENT ON COLUMN "feature"."feature" IS 'Index of the feature (latent, neuron, direction), from 0: the row of W_dec.';
COMMENT ON COLUMN "feature"."mean" IS 'Mean over the vocabulary of the logit weights (logits).';
COMMENT ON COLUMN "feature"."std" IS 'Population standard deviation over the vocabulary of the logit weights (logits).';
COMMENT ON COLUMN "feature"."skewness" IS 'Population skewness E[z^3] of the logit weights.';
COMMENT ON COLUMN "feature"."kurtosis" IS 'Population kurtosis E[z^4] of the logit weights: Pearson''s, a Gaussian has 3.';
COMMENT ON COLUMN "feature"."min" IS 'Smallest logit weight (logits).';
COMMENT ON COLUMN "feature"."max" IS 'Largest logit weight (logits).';
COMMENT ON COLUMN "feature"."q01" IS 'Quantile .01 of the logit weights, linear interpolation (logits).';
COMMENT ON COLUMN "feature"."q05" IS 'Quantile .05 of the logit weights, linear interpolation (logits).';
COMMENT ON COLUMN "feature"."q25" IS 'Quantile .25 of the logit weights, linear interpolation (logits).';
COMMENT ON COLUMN "feature"."q50" IS 'Quantile .5 of the logit weights, linear interpolation (logits).';
COMMENT ON COLUMN "feature"."q75" IS 'Quantile .75 of the logit weights, linear interpolation (logits).';
COMMENT ON COLUMN "feature"."q95" IS 'Quantile .95 of the logit weights, linear interpolation (logits).';
COMMENT ON COLUMN "feature"."q99" IS 'Quantile .99 of the logit weights, linear interpolation (logits).';
COMMENT ON COLUMN "feature"."bimodality" IS 'Sarle''s coefficient (skewness^2 + 1) / kurtosis; uniform 0.555, two points 1.';
COMMENT ON COLUMN "feature"."cos_mean" IS 'Mean over the vocabulary of cos(W_dec[f], W_U[:, t]) (cosine).';
COMMENT ON COLUMN "feature"."cos_std" IS 'Population standard deviation over the vocabulary of cos(W_dec[f], W_U[:, t]) (cosine).';
COMMENT ON COLUMN "feature"."cos_skewness" IS 'Population skewness E[z^3] of cos(W_dec[f], W_U[:, t]).';
COMMENT ON COLUMN "feature"."cos_kurtosis" IS 'Population kurtosis E[z^4] of cos(W_dec[f], W_U[:, t]): Pearson''s, a Gaussian has 3.';
COMMENT ON COLUMN "feature"."histogram" IS 'Counts of the logit weights in 50 equal bins from min to max.';
COMMENT ON COLUMN "feature"."dec_norm" IS 'Euclidean norm of the decoder row, in the residual stream.';
COMMENT ON COLUMN "feature"."enc_dec_cos" IS 'Cosine of the encoder column and the decoder row; NULL where there is none.';
COMMENT ON COLUMN "feature"."b_enc" IS 'Encoder bias; NULL where there is none.';
COMMENT ON COLUMN "feature"."log10_density" IS 'log10 of the share of tokens on which the feature fires; NULL if unknown.';
COMMENT ON COLUMN "feature"."dead" IS 'log10_density below -9; NULL if unknown.';
CREATE TABLE "feature_token" ("sae_id" SMALLINT, "feature" INTEGER, "rank" SMALLINT, "token_id" INTEGER, "weight" FLOAT);
COMMENT ON TABLE "feature_token" IS 'The 20 most promoted and the 20 most suppressed tokens of every feature.';
COMMENT ON COLUMN "feature_token"."sae_id" IS 'The dictionary of features: sae.sae_id.';
COMMENT ON COLUMN "feature_token"."feature" IS 'Index of the feature (latent, neuron, direction), from 0: the row of W_dec.';
COMMENT ON COLUMN "feature_token"."rank" IS '+1 is the most promoted token, -1 the most suppressed one.';
COMMENT ON COLUMN "feature_token"."token_id" IS 'The token: token.token_id.';
COMMENT ON COLUMN "feature_token"."weight" IS 'Its logit weight W_dec[f] . W_U[:, t] (logits).';
CREATE TABLE "enrichment" ("sae_id" SMALLINT, "set_id" SMALLINT, "feature" INTEGER, "es" FLOAT, "es_opposed" FLOAT, "peak_rank" INTEGER, "lead_n" INTEGER, "auroc" FLOAT, "mean_diff" FLOAT, "top_hits" SMALLINT, "bottom_hits" SMALLINT, "log10_p_top" FLOAT, "z" FLOAT, "log10_p" FLOAT, "log10_q" FLOAT, "log10_q_all" FLOAT, "z_adj" FLOAT, "log10_p_adj" FLOAT, "log10_p_ks" FLOAT, "nes" FLOAT, "log10_p_es" FLOAT);
COMMENT ON TABLE "enrichment" IS 'One row a feature and token set: where the set''s tokens stand in the feature''s ranking of the vocabulary. Positive promotes, negative suppresses. All NULL for a decoder row of zeros.';
COMMENT ON COLUMN "enrichment"."sae_id" IS 'The dictionary of features: sae.sae_id.';
COMMENT ON COLUMN "enrichment"."set_id" IS 'The token set: token_set.set_id.';
COMMENT ON COLUMN "enrichment"."feature" IS 'Index of the feature (latent, neuron, direction), from 0: the row of W_dec.';
COMMENT ON COLUMN "enrichment"."es" IS 'Enrichment score, unweighted: the signed two-sample Kolmogorov-Smirnov statistic.';
COMMENT ON COLUMN "enrichment"."es_opposed" IS 'The smaller of D+ and D-: how far the running sum also goes the other way.';
COMMENT ON COLUMN "enrichment"."peak_rank" IS '0-based rank after which the running sum is at its extreme, the es.';
COMMENT ON COLUMN "enrichment"."lead_n" IS 'Leading edge: members at rank <= peak_rank (es > 0) or > peak_rank (es < 0).';
COMMENT ON COLUMN "enrichment"."auroc" IS 'Chance that a random member outranks a random other token; ties count half.';
COMMENT ON COLUMN "enrichment"."mean_diff" IS 'Mean logit weight of the members minus that of the rest (logits).';
COMMENT ON COLUMN "enrichment"."top_hits" IS 'Members among the 100 most promoted tokens.';
COMMENT ON COLUMN "enrichment"."bottom_hits" IS 'Members among the 100 most suppressed tokens.';
COMMENT ON COLUMN "enrichment"."log10_p_top" IS 'log10 of the one-sided p of top_hits; null: random tokens, so no error rate.';
COMMENT ON COLUMN "enrichment"."z" IS 'w . delta / sqrt(delta'' Sigma delta) of the unit decoder row w; null: random direction with the decoder''s covariance.';
COMMENT ON COLUMN "enrichment"."log10_p" IS 'log10 of the two-sided p of z (Beta tail, exact); null: random direction with the decoder''s covariance.';
COMMENT ON COLUMN "enrichment"."log10_q" IS 'log10 of the Benjamini-Hochberg q of log10_p over the features of this SAE and set.';
COMMENT ON COLUMN "enrichment"."log10_q_all" IS 'log10 of the Benjamini-Hochberg q of log10_p over every pair of this SAE.';
COMMENT ON COLUMN "enrichment"."z_adj" IS 'z of the part of delta Sigma-orthogonal to token frequency, leading space and capital.';
COMMENT ON COLUMN "enrichment"."log10_p_adj" IS 'log10 of the two-sided p of z_adj; null: random direction with the decoder''s covariance.';
COMMENT ON COLUMN "enrichment"."log10_p_ks" IS 'log10 of the two-sided p of es; null: random tokens. Real tokens are correlated: see z.';
COMMENT ON COLUMN "enrichment"."nes" IS 'es / mean |es| of the null of the same sign; null: random direction with the decoder''s covariance.';
COMMENT ON COLUMN "enrichment"."log10_p_es" IS 'log10 of (b+1)/(R+1), b null scores at least as large; null: R random directions.';
CREATE TABLE "set_null" ("sae_id" SMALLINT, "set_id" SMALLINT, "sigma_kind" VARCHAR, "vif" FLOAT, "es_null_mean_pos" FLOAT, "es_null_mean_neg" FLOAT, "es_null_q01" FLOAT, "es_null_q05" FLOAT, "es_null_q50" FLOAT, "es_null_q95" FLOAT, "es_null_q99" FLOAT, "R" INTEGER, "seed" BIGINT);
COMMENT ON TABLE "set_null" IS 'One row an SAE and set: the null of that set under random directions.';
COMMENT ON COLUMN "set_null"."sae_id" IS 'The dictionary of features: sae.sae_id.';
COMMENT ON COLUMN "set_null"."set_id" IS 'The token set: token_set.set_id.';
COMMENT ON COLUMN "set_null"."sigma_kind" IS 'Covariance of the random directions: decoder or isotropic.';
COMMENT ON COLUMN "set_null"."vif" IS 'Variance inflation over random tokens: delta'' Sigma delta / (tr(Sigma C_U)(1/n + 1/m)).';
COMMENT ON COLUMN "set_null"."es_null_mean_pos" IS 'Mean of the positive null scores.';
COMMENT ON COLUMN "set_null"."es_null_mean_neg" IS 'Mean of |es| of the negative null scores.';
COMMENT ON COLUMN "set_null"."es_null_q01" IS 'Quantile .01 of the null scores.';
COMMENT ON COLUMN "set_null"."es_null_q05" IS 'Quantile .05 of the null scores.';
COMMENT ON COLUMN "set_null"."es_null_q50" IS 'Median of the null scores.';
COMMENT ON COLUMN "set_null"."es_null_q95" IS 'Quantile .95 of the null scores.';
COMMENT ON COLUMN "set_null"."es_null_q99" IS 'Quantile .99 of the null scores.';
COMMENT ON COLUMN "set_null"."R" IS 'Number of random directions.';
COMMENT ON COLUMN "set_null"."seed" IS 'Seed of the random directions.';
CREATE TABLE "set_summary" ("sae_id" SMALLINT, "set_id" SMALLINT, "n_promoted" INTEGER, "n_suppressed" INTEGER, "best_promoted" INTEGER, "best_promoted_z" FLOAT, "best_suppressed" INTEGER, "best_suppressed_z" FLOAT);
COMMENT ON TABLE "set_summary" IS 'One row an SAE and set: how many features promote and suppress it at q < .05, and the best of each.';
COMMENT ON COLUMN "set_summary"."sae_id" IS 'The dictionary of features: sae.sae_id.';
COMMENT ON COLUMN "set_summary"."set_id" IS 'The token set: token_set.set_id.';
COMMENT ON COLUMN "set_summary"."n_promoted" IS 'Features with z > 0 and q < .05 (log10_q).';
COMMENT ON COLUMN "set_summary"."n_suppressed" IS 'Features with z < 0 and q < .05 (log10_q).';
COMMENT ON COLUMN "set_summary"."best_promoted" IS 'Feature of the largest z.';
COMMENT ON COLUMN "set_summary"."best_promoted_z" IS 'Its z.';
COMMENT ON COLUMN "set_summary"."best_suppressed" IS 'Feature of the smallest z.';
COMMENT ON COLUMN "set_summary"."best_suppressed_z" IS 'Its z.';
CREATE TABLE "explanation" ("sae_id" SMALLINT, "feature" INTEGER, "text" VARCHAR, "method" VARCHAR, "explainer" VARCHAR, "score" FLOAT, "source" VARCHAR);
COMMENT ON TABLE "explanation" IS 'Explanations of features made elsewhere, imported.';
COMMENT ON COLUMN "explanation"."sae_id" IS 'The dictionary of features: sae.sae_id.';
COMMENT ON COLUMN "explanation"."feature" IS 'Index of the feature (latent, neuron, direction), from 0: the row of W_dec.';
COMMENT ON COLUMN "explanation"."text" IS 'The explanation.';
COMMENT ON COLUMN "explanation"."method" IS 'How it was made.';
COMMENT ON COLUMN "explanation"."explainer" IS 'The model or person that made it.';
COMMENT ON COLUMN "explanation"."score" IS 'Its score by its own method.';
COMMENT ON COLUMN "explanation"."source" IS 'File or export it was read from.';
CREATE TABLE "tag" ("sae_id" SMALLINT, "feature" INTEGER, "tag" VARCHAR, "note" VARCHAR, "created_at" TIMESTAMP);
COMMENT ON TABLE "tag" IS 'The user''s own notes on features.';
COMMENT ON COLUMN "tag"."sae_id" IS 'The dictionary of features: sae.sae_id.';
COMMENT ON COLUMN "tag"."feature" IS 'Index of the feature (latent, neuron, direction), from 0: the row of W_dec.';
COMMENT ON COLUMN "tag"."tag" IS 'A short label.';
COMMENT ON COLUMN "tag"."note" IS 'Free text.';
COMMENT ON COLUMN "tag"."created_at" IS 'When, UTC.';
CREATE TABLE "run" ("run_id" INTEGER, "sae_id" SMALLINT, "stage" VARCHAR, "params" VARCHAR, "params_sha256" VARCHAR, "versions" VARCHAR, "device" VARCHAR, "n_rows" BIGINT, "seconds" DOUBLE, "finished_at" TIMESTAMP, PRIMARY KEY (run_id));
COMMENT ON TABLE "run" IS 'The ledger: one row a finished stage of one SAE. It decides what a second ingest skips.';
COMMENT ON COLUMN "run"."run_id" IS 'Key.';
COMMENT ON COLUMN "run"."sae_id" IS 'The dictionary of features: sae.sae_id.';
COMMENT ON COLUMN "run"."stage" IS 'What was computed: features.';
COMMENT ON COLUMN "run"."params" IS 'Parameters and input hashes, JSON.';
COMMENT ON COLUMN "run"."params_sha256" IS 'Hash of params: the same hash means nothing to do.';
COMMENT ON COLUMN "run"."versions" IS 'Versions of featdex and its libraries, JSON.';
COMMENT ON COLUMN "run"."device" IS 'Where it was computed: cpu, cuda:0.';
COMMENT ON COLUMN "run"."n_rows" IS 'Rows written.';
COMMENT ON COLUMN "run"."seconds" IS 'Wall time of computing and writing.';
COMMENT ON COLUMN "run"."finished_at" IS 'When, UTC.';
INSERT INTO meta VALUES ('schema_version', '1'), ('created_by', 'featdex 0.1.0');
CREATE OR REPLACE MACRO _feature_url(set_path, feature_index) AS
    'https://www.neuronpedia.org/' || set_path || '/' || feature_index;
COMMENT ON MACRO "_feature_url" IS 'The Neuronpedia page of a feature; NULL where the SAE is not there.
Parameters:
  set_path       sae.neuronpedia_id: model/set
  feature_index  index of the feature, from 0
_feature_url(set_path, feature_index)';
CREATE OR REPLACE MACRO _set_ids(wanted) AS TABLE
WITH matching AS (
    SELECT t.set_id
    FROM token_set t
    WHERE t.name = wanted
),
likely AS (
    SELECT DISTINCT
        t.name,
        contains(lower(t.name), lower(wanted))::INTEGER + jaro_winkler_similarity(t.name, wanted) AS likeness
    FROM token_set t
    WHERE NOT regexp_matches(t.name, '@[0-9a-f]{8}$')
    ORDER BY likeness DESC, t.name
    LIMIT 3
)
SELECT m.set_id
FROM matching m
UNION ALL
SELECT error(
    'no token set ''' || coalesce(wanted, 'NULL') || ''''
    || coalesce('; nearest: ' || (SELECT string_agg(l.name, ', ' ORDER BY l.likeness DESC, l.name) FROM likely l), '')
)::SMALLINT
WHERE NOT EXISTS (FROM matching);
COMMENT ON MACRO TABLE "_set_ids" IS 'The set_id of a token set: one for each model that has a set of this name.
Parameters:
  wanted  name of the set, exactly
An error with the nearest names where there is none; retired versions (name@hash) are found but never offered.
_set_ids(wanted)';
CREATE OR REPLACE MACRO _sae_ids(pattern) AS TABLE
WITH matching AS (
    SELECT s.sae_id
    FROM sae s
    WHERE pattern IS NULL OR s.slug = pattern OR s.slug GLOB pattern OR s.release GLOB pattern
),
likely AS (
    SELECT
        s.slug,
        contains(lower(s.slug), lower(pattern))::INTEGER + jaro_winkler_similarity(s.slug, pattern) AS likeness
    FROM sae s
    ORDER BY likeness DESC, s.slug
    LIMIT 3
)
SELECT m.sae_id
FROM matching m
UNION ALL
SELECT error(
    'no SAE matches ''' || pattern || ''''
    || coalesce('; nearest: ' || (SELECT string_agg(l.slug, ', ' ORDER BY l.likeness DESC, l.slug) FROM likely l), '')
)::SMALLINT
WHERE pattern IS NOT NULL AND NOT EXISTS (FROM matching);
COMMENT ON MACRO TABLE "_sae_ids" IS 'The sae_id of every SAE whose slug or release matches a GLOB; all of them for NULL.
Parameters:
  pattern  GLOB, or an exact slug or release
An error with the nearest slugs where nothing matches.
_sae_ids(pattern)';
CREATE OR REPLACE VIEW top_tokens AS
SELECT
    s.slug AS sae,
    s.layer,
    ft.feature,
    ft.rank,
    t.str AS token,
    t.raw,
    ft.weight,
    ft.token_id,
    ft.sae_id
FROM feature_token ft
JOIN sae s ON s.sae_id = ft.sae_id
JOIN token t ON t.model_id = s.model_id AND t.token_id = ft.token_id;
COMMENT ON VIEW "top_tokens" IS 'The most promoted and most suppressed tokens of every feature, as text.
One row a feature and rank: rank 1 is the most promoted token, rank -1 the most suppressed one.';
CREATE OR REPLACE VIEW coverage AS
WITH features_of AS (
    SELECT f.sae_id, count(*) AS n_features
    FROM feature f
    GROUP BY f.sae_id
),
sets_of_sae AS (
    SELECT e.sae_id, count(DISTINCT e.set_id) AS n_sets, count(*) AS n_enrichment
    FROM enrichment e
    GROUP BY e.sae_id
),
newest_run AS (
    SELECT r.sae_id, max(r.finished_at) AS ingested_at, arg_max(r.device, r.run_id) AS device
    FROM run r
    GROUP BY r.sae_id
)
SELECT
    s.slug AS sae,
    m.name AS model,
    s.kind,
    s.layer,
    s.d_sae,
    coalesce(f.n_features, 0) AS n_features,
    coalesce(e.n_sets, 0) AS n_sets,
    coalesce(e.n_enrichment, 0) AS n_enrichment,
    r.ingested_at,
    r.device,
    s.sae_id
FROM sae s
JOIN model m ON m.model_id = s.model_id
LEFT JOIN features_of f ON f.sae_id = s.sae_id
LEFT JOIN sets_of_sae e ON e.sae_id = s.sae_id
LEFT JOIN newest_run r ON r.sae_id = s.sae_id
ORDER BY m.name, s.layer, s.slug;
COMMENT ON VIEW "coverage" IS 'What the catalogue holds: one row an SAE.
n_sets counts the token sets it was tested against, n_enrichment the pairs of feature and set; ingested_at is UTC.';
CREATE OR REPLACE VIEW enrichments AS
SELECT
    m.name AS model,
    s.slug AS sae,
    s.layer,
    e.feature,
    t.name AS set_name,
    t.collection,
    t.n_tokens,
    e.* EXCLUDE (sae_id, set_id, feature),
    e.sae_id,
    e.set_id
FROM enrichment e
JOIN sae s ON s.sae_id = e.sae_id
JOIN model m ON m.model_id = s.model_id
JOIN token_set t ON t.set_id = e.set_id;
COMMENT ON VIEW "enrichments" IS 'Enrichment of every token set in every feature, by name.
One row a feature and token set: all columns of the table enrichment with the names of model, SAE and set.';
CREATE OR REPLACE VIEW features AS
SELECT
    m.name AS model,
    s.slug AS sae,
    s.layer,
    f.feature,
    f.* EXCLUDE (sae_id, feature),
    _feature_url(s.neuronpedia_id, f.feature) AS url,
    f.sae_id
FROM feature f
JOIN sae s ON s.sae_id = f.sae_id
JOIN model m ON m.model_id = s.model_id;
COMMENT ON VIEW "features" IS 'Features with their statistics, by name of model and SAE.
One row a feature: all columns of the table feature, and url, its Neuronpedia page where there is one.';
CREATE OR REPLACE MACRO _ranked_for(
    direction, set_name, sae, min_kurtosis, max_kurtosis, min_skewness, max_density, max_q, n
) AS TABLE
WITH hits AS (
    SELECT
        e.sae_id, e.feature, e.z, e.z_adj, e.log10_q, e.es, e.auroc,
        CASE WHEN direction > 0 THEN e.top_hits ELSE e.bottom_hits END AS hits, f.kurtosis, f.skewness,
        f.log10_density
    FROM enrichment e
    JOIN feature f ON f.sae_id = e.sae_id AND f.feature = e.feature
    WHERE e.set_id IN (FROM _set_ids(set_name))
        AND e.sae_id IN (FROM _sae_ids(sae))
        AND e.z * direction > 0
        AND (min_kurtosis IS NULL OR f.kurtosis >= min_kurtosis)
        AND (max_kurtosis IS NULL OR f.kurtosis <= max_kurtosis)
        AND (min_skewness IS NULL OR f.skewness >= min_skewness)
        AND (max_density IS NULL OR pow(10, f.log10_density) <= max_density)
        AND (max_q IS NULL OR pow(10, e.log10_q) <= max_q)
    ORDER BY e.z * direction DESC, e.sae_id, e.feature
    LIMIT n
),
words AS (
    SELECT h.sae_id, h.feature, list(t.str ORDER BY ft.rank * direction) AS tokens
    FROM hits h
    JOIN feature_token ft ON ft.sae_id = h.sae_id AND ft.feature = h.feature
    JOIN sae s ON s.sae_id = h.sae_id
    JOIN token t ON t.model_id = s.model_id AND t.token_id = ft.token_id
    WHERE ft.rank * direction BETWEEN 1 AND 8
    GROUP BY h.sae_id, h.feature
)
SELECT
    s.slug AS sae,
    h.feature,
    h.z,
    h.z_adj,
    pow(10, h.log10_q) AS q,
    h.log10_q,
    h.es,
    h.auroc,
    h.hits,
    h.kurtosis,
    h.skewness,
    h.log10_density,
    w.tokens,
    _feature_url(s.neuronpedia_id, h.feature) AS url
FROM hits h
JOIN sae s ON s.sae_id = h.sae_id
LEFT JOIN words w ON w.sae_id = h.sae_id AND w.feature = h.feature
ORDER BY h.z * direction DESC, h.sae_id, h.feature;
COMMENT ON MACRO TABLE "_ranked_for" IS 'The features furthest along one direction for a token set, by z: the body of enriched_for and suppressed_for.
Parameters:
  direction  +1: largest z first, z > 0 only; -1: smallest z first, z < 0 only
  the others as in enriched_for
hits and tokens are those of the end of the ranking that the direction points to.
The tokens are looked up for the final rows only; the set is filtered first, because rows lie sorted by SAE and set.
_ranked_for(direction, set_name, sae, min_kurtosis, max_kurtosis, min_skewness, max_density, max_q, n)';
CREATE OR REPLACE MACRO outliers(
    stat,
    sae := NULL,
    n := 20
) AS TABLE
SELECT
    s.slug AS sae,
    f.feature,
    struct_extract(f, ltrim(stat, '-')) AS value,
    f.mean,
    f.std,
    f.skewness,
    f.kurtosis,
    f.bimodality,
    f.log10_density,
    f.dead,
    _feature_url(s.neuronpedia_id, f.feature) AS url
FROM feature f
JOIN sae s ON s.sae_id = f.sae_id
WHERE f.sae_id IN (FROM _sae_ids(sae))
ORDER BY
    struct_extract(f, ltrim(stat, '-'))::DOUBLE * CASE WHEN starts_with(stat, '-') THEN -1 ELSE 1 END DESC NULLS LAST,
    f.sae_id,
    f.feature
LIMIT n;
COMMENT ON MACRO TABLE "outliers" IS 'Which features are extreme in one statistic?
Features ranked by it, largest first, or smallest first for a name with a minus sign in front.
Parameters:
  stat  a statistic: a column of the table feature, such as ''kurtosis'', ''-skewness'', ''cos_kurtosis'', ''log10_density''
  sae   GLOB on slug or release; NULL: every SAE
  n     number of rows
Features without that statistic come last.
Reference: Gurnee et al. 2024, Universal Neurons in GPT2 Language Models (cos_* are in its units).
Example: FROM outliers(''-skewness'', sae := ''gpt2-small/*'', n := 10)
outliers(stat, sae := NULL, n := 20)';
CREATE OR REPLACE MACRO _sae_ids_having(pattern, wanted) AS TABLE
WITH matching AS (
    SELECT s.sae_id, s.d_sae
    FROM sae s
    WHERE s.sae_id IN (FROM _sae_ids(pattern))
),
having_it AS (
    SELECT m.sae_id
    FROM matching m
    WHERE wanted >= 0 AND wanted < m.d_sae
)
SELECT h.sae_id
FROM having_it h
UNION ALL
SELECT error(
    'no feature ' || wanted || ' in ''' || pattern || '''; its features are 0 to '
    || (SELECT max(m.d_sae) - 1 FROM matching m)
)::SMALLINT
WHERE EXISTS (FROM matching) AND NOT EXISTS (FROM having_it);
COMMENT ON MACRO TABLE "_sae_ids_having" IS 'The sae_id of every SAE that matches a GLOB and has a feature of this index.
Parameters:
  pattern  GLOB on slug or release
  wanted   index of a feature, from 0
An error where no matching SAE has that many features.
_sae_ids_having(pattern, wanted)';
CREATE OR REPLACE MACRO enriched_for(
    set_name,
    sae := NULL,
    min_kurtosis := NULL,
    max_kurtosis := NULL,
    min_skewness := NULL,
    max_density := NULL,
    max_q := NULL,
    n := 20
) AS TABLE
SELECT * RENAME (hits AS top_hits, tokens AS top_tokens)
FROM _ranked_for(1, set_name, sae, min_kurtosis, max_kurtosis, min_skewness, max_density, max_q, n);
COMMENT ON MACRO TABLE "enriched_for" IS 'Which features promote the tokens of a set?
Features ranked by z, largest first: z > 0 means that the set''s tokens stand higher in the feature''s logit weights
than a random direction with the decoder''s covariance would put them. Nothing else is hidden unless you ask.
Parameters:
  set_name      name of a token set
  sae           GLOB on slug or release; NULL: every SAE
  min_kurtosis  smallest kurtosis of the logit weights (Pearson''s: a Gaussian has 3)
  max_kurtosis  largest kurtosis
  min_skewness  smallest skewness of the logit weights
  max_density   largest share of tokens on which the feature fires, 0 to 1; features of unknown density are left out
  max_q         largest q: Benjamini-Hochberg over the features of one SAE and set
  n             number of rows
z_adj is z without what frequency, leading space and capital explain. q is 0 where it is too small for a double:
log10_q has the value. top_hits counts members among the 100 most promoted tokens; top_tokens are the first 8.
Reference: Bloom & Lin 2024, Understanding SAE Features with the Logit Lens (LessWrong).
Example: FROM enriched_for(''girls_names'', sae := ''gpt2-small/*'', min_kurtosis := 8, max_q := 0.05)
enriched_for(set_name, sae := NULL, min_kurtosis := NULL, max_kurtosis := NULL, min_skewness := NULL, max_density := NULL, max_q := NULL, n := 20)';
CREATE OR REPLACE MACRO suppressed_for(
    set_name,
    sae := NULL,
    min_kurtosis := NULL,
    max_kurtosis := NULL,
    min_skewness := NULL,
    max_density := NULL,
    max_q := NULL,
    n := 20
) AS TABLE
SELECT * RENAME (hits AS bottom_hits, tokens AS bottom_tokens)
FROM _ranked_for(-1, set_name, sae, min_kurtosis, max_kurtosis, min_skewness, max_density, max_q, n);
COMMENT ON MACRO TABLE "suppressed_for" IS 'Which features suppress the tokens of a set?
Features ranked by z, smallest first: z < 0 means that the set''s tokens stand lower in the feature''s logit weights
than a random direction with the decoder''s covariance would put them. Nothing else is hidden unless you ask.
Parameters:
  set_name      name of a token set
  sae           GLOB on slug or release; NULL: every SAE
  min_kurtosis  smallest kurtosis of the logit weights (Pearson''s: a Gaussian has 3)
  max_kurtosis  largest kurtosis
  min_skewness  smallest skewness of the logit weights
  max_density   largest share of tokens on which the feature fires, 0 to 1; features of unknown density are left out
  max_q         largest q: Benjamini-Hochberg over the features of one SAE and set
  n             number of rows
z_adj is z without what frequency, leading space and capital explain. q is 0 where it is too small for a double:
log10_q has the value. bottom_hits counts members among the 100 most suppressed tokens; bottom_tokens are the first 8.
Reference: Gurnee et al. 2024, Universal Neurons in GPT2 Language Models (suppression neurons).
Example: FROM suppressed_for(''girls_names'', min_kurtosis := 8)
suppressed_for(set_name, sae := NULL, min_kurtosis := NULL, max_kurtosis := NULL, min_skewness := NULL, max_density := NULL, max_q := NULL, n := 20)';
CREATE OR REPLACE MACRO sets_of(
    sae,
    feature,
    max_q := NULL,
    n := 20
) AS TABLE
SELECT
    s.slug AS sae,
    e.feature,
    t.name AS set_name,
    t.collection,
    t.n_tokens,
    e.z,
    pow(10, e.log10_q) AS q,
    e.log10_q,
    e.es,
    e.auroc,
    e.mean_diff,
    e.top_hits,
    e.bottom_hits
FROM enrichment e
JOIN sae s ON s.sae_id = e.sae_id
JOIN token_set t ON t.set_id = e.set_id
WHERE e.sae_id IN (FROM _sae_ids_having(sae, feature))
    AND e.feature = feature
    AND (max_q IS NULL OR pow(10, e.log10_q) <= max_q)
ORDER BY abs(e.z) DESC NULLS LAST, e.sae_id, t.name
LIMIT n;
COMMENT ON MACRO TABLE "sets_of" IS 'Which token sets does a feature promote or suppress?
The sets ranked by |z|; the sign of z tells which way.
Parameters:
  sae      GLOB on slug or release
  feature  index of the feature, from 0
  max_q    largest q: Benjamini-Hochberg over the features of one SAE and set; NULL: all
  n        number of rows
Sets named name@hash are earlier definitions of a set, kept because this SAE was tested against them.
Example: FROM sets_of(''gpt2-small/8-res-jb'', 573, max_q := 0.05)
sets_of(sae, feature, max_q := NULL, n := 20)';
CREATE OR REPLACE MACRO tokens_of(
    sae,
    feature,
    n := 10
) AS TABLE
SELECT
    s.slug AS sae,
    ft.feature,
    ft.rank,
    t.str AS token,
    t.raw,
    ft.weight,
    ft.token_id
FROM feature_token ft
JOIN sae s ON s.sae_id = ft.sae_id
JOIN token t ON t.model_id = s.model_id AND t.token_id = ft.token_id
WHERE ft.sae_id IN (FROM _sae_ids_having(sae, feature))
    AND ft.feature = feature
    AND abs(ft.rank) <= n
ORDER BY s.sae_id, ft.rank < 0, abs(ft.rank);
COMMENT ON MACRO TABLE "tokens_of" IS 'Which tokens does a feature promote and suppress most?
First the promoted tokens, rank 1, 2, …; then the suppressed ones, rank -1, -2, …
Parameters:
  sae      GLOB on slug or release
  feature  index of the feature, from 0
  n        number of tokens each way, at most the 20 that are kept
Reference: nostalgebraist 2020, interpreting GPT: the logit lens (LessWrong).
Example: FROM tokens_of(''gpt2-small/8-res-jb'', 573, n := 5)
tokens_of(sae, feature, n := 10)';
