-- Which features tell two token sets apart?
-- Features ranked by the difference of their z for the two sets, largest first, whatever its sign: > 0 promotes the
-- first set more, < 0 the second.
-- Parameters:
--   set_a         name of a token set
--   set_b         name of another
--   sae           GLOB on slug or release; NULL: every SAE
--   min_kurtosis  smallest kurtosis of the logit weights (Pearson's: a Gaussian has 3)
--   n             number of rows
-- difference is z_a - z_b. z_difference is in units of its own null: the difference has variance 2 (1 - r) over random
-- directions, r being the null correlation of the two sets (set_correlation); NULL where they can't be told apart.
-- Reference: Bloom & Lin 2024, Understanding SAE Features with the Logit Lens (girls' against boys' names).
-- Example: FROM compare_sets('girls_names', 'boys_names', sae := 'gpt2-small/*')
CREATE OR REPLACE MACRO compare_sets(
    set_a,
    set_b,
    sae := NULL,
    min_kurtosis := NULL,
    n := 20
) AS TABLE
WITH first AS (
    SELECT e.sae_id, e.set_id, e.feature, e.z::DOUBLE AS z, e.log10_q
    FROM enrichment e
    WHERE e.set_id IN (FROM _set_ids(set_a)) AND e.sae_id IN (FROM _sae_ids(sae))
),
second AS (
    SELECT e.sae_id, e.set_id, e.feature, e.z::DOUBLE AS z, e.log10_q
    FROM enrichment e
    WHERE e.set_id IN (FROM _set_ids(set_b)) AND e.sae_id IN (FROM _sae_ids(sae))
),
hits AS (
    SELECT
        a.sae_id, a.feature, a.set_id, b.set_id AS other_id, a.z AS z_a, b.z AS z_b, a.z - b.z AS difference,
        a.log10_q AS log10_q_a, b.log10_q AS log10_q_b, f.kurtosis, f.skewness
    FROM first a
    JOIN second b ON b.sae_id = a.sae_id AND b.feature = a.feature
    JOIN feature f ON f.sae_id = a.sae_id AND f.feature = a.feature
    -- The SAEs once more: where they are files, the others are left unread.
    WHERE f.sae_id IN (FROM _sae_ids(sae)) AND a.z - b.z IS NOT NULL AND (min_kurtosis IS NULL OR f.kurtosis >= min_kurtosis)
    ORDER BY abs(a.z - b.z) DESC, a.sae_id, a.feature
    LIMIT n
)
SELECT
    s.slug AS sae,
    h.feature,
    h.z_a,
    h.z_b,
    h.difference,
    h.difference / sqrt(nullif(2 * greatest(1 - c.r::DOUBLE, 0), 0)) AS z_difference,
    pow(10, h.log10_q_a) AS q_a,
    pow(10, h.log10_q_b) AS q_b,
    h.kurtosis,
    h.skewness,
    w.tokens AS top_tokens,
    _feature_url(s.neuronpedia_id, h.feature) AS url
FROM hits h
JOIN sae s ON s.sae_id = h.sae_id
LEFT JOIN set_correlation c ON c.sae_id = h.sae_id AND c.set_id = h.set_id AND c.other_id = h.other_id
LEFT JOIN _words((SELECT list({'sae_id': x.sae_id, 'feature': x.feature}) FROM hits x), 1) w
    ON w.sae_id = h.sae_id AND w.feature = h.feature
ORDER BY abs(h.difference) DESC, h.sae_id, h.feature
