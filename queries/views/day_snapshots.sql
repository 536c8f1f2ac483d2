-- name: day_snapshots
-- title: Snapshot of each market that the marts of a UTC day use, and the one before it
-- column: day date UTC day of block_time
-- columns of: snapshots market snapshot block_number block_time
-- column: before id snapshot of the market's stored day before; null for its first
-- column: before_number block block of that snapshot
-- column: before_time time time stamp of that block
WITH newest AS (
  SELECT CAST(s.block_time AS DATE) AS day, s.market, s.snapshot, s.block_number, s.block_time
  FROM snapshots AS s
  LEFT JOIN orphans AS o ON o.snapshot = s.snapshot
  WHERE o.snapshot IS NULL
  QUALIFY row_number() OVER (PARTITION BY s.market, CAST(s.block_time AS DATE)
                             ORDER BY s.block_number DESC, s.block_time DESC, s.read_at DESC) = 1
)
SELECT day, market, snapshot, block_number, block_time,
       lag(snapshot) OVER w AS before, lag(block_number) OVER w AS before_number, lag(block_time) OVER w AS before_time
FROM newest
WINDOW w AS (PARTITION BY market ORDER BY day)
ORDER BY day, market
