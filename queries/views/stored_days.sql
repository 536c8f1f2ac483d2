-- name: stored_days
-- title: UTC days with stored rows that an export may hold
-- column: day date UTC day with a snapshot or a liquidation
SELECT DISTINCT CAST(block_time AS DATE) AS day FROM snapshots
UNION
SELECT DISTINCT CAST(block_time AS DATE) FROM liquidations_on_chain()
UNION
SELECT DISTINCT CAST(time AS DATE) FROM exchange_liquidations
ORDER BY day
