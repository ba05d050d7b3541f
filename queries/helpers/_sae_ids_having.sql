-- The sae_id of every SAE that matches a GLOB and has a feature of this index.
-- Parameters:
--   pattern  GLOB on slug or release
--   wanted   index of a feature, from 0
-- An error where no matching SAE has that many features.
CREATE OR REPLACE MACRO _sae_ids_having(pattern, wanted) AS TABLE
WITH matching AS (
    SELECT s.sae_id, s.d_sae
    FROM sae s
    WHERE s.sae_id IN (FROM _sae_ids(pattern))
),
having_it AS (
    SELECT m.sae_id
    FROM matching m
    WHERE wanted >= 0 AND wanted < m.d_sae
)
SELECT h.sae_id
FROM having_it h
UNION ALL
SELECT error(
    'no feature ' || wanted || ' in ''' || pattern || '''; its features are 0 to '
    || (SELECT max(m.d_sae) - 1 FROM matching m)
)::SMALLINT
WHERE EXISTS (FROM matching) AND NOT EXISTS (FROM having_it)
