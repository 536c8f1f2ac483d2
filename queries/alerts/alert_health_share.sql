-- name: alert_health_share
-- title: Large share of debt with a health factor below 1.05
-- param: p_share DOUBLE = 0.1  raised from this share of all debt
-- param: p_hold DOUBLE = 0.8  stays raised down to this share of it
-- column: subject text market
-- column: state text raise, or hold from p_hold of the share on
-- column: message text one line for people: share of debt near liquidation or past it, and the block's time
-- column: value share share of all debt that is near liquidation or past it
WITH near AS (
  SELECT s.market, max(s.block_time) AS time, max(s.accounts_failed) AS failed,
         sum(a.debt_usd) FILTER (a.class IN (1, 2, 3)) / nullif(sum(a.debt_usd), 0e0) AS part
  FROM snapshots_at() AS s JOIN classified_accounts() AS a ON a.snapshot = s.snapshot
  GROUP BY s.market
)
SELECT market AS subject, CASE WHEN part >= $p_share THEN 'raise' ELSE 'hold' END AS state,
       printf('%.1f %% of all debt on %s is within 5 %% of liquidation or past it, as of %s', 100 * part, market,
              strftime(time, '%Y-%m-%d %H:%MZ'))
         || CASE WHEN failed > 0 THEN printf('; %d accounts are n/a', failed) ELSE '' END AS message,
       part AS value
FROM near WHERE part >= $p_share * $p_hold
