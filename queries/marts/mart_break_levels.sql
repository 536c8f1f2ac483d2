-- name: mart_break_levels
-- title: Break levels of BTC and ETH: outside prices at which forced sales set in (MODEL)
-- param: p_factor TEXT = 'BTC'  factor; a mart runs once for each
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- each: p_factor = SELECT DISTINCT factor FROM factors_at(p_as_of := $p_as_of) WHERE factor IN ('BTC', 'ETH') AND factor_price > 0e0 ORDER BY factor
-- column: factor text what falls
-- column: depth text depth of the books that was assumed
-- column: direction text now or down
-- column: break_price price outside price at which the group fires, USD
-- column: trigger_price price traded price then
-- column: landing_price price traded price after all its sales
-- column: endogenous_share share how far below its trigger the group's own sales push the price
-- column: loop_gain multiple price drop that triggers within the next 1 % cause, over that 1 %, without those at the trigger itself
-- column: accounts count accounts in the group
-- column: units amount units seized
-- column: usd usd their value in USD
-- column: top1_share share part of the largest account
-- column: cum_units amount units from the price down to here
-- column: cum_usd usd USD from the price down to here
-- column: axis_price price price of the factor that the levels are of: the highest of the markets'
-- column: axis_market text market that has it; all where they agree
SELECT $p_factor AS factor, depth, direction, break_price, trigger_price, landing_price,
       endogenous_share, loop_gain, accounts, units, usd, top1_share, cum_units, cum_usd,
       spot_price AS axis_price, axis_market
FROM break_levels(p_factor := $p_factor, p_as_of := $p_as_of)
