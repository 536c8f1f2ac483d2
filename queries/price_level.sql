-- name: price_level
-- title: Bid depth down to a price, and the outside price that brings the market there
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
-- param: p_price DOUBLE = NULL  price in question; null: the price now
-- param: p_width DOUBLE = 0.02  half width of the band around that price, as a share of it
-- column: depth text multiple of the measured depth that is assumed, × 1, or no impact; null where nothing triggers there or below
-- column: depth_scale multiple depth as a number: multiple of the measured depth, infinite without impact
-- column: spot_price price the factor's price now: the highest of the markets'
-- column: price price price in question
-- column: drop_share share distance of that price below the price now
-- column: bid_units amount bids within that distance below the books' own mid price, times the depth scale; null without books or impact
-- column: reach fraction greatest distance that the books show; null without books
-- columns of: break_levels() break_price move_share trigger_price landing_price endogenous_share loop_gain accounts fed_accounts rounds steps sold_units bought_units usd top1_share
-- note: bid_units: bids within drop_share below the books' own mid price, times the depth scale; the mid price may differ from spot_price
WITH spot AS (
  SELECT max(factor_price) AS spot, coalesce($p_price, max(factor_price)) AS price
  FROM factors_at(p_market := $p_market, p_as_of := $p_as_of)
  WHERE lower(factor) = lower($p_factor)
), held AS (
  -- Bids within that share below the mid price, by straight lines; where the books end, all they held.
  SELECT sum(greatest(least((1e0 - s.price / s.spot - g.distance_from)
             / nullif(g.distance_to - g.distance_from, 0e0), 1e0), 0e0) * (g.units_to - g.units_from))
           AS bid_units,
         max(g.distance_to) AS reach
  FROM book_segments(p_factor := $p_factor, p_as_of := $p_as_of, p_max_age := $p_max_age) AS g
  CROSS JOIN spot AS s
  WHERE g.units_to IS NOT NULL
), level AS (
  SELECT * FROM break_levels(
    p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of, p_max_age := $p_max_age,
    p_scales := $p_scales, p_sigma := $p_sigma, p_y := $p_y, p_adv := $p_adv,
    p_sold_share := $p_sold_share, p_absorbed := $p_absorbed, p_betas := $p_betas,
    p_order := $p_order, p_gas_usd := $p_gas_usd, p_min_profit_usd := $p_min_profit_usd, p_dust_usd := $p_dust_usd)
), step AS (
  SELECT depth_scale, trigger_price, level, seize_usd FROM break_steps(
    p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of, p_max_age := $p_max_age,
    p_scales := $p_scales, p_sigma := $p_sigma, p_y := $p_y, p_adv := $p_adv,
    p_sold_share := $p_sold_share, p_absorbed := $p_absorbed, p_betas := $p_betas,
    p_order := $p_order, p_gas_usd := $p_gas_usd, p_min_profit_usd := $p_min_profit_usd, p_dust_usd := $p_dust_usd)
), reached AS (
  -- The level that fires most of what triggers in the band; where nothing does, the next below it.
  SELECT depth_scale, max(level) AS level
  FROM (
    SELECT n.depth_scale, n.level, n.weight, max(n.weight) OVER (PARTITION BY n.depth_scale) AS most
    FROM (
      SELECT g.depth_scale, g.level,
             CASE WHEN g.usd > 0e0 THEN 1e0 + g.usd ELSE g.highest - 1e0 END AS weight
      FROM (
        SELECT t.depth_scale, t.level, max(t.trigger_price / s.price) AS highest,
               sum(CASE WHEN t.trigger_price >= s.price * (1e0 - $p_width) THEN t.seize_usd ELSE 0e0 END)
                 AS usd
        FROM step AS t JOIN spot AS s ON t.trigger_price <= s.price * (1e0 + $p_width)
        GROUP BY t.depth_scale, t.level
      ) AS g
    ) AS n
  ) AS w
  WHERE weight = most
  GROUP BY depth_scale
), scale AS (
  SELECT CAST(trim(value) AS DOUBLE) AS depth_scale
  FROM (SELECT unnest(string_split($p_scales, ',')) AS value) AS given
)
SELECT l.depth, c.depth_scale, s.spot AS spot_price, s.price, 1e0 - s.price / s.spot AS drop_share,
       CASE WHEN c.depth_scale < 'inf' THEN h.bid_units * c.depth_scale END AS bid_units, h.reach,
       l.break_price, l.move_share, l.trigger_price, l.landing_price,
       l.endogenous_share, l.loop_gain, l.accounts, l.fed_accounts, l.rounds, l.steps, l.sold_units, l.bought_units, l.usd, l.top1_share
FROM spot AS s CROSS JOIN held AS h CROSS JOIN scale AS c
LEFT JOIN reached AS r ON r.depth_scale = c.depth_scale
LEFT JOIN level AS l ON l.break_price = r.level AND l.depth_scale = r.depth_scale
ORDER BY c.depth_scale DESC
