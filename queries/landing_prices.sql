-- name: landing_prices
-- title: Landing prices after outside drops, with forced sales into the order books
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas), excluded_accounts
-- param: p_factor TEXT = 'BTC'  which factor falls
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block and order books up to this time; null: the newest
-- param: p_max_age DOUBLE = NULL  ignore order books older than so many seconds
-- param: p_scales TEXT = 'inf,1,0.5,0.1,0.02'  multiples of the measured depth; 'inf': sales do not move the price
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
-- column: depth text multiple of the measured depth that is assumed, × 1, or no impact
-- column: depth_scale multiple depth as a number: multiple of the measured depth; null without impact
-- column: drop_share share outside drop, as a share of the price now
-- column: outside_price price price that the market would have without forced sales
-- column: landing_price price price after all sales that the outside price sets off
-- column: total_drop_share share drop with these sales, as a share of the price now
-- column: amplification multiple total drop over outside drop; null without a drop
-- column: accounts count accounts that trigger
-- column: sold_units amount units of the factor seized and sold at once
-- column: unsold_units amount units of the factor seized and not sold at once
-- column: bought_units amount units of the factor bought back at once, to repay debt in its own assets
-- column: usd usd collateral seized, of all assets
-- column: toxic_debt_usd usd debt of liquidatable accounts whose collateral does not pay for it with the bonus, at the landing price
-- column: bad_debt_usd usd debt that is left where the path of an account has ended, above what its collateral pays for with the bonus, at the landing price
-- column: jump_bad_debt_usd usd debt that the collateral does not pay for with the bonus if the price jumps there, without liquidations on the way: an upper bound
-- column: spot_price price the factor's price now: the highest of the markets'
-- column: axis_market text market that has it; all where several have the same
-- show: depth drop_share=outside_drop outside_price landing_price total_drop_share=total_drop amplification accounts
-- show: sold_units bought_units=bought usd=seized_USD unsold_units=not_sold toxic_debt_usd=toxic_debt_USD bad_debt_usd=bad_debt_USD jump_bad_debt_usd=at_a_jump_USD
-- note: landing price: largest fixed point of price = outside price × (1 - impact of all sales at that price, less what is bought back); amplification: total drop over outside drop
-- note: toxic debt: debt of accounts that are liquidatable at the landing price and whose collateral does not pay for it with the bonus, without earlier liquidations: an upper bound; bad debt: what the path of liquidations leaves without collateral; at a jump: what is left where nobody liquidates on the way
-- note: MODEL: sales consume the stored order books, beyond them the square-root law applies; all is sold at once and the impact is permanent
WITH level AS (
  SELECT * FROM break_levels(
    p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of, p_max_age := $p_max_age,
    p_scales := $p_scales, p_sigma := $p_sigma, p_y := $p_y, p_adv := $p_adv,
    p_sold_share := $p_sold_share, p_absorbed := $p_absorbed, p_betas := $p_betas,
    p_order := $p_order, p_gas_usd := $p_gas_usd, p_min_profit_usd := $p_min_profit_usd, p_dust_usd := $p_dust_usd)
), spot AS (
  SELECT price AS spot, axis_market
  FROM axes(p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of)
  WHERE market = 'all'
), outside AS (
  SELECT CAST(trim(value) AS DOUBLE) AS drop_share
  FROM (SELECT unnest(string_split($p_drops, ',')) AS value) AS given
), scenario AS (
  SELECT DISTINCT c.depth_scale,
         CASE WHEN $p_price IS NULL THEN o.drop_share ELSE 1e0 - $p_price / s.spot END AS drop_share,
         CASE WHEN $p_price IS NULL THEN s.spot * (1e0 - o.drop_share) ELSE $p_price END AS outside_price,
         s.spot, s.axis_market
  FROM (SELECT CAST(trim(value) AS DOUBLE) AS depth_scale
        FROM (SELECT unnest(string_split($p_scales, ',')) AS value) AS given) AS c
  CROSS JOIN outside AS o CROSS JOIN spot AS s
  WHERE s.spot IS NOT NULL
), landed AS (
  SELECT a.*, a.outside_price * coalesce(l.landing_price / l.break_price, 1e0) AS landing_price,
         coalesce(l.cum_sold_units, 0e0) AS sold_units,
         coalesce(l.cum_unsold_units, 0e0) AS unsold_units,
         coalesce(l.cum_bought_units, 0e0) AS bought_units,
         coalesce(l.cum_usd, 0e0) AS usd, coalesce(l.cum_accounts, 0) AS accounts
  FROM scenario AS a
  ASOF LEFT JOIN level AS l
    ON l.depth_scale = a.depth_scale AND a.outside_price <= l.break_price
), account AS (
  SELECT x AS x_hit, cover0, cover1, d0, d1, x_min
  FROM triggers(p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of, p_betas := $p_betas)
  WHERE direction IN ('now', 'down') AND in_usd
), toxic AS (
  -- Down to x_min at the most: beyond it another price that moves along would be negative.
  SELECT landing_price, sum(CASE WHEN paid < owed THEN owed ELSE 0e0 END) AS toxic_debt_usd,
         sum(greatest(owed - paid, 0e0)) AS jump_bad_debt_usd
  FROM (
    SELECT f.landing_price, cover0 + cover1 * greatest(f.x, x_min) AS paid,
           d0 + d1 * greatest(f.x, x_min) AS owed
    FROM (SELECT DISTINCT landing_price, landing_price / spot AS x FROM landed) AS f
    JOIN account ON f.x <= x_hit
  ) AS there
  GROUP BY landing_price
), ended AS (
  SELECT x, left0, left1, left_cover0, left_cover1
  FROM path_steps(p_factor := $p_factor, p_direction := 'down', p_market := $p_market, p_as_of := $p_as_of,
                  p_betas := $p_betas, p_order := $p_order, p_gas_usd := $p_gas_usd,
                  p_min_profit_usd := $p_min_profit_usd, p_dust_usd := $p_dust_usd)
  WHERE left0 + left1 > 0e0
), short AS (
  SELECT f.landing_price,
         sum(greatest(left0 + left1 * f.x - greatest(left_cover0 + left_cover1 * f.x, 0e0), 0e0)) AS bad_debt_usd
  FROM (SELECT DISTINCT landing_price, landing_price / spot AS x FROM landed) AS f
  JOIN ended AS e ON f.x <= e.x
  GROUP BY f.landing_price
)
SELECT CASE WHEN l.depth_scale = 'inf' THEN 'no impact' ELSE '× ' || printf('%g', l.depth_scale) END AS depth,
       CASE WHEN l.depth_scale < 'inf' THEN l.depth_scale END AS depth_scale,
       l.drop_share, l.outside_price, l.landing_price,
       1e0 - l.landing_price / l.spot AS total_drop_share,
       CASE WHEN l.drop_share > 0e0 THEN (1e0 - l.landing_price / l.spot) / l.drop_share END
         AS amplification,
       CAST(l.accounts AS BIGINT) AS accounts, l.sold_units, l.unsold_units, l.bought_units, l.usd,
       coalesce(t.toxic_debt_usd, 0e0) AS toxic_debt_usd, coalesce(s.bad_debt_usd, 0e0) AS bad_debt_usd,
       coalesce(t.jump_bad_debt_usd, 0e0) AS jump_bad_debt_usd,
       l.spot AS spot_price, l.axis_market
FROM landed AS l
LEFT JOIN toxic AS t ON t.landing_price = l.landing_price
LEFT JOIN short AS s ON s.landing_price = l.landing_price
ORDER BY l.drop_share, l.depth_scale DESC
