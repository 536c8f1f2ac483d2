-- name: liquidation_distance
-- title: MODEL: distance of accounts from liquidation in daily moves, all factors moving together
-- needs: snapshots(p_as_of, p_market), excluded_accounts, closes(p_as_of, p_window)
-- param: p_days DOUBLE = 30  horizon of the probability-like figure, in days
-- param: p_window BIGINT = 90  days of closes that the covariance is of
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_min_debt_usd DOUBLE = 0  ignore accounts with less debt, USD
-- param: p_limit BIGINT = 50  most rows returned
-- param: p_as_of TIMESTAMPTZ = NULL  newest block and closes up to this time; null: the newest
-- column: market text market
-- column: account address account address
-- columns of: legs position
-- column: distance multiple MODEL: margin over the daily move; null where the account is not ranked
-- column: hit_share share MODEL: share of paths that reach liquidation within p_days, for ranking; null as distance is
-- column: hf hf collateral times thresholds over debt, at the oracle's prices; null without a price
-- column: margin_usd usd collateral times thresholds less debt; null without a price
-- column: daily_move_usd usd MODEL: standard deviation of a day's change of the margin; null without closes
-- column: debt_usd usd debt; null where part of it has no price
-- column: unmodelled_share share part of collateral and debt that moves with factors without closes; null without balances
-- column: days days returns that the covariance is of, the fewest of its factors; null without closes
-- column: provenance text where the closes come from; null without closes
-- column: all_accounts count accounts with debt, the same in each row
-- column: not_ranked_accounts count accounts with debt that have no distance, the same in each row
-- column: not_ranked_debt_usd usd debt of the accounts without a distance as far as it has a value, the same in each row
-- show: market account position distance hit_share=within_horizon hf margin_usd=margin_USD
-- show: daily_move_usd=daily_move_USD debt_usd=debt_USD unmodelled_share=not_modelled days=closes
-- note: MODEL: margin = collateral × threshold - debt; daily move: its standard deviation from the covariance of daily log returns of BTC and ETH, of adjoining days only; distance = margin / daily move
-- note: within horizon: 2Φ(-distance / √days), the reflection principle without drift: for ranking, not a forecast; jumps, interest and new collateral are left out
-- note: not modelled: share of collateral and debt that moves with factors without stored closes (stablecoins, staking ratios), which are assumed to be constant
-- note: {not_ranked_accounts} of {all_accounts} accounts with debt, {not_ranked_debt_usd} USD of it, are not ranked (distance n/a, listed last): no closes of their factors, or no price
WITH move AS (
  SELECT asset, time, r, provenance FROM daily_moves(p_window := $p_window, p_as_of := $p_as_of)
), covariance AS (
  SELECT a.asset AS one, b.asset AS other, covar_samp(a.r, b.r) AS s, count(*) AS days,
         max(a.provenance) AS provenance
  FROM move AS a JOIN move AS b ON b.time = a.time
  WHERE a.r IS NOT NULL AND b.r IS NOT NULL
  GROUP BY a.asset, b.asset HAVING count(*) >= 2
), newest AS (
  SELECT snapshot, market FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of)
), leg AS (
  SELECT c.market, l.snapshot, l.account, l.position, l.asset, l.side, l.usd, l.category_priced,
         CASE WHEN l.side = 'debt' THEN -l.usd ELSE l.usd * l.lt_bps / 10000e0 END AS weight
  FROM newest AS c JOIN legs AS l ON l.snapshot = c.snapshot AND l.side <> 'idle'
), margin AS (
  SELECT market, account, position, sum(weight) AS margin_usd,
         sum(CASE WHEN side = 'debt' THEN usd ELSE 0e0 END) AS debt_usd, sum(usd) AS all_usd,
         max(CASE WHEN usd IS NULL THEN 1 ELSE 0 END) AS unpriced,
         max(CASE WHEN side = 'debt' AND usd IS NULL THEN 1 ELSE 0 END) AS debt_unpriced
  FROM leg GROUP BY market, account, position
), exposed AS (
  SELECT l.market, l.account, l.position, upper(f.factor) AS factor, sum(l.weight * f.beta) AS exposure_usd,
         sum(l.usd * abs(f.beta)) AS moving_usd
  FROM leg AS l JOIN factors AS f ON f.snapshot = l.snapshot AND f.asset = l.asset
  WHERE NOT coalesce(l.category_priced, false)
  GROUP BY l.market, l.account, l.position, upper(f.factor)
), spread AS (
  SELECT a.market, a.account, a.position, sum(a.exposure_usd * b.exposure_usd * v.s) AS variance,
         min(v.days) AS days, max(v.provenance) AS provenance
  FROM exposed AS a
  JOIN covariance AS v ON v.one = a.factor
  JOIN exposed AS b ON b.market = a.market AND b.account = a.account AND b.position = a.position AND b.factor = v.other
  GROUP BY a.market, a.account, a.position
), unknown AS (
  SELECT e.market, e.account, e.position, sum(e.moving_usd) AS usd
  FROM exposed AS e LEFT JOIN (SELECT DISTINCT one FROM covariance) AS v ON v.one = e.factor
  WHERE v.one IS NULL GROUP BY e.market, e.account, e.position
), ranked AS (
  SELECT m.market, m.account, m.position, CASE WHEN m.unpriced = 0 THEN m.margin_usd END AS margin_usd,
         CASE WHEN m.debt_unpriced = 0 THEN m.debt_usd END AS debt_usd,
         CASE WHEN m.unpriced = 0 THEN (m.margin_usd + m.debt_usd) / m.debt_usd END AS hf,
         sqrt(CASE WHEN s.variance < 0e0 THEN 0e0 ELSE s.variance END) AS daily_move_usd, s.days,
         CASE WHEN s.variance > 0e0 THEN m.margin_usd / sqrt(s.variance) END AS distance,
         least(coalesce(u.usd, 0e0) / nullif(m.all_usd, 0e0), 1e0) AS unmodelled_share,
         s.provenance
  FROM margin AS m
  LEFT JOIN spread AS s ON s.market = m.market AND s.account = m.account AND s.position = m.position AND m.unpriced = 0
  LEFT JOIN unknown AS u ON u.market = m.market AND u.account = m.account AND u.position = m.position
  WHERE m.debt_unpriced = 1 OR (m.debt_usd > 0e0 AND m.debt_usd >= $p_min_debt_usd)
), scored AS (
  SELECT *, ahead / sqrt($p_days) AS z,
         1e0 / (1e0 + 0.3275911e0 * ahead / sqrt(2e0 * $p_days)) AS t,
         count(*) OVER () AS all_accounts, count(*) OVER () - count(distance) OVER () AS not_ranked_accounts,
         coalesce(sum(CASE WHEN distance IS NULL THEN debt_usd END) OVER (), 0e0) AS not_ranked_debt_usd
  FROM (SELECT *, CASE WHEN distance < 0e0 THEN 0e0 ELSE distance END AS ahead FROM ranked) AS r
)
-- 2Φ(-z) = erfc(z / √2), by Abramowitz and Stegun 7.1.26 (error below 1.5e-7).
SELECT market, account, position, distance,
       t * (0.254829592e0 + t * (-0.284496736e0 + t * (1.421413741e0 + t * (-1.453152027e0
         + t * 1.061405429e0)))) * exp(-z * z / 2e0) AS hit_share,
       hf, margin_usd, daily_move_usd, debt_usd, unmodelled_share, days, provenance,
       all_accounts, not_ranked_accounts, not_ranked_debt_usd
FROM scored
ORDER BY distance NULLS LAST, hf NULLS LAST, debt_usd DESC, market, account, position
LIMIT $p_limit
