-- name: liquidation_estimate
-- title: MODEL: how much sampled venues may have left out, if liquidations came at random
-- param: p_since TIMESTAMPTZ = NULL  from this time on; null: a day before the end
-- param: p_until TIMESTAMPTZ = NULL  before this time; null: the newest thing stored
-- param: p_venue TEXT = 'all'  one venue, or all
-- on: feeds
-- show: venue market orders occupied_share=seconds_with_one at_least_usd=published_USD model_orders=MODEL_orders model_usd=MODEL_USD model_factor=MODEL_factor
-- note: MODEL: with at the most one order per contract and second published, a share p of seconds with one means -ln(1 - p) orders per second
-- note: assumes that orders of a contract come independently of each other and that the published ones are as large as the others
-- note: liquidations come in cascades: in simulation the model then finds 0.47 of the truth at 3 orders per second and 0.24 at 10; it stays a lower bound
-- note: not a fact and in no sum; venues that publish everything are left out
WITH sampled AS (
  SELECT f.source, f.venue, f.market, f.covered_seconds
  FROM feeds(p_since := $p_since, p_until := $p_until, p_venue := $p_venue) AS f
  WHERE f.sampling LIKE 'sampled%' AND f.covered_seconds >= 1
), contract AS (
  SELECT s.source, s.venue, s.market, e.symbol, s.covered_seconds,
         count(DISTINCT date_trunc('second', e.time)) AS occupied, count(*) AS orders,
         sum(e.usd) AS usd, avg(e.usd) AS mean_usd
  FROM sampled AS s
  JOIN liquidation_events(p_since := $p_since, p_until := $p_until) AS e ON e.source = s.source
  GROUP BY s.source, s.venue, s.market, e.symbol, s.covered_seconds
), rate AS (
  SELECT *, least(occupied / covered_seconds, 1e0 - 1e0 / covered_seconds) AS p FROM contract
)
SELECT venue, market, CAST(sum(orders) AS BIGINT) AS orders,
       max(p) AS occupied_share, sum(usd) AS at_least_usd,
       sum(greatest(orders, -ln(1e0 - p) * covered_seconds)) AS model_orders,
       sum(mean_usd * greatest(orders, -ln(1e0 - p) * covered_seconds)) AS model_usd,
       sum(mean_usd * greatest(orders, -ln(1e0 - p) * covered_seconds)) / nullif(sum(usd), 0)
         AS model_factor
FROM rate GROUP BY source, venue, market
ORDER BY model_usd DESC, venue
