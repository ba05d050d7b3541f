-- Which sharp features does no token set explain?
-- Features of high kurtosis without a set of large |z|, the highest kurtosis first: what a new set should be made for.
-- Parameters:
--   sae           GLOB on slug or release; NULL: every SAE
--   min_kurtosis  smallest kurtosis of the logit weights (Pearson's: a Gaussian has 3)
--   max_z         the |z| of every set is below; 4 is p < .05 in some 600 tests (Bonferroni, normal tail)
--   n             number of rows
-- For these features independent_sets_of is empty with min_z at max_z. nearest_set is the set of the largest |z|, z its
-- z. top_tokens and bottom_tokens are the first 8 each way.
-- Reference: Bloom & Lin 2024, Understanding SAE Features with the Logit Lens (the sets must be known beforehand).
-- Example: FROM unexplained(sae := 'gpt2-small/8*', min_kurtosis := 20, max_z := 6)
CREATE OR REPLACE MACRO unexplained(
    sae := NULL,
    min_kurtosis := 10,
    max_z := 4,
    n := 20
) AS TABLE
-- Of enrichment_top where it has every row of so large a |z|, else of all rows of the SAE.
WITH unanswered AS MATERIALIZED (
    SELECT DISTINCT c.sae_id
    FROM enrichment_cut c
    WHERE c.sae_id IN (FROM _sae_ids(sae)) AND (c.promoted_z >= max_z OR c.suppressed_z <= -max_z OR max_z <= 0)
),
explained AS (
    SELECT t.sae_id, t.feature
    FROM enrichment_top t
    WHERE t.sae_id IN (FROM _sae_ids(sae)) AND abs(t.z) >= max_z
    UNION ALL
    SELECT e.sae_id, e.feature
    FROM enrichment e
    WHERE e.sae_id IN (FROM unanswered) AND abs(e.z) >= max_z
),
hits AS (
    SELECT f.sae_id, f.feature, f.kurtosis, f.skewness, f.log10_density
    FROM feature f
    ANTI JOIN explained x ON x.sae_id = f.sae_id AND x.feature = f.feature
    WHERE f.sae_id IN (FROM _sae_ids(sae)) AND f.kurtosis >= min_kurtosis
    ORDER BY f.kurtosis DESC, f.sae_id, f.feature
    LIMIT n
),
nearest AS (
    SELECT
        e.sae_id, e.feature, max_by(e.set_id, (abs(e.z), -e.set_id)) AS set_id, max_by(e.z, (abs(e.z), -e.set_id)) AS z
    FROM enrichment e
    JOIN hits h ON h.sae_id = e.sae_id AND h.feature = e.feature
    WHERE e.z IS NOT NULL
    GROUP BY e.sae_id, e.feature
)
SELECT
    s.slug AS sae,
    h.feature,
    h.kurtosis,
    h.skewness,
    h.log10_density,
    t.name AS nearest_set,
    e.z,
    w.tokens AS top_tokens,
    v.tokens AS bottom_tokens,
    _feature_url(s.neuronpedia_id, h.feature) AS url
FROM hits h
JOIN sae s ON s.sae_id = h.sae_id
LEFT JOIN nearest e ON e.sae_id = h.sae_id AND e.feature = h.feature
LEFT JOIN token_set t ON t.set_id = e.set_id
LEFT JOIN _words((SELECT list({'sae_id': x.sae_id, 'feature': x.feature}) FROM hits x), 1) w
    ON w.sae_id = h.sae_id AND w.feature = h.feature
LEFT JOIN _words((SELECT list({'sae_id': x.sae_id, 'feature': x.feature}) FROM hits x), -1) v
    ON v.sae_id = h.sae_id AND v.feature = h.feature
ORDER BY h.kurtosis DESC, h.sae_id, h.feature
