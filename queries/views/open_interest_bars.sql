-- name: open_interest_bars
-- title: Linear contracts of a coin per bar: open interest, its change, prices, and liquidations of full feeds
-- needs: snapshots(p_as_of), factors(p_factor), excluded_accounts
-- param: p_factor TEXT = 'BTC'  coin that is priced
-- param: p_as_of TIMESTAMPTZ = NULL  bars that ended not later than this; null: all
-- columns of: open_interest base venue market symbol
-- column: bar index number of the bar in its contract, from 0
-- column: from_time time beginning of the bar
-- column: to_time time end of the bar, the time of the open interest
-- columns of: open_interest units usd
-- column: entry_price price (high + low + close) / 3, in place of the bar's VWAP, which is not published
-- columns of: open_interest low high close
-- column: change_units amount open interest less that of the bar before, in base; null for the first bar
-- column: gap flag the bar before is missing
-- column: covered flag a feed that publishes every liquidation was up for the whole bar
-- column: liquidated_long_units amount long positions liquidated in the bar, in base
-- column: liquidated_short_units amount short positions liquidated in the bar, in base
-- columns of: open_interest provenance
-- note: entry price: (high + low + close) / 3, in place of the bar's VWAP, which is not published
-- note: covered: a feed that publishes every liquidation was up for the whole bar; gap: the bar before is missing
WITH bar AS (
  SELECT base, venue, market, symbol, provenance, time AS to_time, units, usd, high, low, close,
         (high + low + close) / 3e0 AS entry_price,
         CASE interval WHEN '5m' THEN 300e0 WHEN '1h' THEN 3600e0 END AS seconds
  FROM open_interest
  WHERE lower(base) = lower($p_factor) AND market = 'linear'
    AND ($p_as_of IS NULL OR time <= $p_as_of)
), numbered AS (
  SELECT *, to_timestamp(epoch(to_time) - seconds) AS from_time,
         row_number() OVER w - 1 AS bar,
         units - lag(units) OVER w AS change_units,
         coalesce(epoch(to_time) - epoch(lag(to_time) OVER w) > seconds, false) AS gap
  FROM bar
  WINDOW w AS (PARTITION BY venue, market, symbol ORDER BY to_time)
), up_time AS (
  SELECT n.venue, n.market, n.symbol, n.bar,
         sum(epoch(least(c.to_time, n.to_time)) - epoch(greatest(c.from_time, n.from_time))) AS up
  FROM numbered AS n
  JOIN coverage AS c ON c.venue = n.venue AND c.market = n.market
                    AND c.from_time < n.to_time AND c.to_time > n.from_time
  WHERE c.state = 'up' AND c.sampling_class = 'full'
  GROUP BY n.venue, n.market, n.symbol, n.bar
), liquidated AS (
  SELECT n.venue, n.market, n.symbol, n.bar,
         sum(CASE WHEN e.side = 'long' THEN e.quantity_base ELSE 0e0 END) AS long_units,
         sum(CASE WHEN e.side = 'short' THEN e.quantity_base ELSE 0e0 END) AS short_units,
         bool_or(e.quantity_base IS NULL) AS unsized
  FROM numbered AS n
  JOIN counted_liquidations() AS e
    ON e.venue = n.venue AND e.market = n.market AND e.symbol = n.symbol
   AND to_timestamp((floor(epoch(e.time) / n.seconds) + 1e0) * n.seconds) = n.to_time
  GROUP BY n.venue, n.market, n.symbol, n.bar
)
SELECT n.base, n.venue, n.market, n.symbol, n.bar, n.from_time, n.to_time, n.units, n.usd,
       n.entry_price, n.low, n.high, n.close, n.change_units, n.gap,
       coalesce(s.up >= 0.999e0 * n.seconds AND NOT coalesce(l.unsized, false), false) AS covered,
       coalesce(l.long_units, 0e0) AS liquidated_long_units,
       coalesce(l.short_units, 0e0) AS liquidated_short_units,
       n.provenance
FROM numbered AS n
LEFT JOIN up_time AS s ON s.venue = n.venue AND s.market = n.market AND s.symbol = n.symbol
                   AND s.bar = n.bar
LEFT JOIN liquidated AS l ON l.venue = n.venue AND l.market = n.market AND l.symbol = n.symbol
                         AND l.bar = n.bar
ORDER BY n.venue, n.market, n.symbol, n.bar
