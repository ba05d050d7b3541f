-- How is a statistic distributed at each layer?
-- One row an SAE, by layer: percentiles over its features.
-- Parameters:
--   stat  a statistic: a column of the table feature, such as 'skewness', 'kurtosis', 'cos_std', 'log10_density'
--   sae   GLOB on slug or release; NULL: every SAE
-- n_features counts the features that have it. Percentiles are interpolated; dead features take part.
-- Reference: Bloom & Lin 2024, Understanding SAE Features with the Logit Lens (the appendix on all layers).
-- Example: FROM layer_profile('skewness', sae := 'gpt2-small/*')
CREATE OR REPLACE MACRO layer_profile(
    stat,
    sae := NULL
) AS TABLE
WITH chosen AS (
    SELECT f.sae_id, struct_extract(f, stat)::DOUBLE AS value
    FROM feature f
    WHERE f.sae_id IN (FROM _sae_ids(sae))
),
profiles AS (
    SELECT
        c.sae_id,
        count(c.value) AS n_features,
        avg(c.value) AS mean,
        min(c.value) AS min,
        quantile_cont(c.value, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]) AS p,
        max(c.value) AS max
    FROM chosen c
    GROUP BY c.sae_id
)
SELECT
    m.name AS model,
    s.layer,
    s.slug AS sae,
    p.n_features,
    p.mean,
    p.min,
    p.p[1] AS p01,
    p.p[2] AS p05,
    p.p[3] AS p25,
    p.p[4] AS p50,
    p.p[5] AS p75,
    p.p[6] AS p95,
    p.p[7] AS p99,
    p.max
FROM profiles p
JOIN sae s ON s.sae_id = p.sae_id
JOIN model m ON m.model_id = s.model_id
ORDER BY m.name, s.layer NULLS LAST, s.slug
