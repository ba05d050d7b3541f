-- The role of that name, in one row; an error where there is none.
-- Parameters:
--   wanted  prediction, suppression, partition, other, or NULL
CREATE OR REPLACE MACRO _known_role(wanted) AS TABLE
SELECT CASE
    WHEN wanted IS NULL OR wanted IN ('prediction', 'suppression', 'partition', 'other') THEN wanted
    ELSE error('no role ''' || wanted || '''; the roles are prediction, suppression, partition, other')
END AS role
