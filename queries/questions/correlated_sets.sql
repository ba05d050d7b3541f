-- Which token sets can hardly be told from a set?
-- Sets whose z goes up and down with that of this one over random directions: they share tokens, or tokens with like
-- unembeddings. Read enrichments of both as one finding, or ask independent_sets_of.
-- Parameters:
--   set_name  name of a token set
--   sae       GLOB on slug or release; NULL: all
--   min_r     smallest |r|
--   n         number of rows
-- r is the null correlation delta_A' Sigma delta_B, normalised, of the two sets in that SAE; jaccard is the share of
-- their tokens that they have in common.
-- Example: FROM correlated_sets('girls_names', sae := 'gpt2-small/8*')
CREATE OR REPLACE MACRO correlated_sets(
    set_name,
    sae := NULL,
    min_r := 0.5,
    n := 20
) AS TABLE
WITH near AS (
    SELECT c.sae_id, c.set_id, c.other_id, c.r
    FROM set_correlation c
    WHERE c.set_id IN (FROM _set_ids(set_name))
        AND c.sae_id IN (FROM _sae_ids(sae))
        AND abs(c.r) >= min_r
    ORDER BY abs(c.r) DESC, c.sae_id, c.other_id
    LIMIT n
),
shared AS (
    SELECT p.set_id, p.other_id, count(b.token_id) AS n_shared
    FROM (SELECT DISTINCT r.set_id, r.other_id FROM near r) p
    JOIN token_set_member a ON a.set_id = p.set_id
    LEFT JOIN token_set_member b ON b.set_id = p.other_id AND b.token_id = a.token_id
    GROUP BY p.set_id, p.other_id
)
SELECT
    s.slug AS sae,
    t.name AS set_name,
    u.name AS other_set,
    u.collection AS other_collection,
    r.r,
    h.n_shared / (t.n_tokens + u.n_tokens - h.n_shared) AS jaccard,
    u.n_tokens AS other_n_tokens
FROM near r
JOIN sae s ON s.sae_id = r.sae_id
JOIN token_set t ON t.set_id = r.set_id
JOIN token_set u ON u.set_id = r.other_id
JOIN shared h ON h.set_id = r.set_id AND h.other_id = r.other_id
ORDER BY abs(r.r) DESC, r.sae_id, r.other_id
