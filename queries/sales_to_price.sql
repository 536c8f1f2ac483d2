-- name: sales_to_price
-- title: Forced sales of all accounts that trigger on a straight path down to given prices, and their market impact on one factor
-- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas), excluded_accounts
-- param: p_factor TEXT = 'BTC'  factor whose order books take the sales
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_as_of TIMESTAMPTZ = NULL  newest block and order books up to this time; null: the newest
-- param: p_max_age DOUBLE = NULL  ignore order books older than so many seconds
-- param: p_scale DOUBLE = 1  multiple of the measured depth
-- param: p_x DOUBLE = 0.9  value of the factor over its value now
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
-- column: accounts count accounts that trigger on the path
-- column: usd usd collateral seized, of all assets
-- column: sold_units amount units of the factor seized and sold
-- column: bought_units amount units of the factor bought to repay debt in it
-- column: impact fraction MODEL: fall of the price by the net sales, as a share of the outside price; negative where it rises
-- note: net sales meet the bids, net purchases the asks; impact: share of the outside price, negative where the price rises
WITH fired AS (
  SELECT count(DISTINCT f.market || f.account || f.position) AS accounts, coalesce(sum(f.seize_usd), 0e0) AS usd,
         coalesce(sum(CASE WHEN f.absorbs
                   AND ($p_absorbed = 'later' OR s.reserves_usd >= s.target_reserves_usd) THEN 0e0
                  ELSE f.units * $p_sold_share END), 0e0) AS sold_units,
         coalesce(sum(f.bought_units), 0e0) AS bought_units
  FROM path_steps(p_factor := $p_factor, p_direction := 'down', p_market := $p_market, p_as_of := $p_as_of,
                  p_betas := $p_betas, p_end := $p_x, p_order := $p_order, p_gas_usd := $p_gas_usd,
                  p_min_profit_usd := $p_min_profit_usd, p_dust_usd := $p_dust_usd) AS f
  JOIN snapshots_at(p_market := $p_market, p_as_of := $p_as_of) AS s ON s.market = f.market
  WHERE f.step IN ('call', 'absorb') AND f.x >= $p_x
), met AS (
  SELECT *, (sold_units - bought_units) / $p_scale AS net_sold,
         (bought_units - sold_units) / $p_scale AS net_bought FROM fired
), down AS (
  SELECT m.*, CASE WHEN m.net_sold <= 0e0 THEN 0e0
      ELSE least(0.95e0, g.distance_from + (m.net_sold - g.units_from) * g.slope
             + g.law * (sqrt(m.net_sold) - sqrt(g.units_from))) END AS fall
  FROM met AS m
  ASOF LEFT JOIN (FROM book_segments(p_factor := $p_factor, p_as_of := $p_as_of, p_max_age := $p_max_age,
    p_side := 'bid', p_sigma := $p_sigma, p_y := $p_y, p_adv := $p_adv)) AS g ON m.net_sold > g.units_from
)
SELECT CAST(d.accounts AS BIGINT) AS accounts, d.usd, d.sold_units, d.bought_units,
       CASE WHEN d.net_bought <= 0e0 THEN d.fall
            ELSE -least(0.95e0, g.distance_from + (d.net_bought - g.units_from) * g.slope
                      + g.law * (sqrt(d.net_bought) - sqrt(g.units_from))) END AS impact
FROM down AS d
ASOF LEFT JOIN (FROM book_segments(p_factor := $p_factor, p_as_of := $p_as_of, p_max_age := $p_max_age,
    p_side := 'ask', p_sigma := $p_sigma, p_y := $p_y, p_adv := $p_adv)) AS g ON d.net_bought > g.units_from
