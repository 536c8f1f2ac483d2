-- name: mart_health
-- title: Health-factor distribution of each market: accounts, collateral and debt per bucket
-- needs: snapshots(p_as_of, p_market)
-- param: p_market TEXT = 'all'  market; a mart runs once for each
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- column: market text market
-- columns of: health() bucket hf_from hf_to accounts collateral_usd debt_usd debt_share
-- portable: yes
-- each: p_market = SELECT market FROM snapshots_at(p_as_of := $p_as_of) ORDER BY market
SELECT $p_market AS market, bucket, hf_from, hf_to, accounts, collateral_usd, debt_usd, debt_share
FROM health(p_market := $p_market, p_as_of := $p_as_of)
