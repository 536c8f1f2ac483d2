-- name: liquidations_on_chain
-- title: Every liquidation event of the lending protocols that still stands
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_since TIMESTAMPTZ = NULL  from this block time on
-- param: p_until TIMESTAMPTZ = NULL  before this block time
SELECT l.* EXCLUDE (load, day)
FROM chain_liquidations AS l
LEFT JOIN retractions AS r ON r.chain_id = l.chain_id AND r.block_hash = l.block_hash
WHERE r.block_hash IS NULL
  AND ($p_market = 'all'
       OR strpos(',' || replace($p_market, ', ', ',') || ',', ',' || l.market || ',') > 0)
  AND ($p_since IS NULL OR l.block_time >= $p_since)
  AND ($p_until IS NULL OR l.block_time < $p_until)
