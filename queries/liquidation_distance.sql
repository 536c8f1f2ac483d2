-- name: liquidation_distance
-- title: MODEL: how many daily moves each account's margin is away from liquidation, all factors moving together
-- param: p_days DOUBLE = 30  horizon of the probability-like figure, in days
-- param: p_window BIGINT = 90  days of closes that the covariance is of
-- param: p_market TEXT = 'all'  one market, or all
-- param: p_min_debt_usd DOUBLE = 0  leave out accounts with less debt
-- param: p_limit BIGINT = 50  rows at the most
-- param: p_as_of TIMESTAMPTZ = NULL  newest block and closes not later than this; null: newest of all
-- show: market account distance hit_share=within_horizon hf margin_usd=margin_USD
-- show: daily_move_usd=daily_move_USD debt_usd=debt_USD unmodelled_share=not_modelled days=closes
-- note: MODEL: margin = collateral × threshold - debt; daily move: its standard deviation from the covariance of daily log returns of BTC and ETH; distance = margin / daily move
-- note: within horizon: 2Φ(-distance / √days), a diffusion without drift that is reflected: for ranking, not a forecast; jumps, interest and rescues are left out
-- note: not modelled: share of collateral and debt that moves with factors without stored closes (stablecoins, staking ratios); they are taken to stand still
WITH daily AS (
  SELECT asset, time, close FROM candles_at(p_asset := 'BTC', p_interval := '1d')
  UNION ALL
  SELECT asset, time, close FROM candles_at(p_asset := 'ETH', p_interval := '1d')
), recent AS (
  SELECT asset, time, close FROM daily
  WHERE close > 0e0 AND ($p_as_of IS NULL OR time + INTERVAL 1 DAY <= $p_as_of)
  QUALIFY row_number() OVER (PARTITION BY asset ORDER BY time DESC) <= $p_window + 1
), move AS (
  SELECT asset, time, ln(close / lag(close) OVER (PARTITION BY asset ORDER BY time)) AS r FROM recent
), covariance AS (
  SELECT a.asset AS one, b.asset AS other, covar_samp(a.r, b.r) AS s, count(*) AS days
  FROM move AS a JOIN move AS b ON b.time = a.time
  WHERE a.r IS NOT NULL AND b.r IS NOT NULL
  GROUP BY a.asset, b.asset HAVING count(*) >= 2
), chosen AS (
  SELECT snapshot, market FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of)
), leg AS (
  SELECT c.market, l.snapshot, l.account, l.asset, l.side, l.usd, l.category_priced,
         CASE WHEN l.side = 'debt' THEN -l.usd ELSE l.usd * l.lt_bps / 10000e0 END AS weight
  FROM chosen AS c JOIN legs AS l ON l.snapshot = c.snapshot AND l.side <> 'idle'
), margin AS (
  SELECT market, account, sum(weight) AS margin_usd,
         sum(CASE WHEN side = 'debt' THEN usd ELSE 0e0 END) AS debt_usd, sum(usd) AS all_usd,
         max(CASE WHEN usd IS NULL THEN 1 ELSE 0 END) AS unpriced
  FROM leg GROUP BY market, account
), exposed AS (
  SELECT l.market, l.account, f.factor, sum(l.weight * f.beta) AS exposure_usd,
         sum(l.usd * abs(f.beta)) AS moving_usd
  FROM leg AS l JOIN factors AS f ON f.snapshot = l.snapshot AND f.asset = l.asset
  WHERE NOT coalesce(l.category_priced, false)
  GROUP BY l.market, l.account, f.factor
), spread AS (
  SELECT a.market, a.account, sum(a.exposure_usd * b.exposure_usd * v.s) AS variance,
         min(v.days) AS days
  FROM exposed AS a
  JOIN covariance AS v ON v.one = a.factor
  JOIN exposed AS b ON b.market = a.market AND b.account = a.account AND b.factor = v.other
  GROUP BY a.market, a.account
), unknown AS (
  SELECT e.market, e.account, sum(e.moving_usd) AS usd
  FROM exposed AS e LEFT JOIN (SELECT DISTINCT one FROM covariance) AS v ON v.one = e.factor
  WHERE v.one IS NULL GROUP BY e.market, e.account
), ranked AS (
  SELECT m.market, m.account, m.margin_usd, m.debt_usd,
         (m.margin_usd + m.debt_usd) / m.debt_usd AS hf,
         sqrt(greatest(s.variance, 0e0)) AS daily_move_usd, s.days,
         m.margin_usd / nullif(sqrt(greatest(s.variance, 0e0)), 0e0) AS distance,
         least(coalesce(u.usd, 0e0) / nullif(m.all_usd, 0e0), 1e0) AS unmodelled_share
  FROM margin AS m
  JOIN spread AS s ON s.market = m.market AND s.account = m.account
  LEFT JOIN unknown AS u ON u.market = m.market AND u.account = m.account
  WHERE m.debt_usd > 0e0 AND m.unpriced = 0 AND m.debt_usd >= $p_min_debt_usd
), scored AS (
  SELECT *, greatest(distance, 0e0) / sqrt($p_days) AS z,
         1e0 / (1e0 + 0.3275911e0 * greatest(distance, 0e0) / sqrt(2e0 * $p_days)) AS t
  FROM ranked WHERE distance IS NOT NULL
)
-- 2Φ(-z) = erfc(z / √2), by Abramowitz and Stegun 7.1.26 (error below 1.5e-7).
SELECT market, account, distance,
       t * (0.254829592e0 + t * (-0.284496736e0 + t * (1.421413741e0 + t * (-1.453152027e0
         + t * 1.061405429e0)))) * exp(-z * z / 2e0) AS hit_share,
       hf, margin_usd, daily_move_usd, debt_usd, unmodelled_share, days
FROM scored
ORDER BY distance, debt_usd DESC, account
LIMIT $p_limit
