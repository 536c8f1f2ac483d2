-- name: account_totals
-- title: Accounts whose balances do not add up to their collateral or debt, in exact integers
-- columns of: account_health market account position collateral_base
-- column: collateral raw sum of its collateral balances in base units; null without any
-- columns of: account_health debt_base
-- column: debt raw sum of its debts in base units; null without any
WITH summed AS (
  SELECT snapshot, account, position,
         sum(CASE WHEN side = 'collateral' THEN value END) AS collateral,
         sum(CASE WHEN side = 'debt' THEN value END) AS debt
  FROM legs WHERE value_text IS NULL GROUP BY snapshot, account, position
)
SELECT a.market, a.account, a.position, a.collateral_base, s.collateral, a.debt_base, s.debt
FROM snapshots_at() AS n
JOIN account_health AS a ON a.snapshot = n.snapshot
LEFT JOIN summed AS s ON s.snapshot = a.snapshot AND s.account = a.account AND s.position = a.position
WHERE a.status IN ('ok', 'no debt') AND a.collateral_base_text IS NULL AND a.debt_base_text IS NULL
  AND (a.collateral_base <> coalesce(s.collateral, 0) OR a.debt_base <> coalesce(s.debt, 0))
