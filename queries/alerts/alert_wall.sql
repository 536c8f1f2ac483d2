-- name: alert_wall
-- title: A wall near the price: many USD liquidate now or within a small drop of BTC or ETH
-- param: p_within DOUBLE = 0.05  distance from the price, as a share of it
-- param: p_usd DOUBLE = 50e6  raised from so many USD of seizable collateral
-- param: p_hold DOUBLE = 0.8  stays raised down to this share of it
-- column: subject text factor: BTC or ETH
-- column: state text raise, or hold from p_hold of the limit on
-- column: message text one line for people: USD and accounts that liquidate near the price, and how much of it now
-- column: value usd collateral that liquidators may take now and within p_within below the price
WITH wall AS (
  SELECT 'BTC' AS factor, direction, round_seizable_usd, accounts
  FROM walls(p_factor := 'BTC', p_range := $p_within, p_step_pct := $p_within) WHERE direction IN ('now', 'down')
  UNION ALL
  SELECT 'ETH', direction, round_seizable_usd, accounts
  FROM walls(p_factor := 'ETH', p_range := $p_within, p_step_pct := $p_within) WHERE direction IN ('now', 'down')
), summed AS (
  SELECT factor, sum(round_seizable_usd) AS usd, sum(accounts) AS accounts,
         sum(round_seizable_usd) FILTER (direction = 'now') AS now_usd
  FROM wall GROUP BY factor
)
SELECT factor AS subject, CASE WHEN usd >= $p_usd THEN 'raise' ELSE 'hold' END AS state,
       printf('%,.0f USD of %d accounts liquidate within %.1f %% below the price of %s, %,.0f USD of that now',
              usd, CAST(accounts AS BIGINT), 100 * $p_within, factor, coalesce(now_usd, 0e0)) AS message, usd AS value
FROM summed WHERE usd >= $p_usd * $p_hold
