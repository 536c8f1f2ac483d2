-- name: mart_break_levels
-- title: Break levels of BTC and ETH: outside prices at which forced sales set in (MODEL)
-- needs: snapshots(p_as_of), factors(p_factor), excluded_accounts
-- param: p_factor TEXT = 'BTC'  factor; a mart runs once for each
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- column: factor text what falls
-- columns of: break_levels() depth direction break_price trigger_price landing_price endogenous_share loop_gain accounts units usd top1_share cum_units cum_usd
-- column: axis_price price the factor's price now: the highest of the markets'
-- columns of: break_levels() axis_market
-- each: p_factor = SELECT DISTINCT factor FROM factors_at(p_as_of := $p_as_of) WHERE factor IN ('BTC', 'ETH') AND factor_price > 0e0 ORDER BY factor
SELECT $p_factor AS factor, depth, direction, break_price, trigger_price, landing_price,
       endogenous_share, loop_gain, accounts, units, usd, top1_share, cum_units, cum_usd,
       spot_price AS axis_price, axis_market
FROM break_levels(p_factor := $p_factor, p_as_of := $p_as_of)
