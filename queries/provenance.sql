-- name: provenance
-- title: Basis of reports: block, age, coverage and verification of each market
-- needs: snapshots(p_as_of, p_market)
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- columns of: snapshots_at() market protocol provenance block_number block_time
-- column: age_seconds seconds age of that block
-- columns of: snapshots_at() accounts accounts_failed scope checked mismatched verified_at method profile revision endpoint snapshot
-- show: market protocol provenance block_number block_time age_seconds accounts accounts_failed checked mismatched
SELECT market, protocol, provenance, block_number, block_time,
       date_diff('second', block_time, now()) AS age_seconds,
       accounts, accounts_failed, scope,
       checked, mismatched, verified_at, method, profile, revision, endpoint, snapshot
FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of)
ORDER BY market
