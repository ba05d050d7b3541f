-- The set_id of a token set: one for each model that has a set of this name; none for NULL.
-- Parameters:
--   wanted  name of the set, exactly, or NULL
-- An error with the nearest names where there is none; retired versions (name@hash) are found but never offered.
CREATE OR REPLACE MACRO _set_ids_if(wanted) AS TABLE
WITH matching AS (
    SELECT t.set_id
    FROM token_set t
    WHERE t.name = wanted
),
likely AS (
    SELECT DISTINCT
        t.name,
        contains(lower(t.name), lower(wanted))::INTEGER + jaro_winkler_similarity(t.name, wanted) AS likeness
    FROM token_set t
    WHERE NOT regexp_matches(t.name, '@[0-9a-f]{8}$')
    ORDER BY likeness DESC, t.name
    LIMIT 3
)
SELECT m.set_id
FROM matching m
UNION ALL
SELECT error(
    'no token set ''' || wanted || ''''
    || coalesce('; nearest: ' || (SELECT string_agg(l.name, ', ' ORDER BY l.likeness DESC, l.name) FROM likely l), '')
)::SMALLINT
WHERE wanted IS NOT NULL AND NOT EXISTS (FROM matching)
