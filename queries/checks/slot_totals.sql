-- name: slot_totals
-- title: Accounts whose slots are missing or do not add up to their collateral or debt
-- columns of: account_health market account position collateral_usd
-- column: slots_collateral_usd usd sum of its collateral slots; null without slots
-- columns of: account_health debt_usd
-- column: slots_debt_usd usd sum of its debt slots; null without slots
SELECT a.market, a.account, a.position, a.collateral_usd, s.collateral_usd AS slots_collateral_usd,
       a.debt_usd, s.debt_usd AS slots_debt_usd
FROM snapshots_at() AS n
JOIN account_health AS a ON a.snapshot = n.snapshot
LEFT JOIN (
  SELECT snapshot, account, position, in_usd,
         collateral1_worth + collateral2_worth + collateral3_worth + collateral4_worth AS collateral_usd,
         debt1_worth + debt2_worth AS debt_usd
  FROM account_slots
) AS s ON s.snapshot = a.snapshot AND s.account = a.account AND s.position = a.position
WHERE a.in_slots AND a.legs > 0
  AND (s.account IS NULL
       OR (s.in_usd AND (abs(s.collateral_usd - a.collateral_usd) > 1e-6 * (1e0 + a.collateral_usd)
                         OR abs(s.debt_usd - a.debt_usd) > 1e-6 * (1e0 + a.debt_usd))))
