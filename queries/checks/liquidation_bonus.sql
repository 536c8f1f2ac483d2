-- name: liquidation_bonus
-- title: Liquidations whose seized over repaid value is not the reserve's bonus less the fee
-- columns of: liquidations_on_chain() market block_number tx_hash account position debt_symbol coll_symbol
-- column: ratio multiple collateral seized over debt repaid, in USD
-- column: expected multiple 1 plus the reserve's bonus less the protocol's share of it
-- note: a price that moved between the liquidation and the end of its block is listed, too
SELECT market, block_number, tx_hash, account, position, debt_symbol, coll_symbol,
       coll_seized_usd / debt_repaid_usd AS ratio,
       1e0 + bonus_bps / 1e4 * (1e0 - protocol_fee_bps / 1e4) AS expected
FROM liquidations_on_chain()
WHERE kind = 'liquidation' AND status = 'ok'
  -- one unit in the last place of either amount is within rounding
  AND abs(coll_seized_usd - debt_repaid_usd * (1e0 + bonus_bps / 1e4 * (1e0 - protocol_fee_bps / 1e4)))
      > 1e-6 * debt_repaid_usd
        + 2e0 * debt_repaid_usd / greatest(CAST(debt_repaid_raw AS DOUBLE), 1e0)
        + 3e0 * coll_seized_usd / greatest(CAST(coll_seized_raw AS DOUBLE), 1e0)
