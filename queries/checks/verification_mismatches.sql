-- name: verification_mismatches
-- title: Figures in which the newest snapshot of a market and the chain differ
SELECT m.market, m.block_number, m.account, m.figure, m.ours, m.chain
FROM snapshots_at() AS n
JOIN mismatches AS m ON m.snapshot = n.snapshot
