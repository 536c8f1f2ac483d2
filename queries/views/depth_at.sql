-- name: depth_at
-- title: The newest order book of each venue for a factor
-- needs: snapshots(p_as_of), factors(p_factor), excluded_accounts
-- param: p_factor TEXT = 'BTC'  factor that is traded
-- param: p_as_of TIMESTAMPTZ = NULL  newest order book up to this time; null: the newest
-- param: p_max_age DOUBLE = NULL  ignore order books older than so many seconds at p_as_of, or now
-- columns of: depths factor venue symbol kind side distance units quote_amount mid_price best_bid best_ask reach volume_24h time received_at provenance
-- column: age_seconds seconds age of the book at p_as_of, or now
SELECT factor, venue, symbol, kind, side, distance, units, quote_amount, mid_price, best_bid, best_ask,
       reach, volume_24h, time, received_at, provenance,
       CAST(epoch(coalesce($p_as_of, now())) - epoch(time) AS BIGINT) AS age_seconds
FROM depths
WHERE lower(factor) = lower($p_factor) AND ($p_as_of IS NULL OR time <= $p_as_of)
  AND ($p_max_age IS NULL OR epoch(coalesce($p_as_of, now())) - epoch(time) <= $p_max_age)
QUALIFY rank() OVER (PARTITION BY venue, symbol, kind ORDER BY time DESC) = 1
