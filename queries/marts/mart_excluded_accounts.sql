-- name: mart_excluded_accounts
-- title: What the sums of mart_walls leave out: accounts and debt by factor, market and reason
-- needs: snapshots(p_as_of), factors(p_factor), excluded_accounts
-- param: p_factor TEXT = 'BTC'  factor; a mart runs once for each
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- column: factor text what moves: BTC, ETH, USDC, a ratio such as wstETH/ETH, feed:0x…
-- columns of: excluded_accounts()
-- each: p_factor = SELECT DISTINCT factor FROM factors_at(p_as_of := $p_as_of) WHERE factor_price > 0e0 ORDER BY factor
-- ordered: market, missing, reason
SELECT $p_factor AS factor, market, missing, reason, accounts, debt_usd
FROM excluded_accounts(p_factor := $p_factor, p_as_of := $p_as_of)
