-- name: alert_verify_mismatch
-- title: The newest snapshot of a market differs from the chain
SELECT market AS subject, 'raise' AS state,
       printf('%d of %d accounts on %s differ from the chain at block %d', mismatched, checked, market, block_number)
         AS message, CAST(mismatched AS DOUBLE) AS value
FROM snapshots_at() WHERE mismatched > 0
