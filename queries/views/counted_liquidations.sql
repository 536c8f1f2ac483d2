-- name: counted_liquidations
-- title: Exchange liquidations that count: orders and fills; of a stream and its history the fuller one
-- param: p_since TIMESTAMPTZ = NULL  from this time on; null: all
-- param: p_until TIMESTAMPTZ = NULL  before this time; null: all
-- columns of: exchange_liquidations
-- columns of: exchange_liquidations load day
-- note: triggers (they announce fills), auto-deleveraging (adl) and what is assigned, terminated or unwound do not count
-- note: a partially filled order counts unless a message within a minute states more of an order of that contract and side: the last one has the whole
-- note: what a stream and its history write the same is one row; of the others the fuller of both counts, the stream where they are equal: per contract, side and second
-- note: per contract and span of coverage where the history names liquidations in its own way, for one may have two times then; without coverage per minute
WITH of_history AS (
  SELECT source, symbol, min(time) - INTERVAL 1 MINUTE AS since, max(time) + INTERVAL 1 MINUTE AS until,
         bool_or(starts_with(event, 'rest ')) AS by_span
  FROM exchange_liquidations
  WHERE delivery = 'history' AND ($p_since IS NULL OR time + INTERVAL 1 MINUTE >= $p_since)
    AND ($p_until IS NULL OR time - INTERVAL 1 MINUTE < $p_until)
  GROUP BY source, symbol
), beside AS (
  -- of the contracts and times that a history has: its rows and those of its stream
  SELECT h.source, h.by_span, l.venue, l.market, l.symbol, l.time, l.event, l.side,
         l.delivery = 'history' AS past, date_trunc('second', l.time) AS second
  FROM exchange_liquidations AS l
  JOIN of_history AS h ON h.symbol = l.symbol AND l.time >= h.since AND l.time <= h.until
   AND h.source = CASE WHEN l.delivery = 'history' THEN l.source ELSE l.source || '-history' END
  WHERE l.kind IN ('order', 'fill')
), spanned AS (
  SELECT b.*, max(c.from_time) OVER (PARTITION BY b.source, b.venue, b.market, b.symbol, b.time, b.event) AS span
  FROM beside AS b
  LEFT JOIN coverage AS c ON b.by_span AND c.source || '-history' = b.source
   AND c.from_time <= b.second AND b.second < c.to_time
), unit AS (
  SELECT DISTINCT source, venue, market, symbol, time, event, past,
         CASE WHEN by_span THEN coalesce(span, date_trunc('minute', second)) ELSE second END AS begins,
         CASE WHEN by_span THEN '' ELSE side END AS of_side
  FROM spanned
), fuller AS (
  SELECT source, symbol, begins, of_side, count(*) FILTER (past) > count(*) FILTER (NOT past) AS past
  FROM unit GROUP BY source, symbol, begins, of_side
), left_out AS (
  SELECT u.venue, u.market, u.symbol, u.time, u.event
  FROM unit AS u
  JOIN fuller AS f ON f.source = u.source AND f.symbol = u.symbol AND f.begins = u.begins
   AND f.of_side = u.of_side AND f.past <> u.past
), partly AS (
  -- partial fills of which a later message states more
  SELECT DISTINCT l.venue, l.market, l.symbol, l.time, l.event
  FROM exchange_liquidations AS l
  JOIN exchange_liquidations AS m ON m.venue = l.venue AND m.market = l.market
   AND m.symbol = l.symbol AND m.side = l.side AND m.kind IN ('order', 'partial')
   AND m.time >= l.time AND m.time <= l.time + INTERVAL 1 MINUTE
   AND (coalesce(m.contracts, m.quantity_base) > coalesce(l.contracts, l.quantity_base)
        OR m.kind = 'order' AND coalesce(m.contracts, m.quantity_base) = coalesce(l.contracts, l.quantity_base))
  WHERE l.kind = 'partial' AND ($p_since IS NULL OR l.time >= $p_since)
    AND ($p_until IS NULL OR l.time < $p_until)
)
SELECT l.*
FROM exchange_liquidations AS l
WHERE l.kind IN ('order', 'fill', 'partial') AND ($p_since IS NULL OR l.time >= $p_since)
  AND ($p_until IS NULL OR l.time < $p_until)
  AND NOT EXISTS (
    FROM partly AS p WHERE p.venue = l.venue AND p.market = l.market AND p.symbol = l.symbol
     AND p.time = l.time AND p.event = l.event)
  AND NOT EXISTS (
    FROM left_out AS o WHERE o.venue = l.venue AND o.market = l.market AND o.symbol = l.symbol
     AND o.time = l.time AND o.event = l.event)
