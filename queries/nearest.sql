-- name: nearest
-- title: Accounts nearest to their trigger as one factor moves (x = price / price now)
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas), excluded_accounts
-- param: p_factor TEXT = 'BTC'  which factor moves, or MARKET
-- param: p_direction TEXT = 'all'  now, down, up or all of these
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_min_debt_usd DOUBLE = 0  ignore accounts with less debt, USD
-- param: p_limit BIGINT = 50  most rows returned
-- param: p_betas TEXT = ''  for MARKET, betas of factors, see moves: 'eth=1.3,xau=0.2'
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- columns of: triggers() market account position factor direction x trigger_price trigger_price_late recovers_at tolerance hf collateral_usd debt_usd collateral_moving_usd debt_moving_usd block_number block_time snapshot
-- show: market account position direction x trigger_price recovers_at hf collateral_usd debt_usd tolerance
-- note: recovers_at: where an account that is liquidatable now is not any more, over the price now
-- note: tolerance: relative uncertainty of x from the contract's integer rounding (matters for dust)
SELECT market, account, position, factor, direction, x, trigger_price, trigger_price_late, recovers_at, tolerance, hf, collateral_usd, debt_usd,
       collateral_moving_usd, debt_moving_usd, block_number, block_time, snapshot
FROM triggers(p_factor := $p_factor, p_betas := $p_betas, p_market := $p_market, p_as_of := $p_as_of)
WHERE direction IN ('now', 'down', 'up') AND $p_direction IN ('all', direction) AND (debt_usd >= $p_min_debt_usd OR (debt_usd IS NULL AND $p_min_debt_usd <= 0))
ORDER BY abs(x - 1e0), debt_usd DESC, market, account, position
LIMIT $p_limit
