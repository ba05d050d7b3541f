-- Members of the token sets, as text: one row a set and token.
-- 'featdex export set_members -o sets.gmt' writes them for GSEA's tools, with raw, which is unique, as the item.
CREATE OR REPLACE VIEW set_members AS
SELECT
    m.name AS model,
    s.name AS set_name,
    s.collection,
    s.description,
    i.token_id,
    t.str AS token,
    t.raw
FROM token_set_member i
JOIN token_set s ON s.set_id = i.set_id
JOIN model m ON m.model_id = s.model_id
JOIN token t ON t.model_id = s.model_id AND t.token_id = i.token_id
ORDER BY s.set_id, i.token_id
