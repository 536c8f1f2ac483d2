-- name: mart_break_levels
-- title: Break levels of BTC and ETH: outside prices at which a fall starts to feed itself (MODEL)
-- param: p_factor TEXT = 'BTC'  the factor, one after the other
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- each: p_factor = SELECT DISTINCT factor FROM factors_at(p_as_of := $p_as_of) WHERE factor IN ('BTC', 'ETH') AND factor_price > 0e0 ORDER BY factor
-- column: factor  what falls
-- column: depth  depth of the books that was assumed
-- column: direction  now or down
-- column: break_price  outside price at which the group fires, USD
-- column: trigger_price  traded price then
-- column: landing_price  traded price after all its sales
-- column: endogenous_share  how far below its trigger the group's own sales push the price
-- column: loop_gain  price drop by what triggers in the next 1 % below, without what fires at the trigger itself, over that 1 %
-- column: accounts  accounts in the group
-- column: units  units seized
-- column: usd  their value in USD
-- column: top1_share  part of the largest account
-- column: cum_units  units from the price down to here
-- column: cum_usd  USD from the price down to here
-- column: axis_price  price of the factor that the levels are of: the highest of the markets'
-- column: axis_market  market that has it; all where they agree
SELECT $p_factor AS factor, depth, direction, break_price, trigger_price, landing_price,
       endogenous_share, loop_gain, accounts, units, usd, top1_share, cum_units, cum_usd,
       spot_price AS axis_price, axis_market
FROM break_levels(p_factor := $p_factor, p_as_of := $p_as_of)
