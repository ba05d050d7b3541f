-- Which features promote a token set and no other?
-- Features ranked by how far their z for the set stands above that for the other set that they promote most.
-- Parameters:
--   set_name  name of a token set
--   other     name of the set to tell it from; NULL: every other set
--   sae       GLOB on slug or release; NULL: every SAE
--   min_z     smallest z of the set
--   max_r     sets whose null correlation with the set is above are no others, for they say the same; a named one is
--   n         number of rows
-- margin is z less other_z, where a set that is not promoted counts as 0; other_set is that set, NULL where none is
-- promoted. z_given is z of the part of the set that is independent of other_set under random directions.
-- Earlier definitions of a set (name@hash) are no others. top_tokens are the first 8.
-- Example: FROM specific_to('girls_names', other := 'boys_names')
CREATE OR REPLACE MACRO specific_to(
    set_name,
    other := NULL,
    sae := NULL,
    min_z := 4,
    max_r := 0.5,
    n := 20
) AS TABLE
WITH wanted AS (
    SELECT e.sae_id, e.set_id, e.feature, e.z, e.log10_q
    FROM enrichment e
    WHERE e.set_id IN (FROM _set_ids(set_name)) AND e.sae_id IN (FROM _sae_ids(sae)) AND e.z >= min_z
        -- Of an SAE that was not tested against a named set, nothing can be said.
        AND CASE
            WHEN other IS NULL THEN true
            WHEN other = set_name THEN error('specific_to tells a set from another; ' || other || ' is both')::BOOLEAN
            ELSE e.sae_id IN (SELECT n.sae_id FROM set_null n WHERE n.set_id IN (FROM _set_ids_if(other)))
        END
),
others AS (
    SELECT n.sae_id, t.set_id, coalesce(c.r, 0)::DOUBLE AS r
    FROM set_null n
    JOIN token_set u ON u.set_id = n.set_id
    JOIN token_set t ON t.model_id = u.model_id AND t.set_id <> u.set_id
    LEFT JOIN set_correlation c ON c.sae_id = n.sae_id AND c.set_id = n.set_id AND c.other_id = t.set_id
    WHERE n.set_id IN (FROM _set_ids(set_name))
        AND n.sae_id IN (FROM _sae_ids(sae))
        AND CASE
            WHEN other IS NULL THEN coalesce(c.r, 0) <= max_r AND NOT regexp_matches(t.name, '@[0-9a-f]{8}$')
            ELSE t.set_id IN (FROM _set_ids_if(other))
        END
),
rivals AS (
    SELECT e.sae_id, e.feature, max(e.z) AS z
    FROM enrichment e
    JOIN others o ON o.sae_id = e.sae_id AND o.set_id = e.set_id
    JOIN wanted w ON w.sae_id = e.sae_id AND w.feature = e.feature
    WHERE e.z > 0
        -- For a named set, this leaves the rows of all others unread.
        AND (other IS NULL OR e.set_id IN (SELECT o.set_id FROM others o))
    GROUP BY e.sae_id, e.feature
),
hits AS (
    SELECT w.*, r.z AS other_z, w.z::DOUBLE - coalesce(r.z, 0) AS margin
    FROM wanted w
    LEFT JOIN rivals r ON r.sae_id = w.sae_id AND r.feature = w.feature
    ORDER BY margin DESC, w.sae_id, w.feature
    LIMIT n
),
-- Which set it is, is looked up for the final rows only.
final_scores AS MATERIALIZED (
    SELECT e.sae_id, e.set_id, e.feature, e.z
    FROM enrichment e
    JOIN hits h ON h.sae_id = e.sae_id AND h.feature = e.feature
),
named AS (
    SELECT e.sae_id, e.feature, min(e.set_id) AS set_id
    FROM final_scores e
    JOIN others o ON o.sae_id = e.sae_id AND o.set_id = e.set_id
    JOIN hits h ON h.sae_id = e.sae_id AND h.feature = e.feature AND h.other_z = e.z
    GROUP BY e.sae_id, e.feature
)
SELECT
    s.slug AS sae,
    h.feature,
    h.z,
    pow(10, h.log10_q) AS q,
    t.name AS other_set,
    h.other_z,
    h.margin,
    (h.z - o.r * h.other_z) / sqrt(nullif(greatest(1 - o.r ** 2, 0), 0)) AS z_given,
    f.kurtosis,
    f.skewness,
    w.tokens AS top_tokens,
    _feature_url(s.neuronpedia_id, h.feature) AS url
FROM hits h
JOIN sae s ON s.sae_id = h.sae_id
JOIN feature f ON f.sae_id = h.sae_id AND f.feature = h.feature
LEFT JOIN named d ON d.sae_id = h.sae_id AND d.feature = h.feature
LEFT JOIN token_set t ON t.set_id = d.set_id
LEFT JOIN others o ON o.sae_id = h.sae_id AND o.set_id = d.set_id
LEFT JOIN _words((SELECT list({'sae_id': x.sae_id, 'feature': x.feature}) FROM hits x), 1) w
    ON w.sae_id = h.sae_id AND w.feature = h.feature
ORDER BY h.margin DESC, h.sae_id, h.feature
