-- name: largest_liquidations
-- title: The largest single liquidations that were published
-- needs: feeds(p_since, p_until, p_venue)
-- param: p_since TIMESTAMPTZ = NULL  start; null: a day before the end
-- param: p_until TIMESTAMPTZ = NULL  end, exclusive; null: the newest row stored
-- param: p_venue TEXT = 'all'  one venue or protocol, or all
-- param: p_symbol TEXT = 'all'  one coin or collateral, or all
-- param: p_side TEXT = 'all'  long, short, or all
-- param: p_min_usd DOUBLE = 0  ignore liquidations of less, USD
-- param: p_limit BIGINT = 20  most rows returned; null: all
-- columns of: liquidation_events() time origin venue market symbol side usd price price_kind quantity delivery
-- show: time origin venue market symbol side usd=USD price price_kind quantity
-- bar: usd
-- note: a venue that publishes samples may have had larger ones
-- note: price: per coin, as the venue gives it: fill, limit of the order, or bankruptcy price (not a trade)
SELECT time, origin, venue, market, symbol, side, usd, price, price_kind, quantity, delivery
FROM liquidation_events(p_since := $p_since, p_until := $p_until)
WHERE usd IS NOT NULL AND ($p_venue = 'all' OR venue = $p_venue)
  AND ($p_symbol = 'all' OR lower(asset) = lower($p_symbol)) AND ($p_side = 'all' OR side = $p_side)
  AND ($p_min_usd <= 0e0 OR usd >= $p_min_usd)
ORDER BY usd DESC, time, symbol
LIMIT $p_limit
