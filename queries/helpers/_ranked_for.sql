-- The features furthest along one direction for a token set, by z: the body of enriched_for and suppressed_for.
-- Parameters:
--   direction  +1: largest z first, z > 0 only; -1: smallest z first, z < 0 only
--   the others as in enriched_for
-- hits and tokens are those of the end of the ranking that the direction points to.
-- The tokens are looked up for the final rows only; the set is filtered first, because rows lie sorted by SAE and set.
CREATE OR REPLACE MACRO _ranked_for(
    direction, set_name, sae, min_kurtosis, max_kurtosis, min_skewness, max_density, max_q, role, role_kurtosis,
    role_variance, n
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
        AND (
            role IS NULL
            OR _role(f.cos_kurtosis, f.cos_skewness, f.cos_std, role_kurtosis, role_variance)
            = (SELECT k.role FROM _known_role(role) k)
        )
    ORDER BY e.z * direction DESC, e.sae_id, e.feature
    LIMIT n
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
LEFT JOIN _words((SELECT list({'sae_id': x.sae_id, 'feature': x.feature}) FROM hits x), direction) w
    ON w.sae_id = h.sae_id AND w.feature = h.feature
ORDER BY h.z * direction DESC, h.sae_id, h.feature
