-- name: mart_walls
-- title: Walls of each factor and market: collateral that becomes liquidatable per 1 % of the price
-- param: p_factor TEXT = 'BTC'  factor; a mart runs once for each
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- portable: yes
-- each: p_factor = SELECT DISTINCT factor FROM factors_at(p_as_of := $p_as_of) WHERE factor_price > 0e0 ORDER BY factor
-- column: factor text what moves: BTC, ETH, USDC, a ratio such as wstETH/ETH, feed:0x…
-- column: market text market
-- column: direction text now, down, up, beyond down or beyond up
-- column: price_from price lower end of the bin, USD (for a ratio: units of its lower part)
-- column: price_to price upper end of the bin
-- column: move_share share far end of the bin as a move of the factor from its price
-- column: accounts count accounts whose trigger lies in the bin
-- column: collateral_at_risk_usd usd all flagged collateral of these accounts at their trigger
-- column: max_seizable_usd usd collateral that the close-factor rules let liquidators take, of no asset more than is held
-- column: seize_to_heal_usd usd collateral for the smallest repayments that bring health factors to 1
-- column: units amount max_seizable that moves with the factor, in units of the factor
-- column: top1_share share part of the largest account in collateral_at_risk_usd
-- column: cum_accounts count accounts from the price to the far end of the bin
-- column: cum_collateral_at_risk_usd usd collateral at risk from the price to the far end of the bin
-- column: cum_max_seizable_usd usd max_seizable from the price to the far end of the bin
-- column: cum_seize_to_heal_usd usd seize_to_heal from the price to the far end of the bin
-- column: cum_units amount units from the price to the far end of the bin
-- column: axis_market text market whose price the bins are of: this one, if it has a price of the factor
-- column: axis_price price that price
SELECT $p_factor AS factor, market, direction, price_from, price_to, move_share, accounts,
       collateral_at_risk_usd, max_seizable_usd, seize_to_heal_usd, units, top1_share, cum_accounts,
       cum_collateral_at_risk_usd, cum_max_seizable_usd, cum_seize_to_heal_usd, cum_units,
       axis_market, axis_price
FROM walls(p_factor := $p_factor, p_direction := 'both', p_split := true, p_step_pct := 0.01e0,
           p_as_of := $p_as_of)
