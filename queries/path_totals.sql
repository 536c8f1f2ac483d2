-- name: path_totals
-- title: What a move of one factor liquidates: the path of all calls beside the other measures
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas), excluded_accounts
-- param: p_factor TEXT = 'BTC'  which factor moves
-- param: p_direction TEXT = 'down'  down or up; accounts that are liquidatable now are always included
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- param: p_betas TEXT = ''  betas of other factors that move with it, see moves: 'eth=1.2'
-- param: p_moves TEXT = '0,0.02,0.05,0.1,0.2,0.3,0.5'  moves of the factor in that direction, as shares of its price now
-- param: p_order TEXT = 'profit'  the pair of assets that a call takes: profit or largest, see path_steps
-- param: p_gas_usd DOUBLE = 1  MODEL: cost of a call of a liquidator
-- param: p_min_profit_usd DOUBLE = 0  MODEL: what a call has to earn above its cost
-- param: p_dust_usd DOUBLE = 1  MODEL: no call repays less
-- column: move_share share move of the factor from its price now
-- column: price price the factor's value there
-- column: accounts count accounts that liquidators call, or a protocol absorbs, on the way
-- column: calls count calls on them
-- column: repaid_usd usd debt that the calls repay
-- column: path_seizable_usd usd collateral that they take, each at its price
-- column: units amount units of the factor in it; null for MARKET
-- column: bought_units amount units of the factor in what is repaid; null for MARKET
-- column: round_seizable_usd usd collateral of one round of calls: at each account's trigger and at its full close factor
-- column: collateral_at_risk_usd usd all collateral of the accounts whose trigger is passed, at their trigger
-- column: unprofitable_usd usd debt there that no call is worth making for
-- column: blocked_usd usd debt there of accounts that the contracts let nobody liquidate
-- column: bad_debt_usd usd debt there that no collateral is left for
-- column: factor_price price the factor's value now: the highest of the markets'
-- show: move_share=move price accounts calls repaid_usd=repaid_USD path_seizable_usd=path_USD round_seizable_usd=one_round_USD
-- show: collateral_at_risk_usd=at_risk_USD units unprofitable_usd=unprofitable_USD blocked_usd=blocked_USD bad_debt_usd=bad_debt_USD
-- note: path: each account is called as often as its health factor falls below 1 on the way; one round: once at its trigger and once at its full close factor; at risk: all of its collateral
-- note: unprofitable, blocked, bad debt: debt that stays where the path of an account has ended, at that price
-- note: MODEL: liquidators are there at once and choose by p_order; repayments, top-ups and interest on the way are left out
WITH path AS (
  SELECT * FROM path_steps(p_factor := $p_factor, p_direction := $p_direction, p_market := $p_market, p_as_of := $p_as_of,
                           p_betas := $p_betas, p_order := $p_order, p_gas_usd := $p_gas_usd,
                           p_min_profit_usd := $p_min_profit_usd, p_dust_usd := $p_dust_usd)
), sale AS (
  SELECT x, seize_usd, risk_usd
  FROM forced_sales(p_factor := $p_factor, p_direction := $p_direction, p_market := $p_market, p_as_of := $p_as_of,
                    p_betas := $p_betas)
), move AS (
  SELECT DISTINCT CASE WHEN $p_direction = 'up' THEN 1e0 + share ELSE 1e0 - share END AS x
  FROM (SELECT CAST(trim(value) AS DOUBLE) AS share FROM (SELECT unnest(string_split($p_moves, ',')) AS value) AS given)
    AS moved
), called AS (
  SELECT m.x, count(DISTINCT concat_ws(' ', p.market, p.account, p.position)) AS accounts, count(*) AS calls,
         sum(p.repaid_usd) AS repaid_usd, sum(p.seize_usd) AS seize_usd, sum(p.units) AS units, sum(p.bought_units) AS bought_units
  FROM move AS m JOIN path AS p ON CASE WHEN $p_direction = 'up' THEN p.x <= m.x ELSE p.x >= m.x END
  WHERE p.step IN ('call', 'absorb')
  GROUP BY m.x
), ended AS (
  SELECT m.x,
         sum(CASE WHEN p.step = 'unprofitable' THEN p.left0 + p.left1 * m.x END) AS unprofitable_usd,
         sum(CASE WHEN p.step = 'blocked' THEN p.left0 + p.left1 * m.x END) AS blocked_usd,
         sum(CASE WHEN p.step IN ('absorb', 'bad debt') THEN p.left0 + p.left1 * m.x END) AS bad_debt_usd
  FROM move AS m JOIN path AS p ON CASE WHEN $p_direction = 'up' THEN p.x <= m.x ELSE p.x >= m.x END
  GROUP BY m.x
), once AS (
  SELECT m.x, sum(s.seize_usd) AS seize_usd, sum(s.risk_usd) AS risk_usd
  FROM move AS m JOIN sale AS s ON CASE WHEN $p_direction = 'up' THEN s.x <= m.x ELSE s.x >= m.x END
  GROUP BY m.x
), spot AS (
  SELECT price FROM axes(p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of) WHERE market = 'all'
)
SELECT m.x - 1e0 AS move_share, m.x * s.price AS price, coalesce(c.accounts, 0) AS accounts, coalesce(c.calls, 0) AS calls,
       coalesce(c.repaid_usd, 0e0) AS repaid_usd, coalesce(c.seize_usd, 0e0) AS path_seizable_usd,
       CASE WHEN lower($p_factor) <> 'market' THEN coalesce(c.units, 0e0) END AS units,
       CASE WHEN lower($p_factor) <> 'market' THEN coalesce(c.bought_units, 0e0) END AS bought_units,
       coalesce(o.seize_usd, 0e0) AS round_seizable_usd, coalesce(o.risk_usd, 0e0) AS collateral_at_risk_usd,
       coalesce(e.unprofitable_usd, 0e0) AS unprofitable_usd, coalesce(e.blocked_usd, 0e0) AS blocked_usd,
       coalesce(e.bad_debt_usd, 0e0) AS bad_debt_usd, s.price AS factor_price
FROM move AS m CROSS JOIN spot AS s
LEFT JOIN called AS c ON c.x = m.x
LEFT JOIN ended AS e ON e.x = m.x
LEFT JOIN once AS o ON o.x = m.x
ORDER BY abs(m.x - 1e0)
