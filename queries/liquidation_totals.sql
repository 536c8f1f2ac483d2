-- name: liquidation_totals
-- title: Liquidations on chain: debt repaid and collateral seized, at oracle prices of the time
-- needs: markets(p_market)
-- param: p_by TEXT = 'day'  hour, day, market, asset (collateral) or kind
-- param: p_market TEXT = 'all'  one market, several with commas, or all
-- param: p_since TIMESTAMPTZ = NULL  from this block time on
-- param: p_until TIMESTAMPTZ = NULL  before this block time
-- column: bucket text hour, day, market, collateral's symbol or kind of event, as p_by says
-- column: events count liquidations, and absorbed debts (Compound III)
-- column: accounts count accounts in them
-- column: debt_repaid_usd usd debt repaid or absorbed; null where nothing has a price
-- column: coll_seized_usd usd collateral seized or absorbed; null where nothing has a price
-- column: deficit_usd usd debt written off as bad debt; null without any with a price
-- column: sold_usd usd absorbed collateral sold by the protocol; null without any with a price
-- column: largest_usd usd most collateral seized in one event; null where nothing has a price
-- column: unpriced count events without a price at their block; their USD is in no sum
-- bar: coll_seized_usd
-- note: a sale of absorbed collateral (Compound III) has its own kind and is in neither sum
-- note: by asset, absorbed debt (Compound III) has a row of its own: its event names no collateral
-- note: unpriced: events without a price at their block; their USD is not in the sums
SELECT CASE $p_by
         WHEN 'hour' THEN strftime(date_trunc('hour', block_time), '%Y-%m-%d %H:00Z')
         WHEN 'day' THEN strftime(date_trunc('day', block_time), '%Y-%m-%d')
         WHEN 'market' THEN market
         WHEN 'asset' THEN CASE WHEN kind = 'absorb-debt' THEN 'n/a (absorbed debt)' ELSE coalesce(coll_symbol, debt_symbol, coll_asset, debt_asset) END
         ELSE kind END AS bucket,
       count(*) FILTER (kind IN ('liquidation', 'absorb-debt')) AS events,
       count(DISTINCT account || position) FILTER (kind IN ('liquidation', 'absorb-debt')) AS accounts,
       sum(debt_repaid_usd) FILTER (kind IN ('liquidation', 'absorb-debt')) AS debt_repaid_usd,
       sum(coll_seized_usd) FILTER (kind IN ('liquidation', 'absorb-collateral'))
         AS coll_seized_usd,
       sum(debt_repaid_usd) FILTER (kind = 'deficit') AS deficit_usd,
       sum(coll_seized_usd) FILTER (kind = 'sale') AS sold_usd,
       max(coll_seized_usd) FILTER (kind IN ('liquidation', 'absorb-collateral')) AS largest_usd,
       count(*) FILTER (status <> 'ok') AS unpriced
FROM liquidations_on_chain(p_market := $p_market, p_since := $p_since, p_until := $p_until)
GROUP BY 1
ORDER BY 1
