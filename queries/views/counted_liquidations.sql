-- name: counted_liquidations
-- title: Exchange liquidations that count: orders and fills; of a history those that the stream missed
-- param: p_since TIMESTAMPTZ = NULL  from this time on; null: all
-- param: p_until TIMESTAMPTZ = NULL  before this time; null: all
-- columns of: exchange_liquidations
-- columns of: exchange_liquidations load day
-- note: triggers (they announce fills) and auto-deleveraging (adl) do not count
-- note: a history counts where no stream of the venue was up, and where the stream rejected frames, from 2 s before: a message may be that old when it arrives
-- note: in such a time, a history does not count for a second, contract and side that the stream has: one liquidation may be two rows there
WITH of_history AS (
  SELECT source, symbol, side, min(time) AS since, max(time) AS until
  FROM exchange_liquidations
  WHERE delivery = 'history' AND ($p_since IS NULL OR time >= $p_since)
    AND ($p_until IS NULL OR time < $p_until)
  GROUP BY source, symbol, side
), streamed AS (
  SELECT DISTINCT l.source || '-history' AS source, l.symbol, l.side,
         date_trunc('second', l.time) AS second
  FROM exchange_liquidations AS l
  JOIN of_history AS h ON h.source = l.source || '-history' AND h.symbol = l.symbol
   AND h.side = l.side AND l.time >= h.since - INTERVAL 1 SECOND
   AND l.time <= h.until + INTERVAL 1 SECOND
  WHERE l.delivery <> 'history' AND l.kind IN ('order', 'fill')
)
SELECT l.*
FROM exchange_liquidations AS l
WHERE l.kind IN ('order', 'fill') AND ($p_since IS NULL OR l.time >= $p_since)
  AND ($p_until IS NULL OR l.time < $p_until)
  AND (l.delivery <> 'history' OR (
    NOT EXISTS (
      FROM streamed AS t WHERE t.source = l.source AND t.symbol = l.symbol AND t.side = l.side
       AND t.second = date_trunc('second', l.time))
    AND (NOT EXISTS (
      FROM coverage AS c
      WHERE c.source || '-history' = l.source AND c.state IN ('up', 'partial', 'stale')
        AND c.from_time <= l.time AND l.time < c.to_time)
    OR EXISTS (
      FROM coverage AS c
      WHERE c.source || '-history' = l.source AND c.state = 'rejecting'
        AND c.from_time - INTERVAL 2 SECOND <= l.time AND l.time < c.to_time))))
