-- At which layer do features promote or suppress a token set?
-- One row an SAE, by layer: how many of its features do, and the best one each way.
-- Parameters:
--   set_name  name of a token set
--   sae       GLOB on slug or release; NULL: every SAE
--   max_q     largest q of a feature that counts: Benjamini-Hochberg over the features of one SAE and set; NULL: all
-- n_promoted counts features with z > 0, n_suppressed those with z < 0, n_features all that have a z;
-- share_promoted and share_suppressed are of these.
-- Reference: Gurnee et al. 2024, Universal Neurons in GPT2 Language Models (prediction, then suppression, by depth).
-- Example: FROM set_by_layer('digits', sae := 'gpt2-small/*')
CREATE OR REPLACE MACRO set_by_layer(
    set_name,
    sae := NULL,
    max_q := 0.05
) AS TABLE
WITH counted AS (
    SELECT
        e.sae_id,
        count(e.z) AS n_features,
        count(*) FILTER (e.z > 0 AND (max_q IS NULL OR pow(10, e.log10_q) <= max_q)) AS n_promoted,
        count(*) FILTER (e.z < 0 AND (max_q IS NULL OR pow(10, e.log10_q) <= max_q)) AS n_suppressed,
        max_by(e.feature, (e.z, -e.feature)) FILTER (e.z > 0) AS best_promoted,
        max(e.z) FILTER (e.z > 0) AS best_promoted_z,
        min_by(e.feature, (e.z, e.feature)) FILTER (e.z < 0) AS best_suppressed,
        min(e.z) FILTER (e.z < 0) AS best_suppressed_z
    FROM enrichment e
    WHERE e.set_id IN (FROM _set_ids(set_name)) AND e.sae_id IN (FROM _sae_ids(sae))
    GROUP BY e.sae_id
)
SELECT
    m.name AS model,
    s.layer,
    s.slug AS sae,
    c.n_features,
    c.n_promoted,
    c.n_suppressed,
    c.n_promoted / nullif(c.n_features, 0) AS share_promoted,
    c.n_suppressed / nullif(c.n_features, 0) AS share_suppressed,
    c.best_promoted,
    c.best_promoted_z,
    c.best_suppressed,
    c.best_suppressed_z
FROM counted c
JOIN sae s ON s.sae_id = c.sae_id
JOIN model m ON m.model_id = s.model_id
ORDER BY m.name, s.layer NULLS LAST, s.slug
