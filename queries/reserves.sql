-- name: reserves
-- title: Composition of a reserve by class, and what changed since the disclosure before
-- needs: known_at(p_known_at), provenance, statements(p_token, p_known_at)
-- param: p_token TEXT = 'USDT'  token
-- param: p_last BIGINT = 1  how many of the newest disclosures of each kind
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- columns of: statements_at() token as_of evidence kind
-- columns of: reserve_items asset_class
-- column: usd usd value of the class as stated; null where the class is gone
-- column: total_share share its part of all assets; null where the class is gone
-- column: change_usd usd change since the statement before; null for the first, a new or a vanished row
-- column: points points change of its part of all assets; null as change_usd is
-- column: quantity amount bitcoin or ounces, as stated or by a stored price; null for other classes and without a price
-- column: quantity_unit text BTC or XAU oz as stated; BTC (MODEL), oz (MODEL) by a stored price; null without a quantity
-- column: unit_price price USD per unit of the quantity; null without one
-- column: quantity_effect_usd usd part of the change by quantity, at the price before; null where either has none
-- column: price_effect_usd usd part of the change by price; null where either has none
-- column: usd_bn usd-bn usd in billions
-- column: change_bn usd-bn change_usd in billions
-- column: quantity_effect_bn usd-bn quantity_effect_usd in billions
-- column: price_effect_bn usd-bn price_effect_usd in billions
-- column: row text first, new, gone, MODEL (quantities by a stored price), or empty
-- column: previous_usd usd value in the statement before; null where it was not there
-- column: previous_as_of date day of the statement before; null for the first
-- column: assets_usd usd all assets of the statement as stated
-- columns of: statements_at() published_at known_at observed_at
-- column: age_seconds seconds whole days since as_of, at p_known_at or now
-- columns of: statements_at() source provenance citation document
-- show: as_of evidence asset_class=class usd_bn=bn_USD total_share=share change_bn=change points quantity_effect_bn=by_quantity price_effect_bn=by_price row
-- note: points: change of the share in percentage points; a new or a vanished row is marked, not counted as a change
-- note: by quantity + by price = change of gold and bitcoin, at the stated price; without one MODEL, at a stored price of the day, or n/a
-- note: each kind of disclosure is compared with its own predecessor only
WITH selected AS (
  SELECT * FROM statements_at(p_token := $p_token, p_known_at := $p_known_at)
), priced AS (
  SELECT statement, asset_class, sum(usd) AS usd, max(unit_price) AS unit_price,
         CASE WHEN count(unit_price) = count(*) THEN sum(quantity) END AS quantity,
         max(quantity_unit) AS quantity_unit, count(*) AS lines
  FROM reserve_items GROUP BY statement, asset_class
), model AS (
  SELECT 'precious metals' AS asset_class, as_of, value, 'oz (MODEL)' AS unit
  FROM indicators_at(p_known_at := $p_known_at) WHERE series = 'gold' AND provenance <> 'sample'
  UNION ALL
  SELECT 'bitcoin', CAST(time AS DATE), close, 'BTC (MODEL)'
  FROM candles_at(p_asset := 'BTC', p_interval := '1d', p_known_at := $p_known_at) WHERE provenance <> 'sample'
), class AS (
  SELECT c.token, c.kind, c.as_of, c.statement, c.previous, c.assets, p.asset_class, p.usd, p.lines,
         coalesce(CAST(p.unit_price AS DOUBLE), m.value) AS price,
         coalesce(CAST(p.quantity AS DOUBLE), CAST(p.usd AS DOUBLE) / m.value) AS quantity,
         coalesce(p.quantity_unit, m.unit) AS quantity_unit
  FROM selected AS c
  JOIN priced AS p ON p.statement = c.statement
  LEFT JOIN model AS m ON m.asset_class = p.asset_class AND m.as_of = c.as_of
), pair AS (
  SELECT now.statement AS statement, now.asset_class, now.usd, now.lines, now.quantity,
         now.quantity_unit, now.price, old.usd AS old_usd, old.assets AS old_assets,
         old.quantity AS old_quantity, old.quantity_unit AS old_unit, old.price AS old_price, 'there' AS presence
  FROM class AS now LEFT JOIN class AS old
    ON old.statement = now.previous AND old.asset_class = now.asset_class
  UNION ALL
  SELECT c.statement, old.asset_class, NULL, 0, NULL, NULL, NULL, old.usd, old.assets,
         old.quantity, old.quantity_unit, old.price, 'gone'
  FROM selected AS c JOIN class AS old ON old.statement = c.previous
  WHERE c.statement IN (SELECT statement FROM class)
    AND NOT EXISTS (SELECT 1 FROM class AS now
                    WHERE now.statement = c.statement AND now.asset_class = old.asset_class)
)
SELECT c.token, c.as_of, c.evidence, c.kind, p.asset_class,
       CAST(p.usd AS DOUBLE) AS usd,
       CAST(p.usd AS DOUBLE) / CAST(c.assets AS DOUBLE) AS total_share,
       CASE WHEN p.presence = 'there' THEN CAST(p.usd - p.old_usd AS DOUBLE) END AS change_usd,
       CASE WHEN p.presence = 'there' THEN
         100 * (CAST(p.usd AS DOUBLE) / CAST(c.assets AS DOUBLE)
                - CAST(p.old_usd AS DOUBLE) / CAST(p.old_assets AS DOUBLE)) END AS points,
       p.quantity, p.quantity_unit, p.price AS unit_price,
       (p.quantity - p.old_quantity) * p.old_price AS quantity_effect_usd,
       (p.price - p.old_price) * p.quantity AS price_effect_usd,
       usd / 1e9 AS usd_bn, change_usd / 1e9 AS change_bn,
       quantity_effect_usd / 1e9 AS quantity_effect_bn, price_effect_usd / 1e9 AS price_effect_bn,
       CASE WHEN p.presence = 'gone' THEN 'gone'
            WHEN c.previous IS NULL OR c.previous NOT IN (SELECT statement FROM class) THEN 'first'
            WHEN p.old_usd IS NULL THEN 'new'
            WHEN p.price IS NOT NULL AND p.old_price IS NOT NULL AND contains(p.quantity_unit || p.old_unit, 'MODEL')
              THEN 'MODEL' ELSE '' END AS "row",
       CAST(p.old_usd AS DOUBLE) AS previous_usd, b.as_of AS previous_as_of,
       CAST(c.assets AS DOUBLE) AS assets_usd, c.published_at, c.known_at, c.observed_at,
       86400 * date_diff('day', c.as_of, CAST(coalesce($p_known_at, now()) AS DATE)) AS age_seconds,
       c.source, c.provenance, c.citation, c.document
FROM pair AS p
JOIN selected AS c ON c.statement = p.statement
LEFT JOIN selected AS b ON b.statement = c.previous
WHERE c.recency <= $p_last
ORDER BY c.kind, c.as_of DESC, p.usd DESC NULLS LAST, p.asset_class
