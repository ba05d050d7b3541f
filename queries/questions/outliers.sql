-- Which features are extreme in one statistic?
-- Features ranked by it, largest first, or smallest first for a name with a minus sign in front.
-- Parameters:
--   stat  a statistic: a column of the table feature, such as 'kurtosis', '-skewness', 'cos_kurtosis', 'log10_density'
--   sae   GLOB on slug or release; NULL: every SAE
--   n     number of rows
-- Features without that statistic come last.
-- Reference: Gurnee et al. 2024, Universal Neurons in GPT2 Language Models (cos_* are in its units).
-- Example: FROM outliers('-skewness', sae := 'gpt2-small/*', n := 10)
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
LIMIT n
