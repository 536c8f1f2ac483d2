-- name: verification
-- title: The newest snapshot of each market against the chain's own figures
-- needs: snapshots(p_as_of, p_market)
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- column: market text market
-- column: block_number block block of the snapshot
-- columns of: verifications accounts checked
-- column: equal count accounts in which all figures are equal
-- column: different count accounts in which any figure differs
-- columns of: verifications max_abs_error method verified_at endpoint snapshot
-- show: market block_number accounts checked equal different max_abs_error method endpoint
-- note: collateral, debt and health factor of each account are compared as integers
SELECT s.market, s.block_number, v.accounts, v.checked, v.checked - v.mismatched AS equal,
       v.mismatched AS different, v.max_abs_error, v.method, v.verified_at, v.endpoint, s.snapshot
FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of) AS s
JOIN verifications AS v ON v.snapshot = s.snapshot
QUALIFY row_number() OVER (PARTITION BY s.market ORDER BY v.verified_at DESC) = 1
ORDER BY s.market
