-- name: liquidation_figures
-- title: Exchange liquidations with an impossible side, size or value
-- columns of: exchange_liquidations venue market symbol event side price contracts quantity_base notional_quote notional_usd usd_rule
SELECT venue, market, symbol, event, side, price, contracts, quantity_base, notional_quote,
       notional_usd, usd_rule
FROM exchange_liquidations
WHERE side NOT IN ('long', 'short') OR NOT isfinite(price) OR price <= 0
   OR abs(notional_usd) > 1e18 OR quantity_base <= 0 OR contracts <= 0 OR notional_quote <= 0
   OR abs(quantity_base * price / nullif(notional_quote, 0) - 1) > 1e-9
   OR (notional_usd IS NOT NULL AND notional_usd <> notional_quote)
   OR (notional_usd IS NULL AND usd_rule NOT LIKE 'n/a%')
   OR time > received_at + INTERVAL 1 HOUR
