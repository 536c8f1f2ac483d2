-- name: break_levels
-- title: Break levels: outside prices at which forced sales set in, and where they land the price
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
-- param: p_oracle_deviation DOUBLE = NULL  how far the oracle may lag behind the price, as a share of it; null: as the market file states it
-- param: p_top BIGINT = NULL  most groups per depth, those with the most USD; null: all
-- column: depth text multiple of the measured depth that is assumed, × 1, or no impact
-- column: depth_scale multiple depth as a number: multiple of the measured depth, infinite without impact
-- column: group index number of the group at this depth, the highest price first
-- column: direction text now where the group triggers at today's price, else down
-- column: break_price price outside price at which the group triggers
-- column: break_price_late price break price where the oracle lags by that share; null where it is not known
-- column: move_share share break price as a move of the factor from its price
-- column: trigger_price price highest trigger of the group: traded price when it sets in
-- column: landing_price price traded price after all its sales
-- column: landing_price_late price landing price where the oracle lags by that share; null where it is not known
-- column: endogenous_share share how far below its trigger the group's own sales push the price
-- column: loop_gain multiple price drop that triggers within the next 1 % cause, over that 1 %, without those at the trigger itself
-- column: accounts count accounts in the group
-- column: fed_accounts count accounts of the group that only the sales of others trigger
-- column: rounds count rounds of sales of the group, each but the first triggered by the sales of the round before it
-- column: new_accounts count accounts of the group that trigger for the first time
-- column: steps count calls of liquidators on the group's accounts, and absorbed accounts
-- column: units amount units of the factor seized
-- column: sold_units amount units of the factor sold at once
-- column: unsold_units amount units of the factor seized and not sold at once
-- column: bought_units amount units of the factor bought back at once, to repay debt in its own assets
-- column: usd usd collateral seized, of all assets
-- column: top1_share share part of the largest account; null where nothing is seized
-- column: amplification multiple total drop over outside drop; null for now
-- column: cum_sold_units amount units of the factor sold from the price down to here
-- column: cum_bought_units amount units of the factor bought back from the price down to here
-- column: cum_units amount units of the factor seized from the price down to here
-- column: cum_unsold_units amount units of the factor seized and not sold from the price down to here
-- column: cum_usd usd collateral seized from the price down to here
-- column: cum_accounts count accounts triggered from the price down to here
-- column: spot_price price the factor's price now: the highest of the markets'
-- column: axis_market text market that has it; all where several have the same
-- show: depth break_price trigger_price landing_price endogenous_share=own_drop loop_gain accounts steps rounds
-- show: units usd=seized_USD top1_share=top_1 cum_units=sum_units
-- bar: usd
-- note: break: outside price at which the group triggers; trigger: traded price then; landing: traded price after all its sales
-- note: own drop: how far below its trigger the group's own sales push the price; loop gain: price drop that triggers within the next 1 % cause, over that 1 %, without those at the trigger itself; from 1 on, sales carry the fall on
-- note: rounds: how often sales trigger further sales, and the first; with 1 the fall does not feed itself; fed_accounts: accounts that only the sales of others trigger
-- note: what is sold is the path of liquidations: each account is called as often as its health factor falls below 1, see path_steps
-- note: what liquidators buy back at once, to repay debt in the factor's own assets, is netted: less meets the bids
-- note: MODEL: sales consume the stored order books, beyond them the square-root law applies; all is sold at once and the impact is permanent
WITH step AS (
  SELECT * FROM break_steps(
    p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of, p_max_age := $p_max_age,
    p_scales := $p_scales, p_sigma := $p_sigma, p_y := $p_y, p_adv := $p_adv,
    p_sold_share := $p_sold_share, p_absorbed := $p_absorbed, p_betas := $p_betas,
    p_order := $p_order, p_gas_usd := $p_gas_usd, p_min_profit_usd := $p_min_profit_usd, p_dust_usd := $p_dust_usd)
), segment AS (
  SELECT * FROM book_segments(p_factor := $p_factor, p_as_of := $p_as_of, p_max_age := $p_max_age,
                     p_sigma := $p_sigma, p_y := $p_y, p_adv := $p_adv)
), member AS (
  SELECT depth_scale, level, market, account, position, count(*) AS steps, max(is_account) AS is_account,
         max(trigger_price) AS trigger_price,
         sum(units) AS units, sum(sold_units) AS sold_units, sum(bought_units) AS bought_units,
         sum(units - sold_units) AS unsold_units, sum(seize_usd) AS usd,
         arg_max(q_after, n) AS q_after, max(n) AS n
  FROM step GROUP BY depth_scale, level, market, account, position
), grouped AS (
  SELECT depth_scale, level, count(*) AS accounts, sum(is_account) AS new_accounts,
         sum(steps) AS steps, max(trigger_price) AS trigger_price,
         sum(units) AS units, sum(sold_units) AS sold_units, sum(bought_units) AS bought_units,
         sum(unsold_units) AS unsold_units, sum(usd) AS usd,
         max(usd) / nullif(sum(usd), 0e0) AS top1_share, arg_max(q_after, n) AS q_after
  FROM member GROUP BY depth_scale, level
), fed AS (
  SELECT m.depth_scale, m.level, count(*) AS accounts
  FROM member AS m JOIN grouped AS g ON g.depth_scale = m.depth_scale AND g.level = m.level
  WHERE m.trigger_price < g.trigger_price * (1e0 - 1e-9)
  GROUP BY m.depth_scale, m.level
), after AS (
  -- Where the price stands once a step has fired at the outside price of its level.
  SELECT s.depth_scale, s.level, s.n, s.trigger_price, s.level * (1e0 - CASE WHEN s.sold <= 0e0 THEN 0e0
      ELSE least(0.95e0, g.distance_from + (s.sold - g.units_from) * g.slope
             + g.law * (sqrt(s.sold) - sqrt(g.units_from))) END) AS price
  FROM (SELECT *, q_after / depth_scale AS sold FROM step) AS s
  ASOF LEFT JOIN segment AS g ON s.sold > g.units_from
), told AS (
  -- A round fires all that the price before it has reached; where it ends, its last sale leaves the price.
  SELECT a.depth_scale, a.level, list_reduce(
    list({'reached': a.trigger_price, 'price': a.price, 'round': 1} ORDER BY a.n),
    lambda r, s: CASE WHEN s.reached >= r.reached * (1e0 - 1e-9)
                      THEN {'reached': r.reached, 'price': s.price, 'round': r.round}
                      ELSE {'reached': r.price, 'price': s.price, 'round': r.round + 1} END)['round'] AS rounds
  FROM after AS a GROUP BY a.depth_scale, a.level
), sold AS (
  SELECT depth_scale, trigger_price, arg_max(q_after, n) AS q_after FROM step GROUP BY depth_scale, trigger_price
), outset AS (
  -- Sales that the outside price alone triggers come first, before any that feed the fall.
  -- Triggers that differ only by rounding count as equal.
  SELECT g.*, coalesce(f.accounts, 0) AS fed_accounts, r.rounds, s.q_after AS q_outset
  FROM grouped AS g
  ASOF JOIN sold AS s
    ON s.depth_scale = g.depth_scale AND g.trigger_price * (1e0 - 1e-9) <= s.trigger_price
  LEFT JOIN fed AS f ON f.depth_scale = g.depth_scale AND f.level = g.level
  JOIN told AS r ON r.depth_scale = g.depth_scale AND r.level = g.level
), ahead AS (
  -- What has triggered one percent further down.
  SELECT o.*, s.q_after AS q_ahead
  FROM outset AS o
  ASOF LEFT JOIN sold AS s
    ON s.depth_scale = o.depth_scale AND o.trigger_price * 0.99e0 <= s.trigger_price
), spot AS (
  SELECT price AS spot, axis_market, deviation
  FROM axes(p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of)
  WHERE market = 'all'
), point AS (
  SELECT depth_scale, level, 'after' AS stage, q_after / depth_scale AS sold FROM ahead
  UNION ALL
  SELECT depth_scale, level, 'outset', q_outset / depth_scale FROM ahead
  UNION ALL
  SELECT depth_scale, level, 'ahead', q_ahead / depth_scale FROM ahead
), moved AS (
  SELECT depth_scale, level,
    max(CASE WHEN stage = 'after' THEN impact END) AS impact_after,
    max(CASE WHEN stage = 'outset' THEN impact END) AS impact_outset,
    max(CASE WHEN stage = 'ahead' THEN impact END) AS impact_ahead
  FROM (
    SELECT p.depth_scale, p.level, p.stage, CASE WHEN p.sold <= 0e0 THEN 0e0
      ELSE least(0.95e0, g.distance_from + (p.sold - g.units_from) * g.slope
             + g.law * (sqrt(p.sold) - sqrt(g.units_from))) END AS impact
    FROM point AS p
    ASOF LEFT JOIN segment AS g ON p.sold > g.units_from
  ) AS priced
  GROUP BY depth_scale, level
)
SELECT CASE WHEN a.depth_scale = 'inf' THEN 'no impact' ELSE '× ' || printf('%g', a.depth_scale) END AS depth,
       a.depth_scale,
       CAST(row_number() OVER by_level AS BIGINT) AS "group",
       CASE WHEN a.level >= s.spot * (1e0 - 1e-12) THEN 'now' ELSE 'down' END AS direction,
       a.level AS break_price,
       a.level * (1e0 - coalesce($p_oracle_deviation, s.deviation)) AS break_price_late,
       a.level / s.spot - 1e0 AS move_share,
       a.trigger_price,
       a.level * (1e0 - m.impact_after) AS landing_price,
       a.level * (1e0 - m.impact_after) * (1e0 - coalesce($p_oracle_deviation, s.deviation)) AS landing_price_late,
       1e0 - a.level * (1e0 - m.impact_after) / a.trigger_price AS endogenous_share,
       a.level * (m.impact_ahead - m.impact_outset) / (0.01e0 * a.trigger_price) AS loop_gain,
       CAST(a.accounts AS BIGINT) AS accounts,
       CAST(a.fed_accounts AS BIGINT) AS fed_accounts,
       CAST(a.rounds AS BIGINT) AS rounds,
       CAST(a.new_accounts AS BIGINT) AS new_accounts,
       CAST(a.steps AS BIGINT) AS steps,
       a.units, a.sold_units, a.unsold_units, a.bought_units, a.usd, a.top1_share,
       CASE WHEN a.level < s.spot * (1e0 - 1e-12)
            THEN (s.spot - a.level * (1e0 - m.impact_after)) / (s.spot - a.level) END AS amplification,
       sum(a.sold_units) OVER by_level AS cum_sold_units,
       sum(a.bought_units) OVER by_level AS cum_bought_units,
       sum(a.units) OVER by_level AS cum_units,
       sum(a.unsold_units) OVER by_level AS cum_unsold_units,
       sum(a.usd) OVER by_level AS cum_usd,
       CAST(sum(a.new_accounts) OVER by_level AS BIGINT) AS cum_accounts,
       s.spot AS spot_price, s.axis_market
FROM ahead AS a
JOIN moved AS m ON m.depth_scale = a.depth_scale AND m.level = a.level
CROSS JOIN spot AS s
WINDOW by_level AS (PARTITION BY a.depth_scale ORDER BY a.level DESC
                    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
QUALIFY $p_top IS NULL
     OR row_number() OVER (PARTITION BY a.depth_scale ORDER BY a.usd DESC, a.level DESC) <= $p_top
ORDER BY a.depth_scale DESC, a.level DESC
