-- What the catalogue holds: one row an SAE.
-- n_sets counts the token sets it was tested against, n_enrichment the pairs of feature and set; ingested_at is UTC.
CREATE OR REPLACE VIEW coverage AS
WITH rows_of AS (
    SELECT
        d.sae_id,
        max(d.n_rows) FILTER (d.table_name = 'feature') AS n_features,
        max(d.n_rows) FILTER (d.table_name = 'enrichment') AS n_enrichment
    FROM dataset_file d
    GROUP BY d.sae_id
),
sets_of_sae AS (
    SELECT n.sae_id, count(DISTINCT n.set_id) AS n_sets
    FROM set_null n
    GROUP BY n.sae_id
),
newest_run AS (
    SELECT r.sae_id, max(r.finished_at) AS ingested_at, arg_max(r.device, r.run_id) AS device
    FROM run r
    GROUP BY r.sae_id
)
SELECT
    s.slug AS sae,
    m.name AS model,
    s.kind,
    s.layer,
    s.d_sae,
    coalesce(f.n_features, 0) AS n_features,
    coalesce(e.n_sets, 0) AS n_sets,
    coalesce(f.n_enrichment, 0) AS n_enrichment,
    r.ingested_at,
    r.device,
    s.sae_id
FROM sae s
JOIN model m ON m.model_id = s.model_id
LEFT JOIN rows_of f ON f.sae_id = s.sae_id
LEFT JOIN sets_of_sae e ON e.sae_id = s.sae_id
LEFT JOIN newest_run r ON r.sae_id = s.sae_id
ORDER BY m.name, s.layer, s.slug
