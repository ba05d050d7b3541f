-- The Neuronpedia page of a feature; NULL where the SAE is not there.
-- Parameters:
--   set_path       sae.neuronpedia_id: model/set
--   feature_index  index of the feature, from 0
CREATE OR REPLACE MACRO _feature_url(set_path, feature_index) AS
    'https://www.neuronpedia.org/' || set_path || '/' || feature_index
