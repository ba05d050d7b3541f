-- The features furthest along one direction for a token set, by z: the body of enriched_for and suppressed_for.
-- Parameters:
--   direction  +1: largest z first, z > 0 only; -1: smallest z first, z < 0 only
--   the others as in enriched_for
-- hits and tokens are those of the end of the ranking that the direction points to.
-- In a dataset: answers from enrichment_top where no row that it leaves out could be in the answer, else from all rows.
CREATE OR REPLACE MACRO _ranked_for(
    direction, set_name, sae, min_kurtosis, max_kurtosis, min_skewness, max_density, max_q, role, role_kurtosis,
    role_variance, n
) AS TABLE
WITH leaders AS MATERIALIZED (
    SELECT e.sae_id, e.set_id, e.feature, e.z, e.kurtosis, e.skewness, e.log10_density
    FROM enrichment_top e
    WHERE e.set_id IN (FROM _set_ids(set_name))
        AND e.sae_id IN (FROM _sae_ids(sae))
        AND e.z * direction > 0
        AND (min_kurtosis IS NULL OR e.kurtosis >= min_kurtosis)
        AND (max_kurtosis IS NULL OR e.kurtosis <= max_kurtosis)
        AND (min_skewness IS NULL OR e.skewness >= min_skewness)
        AND (max_density IS NULL OR pow(10, e.log10_density) <= max_density)
        AND (max_q IS NULL OR pow(10, e.log10_q) <= max_q)
        AND role IS NULL
    ORDER BY e.z * direction DESC, e.sae_id, e.feature
    LIMIT n
),
left_out AS (
    SELECT max(CASE WHEN direction > 0 THEN c.promoted_z ELSE -c.suppressed_z END) AS z
    FROM enrichment_cut c
    WHERE c.set_id IN (FROM _set_ids(set_name)) AND c.sae_id IN (FROM _sae_ids(sae))
),
verdict AS MATERIALIZED (
    SELECT role IS NULL AND (
        -- Rows of a q below that are all there.
        coalesce(max_q::DOUBLE <= 0.05::DOUBLE, false)
        OR o.z IS NULL
        -- A row left out may be as far along as the last one here only where it is no further than the furthest.
        OR coalesce(
            (SELECT count(*) FROM leaders) = n AND (SELECT min(l.z * direction) FROM leaders l) > o.z, false
        )
    ) AS is_exact
    FROM left_out o
),
-- Where the leaders are the answer, DuckDB has no SAE to look for below, and reads no row of these tables.
unanswered AS MATERIALIZED (
    SELECT i.sae_id FROM _sae_ids(sae) i WHERE NOT (SELECT v.is_exact FROM verdict v)
),
hits AS (
    SELECT l.* FROM leaders l WHERE (SELECT v.is_exact FROM verdict v)
    UNION ALL
    (
        SELECT e.sae_id, e.set_id, e.feature, e.z, f.kurtosis, f.skewness, f.log10_density
        FROM enrichment e
        JOIN feature f ON f.sae_id = e.sae_id AND f.feature = e.feature
        WHERE e.set_id IN (FROM _set_ids(set_name))
            AND e.sae_id IN (FROM unanswered)
            AND f.sae_id IN (FROM unanswered)
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
)
SELECT
    s.slug AS sae,
    h.feature,
    h.z,
    e.z_adj,
    pow(10, e.log10_q) AS q,
    e.log10_q,
    e.es,
    e.auroc,
    CASE WHEN direction > 0 THEN e.top_hits ELSE e.bottom_hits END AS hits,
    h.kurtosis,
    h.skewness,
    h.log10_density,
    w.tokens,
    _feature_url(s.neuronpedia_id, h.feature) AS url
FROM hits h
JOIN sae s ON s.sae_id = h.sae_id
JOIN enrichment e ON e.sae_id = h.sae_id AND e.set_id = h.set_id AND e.feature = h.feature
LEFT JOIN _words((SELECT list({'sae_id': x.sae_id, 'feature': x.feature}) FROM hits x), direction) w
    ON w.sae_id = h.sae_id AND w.feature = h.feature
ORDER BY h.z * direction DESC, h.sae_id, h.feature
