-- Enrichment of every token set in every feature, by name.
-- One row a feature and token set: all columns of the table enrichment with the names of model, SAE and set.
CREATE OR REPLACE VIEW enrichments AS
SELECT
    m.name AS model,
    s.slug AS sae,
    s.layer,
    e.feature,
    t.name AS set_name,
    t.collection,
    t.n_tokens,
    e.* EXCLUDE (sae_id, set_id, feature),
    e.sae_id,
    e.set_id
FROM enrichment e
JOIN sae s ON s.sae_id = e.sae_id
JOIN model m ON m.model_id = s.model_id
JOIN token_set t ON t.set_id = e.set_id
