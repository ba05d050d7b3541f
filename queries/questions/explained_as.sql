-- Which features have an explanation with these words?
-- Imported explanations (featdex import explanations) that contain a text, in upper or lower case.
-- Parameters:
--   words     the text, such as 'names'
--   sae       GLOB on slug or release; NULL: every SAE
--   set_name  name of a token set: rank by z of it, to see whether words and sets agree; NULL: by SAE and feature
--   n         number of rows
-- z and q are those of the set, NULL without one. top_tokens are the first 8.
-- Reference: Bills et al. 2023, Language models can explain neurons in language models (OpenAI).
-- Example: FROM explained_as('female names', set_name := 'girls_names')
CREATE OR REPLACE MACRO explained_as(
    words,
    sae := NULL,
    set_name := NULL,
    n := 20
) AS TABLE
WITH found AS (
    SELECT x.sae_id, x.feature, x.text, x.method, x.explainer, x.score
    FROM explanation x
    WHERE x.sae_id IN (FROM _sae_ids(sae)) AND contains(lower(x.text), lower(words))
    UNION ALL
    -- No row, but the complaint about a wrong name, where DuckDB knows that there can be none above.
    SELECT i.sae_id, NULL, NULL, NULL, NULL, NULL FROM _sae_ids(sae) i WHERE i.sae_id IS NULL
),
scored AS (
    SELECT e.sae_id, e.feature, e.z, e.log10_q
    FROM enrichment e
    WHERE e.set_id IN (FROM _set_ids_if(set_name)) AND e.sae_id IN (FROM _sae_ids(sae))
),
hits AS (
    SELECT x.*, e.z, e.log10_q
    FROM found x
    LEFT JOIN scored e ON e.sae_id = x.sae_id AND e.feature = x.feature
    ORDER BY e.z DESC NULLS LAST, x.sae_id, x.feature, x.text, x.method NULLS LAST, x.explainer NULLS LAST
    LIMIT n
)
SELECT
    s.slug AS sae,
    h.feature,
    h.text AS explanation,
    h.method,
    h.explainer,
    h.score,
    h.z,
    pow(10, h.log10_q) AS q,
    w.tokens AS top_tokens,
    _feature_url(s.neuronpedia_id, h.feature) AS url
FROM hits h
JOIN sae s ON s.sae_id = h.sae_id
LEFT JOIN _words((SELECT list({'sae_id': x.sae_id, 'feature': x.feature}) FROM hits x), 1) w
    ON w.sae_id = h.sae_id AND w.feature = h.feature
ORDER BY h.z DESC NULLS LAST, h.sae_id, h.feature, h.text, h.method NULLS LAST, h.explainer NULLS LAST
