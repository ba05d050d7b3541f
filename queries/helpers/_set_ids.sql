-- The set_id of a token set: one for each model that has a set of this name.
-- Parameters:
--   wanted  name of the set, exactly
-- An error with the nearest names where there is none, NULL included.
CREATE OR REPLACE MACRO _set_ids(wanted) AS TABLE
FROM _set_ids_if(coalesce(wanted, 'NULL'))
