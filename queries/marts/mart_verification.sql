-- name: mart_verification
-- title: Comparison of each market's snapshot with the chain
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- column: market  market
-- column: block_number  block of the snapshot
-- column: accounts  accounts in the snapshot
-- column: checked  accounts compared with the chain as integers; null: not verified
-- column: equal  accounts in which all figures are equal
-- column: different  accounts in which any figure differs
-- column: method  the chain's function and the codec that read it
-- column: verified_at  when the comparison ended
SELECT s.market, s.block_number, s.accounts, s.checked, s.checked - s.mismatched AS equal,
       s.mismatched AS different, s.method, s.verified_at
FROM snapshots_at(p_as_of := $p_as_of) AS s
ORDER BY s.market
