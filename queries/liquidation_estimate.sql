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
-- column: model_orders figure MODEL: orders there may have been, not fewer than published; null where the model cannot say
-- column: model_usd usd MODEL: their value; null where the model cannot say, or none has a value
-- column: model_factor multiple MODEL: model_usd over at_least_usd; null as model_usd is
-- column: model_rule text what the model assumes, or n/a with the reason
-- show: venue market orders occupied_share=seconds_with_one at_least_usd=published_USD model_orders=MODEL_orders model_usd=MODEL_USD model_factor=MODEL_factor model_rule=what_it_is
-- note: MODEL: at most one order per contract (Bitget: and side) and second is published; a share p of seconds with an order means -ln(1 - p) orders per second
-- note: latest order of a second: published orders are as large as the others; largest: the i-th smallest of m published in T seconds stands for T·ln((T-m+i) / (T-m+i-1)) orders
-- note: n/a in USD where the venue does not say which order of a second it publishes, and in all where a contract has fewer than 5 seconds without an order
-- note: assumes independent orders of each contract; in simulated cascades the model finds 0.47 of the orders at 3 per second and 0.24 at 10
-- note: an estimate that is in no sum; venues that publish everything are left out
WITH rule AS (
  SELECT sampling_rule, max(selection) AS selection FROM sampling_eras
  WHERE sampling_class = 'sampled' GROUP BY sampling_rule
), sampled AS (
  SELECT f.source, f.venue, f.market, f.covered_seconds, r.selection
  FROM feeds(p_since := $p_since, p_until := $p_until, p_venue := $p_venue) AS f
  LEFT JOIN rule AS r ON r.sampling_rule = f.sampling_rule
  WHERE f.sampling_class = 'sampled' AND f.covered_seconds >= 1
), published AS (
  SELECT s.source, s.venue, s.market, s.selection, s.covered_seconds, e.symbol,
         CASE WHEN s.selection = 'largest of each side' THEN e.side ELSE '' END AS of_side, e.time, e.usd
  FROM sampled AS s
  JOIN liquidation_events(p_since := $p_since, p_until := $p_until) AS e ON e.source = s.source
), contract AS (
  SELECT source, venue, market, selection, symbol, of_side, covered_seconds,
         count(DISTINCT date_trunc('second', time)) AS occupied, count(*) AS orders,
         count(usd) AS priced, sum(usd) AS usd, avg(usd) AS mean_usd
  FROM published GROUP BY source, venue, market, selection, symbol, of_side, covered_seconds
), rate AS (
  SELECT *, least(occupied / covered_seconds, 1e0) AS p,
         greatest(covered_seconds - occupied, 0e0) AS free_seconds,
         CASE WHEN covered_seconds - occupied >= 5
              THEN greatest(orders, -ln(1e0 - occupied / covered_seconds) * covered_seconds) END AS model_orders
  FROM contract
), ranked AS (
  SELECT source, symbol, of_side, usd,
         row_number() OVER (PARTITION BY source, symbol, of_side ORDER BY usd, time) AS i
  FROM published WHERE usd IS NOT NULL AND starts_with(selection, 'largest')
), of_largest AS (
  -- the share of smaller orders among all, from its share among the largest of seconds
  SELECT r.source, r.symbol, r.of_side,
         sum(k.usd * r.covered_seconds * ln((r.free_seconds + r.occupied * k.i / r.priced)
                                            / (r.free_seconds + r.occupied * (k.i - 1e0) / r.priced))) AS usd
  FROM rate AS r
  JOIN ranked AS k ON k.source = r.source AND k.symbol = r.symbol AND k.of_side = r.of_side
  WHERE r.model_orders IS NOT NULL
  GROUP BY r.source, r.symbol, r.of_side
), modelled AS (
  SELECT r.*, CASE WHEN r.model_orders IS NULL OR r.mean_usd IS NULL THEN NULL
                   WHEN r.selection = 'latest' THEN r.mean_usd * r.model_orders
                   ELSE greatest(r.usd, l.usd) END AS model_usd
  FROM rate AS r
  LEFT JOIN of_largest AS l ON l.source = r.source AND l.symbol = r.symbol AND l.of_side = r.of_side
), summed AS (
  SELECT source, venue, market, selection, CAST(sum(orders) AS BIGINT) AS orders, max(p) AS occupied_share,
         sum(usd) AS at_least_usd, bool_and(model_orders IS NOT NULL) AS identifiable,
         sum(model_orders) AS model_orders, sum(model_usd) AS model_usd
  FROM modelled GROUP BY source, venue, market, selection
)
SELECT venue, market, orders, occupied_share, at_least_usd,
       CASE WHEN identifiable THEN model_orders END AS model_orders,
       CASE WHEN identifiable AND selection IS NOT NULL THEN model_usd END AS model_usd,
       CASE WHEN identifiable AND selection IS NOT NULL THEN model_usd / nullif(at_least_usd, 0) END AS model_factor,
       CASE WHEN NOT identifiable THEN 'n/a (a contract has an order in almost every second)'
            WHEN selection IS NULL THEN 'n/a in USD (which order of a second is published is not stated)'
            WHEN selection = 'latest' THEN 'orders at random, as large as those published'
            ELSE 'orders at random, of which the largest of a second are published' END AS model_rule
FROM summed
ORDER BY model_usd DESC NULLS LAST, venue
