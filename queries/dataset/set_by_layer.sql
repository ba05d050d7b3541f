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
-- Of enrichment_top, which has every row of a q below .05, and the best ones; for a larger q, of all rows.
WITH unanswered AS MATERIALIZED (
    SELECT i.sae_id FROM _sae_ids(sae) i WHERE NOT coalesce(max_q::DOUBLE <= 0.05::DOUBLE, false)
),
scores AS (
    SELECT t.sae_id, t.feature, t.z, t.log10_q
    FROM enrichment_top t
    WHERE t.set_id IN (FROM _set_ids(set_name))
        AND t.sae_id IN (FROM _sae_ids(sae))
        AND coalesce(max_q::DOUBLE <= 0.05::DOUBLE, false)
    UNION ALL
    SELECT e.sae_id, e.feature, e.z, e.log10_q
    FROM enrichment e
    WHERE e.set_id IN (FROM _set_ids(set_name)) AND e.sae_id IN (FROM unanswered)
),
counted AS (
    SELECT
        e.sae_id,
        count(*) FILTER (e.z > 0 AND (max_q IS NULL OR pow(10, e.log10_q) <= max_q)) AS n_promoted,
        count(*) FILTER (e.z < 0 AND (max_q IS NULL OR pow(10, e.log10_q) <= max_q)) AS n_suppressed,
        max_by(e.feature, (e.z, -e.feature)) FILTER (e.z > 0) AS best_promoted,
        max(e.z) FILTER (e.z > 0) AS best_promoted_z,
        min_by(e.feature, (e.z, e.feature)) FILTER (e.z < 0) AS best_suppressed,
        min(e.z) FILTER (e.z < 0) AS best_suppressed_z
    FROM scores e
    GROUP BY e.sae_id
),
sized AS (
    SELECT c.sae_id, sum(c.n_scored)::BIGINT AS n_features
    FROM enrichment_cut c
    WHERE c.set_id IN (FROM _set_ids(set_name)) AND c.sae_id IN (FROM _sae_ids(sae))
    GROUP BY c.sae_id
)
SELECT
    m.name AS model,
    s.layer,
    s.slug AS sae,
    n.n_features,
    coalesce(c.n_promoted, 0) AS n_promoted,
    coalesce(c.n_suppressed, 0) AS n_suppressed,
    coalesce(c.n_promoted, 0) / nullif(n.n_features, 0) AS share_promoted,
    coalesce(c.n_suppressed, 0) / nullif(n.n_features, 0) AS share_suppressed,
    c.best_promoted,
    c.best_promoted_z,
    c.best_suppressed,
    c.best_suppressed_z
FROM sized n
LEFT JOIN counted c ON c.sae_id = n.sae_id
JOIN sae s ON s.sae_id = n.sae_id
JOIN model m ON m.model_id = s.model_id
ORDER BY m.name, s.layer NULLS LAST, s.slug
