-- name: unvalued
-- title: Accounts that no sum counts, by reason: without a value in USD, or not found at all
-- needs: snapshots(p_as_of, p_market)
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- param: p_owing BOOLEAN = false  true: only accounts that may have debt (the others have no trigger)
-- column: market text market
-- column: missing text all: the accounts are in no sum
-- column: reason text why: no price in USD, the status of the account, or accounts not found (their debt is in the contract's own sum)
-- column: accounts count accounts left out for this reason; null: how many is not known
-- column: debt_usd usd their debt as far as it has a value; null where none of it has
SELECT market, 'all' AS missing, reason, count(*) AS accounts, sum(debt_usd) AS debt_usd
FROM (
  SELECT s.market, a.debt_usd,
         CASE WHEN a.status IN ('ok', 'no debt') THEN 'no price in USD' ELSE a.status END AS reason
  FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of) AS s
  JOIN account_health AS a ON a.snapshot = s.snapshot
  WHERE a.status NOT IN ('ok', 'no debt')
     OR (a.status = 'ok' AND (a.collateral_usd IS NULL OR a.debt_usd IS NULL))
     OR (a.status = 'no debt' AND a.collateral_usd IS NULL AND NOT $p_owing)
) AS account
GROUP BY market, reason
UNION ALL
-- Rounding leaves less than a thousandth.
SELECT market, 'all', 'accounts not found', NULL, sum(total_usd * (1e0 - share))
FROM (
  SELECT s.market, d.total_usd,
         sum(CAST(d.account_sum AS DOUBLE)) OVER whole / nullif(sum(CAST(d.contract_total AS DOUBLE)) OVER whole, 0e0)
           AS share,
         sum(CAST(d.contract_total AS DOUBLE) - CAST(d.account_sum AS DOUBLE)) OVER whole AS missing_raw
  FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of) AS s
  JOIN debt_coverage AS d ON d.snapshot = s.snapshot
  WINDOW whole AS (PARTITION BY d.snapshot, d.asset)
) AS owed
WHERE share < 0.999e0 AND missing_raw > 1000e0
GROUP BY market
ORDER BY market, reason
