-- name: mart_parameters
-- title: Prices and parameters of every asset of each market
-- needs: snapshots(p_as_of)
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- column: market text market
-- column: asset address address of the underlying token
-- column: symbol text token symbol, a label, never a key
-- column: decimals count token decimals
-- column: price_usd price oracle price of one whole token in USD; null if the oracle fails
-- column: price_status text ok, or why there is no usable price
-- column: oracle address address of the price source
-- column: ltv_bps bps loan to value (borrow factor), basis points
-- column: lt_bps bps liquidation threshold (liquidate factor), basis points
-- column: bonus_bps bps liquidation bonus above the principal, basis points
-- column: protocol_fee_bps bps protocol's share of the bonus, basis points
-- column: supply_rate fraction supply rate per year, 0.05 = 5 %
-- column: borrow_rate fraction variable borrow rate per year, 0.05 = 5 %
-- column: emode code e-mode category of the asset (Aave up to 3.1), 0 = none
-- column: active flag reserve is active
-- column: frozen flag reserve takes no new supply or borrow
-- column: paused flag reserve is paused: no liquidation either
-- column: borrowing flag borrowing is enabled
-- column: block_number block block of the snapshot
SELECT s.market, r.asset, r.symbol, r.decimals, r.price_usd, r.price_status, r.oracle, r.ltv_bps,
       r.lt_bps, r.bonus_bps, r.protocol_fee_bps,
       CAST(r.liquidity_rate AS DOUBLE) / 1e27 AS supply_rate,
       CAST(r.variable_rate AS DOUBLE) / 1e27 AS borrow_rate,
       r.emode, r.active, r.frozen, r.paused, r.borrowing, r.block_number
FROM snapshots_at(p_as_of := $p_as_of) AS s
JOIN reserves AS r ON r.snapshot = s.snapshot
ORDER BY s.market, r.reserve_id, r.asset
