-- name: verification_mismatches
-- title: Figures in which the newest snapshot of a market and the chain differ
-- columns of: mismatches market block_number account position figure ours chain
SELECT m.market, m.block_number, m.account, m.position, m.figure, m.ours, m.chain
FROM snapshots_at() AS n
JOIN mismatches AS m ON m.snapshot = n.snapshot
