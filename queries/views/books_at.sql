-- name: books_at
-- title: The newest order book of each venue, one row each: age, mid price, how far it was shown, what it held
-- param: p_factor TEXT = 'BTC'  what is bought and sold
-- param: p_as_of TIMESTAMPTZ = NULL  newest book not later than this; null: newest of all
-- param: p_max_age DOUBLE = NULL  leave out books older than this many seconds (as of then, or now)
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
