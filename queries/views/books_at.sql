-- name: books_at
-- title: The newest order book of each venue in one row: age, mid price, reach and depth
-- needs: snapshots(p_as_of), factors(p_factor), excluded_accounts
-- param: p_factor TEXT = 'BTC'  factor that is traded
-- param: p_as_of TIMESTAMPTZ = NULL  newest order book up to this time; null: the newest
-- param: p_max_age DOUBLE = NULL  ignore order books older than so many seconds at p_as_of, or now
-- columns of: depth_at() factor venue symbol kind provenance time age_seconds mid_price
-- column: bid_reach fraction greatest distance below the mid price that the venue showed; null without bids
-- column: bid_units amount units of the factor bid down to there; null without bids
-- column: bid_quote_amount amount the same bids in units of the quote currency
-- column: ask_reach fraction greatest distance above the mid price that the venue showed; null without asks
-- column: ask_units amount units of the factor offered up to there; null without asks
-- columns of: depth_at() volume_24h
SELECT factor, venue, symbol, kind, provenance, max(time) AS time, max(age_seconds) AS age_seconds,
       max(mid_price) AS mid_price, max(CASE WHEN side = 'bid' THEN reach END) AS bid_reach,
       max(CASE WHEN side = 'bid' THEN units END) AS bid_units,
       max(CASE WHEN side = 'bid' THEN quote_amount END) AS bid_quote_amount,
       max(CASE WHEN side = 'ask' THEN reach END) AS ask_reach,
       max(CASE WHEN side = 'ask' THEN units END) AS ask_units,
       max(volume_24h) AS volume_24h
FROM depth_at(p_factor := $p_factor, p_as_of := $p_as_of, p_max_age := $p_max_age)
GROUP BY factor, venue, symbol, kind, provenance
ORDER BY venue, symbol, kind
