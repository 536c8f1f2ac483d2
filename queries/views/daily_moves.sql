-- name: daily_moves
-- title: The newest daily closes of BTC and ETH, and the log return of each from the day before
-- needs: snapshots(p_as_of)
-- param: p_window BIGINT = 90  days of closes
-- param: p_as_of TIMESTAMPTZ = NULL  closes up to this time; null: all
-- columns of: candles_at() asset time close venue source provenance
-- column: r fraction log return from the close of the day before; null where that close is not stored
-- note: r: null where the close of the day before is not stored
WITH daily AS (
  SELECT * FROM candles_at(p_asset := 'BTC', p_interval := '1d')
  UNION ALL
  SELECT * FROM candles_at(p_asset := 'ETH', p_interval := '1d')
), recent AS (
  SELECT asset, time, close, venue, source, provenance FROM daily
  WHERE close > 0e0 AND ($p_as_of IS NULL OR time + INTERVAL 1 DAY <= $p_as_of)
  QUALIFY row_number() OVER (PARTITION BY asset ORDER BY time DESC) <= $p_window + 1
)
SELECT *, CASE WHEN lag(time) OVER w = time - INTERVAL 1 DAY THEN ln(close / lag(close) OVER w) END AS r
FROM recent
WINDOW w AS (PARTITION BY asset ORDER BY time)
