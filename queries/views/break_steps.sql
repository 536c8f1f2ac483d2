-- name: break_steps
-- title: The outside price at which each step of the wall fires, given the sales above it
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas), excluded_accounts
-- param: p_factor TEXT = 'BTC'  which factor falls
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block and order books up to this time; null: the newest
-- param: p_max_age DOUBLE = NULL  ignore order books older than so many seconds
-- param: p_scales TEXT = '1'  multiples of the measured depth; 'inf': sales do not move the price
-- param: p_sigma DOUBLE = 0.03  MODEL: daily volatility in the square-root law beyond the books
-- param: p_y DOUBLE = 1  MODEL: factor of the square-root law
-- param: p_adv DOUBLE = NULL  units traded per day; null: as the venues state it
-- param: p_sold_share DOUBLE = 1  share of the seized collateral that is sold at once
-- param: p_absorbed TEXT = 'later'  collateral that a protocol absorbs: sold later, or at once
-- param: p_order TEXT = 'profit'  the pair of assets that a call takes: profit or largest, see path_steps
-- param: p_gas_usd DOUBLE = 1  MODEL: cost of a call of a liquidator
-- param: p_min_profit_usd DOUBLE = 0  MODEL: what a call has to earn above its cost
-- param: p_dust_usd DOUBLE = 1  MODEL: no call repays less
-- param: p_betas TEXT = ''  betas of other factors that move with it, e.g. 'eth=1.2'
-- columns of: path_steps() market account position absorbs direction step number trigger_price is_account risk_usd seize_usd
-- column: units amount seized collateral in the factor's own assets, in units of it
-- columns of: path_steps() factor_price
-- column: sold_units amount units of the factor sold at once
-- column: bought_units amount units of the factor bought back at once, to repay debt in its own assets
-- column: n index place of the step in the order in which steps fire, from 1
-- column: q_after amount units of the factor sold when the step has fired
-- column: depth_scale multiple multiple of the measured depth that is assumed, infinite without impact
-- column: t_ext price outside price at which the step fires, given the sales before it
-- column: level price lowest of these prices so far: steps of one level fire together
-- note: t_ext = trigger price / (1 - impact of all sales above it, less what was bought back); level = the smallest t_ext so far
-- note: steps with the same level fire together
WITH sale AS (
  SELECT f.market, f.account, f.position, f.absorbs, f.direction, f.step, f.number, f.trigger_price, f.is_account,
         f.risk_usd, f.seize_usd, coalesce(f.units, 0e0) AS units, f.factor_price,
         -- A protocol sells absorbed collateral itself, later, and not while its reserves suffice.
         CASE WHEN f.absorbs
               AND ($p_absorbed = 'later' OR s.reserves_usd >= s.target_reserves_usd) THEN 0e0
              ELSE coalesce(f.units, 0e0) * $p_sold_share END AS sold_units,
         coalesce(f.bought_units, 0e0) AS bought_units
  FROM path_steps(p_factor := $p_factor, p_direction := 'down', p_market := $p_market, p_as_of := $p_as_of,
                  p_betas := $p_betas, p_order := $p_order, p_gas_usd := $p_gas_usd,
                  p_min_profit_usd := $p_min_profit_usd, p_dust_usd := $p_dust_usd) AS f
  JOIN snapshots_at(p_market := $p_market, p_as_of := $p_as_of) AS s ON s.market = f.market
  WHERE f.step IN ('call', 'absorb')
), ordered AS (
  -- Equal prices in the order of a key, so that the same wall always gives the same rows.
  SELECT *, row_number() OVER w AS n, sum(sold_units - bought_units) OVER w AS q_after
  FROM sale
  WINDOW w AS (ORDER BY trigger_price DESC, market, account, position, number
               ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
), segment AS (
  SELECT * FROM book_segments(p_factor := $p_factor, p_as_of := $p_as_of, p_max_age := $p_max_age,
                     p_sigma := $p_sigma, p_y := $p_y, p_adv := $p_adv)
), scale AS (
  SELECT CAST(trim(value) AS DOUBLE) AS depth_scale
  FROM (SELECT unnest(string_split($p_scales, ',')) AS value) AS given
), scaled AS (
  SELECT o.*, c.depth_scale, greatest(o.q_after - o.sold_units + o.bought_units, 0e0) / c.depth_scale AS sold_before
  FROM ordered AS o CROSS JOIN scale AS c
), fired AS (
  SELECT s.* EXCLUDE (sold_before),
    s.trigger_price / (1e0 - CASE WHEN s.sold_before <= 0e0 THEN 0e0
      ELSE least(0.95e0, g.distance_from + (s.sold_before - g.units_from) * g.slope
             + g.law * (sqrt(s.sold_before) - sqrt(g.units_from))) END) AS t_ext
  FROM scaled AS s
  ASOF LEFT JOIN segment AS g ON s.sold_before > g.units_from
)
SELECT *, min(t_ext) OVER (PARTITION BY depth_scale ORDER BY n
                           ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS level
FROM fired
