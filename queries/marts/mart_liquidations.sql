-- name: mart_liquidations
-- title: Liquidations by hour and venue, exchanges and chain: every sum is a lower bound
-- param: p_since TIMESTAMPTZ = NULL  beginning of the day
-- param: p_until TIMESTAMPTZ = NULL  end of the day, exclusive
-- column: hour time beginning of the hour, UTC
-- column: origin text exchange or chain
-- column: venue text exchange, or protocol family
-- column: side text long, short or n/a
-- column: events count number of liquidations
-- column: at_least_usd usd-at-least their value in USD: venues publish samples and feeds have gaps
-- column: largest_usd usd the largest of them in USD
-- column: unpriced count liquidations whose value in USD is not known; they are in no sum
-- Decimals: their sum does not depend on the order in which segments are read.
SELECT date_trunc('hour', time) AS hour, origin, venue, side, count(*) AS events,
       CAST(sum(CAST(usd AS DECIMAL(38, 6))) AS DOUBLE) AS at_least_usd, max(usd) AS largest_usd,
       count(*) FILTER (usd IS NULL) AS unpriced
FROM liquidation_events(p_since := $p_since, p_until := $p_until)
GROUP BY ALL
ORDER BY hour, origin, venue, side
