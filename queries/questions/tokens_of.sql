-- Which tokens does a feature promote and suppress most?
-- First the promoted tokens, rank 1, 2, …; then the suppressed ones, rank -1, -2, …
-- Parameters:
--   sae      GLOB on slug or release
--   feature  index of the feature, from 0
--   n        number of tokens each way, at most the 20 that are kept
-- Reference: nostalgebraist 2020, interpreting GPT: the logit lens (LessWrong).
-- Example: FROM tokens_of('gpt2-small/8-res-jb', 573, n := 5)
CREATE OR REPLACE MACRO tokens_of(
    sae,
    feature,
    n := 10
) AS TABLE
SELECT
    s.slug AS sae,
    ft.feature,
    ft.rank,
    t.str AS token,
    t.raw,
    ft.weight,
    ft.token_id
FROM feature_token ft
JOIN sae s ON s.sae_id = ft.sae_id
JOIN token t ON t.model_id = s.model_id AND t.token_id = ft.token_id
WHERE ft.sae_id IN (FROM _sae_ids_having(sae, feature))
    AND ft.feature = feature
    AND abs(ft.rank) <= n
ORDER BY s.sae_id, ft.rank < 0, abs(ft.rank)
