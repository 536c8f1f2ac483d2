-- name: mart_verification
-- title: Comparison of each market's snapshot with the chain
-- needs: snapshots(p_as_of)
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- column: market text market
-- column: block_number block block of the snapshot
-- column: accounts count accounts in the snapshot
-- column: checked count accounts compared with the chain as integers; null: not verified
-- column: equal count accounts in which all figures are equal
-- column: different count accounts in which any figure differs
-- column: method text the chain's function and the codec that read it
-- column: verified_at time when the comparison ended
SELECT s.market, s.block_number, s.accounts, s.checked, s.checked - s.mismatched AS equal,
       s.mismatched AS different, s.method, s.verified_at
FROM snapshots_at(p_as_of := $p_as_of) AS s
ORDER BY s.market
