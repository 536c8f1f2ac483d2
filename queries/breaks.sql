-- name: breaks
-- title: Breaks of a price level, by each definition: first and last, retests, and how long the last held
-- needs: known_at(p_known_at), provenance
-- param: p_asset TEXT = 'BTC'  BTC or ETH
-- param: p_level DOUBLE = 88000  price in USD
-- param: p_direction TEXT = 'down'  down or up
-- param: p_since TIMESTAMPTZ = NULL  only breaks from then on; null: all
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- columns of: break_episodes() definition
-- column: breaks count breaks that are stored
-- column: first_at time first break; null without any
-- column: first_price price first price beyond the level at first_at
-- column: longest_seconds seconds longest time that a break held, or holds
-- column: last_at time last break; null without any
-- column: last_price price first price beyond the level at last_at
-- column: held_seconds seconds how long the last break held, or holds
-- column: retests count candles of the last break that came back to the level without ending it
-- column: extreme_price price furthest price of the last break
-- column: state text holds, to a day (the newest candle), regained, never, or n/a with the reason
-- column: source text source of the candles; null without a break
-- column: origin text source, or SAMPLE for invented figures
-- column: provenance text where the candles come from; null without a break
-- column: gaps count places in all breaks where candles are missing; null without a break
-- column: candles count candles stored
-- column: candles_from time start of the oldest candle
-- column: candles_to time start of the newest candle
-- column: observed_at time when the newest candle of a break was first observed here
-- column: age_seconds seconds age of the newest candle's start
-- show: definition breaks first_at last_at retests held_seconds=held state origin=source
-- note: a break is a candle beyond the level after one that was not; touch: the low (up: high) reaches it; close: the close is beyond it
-- note: retests: candles of the last break that came back to the level without ending it; held: how long the last break held, or holds
-- note: state: holds; to a day (the newest candle stored); regained; never
WITH episode AS (
  SELECT * FROM break_episodes(p_asset := $p_asset, p_level := $p_level, p_direction := $p_direction, p_known_at := $p_known_at)
  WHERE $p_since IS NULL OR broke_at >= $p_since
), kind AS (
  SELECT * FROM (VALUES (1, 'touch, hourly', '1h'), (2, 'hourly close', '1h'), (3, 'touch, daily', '1d'),
                        (4, 'daily close', '1d')) AS k(n, definition, interval)
), stored AS (
  SELECT '1h' AS interval, count(*) AS candles, min(time) AS first_time, max(time) AS last_time FROM candles_at(p_asset := $p_asset, p_interval := '1h', p_known_at := $p_known_at)
  UNION ALL
  SELECT '1d', count(*), min(time), max(time) FROM candles_at(p_asset := $p_asset, p_interval := '1d', p_known_at := $p_known_at)
)
SELECT k.definition, count(e.broke_at) AS breaks, min(e.broke_at) AS first_at,
       arg_min(e.price, e.broke_at) AS first_price, max(e.held_seconds) AS longest_seconds,
       max(e.broke_at) AS last_at, arg_max(e.price, e.broke_at) AS last_price,
       arg_max(e.held_seconds, e.broke_at) AS held_seconds, arg_max(e.retests, e.broke_at) AS retests,
       arg_max(e.extreme, e.broke_at) AS extreme_price,
       CASE WHEN any_value(s.candles) = 0 THEN 'n/a (no candles)'
            WHEN count(e.broke_at) = 0 THEN 'never'
            WHEN NOT arg_max(e.holds, e.broke_at) THEN 'regained'
            WHEN date_diff('day', any_value(s.last_time), coalesce($p_known_at, now())) <= 2 THEN 'holds'
            ELSE 'to ' || strftime(any_value(s.last_time), '%Y-%m-%d') END AS state,
       any_value(e.source) AS source,
       CASE any_value(e.provenance) WHEN 'sample' THEN 'SAMPLE' ELSE any_value(e.source) END AS origin, any_value(e.provenance) AS provenance,
       sum(e.gaps) AS gaps, any_value(s.candles) AS candles, any_value(s.first_time) AS candles_from,
       any_value(s.last_time) AS candles_to, max(e.observed_at) AS observed_at,
       date_diff('second', any_value(s.last_time), coalesce($p_known_at, now())) AS age_seconds
FROM kind AS k
JOIN stored AS s ON s.interval = k.interval
LEFT JOIN episode AS e ON e.definition = k.definition
GROUP BY k.n, k.definition
ORDER BY k.n
