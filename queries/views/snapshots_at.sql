-- name: snapshots_at
-- title: The newest snapshot of each market, with its verification
-- needs: snapshots(p_as_of, p_market)
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- columns of: snapshots snapshot market protocol provenance chain_id block_number block_hash block_time read_at revision profile truncates_lt close_factor close_basis full_close_below_hf full_close_below_usd min_leftover_usd target_hf absorbs scope accounts accounts_read accounts_failed based_on endpoint reserves_usd target_reserves_usd
-- column: checked count accounts compared with the chain as integers; null: not verified
-- column: mismatched count accounts in which collateral, debt or health factor differs; null: not verified
-- column: verified_at time when the comparison ended; null: not verified
-- column: method text the chain's function, and the codec that read it; null: not verified
-- portable: yes
WITH checked AS (
  SELECT snapshot, checked, mismatched, verified_at, method
  FROM verifications
  -- A verification with a mismatch comes first; else the one of the most accounts.
  QUALIFY row_number() OVER (PARTITION BY snapshot ORDER BY least(mismatched, 1) DESC, checked DESC,
                                                            verified_at DESC) = 1
)
SELECT s.snapshot, s.market, s.protocol, s.provenance, s.chain_id, s.block_number, s.block_hash,
       s.block_time, s.read_at, s.revision, s.profile, s.truncates_lt, s.close_factor, s.close_basis,
       s.full_close_below_hf, s.full_close_below_usd, s.min_leftover_usd, s.target_hf, s.absorbs,
       s.scope, s.accounts, s.accounts_read, s.accounts_failed, s.based_on, s.endpoint, s.reserves_usd,
       s.target_reserves_usd,
       c.checked, c.mismatched, c.verified_at, c.method
FROM snapshots AS s
LEFT JOIN checked AS c ON c.snapshot = s.snapshot
LEFT JOIN orphans AS o ON o.snapshot = s.snapshot
WHERE o.snapshot IS NULL
  AND ($p_market = 'all'
       OR strpos(',' || replace($p_market, ', ', ',') || ',', ',' || s.market || ',') > 0)
  AND ($p_as_of IS NULL OR s.block_time <= $p_as_of)
-- An import has no block: its time is its place.
QUALIFY row_number() OVER (PARTITION BY s.market
                           ORDER BY s.block_number DESC, s.block_time DESC, s.read_at DESC) = 1
