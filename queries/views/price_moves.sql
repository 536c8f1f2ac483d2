-- name: price_moves
-- title: BTC in each crash: its day, and the stated window
-- needs: known_at(p_known_at), provenance
-- param: p_asset TEXT = 'BTC'  BTC or ETH
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that were known at this time; null: all
-- columns of: crash_events() event as_of
-- column: close_before price close of the stored day before; null where none is stored
-- columns of: candles_at() low high close
-- column: close_to_close fraction close over the close of the day before, less 1; null where that day is missing
-- column: high_to_low fraction low over high of the day, less 1
-- column: low_after price low of the next day; null where that day is missing
-- columns of: candles_at() source provenance known_at observed_at
-- column: window_move fraction lowest over first price of the window, less 1; null where candles are missing
-- column: window_basis text by hour or by day: the candles of window_move; or n/a with the reason
-- column: window_source text source of the candles of the window
-- column: window_provenance text where the candles of the window come from
-- note: window: from its first to its lowest price; by hours where all are stored, else by days
WITH daily AS (
  SELECT *, CAST(time AS DATE) AS as_of, lag(close) OVER (ORDER BY time) AS close_before,
         lag(time) OVER (ORDER BY time) AS time_before,
         lead(low) OVER (ORDER BY time) AS low_after, lead(time) OVER (ORDER BY time) AS time_after
  FROM candles_at(p_asset := $p_asset, p_interval := '1d', p_known_at := $p_known_at)
), hourly AS (
  SELECT * FROM candles_at(p_asset := $p_asset, p_interval := '1h', p_known_at := $p_known_at)
), by_hour AS (
  SELECT e.event, count(*) AS candles, arg_min(h.open, h.time) AS first_price, min(h.low) AS lowest,
         any_value(h.source) AS source, any_value(h.provenance) AS provenance,
         date_diff('hour', e.window_from, e.window_to) AS wanted
  FROM crash_events() AS e JOIN hourly AS h ON h.time >= e.window_from AND h.time < e.window_to
  GROUP BY e.event, e.window_from, e.window_to
), by_day AS (
  SELECT e.event, count(*) AS candles, arg_min(d.open, d.time) AS first_price, min(d.low) AS lowest,
         any_value(d.source) AS source, any_value(d.provenance) AS provenance,
         date_diff('day', e.window_from, e.window_to) AS wanted
  FROM crash_events() AS e JOIN daily AS d ON d.time >= e.window_from AND d.time < e.window_to
  GROUP BY e.event, e.window_from, e.window_to
)
SELECT e.event, e.as_of, d.close_before, d.low, d.high, d.close,
       CASE WHEN d.time_before = d.time - INTERVAL 1 DAY THEN d.close / d.close_before - 1 END AS close_to_close,
       d.low / d.high - 1 AS high_to_low,
       CASE WHEN d.time_after = d.time + INTERVAL 1 DAY THEN d.low_after END AS low_after,
       d.source, d.provenance, d.known_at, d.observed_at,
       CASE WHEN h.candles = h.wanted THEN h.lowest / h.first_price - 1
            WHEN y.candles = y.wanted AND y.wanted > 0 THEN y.lowest / y.first_price - 1 END AS window_move,
       CASE WHEN h.candles = h.wanted THEN 'by hour'
            WHEN y.candles = y.wanted AND y.wanted > 0 THEN 'by day'
            WHEN e.window_to - e.window_from < INTERVAL 1 DAY THEN 'n/a (no hourly candles)'
            ELSE 'n/a (no candles)' END AS window_basis,
       CASE WHEN h.candles = h.wanted THEN h.source ELSE y.source END AS window_source,
       CASE WHEN h.candles = h.wanted THEN h.provenance ELSE y.provenance END AS window_provenance
FROM crash_events() AS e
LEFT JOIN daily AS d ON d.as_of = e.as_of
LEFT JOIN by_hour AS h ON h.event = e.event
LEFT JOIN by_day AS y ON y.event = e.event
