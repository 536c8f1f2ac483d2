-- name: mart_coverage
-- title: Scope of each market's figures: accounts found, read and failed, and their origin
-- needs: snapshots(p_as_of)
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- column: market text market
-- column: protocol text protocol family
-- column: provenance text chain, demo, recording or imported
-- column: snapshot id id of the snapshot
-- column: block_number block block everything was read at
-- column: block_hash id hash of that block
-- column: block_time time time stamp of that block
-- column: scope text accounts known: borrowers (who ever borrowed) or all
-- column: accounts count accounts in the snapshot
-- column: accounts_read count accounts whose balances were read for this snapshot; others are carried over
-- column: accounts_failed count accounts whose figures are n/a
-- column: profile text rule set used for the integers
-- column: endpoint text host that answered, keys removed
SELECT market, protocol, provenance, snapshot, block_number, block_hash, block_time, scope,
       accounts, accounts_read, accounts_failed, profile, endpoint
FROM snapshots_at(p_as_of := $p_as_of)
ORDER BY market
