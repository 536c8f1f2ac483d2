-- name: mart_reserves
-- title: Composition of the stablecoin reserves by class: the newest disclosures known that day
-- param: p_token TEXT = 'USDT'  token; a mart runs once for each
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time
-- each: p_token = SELECT DISTINCT token FROM statements_at(p_known_at := $p_known_at) ORDER BY token
-- column: token text token
-- column: kind text kind of disclosure; each is compared with its own predecessor only
-- column: as_of date day that the disclosure describes
-- column: evidence text kind of evidence: issuer page, fund file, attestation or on chain
-- column: asset_class text class of the reserve
-- column: usd usd its value in USD
-- column: total_share share its part of all assets
-- column: change_usd usd change since the disclosure before; null for a new or a vanished row
-- column: quantity amount quantity, where the report or a stored price gives one
-- column: quantity_unit text unit of the quantity; MODEL: derived from a stored price
-- column: unit_price price price of one unit
-- column: assets_usd usd all assets of the disclosure in USD
-- column: published_at time when it was published
-- column: source text source that delivered it
-- column: provenance text where the figures come from
SELECT token, kind, as_of, evidence, asset_class, usd, total_share, change_usd, quantity,
       quantity_unit, unit_price, assets_usd, published_at, source, provenance
FROM reserves(p_token := $p_token, p_known_at := $p_known_at)
