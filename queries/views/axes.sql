-- name: axes
-- title: Price axis of a factor per market: the market's own price, and for sums the highest
-- needs: snapshots(p_as_of, p_market), factors(p_factor), excluded_accounts
-- param: p_factor TEXT = 'BTC'  which factor, or MARKET (1 = prices now)
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- column: market text market, or all for the axis of sums, which also serves markets without a price of the factor
-- column: axis_market text market that has this price; all where several have the same; null where none has one
-- column: price price the factor's price there: USD, or of a ratio; 1 for MARKET; null where no market has one
-- column: deviation fraction move of the factor, as a share, at which its feeds answer anew: the largest of the markets in sums; null where no market file states it
-- column: heartbeat seconds time after which its feeds answer anew at the latest; null where no market file states it
-- note: market: one market, or all for the axis of sums, which also serves markets without a price of the factor
-- note: axis_market: market that has this price; all where several have the same
-- portable: yes
WITH own AS (
  SELECT s.market,
         CASE WHEN lower($p_factor) = 'market' THEN 1e0 ELSE max(f.factor_price) END AS price,
         max(f.deviation) AS deviation, max(f.heartbeat) AS heartbeat
  FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of) AS s
  LEFT JOIN factors AS f ON f.snapshot = s.snapshot AND lower(f.factor) = lower($p_factor)
  GROUP BY s.market
), span AS (
  SELECT max(price) AS high, min(price) AS low, count(price) AS priced,
         max(deviation) AS deviation, max(heartbeat) AS heartbeat
  FROM own
), shared AS (
  SELECT max(s.high) AS price,
         CASE WHEN max(s.priced) > 1 AND max(s.high) = max(s.low) THEN 'all'
              ELSE min(CASE WHEN o.price = s.high THEN o.market END) END AS axis_market,
         max(s.deviation) AS deviation, max(s.heartbeat) AS heartbeat
  FROM span AS s CROSS JOIN own AS o
)
SELECT 'all' AS market, axis_market, price, deviation, heartbeat FROM shared
UNION ALL
SELECT o.market, CASE WHEN o.price IS NULL THEN w.axis_market ELSE o.market END,
       coalesce(o.price, w.price), o.deviation, o.heartbeat
FROM own AS o CROSS JOIN shared AS w
