-- name: unknown_assets
-- title: Balances in an asset that its snapshot's market does not list
-- columns of: legs market account position asset
SELECT l.market, l.account, l.position, l.asset
FROM snapshots_at() AS n
JOIN legs AS l ON l.snapshot = n.snapshot
LEFT JOIN reserves AS r ON r.snapshot = l.snapshot AND r.asset = l.asset
WHERE r.asset IS NULL
