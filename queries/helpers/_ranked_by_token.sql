-- The features that have a token at one end of their ranking: the body of features_promoting and features_suppressing.
-- Parameters:
--   direction  +1: the promoted end, largest weight first; -1: the suppressed end, smallest weight first
--   the others as in features_promoting
CREATE OR REPLACE MACRO _ranked_by_token(direction, token, sae, max_rank, n) AS TABLE
WITH wanted AS (
    -- By way of a list DuckDB sees how few they are, and looks for them in the table instead of the other way round.
    SELECT p.place.model_id AS model_id, p.place.token_id AS token_id
    FROM (
        SELECT unnest((SELECT list({'model_id': i.model_id, 'token_id': i.token_id}) FROM _token_ids(token) i)) AS place
    ) p
),
hits AS (
    SELECT ft.sae_id, ft.feature, ft.rank, ft.token_id, ft.weight
    FROM feature_token ft
    JOIN sae s ON s.sae_id = ft.sae_id
    JOIN wanted w ON w.model_id = s.model_id AND w.token_id = ft.token_id
    WHERE ft.sae_id IN (FROM _sae_ids(sae))
        AND ft.rank * direction BETWEEN 1 AND max_rank
    ORDER BY ft.weight * direction DESC, ft.sae_id, ft.feature, ft.token_id
    LIMIT n
)
SELECT
    s.slug AS sae,
    h.feature,
    t.str AS token,
    h.rank,
    h.weight,
    (h.weight::DOUBLE - f.mean) / nullif(f.std, 0) AS deviations,
    f.kurtosis,
    f.skewness,
    f.log10_density,
    w.tokens,
    _feature_url(s.neuronpedia_id, h.feature) AS url
FROM hits h
JOIN sae s ON s.sae_id = h.sae_id
JOIN token t ON t.model_id = s.model_id AND t.token_id = h.token_id
JOIN feature f ON f.sae_id = h.sae_id AND f.feature = h.feature
LEFT JOIN _words((SELECT list({'sae_id': x.sae_id, 'feature': x.feature}) FROM hits x), direction) w
    ON w.sae_id = h.sae_id AND w.feature = h.feature
ORDER BY h.weight * direction DESC, h.sae_id, h.feature, h.token_id
