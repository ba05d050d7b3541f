-- Explanations of features, imported from elsewhere.
-- One row an explanation; explained_as searches their text.
CREATE OR REPLACE VIEW explanations AS
SELECT
    s.slug AS sae,
    s.layer,
    x.feature,
    x.text AS explanation,
    x.method,
    x.explainer,
    x.score,
    x.source,
    _feature_url(s.neuronpedia_id, x.feature) AS url,
    x.sae_id
FROM explanation x
JOIN sae s ON s.sae_id = x.sae_id
