-- name: liquidation_estimate
-- title: MODEL: liquidations that sampled venues may have left out, if they come at random
-- needs: feeds(p_since, p_until, p_venue)
-- param: p_since TIMESTAMPTZ = NULL  start; null: a day before the end
-- param: p_until TIMESTAMPTZ = NULL  end, exclusive; null: the newest row stored
-- param: p_venue TEXT = 'all'  one venue, or all
-- column: venue text venue
-- column: market text market of the venue
-- column: orders count orders that were published
-- column: occupied_share share largest share of seconds with an order, of its contracts
-- column: at_least_usd usd-at-least their value, a lower bound; null where none is known
-- column: model_orders figure MODEL: orders there may have been, not fewer than published
-- column: model_usd usd MODEL: their value; null where the largest order of a second is published, or none has a value
-- column: model_factor multiple MODEL: model_usd over at_least_usd; null as model_usd is
-- column: model_rule text what the model assumes, or n/a with the reason
-- show: venue market orders occupied_share=seconds_with_one at_least_usd=published_USD model_orders=MODEL_orders model_usd=MODEL_USD model_factor=MODEL_factor model_rule=what_it_is
-- note: MODEL: at most one order per contract and second is published; a share p of seconds with an order means -ln(1 - p) orders per second
-- note: assumes independent orders of each contract and, for USD, that published orders are as large as the others
-- note: USD is n/a where venues publish the largest order of a second: the estimate was 1.11 to 2.28 of the truth in simulation
-- note: in simulated cascades the model finds 0.47 of the orders at 3 per second and 0.24 at 10; for USD it is neither an upper nor a lower bound
-- note: an estimate that is in no sum; venues that publish everything are left out
WITH sampled AS (
  SELECT f.source, f.venue, f.market, f.covered_seconds,
         f.sampling_rule IN (SELECT e.sampling_rule FROM sampling_eras AS e
                             WHERE e.selection = 'largest') AS largest
  FROM feeds(p_since := $p_since, p_until := $p_until, p_venue := $p_venue) AS f
  WHERE f.sampling_class = 'sampled' AND f.covered_seconds >= 1
), contract AS (
  SELECT s.source, s.venue, s.market, s.largest, e.symbol, s.covered_seconds,
         count(DISTINCT date_trunc('second', e.time)) AS occupied, count(*) AS orders,
         sum(e.usd) AS usd, avg(e.usd) AS mean_usd
  FROM sampled AS s
  JOIN liquidation_events(p_since := $p_since, p_until := $p_until) AS e ON e.source = s.source
  GROUP BY s.source, s.venue, s.market, s.largest, e.symbol, s.covered_seconds
), rate AS (
  SELECT *, least(occupied / covered_seconds, 1e0 - 1e0 / covered_seconds) AS p FROM contract
)
SELECT venue, market, CAST(sum(orders) AS BIGINT) AS orders,
       max(p) AS occupied_share, sum(usd) AS at_least_usd,
       sum(greatest(orders, -ln(1e0 - p) * covered_seconds)) AS model_orders,
       CASE WHEN NOT largest
            THEN sum(mean_usd * greatest(orders, -ln(1e0 - p) * covered_seconds)) END AS model_usd,
       CASE WHEN NOT largest
            THEN sum(mean_usd * greatest(orders, -ln(1e0 - p) * covered_seconds)) / nullif(sum(usd), 0)
            END AS model_factor,
       CASE WHEN largest THEN 'n/a in USD (the largest order of a second is published)'
            ELSE 'orders at random, as large as those published' END AS model_rule
FROM rate GROUP BY source, venue, market, largest
ORDER BY model_usd DESC NULLS LAST, venue
