-- name: mart_reserves
-- title: Composition of the stablecoin reserves by class: the newest disclosures known that day
-- needs: known_at(p_known_at), provenance, statements(p_token, p_known_at)
-- param: p_token TEXT = 'USDT'  token; a mart runs once for each
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time
-- columns of: reserves() token kind as_of evidence asset_class usd total_share change_usd quantity quantity_unit unit_price assets_usd published_at source provenance
-- each: p_token = SELECT DISTINCT token FROM statements_at(p_known_at := $p_known_at) ORDER BY token
SELECT token, kind, as_of, evidence, asset_class, usd, total_share, change_usd, quantity,
       quantity_unit, unit_price, assets_usd, published_at, source, provenance
FROM reserves(p_token := $p_token, p_known_at := $p_known_at)
