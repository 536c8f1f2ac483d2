-- name: landing_by_round
-- title: Landing prices of outside drops, round by round, with the order book re-centred at the outside price
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas), excluded_accounts
-- param: p_factor TEXT = 'BTC'  which factor falls
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block and order books up to this time; null: the newest
-- param: p_max_age DOUBLE = NULL  ignore order books older than so many seconds
-- param: p_scale DOUBLE = 1  multiple of the measured depth
-- param: p_sigma DOUBLE = 0.03  MODEL: daily volatility in the square-root law beyond the books
-- param: p_y DOUBLE = 1  MODEL: factor of the square-root law
-- param: p_adv DOUBLE = NULL  units traded per day; null: as the venues state it
-- param: p_sold_share DOUBLE = 1  share of the seized collateral that is sold at once
-- param: p_order TEXT = 'profit'  the pair of assets that a call takes: profit or largest, see path_steps
-- param: p_gas_usd DOUBLE = 1  MODEL: cost of a call of a liquidator
-- param: p_min_profit_usd DOUBLE = 0  MODEL: what a call has to earn above its cost
-- param: p_dust_usd DOUBLE = 1  MODEL: no call repays less
-- param: p_betas TEXT = ''  betas of other factors that move with it, e.g. 'eth=1.2'
-- column: outside_x multiple outside price over the price now
-- column: rounds count repetitions until no further account triggers
-- column: landing_x multiple landing price over the price now
-- column: amplification multiple total drop over outside drop; null without a drop
-- column: sold_units amount units of the factor sold, less those bought back to repay debt in its own assets
-- note: prices on a grid of 0.1 %, rounded down: at most 0.1 % per round below the fixed point of break_levels
-- note: rounds: repetitions until no further account triggers
WITH RECURSIVE wall AS (
  SELECT CAST(floor(f.x * 1000 + 1e-9) AS INT) AS g,
         sum(CASE WHEN f.absorbs THEN 0e0
                  ELSE coalesce(f.units, 0e0) * $p_sold_share - coalesce(f.bought_units, 0e0) END) AS units
  FROM path_steps(p_factor := $p_factor, p_direction := 'down', p_market := $p_market, p_as_of := $p_as_of,
                  p_betas := $p_betas, p_order := $p_order, p_gas_usd := $p_gas_usd,
                  p_min_profit_usd := $p_min_profit_usd, p_dust_usd := $p_dust_usd) AS f
  WHERE f.step IN ('call', 'absorb')
  GROUP BY CAST(floor(f.x * 1000 + 1e-9) AS INT)
), segment AS (
  SELECT * FROM book_segments(p_factor := $p_factor, p_as_of := $p_as_of, p_max_age := $p_max_age,
                     p_sigma := $p_sigma, p_y := $p_y, p_adv := $p_adv)
), sold AS (
  SELECT r.g, sum(coalesce(w.units, 0e0)) OVER (ORDER BY r.g DESC
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) / $p_scale AS units
  FROM (SELECT CAST(unnest(range(0, 1001)) AS INT) AS g) AS r LEFT JOIN wall AS w ON w.g = r.g
), step AS MATERIALIZED (  -- else it is made anew in every round
  SELECT s.g, s.units * $p_scale AS units, CASE WHEN s.units <= 0e0 THEN 0e0
      ELSE least(0.95e0, g.distance_from + (s.units - g.units_from) * g.slope
             + g.law * (sqrt(s.units) - sqrt(g.units_from))) END AS impact
  FROM sold AS s
  ASOF LEFT JOIN segment AS g ON s.units > g.units_from
), fall(start, round, g) AS (
  SELECT g, CAST(0 AS INT), g FROM step WHERE g >= 400 AND g % 5 = 0
  UNION ALL
  SELECT f.start, f.round + 1, CAST(greatest(0, floor(f.start * (1 - s.impact) + 1e-9)) AS INT)
  FROM fall AS f JOIN step AS s ON s.g = f.g
  WHERE floor(f.start * (1 - s.impact) + 1e-9) < f.g AND f.g > 0
)
SELECT e.start / 1000e0 AS outside_x, max(e.round) AS rounds, min(e.g) / 1000e0 AS landing_x,
       (1000 - min(e.g)) / nullif(1000e0 - e.start, 0e0) AS amplification,
       max(s.units) AS sold_units
FROM fall AS e JOIN step AS s ON s.g = e.g
GROUP BY e.start ORDER BY e.start DESC
