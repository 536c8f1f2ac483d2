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
-- column: near_bid_units amount bids within 1 % of the mid price; null without bids
-- column: median_near_bid_units amount the median of that over the books of this pair that are stored of the 30 days up to p_as_of, or now; null for fewer than 10
-- column: median_books count stored books of these 30 days
-- column: depth_share share bids within 1 % over their median
-- note: depth_share: below 1 the book is thinner than its own median; null where fewer than 10 books of 30 days are stored
WITH near AS (
  SELECT venue, symbol, kind, time, max(units) AS units
  FROM depths
  WHERE lower(factor) = lower($p_factor) AND side = 'bid' AND distance <= 0.01e0
    AND time <= coalesce($p_as_of, now()) AND time > coalesce($p_as_of, now()) - INTERVAL 30 DAYS
  GROUP BY venue, symbol, kind, time
), usual AS (
  SELECT venue, symbol, kind, count(*) AS books, CASE WHEN count(*) >= 10 THEN median(units) END AS units
  FROM near GROUP BY venue, symbol, kind
), newest AS (
  SELECT factor, venue, symbol, kind, provenance, max(time) AS time, max(age_seconds) AS age_seconds,
         max(mid_price) AS mid_price, max(CASE WHEN side = 'bid' THEN reach END) AS bid_reach,
         max(CASE WHEN side = 'bid' THEN units END) AS bid_units,
         max(CASE WHEN side = 'bid' THEN quote_amount END) AS bid_quote_amount,
         max(CASE WHEN side = 'ask' THEN reach END) AS ask_reach,
         max(CASE WHEN side = 'ask' THEN units END) AS ask_units,
         max(volume_24h) AS volume_24h,
         max(CASE WHEN side = 'bid' AND distance <= 0.01e0 THEN units END) AS near_bid_units
  FROM depth_at(p_factor := $p_factor, p_as_of := $p_as_of, p_max_age := $p_max_age)
  GROUP BY factor, venue, symbol, kind, provenance
)
SELECT n.*, u.units AS median_near_bid_units, coalesce(u.books, 0) AS median_books,
       n.near_bid_units / nullif(u.units, 0e0) AS depth_share
FROM newest AS n
LEFT JOIN usual AS u ON u.venue = n.venue AND u.symbol = n.symbol AND u.kind = n.kind
ORDER BY n.venue, n.symbol, n.kind
