-- Which features promote the tokens of a set?
-- Features ranked by z, largest first: z > 0 means that the set's tokens stand higher in the feature's logit weights
-- than a random direction with the decoder's covariance would put them. Nothing else is hidden unless you ask.
-- Parameters:
--   set_name       name of a token set
--   sae            GLOB on slug or release; NULL: every SAE
--   min_kurtosis   smallest kurtosis of the logit weights (Pearson's: a Gaussian has 3)
--   max_kurtosis   largest kurtosis
--   min_skewness   smallest skewness of the logit weights
--   max_density    largest share of tokens on which the feature fires, 0 to 1; those of unknown density are left out
--   max_q          largest q: Benjamini-Hochberg over the features of one SAE and set
--   role           prediction, suppression, partition or other; NULL: all
--   role_kurtosis  least kurtosis of the cosines with W_U of a prediction or suppression feature
--   role_variance  least variance of the cosines with W_U of a partition feature
--   n              number of rows
-- z_adj is z without what frequency, leading space and capital explain. q is 0 where it is too small for a double:
-- log10_q has the value. top_hits counts members among the 100 most promoted tokens; top_tokens are the first 8.
-- Reference: Bloom & Lin 2024, Understanding SAE Features with the Logit Lens (LessWrong).
-- Example: FROM enriched_for('girls_names', sae := 'gpt2-small/*', min_kurtosis := 8, max_q := 0.05)
CREATE OR REPLACE MACRO enriched_for(
    set_name,
    sae := NULL,
    min_kurtosis := NULL,
    max_kurtosis := NULL,
    min_skewness := NULL,
    max_density := NULL,
    max_q := NULL,
    role := NULL,
    role_kurtosis := 10,
    role_variance := 0.005,
    n := 20
) AS TABLE
SELECT * RENAME (hits AS top_hits, tokens AS top_tokens)
FROM _ranked_for(
    1, set_name, sae, min_kurtosis, max_kurtosis, min_skewness, max_density, max_q, role, role_kurtosis,
    role_variance, n
)
