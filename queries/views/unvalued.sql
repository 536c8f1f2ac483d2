-- name: unvalued
-- title: Accounts whose balances have no value in USD, which no sum counts, by reason
-- needs: snapshots(p_as_of, p_market)
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- param: p_owing BOOLEAN = false  true: only accounts that may have debt (the others have no trigger)
-- column: market text market
-- column: missing text all: the accounts are in no sum
-- column: reason text why: no price in USD, or the status of the account
-- column: accounts count accounts left out for this reason
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
ORDER BY market, reason
