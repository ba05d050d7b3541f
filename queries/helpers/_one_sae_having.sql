-- The sae_id of the one SAE that matches a GLOB and has a feature of this index.
-- Parameters:
--   pattern  GLOB on slug or release
--   wanted   index of a feature, from 0
-- An error where several do, and those of _sae_ids_having where none does.
CREATE OR REPLACE MACRO _one_sae_having(pattern, wanted) AS TABLE
WITH matching AS (
    SELECT s.sae_id, s.slug
    FROM sae s
    WHERE s.sae_id IN (FROM _sae_ids_having(pattern, wanted))
)
SELECT CASE
    WHEN (SELECT count(*) FROM matching) = 1 THEN m.sae_id
    ELSE error(
        (SELECT count(*) FROM matching) || ' SAEs match ''' || coalesce(pattern, 'NULL') || ''' and have a feature '
        || wanted || '; name one of ' || (SELECT string_agg(n.slug, ', ' ORDER BY n.slug) FROM matching n)
    )::SMALLINT
END AS sae_id
FROM matching m
