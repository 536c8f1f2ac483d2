-- name: verification_mismatches
-- title: Figures in which the newest snapshot of a market and the chain differ
-- columns of: mismatches market block_number account position
-- column: factor text factor that was moved, as in wall_proofs; empty: at the block's own prices
-- columns of: mismatches x figure ours chain
SELECT m.market, m.block_number, m.account, m.position, coalesce(m.factor, '') AS factor, m.x, m.figure, m.ours, m.chain
FROM snapshots_at() AS n
JOIN mismatches AS m ON m.snapshot = n.snapshot
