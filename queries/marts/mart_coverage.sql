-- name: mart_coverage
-- title: Scope of each market's figures: accounts found, read and failed, and their origin
-- needs: snapshots(p_as_of)
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- columns of: snapshots_at() market protocol provenance snapshot block_number block_hash block_time scope accounts accounts_read accounts_failed profile endpoint
SELECT market, protocol, provenance, snapshot, block_number, block_hash, block_time, scope,
       accounts, accounts_read, accounts_failed, profile, endpoint
FROM snapshots_at(p_as_of := $p_as_of)
ORDER BY market
