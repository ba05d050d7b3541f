-- The user's tags of features, with their notes.
-- One row a feature and tag; made by featdex tag.
CREATE OR REPLACE VIEW tags AS
SELECT
    s.slug AS sae,
    s.layer,
    g.feature,
    g.tag,
    g.note,
    g.created_at,
    _feature_url(s.neuronpedia_id, g.feature) AS url,
    g.sae_id
FROM tag g
JOIN sae s ON s.sae_id = g.sae_id
ORDER BY s.layer NULLS LAST, s.slug, g.feature, g.tag
