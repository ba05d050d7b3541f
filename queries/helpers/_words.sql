-- The first 8 tokens of some features at one end of their ranking, as text: one row a feature that has tokens.
-- Parameters:
--   places     the features: a list of {'sae_id', 'feature'}
--   direction  +1: the most promoted ones; -1: the most suppressed ones
-- The list is a subquery of the caller, so that only the rows of a final answer are looked up.
CREATE OR REPLACE MACRO _words(places, direction) AS TABLE
WITH wanted AS (
    SELECT DISTINCT p.place.sae_id AS sae_id, p.place.feature AS feature
    FROM (SELECT unnest(places) AS place) p
),
-- First these, whatever DuckDB expects: joined to the whole vocabulary first, they are as many rows as it has tokens.
found AS MATERIALIZED (
    SELECT ft.sae_id, ft.feature, ft.rank, ft.token_id
    FROM wanted w
    JOIN feature_token ft ON ft.sae_id = w.sae_id AND ft.feature = w.feature
    WHERE ft.rank * direction BETWEEN 1 AND 8
)
SELECT f.sae_id, f.feature, list(t.str ORDER BY abs(f.rank)) AS tokens
FROM found f
JOIN sae s ON s.sae_id = f.sae_id
JOIN token t ON t.model_id = s.model_id AND t.token_id = f.token_id
GROUP BY f.sae_id, f.feature
