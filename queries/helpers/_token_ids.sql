-- The model_id and token_id of a token: in each model, those of that text, else those of that raw spelling.
-- Parameters:
--   wanted  decoded text (' Mary'), raw spelling ('ĠMary'), or an integer: the id
-- An error with the nearest texts where no model has one.
CREATE OR REPLACE MACRO _token_ids(wanted) AS TABLE
WITH matching AS (
    SELECT t.model_id, t.token_id
    FROM token t
    WHERE CASE
        WHEN typeof(wanted) LIKE '%INT%' THEN t.token_id::VARCHAR = wanted::VARCHAR
        ELSE t.str = wanted::VARCHAR OR t.raw = wanted::VARCHAR
    END
    QUALIFY typeof(wanted) LIKE '%INT%'
        OR t.str = wanted::VARCHAR
        OR NOT bool_or(t.str = wanted::VARCHAR) OVER (PARTITION BY t.model_id)
),
likely AS (
    SELECT DISTINCT t.str, jaro_winkler_similarity(lower(trim(t.str)), lower(trim(wanted::VARCHAR))) AS likeness
    FROM token t
    WHERE NOT EXISTS (FROM matching)
    ORDER BY likeness DESC, t.str
    LIMIT 3
)
SELECT m.model_id, m.token_id
FROM matching m
UNION ALL
SELECT
    error(
        'no token ''' || coalesce(replace(wanted::VARCHAR, ' ', '␣'), 'NULL') || ''''
        || coalesce(
            '; nearest: '
            || (SELECT string_agg(replace(l.str, ' ', '␣'), ', ' ORDER BY l.likeness DESC, l.str) FROM likely l)
            || ' (␣ is a space)',
            ''
        )
    )::SMALLINT,
    NULL::INTEGER
WHERE NOT EXISTS (FROM matching)
