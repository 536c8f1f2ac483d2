-- name: mart_breaks
-- title: Break levels of BTC: every 2,000 USD within 20 % of the last close, by each definition
-- param: p_level DOUBLE = 88000  price level; a mart runs once for each
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time
-- each: p_level = SELECT CAST(unnest(generate_series(ceil(0.8 * close / 2000)::BIGINT, floor(1.2 * close / 2000)::BIGINT)) * 2000 AS DOUBLE) FROM (SELECT arg_max(close, time) AS close FROM candles_at(p_known_at := $p_known_at)) WHERE close IS NOT NULL ORDER BY 1
-- column: level price price in USD
-- column: definition text what counts as a break
-- column: breaks count breaks that are stored
-- column: first_at time first break
-- column: last_at time last break
-- column: last_price price first price of the last break
-- column: held_seconds seconds how long the last break held, or holds
-- column: retests count candles of the last break that came back without ending it
-- column: extreme_price price furthest price of the last break
-- column: state text holds, regained, never or n/a with the reason
-- column: source text source of the candles
-- column: provenance text where they come from
SELECT $p_level AS level, definition, breaks, first_at, last_at, last_price, held_seconds, retests,
       extreme_price, state, source, provenance
FROM breaks(p_level := $p_level, p_known_at := $p_known_at)
