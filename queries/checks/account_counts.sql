-- name: account_counts
-- title: Snapshots whose number of accounts differs from their rows
-- column: market text market
-- column: snapshot id its newest snapshot
-- column: accounts count accounts that the snapshot says it has
-- column: stored count rows that it has
-- column: distinct_accounts count different accounts in these rows
SELECT n.market, n.snapshot, n.accounts, count(a.account) AS stored,
       count(DISTINCT a.account || a.position) AS distinct_accounts
FROM snapshots_at() AS n
LEFT JOIN account_health AS a ON a.snapshot = n.snapshot
GROUP BY n.market, n.snapshot, n.accounts
HAVING n.accounts <> count(a.account) OR n.accounts <> count(DISTINCT a.account || a.position)
