-- name: break_episodes
-- title: Every break of a price level, by each definition: time, duration, extreme price and retests
-- needs: known_at(p_known_at), provenance
-- param: p_asset TEXT = 'BTC'  BTC or ETH
-- param: p_level DOUBLE = 88000  price in USD
-- param: p_direction TEXT = 'down'  down or up
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- column: definition text what counts as a break: touch or close, hourly or daily candles
-- column: broke_at time a touch: start of its candle; a close: end of its candle
-- column: price price first price beyond the level: low or high of a touch, close of a close
-- column: extreme price furthest price while the break lasted
-- column: held_seconds seconds from the break to the return, or to the newest candle
-- column: back_at time when the price came back; null while the break holds
-- column: holds flag no candle came back so far
-- column: retests count candles after the first that reached the level again without ending the break
-- column: candles count candles of the break
-- column: gaps count places in the break where candles are missing
-- columns of: candles_at() source provenance
-- column: observed_at time when its newest candle was first observed here
WITH candle AS (
  SELECT *, INTERVAL 1 HOUR AS length FROM candles_at(p_asset := $p_asset, p_interval := '1h', p_known_at := $p_known_at)
  UNION ALL
  SELECT *, INTERVAL 1 DAY FROM candles_at(p_asset := $p_asset, p_interval := '1d', p_known_at := $p_known_at)
), measured AS (
  -- A touch is dated to the candle it happened in, a close to the end of its candle.
  SELECT 'touch, ' || CASE interval WHEN '1h' THEN 'hourly' ELSE 'daily' END AS definition, interval, length, time AS dated, time,
         CASE WHEN $p_direction = 'down' THEN low <= $p_level ELSE high >= $p_level END AS broken,
         CASE WHEN $p_direction = 'down' THEN low ELSE high END AS price, low, high, source, provenance, observed_at
  FROM candle
  UNION ALL
  SELECT CASE interval WHEN '1h' THEN 'hourly close' ELSE 'daily close' END, interval, length, time + length, time,
         CASE WHEN $p_direction = 'down' THEN close < $p_level ELSE close > $p_level END,
         close, low, high, source, provenance, observed_at
  FROM candle
), marked AS (
  SELECT *, CASE WHEN broken IS DISTINCT FROM lag(broken) OVER run THEN 1 ELSE 0 END AS turn,
         lag(broken) OVER run AS was_broken, lag(time) OVER run AS before
  FROM measured WINDOW run AS (PARTITION BY definition ORDER BY time)
), numbered AS (
  SELECT *, sum(turn) OVER (PARTITION BY definition ORDER BY time) AS episode FROM marked
), spell AS (
  SELECT definition, episode, any_value(interval) AS interval, any_value(length) AS length,
         min(dated) AS broke_at, max(dated) AS last_dated, max(time) AS last_time,
         arg_min(price, time) AS price,
         CASE WHEN $p_direction = 'down' THEN min(low) ELSE max(high) END AS extreme,
         count(*) AS candles,
         -- The candle that broke it does not test it again.
         count(*) FILTER (turn = 0 AND CASE WHEN $p_direction = 'down' THEN high >= $p_level ELSE low <= $p_level END) AS retests,
         bool_or(was_broken IS NULL) AS from_the_start,
         count(*) FILTER (before IS NOT NULL AND time - before > length) AS gaps,
         any_value(source) AS source, any_value(provenance) AS provenance, max(observed_at) AS observed_at,
         bool_and(broken) AS broken
  FROM numbered GROUP BY definition, episode
)
SELECT s.definition, s.broke_at, s.price, s.extreme,
       date_diff('second', s.broke_at, coalesce(n.broke_at, s.last_time + s.length)) AS held_seconds,
       n.broke_at AS back_at, n.broke_at IS NULL AS holds,
       s.retests, s.candles, s.gaps, s.source, s.provenance, s.observed_at
FROM spell AS s
LEFT JOIN spell AS n ON n.definition = s.definition AND n.episode = s.episode + 1
WHERE s.broken AND NOT s.from_the_start
ORDER BY s.definition, s.broke_at
