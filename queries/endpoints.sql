-- name: endpoints
-- title: What the endpoints of chains could do when each was last probed by `doctor`
-- columns of: capabilities chain endpoint endpoint_hash probed_at
-- column: age_seconds seconds time since then
-- columns of: capabilities requests chain_id client_version block_number block_time state_overrides access_lists call_gas has_logs oldest_block pruned_block log_blocks refused_log_blocks batch_calls refused_batch_calls reason
-- show: chain endpoint age_seconds state_overrides=overrides access_lists call_gas has_logs=logs oldest_block log_blocks batch_calls client_version
WITH ranked AS (
  SELECT c.*, row_number() OVER (PARTITION BY c.chain, c.endpoint, c.endpoint_hash ORDER BY c.probed_at DESC) AS newest
  FROM capabilities AS c
)
SELECT chain, endpoint, endpoint_hash, probed_at,
       date_diff('second', probed_at, now()) AS age_seconds,
       requests, chain_id, client_version, block_number, block_time, state_overrides, access_lists, call_gas, has_logs,
       oldest_block, pruned_block, log_blocks, refused_log_blocks, batch_calls, refused_batch_calls, reason
FROM ranked
WHERE newest = 1
ORDER BY chain, endpoint, endpoint_hash
