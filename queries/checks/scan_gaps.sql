-- name: scan_gaps
-- title: Blocks below a snapshot whose events were never read
-- column: market text market
-- column: first_missing block first block of a range that was not read
-- column: last_missing block last block of that range
WITH covered AS (
  SELECT market, from_block, max(to_block) AS to_block FROM scans GROUP BY market, from_block
), step AS (
  SELECT c.market, c.from_block, c.to_block,
         max(c.to_block) OVER (PARTITION BY c.market ORDER BY c.from_block, c.to_block
                               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
  FROM covered AS c
)
SELECT s.market, s.before + 1 AS first_missing, s.from_block - 1 AS last_missing
FROM step AS s JOIN snapshots_at() AS n ON n.market = s.market
WHERE s.from_block > s.before + 1 AND s.from_block <= n.block_number
UNION ALL
SELECT n.market, max(c.to_block) + 1, n.block_number
FROM snapshots_at() AS n JOIN covered AS c ON c.market = n.market
GROUP BY n.market, n.block_number
HAVING max(c.to_block) < n.block_number
