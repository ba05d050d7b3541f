-- The sae_id of the SAEs that are searched for features like one: those of a GLOB, or the SAE of that feature for NULL.
-- Parameters:
--   within   GLOB on slug or release; NULL: the SAE of the feature
--   pattern  GLOB on slug or release, of the SAE of the feature
--   wanted   index of the feature, from 0
CREATE OR REPLACE MACRO _sae_ids_within(within, pattern, wanted) AS TABLE
SELECT i.sae_id FROM _sae_ids(within) i WHERE within IS NOT NULL
UNION ALL
SELECT o.sae_id FROM _one_sae_having(pattern, wanted) o WHERE within IS NULL
