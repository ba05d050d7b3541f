-- Which features promote the same tokens as a feature?
-- Features of SAEs of the same model that share tokens with its most promoted 20, most shared tokens first.
-- Parameters:
--   sae         slug of the SAE, or a GLOB on slug or release that one SAE matches
--   feature     index of the feature, from 0
--   within      GLOB on slug or release of the SAEs that are searched, '*' for every one; NULL: its own SAE
--   suppressed  true: compare the most suppressed tokens instead
--   min_shared  smallest number of shared tokens
--   n           number of rows
-- shared_tokens lists them in the order of the feature asked for; of features with as many, first come those in which
-- the weights of these tokens add up to more. This finds a feature again in other layers and SAEs.
-- Example: FROM similar_by_tokens('gpt2-small/8-res-jb', 573, within := 'gpt2-small/*')
CREATE OR REPLACE MACRO similar_by_tokens(
    sae,
    feature,
    within := '*',
    suppressed := false,
    min_shared := 3,
    n := 20
) AS TABLE
WITH asked AS (
    SELECT s.sae_id, s.model_id, ft.token_id, abs(ft.rank) AS place
    FROM feature_token ft
    JOIN sae s ON s.sae_id = ft.sae_id
    WHERE ft.sae_id IN (FROM _one_sae_having(sae, feature))
        AND ft.feature = feature
        AND ft.rank * CASE WHEN suppressed THEN -1 ELSE 1 END > 0
),
found AS (
    SELECT
        ft.sae_id, ft.feature, count(*) AS n_shared, list(ft.token_id ORDER BY a.place) AS token_ids,
        sum(abs(ft.weight::DOUBLE)) AS weight
    FROM feature_token ft
    JOIN sae s ON s.sae_id = ft.sae_id
    JOIN asked a ON a.model_id = s.model_id AND a.token_id = ft.token_id
    WHERE ft.sae_id IN (FROM _sae_ids_within(within, sae, feature))
        AND ft.rank * CASE WHEN suppressed THEN -1 ELSE 1 END > 0
        AND NOT (ft.sae_id = a.sae_id AND ft.feature = feature)
    GROUP BY ft.sae_id, ft.feature
),
hits AS (
    SELECT f.*
    FROM found f
    WHERE f.n_shared >= min_shared
    ORDER BY f.n_shared DESC, f.weight DESC, f.sae_id, f.feature
    LIMIT n
),
texts AS (
    SELECT p.sae_id, p.feature, list(t.str ORDER BY p.place) AS tokens
    FROM (
        SELECT h.sae_id, h.feature, unnest(h.token_ids) AS token_id, generate_subscripts(h.token_ids, 1) AS place
        FROM hits h
    ) p
    JOIN sae s ON s.sae_id = p.sae_id
    JOIN token t ON t.model_id = s.model_id AND t.token_id = p.token_id
    GROUP BY p.sae_id, p.feature
)
SELECT
    s.slug AS sae,
    s.layer,
    h.feature,
    h.n_shared,
    x.tokens AS shared_tokens,
    g.kurtosis,
    g.skewness,
    _feature_url(s.neuronpedia_id, h.feature) AS url
FROM hits h
JOIN sae s ON s.sae_id = h.sae_id
JOIN feature g ON g.sae_id = h.sae_id AND g.feature = h.feature
JOIN texts x ON x.sae_id = h.sae_id AND x.feature = h.feature
ORDER BY h.n_shared DESC, h.weight DESC, h.sae_id, h.feature
