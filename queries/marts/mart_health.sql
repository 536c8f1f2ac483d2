-- name: mart_health
-- title: Health-factor distribution of each market: accounts, collateral and debt per bucket
-- param: p_market TEXT = 'all'  market; a mart runs once for each
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- portable: yes
-- each: p_market = SELECT market FROM snapshots_at(p_as_of := $p_as_of) ORDER BY market
-- column: market text market
-- column: bucket text range of the health factor; no debt and n/a are ranges of their own
-- column: hf_from hf lower end of the range, inclusive
-- column: hf_to hf upper end of the range, exclusive
-- column: accounts count accounts in the range
-- column: collateral_usd usd their collateral in USD; null where it is n/a
-- column: debt_usd usd their debt in USD; null where it is n/a
-- column: debt_share share their part of all debt of the market
SELECT $p_market AS market, bucket, hf_from, hf_to, accounts, collateral_usd, debt_usd, debt_share
FROM health(p_market := $p_market, p_as_of := $p_as_of)
