-- name: excluded_accounts
-- title: Accounts that the sums of a wall leave out, by reason
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas), excluded_accounts
-- param: p_factor TEXT = 'BTC'  which factor moves, or MARKET
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_betas TEXT = ''  betas of other factors that move with it, see moves: 'eth=1.3,xau=0.2'
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- columns of: unvalued() market
-- column: missing text all: the accounts are in no sum; part: in some sums only
-- column: reason text why: no value in USD, no price of the factor, prices that are not linear there, or what blocks liquidations now
-- columns of: unvalued() accounts debt_usd
-- note: missing: all = in no sum; part = only the first liquidation counts (full close …), or liquidatable now while the contracts let nobody liquidate all of it (blocked …)
WITH priced AS (
  -- Without a price of the factor a wall has no bins.
  SELECT max(price) > 0e0 AS has_price
  FROM axes(p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of)
  WHERE market = 'all'
), classed AS (
  SELECT t.market, t.debt_usd,
         CASE WHEN t.direction = 'n/a' THEN 'price not linear in the factor'
              WHEN t.direction IN ('now', 'down', 'up') AND NOT coalesce(p.has_price, false)
                THEN 'no price of the factor'
              WHEN t.direction = 'outside' THEN 'trigger where prices are not linear'
              WHEN t.direction = 'now' AND t.blocked_reason <> '' THEN 'blocked: ' || t.blocked_reason
              WHEN t.direction = 'now' AND t.pair_blocked THEN 'blocked: largest collateral or debt'
              WHEN t.full_outside AND t.full_close_below_hf IS NOT NULL
                THEN 'full close where prices are not linear' END AS reason
  FROM triggers(p_factor := $p_factor, p_betas := $p_betas, p_market := $p_market, p_as_of := $p_as_of) AS t
  CROSS JOIN priced AS p
  -- Accounts whose balances have no value are listed by unvalued().
  LEFT JOIN account_health AS a
    ON a.snapshot = t.snapshot AND a.account = t.account AND a.position = t.position AND t.direction = 'n/a'
  WHERE (t.direction <> 'n/a' AND t.in_usd) OR (a.status = 'ok' AND a.collateral_usd IS NOT NULL AND a.debt_usd IS NOT NULL)
), unplaced AS (
  SELECT market, debt_usd, reason,
         CASE WHEN reason LIKE 'blocked: %' OR reason = 'full close where prices are not linear'
              THEN 'part' ELSE 'all' END AS missing
  FROM classed WHERE reason IS NOT NULL
)
SELECT market, missing, reason, accounts, debt_usd
FROM unvalued(p_market := $p_market, p_as_of := $p_as_of, p_owing := true)
UNION ALL
SELECT market, missing, reason, count(*) AS accounts, sum(debt_usd) AS debt_usd
FROM unplaced
GROUP BY market, missing, reason
ORDER BY market, missing, reason
