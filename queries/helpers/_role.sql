-- The role of a feature: prediction, suppression, partition or other; NULL for a zero decoder row.
-- Parameters:
--   cos_kurtosis, cos_skewness, cos_std  moments of cos(W_dec[f], W_U[:, t]): columns of the table feature
--   role_kurtosis   a prediction or suppression feature has a kurtosis above
--   role_variance   a partition feature has a variance above, and no such kurtosis
-- Reference: Gurnee et al. 2024, Universal Neurons in GPT2 Language Models.
CREATE OR REPLACE MACRO _role(cos_kurtosis, cos_skewness, cos_std, role_kurtosis, role_variance) AS
CASE
    WHEN cos_kurtosis::DOUBLE > role_kurtosis::DOUBLE AND cos_skewness > 0 THEN 'prediction'
    WHEN cos_kurtosis::DOUBLE > role_kurtosis::DOUBLE AND cos_skewness < 0 THEN 'suppression'
    WHEN cos_std::DOUBLE ** 2 > role_variance::DOUBLE THEN 'partition'
    WHEN cos_kurtosis IS NOT NULL THEN 'other'
END
