-- name: mart_breaks
-- title: Break levels of BTC: every 2,000 USD within 20 % of the last close, by each definition
-- needs: known_at(p_known_at), provenance
-- param: p_level DOUBLE = 88000  price level; a mart runs once for each
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time
-- column: level price the price level, USD
-- columns of: breaks() definition breaks first_at last_at last_price held_seconds retests extreme_price state source provenance
-- each: p_level = SELECT CAST(unnest(generate_series(ceil(0.8 * close / 2000)::BIGINT, floor(1.2 * close / 2000)::BIGINT)) * 2000 AS DOUBLE) FROM (SELECT arg_max(close, time) AS close FROM candles_at(p_known_at := $p_known_at)) WHERE close IS NOT NULL ORDER BY 1
SELECT $p_level AS level, definition, breaks, first_at, last_at, last_price, held_seconds, retests,
       extreme_price, state, source, provenance
FROM breaks(p_level := $p_level, p_known_at := $p_known_at)
