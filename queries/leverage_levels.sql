-- name: leverage_levels
-- title: MODEL: liquidation prices of positions opened in each bar, per leverage tier and side
-- needs: snapshots(p_as_of), factors(p_factor), excluded_accounts
-- param: p_factor TEXT = 'BTC'  coin that is priced
-- param: p_tiers TEXT = '5,10,25,50,100'  leverage tiers
-- param: p_mmr DOUBLE = 0.005  maintenance margin as a share of the position
-- param: p_as_of TIMESTAMPTZ = NULL  bars that ended not later than this; null: all
-- columns of: open_interest_bars() venue market symbol bar to_time
-- column: tier multiple leverage that is assumed
-- column: side text position that is liquidated: long or short
-- columns of: open_interest_bars() entry_price
-- column: liquidation_price price MODEL: price at which such a position opened in this bar is liquidated
-- column: added_units amount rise of open interest in the bar, in base: to each side
-- show: venue symbol to_time tier side entry_price liquidation_price added_units
-- note: MODEL: a rise of open interest adds to both sides, as every contract has a long and a short; each tier is shown as if all had that leverage
-- note: isolated margin, one-way: long entry × (1 - 1/tier) / (1 - MMR), short entry × (1 + 1/tier) / (1 + MMR); the bracket's deduction is taken as 0
WITH tier AS (
  SELECT CAST(trim(t) AS DOUBLE) AS tier FROM unnest(string_split($p_tiers, ',')) AS u(t)
), side AS (
  SELECT * FROM (VALUES ('long', 1e0), ('short', -1e0)) AS s(side, sign)
)
SELECT b.venue, b.market, b.symbol, b.bar, b.to_time, t.tier, s.side, b.entry_price,
       b.entry_price * (1e0 - s.sign / t.tier) / (1e0 - s.sign * $p_mmr) AS liquidation_price,
       b.change_units AS added_units
FROM open_interest_bars(p_factor := $p_factor, p_as_of := $p_as_of) AS b
CROSS JOIN tier AS t
CROSS JOIN side AS s
WHERE b.change_units > 0e0
ORDER BY b.venue, b.market, b.symbol, b.bar, t.tier, s.side
