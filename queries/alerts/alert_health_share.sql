-- name: alert_health_share
-- title: Much debt near liquidation: the share that is not liquidatable and has a health factor below 1.05
-- param: p_share DOUBLE = 0.1  raised from this share of all debt
-- param: p_hold DOUBLE = 0.8  and held until it is below this share of that
WITH near AS (
  SELECT s.market, sum(a.debt_usd) FILTER (a.class IN (2, 3)) / nullif(sum(a.debt_usd), 0e0) AS part
  FROM snapshots_at() AS s JOIN classified_accounts() AS a ON a.snapshot = s.snapshot
  GROUP BY s.market
)
SELECT market AS subject, CASE WHEN part >= $p_share THEN 'raise' ELSE 'hold' END AS state,
       printf('%.1f %% of all debt on %s is within 5 %% of liquidation', 100 * part, market) AS message,
       part AS value
FROM near WHERE part >= $p_share * $p_hold
