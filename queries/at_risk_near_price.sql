-- name: at_risk_near_price
-- title: At risk near a price: shares of markets, collaterals, debts, loops and the largest account
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas), excluded_accounts
-- param: p_factor TEXT = 'BTC'  which factor falls
-- param: p_price DOUBLE = NULL  price in question; null: the price now
-- param: p_width DOUBLE = 0.02  half width of the band around that price, as a share of it
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- param: p_betas TEXT = ''  betas of other factors that move with it, e.g. 'eth=1.2'
-- column: part text all, market, account (the largest one), loops, collateral or debt: what the row is a part by
-- column: name text the market, or the symbol of the asset; empty for all and loops
-- column: accounts count accounts in it that trigger near the price
-- column: usd usd collateral that liquidators may take; of collateral and debt: balances at today's prices
-- column: units amount part of usd in the factor's own assets, in units of it; null for collateral and debt
-- column: part_share share usd over that of all; of collateral and debt: over all of that side; null where that is 0
-- show: part name accounts usd=USD units part_share=share
-- note: all, market, account, loops: collateral that liquidators may take, at the triggers; collateral, debt: balances at today's prices
-- note: loops: accounts of which at least half of the debt moves with the same factor as their collateral
WITH place AS (
  SELECT coalesce($p_price, max(factor_price)) AS price
  FROM factors_at(p_market := $p_market, p_as_of := $p_as_of)
  WHERE lower(factor) = lower($p_factor)
), step AS (
  SELECT f.market, f.account, f.position, f.seize_usd AS usd, coalesce(f.units, 0e0) AS units
  FROM forced_sales(p_factor := $p_factor, p_direction := 'down', p_market := $p_market,
                    p_as_of := $p_as_of, p_betas := $p_betas) AS f
  CROSS JOIN place AS p
  WHERE f.step IN ('trigger', 'rest')
    AND f.trigger_price BETWEEN p.price * (1e0 - $p_width) AND p.price * (1e0 + $p_width)
), member AS (
  SELECT market, account, position, sum(usd) AS usd, sum(units) AS units FROM step GROUP BY market, account, position
), leg AS (
  SELECT m.market, m.account, m.position, l.asset, l.side, l.usd, r.symbol, s.snapshot
  FROM member AS m
  JOIN snapshots_at(p_market := $p_market, p_as_of := $p_as_of) AS s ON s.market = m.market
  JOIN legs AS l ON l.snapshot = s.snapshot AND l.account = m.account AND l.position = m.position AND l.side <> 'idle'
  JOIN reserves AS r ON r.snapshot = s.snapshot AND r.asset = l.asset
), exposed AS (
  SELECT l.market, l.account, l.position, f.factor,
         sum(CASE WHEN l.side = 'debt' THEN 0e0 ELSE l.usd * f.beta END) AS held,
         sum(CASE WHEN l.side = 'debt' THEN l.usd * f.beta ELSE 0e0 END) AS owed
  FROM leg AS l JOIN factors AS f ON f.snapshot = l.snapshot AND f.asset = l.asset
  GROUP BY l.market, l.account, l.position, f.factor
), looped AS (
  SELECT e.market, e.account, e.position
  FROM (SELECT market, account, position, sum(least(held, owed)) AS both_usd FROM exposed
        GROUP BY market, account, position) AS e
  JOIN (SELECT market, account, position, sum(usd) AS debt_usd FROM leg WHERE side = 'debt'
        GROUP BY market, account, position) AS d ON d.market = e.market AND d.account = e.account AND d.position = e.position
  WHERE e.both_usd >= 0.5e0 * d.debt_usd
), total AS (
  SELECT count(*) AS accounts, coalesce(sum(usd), 0e0) AS usd, coalesce(sum(units), 0e0) AS units
  FROM member
), part AS (
  SELECT 1 AS place, 'all' AS part, '' AS name, accounts, usd, units, usd AS whole FROM total
  UNION ALL
  SELECT 2, 'market', m.market, count(*), sum(m.usd), sum(m.units), max(t.usd)
  FROM member AS m CROSS JOIN total AS t GROUP BY m.market
  UNION ALL
  SELECT 3, 'account', 'the largest one', 1, max(m.usd), max_by(m.units, m.usd), max(t.usd)
  FROM member AS m CROSS JOIN total AS t HAVING count(*) > 0
  UNION ALL
  SELECT 4, 'loops', '', count(l.account), coalesce(sum(CASE WHEN l.account IS NOT NULL THEN m.usd END), 0e0),
         coalesce(sum(CASE WHEN l.account IS NOT NULL THEN m.units END), 0e0), max(t.usd)
  FROM member AS m CROSS JOIN total AS t
  LEFT JOIN looped AS l ON l.market = m.market AND l.account = m.account AND l.position = m.position
  HAVING count(*) > 0
  UNION ALL
  SELECT CASE l.side WHEN 'debt' THEN 6 ELSE 5 END, l.side, l.symbol, count(DISTINCT l.market || l.account || l.position),
         sum(l.usd), NULL, max(w.usd)
  FROM leg AS l JOIN (SELECT side, sum(usd) AS usd FROM leg GROUP BY side) AS w ON w.side = l.side
  GROUP BY l.side, l.symbol
)
SELECT part, name, CAST(accounts AS BIGINT) AS accounts, usd, units, usd / nullif(whole, 0e0) AS part_share
FROM part ORDER BY place, usd DESC, name
