-- name: chain_sums
-- title: Collateral that lending protocols seized in each crash's window, from stored events
-- note: only markets whose liquidations were read, without demos; the coverage of the window is unknown
SELECT e.event, sum(l.coll_seized_usd) AS usd, count(l.tx_hash) AS events,
       string_agg(DISTINCT l.market, ', ' ORDER BY l.market) AS markets,
       CASE WHEN count(l.tx_hash) = 0 THEN 'n/a (none stored)'
            ELSE '≥, ' || count(DISTINCT l.market) || ' market(s)' END AS state
FROM crash_events() AS e
LEFT JOIN liquidations_on_chain() AS l
  ON l.block_time >= e.window_from AND l.block_time < e.window_to
 AND l.kind IN ('liquidation', 'absorb-collateral')
 AND l.market NOT IN (SELECT market FROM snapshots WHERE provenance IN ('demo', 'recording'))
GROUP BY e.event
