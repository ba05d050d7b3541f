-- Which token sets does a feature promote or suppress?
-- The sets ranked by |z|; the sign of z tells which way.
-- Parameters:
--   sae      GLOB on slug or release
--   feature  index of the feature, from 0
--   max_q    largest q: Benjamini-Hochberg over the features of one SAE and set; NULL: all
--   n        number of rows
-- Sets named name@hash are earlier definitions of a set, kept because this SAE was tested against them.
-- Example: FROM sets_of('gpt2-small/8-res-jb', 573, max_q := 0.05)
CREATE OR REPLACE MACRO sets_of(
    sae,
    feature,
    max_q := NULL,
    n := 20
) AS TABLE
SELECT
    s.slug AS sae,
    e.feature,
    t.name AS set_name,
    t.collection,
    t.n_tokens,
    e.z,
    pow(10, e.log10_q) AS q,
    e.log10_q,
    e.es,
    e.auroc,
    e.mean_diff,
    e.top_hits,
    e.bottom_hits
FROM enrichment e
JOIN sae s ON s.sae_id = e.sae_id
JOIN token_set t ON t.set_id = e.set_id
WHERE e.sae_id IN (FROM _sae_ids_having(sae, feature))
    AND e.feature = feature
    AND (max_q IS NULL OR pow(10, e.log10_q) <= max_q)
ORDER BY abs(e.z) DESC NULLS LAST, e.sae_id, t.name
LIMIT n
