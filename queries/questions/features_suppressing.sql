-- Which features suppress a token?
-- Those that have it among their 20 most suppressed tokens, ranked by its logit weight, smallest first.
-- Parameters:
--   token     its text (' Mary', with the space), else its raw spelling ('ĠMary'); an integer is its id
--   sae       GLOB on slug or release; NULL: every SAE
--   max_rank  the token is among that many most suppressed ones; 20 are kept
--   n         number of rows
-- weight is in logits; deviations is the weight in standard deviations from the mean of the feature's logit weights.
-- rank -1 is the most suppressed token. Several tokens may have one text (bytes that are no UTF-8): each gets its rows.
-- bottom_tokens are the first 8.
-- Reference: Gurnee et al. 2024, Universal Neurons in GPT2 Language Models (suppression neurons).
-- Example: FROM features_suppressing(' Mary', n := 10)
CREATE OR REPLACE MACRO features_suppressing(
    token,
    sae := NULL,
    max_rank := 20,
    n := 20
) AS TABLE
SELECT * RENAME (tokens AS bottom_tokens)
FROM _ranked_by_token(-1, token, sae, max_rank, n)
