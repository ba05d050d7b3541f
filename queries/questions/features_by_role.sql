-- Which features are prediction, suppression or partition features?
-- The clearest first: by variance of the cosines for partition, by their kurtosis for the other roles.
-- Parameters:
--   role           prediction, suppression, partition or other; NULL: all
--   sae            GLOB on slug or release; NULL: every SAE
--   role_kurtosis  least kurtosis of the cosines with W_U of a prediction (skewness > 0) or suppression feature (< 0)
--   role_variance  least variance of the cosines with W_U of a partition feature, which is neither of these
--   n              number of rows
-- cos_variance, cos_skewness and cos_kurtosis are moments of cos(W_dec[f], W_U[:, t]) over the vocabulary; the question
-- roles counts the features of each SAE. top_tokens and bottom_tokens are the first 8 each way.
-- Reference: Gurnee et al. 2024, Universal Neurons in GPT2 Language Models.
-- Example: FROM features_by_role('partition', sae := 'gpt2-small/8*', n := 10)
CREATE OR REPLACE MACRO features_by_role(
    role,
    sae := NULL,
    role_kurtosis := 10,
    role_variance := 0.005,
    n := 20
) AS TABLE
WITH placed AS (
    SELECT
        f.sae_id, f.feature, f.cos_std::DOUBLE ** 2 AS cos_variance, f.cos_skewness, f.cos_kurtosis, f.log10_density,
        _role(f.cos_kurtosis, f.cos_skewness, f.cos_std, role_kurtosis, role_variance) AS role
    FROM feature f
    WHERE f.sae_id IN (FROM _sae_ids(sae))
),
hits AS (
    SELECT p.*, CASE WHEN role = 'partition' THEN p.cos_variance ELSE p.cos_kurtosis END AS clearness
    FROM placed p
    WHERE role IS NULL OR p.role = (SELECT k.role FROM _known_role(role) k)
    ORDER BY clearness DESC NULLS LAST, p.sae_id, p.feature
    LIMIT n
)
SELECT
    s.slug AS sae,
    h.feature,
    h.role,
    h.cos_kurtosis,
    h.cos_skewness,
    h.cos_variance,
    h.log10_density,
    w.tokens AS top_tokens,
    v.tokens AS bottom_tokens,
    _feature_url(s.neuronpedia_id, h.feature) AS url
FROM hits h
JOIN sae s ON s.sae_id = h.sae_id
LEFT JOIN _words((SELECT list({'sae_id': x.sae_id, 'feature': x.feature}) FROM hits x), 1) w
    ON w.sae_id = h.sae_id AND w.feature = h.feature
LEFT JOIN _words((SELECT list({'sae_id': x.sae_id, 'feature': x.feature}) FROM hits x), -1) v
    ON v.sae_id = h.sae_id AND v.feature = h.feature
ORDER BY h.clearness DESC NULLS LAST, h.sae_id, h.feature
