-- name: reserve_drift
-- title: Classes whose share of a reserve moved by more than p_points between two disclosures
-- needs: known_at(p_known_at), provenance, statements(p_token, p_known_at)
-- param: p_token TEXT = 'all'  one token, or all
-- param: p_points DOUBLE = 1.0  percentage points
-- param: p_since DATE = NULL  disclosures of days from then on; null: all
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- columns of: statements_at() token as_of evidence kind
-- columns of: reserve_items asset_class
-- column: usd usd value of the class as stated
-- column: total_share share its part of all assets
-- column: previous_share share its part of all assets in the statement before
-- column: previous_as_of date day of the statement before
-- column: points points change of its part
-- column: change_usd usd change of its value
-- column: change_bn usd-bn change_usd in billions
-- column: growth_share share its change over that of all assets, negative where they differ in direction; null where that is 0
-- column: age_seconds seconds whole days since as_of, at p_known_at or now
-- column: source text source that read it
-- column: origin text source, or SAMPLE for invented figures
-- columns of: statements_at() provenance citation document
-- show: as_of token evidence asset_class=class total_share=share points change_bn=change_bn_USD growth_share=of_whole_change age_seconds=age origin=source
-- note: of whole change: the class's change over the whole reserve's, negative where the directions differ
WITH class AS (
  SELECT c.token, c.kind, c.evidence, c.as_of, c.statement, c.previous, c.source, c.provenance,
         c.citation, c.document, CAST(c.assets AS DOUBLE) AS assets, i.asset_class,
         sum(CAST(i.usd AS DOUBLE)) AS usd
  FROM statements_at(p_token := $p_token, p_known_at := $p_known_at) AS c
  JOIN reserve_items AS i ON i.statement = c.statement
  GROUP BY ALL
)
SELECT now.token, now.as_of, now.evidence, now.kind, now.asset_class, now.usd,
       now.usd / now.assets AS total_share, old.usd / old.assets AS previous_share, old.as_of AS previous_as_of,
       100 * (now.usd / now.assets - old.usd / old.assets) AS points, now.usd - old.usd AS change_usd, change_usd / 1e9 AS change_bn,
       (now.usd - old.usd) / nullif(now.assets - old.assets, 0) AS growth_share,
       86400 * date_diff('day', now.as_of, CAST(coalesce($p_known_at, now()) AS DATE)) AS age_seconds,
       now.source, CASE now.provenance WHEN 'sample' THEN 'SAMPLE' ELSE now.source END AS origin, now.provenance, now.citation, now.document
FROM class AS now
JOIN class AS old ON old.statement = now.previous AND old.asset_class = now.asset_class
WHERE abs(100 * (now.usd / now.assets - old.usd / old.assets)) > $p_points
  AND ($p_since IS NULL OR now.as_of >= $p_since)
ORDER BY now.as_of DESC, now.token, abs(points) DESC
