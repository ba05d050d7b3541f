-- Which features promote and suppress the same token sets as a feature?
-- Features of its SAE, or of others of the same model, ranked by the cosine of their z with its z over all sets that
-- both have.
-- Parameters:
--   sae      slug of the SAE, or a GLOB on slug or release that one SAE matches
--   feature  index of the feature, from 0
--   within   GLOB on slug or release of the SAEs that are searched, '*' for every one; NULL: its own SAE
--   n        number of rows
-- Sets that say the same count as often as they are there: compare features by sets of several collections. n_sets is
-- the number of sets that both have. top_tokens are the first 8. Every row of these SAEs is read: '*' takes long.
-- Example: FROM similar_by_sets('gpt2-small/8-res-jb', 573, within := 'gpt2-small/8*')
CREATE OR REPLACE MACRO similar_by_sets(
    sae,
    feature,
    within := NULL,
    n := 20
) AS TABLE
WITH asked AS (
    SELECT e.sae_id, e.set_id, e.z::DOUBLE AS z
    FROM enrichment e
    WHERE e.sae_id IN (FROM _one_sae_having(sae, feature)) AND e.feature = feature AND e.z IS NOT NULL
    UNION ALL
    -- No row, but the complaint about a wrong name, where DuckDB knows that there can be none above.
    SELECT o.sae_id, NULL, NULL FROM _one_sae_having(sae, feature) o WHERE o.sae_id IS NULL
),
-- Which sets an SAE has is the same for all its features; a summary without a z is that of a set without any.
common AS (
    SELECT y.sae_id, count(*) AS n_sets, sum(a.z * a.z) AS asked_square
    FROM set_summary y
    JOIN asked a ON a.set_id = y.set_id
    WHERE y.best_promoted_z IS NOT NULL
    GROUP BY y.sae_id
),
found AS (
    SELECT e.sae_id, e.feature, sum(a.z * e.z) AS inner_product, sum(e.z::DOUBLE * e.z) AS found_square
    FROM enrichment e
    JOIN asked a ON a.set_id = e.set_id
    WHERE e.sae_id IN (FROM _sae_ids_within(within, sae, feature))
    GROUP BY e.sae_id, e.feature
),
hits AS (
    SELECT f.sae_id, f.feature, c.n_sets, f.inner_product / sqrt(c.asked_square * f.found_square) AS cosine
    FROM found f
    JOIN common c ON c.sae_id = f.sae_id
    WHERE c.asked_square * f.found_square > 0
        AND NOT (f.feature = feature AND f.sae_id IN (SELECT a.sae_id FROM asked a))
    ORDER BY cosine DESC, f.sae_id, f.feature
    LIMIT n
)
SELECT
    s.slug AS sae,
    s.layer,
    h.feature,
    h.cosine,
    h.n_sets,
    g.kurtosis,
    g.skewness,
    w.tokens AS top_tokens,
    _feature_url(s.neuronpedia_id, h.feature) AS url
FROM hits h
JOIN sae s ON s.sae_id = h.sae_id
JOIN feature g ON g.sae_id = h.sae_id AND g.feature = h.feature
LEFT JOIN _words((SELECT list({'sae_id': x.sae_id, 'feature': x.feature}) FROM hits x), 1) w
    ON w.sae_id = h.sae_id AND w.feature = h.feature
ORDER BY h.cosine DESC, h.sae_id, h.feature
