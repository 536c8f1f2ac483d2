-- name: mart_parameters
-- title: Prices and parameters of every asset of each market
-- needs: snapshots(p_as_of)
-- param: p_as_of TIMESTAMPTZ = NULL  end of the day
-- column: market text market
-- columns of: reserves asset symbol decimals price_usd price_status oracle ltv_bps lt_bps bonus_bps protocol_fee_bps
-- column: supply_rate fraction supply rate per year, 0.05 = 5 %
-- column: borrow_rate fraction variable borrow rate per year, 0.05 = 5 %
-- columns of: reserves emode active frozen paused borrowing block_number
SELECT s.market, r.asset, r.symbol, r.decimals, r.price_usd, r.price_status, r.oracle, r.ltv_bps,
       r.lt_bps, r.bonus_bps, r.protocol_fee_bps,
       CAST(r.liquidity_rate AS DOUBLE) / 1e27 AS supply_rate,
       CAST(r.variable_rate AS DOUBLE) / 1e27 AS borrow_rate,
       r.emode, r.active, r.frozen, r.paused, r.borrowing, r.block_number
FROM snapshots_at(p_as_of := $p_as_of) AS s
JOIN reserves AS r ON r.snapshot = s.snapshot
ORDER BY s.market, r.reserve_id, r.asset
