-- name: alert_liquidatable_debt
-- title: Debt that may be liquidated now, as the contract says, and is not liquidated
-- param: p_share DOUBLE = 0.01  raised from this share of all debt of a market
-- param: p_usd DOUBLE = 5e6  or raised from so many USD
-- param: p_hold DOUBLE = 0.8  stays raised down to this share of both
-- column: subject text market
-- column: state text raise, or hold from p_hold of either limit on
-- column: message text one line for people: debt that may be liquidated now, of how many accounts
-- column: value usd debt that may be liquidated now
WITH market_debt AS (
  SELECT s.market, max(s.block_time) AS time, max(s.accounts_failed) AS failed,
         sum(a.debt_usd) AS debt_usd,
         sum(a.debt_usd) FILTER (a.class = 1) AS usd,
         count(*) FILTER (a.class = 1) AS accounts,
         count(*) FILTER (a.class = 1 AND a.debt_usd IS NULL) AS unpriced
  FROM snapshots_at() AS s JOIN classified_accounts() AS a ON a.snapshot = s.snapshot
  GROUP BY s.market
)
SELECT market AS subject,
       CASE WHEN usd >= $p_usd OR usd >= $p_share * debt_usd THEN 'raise' ELSE 'hold' END AS state,
       printf('%,.0f USD of debt of %d accounts on %s may be liquidated now, %.1f %% of all debt, as of %s', usd,
              accounts - unpriced, market, 100 * usd / debt_usd, strftime(time, '%Y-%m-%d %H:%MZ'))
         || CASE WHEN unpriced > 0 THEN printf('; %d more without a price in USD', unpriced) ELSE '' END
         || CASE WHEN failed > 0 THEN printf('; %d accounts are n/a', failed) ELSE '' END AS message,
       usd AS value
FROM market_debt WHERE usd > 0e0 AND (usd >= $p_usd * $p_hold OR usd >= $p_share * $p_hold * debt_usd)
