-- Which few token sets explain what a feature promotes and suppresses?
-- Sets share tokens and directions, so a feature that promotes girls' names also seems to promote capitals and names of
-- boys. This picks the set of the largest |z|, then the one of the largest |z| given those already picked, and so on
-- while that is at least min_z: what users of gene-set tests know as collapsing pathways.
-- Parameters:
--   sae      GLOB on slug or release
--   feature  index of the feature, from 0
--   min_z    smallest |z|, given the sets above it; 4 is p < .05 in some 600 tests (Bonferroni, normal tail)
--   max_r2   largest share of a set's null variance that the sets above it may have: what is left says too little
--   n        number of sets
-- z_given is z of the part of the set that is independent, under random directions, of all sets above it; r2 is the
-- share that is not; where sets above it suppress each other's part, the sign of z_given may differ from that of z.
-- explains names the sets that are below min_z, or beyond max_r2, once this one is known, strongest first; a set that is
-- picked further down, since others bring it out again, is not among them.
-- Forward selection by conditional z, as GCTA-COJO does for variants (Yang et al. 2012), in closed form from
-- set_correlation; only sets with |z| of at least min_z can be picked.
-- Example: FROM independent_sets_of('gpt2-small/8-res-jb', 573)
CREATE OR REPLACE MACRO independent_sets_of(
    sae,
    feature,
    min_z := 4,
    max_r2 := 0.9,
    n := 10
) AS TABLE
WITH RECURSIVE strong AS MATERIALIZED (
    SELECT e.sae_id, e.set_id, e.z::DOUBLE AS z
    FROM enrichment e
    WHERE e.sae_id IN (FROM _sae_ids_having(sae, feature))
        AND e.feature = feature
        AND abs(e.z) >= min_z
),
-- Read once, and not again at every step.
pairs AS MATERIALIZED (
    SELECT c.sae_id, c.set_id, c.other_id, c.r
    FROM set_correlation c
    WHERE c.sae_id IN (SELECT g.sae_id FROM strong g)
        AND c.set_id IN (SELECT g.set_id FROM strong g)
        AND c.other_id IN (SELECT g.set_id FROM strong g)
),
steps AS (
    SELECT
        g.sae_id, g.set_id, g.z, 0 AS step, g.z AS z_left, 1::DOUBLE AS v_left,
        []::DOUBLE[] AS shares, false AS is_picked, NULL::DOUBLE AS z_before, NULL::DOUBLE AS v_before
    FROM strong g
    UNION ALL
    (
        WITH still_open AS (
            SELECT s.*, abs(s.z_left) / sqrt(greatest(s.v_left, 1e-12)) AS strength
            FROM steps s
            WHERE NOT s.is_picked AND s.v_left >= 1 - max_r2 AND s.step < n
        ),
        best AS (
            SELECT
                o.sae_id,
                max_by(
                    struct_pack(set_id := o.set_id, z_left := o.z_left, v_left := o.v_left, shares := o.shares),
                    (o.strength, -o.set_id)
                ) AS pick
            FROM still_open o
            WHERE o.strength >= min_z
            GROUP BY o.sae_id
        ),
        projected AS (
            SELECT
                o.*,
                b.pick,
                (
                    CASE WHEN o.set_id = b.pick.set_id THEN 1 ELSE coalesce(c.r, 0)::DOUBLE END
                    - coalesce(list_inner_product(o.shares, b.pick.shares), 0)
                ) / sqrt(b.pick.v_left) AS share
            FROM still_open o
            JOIN best b ON b.sae_id = o.sae_id
            LEFT JOIN pairs c
                ON c.sae_id = o.sae_id AND c.set_id = b.pick.set_id AND c.other_id = o.set_id
        )
        SELECT
            p.sae_id, p.set_id, p.z, p.step + 1, p.z_left - p.share * p.pick.z_left / sqrt(p.pick.v_left),
            p.v_left - p.share ** 2, list_append(p.shares, p.share), p.set_id = p.pick.set_id, p.z_left, p.v_left
        FROM projected p
    )
),
explained AS (
    SELECT s.sae_id, s.set_id, s.z, min(s.step) AS step
    FROM steps s
    WHERE s.step > 0
        AND NOT s.is_picked
        AND NOT EXISTS (FROM steps p WHERE p.is_picked AND p.sae_id = s.sae_id AND p.set_id = s.set_id)
        AND (s.v_left < 1 - max_r2 OR abs(s.z_left) / sqrt(greatest(s.v_left, 1e-12)) < min_z)
    GROUP BY s.sae_id, s.set_id, s.z
),
named AS (
    SELECT e.sae_id, e.step, list(t.name ORDER BY abs(e.z) DESC, t.name) AS names
    FROM explained e
    JOIN token_set t ON t.set_id = e.set_id
    GROUP BY e.sae_id, e.step
)
SELECT
    a.slug AS sae,
    feature AS feature,
    s.step AS place,
    t.name AS set_name,
    t.collection,
    t.n_tokens,
    s.z,
    s.z_before / sqrt(s.v_before) AS z_given,
    1 - s.v_before AS r2,
    coalesce(e.names, []) AS explains
FROM steps s
JOIN sae a ON a.sae_id = s.sae_id
JOIN token_set t ON t.set_id = s.set_id
LEFT JOIN named e ON e.sae_id = s.sae_id AND e.step = s.step
WHERE s.is_picked
ORDER BY s.sae_id, s.step
