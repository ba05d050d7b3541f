-- Which features promote a token?
-- Those that have it among their 20 most promoted tokens, ranked by its logit weight, largest first.
-- Parameters:
--   token     its text (' Mary', with the space), else its raw spelling ('ĠMary'); an integer is its id
--   sae       GLOB on slug or release; NULL: every SAE
--   max_rank  the token is among that many most promoted ones; 20 are kept
--   n         number of rows
-- weight is in logits; deviations is the weight in standard deviations from the mean of the feature's logit weights.
-- Several tokens may have one text (bytes that are no UTF-8): each gets its rows. top_tokens are the first 8.
-- Reference: nostalgebraist 2020, interpreting GPT: the logit lens (LessWrong).
-- Example: FROM features_promoting(' Mary', sae := 'gpt2-small/*', max_rank := 5)
CREATE OR REPLACE MACRO features_promoting(
    token,
    sae := NULL,
    max_rank := 20,
    n := 20
) AS TABLE
SELECT * RENAME (tokens AS top_tokens)
FROM _ranked_by_token(1, token, sae, max_rank, n)
