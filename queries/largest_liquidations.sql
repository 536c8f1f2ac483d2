-- name: largest_liquidations
-- title: The largest single liquidations that were published
-- param: p_since TIMESTAMPTZ = NULL  from this time on; null: a day before the end
-- param: p_until TIMESTAMPTZ = NULL  before this time; null: the newest thing stored
-- param: p_venue TEXT = 'all'  one venue or protocol, or all
-- param: p_limit BIGINT = 20  rows at the most; null: all
-- on: feeds
-- show: time origin venue market symbol side usd=USD price price_kind quantity
-- bar: usd
-- note: a venue that publishes samples may have had larger ones
-- note: price: what the venue gives: the fill, the order's limit, or the bankruptcy price at which nothing was traded
SELECT time, origin, venue, market, symbol, side, usd, price, price_kind, quantity, delivery
FROM liquidation_events(p_since := $p_since, p_until := $p_until)
WHERE usd IS NOT NULL AND ($p_venue = 'all' OR venue = $p_venue)
ORDER BY usd DESC, time, symbol
LIMIT $p_limit
