-- name: mart_chain_liquidations
-- title: Liquidations on chain by hour, market and kind, at oracle prices of the time
-- param: p_since TIMESTAMPTZ = NULL  beginning of the day
-- param: p_until TIMESTAMPTZ = NULL  end of the day, exclusive
-- column: hour time beginning of the hour, UTC
-- column: venue text protocol family
-- column: market text market
-- column: kind text liquidation, absorb-debt, absorb-collateral, sale or deficit
-- column: events count events of the chain
-- column: accounts count accounts in them
-- column: debt_repaid_usd usd debt repaid (deficit: written off) in USD; null where nothing has a price
-- column: coll_seized_usd usd collateral seized or sold in USD; null where nothing has a price
-- column: unpriced count events without a price at their block; their USD is in no sum
-- Decimals: their sum does not depend on the order in which segments are read.
SELECT date_trunc('hour', block_time) AS hour, protocol AS venue, market, kind,
       count(*) AS events, count(DISTINCT account || position) AS accounts,
       CAST(sum(CAST(debt_repaid_usd AS DECIMAL(38, 6))) AS DOUBLE) AS debt_repaid_usd,
       CAST(sum(CAST(coll_seized_usd AS DECIMAL(38, 6))) AS DOUBLE) AS coll_seized_usd,
       count(*) FILTER (status <> 'ok') AS unpriced
FROM liquidations_on_chain(p_since := $p_since, p_until := $p_until)
GROUP BY ALL
ORDER BY hour, venue, market, kind
