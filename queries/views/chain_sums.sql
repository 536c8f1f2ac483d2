-- name: chain_sums
-- title: Collateral that lending protocols seized in each crash's window, from stored events
-- columns of: crash_events() event
-- column: usd usd collateral seized in the window, a lower bound; null where nothing is stored or has a price
-- column: events count liquidation events in the window
-- column: markets list markets that the events are of; null without events
-- column: state text ≥ with the number of markets, or n/a with the reason
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
