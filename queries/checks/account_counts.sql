-- name: account_counts
-- title: Snapshots whose number of accounts differs from their rows
SELECT n.market, n.snapshot, n.accounts, count(a.account) AS stored,
       count(DISTINCT a.account) AS distinct_accounts
FROM snapshots_at() AS n
LEFT JOIN account_health AS a ON a.snapshot = n.snapshot
GROUP BY n.market, n.snapshot, n.accounts
HAVING n.accounts <> count(a.account) OR n.accounts <> count(DISTINCT a.account)
