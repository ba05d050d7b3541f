-- Which one feature promotes each token set most?
-- One row a set: the feature of the largest z among all SAEs that were tested against it, sets of the largest z first.
-- Parameters:
--   sae         GLOB on slug or release; NULL: every SAE
--   collection  only sets of this collection; NULL: all
--   n           number of sets; NULL: all
-- n_promoted and n_suppressed count features of these SAEs at q < .05 (the table set_summary). Earlier definitions of a
-- set (name@hash) are left out. top_tokens are the first 8.
-- Reference: Bloom & Lin 2024, Understanding SAE Features with the Logit Lens (LessWrong).
-- Example: FROM best_feature_per_set(sae := 'gpt2-small/8*', collection := 'names')
CREATE OR REPLACE MACRO best_feature_per_set(
    sae := NULL,
    collection := NULL,
    n := NULL
) AS TABLE
WITH ranked AS (
    SELECT
        y.set_id, y.sae_id, y.best_promoted AS feature, y.best_promoted_z AS z,
        sum(y.n_promoted) OVER (PARTITION BY y.set_id) AS n_promoted,
        sum(y.n_suppressed) OVER (PARTITION BY y.set_id) AS n_suppressed,
        row_number() OVER (PARTITION BY y.set_id ORDER BY y.best_promoted_z DESC NULLS LAST, y.sae_id) AS place
    FROM set_summary y
    WHERE y.sae_id IN (FROM _sae_ids(sae))
),
hits AS (
    SELECT r.*, t.name, t.collection AS set_collection, t.n_tokens
    FROM ranked r
    JOIN token_set t ON t.set_id = r.set_id
    WHERE r.place = 1
        AND r.z IS NOT NULL
        AND (collection IS NULL OR t.collection = collection)
        AND NOT regexp_matches(t.name, '@[0-9a-f]{8}$')
    ORDER BY r.z DESC, r.set_id
    LIMIT n
)
SELECT
    m.name AS model,
    h.name AS set_name,
    h.set_collection AS collection,
    h.n_tokens,
    s.slug AS sae,
    h.feature,
    h.z,
    h.n_promoted::BIGINT AS n_promoted,
    h.n_suppressed::BIGINT AS n_suppressed,
    w.tokens AS top_tokens,
    _feature_url(s.neuronpedia_id, h.feature) AS url
FROM hits h
JOIN sae s ON s.sae_id = h.sae_id
JOIN model m ON m.model_id = s.model_id
LEFT JOIN _words((SELECT list({'sae_id': x.sae_id, 'feature': x.feature}) FROM hits x), 1) w
    ON w.sae_id = h.sae_id AND w.feature = h.feature
ORDER BY h.z DESC, h.set_id
