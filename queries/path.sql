-- name: path
-- title: Calls of liquidators on each account as one factor moves, the nearest price first
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas), excluded_accounts
-- param: p_factor TEXT = 'BTC'  which factor moves
-- param: p_direction TEXT = 'down'  down or up; accounts that are liquidatable now are always included
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- param: p_betas TEXT = ''  betas of other factors that move with it, see moves: 'eth=1.2'
-- param: p_account TEXT = ''  one account's address; empty: all
-- param: p_end DOUBLE = NULL  price over the price now at which the path ends; null: 0 down, 10 up
-- param: p_order TEXT = 'profit'  the pair of assets that a call takes: profit or largest, see path_steps
-- param: p_gas_usd DOUBLE = 1  MODEL: cost of a call of a liquidator
-- param: p_min_profit_usd DOUBLE = 0  MODEL: what a call has to earn above its cost
-- param: p_dust_usd DOUBLE = 1  MODEL: no call repays less
-- param: p_limit BIGINT = NULL  most rows; null: all
-- columns of: path_steps() market account position direction number step x trigger_price
-- column: collateral text symbol of the asset that the call takes; null where it is no call
-- column: debt text symbol of the asset that it repays; null where it is no call
-- columns of: path_steps() repaid_usd seize_usd units bought_units
-- column: left_usd usd debt that stays at that price where the path of the account ends here; null where it goes on
-- column: snapshot id snapshot
-- show: market account number step trigger_price collateral debt repaid_usd=repaid_USD seize_usd=seized_USD units left_usd=left_USD
-- note: a call is made as soon as the health factor is below 1, and again while it is and as often as it falls below 1 again; step: call, absorb (the protocol takes over the account), and where the path of an account ends: blocked, unprofitable or bad debt
-- note: MODEL: liquidators are there at once and choose by p_order; repayments, top-ups and interest on the way are left out
SELECT p.market, p.account, p.position, p.direction, p.number, p.step, p.x, p.trigger_price,
       c.symbol AS collateral, d.symbol AS debt, p.repaid_usd, p.seize_usd, p.units, p.bought_units,
       CASE WHEN p.left0 + p.left1 * p.x > 0e0 THEN p.left0 + p.left1 * p.x END AS left_usd, s.snapshot
FROM path_steps(p_factor := $p_factor, p_direction := $p_direction, p_market := $p_market, p_as_of := $p_as_of,
                p_betas := $p_betas, p_end := $p_end, p_order := $p_order, p_gas_usd := $p_gas_usd,
                p_min_profit_usd := $p_min_profit_usd, p_dust_usd := $p_dust_usd) AS p
JOIN snapshots_at(p_market := $p_market, p_as_of := $p_as_of) AS s ON s.market = p.market
LEFT JOIN reserves AS c ON c.snapshot = s.snapshot AND c.asset = p.collateral_asset
LEFT JOIN reserves AS d ON d.snapshot = s.snapshot AND d.asset = p.debt_asset
WHERE $p_account = '' OR p.account = lower($p_account)
ORDER BY abs(p.x - 1e0), p.market, p.account, p.position, p.number
LIMIT $p_limit
