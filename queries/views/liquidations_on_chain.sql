-- name: liquidations_on_chain
-- title: Liquidation events of the lending protocols, without blocks that left the chain
-- needs: markets(p_market)
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_since TIMESTAMPTZ = NULL  from this block time on
-- param: p_until TIMESTAMPTZ = NULL  before this block time
-- columns of: chain_liquidations
-- note: a value above 1e18 USD is not plausible: it is n/a, and the status says so
SELECT l.* EXCLUDE (load, day) REPLACE (
         CASE WHEN abs(l.debt_repaid_usd) <= 1e18 THEN l.debt_repaid_usd END AS debt_repaid_usd,
         CASE WHEN abs(l.coll_seized_usd) <= 1e18 THEN l.coll_seized_usd END AS coll_seized_usd,
         CASE WHEN abs(l.debt_repaid_usd) > 1e18 OR abs(l.coll_seized_usd) > 1e18
              THEN 'n/a (a value beyond 1e18 USD)' ELSE l.status END AS status)
FROM chain_liquidations AS l
LEFT JOIN retractions AS r ON r.chain_id = l.chain_id AND r.block_hash = l.block_hash
WHERE r.block_hash IS NULL
  AND ($p_market = 'all'
       OR strpos(',' || replace($p_market, ', ', ',') || ',', ',' || l.market || ',') > 0)
  AND ($p_since IS NULL OR l.block_time >= $p_since)
  AND ($p_until IS NULL OR l.block_time < $p_until)
