-- Which token sets share tokens?
-- Pairs of sets of one model ranked by their Jaccard index, largest first.
-- Parameters:
--   set_name     name of a token set: only its pairs; NULL: every pair once
--   min_jaccard  smallest Jaccard index: shared tokens over tokens of either
--   n            number of rows
-- contained is the share of the smaller set that the larger one has. Earlier definitions of a set (name@hash) take part
-- only where they are named. Sets that share no token may still say the same of features: see correlated_sets.
-- Example: FROM set_overlap(set_name := 'girls_names', min_jaccard := 0.05)
CREATE OR REPLACE MACRO set_overlap(
    set_name := NULL,
    min_jaccard := 0.1,
    n := 20
) AS TABLE
WITH current AS (
    SELECT t.*
    FROM token_set t
    WHERE NOT regexp_matches(t.name, '@[0-9a-f]{8}$')
),
named AS (
    SELECT t.*
    FROM token_set t
    WHERE t.set_id IN (FROM _set_ids_if(set_name))
    UNION ALL
    SELECT u.* FROM current u WHERE set_name IS NULL
),
pairs AS (
    SELECT x.set_id, y.set_id AS other_id, count(*) AS n_shared
    FROM token_set_member x
    JOIN token_set_member y ON y.token_id = x.token_id
    JOIN named a ON a.set_id = x.set_id
    JOIN current b ON b.set_id = y.set_id AND b.model_id = a.model_id
    WHERE CASE WHEN set_name IS NULL THEN x.set_id < y.set_id ELSE x.set_id <> y.set_id END
    GROUP BY x.set_id, y.set_id
),
measured AS (
    SELECT
        p.set_id, p.other_id, p.n_shared, a.model_id, a.name AS set_name, b.name AS other_set, a.n_tokens,
        b.n_tokens AS other_n_tokens, p.n_shared / (a.n_tokens + b.n_tokens - p.n_shared) AS jaccard
    FROM pairs p
    JOIN token_set a ON a.set_id = p.set_id
    JOIN token_set b ON b.set_id = p.other_id
)
SELECT
    m.name AS model,
    o.set_name,
    o.other_set,
    o.n_tokens,
    o.other_n_tokens,
    o.n_shared,
    o.jaccard,
    o.n_shared / least(o.n_tokens, o.other_n_tokens) AS contained
FROM measured o
JOIN model m ON m.model_id = o.model_id
WHERE o.jaccard >= min_jaccard
ORDER BY o.jaccard DESC, o.set_id, o.other_id
LIMIT n
