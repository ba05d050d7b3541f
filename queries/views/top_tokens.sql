-- The most promoted and most suppressed tokens of every feature, as text.
-- One row a feature and rank: rank 1 is the most promoted token, rank -1 the most suppressed one.
CREATE OR REPLACE VIEW top_tokens AS
SELECT
    s.slug AS sae,
    s.layer,
    ft.feature,
    ft.rank,
    t.str AS token,
    t.raw,
    ft.weight,
    ft.token_id,
    ft.sae_id
FROM feature_token ft
JOIN sae s ON s.sae_id = ft.sae_id
JOIN token t ON t.model_id = s.model_id AND t.token_id = ft.token_id
