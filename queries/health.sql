-- name: health
-- title: Health-factor distribution: accounts, collateral and debt per bucket
-- needs: snapshots(p_as_of, p_market), excluded_accounts
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- column: bucket text range of the health factor; no debt and n/a are ranges of their own
-- column: hf_from hf lower end of the range, inclusive; null for no debt and n/a
-- column: hf_to hf upper end of the range, exclusive; null for the last range, no debt and n/a
-- column: accounts count accounts in the range
-- column: collateral_usd usd their collateral; null for n/a and where none of it has a value
-- column: debt_usd usd their debt; null for n/a and where none of it has a value
-- column: debt_share share their part of all debt; null for n/a and where that is 0
-- column: within_5pct_share share part of all debt that is within 5 % of liquidation, the same in each row
-- column: unpriced_accounts count accounts with a status whose collateral has no value in USD, the same in each row
-- show: bucket accounts collateral_usd debt_usd debt_share
-- bar: debt_usd
-- note: {within_5pct_share} of all debt is within 5 % of liquidation (not liquidatable, health factor < 1.05)
-- note: the contract's verdict comes first: < 1 holds liquidatable accounts; 1 – 1.02 also those that are not liquidatable with a health factor below 1
-- portable: yes
WITH bucket AS (
  SELECT * FROM (VALUES
    (1, '< 1', -1e0, 1e0), (2, '1 – 1.02', 1e0, 1.02e0), (3, '1.02 – 1.05', 1.02e0, 1.05e0),
    (4, '1.05 – 1.1', 1.05e0, 1.1e0), (5, '1.1 – 1.25', 1.1e0, 1.25e0),
    (6, '1.25 – 1.5', 1.25e0, 1.5e0), (7, '1.5 – 2', 1.5e0, 2e0), (8, '2 – 3', 2e0, 3e0),
    (9, '≥ 3', 3e0, 1e300), (10, 'no debt', NULL, NULL), (11, 'n/a', NULL, NULL)
  ) AS b(place, bucket, hf_from, hf_to)
), account AS (
  SELECT a.collateral_usd,
         CASE WHEN a.status = 'no debt' THEN coalesce(a.debt_usd, 0e0) ELSE a.debt_usd END AS debt_usd,
         a.class AS place
  FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of) AS s
  JOIN classified_accounts() AS a ON a.snapshot = s.snapshot
), total AS (
  SELECT sum(debt_usd) AS debt_usd,
         sum(CASE WHEN place IN (2, 3) THEN debt_usd ELSE 0e0 END) AS near_usd,
         count(CASE WHEN place < 11 AND collateral_usd IS NULL THEN 1 END) AS unpriced
  FROM account
), summed AS (
  SELECT place, count(*) AS accounts, sum(collateral_usd) AS collateral_usd,
         sum(debt_usd) AS debt_usd
  FROM account GROUP BY place
), listed AS (
  -- A group without accounts holds 0; the balances of a group with accounts may be unknown.
  SELECT b.place, b.bucket, b.hf_from, b.hf_to, coalesce(s.accounts, 0) AS accounts,
         CASE WHEN s.accounts IS NULL THEN 0e0 ELSE s.collateral_usd END AS collateral_usd,
         CASE WHEN s.accounts IS NULL THEN 0e0 ELSE s.debt_usd END AS debt_usd
  FROM bucket AS b
  LEFT JOIN summed AS s ON s.place = b.place
)
SELECT b.bucket, b.hf_from, CASE WHEN b.hf_to < 1e300 THEN b.hf_to END AS hf_to,
       b.accounts,
       CASE WHEN b.place < 11 THEN b.collateral_usd END AS collateral_usd,
       CASE WHEN b.place < 11 THEN b.debt_usd END AS debt_usd,
       CASE WHEN b.place < 11 THEN b.debt_usd / nullif(t.debt_usd, 0e0) END AS debt_share,
       t.near_usd / nullif(t.debt_usd, 0e0) AS within_5pct_share,
       t.unpriced AS unpriced_accounts
FROM listed AS b
CROSS JOIN total AS t
WHERE b.place < 11 OR b.accounts > 0
ORDER BY b.place
