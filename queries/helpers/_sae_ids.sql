-- The sae_id of every SAE whose slug or release matches a GLOB; all of them for NULL.
-- Parameters:
--   pattern  GLOB, or an exact slug or release
-- An error with the nearest slugs where nothing matches.
CREATE OR REPLACE MACRO _sae_ids(pattern) AS TABLE
WITH matching AS (
    SELECT s.sae_id
    FROM sae s
    WHERE pattern IS NULL OR s.slug = pattern OR s.slug GLOB pattern OR s.release GLOB pattern
),
likely AS (
    SELECT
        s.slug,
        contains(lower(s.slug), lower(pattern))::INTEGER + jaro_winkler_similarity(s.slug, pattern) AS likeness
    FROM sae s
    ORDER BY likeness DESC, s.slug
    LIMIT 3
)
SELECT m.sae_id
FROM matching m
UNION ALL
SELECT error(
    'no SAE matches ''' || pattern || ''''
    || coalesce('; nearest: ' || (SELECT string_agg(l.slug, ', ' ORDER BY l.likeness DESC, l.slug) FROM likely l), '')
)::SMALLINT
WHERE pattern IS NOT NULL AND NOT EXISTS (FROM matching)
