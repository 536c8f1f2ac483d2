-- name: candles_at
-- title: Closed candles of an asset: the newest version known, from one venue (an exchange before an import)
-- needs: known_at(p_known_at), provenance
-- param: p_asset TEXT = 'BTC'  BTC or ETH
-- param: p_interval TEXT = '1d'  1h or 1d
-- param: p_known_at TIMESTAMPTZ = NULL  only figures that counted as known at this time; null: all
-- columns of: candles asset symbol venue interval time open high low close volume source provenance known_at observed_at document
SELECT c.asset, c.symbol, c.venue, c.interval, c.time, c.open, c.high, c.low, c.close, c.volume,
       c.source, c.provenance, c.known_at, c.observed_at, c.document
FROM candles AS c
WHERE c.asset = $p_asset AND c.interval = $p_interval
  AND ($p_known_at IS NULL OR c.known_at <= $p_known_at)
QUALIFY row_number() OVER (PARTITION BY c.venue, c.time ORDER BY c.known_at DESC, c.observed_at DESC) = 1
    AND rank() OVER (ORDER BY c.venue = 'import', c.venue) = 1
