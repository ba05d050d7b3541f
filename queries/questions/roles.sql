-- How many prediction, suppression and partition features does each SAE have?
-- One row an SAE, by layer. A prediction feature promotes a few tokens much, a suppression feature suppresses a few, a
-- partition feature moves half of the vocabulary up and the other half down.
-- Parameters:
--   sae            GLOB on slug or release; NULL: every SAE
--   role_kurtosis  least kurtosis of the cosines with W_U of a prediction (skewness > 0) or suppression feature (< 0)
--   role_variance  least variance of the cosines with W_U of a partition feature, which is neither of these
-- Moments are those of cos(W_dec[f], W_U[:, t]) over the vocabulary: cos_kurtosis, cos_skewness, cos_std ** 2. The
-- thresholds are those of Universal Neurons; its neurons could be in several classes, these features are in one.
-- undefined counts features whose decoder row is zero.
-- Reference: Gurnee et al. 2024, Universal Neurons in GPT2 Language Models.
-- Example: FROM roles(sae := 'gpt2-small/*', role_kurtosis := 20)
CREATE OR REPLACE MACRO roles(
    sae := NULL,
    role_kurtosis := 10,
    role_variance := 0.005
) AS TABLE
WITH placed AS (
    SELECT f.sae_id, _role(f.cos_kurtosis, f.cos_skewness, f.cos_std, role_kurtosis, role_variance) AS role
    FROM feature f
    WHERE f.sae_id IN (FROM _sae_ids(sae))
),
counted AS (
    SELECT
        p.sae_id,
        count(*) AS n_features,
        count(*) FILTER (p.role = 'prediction') AS prediction,
        count(*) FILTER (p.role = 'suppression') AS suppression,
        count(*) FILTER (p.role = 'partition') AS partition,
        count(*) FILTER (p.role = 'other') AS other,
        count(*) FILTER (p.role IS NULL) AS undefined
    FROM placed p
    GROUP BY p.sae_id
)
SELECT m.name AS model, s.layer, s.slug AS sae, c.* EXCLUDE (sae_id)
FROM counted c
JOIN sae s ON s.sae_id = c.sae_id
JOIN model m ON m.model_id = s.model_id
ORDER BY m.name, s.layer NULLS LAST, s.slug
