-- name: alert_verify_mismatch
-- title: The newest snapshot of a market differs from the chain
-- param: p_now TIMESTAMPTZ = NULL  time of the run
-- param: p_days DOUBLE = 7.0  ignore older snapshots
-- column: subject text market
-- column: state text raise, or hold where the block is older than p_days
-- column: message text one line for people: how many accounts differ from the chain
-- column: value count accounts that differ
SELECT market AS subject,
       CASE WHEN epoch(coalesce($p_now, now())) - epoch(block_time) <= 86400 * $p_days THEN 'raise' ELSE 'hold' END
         AS state,
       printf('%d of %d accounts on %s differ from the chain at block %d', mismatched, checked, market, block_number)
         AS message, CAST(mismatched AS DOUBLE) AS value
FROM snapshots_at() WHERE mismatched > 0
