-- name: mart_walls
-- title: Walls of each factor and market: collateral that becomes liquidatable per 1 % of the price
-- needs: snapshots(p_as_of), factors(p_factor), excluded_accounts
-- param: p_factor TEXT = 'BTC'  factor; a mart runs once for each
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- column: factor text what moves: BTC, ETH, USDC, a ratio such as wstETH/ETH, feed:0x…
-- columns of: walls()
-- portable: yes
-- each: p_factor = SELECT DISTINCT factor FROM factors_at(p_as_of := $p_as_of) WHERE factor_price > 0e0 ORDER BY factor
-- ordered: market, CASE direction WHEN 'now' THEN 0 WHEN 'down' THEN 1 WHEN 'beyond down' THEN 2 WHEN 'up' THEN 3 WHEN 'beyond up' THEN 4 ELSE 5 END, abs(move_share)
SELECT $p_factor AS factor, market, direction, price_from, price_to, move_share, accounts,
       collateral_at_risk_usd, round_seizable_usd, due_usd, liquidatable_now_usd, seize_to_heal_usd, units, top1_share, cum_accounts,
       cum_collateral_at_risk_usd, cum_round_seizable_usd, cum_seize_to_heal_usd, cum_units,
       axis_market, axis_price
FROM walls(p_factor := $p_factor, p_direction := 'both', p_split := true, p_step_pct := 0.01e0,
           p_as_of := $p_as_of)
