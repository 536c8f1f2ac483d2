-- name: provenance
-- title: Basis of reports: block, age, coverage and verification of each market
-- needs: snapshots(p_as_of, p_market)
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block up to this time; null: the newest
-- columns of: snapshots_at() market protocol provenance block_number block_time
-- column: age_seconds seconds age of that block
-- columns of: snapshots_at() accounts accounts_failed scope checked mismatched verified_at method profile revision endpoint snapshot
-- column: debt_coverage_share share part of the debt, as the contracts add it up, that the accounts owe; null where that is not known
-- column: lowest_coverage_symbol text symbol of the asset of which least was found; null where nothing is owed
-- column: lowest_debt_coverage share part of that asset's debt that the accounts owe
-- column: wall_checked count predicted verdicts compared at other prices, each price counted; null: no wall was proven
-- column: wall_mismatched count accounts that were not as predicted there, each price counted
-- column: wall_undecided count accounts asked for there whose verdict is not predicted, each price counted
-- column: wall_prices count prices at which the contracts were asked
-- column: wall_factors text factors that were moved
-- column: wall_status text ok, or why no wall or not every one could be proven; null: not tried
-- column: measured_assets count assets of which it was measured what moves their price; fixed ones are in neither
-- column: inferred_assets count assets of which it is inferred by getters, or not known
-- show: market protocol provenance block_number block_time age_seconds accounts accounts_failed checked mismatched
WITH newest AS (
  SELECT * FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of)
), owed AS (
  SELECT d.snapshot, max(r.symbol) AS symbol, d.asset, sum(d.total_usd) AS total_usd,
         least(sum(CAST(d.account_sum AS DOUBLE)) / nullif(sum(CAST(d.contract_total AS DOUBLE)), 0e0), 1e0) AS share
  FROM newest AS n
  JOIN debt_coverage AS d ON d.snapshot = n.snapshot
  LEFT JOIN reserves AS r ON r.snapshot = d.snapshot AND r.asset = d.asset
  GROUP BY d.snapshot, d.asset
), covered AS (
  -- Weighted by what is owed; without any price the asset of which least was found.
  SELECT snapshot,
         coalesce(sum(total_usd * share) / nullif(sum(CASE WHEN share IS NOT NULL THEN total_usd END), 0e0),
                  min(share)) AS debt_coverage_share,
         min_by(symbol, share) AS lowest_coverage_symbol, min(share) AS lowest_debt_coverage
  FROM owed GROUP BY snapshot
), proven AS (
  SELECT w.snapshot, sum(w.checked - w.undecided) AS wall_checked, sum(w.mismatched) AS wall_mismatched,
         sum(w.undecided) AS wall_undecided,
         count(w.x) AS wall_prices, string_agg(DISTINCT nullif(w.factor, ''), ', ' ORDER BY nullif(w.factor, '')) AS wall_factors,
         min(w.status) AS wall_status
  FROM (
    SELECT w.*, max(w.verified_at) OVER (PARTITION BY w.snapshot) AS newest_at
    FROM newest AS n JOIN wall_proofs AS w ON w.snapshot = n.snapshot
  ) AS w
  WHERE w.verified_at = w.newest_at
  GROUP BY w.snapshot
), assets AS (
  SELECT f.snapshot, f.asset, min(CASE WHEN f.evidence = 'measured' THEN 1 ELSE 0 END) AS measured
  FROM newest AS n JOIN factors AS f ON f.snapshot = n.snapshot
  WHERE f.kind <> 'fixed'
  GROUP BY f.snapshot, f.asset
), known AS (
  SELECT snapshot, sum(measured) AS measured_assets, sum(1 - measured) AS inferred_assets
  FROM assets GROUP BY snapshot
)
SELECT n.market, n.protocol, n.provenance, n.block_number, n.block_time,
       date_diff('second', n.block_time, now()) AS age_seconds,
       n.accounts, n.accounts_failed, n.scope,
       n.checked, n.mismatched, n.verified_at, n.method, n.profile, n.revision, n.endpoint, n.snapshot,
       d.debt_coverage_share, d.lowest_coverage_symbol, d.lowest_debt_coverage,
       CAST(p.wall_checked AS BIGINT) AS wall_checked, CAST(p.wall_mismatched AS BIGINT) AS wall_mismatched,
       CAST(p.wall_undecided AS BIGINT) AS wall_undecided,
       p.wall_prices, p.wall_factors, p.wall_status,
       CAST(k.measured_assets AS BIGINT) AS measured_assets, CAST(k.inferred_assets AS BIGINT) AS inferred_assets
FROM newest AS n
LEFT JOIN covered AS d ON d.snapshot = n.snapshot
LEFT JOIN proven AS p ON p.snapshot = n.snapshot
LEFT JOIN known AS k ON k.snapshot = n.snapshot
ORDER BY n.market
