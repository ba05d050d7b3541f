-- Features with their statistics, by name of model and SAE.
-- One row a feature: all columns of the table feature, and url, its Neuronpedia page where there is one.
CREATE OR REPLACE VIEW features AS
SELECT
    m.name AS model,
    s.slug AS sae,
    s.layer,
    f.feature,
    f.* EXCLUDE (sae_id, feature),
    _feature_url(s.neuronpedia_id, f.feature) AS url,
    f.sae_id
FROM feature f
JOIN sae s ON s.sae_id = f.sae_id
JOIN model m ON m.model_id = s.model_id
