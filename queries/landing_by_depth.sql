-- name: landing_by_depth
-- title: Landing prices of outside drops: without impact, and with depth × 1, 0.63, 0.1 and 0.02
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas), excluded_accounts
-- param: p_factor TEXT = 'BTC'  which factor falls
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block and order books up to this time; null: the newest
-- param: p_max_age DOUBLE = NULL  ignore order books older than so many seconds
-- param: p_depth_scale DOUBLE = 1  multiple of the measured depth, applied before 1, 0.63, 0.1 and 0.02
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
-- param: p_drops TEXT = '0.01,0.02,0.05,0.1,0.2,0.3,0.5'  outside drops, as shares of the price now
-- param: p_price DOUBLE = NULL  one outside price instead of the drops
-- column: drop_share share outside drop, as a share of the price now
-- column: outside_price price price that the market would have without forced sales
-- column: price_no_impact price landing price where sales do not move the price: the outside price
-- column: price_full price landing price with depth × 1 (times p_depth_scale, as in all columns)
-- column: price_stress price landing price with depth × 0.63
-- column: price_tenth price landing price with depth × 0.1
-- column: price_fiftieth price landing price with depth × 0.02
-- column: amplification_full multiple total drop over outside drop with depth × 1; null without a drop
-- column: amplification_stress multiple total drop over outside drop with depth × 0.63
-- column: amplification_tenth multiple total drop over outside drop with depth × 0.1
-- column: amplification_fiftieth multiple total drop over outside drop with depth × 0.02
-- column: wall_units amount units of the factor seized at the outside price alone
-- column: wall_usd usd collateral seized at the outside price alone, of all assets
-- column: sold_units_full amount units of the factor sold at once with depth × 1
-- column: unsold_units_full amount units of the factor seized and not sold at once with depth × 1
-- column: bought_units_full amount units of the factor bought back at once with depth × 1, to repay debt in its own assets
-- column: toxic_debt_usd usd at the landing with depth × 1: debt that the collateral does not pay for with the bonus
-- column: bad_debt_usd usd at the landing with depth × 1: debt that the path of liquidations leaves without collateral
-- column: jump_bad_debt_usd usd the same where the price jumps there, without liquidations on the way: an upper bound
-- column: spot_price price the factor's price now: the highest of the markets'
-- column: axis_market text market that has it; all where several have the same
-- show: drop_share=outside price_no_impact=no_impact price_full=×_1 price_stress=×_0.63
-- show: price_tenth=×_0.1 price_fiftieth=×_0.02 amplification_full=amplification_×_1
-- show: amplification_tenth=×_0.1_ wall_units=wall_units wall_usd=wall_USD
-- show: toxic_debt_usd=toxic_debt_USD bad_debt_usd=bad_debt_USD jump_bad_debt_usd=at_a_jump_USD
-- note: no impact: the outside price; × 1 … × 0.02: landing price with that multiple of the measured depth; wall: collateral that the outside price alone triggers
-- note: × 0.63: in stress bids within 1 % of the mid price are 63 % of normal, the median of 5,142 events on 21 Binance perpetuals since 2023; × 0.1, × 0.02: what was left of books and of executable depth on key venues on 2025-10-10, by secondary reports
-- note: amplification: total drop over outside drop; toxic and bad debt at the landing with depth × 1: debt that the collateral does not pay for with the bonus, without earlier liquidations (an upper bound), and what the path of liquidations leaves without collateral
WITH fall AS (
  SELECT *, dense_rank() OVER (ORDER BY coalesce(depth_scale, 'inf') DESC) AS place
  FROM landing_prices(
    p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of, p_max_age := $p_max_age,
    p_scales := concat('inf,', 1e0 * $p_depth_scale, ',', 0.63e0 * $p_depth_scale, ',',
      0.1e0 * $p_depth_scale, ',', 0.02e0 * $p_depth_scale), p_sigma := $p_sigma, p_y := $p_y, p_adv := $p_adv,
    p_sold_share := $p_sold_share, p_absorbed := $p_absorbed, p_betas := $p_betas,
    p_order := $p_order, p_gas_usd := $p_gas_usd, p_min_profit_usd := $p_min_profit_usd, p_dust_usd := $p_dust_usd,
    p_drops := $p_drops, p_price := $p_price)
)
SELECT drop_share, max(outside_price) AS outside_price,
       max(CASE WHEN place = 1 THEN landing_price END) AS price_no_impact,
       max(CASE WHEN place = 2 THEN landing_price END) AS price_full,
       max(CASE WHEN place = 3 THEN landing_price END) AS price_stress,
       max(CASE WHEN place = 4 THEN landing_price END) AS price_tenth,
       max(CASE WHEN place = 5 THEN landing_price END) AS price_fiftieth,
       max(CASE WHEN place = 2 THEN amplification END) AS amplification_full,
       max(CASE WHEN place = 3 THEN amplification END) AS amplification_stress,
       max(CASE WHEN place = 4 THEN amplification END) AS amplification_tenth,
       max(CASE WHEN place = 5 THEN amplification END) AS amplification_fiftieth,
       max(CASE WHEN place = 1 THEN sold_units + unsold_units END) AS wall_units,
       max(CASE WHEN place = 1 THEN usd END) AS wall_usd,
       max(CASE WHEN place = 2 THEN sold_units END) AS sold_units_full,
       max(CASE WHEN place = 2 THEN unsold_units END) AS unsold_units_full,
       max(CASE WHEN place = 2 THEN bought_units END) AS bought_units_full,
       max(CASE WHEN place = 2 THEN toxic_debt_usd END) AS toxic_debt_usd,
       max(CASE WHEN place = 2 THEN bad_debt_usd END) AS bad_debt_usd,
       max(CASE WHEN place = 2 THEN jump_bad_debt_usd END) AS jump_bad_debt_usd,
       max(spot_price) AS spot_price, max(axis_market) AS axis_market
FROM fall GROUP BY drop_share ORDER BY drop_share
