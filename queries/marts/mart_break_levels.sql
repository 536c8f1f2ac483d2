-- name: mart_break_levels
-- title: Largest break levels of BTC and ETH: outside prices at which forced sales set in (MODEL)
-- needs: snapshots(p_as_of), factors(p_factor), excluded_accounts
-- param: p_factor TEXT = 'BTC'  factor; a mart runs once for each
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- param: p_top BIGINT = 1000  most groups per factor, those with the most USD; null: all
-- column: factor text what falls
-- columns of: break_levels() depth direction break_price trigger_price landing_price endogenous_share loop_gain accounts units usd top1_share cum_units cum_usd
-- column: axis_price price the factor's price now: the highest of the markets'
-- columns of: break_levels() axis_market
-- column: unlisted_groups count groups of the factor that are in no row, since larger ones are; cum_units and cum_usd count them
-- column: unlisted_usd usd collateral seized in these groups, of all assets
-- each: p_factor = SELECT DISTINCT factor FROM factors_at(p_as_of := $p_as_of) WHERE factor IN ('BTC', 'ETH') AND factor_price > 0e0 ORDER BY factor
WITH placed AS (
  SELECT *, row_number() OVER (ORDER BY usd DESC, break_price DESC) AS place
  FROM break_levels(p_factor := $p_factor, p_as_of := $p_as_of)
)
SELECT $p_factor AS factor, depth, direction, break_price, trigger_price, landing_price,
       endogenous_share, loop_gain, accounts, units, usd, top1_share, cum_units, cum_usd,
       spot_price AS axis_price, axis_market,
       count(CASE WHEN place > $p_top THEN 1 END) OVER () AS unlisted_groups,
       coalesce(sum(CASE WHEN place > $p_top THEN usd END) OVER (), 0e0) AS unlisted_usd
FROM placed
QUALIFY $p_top IS NULL OR place <= $p_top
ORDER BY break_price DESC
